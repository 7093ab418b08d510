"""Notes of releases: of made-up ones in a small Git repository, and of this repository against its own past."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts import build, changes, digests, git, lock, notes, paths, variants
from scripts.build import Recipe
from scripts.changes import Change
from scripts.errors import UsageError
from scripts.lock import Lock, LockedPackage
from scripts.oci import Image, Layer, Layout
from scripts.platforms import PLATFORMS
from scripts.variants import Variant
from tests.unit import signed
from tests.unit.conftest import Checkout
from tests.unit.deb import changelog
from tests.unit.locks import made_up, package
from tests.unit.signed import NOW, binary

CHANGELOG = """\
# Changelog

The format is that of Keep a Changelog.

## Unreleased

### Added

- A thing, which is explained in [its page](docs/thing.md), over
  two lines; [elsewhere](https://example.org) as well.

## 2026.11.20

### Changed

- Something else.
"""


@dataclass
class Repository:
    """A Git repository of its own, without the user's settings."""

    root: Path

    def git(self, *arguments: str) -> str:
        names = ("-c", "user.name=Tester", "-c", "user.email=tester@example.org")
        done = subprocess.run(["git", *names, *arguments], cwd=self.root, check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def commit(self, locks: Mapping[str, Lock], layouts: Mapping[str, Layout], log: str = CHANGELOG) -> str:
        """Commit these and nothing else; returns the revision."""
        for path in paths.IMAGES.glob("*/*.json"):
            path.unlink()
        for name, found in locks.items():
            paths.write_text(lock.path_of(name), lock.dump(found))
        for name, layout in layouts.items():
            paths.write_text(digests.path_of(name), digests.dump(layout))
        paths.write_text(self.root / notes.CHANGELOG, log)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "Something")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    root = tmp_path / "repository"
    (root / "images").mkdir(parents=True)
    monkeypatch.setattr(paths, "ROOT", root)
    monkeypatch.setattr(paths, "IMAGES", root / "images")
    monkeypatch.setattr(variants, "names", lambda _folder: ["other", "test"])
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    found = Repository(root)
    found.git("init", "--quiet", "--initial-branch=main")
    return found


def image(platform: str, size: int = 11_540_000, content: str = "") -> Image:
    layers = (Layer("base", f"sha256:{content}", size - 40_000), Layer("top", "sha256:top", 40_000))
    return Image(PLATFORMS[platform], f"sha256:config {platform}", f"sha256:{platform} {size} {content}", layers)


def layout(*images: Image) -> Layout:
    return Layout(Path("/nowhere"), "sha256:index", images or (image("linux/amd64"), image("linux/arm64")))


def text(
    recipes: Mapping[str, tuple[Variant, Lock]],
    layouts: Mapping[str, Layout],
    since: str | None,
    verification: str = "",
) -> str:
    found = [Recipe(replace(variant, name=name), locked, Path()) for name, (variant, locked) in recipes.items()]
    return notes.notes(found, layouts, {name: (f"1-{name}", name) for name in recipes}, since, verification)


def table(found: str, first: str) -> list[list[str]]:
    """Rows of the first table whose first column has this heading."""
    lines = found[found.index(f"| {first} |") :].split("\n\n")[0].splitlines()
    return [line.strip("| ").split(" | ") for line in lines[2:]]


# A whole release.


def test_the_first_release_has_no_comparison(repository: Repository, variant: Callable[..., Variant]) -> None:
    locked = made_up(variant())
    repository.commit({}, {})
    assert text({"test": (variant(), locked)}, {"test": layout()}, None, "Ask cosign.\n") == (
        """\
The first release.

## Changes

### Added

- A thing, which is explained in its page, over two lines; [elsewhere](https://example.org) as well.

## Images

### test

Prosody 1, `sha256:index`

Tags: `1-test`, `test`

| platform | digest | packed |
|---|---|--:|
| linux/amd64 | `sha256:linux/amd64 11540000 ` | 11.54 MB |
| linux/arm64 | `sha256:linux/arm64 11540000 ` | 11.54 MB |

## Verification

"""
        "In a checkout, this builds the images from nothing, from this repository alone, and compares their digests:"
        "\n\n```sh\nscripts/nox -s verify -- test\n```\n\nAsk cosign.\n"
    )


def test_versions_fixes_and_sizes_are_told_against_the_release_before(
    repository: Repository, archive: signed.Archive, variant: Callable[..., Variant]
) -> None:
    """Two packages of one source are one row, and one line; what cannot be known is said."""

    def offered(library: str, tool: str) -> Lock:
        history = {"2": "Mend CVE-2026-11111 and CVE-2026-9999.", "1": "Mend CVE-2025-1111."}
        told = {"usr/share/doc/tool/changelog.Debian.gz": changelog("tools", history)}
        archive.offer(
            binary("tool", tool, told, Source="tools", Depends="library, silent"),
            binary("library", library, {"usr/share/doc/library": "tool"}, Source="tools"), binary("silent", library),
        )  # fmt: skip
        return lock.make(variant(), NOW)

    old = offered("1", "1")
    since = repository.commit({"test": old}, {"test": layout(image("linux/amd64"), image("linux/arm64"))})
    new = offered("2", "2")
    images = layout(image("linux/amd64", 12_694_000), image("linux/arm64", 11_527_500))
    found = text({"test": (variant(), new)}, {"test": images}, since)
    assert found.startswith(f"Against {since}, the release before.")
    assert table(found, "package") == [
        ["silent", "test", "all", "`1`", "`2`"], ["tools: library, tool", "test", "all", "`1`", "`2`"],
    ]  # fmt: skip
    assert re.findall("^- .*$", found.split("## Security fixes")[1].split("##")[0], re.MULTILINE) == [
        (
            "- **tools 1 → 2** (test): [CVE-2026-9999](https://security-tracker.debian.org/tracker/CVE-2026-9999),"
            " [CVE-2026-11111](https://security-tracker.debian.org/tracker/CVE-2026-11111)"
        )
    ]
    assert "Not known, for want of a changelog: silent 1 → 2." in found
    assert [row[2:] for row in table(found, "platform")] == [
        ["12.69 MB", "+1.15 MB (+10.0%)"], ["11.53 MB", "-12.5 kB (-0.1%)"],
    ]  # fmt: skip


def test_what_is_the_same_is_told_in_words(repository: Repository, variant: Callable[..., Variant]) -> None:
    locked = made_up(variant())
    since = repository.commit({"test": locked}, {"test": layout()})
    images = layout(image("linux/amd64", content="other"), image("linux/arm64"))
    found = text({"test": (variant(), locked)}, {"test": images}, since)
    assert "## Packages\n\nNo package changed.\n" in found
    assert "## Security fixes" not in found
    assert [row[3] for row in table(found, "platform")] == ["the same size", "the same image"]


def test_variants_and_platforms_that_come_or_go_are_told_in_words(
    repository: Repository, variant: Callable[..., Variant]
) -> None:
    """Not as a change of each of their packages."""
    was = replace(
        made_up(variant()), platforms={name: (package("tool", "2"),) for name in ("linux/386", "linux/arm64")}
    )
    now = replace(was, platforms={name: (package("tool", "1"),) for name in ("linux/arm64", "linux/amd64")})
    since = repository.commit(
        {"test": was, "former": replace(was, variant="former")},
        {"test": layout(image("linux/386"), image("linux/arm64"))},
    )
    found = text(
        {"test": (variant(), now), "other": (variant(), now)}, {"test": layout(), "other": layout()}, since
    )  # fmt: skip
    section = found.split("## Packages")[1].split("## ")[0]
    assert section.split("\n\n")[1:-1] == [
        "`test` is new for linux/amd64.", "`test` is no longer for linux/386.", "`other` is new.",
        "`former` is not there any more.",
        "| package | variants | platforms | old | new |\n|---|---|---|---|---|\n| tool | test | all | `2` | `1` |",
    ]  # fmt: skip
    assert [row[3] for row in table(found, "platform")] == ["new", "the same image"]
    assert (
        "### other\n\nProsody 1, `sha256:index`\n\nTags: `1-other`, `other`\n\n| platform | digest | packed |\n"
        in found
    )


def test_a_package_that_only_moved_is_no_change(repository: Repository, variant: Callable[..., Variant]) -> None:
    """A point release takes over what was in the security archive."""
    was, now = (
        made_up(variant(), package("library"), package("tool", archive=archive))
        for archive in ("debian-security", "debian")
    )
    since = repository.commit({"test": was}, {"test": layout()})
    assert "\n\nNo package changed.\n" in text({"test": (variant(), now)}, {"test": layout()}, since)


@pytest.mark.parametrize("broken", ["{", "[]", '{"variant": "test"}', '{"index": "x", "platforms": {"a": {}}}'])
def test_what_cannot_be_read_of_the_past_is_said(
    repository: Repository, variant: Callable[..., Variant], broken: str
) -> None:
    for path in (lock.path_of("test"), digests.path_of("test")):
        paths.write_text(path, broken)
    repository.git("add", "--all")
    repository.git("commit", "--quiet", "--message", "Written by something else")
    paths.write_text(repository.root / notes.CHANGELOG, CHANGELOG)
    found = text({"test": (variant(), made_up(variant()))}, {"test": layout()}, "HEAD")
    assert "What `test` was made of is not known: its lock at HEAD cannot be read." in found
    assert "The sizes of the release before cannot be read." in found
    assert "is new" not in found
    assert "| platform | digest | packed |\n" in found


def test_a_lock_of_an_earlier_time_is_read_without_its_digests(
    repository: Repository, variant: Callable[..., Variant]
) -> None:
    since = repository.commit({"test": made_up(variant())}, {})
    assert notes.former(since, "test") == notes.Former(there=True, lock=made_up(variant()))
    assert notes.former(since, "other") == notes.Former()


def test_a_revision_that_is_not_there_is_told(repository: Repository, variant: Callable[..., Variant]) -> None:
    repository.commit({}, {})
    with pytest.raises(UsageError, match=r"git ls-tree .* says: fatal: .*2026\.01\.01"):
        text({"test": (variant(), made_up(variant()))}, {"test": layout()}, "2026.01.01")


# The changelog.


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ([], "- A thing, which is explained in its page"),
        (["2026.11.20"], "### Changed\n\n- Something else."),
        (["2026.11.26"], "- A thing, which"),
        (["v1", "rc-2026.11.20"], "- A thing, which"),
    ],
)
def test_entries_are_those_of_the_tag_else_what_is_unreleased(
    repository: Repository, tags: list[str], expected: str
) -> None:
    repository.commit({}, {})
    for tag in tags:
        repository.git("tag", tag)
    assert expected in notes._entries(CHANGELOG)


