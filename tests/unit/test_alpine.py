from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from scripts import fetch, resolve
from scripts.archives import alpine, signatures
from scripts.archives import apk as format_
from scripts.archives.alpine import Index
from scripts.archives.packages import Package
from scripts.errors import FetchError, GoneError, LockError, SignatureError, UserError
from tests.unit import apk, web
from tests.unit.apk import SUITE, Apk, Entry

INDEX = "/v3.24/main/x86_64/APKINDEX.tar.gz"
FOLDER = "v3.24/main/x86_64"


def of(*packages: Apk) -> Index:
    """What a resolver sees of packages; no signatures are involved."""
    return Index([(SUITE, FOLDER, "\n".join(package.record for package in packages))])


def names(found: tuple[Package, ...]) -> list[str]:
    return [str(package) for package in found]


# Signatures


@pytest.mark.parametrize("algorithm", ["RSA", "RSA256"])
def test_a_signed_index_is_read(alpine: apk.Archive, algorithm: str) -> None:
    content = alpine.publish(apk.apk("tool", built=apk.NOW + 7), apk.apk("older"), algorithm=algorithm)
    release = read_one()
    assert release.name == FOLDER
    assert release.sha256 == hashlib.sha256(content).hexdigest()
    assert release.date.timestamp() == apk.NOW + 7
    assert release.key.name == alpine.signer.name
    found = Index.of([release], "x86_64")
    assert [str(package) for package in found.packages("tool")] == ["tool 1.0-r0"]
    assert found.packages("tool")[0].path == f"{FOLDER}/tool-1.0-r0.apk"


def read_one() -> alpine.Release:
    suite = type(SUITE)("alpine", "v3.24", ("main",), None)
    (release,) = alpine.read([suite], ["x86_64"]).releases
    return release


def in_the_middle(content: bytes) -> bytes:
    place = len(content) - 40
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def without_signature(content: bytes) -> bytes:
    return content[len(format_.streams(content, 1)[0].packed) :]


def signed_anew(content: bytes) -> bytes:
    """By a stranger, under the name of the archive's key."""
    rest = without_signature(content)
    return apk.Signer().stream(rest) + rest


def stranger(content: bytes) -> bytes:
    rest = without_signature(content)
    return apk.Signer("stranger.rsa.pub").stream(rest) + rest


@pytest.mark.parametrize(
    ("spoil", "kind", "expected"),
    [
        pytest.param(in_the_middle, SignatureError, "is not valid: the content was altered", id="altered"),
        pytest.param(without_signature, SignatureError, "there is no RSA signature in it", id="unsigned"),
        pytest.param(signed_anew, SignatureError, "is not valid: the content was altered", id="wrong key"),
        pytest.param(stranger, SignatureError, "the key stranger.rsa.pub is not known", id="unknown key"),
        pytest.param(lambda found: found[:-100], SignatureError, "the content was altered", id="truncated"),
        pytest.param(lambda found: found[:200], SignatureError, "ends within gzip stream 1", id="signature truncated"),
        pytest.param(lambda _found: b"", SignatureError, "it is empty", id="empty"),
        pytest.param(lambda _found: b"<html>", SignatureError, "gzip stream 1 is damaged", id="a web page"),
        pytest.param(lambda _found: gzip.compress(b"x" * 999), SignatureError, "is not a tar archive", id="no tar"),
        pytest.param(lambda _found: b"ADB.\x00\x01", LockError, "third format of apk", id="third format"),
        pytest.param(lambda _found: b"ADBd\x00\x01", LockError, "third format of apk", id="deflated third format"),
        pytest.param(lambda _found: b"ADBc\x00\x01", LockError, "third format of apk", id="compressed third format"),
    ],
)
def test_a_bad_index_is_refused(
    alpine: apk.Archive, spoil: Callable[[bytes], bytes], kind: type[UserError], expected: str
) -> None:
    content = alpine.publish(apk.apk("tool"))
    alpine.server.behaviours[INDEX] = web.without_ranges(spoil(content))
    with pytest.raises(kind) as caught:
        read_one()
    assert type(caught.value) is kind
    assert expected in str(caught.value)
    assert f"alpine{INDEX}" in str(caught.value)


