"""From the signature of an archive to the image, every link of the chain is altered by one bit, and refused by name.

Nothing but the keys in the repository, its locks and requirements.txt is believed. What can be wrong with each link
besides is tested with the module that reads it; so are Alpine's links (test_alpine) and the tarballs (test_tarballs).
"""

from __future__ import annotations

import hashlib
import lzma
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import build, fetch, lock, mirrors, paths, relock, toolset, variants
from scripts.errors import FetchError, GoneError, LockError, SignatureError
from scripts.lock import Lock
from scripts.platforms import PLATFORMS
from scripts.variants import Variant
from tests.unit import signed, web
from tests.unit.conftest import REFUSING
from tests.unit.signed import IN_RELEASE, NOW, Binary, binary, index_name

AMD64 = PLATFORMS["linux/amd64"]


def altered(content: bytes, place: int | None = None) -> bytes:
    """The same with one bit flipped, in the middle or at `place`."""
    place = len(content) // 2 if place is None else place
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass(frozen=True)
class Chain:
    """An archive whose packages can be fetched, and a variant made of them."""

    archive: signed.Archive
    variant: Variant
    folder: Path
    packages: tuple[Binary, ...]

    @property
    def tool(self) -> Binary:
        """The package that is altered."""
        return self.packages[1]

    def lock(self) -> Lock:
        """Lock the variant, and write that."""
        return relock.relock([self.variant], {"test": self.folder / "lock.json"}, self.folder, at=NOW).locks["test"]

    @property
    def place(self) -> Path:
        """Where the cache has it."""
        return fetch.blob(self.tool.sha256)

    @property
    def index(self) -> bytes:
        """The archive's index of either architecture."""
        return lzma.compress("\n".join(package.stanza for package in self.packages).encode())

    def serve(self, path: str, content: bytes) -> None:
        """Put something else in the place of a file of the archive."""
        assert f"/{path}" in self.archive.server.behaviours
        self.archive.server.behaviours[f"/{path}"] = web.without_ranges(content)


