"""Archives as they are now -> the committed locks, and what changed in them.

    python -m scripts.relock [--at INSTANT] [--markdown FILE] [NAME ...]

locks the named variants (default: all, and the build system's own tools) again, against the archives as they are now
or as they were at INSTANT. Variants of the same suites are locked together, so that their layers are the same bytes.
What changed is printed, and written to FILE for a pull request.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from scripts import changes, errors, lock, paths, variants
from scripts.changes import Change, Mentioned
from scripts.console import console
from scripts.errors import LockError, UsageError
from scripts.lock import Lock
from scripts.platforms import PLATFORMS
from scripts.variants import Variant

_FOLDERS = (paths.VARIANTS, paths.TOOLS, paths.PEERS)  # of all that is locked


@dataclass(frozen=True)
class Relocked:
    """New locks by name, and what is other in them than in those of before."""

    locks: Mapping[str, Lock]
    changes: Sequence[Change]
    mentioned: Mentioned


def relock(
    family: Sequence[Variant], targets: Mapping[str, Path], folder: Path = paths.VARIANTS, *, at: datetime | None = None
) -> Relocked:
    """Lock variants of the same suites again, write each to its path of `targets`, and print what changed.

    `at` is the instant that the archives are looked at (default: now). What is the same as before is not written.
    """
    start = time.monotonic()
    at = at or datetime.now(UTC)
    previous = {}
    for variant in family:
        with contextlib.suppress(LockError):
            previous[variant.name] = lock.load(variant, lock.path_of(variant.name, folder), stale=True)
    locks = keep_instant(previous, {variant.name: lock.make(variant, at) for variant in family})
    found = changes.between(previous, locks)
    known = changes.mentioned(found, locks)
    for name, made in locks.items():
        written = paths.write_text(targets[name], lock.dump(made))
        packages = made.packages([PLATFORMS[platform] for platform in made.platforms])
        total = sum(package.size for package in packages)
        console.print(
            f"Locked {name}: {len(made.platforms)} platforms, {len(packages)} package files,"
            f" {total / 1048576:.1f} MiB, {sum(name in change.locks for change in found)} changes,"
            f" {'written' if written else 'the same as before'}"
        )
    if found:
        console.print(changes.shown(found, known))
    console.print(f"Locked {', '.join(locks)} in {time.monotonic() - start:.1f} s")
    return Relocked(locks, found, known)


def keep_instant(previous: Mapping[str, Lock], locks: Mapping[str, Lock]) -> dict[str, Lock]:
    """The locks of one family, with the epoch of before if no file that goes into any of them changed.

    With it every digest stays. If one changed, all take the new epoch: a layer that two variants have in common is only
    the same layer if its files have the same modification time. Snapshot and suites stay as well, unless a file is at
    another place now.
    """
    instants = {(found.snapshot, found.epoch, found.suites) for found in previous.values()}
    if len(instants) != 1 or any(
        name not in previous or _files(previous[name]) != _files(locks[name]) for name in locks
    ):
        return dict(locks)
    ((snapshot, epoch, suites),) = instants
    if any(previous[name].platforms != made.platforms for name, made in locks.items()):
        return {name: replace(made, epoch=epoch) for name, made in locks.items()}
    return {name: replace(made, snapshot=snapshot, epoch=epoch, suites=suites) for name, made in locks.items()}


def _files(made: Lock) -> Mapping[str, Sequence[tuple[str, str, str, str]]]:
    """What of each platform's packages decides about the image: where they go, which files they are, their versions."""
    return {
        platform: [(package.layer, package.file_name, package.sha256, package.version) for package in packages]
        for platform, packages in made.platforms.items()
    }


def families(names: Sequence[str], folder: Path) -> list[tuple[Variant, ...]]:
    """The variants `names` of `folder`, each together with all others that have the same suites."""
    everyone = [variants.load(name, folder) for name in variants.names(folder)]
    found = {}
    for name in names:
        suites = next(variant.suites for variant in everyone if variant.name == name)
        found[suites] = tuple(variant for variant in everyone if variant.suites == suites)
    return list(found.values())


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s lock --", description="Lock variants against their archives.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant, set of tools or test peer (default: all)")
    parser.add_argument(
        "--at", type=_instant, metavar="INSTANT", help="as the archives were then (20261125T000000Z; default: now)"
    )
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write what changed to this file as well, for a pull request"
    )
    options = parser.parse_args(arguments)
    names = options.names
    chosen_from = {name: variants.folder_of(name, *_FOLDERS) for name in names}
    if options.at is not None:
        _refuse_past([name for name in names if chosen_from[name] == paths.VARIANTS])
    if options.markdown is not None and options.markdown.is_dir():
        raise UsageError(f"{options.markdown} is a folder; --markdown wants the name of a file.")
    finished: list[Relocked] = []
    for folder in _FOLDERS:
        chosen = [name for name in names if chosen_from[name] == folder]
        chosen = chosen if names else lock.chosen_by_default(folder, options.at)
        # Nobody pulls tools and peers, so their layers need not be shared.
        alone = [(variants.load(name, folder),) for name in chosen]
        for family in families(chosen, folder) if folder == paths.VARIANTS else alone:
            targets = {variant.name: lock.path_of(variant.name, folder) for variant in family}
            finished.append(relock(family, targets, folder, at=options.at))
            if options.markdown is not None:
                # After each, so that the file tells of all that was written, even if the next cannot be locked.
                paths.write_text(options.markdown, changes.markdown(*_all(finished)))


def _all(finished: Sequence[Relocked]) -> tuple[Sequence[Change], Mentioned]:
    """The changes of several families together."""
    found = [change for relocked in finished for change in relocked.changes]
    return found, {change: names for relocked in finished for change, names in relocked.mentioned.items()}


def _refuse_past(names: Sequence[str]) -> None:
    for name in names:
        if variants.load(name).distribution == "alpine":
            raise UsageError(f"Alpine's archive keeps no past, so {name!r} cannot be locked with --at.")


def _instant(text: str) -> datetime:
    return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)


if __name__ == "__main__":
    errors.run(main)
