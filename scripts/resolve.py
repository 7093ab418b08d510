"""Wanted packages + index -> the complete set of packages, by resolvelib."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import resolvelib

from scripts.archives.packages import Group, Index, Package, Relation, fulfils
from scripts.errors import LockError

_ROUNDS = 2000


@dataclass(frozen=True)
class Requirement:
    """A group of alternatives, and who wants it (a package, or the variant).

    `chosen`: only the real package of that name will do, because a choice has been made in its favour.
    """

    group: Group
    wanted_by: str
    chosen: bool = False

    def __str__(self) -> str:
        return " | ".join(map(str, self.group))


@dataclass(frozen=True)
class Choice:
    """Decision of a group of alternatives, or of a virtual package, in favour of one real package."""

    group: Group
    package: Package

    def __str__(self) -> str:
        return f"{self.package} (as {' | '.join(map(str, self.group))})"


Candidate = Package | Choice


class _Provider(resolvelib.AbstractProvider[Requirement, Candidate, str]):
    """Tells resolvelib about packages.

    A plain dependency is identified by its package's name; one that leaves a choice (alternatives, virtual packages)
    by its own text, and its candidates are the choices.
    """

    def __init__(self, index: Index, wanted: Iterable[str], present: Set[str]) -> None:
        self._index = index
        self._wanted = frozenset(wanted)
        self._present = present

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        match requirement_or_candidate:
            case Requirement(group=group) if self._plain(requirement_or_candidate):
                return group[0].name
            case Choice(group=group) | Requirement(group=group):
                # No package has a name like this.
                return f"any of {' | '.join(map(str, group))}"
            case _:
                return requirement_or_candidate.name

    def _plain(self, wish: Requirement) -> bool:
        """Whether only packages of one name can fulfil `wish`."""
        return wish.chosen or (len(wish.group) == 1 and not self._index.provided(wish.group[0].name))

    def get_preference(
        self,
        identifier: str,
        resolutions: Mapping[str, Candidate],  # noqa: ARG002 - resolvelib's signature
        candidates: Mapping[str, Iterator[Candidate]],  # noqa: ARG002
        information: Mapping[str, Iterator[Any]],  # noqa: ARG002
        backtrack_causes: Sequence[Any],  # noqa: ARG002
    ) -> tuple[bool, str]:
        # What leaves no choice first, then by name: the same input always gives the same set.
        return (identifier.startswith("any of "), identifier)

    def find_matches(
        self,
        identifier: str,
        requirements: Mapping[str, Iterator[Requirement]],
        incompatibilities: Mapping[str, Iterator[Candidate]],
    ) -> Sequence[Candidate]:
        wishes = list(requirements[identifier])
        refused = set(incompatibilities[identifier])
        if all(self._plain(wish) for wish in wishes):
            found: list[Candidate] = [
                package
                for package in self._index.packages(identifier)
                if all(wish.group[0].admits(package.version) for wish in wishes)
            ]
        else:
            found = list(self._choices(wishes[0].group))
        return [candidate for candidate in found if candidate not in refused]

    def _choices(self, group: Group) -> Iterator[Choice]:
        packages: dict[Package, None] = {}
        for relation in group:
            packages |= dict.fromkeys(self._index.choices(relation, self._wanted))
        # What the variant names by itself settles a choice; otherwise the order of the alternatives does.
        yield from sorted(
            (Choice(group, package) for package in packages), key=lambda c: c.package.name not in self._wanted
        )

    def is_satisfied_by(self, requirement: Requirement, candidate: Candidate) -> bool:
        if isinstance(candidate, Choice):
            return requirement.group == candidate.group
        return requirement.group[0].admits(candidate.version)

    def get_dependencies(self, candidate: Candidate) -> Iterator[Requirement]:
        if isinstance(candidate, Choice):
            exact = self._index.wish(candidate.package.name, candidate.package.version)
            yield Requirement((exact,), str(candidate), chosen=True)
            return
        for group in needed(candidate, self._present):
            if not all(self._index.passive(relation, self._wanted) for relation in group):
                yield Requirement(group, str(candidate))


def fulfilled(index: Index, exclude: Iterable[str]) -> frozenset[str]:
    """Names that count as present: those of `exclude`d packages, and all that these provide."""
    provided = {relation.name for name in exclude for package in index.packages(name) for relation in package.provides}
    return frozenset(exclude) | provided


def needed(package: Package, present: Set[str]) -> Iterator[Group]:
    """Dependencies of `package`, without those that are `fulfilled` already."""
    for group in package.depends:
        if not any(relation.name in present for relation in group):
            yield group


def resolve(index: Index, wanted: Iterable[str], present: Set[str] = frozenset()) -> tuple[Package, ...]:
    """The packages `wanted` with everything they need, sorted by name.

    Dependencies on names in `present` (see `fulfilled`) are not followed, nor are recommendations.
    Raises LockError, which says who wants what, if no set of packages fulfils everything.
    """
    reasons = dict.fromkeys(wanted, "the variant")
    while True:
        packages = _resolve(index, reasons, present)
        chosen = {name for package in packages for name in (package.name, *(offer.name for offer in package.provides))}
        found = {
            package.name: "install_if"
            for package in index.triggered(chosen)
            if package.name not in chosen | present and all(_there(packages, wish) for wish in package.install_if)
        }
        if not found:
            break
        reasons |= found
    _refuse_unfulfilled(index, packages, present)
    _refuse_conflicts(packages)
    return packages


def _there(packages: Sequence[Package], relation: Relation) -> bool:
    return any(fulfils(package, relation) for package in packages)


def _resolve(index: Index, reasons: Mapping[str, str], present: Set[str]) -> tuple[Package, ...]:
    """One run of resolvelib; `reasons` says who wants each name."""
    provider = _Provider(index, reasons, present)
    resolver: resolvelib.Resolver[Requirement, Candidate, str] = resolvelib.Resolver(
        provider, resolvelib.BaseReporter()
    )
    roots = [Requirement((index.wish(name),), reason) for name, reason in reasons.items()]
    try:
        result = resolver.resolve(roots, max_rounds=_ROUNDS)
    except resolvelib.ResolutionImpossible as error:
        raise LockError(_explain(index, error.causes)) from error
    except resolvelib.ResolutionTooDeep as error:
        raise LockError(f"No set of packages was found in {error.round_count} rounds: {', '.join(reasons)}") from error
    except RecursionError as error:
        # resolvelib follows each package back to what was wanted; a circle that backtracking has cut off leads nowhere.
        raise LockError(f"The resolver lost its way in a circle of dependencies of: {', '.join(reasons)}") from error
    packages = [candidate for candidate in result.mapping.values() if not isinstance(candidate, Choice)]
    return tuple(sorted(packages, key=lambda package: package.name))


def _refuse_unfulfilled(index: Index, packages: Sequence[Package], present: Set[str]) -> None:
    """Raise LockError if a dependency that chooses nothing by itself is fulfilled by nothing that was chosen."""
    for package in packages:
        for group in needed(package, present):
            if not any(_there(packages, relation) for relation in group):
                offers = sorted({found.name for relation in group for found in index.choices(relation, index.names)})
                raise LockError(
                    f"{package} needs {' | '.join(map(str, group))}, which several packages provide and none by itself:"
                    f" {', '.join(offers)}. Name one of them in the variant."
                )


def _explain(index: Index, causes: Iterable[Any]) -> str:
    lines = set()
    for cause in causes:
        requirement: Requirement = cause.requirement
        there = [
            f"{found} ({found.suite})" for relation in requirement.group for found in index.packages(relation.name)
        ]
        available = ", ".join(there) or "no such package"
        lines.add(f"  {requirement.wanted_by} needs {requirement}; there is: {available}")
    return "No set of packages fulfils all wishes:\n" + "\n".join(sorted(lines))


def _refuse_conflicts(packages: Sequence[Package]) -> None:
    """Raise LockError if two of the packages exclude each other (Policy 7.3, 7.4)."""
    by_name: dict[str, list[tuple[Package, str]]] = {}
    for package in packages:
        by_name.setdefault(package.name, []).append((package, package.version))
        for provided in package.provides:
            by_name.setdefault(provided.name, []).append((package, provided.version))
    for package in packages:
        for relation in package.conflicts:
            for other, version in by_name.get(relation.name, []):
                # Something provided without a version never meets a conflict with one (Policy 7.5, apk-package(5)).
                if other is not package and (not relation.operator or (version and relation.admits(version))):
                    raise LockError(f"{package} and {other} exclude each other: conflict with {relation}.")
        for name in package.owns:
            for other, _ in by_name.get(name, []):
                if other is not package and name in other.owns:
                    raise LockError(f"{package} and {other} exclude each other: both are {name}.")
