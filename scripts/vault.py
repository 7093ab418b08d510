"""Locks -> a vault: all locked packages as one OCI artifact, for when no mirror has them any more.

    python -m scripts.vault push REFERENCE|FOLDER
    python -m scripts.vault pull REFERENCE|FOLDER

Its layers are the packages as they are, so their digests are the SHA-256s in the locks, and the same locks always give
the same artifact. In a folder, which PROSODY_VAULT may name, it is an OCI image layout; a registry keeps it as it keeps
images.

Format: OCI image specification 1.1 ("Guidelines for Artifact Usage"); RFC 6838 types of what is in it.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from scripts import errors, lock, oci, paths, registry, variants
from scripts.console import console, mebibytes, step_progress, table
from scripts.errors import FetchError, RegistryError
from scripts.lock import Lock, LockedPackage
from scripts.platforms import PLATFORMS

TOOLS = ("busybox", "engine", "skopeo")  # what a build, and this, uses itself; the others of scripts/tools serve tests
TYPE = "application/vnd.prosody-images.vault.v1"
_DEBIAN = "application/vnd.debian.binary-package"
_OTHER = "application/gzip"  # packages of npm and of Alpine
_EMPTY = b"{}"  # configuration of an artifact that has none
_SHOWN = 5  # packages in a message


@dataclass(frozen=True)
class Report:
    """What was done: digest of the artifact, its packages, and which of them were not there before."""

    digest: str
    packages: tuple[LockedPackage, ...]
    new: tuple[LockedPackage, ...]


def locks() -> tuple[Lock, ...]:
    """All that goes into the vault of this checkout."""
    names = [(name, paths.VARIANTS) for name in lock.chosen_by_default(paths.VARIANTS)]
    names += [(name, paths.TOOLS) for name in TOOLS]
    return tuple(lock.load(variants.load(name, folder), lock.path_of(name, folder)) for name, folder in names)


def packages(found: Sequence[Lock]) -> tuple[LockedPackage, ...]:
    """Packages of all platforms of `found`, each file once, in the order of their files' names."""
    everything = {package.sha256: package for locked in found for each in locked.platforms.values() for package in each}
    return tuple(sorted(everything.values(), key=lambda package: (package.file_name, package.sha256)))


def manifest(chosen: Sequence[LockedPackage]) -> bytes:
    """The artifact's manifest."""
    empty: dict[str, Any] = {"mediaType": "application/vnd.oci.empty.v1+json", **_described(_EMPTY)}
    layers = [
        {
            "mediaType": _DEBIAN if package.file_name.endswith(".deb") else _OTHER,
            "digest": f"sha256:{package.sha256}",
            "size": package.size,
            "annotations": {"org.opencontainers.image.title": package.file_name},
        }
        for package in chosen
    ]
    return oci.canonical(
        {"schemaVersion": 2, "mediaType": oci.MANIFEST, "artifactType": TYPE, "config": empty, "layers": layers}
    )


def push(found: Sequence[Lock], target: str) -> Report:
    """Put the packages of `found` into a vault: a folder or a reference. Those that are not in the cache are fetched.

    What is there is not written again; packages that other locks have brought there stay. Raises what `Lock.fetch` and
    `registry.push` raise.
    """
    for locked in found:
        locked.fetch([PLATFORMS[name] for name in locked.platforms], label=f"packages of {locked.variant}")
    chosen = packages(found)
    if not registry.is_reference(target):
        return _write(chosen, Path(target), _copy)
    with tempfile.TemporaryDirectory(prefix="vault-", dir=paths.user_cache()) as scratch, _named(chosen):
        _write(chosen, Path(scratch), paths.link)
        with _counted(f"Pushing to {target}", len(chosen)) as advance:
            copied = registry.push(Path(scratch), target, advance)
    new = tuple(package for package in chosen if f"sha256:{package.sha256}" in copied.new)
    return Report(copied.digest, chosen, new)


def pull(found: Sequence[Lock], source: str) -> Report:
    """Bring the packages of `found` into the cache, from a vault: a folder or a reference.

    Raises FetchError if one is not there, or not what its name says, and what `registry.pull` raises. What was pulled
    until then is kept.
    """
    chosen = packages(found)
    if not registry.is_reference(source):
        return Report(oci.digest_of(manifest(chosen)), chosen, _take(chosen, Path(source), source))
    folder = paths.user_cache() / "vault"
    with FileLock(folder.with_suffix(".lock")), _named(chosen):
        _blobs(folder).mkdir(parents=True, exist_ok=True)
        for package in chosen:  # what need not be pulled
            if _is_at(package.item.place, package):
                paths.link(package.item.place, _blobs(folder) / package.sha256)
        with _counted(f"Pulling from {source}", len(chosen)) as advance:
            copied = registry.pull(source, folder, advance)
        try:
            return Report(copied.digest, chosen, _take(chosen, folder, source))
        finally:
            shutil.rmtree(folder)