@pytest.mark.parametrize("heading", ["## [2026.11.20] - 2026-11-20", "## 2026.11.20 (Friday)", "## [2026.11.20]"])
def test_headings_of_releases_may_have_more(repository: Repository, heading: str) -> None:
    repository.commit({}, {})
    repository.git("tag", "2026.11.20")
    assert notes._entries(CHANGELOG.replace("## 2026.11.20", heading)) == "### Changed\n\n- Something else."


def test_a_changelog_without_entries_gives_no_section(repository: Repository, variant: Callable[..., Variant]) -> None:
    repository.commit({}, {}, "# Changelog\n\n## Unreleased\n\n## 2026.11.20\n\n- Something else.\n")
    assert "## Changes" not in text({"test": (variant(), made_up(variant()))}, {"test": layout()}, None)


# The release before.


def test_the_last_release_is_the_newest_before_a_commit(repository: Repository) -> None:
    """Whatever the tags are called besides, in which order they were made, and on which branch."""
    commits = [repository.commit({}, {}) for _ in range(3)]
    assert notes.previous() is None
    repository.git("tag", "2026.11.9", commits[0])
    repository.git("tag", "v13.0.6", commits[1])
    repository.git("tag", "2026.11.20-rc1", commits[1])
    assert notes.previous() is None
    repository.git("tag", "--annotate", "--message", "A release", "2026.11.20.10", commits[1])
    repository.git("tag", "2026.11.20.9", commits[1])
    repository.git("tag", "2026.11.20", commits[0])
    repository.git("tag", "2026.11.26", commits[2])
    assert notes.previous() == "2026.11.20.10"
    assert notes.last() == "2026.11.26"
    assert notes.previous(commits[1]) == "2026.11.20"
    assert notes.previous(commits[0]) is None
    repository.git("switch", "--quiet", "--create", "branch", commits[1])
    repository.git("tag", "2026.11.21", repository.commit({}, {}))
    repository.git("switch", "--quiet", "main")
    repository.commit({}, {})
    assert notes.previous() == "2026.11.26"
    repository.git("merge", "--quiet", "--no-edit", "--no-ff", "branch")
    repository.git("tag", "--delete", "2026.11.26")
    assert notes.previous() == "2026.11.21"


