"""A signed archive made for the test, served on the loopback, and everything that can be wrong with it."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pysequoia
import pytest

from scripts import fetch, lock, mirrors, variants
from scripts.archives import debian, signatures
from scripts.archives.debian import Index, Relation
from scripts.errors import FetchError, LockError, SignatureError
from scripts.variants import Suite, Variant
from tests.unit import web

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SUITE = Suite("debian", "trixie", ("main",), None)
PACKAGES = b"""\
Package: tool
Version: 1:2.0-1
Architecture: amd64
Source: tools (1:2.0)
Filename: pool/main/t/tools/tool_2.0-1_amd64.deb
SHA256: 00
Size: 10
Priority: optional
Depends: library (>= 1), helper:any | other
Provides: instrument (= 3)

Package: library
Version: 1.0
Architecture: all
Filename: pool/main/l/library/library_1.0_all.deb
SHA256: 01
Size: 20"""


Keys = tuple[pysequoia.Tsk, pysequoia.Tsk]


@pytest.fixture(scope="module")
def keys() -> tuple[pysequoia.Tsk, pysequoia.Tsk]:
    """The archive's key, and somebody else's."""
    return pysequoia.Tsk.generate("archive@example.org"), pysequoia.Tsk.generate("other@example.org")


@pytest.fixture(autouse=True)
def keyring(keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trust the archive's key, and only that."""
    path = tmp_path / "keyring.pgp"
    monkeypatch.setattr(signatures, "DEBIAN_KEYRING", path)
    path.write_bytes(bytes(keys[0].extract_certificate()))


def sign(text: str, key: pysequoia.Tsk) -> bytes:
    return bytes(pysequoia.sign(key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR))


def release_text(**fields: str) -> str:
    index = lzma.compress(PACKAGES)
    values = {
        "Codename": "trixie",
        "Date": format_datetime(NOW - timedelta(hours=3), usegmt=True),
        "Valid-Until": format_datetime(NOW + timedelta(days=7), usegmt=True),
        "SHA256": f"\n {hashlib.sha256(index).hexdigest()} {len(index)} main/binary-amd64/Packages.xz",
    } | fields
    return "".join(f"{name}: {value}\n" for name, value in values.items() if value)


Read = Callable[[bytes], debian.Release]


@pytest.fixture
def read() -> Read:
    return lambda content: debian.read_release(SUITE, "debian/dists/trixie/InRelease", content, NOW)


def test_a_good_index_is_believed(read: Read, keys: Keys) -> None:
    found = read(sign(release_text(), keys[0]))
    assert found.date == NOW - timedelta(hours=3)
    assert list(found.files) == ["main/binary-amd64/Packages.xz"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"Codename": "sid"}, "for 'sid', not for 'trixie'"),
        ({"Valid-Until": format_datetime(NOW - timedelta(minutes=1), usegmt=True)}, "expired on"),
        ({"Date": format_datetime(NOW + timedelta(hours=1), usegmt=True)}, "which is after"),
    ],
    ids=["another suite", "expired", "from the future"],
)
def test_signed_but_wrong(read: Read, keys: Keys, fields: dict[str, str], expected: str) -> None:
    with pytest.raises(SignatureError, match=expected) as caught:
        read(sign(release_text(**fields), keys[0]))
    assert "debian/dists/trixie/InRelease" in str(caught.value)


def test_an_index_without_expiry_is_believed(read: Read, keys: Keys) -> None:
    assert read(sign(release_text(**{"Valid-Until": ""}), keys[0]))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda content: content.replace(b"main/", b"mean/"), id="altered"),
        pytest.param(lambda _content: release_text().encode(), id="not signed"),
        pytest.param(lambda content: content[: len(content) // 2], id="truncated"),
        pytest.param(lambda _content: b"", id="empty"),
    ],
)
def test_tampered(read: Read, keys: Keys, spoil: Callable[[bytes], bytes]) -> None:
    with pytest.raises(SignatureError, match=r"is not signed by a key of keyring\.pgp"):
        read(spoil(sign(release_text(), keys[0])))


def test_another_key_is_not_trusted(read: Read, keys: Keys) -> None:
    with pytest.raises(SignatureError, match="is not signed by a key"):
        read(sign(release_text(), keys[1]))


def test_what_stands_outside_the_signature_is_not_read(keys: Keys) -> None:
    content = b"Codename: evil\n\n" + sign("Codename: trixie\n", keys[0]) + b"\nCodename: evil\n"
    try:
        text = signatures.signed_text(content, "InRelease")
    except SignatureError:
        return  # refusing it altogether is as good
    assert b"evil" not in text
    assert b"Codename: trixie" in text


def test_the_second_mirror_is_asked_when_the_first_lies(
    cache: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cache
    good = sign(release_text(), keys[0])
    with web.serving() as liar, web.serving() as honest:
        liar.behaviours["/dists/trixie/InRelease"] = web.without_ranges(good.replace(b"main/", b"mean/"))
        honest.behaviours["/dists/trixie/InRelease"] = web.without_ranges(good)
        found: tuple[mirrors.Mirror, ...] = (mirrors.Mirror(liar.url), mirrors.Mirror(honest.url))
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: found)
        assert debian.release(SUITE, NOW).sha256 == hashlib.sha256(good).hexdigest()
        assert liar.requests
        found = found[:1]
        with pytest.raises(SignatureError, match="is not signed"):
            debian.release(SUITE, NOW)