def test_the_good_copy_of_another_mirror_is_taken(alpine: apk.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    content = alpine.publish(apk.apk("tool"))
    with web.serving() as bad:
        bad.behaviours[INDEX] = web.without_ranges(stranger(content))
        monkeypatch.setenv("ALPINE_MIRROR", bad.url)
        monkeypatch.setattr("scripts.mirrors.ALPINE", alpine.server.url)
        assert read_one().sha256 == hashlib.sha256(content).hexdigest()
        assert bad.requests, "the bad one was asked first"


@pytest.mark.parametrize(
    ("description", "architecture", "expected"),
    [
        ("v3.23.4-1-gabc", "x86_64", "it is of 'v3.23.4-1-gabc', not of 'v3.24'"),
        ("v3.240.0", "x86_64", "it is of 'v3.240.0'"),
        ("", "x86_64", "it is of ''"),
        ("v3.24.0", "aarch64", "has packages for aarch64"),
    ],
)
def test_a_signed_index_of_something_else_is_refused(
    alpine: apk.Archive, description: str, architecture: str, expected: str
) -> None:
    alpine.publish(apk.apk("tool", architecture=architecture), description=description)
    with pytest.raises(SignatureError, match=expected):
        read_one()


def test_alpines_own_keys_cannot_be_replaced_by_others(alpine: apk.Archive, tmp_path: Path, signer: apk.Signer) -> None:
    (own,) = signatures.ALPINE_KEYS.glob("*-6165ee59.rsa.pub")
    (tmp_path / "keys" / own.name).write_bytes(signer.public)
    alpine.signer = apk.Signer(own.name, signer.private)
    alpine.publish(apk.apk("tool"))
    with pytest.raises(SignatureError, match=r"the signature by alpine-devel.*6165ee59\.rsa\.pub is not valid"):
        read_one()


def test_a_key_that_is_none_is_told(alpine: apk.Archive, tmp_path: Path) -> None:
    alpine.publish(apk.apk("tool"))
    path = tmp_path / "keys" / alpine.signer.name
    path.write_text("not a key")
    with pytest.raises(SignatureError, match=r"is not a public key in PEM"):
        read_one()
    public = ec.generate_private_key(ec.SECP256R1()).public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    with pytest.raises(SignatureError, match=r"is not an RSA key"):
        read_one()


def test_there_is_a_key_for_each_architecture() -> None:
    """Names and SHA-512 as main/alpine-keys/APKBUILD of Alpine states them."""
    stated = {
        "6165ee59": "8b9c2208c904c9f34d9d01d3d68b2242", "616ae350": "51a5ec21283fe218809b2325202e1f8c",
        "616adfeb": "a98095a626f2dcbda73ffd8873ba2d60", "616a9724": "7aa5526a88519ae91f997bf914a9bd3d",
        "61666e3f": "b89d825e6af73687339848817791b294", "616abc23": "bad4da65221150a5d4cc6f63981e4dd2",
        "616ac3bc": "83fc29066f6073418ecf01176ce24c1c", "616db30d": "7cea57204a50d72bddff201c509ccbf0",
    }  # fmt: skip
    found = {
        path.name.removeprefix("alpine-devel@lists.alpinelinux.org-").removesuffix(".rsa.pub"):
            hashlib.sha512(path.read_bytes()).hexdigest()[:32]
        for path in signatures.ALPINE_KEYS.iterdir()
    }  # fmt: skip
    assert found == stated


# Resolution


@pytest.mark.parametrize(
    ("packages", "wanted", "expected"),
    [
        pytest.param([apk.apk("a", depend="b"), apk.apk("b")], ["a"], ["a 1.0-r0", "b 1.0-r0"], id="plain"),
        pytest.param(
            [apk.apk("a", depend="b"), apk.apk("b", "1.9-r9"), apk.apk("b", "1.10_rc1-r0")], ["a"],
            ["a 1.0-r0", "b 1.10_rc1-r0"], id="highest version",
        ),
        pytest.param(
            [apk.apk("a", depend="b<2"), apk.apk("b", "2"), apk.apk("b", "2_beta"), apk.apk("b", "1")], ["a"],
            ["a 1.0-r0", "b 2_beta"], id="bounded",
        ),
        pytest.param(
            [apk.apk("a", depend="b~1.6"), apk.apk("b", "1.60"), apk.apk("b", "1.6.3")], ["a"],
            ["a 1.0-r0", "b 1.6.3"], id="beginning of a version",
        ),
        pytest.param(
            [apk.apk("a", depend="b=1-r1"), apk.apk("b", "1-r1"), apk.apk("b", "1-r2")], ["a"],
            ["a 1.0-r0", "b 1-r1"], id="exact",
        ),
        pytest.param(
            [apk.apk("a", depend="so:libc.musl-x86_64.so.1"), apk.apk("musl", provides="so:libc.musl-x86_64.so.1=1")],
            ["a"], ["a 1.0-r0", "musl 1.0-r0"], id="shared library",
        ),
        pytest.param(
            [apk.apk("a", depend="cmd:lua5.4 pc:lua>=5.4"), apk.apk("l", provides="cmd:lua5.4=5.4-r0"),
             apk.apk("l-dev", provides="pc:lua=5.4.7"), apk.apk("o-dev", provides="pc:lua=5.3")],
            ["a"], ["a 1.0-r0", "l 1.0-r0", "l-dev 1.0-r0"], id="command and pkg-config",
        ),
        pytest.param(
            [apk.apk("a", depend="so:x.so.1"), apk.apk("b", provides="so:x.so.1=1.0"),
             apk.apk("c", provides="so:x.so.1=1.1")],
            ["a"], ["a 1.0-r0", "c 1.0-r0"], id="highest provided version",
        ),
        pytest.param(
            [apk.apk("a", depend="so:x.so.1"), apk.apk("b", provides="so:x.so.1=1"),
             apk.apk("c", provides="so:x.so.1=1", provider_priority="5")],
            ["a"], ["a 1.0-r0", "c 1.0-r0"], id="priority among same versions",
        ),
        pytest.param(
            [apk.apk("a", depend="so:x.so.1"), apk.apk("b", provides="so:x.so.1=1"),
             apk.apk("c", provides="so:x.so.1=2", provider_priority="5")],
            ["a", "b"], ["a 1.0-r0", "b 1.0-r0"], id="named settles",
        ),
        pytest.param(
            [apk.apk("a", depend="/bin/sh"), apk.apk("b", provides="/bin/sh", provider_priority="10"),
             apk.apk("c", provides="/bin/sh", provider_priority="100")],
            ["a"], ["a 1.0-r0", "c 1.0-r0"], id="virtual by priority",
        ),
        pytest.param(
            [apk.apk("a", depend="editor"), apk.apk("b", provides="editor"), apk.apk("c", provides="editor")],
            ["a", "b"], ["a 1.0-r0", "b 1.0-r0"], id="virtual without priority, one named",
        ),
        pytest.param(
            [apk.apk("a", depend="editor d"), apk.apk("b", provides="editor"), apk.apk("d", depend="b")],
            ["a"], ["a 1.0-r0", "b 1.0-r0", "d 1.0-r0"], id="virtual without priority, one there anyway",
        ),
        pytest.param(
            [apk.apk("a", depend="virtual>=2"), apk.apk("b", provides="virtual=1"), apk.apk("c", provides="virtual=3"),
             apk.apk("d", provides="virtual", provider_priority="9")],
            ["a"], ["a 1.0-r0", "c 1.0-r0"], id="versioned virtual",
        ),
        pytest.param(
            [apk.apk("a"), apk.apk("a-openrc", install_if="a=1.0-r0 openrc"), apk.apk("openrc")],
            ["a"], ["a 1.0-r0"], id="install_if half fulfilled",
        ),
        pytest.param(
            [apk.apk("a", depend="openrc"), apk.apk("a-openrc", depend="e", install_if="a=1.0-r0 openrc"),
             apk.apk("openrc"), apk.apk("e"), apk.apk("e-more", install_if="e=1.0-r0 a-openrc")],
            ["a"], ["a 1.0-r0", "a-openrc 1.0-r0", "e 1.0-r0", "e-more 1.0-r0", "openrc 1.0-r0"], id="install_if",
        ),
        pytest.param(
            [apk.apk("a"), apk.apk("b"), apk.apk("a-b", install_if="a=0.9-r0 b")],
            ["a", "b"], ["a 1.0-r0", "b 1.0-r0"], id="install_if of another version",
        ),
        pytest.param(
            [apk.apk("a", depend="b !c"), apk.apk("b"), apk.apk("c")], ["a"], ["a 1.0-r0", "b 1.0-r0"],
            id="conflict with what is not there",
        ),
        pytest.param(
            [apk.apk("a", depend="b !b<2"), apk.apk("b", "2-r0")], ["a"], ["a 1.0-r0", "b 2-r0"],
            id="conflict with other versions",
        ),
    ],
)  # fmt: skip
def test_resolution(packages: list[Apk], wanted: list[str], expected: list[str]) -> None:
    assert names(resolve.resolve(of(*packages), wanted)) == expected
    assert names(resolve.resolve(of(*reversed(packages)), list(reversed(wanted)))) == expected


@pytest.mark.parametrize(
    ("packages", "wanted", "expected"),
    [
        pytest.param(
            [apk.apk("a", depend="!b"), apk.apk("b")], ["a", "b"],
            "a 1.0-r0 and b 1.0-r0 exclude each other: conflict with b.", id="conflict",
        ),
        pytest.param(
            [apk.apk("a", depend="!b<2"), apk.apk("b")], ["a", "b"],
            "a 1.0-r0 and b 1.0-r0 exclude each other: conflict with b<2.", id="versioned conflict",
        ),
        pytest.param(
            [apk.apk("a", depend="!mta"), apk.apk("b", provides="mta")], ["a", "b"],
            "a 1.0-r0 and b 1.0-r0 exclude each other: conflict with mta.", id="conflict with something provided",
        ),
        pytest.param(
            [apk.apk("a", provides="so:x.so.1=1"), apk.apk("b", provides="so:x.so.1=1")], ["a", "b"],
            "a 1.0-r0 and b 1.0-r0 exclude each other: both are so:x.so.1.", id="two of one name",
        ),
        pytest.param(
            [apk.apk("a", depend="so:gone.so.1")], ["a"],
            "a 1.0-r0 needs so:gone.so.1; there is: no such package", id="missing",
        ),
        pytest.param(
            [apk.apk("a", depend="b>=3"), apk.apk("b", "2-r0"), apk.apk("b", "1-r0")], ["a"],
            "a 1.0-r0 needs b>=3; there is: b 2-r0 (v3.24), b 1-r0 (v3.24)", id="too old",
        ),
        pytest.param(
            [apk.apk("a", depend="editor"), apk.apk("b", provides="editor"), apk.apk("c", provides="editor")], ["a"],
            "a 1.0-r0 needs editor, which several packages provide and none by itself: b, c. Name one", id="virtual",
        ),
    ],
)  # fmt: skip
def test_the_impossible_is_explained(packages: list[Apk], wanted: list[str], expected: str) -> None:
    with pytest.raises(LockError) as caught:
        resolve.resolve(of(*packages), wanted)
    assert expected in str(caught.value)


def test_two_may_provide_a_name_without_version() -> None:
    found = of(apk.apk("a", provides="editor"), apk.apk("b", provides="editor"))
    assert names(resolve.resolve(found, ["a", "b"])) == ["a 1.0-r0", "b 1.0-r0"]


def test_an_excluded_package_counts_as_present_with_all_it_provides() -> None:
    found = of(
        apk.apk("a", depend="/bin/sh busybox cmd:ls"),
        apk.apk("busybox-binsh", provides="/bin/sh cmd:sh=1", provider_priority="100"),
        apk.apk("busybox", provides="cmd:ls=1"),
        apk.apk("a-sh", install_if="a=1.0-r0 busybox"),
    )
    present = resolve.fulfilled(found, ["busybox", "busybox-binsh"])
    assert names(resolve.resolve(found, ["a"], present)) == ["a 1.0-r0"]


def test_a_suite_may_be_limited_to_packages() -> None:
    limited = type(SUITE)("alpine", "edge", ("testing",), frozenset({"a"}))
    text = "\n".join(package.record for package in [apk.apk("a"), apk.apk("b")])
    assert Index([(limited, "edge/testing/x86_64", text)]).names == {"a"}


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("P:tool", "P:../tool", "has a package that cannot be: '../tool'"),
        ("V:1.0-r0", "V:1.0/../x", "has a package that cannot be: 'tool' '1.0/../x'"),
        ("C:Q1", "C:X9", "has a package that cannot be"),
        ("S:", "s:", "lacks a field, or has a bad one: 'S'"),
        ("S:", "S:many", "lacks a field, or has a bad one: invalid literal"),
        ("D:a", "D:a><Q1abc=", "unknown relation 'a><Q1abc='"),
    ],
)
def test_an_index_that_makes_no_sense_is_refused(old: str, new: str, expected: str) -> None:
    record = apk.apk("tool", depend="a").record
    assert old in record
    with pytest.raises(LockError) as caught:
        Index([(SUITE, FOLDER, record.replace(old, new, 1))])
    assert expected in str(caught.value)


