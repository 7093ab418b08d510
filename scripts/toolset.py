"""Locked sets of Debian packages that the build system itself uses, unpacked and never installed."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from debian.debfile import DebFile
from filelock import FileLock

from scripts import fetch, lock, paths, platforms, variants
from scripts.console import console
from scripts.errors import GoneError
from scripts.lock import Lock, LockedPackage
from scripts.platforms import Platform


@dataclass(frozen=True)
class Toolset:
    """An unpacked set of packages; `root` is laid out like a Debian system."""

    root: Path

    def command(self, program: str) -> list[str]:
        """Start of a command line that runs `program` (`usr/bin/...`) with the set's own C library.

        So programs of Debian 13 run on any Linux of the same processor, older or without glibc.
        """
        loader = next(self.root.glob("usr/lib/*/ld-linux*.so*"))
        return [str(loader), "--library-path", str(loader.parent), str(self.root / program)]


def unpack(name: str, platform: Platform | None = None) -> Toolset:
    """The tools `name` (scripts/tools/<name>.yaml) for `platform` (default: this machine's), ready to use.

    They are kept in the user's cache, so every checkout shares them, and are not verified again there.
    Raises what `fetch.fetch` and `lock.load` raise.
    """
    return _locked(name, lambda locked: _kept(name, locked, platform or platforms.native()))


def unpack_anew(name: str, root: Path, platform: Platform | None = None) -> Toolset:
    """The tools `name` for `platform` (default: this machine's), unpacked into `root` from packages verified now.

    For what decides about the bytes of an image. Raises what `unpack` raises.
    """
    target = platform or platforms.native()

    def unpacked(locked: Lock) -> Toolset:
        locked.fetch([target], label=f"packages of {name}")
        for package in locked.packages([target]):
            unpack_package(fetch.blob(package.sha256), root)
        return Toolset(root)

    return _locked(name, unpacked)


def _locked(name: str, use: Callable[[Lock], Toolset]) -> Toolset:
    """What `use` makes of the lock of `name`.

    If the archive has dropped a package for good, the set is locked again for this run only where CI is set: an update
    of the archive must not block a change.
    """
    variant = variants.load(name, paths.TOOLS)
    try:
        return use(lock.load(variant, lock.path_of(name, paths.TOOLS)))
    except GoneError as error:
        if not os.environ.get("CI"):
            raise
        console.print(f"[yellow]warning:[/] {error}\nLocking {name} again, only for this run.", highlight=False)
        return use(lock.make(variant, datetime.now(UTC)))


def _kept(name: str, locked: Lock, platform: Platform) -> Toolset:
    packages = locked.packages([platform])
    digest = hashlib.sha256("".join(sorted(package.sha256 for package in packages)).encode()).hexdigest()
    root = paths.user_cache() / "tools" / f"{name}-{digest[:12]}"
    root.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(root.with_suffix(".lock")):
        if not root.is_dir():
            locked.fetch([platform], label=f"packages of {name}")
            with console.status(f"Unpacking {name}"):
                _unpack(packages, root)
    return Toolset(root)


def _unpack(packages: tuple[LockedPackage, ...], root: Path) -> None:
    """Unpack into a folder beside `root`, then rename: `root` is complete or not there."""
    temporary = Path(tempfile.mkdtemp(prefix=f".{root.name}.", dir=root.parent))
    try:
        with ThreadPoolExecutor() as executor:
            list(executor.map(lambda package: unpack_package(fetch.blob(package.sha256), temporary), packages))
        temporary.chmod(0o755)
        temporary.rename(root)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def unpack_package(file: Path, root: Path) -> None:
    """Unpack the files of one Debian package into `root`; its scripts are never run."""
    with DebFile(str(file)) as package, package.data.tgz() as archive:
        archive.extractall(root, filter="tar")