def test_an_index_that_is_not_what_was_signed_is_refused(
    cache: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch, read: Read
) -> None:
    del cache
    items = debian.index_items(read(sign(release_text(), keys[0])), "amd64")
    with web.serving() as server:
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(server.url),))
        other = lzma.compress(PACKAGES.replace(b"2.0-1", b"6.6-6"))
        server.behaviours["/dists/trixie/main/binary-amd64/Packages.xz"] = web.content(other)
        with pytest.raises(FetchError, match=r"trixie/main/binary-amd64/Packages\.xz could not be fetched"):
            fetch.fetch(items, "now")
        server.behaviours["/dists/trixie/main/binary-amd64/Packages.xz"] = web.content(lzma.compress(PACKAGES))
        fetch.fetch(items, "now")
    assert Index.of([read(sign(release_text(), keys[0]))], "amd64").names == {"tool", "library", "instrument"}


def test_an_architecture_that_a_suite_lacks_is_named(read: Read, keys: Keys) -> None:
    with pytest.raises(LockError, match="debian/trixie has no main for mips"):
        debian.index_items(read(sign(release_text(), keys[0])), "mips")


def test_an_index_is_parsed_where_it_is_asked() -> None:
    index = Index([(SUITE, PACKAGES)])
    (tool,) = index.packages("tool")
    assert (tool.version, tool.source, tool.source_version, tool.size) == ("1:2.0-1", "tools", "1:2.0", 10)
    assert tool.depends == ((Relation("library", ">=", "1"),), (Relation("helper"), Relation("other")))
    (library,) = index.packages("library")  # the last stanza, without a blank line after it
    assert library.source_version == "1.0"
    assert index.packages("nothing") == ()
    assert list(index.providers(Relation("instrument", "=", "3"))) == [tool]
    assert list(index.providers(Relation("instrument", ">=", "4"))) == []


def test_a_suite_can_be_limited_to_packages() -> None:
    limited = Suite("debian", "backports", ("main",), frozenset({"library"}))
    newer = PACKAGES.replace(b"Version: 1.0", b"Version: 1.5").replace(b"2.0-1", b"9.0-1")
    index = Index([(SUITE, PACKAGES), (limited, newer)])
    assert [package.version for package in index.packages("library")] == ["1.5", "1.0"]
    assert [package.version for package in index.packages("tool")] == ["1:2.0-1"]


@pytest.mark.parametrize(
    ("relation", "version", "admitted"),
    [
        (("", ""), "1", True),
        (("=", "1.0-1"), "1.0-1", True),
        (("=", "1.0-1"), "1.0-2", False),
        ((">=", "1.0"), "1.0~rc1", False),
        ((">=", "2.0"), "1:0.1", True),
        (("<<", "1.0"), "1.0", False),
        (("<<", "1.0"), "1.0~", True),
        (("<=", "1.0"), "1.0", True),
        ((">>", "1.9"), "1.10", True),
        ((">>", "1.0"), "1.0+b1", True),
    ],
)
def test_versions_compare_as_dpkg_does(relation: tuple[str, str], version: str, admitted: bool) -> None:
    assert Relation("x", *relation).admits(version) is admitted


@pytest.fixture
def archive(cache: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[web.Web]:
    """The archive on the loopback, as the only mirror."""
    del cache
    with web.serving() as server:
        server.behaviours["/dists/trixie/InRelease"] = web.without_ranges(sign(release_text(), keys[0]))
        server.behaviours["/dists/trixie/main/binary-amd64/Packages.xz"] = web.content(lzma.compress(PACKAGES))
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(server.url),))
        yield server


VARIANT = """\
description: A variant for tests.
distribution: debian
suites: [{suite: trixie}]
platforms: [linux/amd64]
layers:
  base: [library]
  top: [tool]
exclude: {helper: not in this archive}
"""


def variant(folder: Path, text: str = VARIANT) -> Variant:
    (folder / "test.yaml").write_text(text)
    return variants.load("test", folder)


def test_a_lock_is_made_from_the_archive(archive: web.Web, tmp_path: Path) -> None:
    del archive
    made = lock.make(variant(tmp_path), None, NOW)
    rows = [(found.layer, found.package, found.version) for found in made.platforms["linux/amd64"]]
    assert rows == [("base", "library", "1.0"), ("top", "tool", "1:2.0-1")]
    assert made.epoch == int((NOW - timedelta(hours=3)).timestamp())
    assert made.snapshot == "20261120T210000Z"


def test_a_new_index_without_new_packages_changes_nothing(archive: web.Web, keys: Keys, tmp_path: Path) -> None:
    """Not the epoch either: the digests stay."""
    made = lock.make(variant(tmp_path), None, NOW)
    text = release_text(Date=format_datetime(NOW - timedelta(hours=1), usegmt=True))
    archive.behaviours["/dists/trixie/InRelease"] = web.without_ranges(sign(text, keys[0]))
    assert lock.make(variant(tmp_path), made, NOW) == made
    more = lock.make(variant(tmp_path, VARIANT.replace("helper:", "other: not needed\n, helper:")), made, NOW)
    assert (more.epoch, more.platforms) == (made.epoch, made.platforms)
    assert more.inputs != made.inputs


def test_an_unknown_package_is_named_with_its_place(archive: web.Web, tmp_path: Path) -> None:
    del archive
    with pytest.raises(LockError) as caught:
        lock.make(variant(tmp_path, VARIANT.replace("[library]", "[libary]")), None, NOW)
    expected = "test.yaml:6:10: layers.base[0]: no package 'libary' for linux/amd64 in trixie; did you mean 'library'?"
    assert expected in str(caught.value)
