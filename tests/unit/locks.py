"""Variants and locks that are made up."""

from __future__ import annotations

import hashlib

from scripts import lock
from scripts.lock import Lock, LockedPackage, LockedSuite
from scripts.variants import Variant

TEXT = """\
description: A variant for tests.
distribution: debian
suites: [{suite: trixie}]
platforms: [linux/amd64, linux/arm64]
layers:
  base: [library]
  top: [tool]
exclude: {helper: not in this archive}
version: tool
"""


def package(name: str, version: str = "1", **fields: str | int) -> LockedPackage:
    sha256 = hashlib.sha256(f"{name} {version}".encode()).hexdigest()
    path = f"pool/main/{name[0]}/{name}/{name}_{version}_all.deb"
    values = {
        "layer": "base", "package": name, "version": version, "architecture": "all", "archive": "debian", "path": path,
        "size": 10, "sha256": sha256, "source": name, "source_version": version,
    } | fields  # fmt: skip
    return LockedPackage(**values)  # type: ignore[arg-type]


def made_up(variant: Variant, *packages: LockedPackage) -> Lock:
    """A lock with the same packages for both platforms."""
    return Lock(
        variant=variant.name,
        inputs=lock.inputs(variant),
        snapshot="20261120T210000Z",
        epoch=1795167600,
        suites=(LockedSuite("debian", "trixie", "2026-11-20T09:00:00+00:00", "ab" * 32),),
        platforms=dict.fromkeys(("linux/amd64", "linux/arm64"), packages or (package("library"), package("tool"))),
    )
