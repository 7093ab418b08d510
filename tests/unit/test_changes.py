from __future__ import annotations

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from scripts import changes, lock
from scripts.archives import changelogs
from scripts.changes import Change
from scripts.lock import Lock
from scripts.variants import Variant
from tests.unit import signed
from tests.unit.deb import changelog, deb
from tests.unit.locks import made_up, package
from tests.unit.signed import NOW, Binary, binary


def rows(before: Lock | None, after: Lock) -> list[tuple[str, ...]]:
    """Package, platforms, old and new version of what differs between two locks."""
    found = changes.between({"test": before} if before else {}, {"test": after})
    return [(change.package, change.platforms, change.old, change.new) for change in found]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        pytest.param(["a 1"], ["a 1"], [], id="nothing"),
        pytest.param([], ["a 1"], [("a", "all", "-", "1")], id="new"),
        pytest.param(["a 1", "b 1"], ["b 1"], [("a", "all", "1", "-")], id="gone"),
        pytest.param(["a 1"], ["a 2"], [("a", "all", "1", "2")], id="newer"),
        pytest.param(["a 2"], ["a 1"], [("a", "all", "2", "1")], id="older"),
        pytest.param(
            ["c 1", "b 1", "a 1"],
            ["c 2", "b 1", "d 3"],
            [("a", "all", "1", "-"), ("c", "all", "1", "2"), ("d", "all", "-", "3")],
            id="several, by name",
        ),
    ],
)
def test_changes_are_told_by_package(
    variant: Callable[..., Variant], before: list[str], after: list[str], expected: list[tuple[str, ...]]
) -> None:
    def locked(names: list[str]) -> Lock:
        packages = tuple(package(*name.split()) for name in names)
        return replace(made_up(variant()), platforms=dict.fromkeys(("linux/amd64", "linux/arm64"), packages))

    assert rows(locked(before), locked(after)) == expected


def test_changes_of_some_platforms_name_them(variant: Callable[..., Variant]) -> None:
    old, new = package("a", "1"), package("a", "1+b1")
    before = replace(made_up(variant()), platforms={"linux/386": (old,), "linux/amd64": (old,), "linux/arm64": (old,)})
    after = replace(before, platforms={"linux/386": (new,), "linux/amd64": (new,), "linux/arm64": (old,)})
    assert rows(before, after) == [("a", "linux/386, linux/amd64", "1", "1+b1")]
    assert rows(None, after) == [
        ("a", "linux/386, linux/amd64", "-", "1+b1"), ("a", "linux/arm64", "-", "1"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("field", "value", "old", "new"),
    [
        ("layer", "top", "1 (layer base)", "1 (layer top)"),
        ("archive", "debian-security", "1 (archive debian)", "1 (archive debian-security)"),
        ("size", 11, "1 (size 10)", "1 (size 11)"),
    ],
)
def test_what_else_differs_is_told(
    variant: Callable[..., Variant], field: str, value: str | int, old: str, new: str
) -> None:
    before = made_up(variant(), package("a"))
    after = made_up(variant(), replace(package("a"), **{field: value}))  # type: ignore[arg-type]
    assert rows(before, after) == [("a", "all", old, new)]


def test_what_several_locks_have_in_common_is_told_once(variant: Callable[..., Variant]) -> None:
    old, new = made_up(variant(), package("a", "1")), made_up(variant(), package("a", "2"))
    more = replace(new, platforms={**new.platforms, "linux/arm64": (package("a", "3"),)})
    found = changes.between(dict.fromkeys(("one", "two", "three"), old), {"one": new, "two": more, "three": new})
    assert found == [
        Change("a", ("one", "three"), "all", "1", "2"),
        Change("a", ("two",), "linux/amd64", "1", "2"),
        Change("a", ("two",), "linux/arm64", "1", "3"),
    ]


# Changelogs, of packages that are in an archive.

HISTORY = {
    "1:2.0-3": "Fix CVE-2026-20001 and CVE-2026-0009; CVE-2026-0009 was incomplete.",
    "1:2.0-2": "Fix CVE-2025-1234 (closes: #1), and what is no CVE-2025-12.",
    "1:2.0-1": "Fix CVE-2024-0001.",
    "1.9-1": "Fix CVE-2023-0001.",
}


def with_history(name: str, version: str, folder: str = "", **fields: str) -> Binary:
    """A package with a changelog, or, with a folder, with a link to another package's."""
    files = {f"usr/share/doc/{name}/changelog.Debian.gz": changelog("tools", HISTORY)}
    return binary(name, version, {f"usr/share/doc/{name}": folder} if folder else files, **fields)


def mentions(
    archive: signed.Archive, variant: Variant, before: list[Binary], after: list[Binary]
) -> dict[str, tuple[str, ...]]:
    """What is known of each package that changed, when the archive has these packages in turn."""
    archive.offer(*before)
    old = lock.make(variant, NOW)
    archive.offer(*after)
    new = lock.make(variant, NOW)
    found = changes.between({"test": old}, {"test": new})
    archive.requests.clear()
    known = changes.mentioned(found, {"test": new})
    return {change.package: known[change] for change in found if change in known}


LIBRARY = binary("library", "1")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("1:2.0-1", "1:2.0-3", ("CVE-2025-1234", "CVE-2026-0009", "CVE-2026-20001")),
        ("1:2.0-1", "1:2.0-2", ("CVE-2025-1234",)),
        ("1.9-1", "1:2.0-1", ("CVE-2024-0001",)),
        ("3.0-1", "1:2.0-1", ("CVE-2024-0001",)),
        ("1:2.0-3", "1:2.0-1", ()),
        ("1:2.0-3", "1:2.0-4", ()),
    ],
)
def test_what_lies_between_two_versions_is_mentioned(
    archive: signed.Archive, variant: Callable[..., Variant], old: str, new: str, expected: tuple[str, ...]
) -> None:
    found = mentions(archive, variant(), [LIBRARY, with_history("tool", old)], [LIBRARY, with_history("tool", new)])
    assert found == {"tool": expected}


