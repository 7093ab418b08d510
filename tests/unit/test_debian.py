"""A signed archive made for the test, served on the loopback, and everything that can be wrong with it."""

from __future__ import annotations

import hashlib
import itertools
import lzma
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest

from scripts import fetch, mirrors
from scripts.archives import debian
from scripts.archives.debian import Index, Relation
from scripts.errors import FetchError, LockError, SignatureError
from tests.unit import signed, web
from tests.unit.signed import IN_RELEASE, NOW, PACKAGES, SUITE, date, index_name, release_text, sign, stanza

Read = Callable[[bytes], debian.Release]


@pytest.fixture
def read(keyring: object) -> Read:
    del keyring
    return lambda content: debian.read_release(SUITE, f"debian/{IN_RELEASE}", content, NOW)


def test_a_good_index_is_believed(read: Read, keys: signed.Keys) -> None:
    content = sign(release_text(), keys[0])
    found = read(content)
    assert (found.suite, found.date) == (SUITE, NOW - timedelta(hours=3))
    assert found.sha256 == hashlib.sha256(content).hexdigest()
    index = lzma.compress(PACKAGES)
    assert found.files == {
        index_name(architecture): (hashlib.sha256(index).hexdigest(), len(index)) for architecture in ("amd64", "arm64")
    }


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({"Codename": "sid"}, "is signed, but for 'sid', not for 'trixie'", id="another suite"),
        pytest.param({"Codename": ""}, "is signed, but for None, not for 'trixie'", id="no suite"),
        pytest.param({"Valid_Until": date(NOW - timedelta(seconds=1))}, "expired on", id="expired a second ago"),
        pytest.param({"Date": date(NOW + timedelta(minutes=11))}, "which is after", id="from the future"),
    ],
)
def test_signed_but_wrong(read: Read, keys: signed.Keys, fields: dict[str, str], expected: str) -> None:
    with pytest.raises(SignatureError, match=expected) as caught:
        read(sign(release_text(signed.PACKAGES, **fields), keys[0]))
    assert str(caught.value).startswith(f"debian/{IN_RELEASE} ")


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"Valid_Until": ""}, id="no expiry"),
        pytest.param({"Valid_Until": date(NOW)}, id="expires just now"),
        pytest.param({"Date": date(NOW + timedelta(minutes=9))}, id="clocks differ a little"),
        pytest.param({"Codename": "forky", "Suite": "trixie"}, id="named by its suite"),
    ],
)
def test_signed_and_right(read: Read, keys: signed.Keys, fields: dict[str, str]) -> None:
    assert read(sign(release_text(signed.PACKAGES, **fields), keys[0])).files


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda keys: sign(release_text(), keys[0]).replace(b"main/", b"mean/"), id="tampered"),
        pytest.param(lambda _keys: release_text().encode(), id="unsigned"),
        pytest.param(lambda keys: sign(release_text(), keys[1]), id="another key"),
        pytest.param(lambda keys: sign(release_text(Valid_Until=date(NOW - timedelta(days=1))), keys[0]), id="expired"),
        pytest.param(lambda keys: sign(release_text(Date=date(NOW + timedelta(days=1))), keys[0]), id="newer"),
        pytest.param(lambda keys: sign(release_text(Codename="sid"), keys[0]), id="another suite"),
        pytest.param(lambda _keys: b"<html>welcome to our network", id="something else"),
        pytest.param(lambda _keys: b"x" * (5 << 20), id="endless"),
    ],
)
def test_a_bad_index_is_refused_and_the_next_mirror_asked(
    archive: signed.Archive,
    keys: signed.Keys,
    monkeypatch: pytest.MonkeyPatch,
    make: Callable[[signed.Keys], bytes],
) -> None:
    with web.serving() as liar:
        liar.behaviours[f"/{IN_RELEASE}"] = web.without_ranges(make(keys))
        found = [mirrors.Mirror(liar.url)]
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: tuple(found))
        with pytest.raises(SignatureError, match=f"debian/{IN_RELEASE}"):
            debian.release(SUITE, NOW)
        found.append(mirrors.Mirror(archive.server.url))
        assert debian.release(SUITE, NOW).files.keys() == {index_name("amd64"), index_name("arm64")}
        assert liar.requests
    assert archive.requests == [(f"/{IN_RELEASE}", "")]


def test_a_lie_is_told_even_if_other_mirrors_have_nothing(
    archive: signed.Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.publish(Codename="sid")
    found = tuple(mirrors.Mirror(url) for url in (archive.server.url, "http://127.0.0.1:9"))
    monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: found)
    with pytest.raises(SignatureError, match="for 'sid'"):
        debian.release(SUITE, NOW)


