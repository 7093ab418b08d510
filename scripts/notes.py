"""What a release brings, as Markdown for people: from the repository alone, and against the release before.

    python -m scripts.notes [--since REVISION]
    python -m scripts.notes --last [--output FILE]

prints the notes of what is committed, without the name of the release; or the name of the last release alone.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import chain, count
from pathlib import Path

from scripts import build, changes, digests, errors, git, lock, paths, variants
from scripts.build import Recipe
from scripts.changes import Change, Mentioned
from scripts.digests import Digests
from scripts.errors import DigestError, LockError, UsageError
from scripts.lock import Lock
from scripts.oci import Image, Layout

CHANGELOG = "CHANGELOG.md"
_UNRELEASED = "Unreleased"  # as Keep a Changelog has it
_RELEASE = re.compile(r"\d{4}\.\d{2}\.\d{2}(\.\d+)?")  # tags of releases: the day, and a number if it has several
_MEGABYTE = 1_000_000  # bytes; as registries count
_SCALES = ((_MEGABYTE, "MB", 2), (1000, "kB", 1), (1, "bytes", 0))  # of differences: bytes, name, digits


@dataclass(frozen=True)
class Former:
    """A variant at an earlier revision, `there` or not; what is missing or cannot be read of it is None."""

    there: bool = False
    lock: Lock | None = None
    digests: Digests | None = None


Formers = Mapping[str, Former]


def notes(
    recipes: Sequence[Recipe],
    layouts: Mapping[str, Layout | Digests],
    tags: Mapping[str, Sequence[str]],
    since: str | None,
    verification: str,
) -> str:
    """Notes of a release of `recipes` with these images and tags by variant.

    `since` is the revision of the last release, None for the first one; `verification` are paragraphs about how
    signatures are checked. Packages whose changelogs are read are fetched. Raises UsageError for a revision that is not
    in this repository.
    """
    formers = {found.variant.name: former(since, found.variant.name) for found in recipes} if since else {}
    parts = [
        f"Against {since}, the release before." if since else "The first release.",
        *_section("Changes", _entries((paths.ROOT / CHANGELOG).read_text())),
        *(_packages(recipes, formers, since) if since else ()),
        *_section("Images", "\n\n".join(_image(found, layouts, tags, formers) for found in recipes)),
        *_section("Verification", "\n\n".join([*_rebuild(recipes), verification.strip()])),
    ]
    return "\n\n".join(parts).rstrip() + "\n"


def _section(heading: str, text: str) -> Iterator[str]:
    if text:
        yield f"## {heading}\n\n{text}"


# The release before.


def previous(commit: str = "HEAD") -> str | None:
    """The last release before `commit`, by the tags of its ancestors; None if there is none.

    Raises UsageError where the history is cut off, as nobody can tell there.
    """
    return _newest("--merged", commit, "--no-contains", commit)


def last() -> str | None:
    """The same, but this commit may be it."""
    return _newest("--merged", "HEAD")


def current() -> str | None:
    """The release that this commit is, by its tag; the newest if it has several, None if it is none."""
    return max(_releases("--points-at", "HEAD"), key=_order, default=None)


def is_last(name: str) -> bool:
    """Whether this repository knows of no release after the one of this name, also not of another commit."""
    return all(_order(other) <= _order(name) for other in _releases())


def by_date() -> str:
    """What a release of this commit would be called: its day, in UTC, with a number if that is taken."""
    day = f"{datetime.fromtimestamp(int(git.output('log', '-1', '--format=%ct')), UTC):%Y.%m.%d}"
    taken = _releases()
    return next(name for name in chain([day], (f"{day}.{number}" for number in count(1))) if name not in taken)


def _order(name: str) -> list[int]:
    return [int(part) for part in name.split(".")]


def _newest(*conditions: str) -> str | None:
    if git.output("rev-parse", "--is-shallow-repository").strip() == "true":
        raise UsageError(
            "This clone has a part of the history only, so the release before is not known. Get the rest with:"
            " git fetch --unshallow --tags"
        )
    return max(_releases(*conditions), key=_order, default=None)


def _releases(*conditions: str) -> list[str]:
    return [tag for tag in git.output("tag", *conditions).split() if _RELEASE.fullmatch(tag)]


def former(revision: str, name: str) -> Former:
    """A variant as it was committed at `revision`. Raises UsageError if there is no such revision."""
    path = lock.path_of(name)
    locked, digested = _committed(revision, path), _committed(revision, digests.path_of(name))
    if locked is None and digested is None:
        return Former()
    found = Former(there=True)
    if locked is not None:
        try:
            found = replace(found, lock=lock.parse(locked, name, f"{revision}:{path.relative_to(paths.ROOT)}"))
        except LockError:  # of a version of this build system that wrote other locks
            found = replace(found, lock=None)
    if digested is not None:
        try:
            found = replace(found, digests=digests.parse(digested))
        except (ValueError, KeyError, TypeError, AttributeError):  # the same
            found = replace(found, digests=None)
    return found


def _committed(revision: str, path: Path) -> str | None:
    """Text of a file at a revision, None if it was not there."""
    relative = path.relative_to(paths.ROOT).as_posix()
    if not git.output("ls-tree", "--name-only", revision, "--", relative):
        return None
    return git.output("show", f"{revision}:./{relative}")


# What changed.


def _entries(changelog: str) -> str:
    """What the changelog says of the release that this commit is tagged as, else of what is unreleased.

    Links into the repository lead nowhere from a release, and where lines end there is a line break.
    """
    sections = dict(re.findall(r"^## \[?([^]\s]+)[^\n]*\n(.*?)(?=^## |\Z)", changelog, re.MULTILINE | re.DOTALL))
    names = [*_releases("--points-at", "HEAD"), _UNRELEASED]
    text = next((sections[name] for name in names if name in sections), "")
    text = re.sub(r"\[([^]]+)\]\((?!https?:)[^)]+\)", r"\1", text)
    return re.sub(r"\n +(?![-*+ ])", " ", text).strip()


def _packages(recipes: Sequence[Recipe], formers: Formers, since: str) -> Iterator[str]:
    """Sections on packages: what was mended, and all that has another version."""
    previous_locks, locks = {}, {}
    words = []
    for found in recipes:
        name, before = found.variant.name, formers[found.variant.name]
        if before.lock is None:
            words.append(f"What `{name}` was made of is not known: its lock at {since} cannot be read." if before.there
                         else f"`{name}` is new.")  # fmt: skip
            continue
        words += _platforms(name, before.lock.platforms, found.lock.platforms)
        # What comes or goes with a whole platform tells nothing about packages.
        both = before.lock.platforms.keys() & found.lock.platforms.keys()
        previous_locks[name], locks[name] = (_only(one, both) for one in (before.lock, found.lock))
    gone = sorted(_names_at(since) - set(variants.names(paths.VARIANTS)))
    words += [f"`{name}` is not there any more." for name in gone]
    changed = [change for change in changes.between(previous_locks, locks) if not _is_same_file(change)]
    if changed:
        yield from _section("Security fixes", _fixes(changed, changes.mentioned(changed, locks)))
    rows = _rows(changed) if changed else (["No package changed."] if locks else [])
    yield from _section("Packages", "\n\n".join([*words, "\n".join(rows)]).strip())


def _platforms(name: str, before: Mapping[str, object], now: Mapping[str, object]) -> Iterator[str]:
    for words, found in (("is new for", now.keys() - before.keys()), ("is no longer for", before.keys() - now.keys())):
        if found:
            yield f"`{name}` {words} {', '.join(sorted(found))}."


def _only(locked: Lock, platforms: set[str]) -> Lock:
    return replace(locked, platforms={name: found for name, found in locked.platforms.items() if name in platforms})


def _is_same_file(change: Change) -> bool:
    """Whether only the lock differs: a point release takes packages over from the security archive."""
    before, after = change.before, change.after
    return before is not None and after is not None and before.sha256 == after.sha256


def _names_at(revision: str) -> set[str]:
    """Variants that had a lock at a revision."""
    folder = paths.IMAGES.relative_to(paths.ROOT).as_posix()
    found = git.output("ls-tree", "-r", "--name-only", revision, "--", f"{folder}/").splitlines()
    return {Path(path).parent.name for path in found if path == f"{folder}/{Path(path).parent.name}/lock.json"}


def _fixes(changed: Sequence[Change], known: Mentioned) -> str:
    """A line for each source package, with the vulnerabilities that its changelog mentions between the versions."""
    mended: dict[str, set[str]] = {}
    names: dict[str, Sequence[str]] = {}
    unknown = set()
    for change in changed:
        before, after = change.before, change.after
        if before is None or after is None or before.source_version == after.source_version:
            continue
        line = f"{after.source} {before.source_version} → {after.source_version}"
        if not known.get(change) and (change not in known or not after.file_name.endswith(".deb")):
            unknown.add(line)
        elif known[change]:
            names[line] = known[change]
            mended.setdefault(line, set()).update(change.locks)
    lines = [
        f"- **{line}** ({', '.join(sorted(found))}): {', '.join(map(changes.link, names[line]))}"
        for line, found in sorted(mended.items())
    ]
    paragraphs = ["\n".join(["As the changelogs of the packages have it:", "", *lines])] if lines else []
    if unknown:
        paragraphs.append(f"Not known, for want of a changelog: {', '.join(sorted(unknown))}.")
    return "\n\n".join(paragraphs) or "The changelogs of the packages mention none."


def _rows(changed: Sequence[Change]) -> list[str]:
    """The changes as a table; packages of one source that changed alike are one row."""
    grouped: dict[tuple[str, str, str, str, str], list[str]] = {}
    for change in changed:
        either = change.after or change.before
        source = either.source if either else change.package
        key = source, ", ".join(change.locks), change.platforms, change.old, change.new
        grouped.setdefault(key, []).append(change.package)
    lines = ["| package | variants | platforms | old | new |", "|---|---|---|---|---|"]
    for (source, locks, platforms, old, new), packages in sorted(grouped.items()):
        name = source if packages == [source] else f"{source}: {', '.join(packages)}"
        lines.append(f"| {name} | {locks} | {platforms} | `{old}` | `{new}` |")
    return lines


# What is released.


def _image(
    found: Recipe, layouts: Mapping[str, Layout | Digests], tags: Mapping[str, Sequence[str]], formers: Formers
) -> str:
    """Digests and sizes of one variant."""
    name = found.variant.name
    layout, before = layouts[name], formers.get(name, Former())
    lines = [f"### {name}", "", f"Prosody {found.version}, `{layout.index}`", ""]
    if tags.get(name):
        lines += [f"Tags: {', '.join(f'`{tag}`' for tag in tags[name])}", ""]
    if before.there and before.digests is None:
        lines += ["The sizes of the release before cannot be read.", ""]
    compared = before.digests is not None
    lines += [f"| platform | digest | packed |{' against before |' * compared}", f"|---|---|--:|{'--:|' * compared}"]
    for image in layout.images:
        cells = [image.platform.name, f"`{image.manifest}`", f"{image.size / _MEGABYTE:.2f} MB"]
        if before.digests is not None:
            cells.append(_difference(image, before.digests.image(image.platform)))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _difference(image: Image, before: Image | None) -> str:
    """How much more or less is pulled than of the image before."""
    if before is None:
        return "new"
    if image.manifest == before.manifest:
        return "the same image"
    difference = image.size - before.size
    if not difference:
        return "the same size"
    unit, name, digits = next(scale for scale in _SCALES if abs(difference) >= scale[0])
    share = f" ({difference / before.size:+.1%})" if abs(difference) * 2000 >= before.size else ""
    return f"{difference / unit:+.{digits}f} {name}{share}"


def _rebuild(recipes: Sequence[Recipe]) -> list[str]:
    command = f"scripts/nox -s verify -- {' '.join(found.variant.name for found in recipes)}"
    text = "In a checkout, this builds the images from nothing, from this repository alone, and compares their digests:"
    return [text, f"```sh\n{command}\n```"]


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s notes --", description="Print the notes of a release.")
    parser.add_argument("--since", metavar="REVISION", help="compare with this one (default: the last release)")
    parser.add_argument("--last", action="store_true", help="print the name of the last release, and nothing else")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="also append that to this file as `release=...` (GITHUB_OUTPUT)"
    )
    options = parser.parse_args(arguments)
    if options.last:
        name = last() or ""
        if options.output:
            with options.output.open("a", encoding="utf-8") as stream:
                stream.write(f"release={name}\n")
        print(name)
        return
    recipes = [build.recipe(name) for name in lock.chosen_by_default(paths.VARIANTS)]
    committed = {found.variant.name: digests.load(found.variant.name) for found in recipes}
    missing = [name for name, found in committed.items() if found is None]
    if missing:
        raise DigestError(
            f"No digests are committed of: {', '.join(missing)}. Record them with:"
            f" scripts/nox -s digests -- {' '.join(missing)}"
        )
    layouts = {name: found for name, found in committed.items() if found is not None}
    print(notes(recipes, layouts, {}, options.since or previous(), ""), end="")


if __name__ == "__main__":
    errors.run(main)