def test_versions_are_those_of_the_source(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    """Built again, a package has another version, and no other changelog."""
    old, new, again = (
        with_history("tool", version, Source=f"tools ({source})")
        for version, source in (("7+1", "1:2.0-1"), ("7+2", "1:2.0-2"), ("7+2+b1", "1:2.0-2"))
    )
    assert mentions(archive, variant(), [LIBRARY, old], [LIBRARY, new]) == {"tool": ("CVE-2025-1234",)}
    assert mentions(archive, variant(), [LIBRARY, new], [LIBRARY, again]) == {"tool": ()}


def test_packages_of_a_source_share_its_changelog(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    """One of them is fetched, once; the smallest, unless it has only a link."""
    before = [
        with_history("library", "1:2.0-1", "tool", Source="tools"), with_history("tool", "1:2.0-1", Source="tools"),
    ]  # fmt: skip
    after = [
        with_history("library", "1:2.0-2", "tool", Source="tools"), with_history("tool", "1:2.0-2", Source="tools"),
    ]  # fmt: skip
    assert len(after[0].content) < len(after[1].content)
    expected = {"library": ("CVE-2025-1234",), "tool": ("CVE-2025-1234",)}
    assert mentions(archive, variant(), before, after) == expected
    assert [path for path, _ in archive.requests] == [f"/{package.path}" for package in after]


def test_what_comes_or_goes_mentions_nothing(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    tool = with_history("tool", "1:2.0-3", Depends="another")
    before, after = binary("gone", "1", Provides="another"), binary("come", "1", Provides="another")
    assert mentions(archive, variant(), [LIBRARY, tool, before], [LIBRARY, tool, after]) == {"gone": (), "come": ()}
    assert archive.requests == []


def test_a_package_that_cannot_be_had_is_a_warning(
    archive: signed.Archive, variant: Callable[..., Variant], capsys: pytest.CaptureFixture[str]
) -> None:
    """What the others mention is told."""
    library = with_history("library", "1:2.0-3")
    lost = replace(with_history("tool", "2"), path="elsewhere")
    found = mentions(
        archive, variant(), [with_history("library", "1:2.0-2"), binary("tool", "1")], [library, lost]
    )  # fmt: skip
    assert found == {"library": ("CVE-2026-0009", "CVE-2026-20001")}
    output = capsys.readouterr().err
    assert "No mirror has tool 2 (all) any more" in output
    assert "So what the changelog of tool mentions is not known." in output


def test_a_package_without_changelog_is_not_known(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    assert mentions(archive, variant(), [LIBRARY, binary("tool", "1")], [LIBRARY, binary("tool", "2")]) == {}


def test_packages_that_are_not_of_debian_have_no_changelog(variant: Callable[..., Variant]) -> None:
    before, after = (made_up(variant(), package("a", version, path=f"a-{version}.apk")) for version in ("1", "2"))
    found = changes.between({"test": before}, {"test": after})
    assert changes.mentioned(found, {"test": after}) == dict.fromkeys(found, ())


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"usr/share/doc/tool/changelog.gz": changelog("tool", {"2": "Native."})}, "2"),
        (
            {
                "usr/share/doc/tool/changelog.gz": changelog("tool", {"9": "Of upstream."}),
                "usr/share/doc/tool/changelog.Debian.gz": changelog("tool", {"2": "Debian's."}),
            },
            "2",
        ),
        ({"usr/share/doc/tool": "elsewhere", "usr/share/doc/elsewhere/changelog.gz": changelog("x", {"2": "."})}, "2"),
        ({"usr/share/doc/tool": "elsewhere"}, None),
        ({"usr/share/doc/tool/copyright": b""}, None),
        ({}, None),
    ],
    ids=["native", "both", "a link within", "a link to another package", "none", "no documentation"],
)
def test_where_a_changelog_is(tmp_path: Path, files: dict[str, bytes | str], expected: str | None) -> None:
    (tmp_path / "x.deb").write_bytes(deb(files))
    found = changelogs.read(tmp_path / "x.deb")
    assert (str(found.version) if found else None) == expected


