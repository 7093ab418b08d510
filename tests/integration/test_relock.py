"""An update of a package, and back: the lock alone decides about the digest.

The archive is made here, on the loopback, because Debian's own changes when Debian likes.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pysequoia
import pytest

from scripts import build, dockerfile, fetch, lock, mirrors, paths, platforms, relock, variants
from scripts.archives import signatures
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.relock import Relocked
from scripts.variants import Variant
from tests.unit import locks, signed, web
from tests.unit.deb import changelog
from tests.unit.signed import NOW, Binary, binary, date

NATIVE = platforms.native()
HISTORY = {"2": "Fix CVE-2026-2222.", "1": "First."}


def package(name: str, version: str) -> Binary:
    """A package whose files tell its version, with the changelog of all."""
    return binary(
        name, version,
        {f"usr/bin/{name}": version.encode(), f"usr/share/doc/{name}/changelog.gz": changelog(name, HISTORY)},
    )  # fmt: skip


LIBRARY, OLD, NEW = package("library", "1"), package("tool", "1"), package("tool", "2")


@dataclass(frozen=True)
class Project:
    """A variant with its lock, as in a checkout."""

    folder: Path
    variant: Variant
    tool: Engine

    @property
    def lock(self) -> Path:
        """The file that would be committed."""
        return self.folder / "lock.json"

    def relock(self) -> Relocked:
        """As `nox -s lock` does it."""
        return relock.relock([self.variant], {self.variant.name: self.lock}, self.folder, at=NOW)

    def build(self, name: str) -> str:
        """Fetch and build what is locked; returns the digest of the image index."""
        locked = lock.load(self.variant, self.lock)
        locked.fetch([NATIVE])
        written = self.folder / "Dockerfile"
        paths.write_text(written, dockerfile.expand(self.variant, locked))
        found = Recipe(self.variant, locked, written, folder=self.folder)
        return build.build(found, [NATIVE], self.tool, cache=False, folder=self.folder / name).index


@pytest.fixture
def archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[signed.Archive]:
    """An archive whose key is trusted, with a place for snapshots."""
    key = pysequoia.Tsk.generate("archive@example.org")
    (tmp_path / "keyring.pgp").write_bytes(bytes(key.extract_certificate()))
    monkeypatch.setattr(signatures, "DEBIAN_KEYRING", tmp_path / "keyring.pgp")
    with web.serving() as server:
        monkeypatch.setenv("DEBIAN_MIRROR", server.url)
        monkeypatch.setattr(mirrors, "SNAPSHOT", f"{server.url}/snapshot")
        yield signed.Archive(server, key)


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch, tool: Engine) -> Iterator[Project]:
    folder = paths.SCRATCH / "test" / "relock"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "relocked.yaml").write_text(locks.TEXT)
    real = lock.path_of
    monkeypatch.setattr(
        lock, "path_of", lambda name, *rest: folder / "lock.json" if rest == (folder,) else real(name, *rest)
    )
    yield Project(folder, variants.load("relocked", folder), tool)
    shutil.rmtree(folder)
    for found in (LIBRARY, OLD, NEW):
        fetch.blob(found.sha256).unlink(missing_ok=True)


def test_the_lock_of_before_gives_the_digest_of_before(archive: signed.Archive, project: Project) -> None:
    archive.offer(LIBRARY, OLD)
    snapshot = project.relock().locks["relocked"].snapshot
    before, text = project.build("before"), project.lock.read_text()

    # The archive has a newer version, and drops the other.
    archive.offer(LIBRARY, NEW, Date=date(NOW - timedelta(hours=1)))
    del archive.server.behaviours[f"/{OLD.path}"]
    relocked = project.relock()
    ((change, mentioned),) = relocked.mentioned.items()
    assert (change.package, change.old, change.new, mentioned) == ("tool", "1", "2", ("CVE-2026-2222",))
    assert project.lock.read_text() != text
    assert project.build("after") != before

    # Back, on a machine that has not seen the old one: the snapshot that the old lock names has it.
    project.lock.write_text(text)
    fetch.blob(OLD.sha256).unlink()
    archive.server.behaviours[f"/snapshot/debian/{snapshot}/{OLD.path}"] = web.content(OLD.content)
    assert project.build("again") == before
    assert (f"/snapshot/debian/{snapshot}/{OLD.path}", "") in archive.requests
