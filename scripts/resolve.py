"""Wanted packages + index -> the complete set of packages, by resolvelib."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import resolvelib

from scripts.archives.debian import Group, Index, Package, Relation
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
    """Tells resolvelib about Debian packages.

    A plain dependency is identified by its package's name; one that leaves a choice (alternatives, virtual packages)
    by its own text, and its candidates are the choices.
    """

    def __init__(self, index: Index, wanted: Iterable[str], present: frozenset[str]) -> None:
        self._index = index
        self._wanted = frozenset(wanted)
        self._present = present

    def identify(self, requirement_or_candidate: Requirement | Candidate) -> str:
        match requirement_or_candidate:
            case Package():
                return requirement_or_candidate.name
            case Requirement(group=group) if self._plain(requirement_or_candidate):
                return group[0].name
            case Choice(group=group) | Requirement(group=group):
                # No package has a name like this.
                return f"any of {' | '.join(map(str, group))}"

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
            real = [package for package in self._index.packages(relation.name) if relation.admits(package.version)]
            packages |= dict.fromkeys([*real, *self._index.providers(relation)])
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
            exact = Relation(candidate.package.name, "=", candidate.package.version)
            yield Requirement((exact,), str(candidate), chosen=True)
            return
        for group in needed(candidate, self._present):
            yield Requirement(group, str(candidate))


def fulfilled(index: Index, exclude: Iterable[str]) -> frozenset[str]:
    """Names that count as present: those of `exclude`d packages, and all that these provide."""
    provided = {relation.name for name in exclude for package in index.packages(name) for relation in package.provides}
    return frozenset(exclude) | provided


def needed(package: Package, present: frozenset[str]) -> Iterator[Group]:
    """Dependencies of `package`, without those that are `fulfilled` already."""
    for group in package.depends:
        if not any(relation.name in present for relation in group):
            yield group


def resolve(index: Index, wanted: Iterable[str], present: frozenset[str] = frozenset()) -> tuple[Package, ...]:
    """The packages `wanted` with everything they need, sorted by name.

    Dependencies on names in `present` (see `fulfilled`) are not followed, nor are recommendations.
    Raises LockError, which says who wants what, if no set of packages fulfils everything.
    """
    wanted = tuple(wanted)
    provider = _Provider(index, wanted, present)
    resolver: resolvelib.Resolver[Requirement, Candidate, str] = resolvelib.Resolver(
        provider, resolvelib.BaseReporter()
    )
    roots = [Requirement((Relation(name),), "the variant") for name in wanted]
    try:
        result = resolver.resolve(roots, max_rounds=_ROUNDS)
    except resolvelib.ResolutionImpossible as error:
        raise LockError(_explain(index, error.causes)) from error
    except resolvelib.ResolutionTooDeep as error:
        raise LockError(f"No set of packages was found in {error.round_count} rounds: {', '.join(wanted)}") from error
    except RecursionError as error:
        # resolvelib follows each package back to what was wanted; a circle that backtracking has cut off leads nowhere.
        raise LockError(f"The resolver lost its way in a circle of dependencies of: {', '.join(wanted)}") from error
    packages = [candidate for candidate in result.mapping.values() if isinstance(candidate, Package)]
    _refuse_conflicts(packages)
    return tuple(sorted(packages, key=lambda package: package.name))


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
                # An unversioned Provides never meets a versioned conflict (Policy 7.5).
                if other is not package and (not relation.operator or (version and relation.admits(version))):
                    raise LockError(f"{package} and {other} exclude each other: conflict with {relation}.")
