"""What differs between locks and those of before: packages, versions, and vulnerabilities in changelogs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from debian.changelog import Changelog
from rich.table import Table

from scripts import fetch
from scripts.archives import changelogs
from scripts.console import console, table
from scripts.errors import FetchError
from scripts.lock import Lock, LockedPackage

_TRACKER = "https://security-tracker.debian.org/tracker"
_COLUMNS = ("package", "locks", "platforms", "old", "new", "CVE in the changelog")


@dataclass(frozen=True)
class Change:
    """A package that differs on these platforms of these locks; `before` or `after` is None where there is none."""

    package: str
    locks: tuple[str, ...]
    platforms: str
    old: str
    new: str
    before: LockedPackage | None = field(default=None, repr=False, compare=False)
    after: LockedPackage | None = field(default=None, repr=False, compare=False)


Mentioned = Mapping[Change, tuple[str, ...]]  # CVE identifiers


def between(previous: Mapping[str, Lock], locks: Mapping[str, Lock]) -> list[Change]:
    """What differs, sorted by package; what is the same in several locks, or on several platforms, is one change."""
    found: dict[tuple[str, str, str, str], list[str]] = {}
    examples: dict[tuple[str, str, str], _Pair] = {}
    for name, lock in locks.items():
        places: dict[tuple[str, str, str], list[str]] = {}
        before, after = _packages(previous.get(name)), _packages(lock)
        for package, platform in sorted(before.keys() | after.keys()):
            old, new = before.get((package, platform)), after.get((package, platform))
            if old != new:
                change = (package, *_words(old, new))
                places.setdefault(change, []).append(platform)
                examples[change] = old, new
        for (package, old_words, new_words), platforms in places.items():
            where = "all" if len(platforms) == len(lock.platforms) else ", ".join(platforms)
            found.setdefault((package, where, old_words, new_words), []).append(name)
    return [
        Change(package, tuple(names), where, old, new, *examples[package, old, new])
        for (package, where, old, new), names in sorted(found.items())
    ]


_Pair = tuple[LockedPackage | None, LockedPackage | None]


def _packages(lock: Lock | None) -> dict[tuple[str, str], LockedPackage]:
    if lock is None:
        return {}
    return {
        (package.package, platform): package for platform, packages in lock.platforms.items() for package in packages
    }


def _words(before: LockedPackage | None, after: LockedPackage | None) -> tuple[str, str]:
    """The versions; where these are the same, with what else differs."""
    if before is None or after is None or before.version != after.version:
        return before.version if before else "-", after.version if after else "-"
    names = [found.name for found in fields(LockedPackage)]
    name = next(name for name in names if getattr(before, name) != getattr(after, name))
    return f"{before.version} ({name} {getattr(before, name)})", f"{after.version} ({name} {getattr(after, name)})"


def mentioned(found: Sequence[Change], locks: Mapping[str, Lock]) -> Mentioned:
    """What the changelogs of new versions mention, from the old version of the source package to the new one.

    One package of each source is fetched for that. A change of which it cannot be known is left out, with a warning if
    that is for want of the package: a lock is no worse for it. Alpine's packages have no changelogs.
    """
    known: dict[Change, tuple[str, ...]] = {}
    read: dict[tuple[str, str], Changelog | None] = {}
    for change in found:
        before, after = change.before, change.after
        if before is None or after is None or not after.path.endswith(".deb"):
            known[change] = ()
            continue
        source = after.source, after.source_version
        if source not in read:
            try:
                read[source] = _changelog(locks, *source)
            except FetchError as error:
                console.print(
                    f"[yellow]warning:[/] {error}\nSo what the changelog of {after.source} mentions is not known.",
                    highlight=False,
                )
                read[source] = None
        if changelog := read[source]:
            known[change] = changelogs.vulnerabilities(changelog, before.source_version, after.source_version)
    return known


def _changelog(locks: Mapping[str, Lock], source: str, version: str) -> Changelog | None:
    """The changelog that the packages of a source have in common, from the smallest of them that has it."""
    snapshots = {
        package: lock.snapshot
        for lock in locks.values()
        for packages in lock.platforms.values()
        for package in packages
        if (package.source, package.source_version) == (source, version)
    }
    for package in sorted(snapshots, key=lambda package: (package.size, package.sha256)):
        fetch.fetch([package.item], snapshots[package], label="package for its changelog")
        if changelog := changelogs.read(fetch.blob(package.sha256)):
            return changelog
    return None


def shown(found: Sequence[Change], known: Mentioned) -> Table:
    """The changes as a table for the terminal; a vulnerability a line."""
    result = table("Changes", *_COLUMNS)
    for change in found:
        result.add_row(*_cells(change), "\n".join(known.get(change, ["not known"])))
    return result


def markdown(found: Sequence[Change], known: Mentioned) -> str:
    """The changes as Markdown, for a pull request; vulnerabilities are links to Debian's tracker."""
    if not found:
        return "No package changed.\n"
    lines = [f"| {' | '.join(_COLUMNS)} |", "|---" * len(_COLUMNS) + "|"]
    for change in found:
        package, locks, platforms, old, new = _cells(change)
        names = known.get(change)
        links = "not known" if names is None else ", ".join(map(link, names))
        # As code, because two tildes in one cell would strike out what is between them.
        lines.append(f"| {package} | {locks} | {platforms} | `{old}` | `{new}` | {links} |")
    return "\n".join([*lines, ""])


def link(name: str) -> str:
    """A vulnerability as a link to Debian's tracker, in Markdown."""
    return f"[{name}]({_TRACKER}/{name})"


def _cells(change: Change) -> tuple[str, ...]:
    return change.package, ", ".join(change.locks), change.platforms, change.old, change.new
