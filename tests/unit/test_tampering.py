from __future__ import annotations

import hashlib
import io
import lzma
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from debian.debfile import DebFile

from scripts import fetch
from scripts.lock import Lock, LockedPackage
from scripts.platforms import PLATFORMS
from tests.integration import tampering
from tests.unit.deb import deb

AMD64 = PLATFORMS["linux/amd64"]
FILES: dict[str, bytes | str] = {
    "etc/tool.conf": b"colour = blue\n",
    "usr/bin/tool": bytes(range(256)) * 300,
    "usr/bin/alias": "tool",
}


@pytest.fixture
def locked(cache: Path) -> Lock:
    """A lock of two packages that are in the cache; one of them is the same on both platforms."""
    del cache
    shared, own, other = deb(FILES), deb(FILES, name="own"), deb(FILES | {"etc/arm64": b""}, name="own")

    def package(name: str, architecture: str, content: bytes) -> LockedPackage:
        return LockedPackage(
            "base", name, "1", architecture, "debian", f"{name}.deb", len(content), fetch.keep(content), name, "1"
        )

    everywhere = package("tool", "all", shared)
    return Lock(
        "test", "", "20261120T210000Z", 1, (),
        {"linux/amd64": (package("own", "amd64", own), everywhere),
         "linux/arm64": (package("own", "arm64", other), everywhere)},
    )  # fmt: skip


def test_exactly_one_bit_is_flipped() -> None:
    good = deb(FILES)
    bad = tampering.flip_bit(good, "usr/bin/tool")
    before, after = dict(tampering.members(good)), dict(tampering.members(bad))
    assert [header[:16] for header in before] == [header[:16] for header in after]
    *same, data = zip(before.items(), after.items(), strict=True)
    assert all(one == two for one, two in same), "format and control files are the same bytes"
    (_, packed), (_, packed_again) = data
    one, two = lzma.decompress(packed), lzma.decompress(packed_again)
    assert len(one) == len(two)
    assert (int.from_bytes(one) ^ int.from_bytes(two)).bit_count() == 1
    with tarfile.open(fileobj=io.BytesIO(one)) as archive:
        entry = archive.getmember("./usr/bin/tool")
    (place,) = (index for index, (left, right) in enumerate(zip(one, two, strict=True)) if left != right)
    assert entry.offset_data <= place < entry.offset_data + entry.size, "in the file's content"


def test_the_package_can_still_be_unpacked(tmp_path: Path) -> None:
    (tmp_path / "bad.deb").write_bytes(tampering.flip_bit(deb(FILES), "etc/tool.conf"))
    with DebFile(str(tmp_path / "bad.deb")) as package, package.data.tgz() as archive:
        assert package.debcontrol()["Package"] == "tool"
        archive.extractall(tmp_path, filter="tar")
    assert (tmp_path / "usr/bin/tool").read_bytes() == FILES["usr/bin/tool"]
    assert (tmp_path / "etc/tool.conf").read_bytes() == b"colour < blue\n"


def test_what_cannot_be_flipped_is_an_error() -> None:
    with pytest.raises(KeyError, match="usr/bin/another"):
        tampering.flip_bit(deb(FILES), "usr/bin/another")
    with pytest.raises(AssertionError, match="usr/bin/alias has no content"):
        tampering.flip_bit(deb(FILES), "usr/bin/alias")
    with pytest.raises(AssertionError, match=r"no data\.tar\.xz"):
        tampering.flip_bit(deb(FILES, compression="gz"), "usr/bin/tool")


@pytest.mark.parametrize(("name", "changed"), [("own", ["linux/amd64"]), ("tool", ["linux/amd64", "linux/arm64"])])
def test_the_lock_is_pinned_to_the_other_package(locked: Lock, name: str, changed: list[str]) -> None:
    bad = tampering.tamper(locked, AMD64, name, "etc/tool.conf")
    assert [platform for platform in bad.platforms if bad.platforms[platform] != locked.platforms[platform]] == changed
    for platform in changed:
        for before, after in zip(locked.platforms[platform], bad.platforms[platform], strict=True):
            content = fetch.blob(after.sha256).read_bytes()
            assert (hashlib.sha256(content).hexdigest(), len(content)) == (after.sha256, after.size)
            assert (before.sha256 != after.sha256) is (before.package == name)
            assert replace(after, sha256=before.sha256, size=before.size) == before