def test_a_changelog_in_another_encoding_is_read(tmp_path: Path) -> None:
    text = gzip.decompress(changelog("tool", {"2": "Fix CVE-2026-1111."})).replace(b"Nobody", b"Andr\xe9")
    (tmp_path / "x.deb").write_bytes(deb({"usr/share/doc/tool/changelog.gz": gzip.compress(text)}))
    found = changelogs.read(tmp_path / "x.deb")
    assert found is not None
    assert changelogs.vulnerabilities(found, "1", "2") == ("CVE-2026-1111",)


# As they are shown.

TOOL = Change("tool", ("one", "two"), "all", "1~rc1~x", "2")
GONE = Change("gone", ("one",), "linux/386, linux/arm64", "1", "-")
KNOWN = {TOOL: ("CVE-2025-1234", "CVE-2026-0009")}


def test_the_table_has_a_vulnerability_a_line() -> None:
    console = Console(width=120)
    with console.capture() as capture:
        console.print(changes.shown([TOOL, GONE], KNOWN))
    lines = [[cell.strip() for cell in line.split("│")[1:-1]] for line in capture.get().splitlines() if "│" in line]
    assert lines == [
        ["tool", "one, two", "all", "1~rc1~x", "2", "CVE-2025-1234"],
        ["", "", "", "", "", "CVE-2026-0009"],
        ["gone", "one", "linux/386, linux/arm64", "1", "-", "not known"],
    ]


def test_markdown_has_links() -> None:
    tracker = "https://security-tracker.debian.org/tracker"
    assert changes.markdown([TOOL, GONE], KNOWN).splitlines() == [
        "| package | locks | platforms | old | new | CVE in the changelog |",
        "|---|---|---|---|---|---|",
        (
            "| tool | one, two | all | `1~rc1~x` | `2` |"
            f" [CVE-2025-1234]({tracker}/CVE-2025-1234), [CVE-2026-0009]({tracker}/CVE-2026-0009) |"
        ),
        "| gone | one | linux/386, linux/arm64 | `1` | `-` | not known |",
    ]
    assert changes.markdown([], {}) == "No package changed.\n"