def test_no_index_anywhere_is_a_fetch_error(archive: signed.Archive) -> None:
    archive.server.behaviours.clear()
    with pytest.raises(FetchError, match=rf"{IN_RELEASE} could not be fetched(?s:.)*HTTP 404"):
        debian.release(SUITE, NOW)


def test_an_index_is_asked_for_by_hash_first(archive: signed.Archive) -> None:
    """A mirror that is updated between two requests still has it under its hash."""
    (item,) = debian.index_items(debian.release(SUITE, NOW), "arm64")
    assert item.paths == (
        f"dists/trixie/main/binary-arm64/by-hash/SHA256/{item.sha256}",
        "dists/trixie/main/binary-arm64/Packages.xz",
    )
    archive.put_index(b"another one, after an update of the mirror")
    archive.server.behaviours[f"/{item.paths[0]}"] = web.content(lzma.compress(PACKAGES))
    assert fetch.fetch([item], "now").downloaded_files == 1


def test_every_component_has_an_index(read: Read, keys: signed.Keys) -> None:
    suite = replace(SUITE, components=("main", "contrib"))
    found = replace(read(sign(release_text(), keys[0])), suite=suite)
    with pytest.raises(LockError, match="debian/trixie has no contrib for amd64"):
        debian.index_items(found, "amd64")
    files = dict(found.files) | {"contrib/binary-amd64/Packages.xz": ("ab", 7)}
    items = debian.index_items(replace(found, files=files), "amd64")
    assert [item.name for item in items] == [
        "trixie/main/binary-amd64/Packages.xz", "trixie/contrib/binary-amd64/Packages.xz",
    ]  # fmt: skip


def test_an_architecture_that_a_suite_lacks_is_named(read: Read, keys: signed.Keys) -> None:
    with pytest.raises(LockError, match="debian/trixie has no main for mips"):
        debian.index_items(read(sign(release_text(), keys[0])), "mips")


def test_an_index_is_parsed_where_it_is_asked() -> None:
    index = Index([(SUITE, PACKAGES)])
    (tool,) = index.packages("tool")
    assert (tool.version, tool.source, tool.source_version, tool.size) == ("1:2.0-1", "tools", "1:2.0", 10)
    assert (tool.architecture, tool.archive, tool.suite) == ("all", "debian", "trixie")
    assert tool.depends == ((Relation("library", ">=", "1"),), (Relation("helper"), Relation("other")))
    assert tool.provides == (Relation("instrument", "=", "3"),)
    assert (index.packages("nothing"), index.packages("instrument")) == ((), ())
    assert index.names == {"tool", "library", "instrument"}


def test_the_last_stanza_needs_no_blank_line_behind_it() -> None:
    assert not PACKAGES.endswith(b"\n")
    (library,) = Index([(SUITE, PACKAGES)]).packages("library")
    assert (library.version, library.source, library.source_version, library.size) == ("1.0", "library", "1.0", 10)


@pytest.mark.parametrize(
    ("field", "source", "source_version"),
    [("", "x", "2-1"), ("y", "y", "2-1"), ("y (1:3)", "y", "1:3")],
    ids=["same name", "other name", "other version"],
)
def test_the_source_of_a_package(field: str, source: str, source_version: str) -> None:
    text = stanza("x", "2-1", **({"Source": field} if field else {}))
    (found,) = Index([(SUITE, text.encode())]).packages("x")
    assert (found.source, found.source_version) == (source, source_version)


def test_relations_of_all_fields() -> None:
    text = stanza(
        "x", Pre_Depends="a", Depends="b (>> 1) | c:any (<< 2:3~), d", Conflicts="e (= 1)", Breaks="f, g (<= 2)",
        Recommends="never", Suggests="never", Enhances="never",
    )  # fmt: skip
    (found,) = Index([(SUITE, text.encode())]).packages("x")
    assert found.depends == (
        (Relation("a"),), (Relation("b", ">>", "1"), Relation("c", "<<", "2:3~")), (Relation("d"),),
    )  # fmt: skip
    assert found.conflicts == (Relation("e", "=", "1"), Relation("f"), Relation("g", "<=", "2"))
    assert str(found.depends[1][0]) == "b (>> 1)"