# Packages


@pytest.fixture
def tool(alpine: apk.Archive) -> Apk:
    """A package in the archive."""
    found = apk.apk("tool", files={"usr/bin/tool": Entry(b"#!" + bytes(5000), 0o755)}, signer=alpine.signer)
    alpine.publish(found)
    return found


def fetch_tool() -> str:
    (package,) = Index.of([read_one()], "x86_64").packages("tool")
    fetch.fetch([package.item], "")
    return fetch.adopt(package.item)


def test_a_package_is_adopted_under_its_sha256(tool: Apk, alpine: apk.Archive) -> None:
    sha256 = fetch_tool()
    assert fetch.blob(sha256).read_bytes() == tool.content
    assert sha256 == hashlib.sha256(tool.content).hexdigest()
    alpine.server.requests.clear()
    assert fetch_tool() == sha256
    assert [path for path, _ in alpine.server.requests if path.endswith(".apk")] == [], "it is fetched once only"


def test_a_package_without_signature_is_what_the_index_says(alpine: apk.Archive) -> None:
    found = apk.apk("tool", files={"etc/tool": Entry(b"x")})
    alpine.publish(found)
    assert fetch_tool() == hashlib.sha256(found.content).hexdigest()


def tail(found: apk.Archive) -> bytes:
    content = good(found)
    return content[:-9] + bytes([content[-9] ^ 1]) + content[-8:]


