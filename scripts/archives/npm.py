"""The npm registry: a package's exact version -> what a lock records of it.

The registry's own statement of a version has no signature that every mirror passes on, so trust begins at the first
lock: from then on the hashes in the lock decide. The formats are those of the registry's API
(https://github.com/npm/registry/blob/main/docs/REGISTRY-API.md) and Subresource Integrity (W3C).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from scripts import fetch, mirrors
from scripts.console import console
from scripts.errors import LockError
from scripts.variants import NPM

_METADATA_LIMIT = 1 << 20  # bytes
_TARBALL_LIMIT = 256 << 20


@dataclass(frozen=True)
class Release:
    """One version of a package: `path` is relative to any registry, `integrity` a SHA-512 as `sha512-<base64>`."""

    name: str
    version: str
    path: str
    integrity: str


def release(name: str, version: str) -> Release:
    """Ask the registry about one version.

    Raises LockError if there is no SHA-512 of it, or it is not the version that was asked for; FetchError if no
    registry has it.
    """
    accepted: list[Release] = []

    def accept(content: bytes) -> bytes:
        accepted.append(_read(name, version, content))
        return content

    fetch.fetch_unhashed(f"{name}/{version}", mirrors.mirrors(NPM, ""), accept, limit=_METADATA_LIMIT)
    return accepted[-1]


def _read(name: str, version: str, content: bytes) -> Release:
    try:
        value: dict[str, Any] = json.loads(content)
        found = value["name"], value["version"]
        integrity: str = value["dist"]["integrity"]
    except (ValueError, LookupError, TypeError) as error:
        raise LockError(f"The npm registry's answer about {name} {version} cannot be read: {error!r}") from error
    if found != (name, version):
        raise LockError(f"The npm registry was asked for {name} {version}, and answered about {' '.join(found)}.")
    if value.get("deprecated"):
        console.print(
            f"[yellow]warning:[/] npm: {name} {version} is deprecated: {value['deprecated']}", highlight=False
        )
    strongest = next((part for part in integrity.split() if part.startswith("sha512-")), None)
    if strongest is None:
        raise LockError(f"The npm registry has no SHA-512 of {name} {version}, only {integrity!r}.")
    # Where every registry keeps it, whatever host `dist.tarball` names; a scope is not part of the file's name.
    return Release(name, version, f"{name}/-/{name.rpartition('/')[2]}-{version}.tgz", strongest)


def tarball(found: Release) -> bytes:
    """The package's tarball; raises LockError if it does not have the integrity that the registry states."""

    def accept(content: bytes) -> bytes:
        try:
            expected = base64.b64decode(found.integrity.partition("-")[2], validate=True)
        except binascii.Error as error:
            raise LockError(f"{found.path}: {found.integrity!r} is not an integrity.") from error
        if hashlib.sha512(content).digest() != expected:
            raise LockError(f"{found.path} is not what the npm registry says it is: its SHA-512 is another.")
        return content

    return fetch.fetch_unhashed(found.path, mirrors.mirrors(NPM, ""), accept, limit=_TARBALL_LIMIT)
