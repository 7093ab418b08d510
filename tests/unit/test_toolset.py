from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import fetch, lock, mirrors, paths, toolset, variants
from scripts.errors import FetchError, GoneError, UsageError
from scripts.lock import Lock, LockedPackage
from scripts.platforms import PLATFORMS
from tests.unit import web
from tests.unit.deb import deb

AMD64 = PLATFORMS["linux/amd64"]
TEXT = """\
description: Tools for tests.
distribution: debian
suites: [{suite: trixie}]
platforms: [linux/amd64]
layers: {tools: [tool, other]}
"""
TOOL = deb({"usr/bin/tool": b"#!/bin/sh\necho works\n", "usr/bin/alias": "tool", "etc/tool.conf": b"x"})
OTHER = deb({"usr/share/other": b"other", "usr/lib/absolute": "/usr/bin/tool"}, name="other", compression="gz")


@pytest.fixture
def server(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[web.Web]:
    """A set of two tools, locked, and a mirror that has their packages."""
    del cache
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setattr(paths, "TOOLS", folder)
    (folder / "test.yaml").write_text(TEXT)
    variant = variants.load("test", folder)
    packages = tuple(
        LockedPackage("tools", name, "1", "all", "debian", f"pool/{name}.deb", len(content),
                      hashlib.sha256(content).hexdigest(), name, "1")
        for name, content in (("tool", TOOL), ("other", OTHER))
    )  # fmt: skip
    locked = Lock("test", lock.inputs(variant), "20261120T210000Z", 1, (), {AMD64.name: packages})
    (folder / "test.lock.json").write_text(lock.dump(locked))
    with web.serving() as found:
        monkeypatch.setenv("DEBIAN_MIRROR", found.url)
        found.behaviours |= {"/pool/tool.deb": web.content(TOOL), "/pool/other.deb": web.content(OTHER)}
        yield found


def test_packages_are_unpacked_and_kept(server: web.Web) -> None:
    root = toolset.unpack("test", AMD64).root
    assert root.is_relative_to(paths.user_cache())
    assert subprocess.run([root / "usr/bin/tool"], capture_output=True, check=True).stdout == b"works\n"
    assert (root / "usr/bin/alias").readlink() == Path("tool")
    assert (root / "usr/lib/absolute").readlink() == Path("/usr/bin/tool")
    assert (root / "usr/share/other").read_bytes() == b"other"
    assert stat.S_IMODE((root / "etc/tool.conf").stat().st_mode) == 0o644
    assert not Path("/never").exists(), "a maintainer script ran"
    server.behaviours.clear()
    assert toolset.unpack("test", AMD64).root == root
    assert len(server.requests) == 2


def test_a_dropped_package_blocks_people_but_no_checks(server: web.Web, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the packages of an image, what the archive has by now is taken where CI is set."""
    monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(server.url),))
    del server.behaviours["/pool/tool.deb"]
    newer = deb({"usr/bin/tool": b"#!/bin/sh\necho newer\n"})
    server.behaviours["/pool/tool_2.deb"] = web.content(newer)
    old = lock.load(variants.load("test", paths.TOOLS), lock.path_of("test", paths.TOOLS))
    tool, other = old.platforms[AMD64.name]
    sha256 = hashlib.sha256(newer).hexdigest()
    again = replace(tool, version="2", path="pool/tool_2.deb", size=len(newer), sha256=sha256)
    monkeypatch.setattr(lock, "make", lambda _variant, _at: replace(old, platforms={AMD64.name: (again, other)}))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(GoneError):
        toolset.unpack("test", AMD64)
    monkeypatch.setenv("CI", "true")
    root = toolset.unpack("test", AMD64).root
    assert subprocess.run([root / "usr/bin/tool"], capture_output=True, check=True).stdout == b"newer\n"


def test_other_packages_are_another_folder(server: web.Web, tmp_path: Path) -> None:
    first = toolset.unpack("test", AMD64).root
    newer = deb({"usr/bin/tool": b"#!/bin/sh\necho newer\n"})
    server.behaviours["/pool/tool.deb"] = web.content(newer)
    path = tmp_path / "tools" / "test.lock.json"
    variant = variants.load("test", paths.TOOLS)
    found = lock.load(variant, path)
    tool, other = found.platforms[AMD64.name]
    tool = LockedPackage(**{**vars(tool), "sha256": hashlib.sha256(newer).hexdigest(), "size": len(newer)})
    path.write_text(lock.dump(Lock("test", found.inputs, found.snapshot, 1, (), {AMD64.name: (tool, other)})))
    second = toolset.unpack("test", AMD64).root
    assert first != second
    assert (first / "usr/bin/tool").read_text() != (second / "usr/bin/tool").read_text()


def test_an_interruption_leaves_nothing_behind(server: web.Web, monkeypatch: pytest.MonkeyPatch) -> None:
    real = toolset.unpack_package

    def interrupt(file: Path, root: Path) -> None:
        real(file, root)
        raise KeyboardInterrupt

    monkeypatch.setattr(toolset, "unpack_package", interrupt)
    with pytest.raises(KeyboardInterrupt):
        toolset.unpack("test", AMD64)
    assert [path for path in (paths.user_cache() / "tools").iterdir() if path.is_dir()] == []
    monkeypatch.setattr(toolset, "unpack_package", real)
    assert (toolset.unpack("test", AMD64).root / "usr/bin/tool").is_file()
    assert len(server.requests) == 2, "the packages were kept"


def test_what_a_killed_run_left_does_no_harm(server: web.Web) -> None:
    del server
    root = toolset.unpack("test", AMD64).root
    root.rename(root.with_name(f".{root.name}.left"))
    assert (toolset.unpack("test", AMD64).root / "usr/bin/tool").is_file()


def test_tools_that_cannot_be_had_are_an_error_and_nothing_is_unpacked(server: web.Web) -> None:
    server.behaviours["/pool/other.deb"] = web.status(403)
    with pytest.raises(FetchError, match=r"other 1 \(all\) could not be fetched"):
        toolset.unpack("test", AMD64)
    assert [path for path in (paths.user_cache() / "tools").iterdir() if path.is_dir()] == []


def test_a_platform_that_is_not_locked_is_refused(server: web.Web) -> None:
    del server
    with pytest.raises(UsageError, match="'test' is not locked for linux/s390x"):
        toolset.unpack("test", PLATFORMS["linux/s390x"])


@pytest.mark.parametrize("name", ["../../outside", "/etc/outside-of-the-test"])
def test_a_package_cannot_write_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "evil.deb").write_bytes(deb({name: b"x"}))
    (tmp_path / "a" / "root").mkdir(parents=True)
    before = set(Path("/etc").iterdir())
    with contextlib.suppress(tarfile.FilterError):  # refusing is as good as unpacking inside
        toolset.unpack_package(tmp_path / "evil.deb", tmp_path / "a" / "root")
    assert not (tmp_path / "outside").exists()
    assert set(Path("/etc").iterdir()) == before


@pytest.mark.parametrize("compression", ["xz", "gz"])
def test_either_compression_is_unpacked(tmp_path: Path, compression: str) -> None:
    (tmp_path / "x.deb").write_bytes(deb({"usr/bin/x": b"x", "usr/y": b"y"}, compression=compression))
    toolset.unpack_package(tmp_path / "x.deb", tmp_path / "root")
    assert (tmp_path / "root/usr/y").read_bytes() == b"y"
    assert os.access(tmp_path / "root/usr/bin/x", os.X_OK)


def test_programs_are_run_with_their_own_library(tmp_path: Path) -> None:
    folder = tmp_path / "usr/lib/x86_64-linux-gnu"
    folder.mkdir(parents=True)
    (folder / "ld-linux-x86-64.so.2").touch()
    found = toolset.Toolset(tmp_path).command("usr/bin/tool")
    assert found == [f"{folder}/ld-linux-x86-64.so.2", "--library-path", str(folder), f"{tmp_path}/usr/bin/tool"]


def test_the_blob_of_a_package_is_the_package(server: web.Web) -> None:
    del server
    toolset.unpack("test", AMD64)
    assert fetch.blob(hashlib.sha256(TOOL).hexdigest()).read_bytes() == TOOL