@pytest.mark.parametrize(
    ("wanted", "providers"),
    [
        (Relation("virtual"), ["c", "a", "b"]),
        (Relation("virtual", "=", "3"), ["b"]),
        (Relation("virtual", ">=", "2"), ["c", "b"]),
        (Relation("virtual", ">>", "3"), []),
        (Relation("another"), ["b"]),
        (Relation("a"), []),
    ],
    ids=str,
)
def test_providers(wanted: Relation, providers: list[str]) -> None:
    """A versioned wish is only fulfilled by a versioned `Provides`; by priority, then by name."""
    text = "\n".join(
        [
            stanza("b", Provides="another (= 1), virtual (= 3)", Priority="optional"),
            stanza("a", Provides="virtual", Priority="optional"),
            stanza("c", Provides="virtual (= 2)", Priority="required"),
        ]
    )
    index = Index([(SUITE, text.encode())])
    assert [package.name for package in index.providers(wanted)] == providers


def test_a_suite_can_be_limited_to_packages() -> None:
    limited = replace(SUITE, suite="backports", packages=frozenset({"library"}))
    newer = PACKAGES.replace(b"Version: 1.0", b"Version: 1.5").replace(b"2.0-1", b"9.0-1")
    newer = newer.replace(b"instrument", b"machine")
    index = Index([(SUITE, PACKAGES), (limited, newer)])
    assert [(package.version, package.suite) for package in index.packages("library")] == [
        ("1.5", "backports"), ("1.0", "trixie"),
    ]  # fmt: skip
    assert [package.version for package in index.packages("tool")] == ["1:2.0-1"]
    assert "machine" not in index.names, "nor does it provide anything from there"


def test_the_order_of_suites_does_not_matter() -> None:
    suites = [
        (replace(SUITE, suite=name), "\n".join(stanza("x", version) for version in versions).encode())
        for name, versions in {"one": ("1", "3"), "two": ("2", "3~"), "three": ("1:0",)}.items()
    ]
    for sources in itertools.permutations(suites):
        assert [package.version for package in Index(sources).packages("x")] == ["1:0", "3", "3~", "2", "1"]


VERSIONS = [
    "0", "0~", "1", "1.0", "1.0-1", "1.0-2", "1.0-10", "1.0-1~bpo13+1", "1.0-1+b1", "1.0-1+deb13u1", "1.0~rc1",
    "1.0+dfsg", "1.0a", "1.0.1",
    "1.9", "1.10", "01.0", "2.0", "2.0-0", "1:0.1", "1:1.0-1", "0:1.0-1", "2:0", "1.0~~", "1.0~",
    "13.0.6-1~bpo13+1", "13.0.6-1", "1.2.3+really1.0",
]  # fmt: skip


@pytest.mark.parametrize(
    ("relation", "version", "admitted"),
    [
        (("", ""), "1", True),
        (("=", "1.0-1"), "1.0-1", True),
        (("=", "1.0-1"), "1.0-2", False),
        (("=", "1.0-1"), "0:1.0-1", True),
        (("=", "1.0"), "1.0-0", True),
        ((">=", "1.0"), "1.0~rc1", False),
        ((">=", "2.0"), "1:0.1", True),
        ((">=", "1:0.1"), "2.0", False),
        (("<<", "1.0"), "1.0", False),
        (("<<", "1.0"), "1.0~", True),
        (("<=", "1.0"), "1.0", True),
        (("<=", "1.0"), "1.0-1", False),
        ((">>", "1.9"), "1.10", True),
        ((">>", "1.0"), "1.0+b1", True),
        ((">>", "1.0"), "1.0", False),
        ((">>", "13.0.6-1~bpo13+1"), "13.0.6-1", True),
        (("<", "1.0"), "1.0", True),  # the old spelling of <= (Policy 7.1)
        ((">", "1.0"), "1.0", True),
    ],
)
def test_a_relation_admits_versions(relation: tuple[str, str], version: str, admitted: bool) -> None:
    assert Relation("x", *relation).admits(version) is admitted


def test_an_unknown_operator_is_refused() -> None:
    with pytest.raises(LockError, match="Unknown relation operator '=='"):
        Relation("x", "==", "1").admits("1")


@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg, the oracle, is not on this machine")
def test_versions_compare_as_dpkg_does() -> None:
    chosen = random.Random(5).sample(list(itertools.permutations(VERSIONS, 2)), 120)  # noqa: S311
    for left, right in chosen:
        for operator in ("<<", "<=", "=", ">=", ">>"):
            theirs = subprocess.run(["dpkg", "--compare-versions", left, operator, right], check=False).returncode == 0
            assert Relation("x", operator, right).admits(left) is theirs, f"{left} {operator} {right}"
