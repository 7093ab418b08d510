"""No unit test touches the user's cache or the network beyond the loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pysequoia
import pytest
from hypothesis import settings

from scripts import mirrors, paths, variants
from scripts.archives import signatures
from scripts.signing import Key
from scripts.variants import Variant
from tests.keys import make
from tests.unit import apk, locks, signed, web

# How long an example takes says more about the machine than about the code.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

REFUSING = "http://127.0.0.1:9"  # the discard port, on which nobody listens


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no mirror but those a test names."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("PROSODY_VAULT", raising=False)
    for archive in mirrors.ARCHIVES:
        monkeypatch.delenv(mirrors.variable(archive), raising=False)
    monkeypatch.delenv("ALPINE_KEYS", raising=False)
    monkeypatch.setattr(mirrors, "SNAPSHOT", f"{REFUSING}/archive")
    monkeypatch.setattr(mirrors, "ALPINE", f"{REFUSING}/alpine")
    monkeypatch.setattr(mirrors, "_configured", lambda _apt: iter(()))
    return tmp_path / "cache" / "prosody-images"


@dataclass(frozen=True)
class Checkout:
    """A copy of the build system that a test may spoil; its commands run in processes of their own."""

    root: Path

    def run(self, module: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run `python -m scripts.<module>` with a cache of its own and no network."""
        blocked = {mirrors.variable(archive): REFUSING for archive in mirrors.ARCHIVES}
        variables = {"XDG_CACHE_HOME": str(self.root / "user-cache")} | blocked | environment
        return subprocess.run(
            [sys.executable, "-m", f"scripts.{module}", *arguments],
            cwd=self.root,
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def edit(self, name: str, old: str, new: str) -> None:
        """Replace one text in a file, which must contain it."""
        text = (self.root / name).read_text()
        assert old in text
        (self.root / name).write_text(text.replace(old, new, 1))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    root = tmp_path / "checkout"
    for name in ("scripts", "schema", "images", "variants"):
        shutil.copytree(paths.ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    return Checkout(root)


@pytest.fixture(scope="session")
def keys() -> signed.Keys:
    """The archive's key, and somebody else's."""
    return pysequoia.Tsk.generate("archive@example.org"), pysequoia.Tsk.generate("other@example.org")


@pytest.fixture
def keyring(keys: signed.Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Trust the archive's key, and only that."""
    path = tmp_path / "keyring.pgp"
    monkeypatch.setattr(signatures, "DEBIAN_KEYRING", path)
    path.write_bytes(bytes(keys[0].extract_certificate()))
    return path


@pytest.fixture
def archive(cache: Path, keyring: Path, keys: signed.Keys, monkeypatch: pytest.MonkeyPatch) -> Iterator[signed.Archive]:
    """A signed archive of two architectures on the loopback, as the only mirror."""
    del cache, keyring
    with web.serving() as server:
        found = signed.Archive(server, keys[0])
        found.publish()
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(server.url),))
        yield found


@pytest.fixture(scope="session")
def signer() -> apk.Signer:
    """The key of an archive in Alpine's format."""
    return apk.Signer()


@pytest.fixture
def alpine(cache: Path, signer: apk.Signer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[apk.Archive]:
    """An archive in Alpine's format on the loopback, as the only mirror; its key is trusted as one's own."""
    del cache
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / signer.name).write_bytes(signer.public)
    monkeypatch.setenv("ALPINE_KEYS", str(tmp_path / "keys"))
    with web.serving() as server:
        monkeypatch.setenv("ALPINE_MIRROR", server.url)
        yield apk.Archive(server, signer)


@pytest.fixture
def variant(tmp_path: Path) -> Callable[..., Variant]:
    """Function that makes a variant; pairs of arguments are texts to replace."""

    def load(*changes: str) -> Variant:
        text = locks.TEXT
        for old, new in zip(changes[::2], changes[1::2], strict=True):
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "test.yaml").write_text(text)
        return variants.load("test", tmp_path)

    return load


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key]:
    """A key, and somebody else's."""
    one, other = (make(tmp_path_factory.mktemp("keys")) for _ in range(2))
    return one, other