def good(found: apk.Archive) -> bytes:
    return apk.apk("tool", files={"usr/bin/tool": Entry(b"#!" + bytes(5000), 0o755)}, signer=found.signer).content


def other_control(found: apk.Archive) -> bytes:
    """The same files, but another script in the control stream."""
    return apk.apk(
        "tool", files={"usr/bin/tool": Entry(b"#!" + bytes(5000), 0o755)}, signer=found.signer,
        scripts={".post-install": b"#!/bin/sh\ntouch /never\n"},
    ).content  # fmt: skip


def other_data(found: apk.Archive) -> bytes:
    """The control stream of the right package before the files of another."""
    signature, control = format_.streams(good(found), 2)
    other = apk.apk("tool", files={"usr/bin/tool": Entry(b"evil", 0o755)}, signer=found.signer).content
    before = sum(len(stream.packed) for stream in format_.streams(other, 2))
    return signature.packed + control.packed + other[before:]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(other_control, "its control stream does not have the hash that the index states", id="control"),
        pytest.param(other_data, "its files do not have the hash that its control stream states", id="data"),
        pytest.param(tail, "its files do not have the hash that its control stream states", id="damaged data"),
        pytest.param(lambda _found: b"ADB." + bytes(900), "it is in the third format of apk", id="third format"),
        pytest.param(lambda found: bytes(len(good(found))), "its gzip stream 1 is damaged", id="not gzip"),
        pytest.param(
            lambda found: format_.streams(good(found), 1)[0].packed,
            "its gzip stream 2 is damaged",
            id="signature only",
        ),
    ],
)
def test_a_package_that_is_another_is_refused(
    tool: Apk, alpine: apk.Archive, change: Callable[[apk.Archive], bytes], expected: str
) -> None:
    # As long as the right one, so that the length does not give it away.
    content = (change(alpine) + bytes(len(tool.content)))[: len(tool.content)]
    alpine.server.behaviours[f"/{FOLDER}/tool-1.0-r0.apk"] = web.content(content)
    with pytest.raises(FetchError) as caught:
        fetch_tool()
    assert not isinstance(caught.value, GoneError)
    assert f"tool 1.0-r0 could not be fetched. Tried:\n  {alpine.server.url}/{FOLDER}" in str(caught.value)
    assert f"wrong content: {expected}" in str(caught.value)


def test_a_deleted_package_is_gone(tool: Apk, alpine: apk.Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scripts.mirrors.ALPINE", f"{alpine.server.url}/second")
    del alpine.server.behaviours[f"/{FOLDER}/tool-1.0-r0.apk"]
    with pytest.raises(GoneError) as caught:
        fetch_tool()
    assert "No mirror has tool 1.0-r0 any more (control stream Q1" in str(caught.value)
    assert "scripts/nox -s lock" in str(caught.value)