@pytest.fixture
def chain(
    archive: signed.Archive, variant: Callable[..., Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Chain:
    monkeypatch.setattr(lock, "path_of", lambda _name, _folder: tmp_path / "lock.json")
    packages = binary("library", "1", {"etc/library": b"library"}), binary("tool", "1", {"etc/tool": b"tool"})
    archive.offer(*packages)
    return Chain(archive, variant(), tmp_path, packages)


def test_the_whole_chain_holds(chain: Chain) -> None:
    """Else nothing below would prove anything."""
    assert chain.lock().fetch([AMD64]).downloaded_files == 2
    for package in chain.packages:
        assert fetch.blob(package.sha256).read_bytes() == package.content


# 1. InRelease, by its signature.


def test_an_altered_in_release_locks_nothing(chain: Chain) -> None:
    content = chain.archive.publish()
    for place in (content.index(b"trixie"), content.index(b"SHA256"), content.index(b"-----BEGIN PGP SIG") + 100):
        chain.serve(IN_RELEASE, altered(content, place))
        with pytest.raises(SignatureError, match=f"^debian/{IN_RELEASE} is not signed by a key of ") as caught:
            chain.lock()
        assert "Nothing of it was used. Try another mirror (DEBIAN_MIRROR=http://...)." in str(caught.value)
    assert not (chain.folder / "lock.json").exists()


def test_an_in_release_that_somebody_else_signed_locks_nothing(chain: Chain, keys: signed.Keys) -> None:
    chain.archive.key = keys[1]
    chain.archive.publish()
    with pytest.raises(SignatureError, match=f"^debian/{IN_RELEASE} is not signed by a key of "):
        chain.lock()
    assert not (chain.folder / "lock.json").exists()


# 2. Packages, by its hash in InRelease.


def test_an_altered_index_locks_nothing(chain: Chain) -> None:
    name, url = index_name("arm64"), f"{chain.archive.server.url}/dists/trixie/{index_name('arm64')}"
    chain.serve(f"dists/trixie/{name}", altered(chain.index))
    with pytest.raises(FetchError, match=f"^trixie/{name} could not be fetched") as caught:
        chain.lock()
    assert f"{url}: wrong content: SHA-256 {sha256(altered(chain.index))} instead of" in str(caught.value)
    assert "name a mirror that is reachable: DEBIAN_MIRROR=http://..." in str(caught.value)
    assert not (chain.folder / "lock.json").exists()


# 3. The lock, by its checksum: against a slip of the hand. Who may change the repository can change both.


def test_an_altered_lock_is_refused(chain: Chain) -> None:
    chain.lock()
    path = chain.folder / "lock.json"
    path.write_text(path.read_text().replace(chain.tool.sha256, sha256(altered(chain.tool.content)), 1))
    with pytest.raises(LockError, match=r"lock\.json was edited by hand") as caught:
        lock.load(chain.variant, path)
    assert "Make it again with: scripts/nox -s lock -- test" in str(caught.value)


# 4. A package, by its hash in the lock, wherever it comes from.


def test_an_altered_package_is_not_kept(chain: Chain, cache: Path) -> None:
    locked = chain.lock()
    chain.serve(chain.tool.path, altered(chain.tool.content))
    with pytest.raises(FetchError, match=r"^tool 1 \(all\) could not be fetched") as caught:
        locked.fetch([AMD64])
    assert not isinstance(caught.value, GoneError)
    assert f"{chain.archive.server.url}/{chain.tool.path}: wrong content: SHA-256" in str(caught.value)
    assert "name a mirror that is reachable: DEBIAN_MIRROR=http://..." in str(caught.value)
    kept = [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size]
    assert chain.place not in kept
    assert altered(chain.tool.content) not in [path.read_bytes() for path in kept], "not even as a part"


@pytest.mark.parametrize("reachable", [True, False], ids=["with a mirror", "alone"])
def test_an_altered_blob_of_a_vault_is_passed_over(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reachable: bool
) -> None:
    locked = chain.lock()
    blobs = chain.folder / "vault" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for package, content in zip(chain.packages, (chain.packages[0].content, altered(chain.tool.content)), strict=True):
        (blobs / package.sha256).write_bytes(content)
    monkeypatch.setenv("PROSODY_VAULT", str(chain.folder / "vault"))
    chain.archive.requests.clear()
    if reachable:
        locked.fetch([AMD64])
        assert chain.place.read_bytes() == chain.tool.content
        assert chain.archive.requests == [(f"/{chain.tool.path}", "")]
    else:
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(REFUSING),))
        with pytest.raises(FetchError, match=r"^tool 1 \(all\) could not be fetched"):
            locked.fetch([AMD64])
        assert not chain.place.exists()
    told = capsys.readouterr().err
    assert f"{blobs / chain.tool.sha256} is not what its name says; it is passed over" in told
    assert chain.packages[0].sha256 not in told


def test_what_was_altered_in_the_cache_is_fetched_again(
    chain: Chain, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    locked = chain.lock()
    locked.fetch([AMD64])
    chain.place.write_bytes(altered(chain.tool.content))
    assert locked.fetch([AMD64]).downloaded_files == 1
    assert chain.place.read_bytes() == chain.tool.content
    assert f"{chain.place} is not tool 1 (all) any more (SHA-256 " in capsys.readouterr().err
    # Without a mirror, there is none of it rather than a wrong one.
    chain.place.write_bytes(altered(chain.tool.content))
    monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(REFUSING),))
    with pytest.raises(FetchError, match=r"^tool 1 \(all\) could not be fetched"):
        locked.fetch([AMD64])
    assert not chain.place.exists()


# 5. busybox, which unpacks the packages in the build, by the hash of its own package.

BUSYBOX = b"\x7fELF, and what a busybox has besides" * 100


