"""Packages that are plain tarballs, of the npm registry or at an address: fetched and checked, to be locked."""

from __future__ import annotations

import fnmatch
import hashlib
import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from scripts import fetch, mirrors
from scripts.archives import npm
from scripts.errors import LockError
from scripts.variants import Tarball

_LIMIT = 256 << 20  # bytes


@dataclass(frozen=True)
class Found:
    """A tarball that was fetched and looked at: its hashes and size in bytes."""

    sha256: str
    size: int
    integrity: str


def find(tarball: Tarball) -> Found:
    """Fetch a tarball into the cache, and check that it is what the variant says.

    Raises LockError if it is another, is no tarball, or lacks what the variant takes from it; FetchError if it is not
    there.
    """
    if tarball.npm is not None:
        release = npm.release(tarball.name, tarball.npm)
        content, integrity = npm.tarball(release), release.integrity
    else:
        content, integrity = fetch.fetch_unhashed(
            tarball.path, mirrors.mirrors(tarball.archive, ""), lambda found: _is_expected(tarball, found), limit=_LIMIT
        ), ""  # fmt: skip
    check(tarball, content)
    return Found(fetch.keep(content), len(content), integrity)


def _is_expected(tarball: Tarball, content: bytes) -> bytes:
    actual = hashlib.sha256(content).hexdigest()
    if actual != tarball.sha256:
        raise LockError(
            f"{tarball.url} is not the file that the variant names: SHA-256 {actual} instead of {tarball.sha256}."
        )
    return content


def check(tarball: Tarball, content: bytes) -> None:
    """Raise LockError unless `content` is a tarball that has something for every pattern, as files and folders only."""
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            members = list(archive)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise LockError(f"{tarball.name}: {tarball.file_name} is not a tarball: {error}") from error
    missing = set(tarball.only)
    for member in members:
        if member.name.startswith("/") or ".." in member.name.split("/"):
            raise LockError(f"{tarball.name}: {tarball.file_name} has a file outside of its folder: {member.name!r}")
        for pattern in _takes(tarball, member.name):
            missing.discard(pattern)
            if not (member.isfile() or member.isdir()):
                raise LockError(
                    f"{tarball.name}: {member.name!r} in {tarball.file_name} is neither a file nor a folder;"
                    f" {pattern!r} under `only` takes it"
                )
    if missing:
        raise LockError(f"{tarball.name}: nothing in {tarball.file_name} matches: {', '.join(sorted(missing))}")


def _takes(tarball: Tarball, member: str) -> Iterator[str]:
    """Patterns by which a member is taken: its path, or that of a folder it lies in, matches."""
    parts = [part for part in member.split("/") if part not in ("", ".")][tarball.strip :]
    for pattern in tarball.only:
        depth = pattern.count("/") + 1
        if len(parts) >= depth and _matches(parts[:depth], pattern.split("/")):
            yield pattern


def _matches(parts: list[str], patterns: list[str]) -> bool:
    """As a shell does: `*` stands for no slash."""
    return all(fnmatch.fnmatchcase(part, pattern) for part, pattern in zip(parts, patterns, strict=True))
