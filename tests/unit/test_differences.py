"""What is in an image, the committed list of that, and what is said about two images that differ."""

from __future__ import annotations

import dataclasses
import io
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from scripts import contents, differences, oci, paths
from scripts.contents import Member
from scripts.differences import Difference
from scripts.errors import BuildError, StaleError
from scripts.oci import Image, Layer, Layout
from scripts.platforms import PLATFORMS

Entry = tuple[dict[str, Any], bytes]  # attributes of tarfile.TarInfo, and content

EPOCH = 1_700_000_000
AMD64, ARM64, S390X = (PLATFORMS[f"linux/{name}"] for name in ("amd64", "arm64", "s390x"))
FOLDER = Member("etc", "directory", "0755", "0:0", 0, "", EPOCH)
FILE = Member("etc/motd", "file", "0644", "0:0", 5, "2cf24dba5fb0a30e", EPOCH)
LINK = Member("etc/news", "link", "0777", "0:0", 0, "motd", EPOCH)
ALL = (FOLDER, FILE, LINK)
HEAD = "layer\tpath\tkind\tmode\towner\tsize\tcontent\tplatforms\n"


def packed(folder: Path, entries: Sequence[Entry]) -> Layer:
    """A layer with these members, as a blob in `folder`."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for attributes, content in entries:
            entry = tarfile.TarInfo()
            for name, value in ({"mtime": EPOCH, "size": len(content)} | attributes).items():
                setattr(entry, name, value)
            archive.addfile(entry, io.BytesIO(content))
    content = zstandard.compress(stream.getvalue())
    digest = oci.digest_of(content)
    blob = folder / "blobs" / "sha256" / digest.removeprefix("sha256:")
    blob.parent.mkdir(parents=True, exist_ok=True)
    blob.write_bytes(content)
    return Layer("base", digest, len(content))


def typical(folder: Path, text: bytes = b"hello") -> Layer:
    entries: list[Entry] = [
        ({"name": "./etc/", "type": tarfile.DIRTYPE, "mode": 0o755}, b""),
        ({"name": "etc/motd", "mode": 0o644}, text),
        ({"name": "etc/news", "type": tarfile.SYMTYPE, "mode": 0o777, "linkname": "motd"}, b""),
    ]
    return packed(folder, entries)


def layout_of(folder: Path, layers: dict[str, Layer]) -> Layout:
    """A layout with one layer for each platform; only its blobs are there."""
    images = (Image(PLATFORMS[name], "sha256:0", "sha256:1", (layer,)) for name, layer in layers.items())
    return Layout(folder, "sha256:2", tuple(images))


def test_members_are_read_as_they_are(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, {"linux/amd64": typical(tmp_path)})
    assert contents.members(layout, AMD64) == {"base": ALL}


def test_all_kinds_of_members_have_names(tmp_path: Path) -> None:
    entries: list[Entry] = [
        ({"name": "device", "type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b""),
        ({"name": "other", "type": tarfile.LNKTYPE, "linkname": "file"}, b""),
        ({"name": "set", "mode": 0o4755, "uid": 7, "gid": 8, "pax_headers": {"SCHILY.xattr.user.a": "b"}}, b"x"),
    ]
    layer = packed(tmp_path, entries)
    device, link, file = contents.read(tmp_path / "blobs" / "sha256" / layer.digest.removeprefix("sha256:"))
    assert (device.kind, device.content) == ("character device", "1,3")
    assert (link.kind, link.content) == ("hard link", "file")
    assert (file.mode, file.owner, file.headers) == ("4755", "7:8", "{'SCHILY.xattr.user.a': 'b'}")


def test_what_is_no_layer_is_refused(tmp_path: Path) -> None:
    blob = tmp_path / "blob"
    for content in (b"no zstd", zstandard.compress(b"no archive" * 100)):
        contents.read.cache_clear()
        blob.write_bytes(content)
        with pytest.raises(BuildError, match="is not a layer"):
            contents.read(blob)


def test_the_committed_list_says_what_is_in_each_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "IMAGES", tmp_path)
    usual, other = typical(tmp_path), typical(tmp_path, b"other")
    layout = layout_of(tmp_path, {"linux/amd64": usual, "linux/arm64": usual, "linux/s390x": other})
    text = contents.dump(layout)
    assert text.splitlines() == [
        HEAD.strip(),
        "base\tetc\tdirectory\t0755\t0:0\t0\t\tall",
        "base\tetc/motd\tfile\t0644\t0:0\t5\t2cf24dba5fb0a30e\tlinux/amd64 linux/arm64",
        "base\tetc/motd\tfile\t0644\t0:0\t5\td9298a10d1b07358\tlinux/s390x",
        "base\tetc/news\tlink\t0777\t0:0\t0\tmotd\tall",
    ]
    paths.write_text(contents.path_of("some"), text)
    for platform in (AMD64, ARM64, S390X):
        assert contents.load("some", platform, EPOCH) == contents.members(layout, platform)


@pytest.mark.parametrize("text", [None, "", "layer\tpath\nbase\tetc\n", f"{HEAD}base\tetc\n", f"{HEAD}base\t\0\n"])
def test_a_broken_list_is_told(text: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "IMAGES", tmp_path)
    if text is not None:
        paths.write_text(contents.path_of("some"), text)
    with pytest.raises(StaleError, match=r"some/files.tsv .*nox -s digests -- some"):
        contents.load("some", AMD64, EPOCH)


def changed(member: Member, **attributes: Any) -> tuple[Member, ...]:
    return tuple(dataclasses.replace(one, **attributes) if one == member else one for one in ALL)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (ALL, []),
        (changed(FILE, mode="0600"), [Difference("base", "etc/motd", "mode", "0644", "0600")]),
        (changed(FILE, owner="5:6"), [Difference("base", "etc/motd", "owner", "0:0", "5:6")]),
        (changed(FILE, content="0"), [Difference("base", "etc/motd", "content", "2cf24dba5fb0a30e", "0")]),
        (changed(LINK, content=""), [Difference("base", "etc/news", "content", "motd", "-")]),
        (
            changed(FOLDER, modified=EPOCH + 0.5),
            [
                Difference(
                    "base", "etc", "modified", "2023-11-14T22:13:20+00:00", "2023-11-14T22:13:20.500000+00:00"
                )
            ],
        ),
        (
            changed(LINK, kind="file", size=4),
            [
                Difference("base", "etc/news", "kind", "link", "file"),
                Difference("base", "etc/news", "size", "0", "4"),
            ],
        ),
        ((FOLDER, FILE), [Difference("base", "etc/news", "link", "there", "-")]),
        ((*ALL, dataclasses.replace(FILE, path="new")), [Difference("base", "new", "file", "-", "there")]),
        ((FOLDER, LINK, FILE), [Difference("base", "etc/motd", "place", "1", "2")]),
    ],
)  # fmt: skip
def test_each_attribute_that_differs_is_named(found: tuple[Member, ...], expected: list[Difference]) -> None:
    assert list(differences.between({"base": ALL}, {"base": found})) == expected


def test_layers_that_only_one_has_are_named() -> None:
    found = list(differences.between({"base": ALL, "old": ALL}, {"base": ALL, "new": ALL}))
    assert found == [Difference("old", "", "layer", "there", "-"), Difference("new", "", "layer", "-", "there")]


def test_configurations_are_compared_by_place() -> None:
    one = {"config": {"Env": ["A=1", "B=2"], "User": "5"}, "os": "linux"}
    other = {"config": {"Env": ["A=1", "B=3"], "Labels": {}}, "os": "linux"}
    assert list(differences.of_configurations(one, other)) == [
        Difference("", "config.Env[1]", "configuration", "B=2", "B=3"),
        Difference("", "config.Labels", "configuration", "-", "{}"),
        Difference("", "config.User", "configuration", "5", "-"),
    ]