@pytest.fixture
def busybox(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> Binary:
    """The locked package of a busybox, in place of the one of this repository."""
    package = binary("busybox-static", "1", {"usr/bin/busybox": BUSYBOX})
    chain.archive.offer(*chain.packages, package)
    folder = chain.folder / "tools"
    folder.mkdir()
    (folder / "busybox.yaml").write_text(
        "description: A busybox for tests.\ndistribution: debian\nsuites: [{suite: trixie}]\n"
        "platforms: [linux/amd64, linux/arm64]\nlayers: {tools: [busybox-static]}\n"
    )
    monkeypatch.setattr(paths, "TOOLS", folder)
    monkeypatch.setattr(lock, "path_of", lambda name, folder: folder / f"{name}.lock.json")
    (folder / "busybox.lock.json").write_text(lock.dump(lock.make(variants.load("busybox", folder), NOW)))
    return package


def in_build(folder: Path) -> bytes:
    """The program that a build would use."""
    return (build.tools_folder(folder) / "bin/busybox").read_bytes()


def test_an_altered_package_of_busybox_ends_the_build(chain: Chain, busybox: Binary, tmp_path: Path) -> None:
    assert in_build(tmp_path / "before") == BUSYBOX
    fetch.blob(busybox.sha256).unlink()
    chain.serve(busybox.path, altered(busybox.content))
    with pytest.raises(
        FetchError, match=r"^busybox-static 1 \(all\) could not be fetched(?s:.)*wrong content: SHA-256"
    ):
        in_build(tmp_path / "after")


def test_an_altered_lock_of_busybox_ends_the_build(busybox: Binary, tmp_path: Path) -> None:
    path = paths.TOOLS / "busybox.lock.json"
    path.write_text(path.read_text().replace(busybox.sha256, sha256(altered(busybox.content)), 1))
    with pytest.raises(LockError, match=r"busybox\.lock\.json was edited by hand"):
        in_build(tmp_path)


def test_a_busybox_that_was_altered_in_the_cache_is_not_used(
    busybox: Binary, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither the program that was unpacked for other uses, nor the package."""
    unpacked = toolset.unpack("busybox").root / "usr/bin/busybox"
    unpacked.write_bytes(altered(BUSYBOX))
    assert in_build(tmp_path / "one") == BUSYBOX
    fetch.blob(busybox.sha256).write_bytes(altered(busybox.content))
    assert in_build(tmp_path / "two") == BUSYBOX
    assert "is not busybox-static 1 (all) any more" in capsys.readouterr().err


# 6. The Python packages of the build system itself, by their hashes in requirements.txt.


def test_an_altered_wheel_makes_no_environment(tmp_path: Path) -> None:
    """Pip gets it from the index that it is configured with: here a folder."""
    root, index = tmp_path / "checkout", tmp_path / "index"
    index.mkdir()
    (root / "scripts").mkdir(parents=True)
    shutil.copy(paths.ROOT / "scripts/environment", root / "scripts")
    wheel = index / "thing-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("thing.py", "print('it was run')\n")
        archive.writestr("thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: thing\nVersion: 1.0\n")
        archive.writestr("thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("thing-1.0.dist-info/RECORD", "")
    good = wheel.read_bytes()
    (root / "requirements.txt").write_text(f"thing==1.0 \\\n    --hash=sha256:{sha256(good)}\n")
    settings = {"PIP_CONFIG_FILE": os.devnull, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(index)}

    bad = altered(good, good.index(b"it was run"))
    wheel.write_bytes(bad)
    done = subprocess.run(
        [root / "scripts/environment"], env=os.environ | settings, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    for told in (wheel.name, f"Expected sha256 {sha256(good)}", f"Got        {sha256(bad)}", "tampered with"):
        assert told in done.stderr
    assert not list((root / ".venv").rglob("thing*"))
    assert not (root / ".venv/requirements.txt").exists(), "it would count as made"