@pytest.mark.parametrize("tags", [[], ["2026.11.20", "2026.11.26"]])
def test_a_workflow_is_told_the_last_release(
    repository: Repository, capsys: pytest.CaptureFixture[str], tags: list[str]
) -> None:
    repository.commit({}, {})
    for tag in tags:
        repository.git("tag", tag)
    output = repository.root / "output"
    output.write_text("other=1\n")
    notes.main(["--last", "--output", str(output)])
    expected = tags[-1] if tags else ""
    assert capsys.readouterr().out == f"{expected}\n"
    assert output.read_text() == f"other=1\nrelease={expected}\n"


def test_a_history_that_is_cut_off_is_refused(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """There it would look as if there had been no release."""
    repository.git("tag", "2026.11.20", repository.commit({}, {}))
    repository.commit({}, {})
    repository.git("clone", "--quiet", "--depth=1", f"file://{repository.root}", "shallow")
    monkeypatch.setattr(paths, "ROOT", repository.root / "shallow")
    for asked in (notes.previous, notes.last):
        with pytest.raises(UsageError, match="git fetch --unshallow --tags"):
            asked()


def test_outside_of_git_this_is_told(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a copy that is in another checkout, and where there is no Git."""
    repository.git("tag", "2026.11.20", repository.commit({}, {}))
    monkeypatch.setenv("PATH", str(repository.root))
    with pytest.raises(UsageError, match="Git is needed"):
        notes.last()
    monkeypatch.undo()
    monkeypatch.setattr(paths, "ROOT", repository.root / "images")
    with pytest.raises(UsageError, match="images is no checkout of Git"):
        notes.last()


# Whatever changes.

PACKAGES = st.builds(
    lambda name, version, source: package(name, version, source=source, source_version=version),
    st.sampled_from("abcd"), st.sampled_from(["1", "2~rc1", "3+b1"]), st.sampled_from(["s", "t"]),
)  # fmt: skip
PLATFORM_PACKAGES = st.dictionaries(
    st.sampled_from(["linux/amd64", "linux/arm64", "linux/386"]),
    st.lists(PACKAGES, unique_by=lambda found: found.package).map(tuple), min_size=1,
)  # fmt: skip


@given(st.lists(PLATFORM_PACKAGES, min_size=1, max_size=3), st.lists(PLATFORM_PACKAGES, min_size=1, max_size=3))
def test_each_change_is_in_one_row(
    before: Sequence[Mapping[str, tuple[LockedPackage, ...]]], after: Sequence[Mapping[str, tuple[LockedPackage, ...]]]
) -> None:
    def locks(found: Sequence[Mapping[str, tuple[LockedPackage, ...]]]) -> dict[str, Lock]:
        return {f"v{number}": Lock(f"v{number}", "", "", 0, (), one) for number, one in enumerate(found)}

    changed = changes.between(locks(before), locks(after))
    rows = [line.strip("| ").split(" | ") for line in notes._rows(changed)[2:]]
    told = sorted(
        (name, places, platforms, old.strip("`"), new.strip("`"))
        for packages, places, platforms, old, new in rows
        for name in packages.rpartition(": ")[2].split(", ")
    )
    assert told == sorted((one.package, ", ".join(one.locks), one.platforms, one.old, one.new) for one in changed)


SIZES = st.integers(50_000, 10**9)
UNITS = {"MB": 1_000_000, "kB": 1000, "bytes": 1}


@given(SIZES, SIZES | st.integers(-5000, 5000))
def test_a_difference_of_sizes_has_one_sign(size: int, other: int) -> None:
    before = other if other >= 50_000 else max(50_000, size + other)
    told = notes._difference(image("linux/amd64", size, "new"), image("linux/amd64", before, "old"))
    assert (told == "the same size") == (size == before)
    if size != before:
        match = re.fullmatch(r"([+-])([\d.]+) (kB|MB|bytes)( \(([+-])([\d.]+)%\))?", told)
        assert match is not None
        assert {match[1], match[5] or match[1]} == {"+" if size > before else "-"}
        unit = UNITS[match[3]]
        assert float(match[2]) >= 1
        assert float(match[2]) * unit == pytest.approx(abs(size - before), abs=unit / 20 + 1)
        assert float(match[6] or 0) == pytest.approx(abs(size - before) / before * 100, abs=0.051)
        assert match[6] != "0.0"


def test_no_change_of_a_package_that_came_or_went_is_a_fix() -> None:
    came = Change("tool", ("test",), "all", "-", "2", None, package("tool", "2"))
    rebuilt = Change(
        "tool", ("test",), "all", "2", "2+b1", package("tool", "2"), package("tool", "2+b1", source_version="2")
    )
    known = {came: (), rebuilt: ()}
    assert notes._fixes([came, rebuilt], known) == "The changelogs of the packages mention none."


def test_packages_without_changelogs_are_named() -> None:
    before, after = (package("tool", version, path=f"tool-{version}.apk") for version in ("1", "2"))
    change = Change("tool", ("alpine",), "all", "1", "2", before, after)
    assert notes._fixes([change], {change: ()}) == "Not known, for want of a changelog: tool 1 → 2."


# This repository.


def test_notes_of_this_repository_are_printed(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the command, against a commit in which the variant `hardened` had an older zlib, and there was no `jitsi`."""
    for name in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"):
        monkeypatch.setenv(name, "/dev/null")
    (checkout.root / notes.CHANGELOG).write_text((paths.ROOT / notes.CHANGELOG).read_text())
    path = checkout.root / "images" / "hardened" / "lock.json"
    now = path.read_text()
    locked = lock.load(variants.load("hardened"), lock.path_of("hardened"))

    def older(one: LockedPackage) -> LockedPackage:
        return replace(one, version="1", source_version="1", sha256="0" * 64) if one.source == "zlib" else one

    old = {platform: tuple(map(older, found)) for platform, found in locked.platforms.items()}
    path.write_text(lock.dump(replace(locked, platforms=old)))
    aside = (checkout.root / "images" / "jitsi").rename(checkout.root / "jitsi")
    repository = Repository(checkout.root)
    repository.git("init", "--quiet")
    repository.git("add", "images", "variants")
    repository.git("commit", "--quiet", "--message", "Before")
    repository.git("tag", "2026.11.20")
    aside.rename(checkout.root / "images" / "jitsi")
    path.write_text(now)
    repository.git("add", "images")
    repository.git("commit", "--quiet", "--message", "Now")
    done = checkout.run("notes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Against 2026.11.20, the release before.\n")
    assert "`jitsi` is new." in done.stdout
    (version,) = {one.version for found in locked.platforms.values() for one in found if one.source == "zlib"}
    assert table(done.stdout, "package") == [["zlib: zlib1g", "hardened", "all", "`1`", f"`{version}`"]]
    for name in lock.locked_names():
        committed = digests.load(name)
        assert committed is not None
        for digest in (committed.index, *(found.manifest for found in committed.images)):
            assert f"`{digest}`" in done.stdout
    assert checkout.run("notes", "--since", "v0").returncode == UsageError.exit_status


def test_notes_against_the_oldest_commit_are_short(request: pytest.FixtureRequest) -> None:
    """Whatever this clone has of the history."""
    if not (paths.ROOT / ".git").exists():
        pytest.skip("not a Git checkout")
    commits = git.output("log", "--format=%H", "--", str(lock.path_of("debian"))).split()
    recipes = [build.recipe(name) for name in lock.locked_names()]
    layouts = {found.variant.name: digests.load(found.variant.name) for found in recipes}
    request.getfixturevalue("cache")  # from here on, as Dockerfiles have the addresses of public mirrors
    found = notes.notes(recipes, {name: one for name, one in layouts.items() if one}, {}, commits[-1], "")
    assert len(found.split("## Packages")[1].splitlines()) < 40 * len(recipes)
