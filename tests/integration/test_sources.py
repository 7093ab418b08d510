"""Where packages come from must not matter: a mirror, the archive of snapshots, a vault; nor what is in caches.

Each case begins with empty caches, and has to give the same bytes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts import fetch, lock, mirrors, paths, platforms, variants
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.lock import LockedPackage
from scripts.oci import Layout
from tests.integration import checkouts
from tests.integration.checkouts import Checkout
from tests.unit import web
from tests.unit.web import Web

NATIVE = platforms.native()
Packages = tuple[LockedPackage, ...]


@pytest.fixture
def scratch() -> Iterator[Path]:
    with checkouts.scratch("sources") as folder:
        yield folder


@pytest.fixture
def checkout(scratch: Path, recipe: Recipe, tool: Engine) -> Checkout:
    return checkouts.copy(scratch / "checkout", recipe, tool)


@pytest.fixture(scope="module")
def packages(recipe: Recipe, layout: Layout) -> Packages:
    """All that a build needs: those of the image, and that of the program which unpacks them."""
    busybox = lock.load(variants.load("busybox", paths.TOOLS), lock.path_of("busybox", paths.TOOLS))
    return (*recipe.lock.packages([NATIVE]), *busybox.packages([NATIVE]))


def content(package: LockedPackage) -> bytes:
    return fetch.blob(package.sha256).read_bytes()


def built_from(
    server: Web, url: Callable[[str], str], packages: Packages, checkout: Checkout, scratch: Path
) -> subprocess.CompletedProcess[str]:
    """A build that asks `server` first, where each archive is at the `url` of its name; it got all from there.

    Only layers that were packed before are not packed again.
    """
    named = {mirrors.variable(package.archive): url(package.archive) for package in packages}
    done = checkout.build(named | checkouts.cache(scratch / "cache", "layers"))
    assert {path for path, _ in server.requests} == set(server.behaviours), done.stdout
    return done


def test_a_mirror(checkout: Checkout, scratch: Path, packages: Packages, layout: Layout) -> None:
    with web.serving() as server:
        for package in packages:
            server.behaviours[f"/pub/{package.archive}/{package.path}"] = web.content(content(package))
        done = built_from(server, lambda archive: f"{server.url}/pub/{archive}", packages, checkout, scratch)
    assert checkout.has_built(done, layout, NATIVE)


def test_the_archive_of_snapshots(
    checkout: Checkout, scratch: Path, recipe: Recipe, packages: Packages, layout: Layout
) -> None:
    """Its addresses, on this machine: each file at the locked instant, which leads to its only place, by its SHA-1."""
    instant = recipe.lock.snapshot
    with web.serving() as server:

        def url(archive: str) -> str:
            return mirrors.public_url(archive, instant).replace(mirrors.SNAPSHOT, f"{server.url}/archive")

        for package in packages:
            place = f"/file/{hashlib.sha1(content(package)).hexdigest()}"  # noqa: S324 - the archive's own choice
            server.behaviours[place] = web.content(content(package))
            server.behaviours[f"/archive/{package.archive}/{instant}/{package.path}"] = web.redirecting(place)
        done = built_from(server, url, packages, checkout, scratch)
    assert checkout.has_built(done, layout, NATIVE)


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root and unshare(1)")
def test_a_vault(checkout: Checkout, scratch: Path, packages: Packages, layout: Layout) -> None:
    """Without any network, not even the loopback; all caches are empty, so that layers are packed anew as well."""
    blobs = scratch / "vault" / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for package in packages:
        (blobs / package.sha256).write_bytes(content(package))
    environment = {"PROSODY_VAULT": str(scratch / "vault"), **checkouts.cache(scratch / "cache")}
    done = checkout.build(environment, before=("unshare", "--net"))
    assert checkout.has_built(done, layout, NATIVE)