def _write(chosen: Sequence[LockedPackage], folder: Path, place: Callable[[Path, Path], None]) -> Report:
    """Make `folder` the layout of a vault; `place` brings a file of the cache there."""
    _blobs(folder).mkdir(parents=True, exist_ok=True)
    new = []
    with step_progress() as progress:
        for package in progress.track(chosen, description=f"Writing {folder}"):
            target = _blobs(folder) / package.sha256
            if _is_at(target, package):
                continue
            place(package.item.place, target)
            new.append(package)
    content = manifest(chosen)
    described = _described(content)
    for blob in (_EMPTY, content):
        paths.write_text(_blobs(folder) / oci.digest_of(blob).removeprefix("sha256:"), blob.decode())
    oci.write_index(folder, {"mediaType": oci.MANIFEST, "artifactType": TYPE, **described})
    return Report(described["digest"], tuple(chosen), tuple(new))


def _take(chosen: Sequence[LockedPackage], folder: Path, source: str) -> tuple[LockedPackage, ...]:
    """Copy what the cache lacks from `folder`, each only if it is what its name says; returns what was copied."""
    if not _blobs(folder).is_dir():
        raise FetchError(f"{source} is not a vault: there is no folder {_blobs(folder)}. Check its path.")
    missing, wrong, new = [], [], []
    with step_progress() as progress:
        for package in progress.track(chosen, description=f"Taking from {source}"):
            blob = _blobs(folder) / package.sha256
            if _is_at(package.item.place, package):
                continue
            if not blob.is_file():
                missing.append(f"  {package.item.name}, SHA-256 {package.sha256}")
            elif fault := package.item.fault(blob):
                wrong.append(f"  {package.item.name}: {fault}")
            else:
                _copy(blob, package.item.place)
                new.append(package)
    again = f"Put them there from where they can be had: scripts/nox -s vault -- push {source}"
    for refused, what in ((wrong, "are not what their names say"), (missing, "are not in it")):
        if refused:
            shown = refused[:_SHOWN] + [f"  ... and {len(refused) - _SHOWN} more"] * (len(refused) > _SHOWN)
            lines = "\n".join(shown)
            raise FetchError(
                f"The vault {source} cannot be used as it is: {len(refused)} of {len(chosen)} packages {what}.\n"
                f"{lines}\n{again}"
            )
    return tuple(new)


@contextmanager
def _named(chosen: Sequence[LockedPackage]) -> Iterator[None]:
    """Let an error that tells the digest of an altered blob name the package as well."""
    try:
        yield
    except RegistryError as error:
        text = str(error)
        named = [package.item.name for package in chosen if registry.ALTERED in text and package.sha256 in text]
        raise RegistryError("\n  The package is ".join([text, *named])) from error


@contextmanager
def _counted(what: str, total: int) -> Iterator[Callable[[str], None]]:
    """A progress bar, and what moves it on by one."""
    with step_progress() as progress:
        task = progress.add_task(what, total=total)
        yield lambda _digest: progress.advance(task)


def _is_at(file: Path, package: LockedPackage) -> bool:
    return file.is_file() and not package.item.fault(file)


def _copy(source: Path, target: Path) -> None:
    with paths.replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def _blobs(folder: Path) -> Path:
    return folder / "blobs" / "sha256"


def _described(content: bytes) -> dict[str, Any]:
    """Digest and size, as descriptors have them."""
    return {"digest": oci.digest_of(content), "size": len(content)}


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(
        prog="nox -s vault --", description="Keep all locked packages in a vault, or have them from it."
    )
    verbs: Mapping[str, Callable[[Sequence[Lock], str], Report]] = {"push": push, "pull": pull}
    parser.add_argument("verb", choices=tuple(verbs), help="push: into the vault; pull: from the vault into the cache")
    parser.add_argument(
        "place",
        metavar="REFERENCE|FOLDER",
        help="HOST[:PORT]/NAME[:TAG] in a registry, or a folder (./ before its name if it looks like a reference)",
    )
    options = parser.parse_args(arguments)
    start = time.monotonic()
    done = verbs[options.verb](locks(), options.place)
    numbers = ("files", "size", "new", "size of new", "seconds")
    report = table(f"Vault {options.place}, {options.verb}ed", *numbers, "digest", numeric=frozenset(numbers))
    sizes = [mebibytes(sum(package.size for package in each)) for each in (done.packages, done.new)]
    seconds = f"{time.monotonic() - start:.1f}"
    report.add_row(f"{len(done.packages)}", sizes[0], f"{len(done.new)}", sizes[1], seconds, done.digest)
    console.print(report)


if __name__ == "__main__":
    errors.run(main)
