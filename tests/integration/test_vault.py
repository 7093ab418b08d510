"""A vault in a real registry: what is copied and what is refused; and a build from one alone, without any network."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from scripts import digests, oci, paths, platforms, registry, vault
from scripts.errors import RegistryError
from scripts.lock import Lock
from tests.integration.conftest import Guarded, Images
from tests.integration.networks import Network
from tests.peers import registry as registries
from tests.peers.registry import Registry

# Without any network, not even the loopback; and nothing that is started outlives it.
_ISOLATED = ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
_BUILD = """
"$1" -m scripts.build debian
status=$?
"$1" -m scripts.engine remove
exit $status
"""


@pytest.fixture(scope="module")
def locks(images: Images) -> tuple[Lock, ...]:
    """What a build of the debian variant for this machine's platform takes."""
    images.recipe("debian")
    native = platforms.native().name
    chosen = [found for found in vault.locks() if found.variant in ("debian", *vault.TOOLS)]
    return tuple(replace(found, platforms={native: found.platforms[native]}) for found in chosen)


@pytest.fixture(scope="module")
def reference(on_loopback: Registry, locks: tuple[Lock, ...]) -> str:
    """A vault in the registry."""
    name = f"{on_loopback.host}/prosody/vault:1"
    vault.push(locks, name)
    return name


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What gives the test a cache without packages; tools that are unpacked already are in it."""

    def change() -> None:
        tools = paths.user_cache() / "tools"
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        paths.user_cache().mkdir(parents=True)
        (paths.user_cache() / "tools").symlink_to(tools)

    return change


def interrupting(after: int) -> Callable[[str], None]:
    """What is called for each blob, and interrupts the caller when it is called for the last time."""
    blobs = iter(range(after))

    def begun(_digest: str) -> None:
        if next(blobs) == after - 1:
            raise KeyboardInterrupt

    return begun


def test_what_is_there_is_not_pushed_again(on_loopback: Registry, locks: tuple[Lock, ...]) -> None:
    name = f"{on_loopback.host}/twice:1"
    first = vault.push(locks, name)
    assert first.new == first.packages == vault.packages(locks)
    assert registry.digest(name) == first.digest == oci.digest_of(vault.manifest(first.packages))
    uploads = on_loopback.requests("POST", "/twice/blobs/uploads/")
    assert uploads >= len(first.packages)
    second = vault.push(locks, name)
    assert (second.digest, second.new) == (first.digest, ())
    assert on_loopback.requests("PUT", "/twice/manifests/") == 2, "the manifest was pushed again"
    assert on_loopback.requests("POST", "/twice/blobs/uploads/") == uploads


def test_an_interrupted_push_goes_on(on_loopback: Registry, locks: tuple[Lock, ...], tmp_path: Path) -> None:
    name = f"{on_loopback.host}/interrupted:1"
    everything = vault.push(locks, str(tmp_path)).packages
    with pytest.raises(KeyboardInterrupt):
        registry.push(tmp_path, name, interrupting(len(everything) // 2))
    with pytest.raises(RegistryError, match="is not there"):
        registry.digest(name)
    rest = registry.push(tmp_path, name)
    assert 0 < len(rest.new) < len(everything)
    assert registry.digest(name) == rest.digest


def test_an_interrupted_pull_goes_on(reference: str, locks: tuple[Lock, ...], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        registry.pull(reference, tmp_path, interrupting(len(vault.packages(locks)) // 2))
    assert {path.name for path in tmp_path.iterdir()} <= {"blobs", "oci-layout"}
    kept = [*(tmp_path / "blobs" / "sha256").iterdir()]
    assert kept
    rest = registry.pull(reference, tmp_path)
    assert rest.new
    assert rest.new.isdisjoint(f"sha256:{path.name}" for path in kept)


def test_a_vault_fills_an_empty_cache(reference: str, locks: tuple[Lock, ...], empty_cache: Callable[[], None]) -> None:
    empty_cache()
    done = vault.pull(locks, reference)
    assert done.new == done.packages
    assert not [package for package in done.packages if package.item.fault(package.item.place)]
    assert vault.pull(locks, reference).new == ()


def test_an_altered_blob_is_refused_by_name(
    client: docker.DockerClient,
    images: Images,
    network: Network,
    locks: tuple[Lock, ...],
    empty_cache: Callable[[], None],
) -> None:
    busybox = [found for found in locks if found.variant == "busybox"]
    (package,) = vault.packages(busybox)
    with registries.serving(client, images.peer("registry"), network, 3) as altered:
        name = f"{altered.host}/vault:1"
        vault.push(busybox, name)
        altered.spoil(package.sha256)
        empty_cache()
        with pytest.raises(RegistryError, match=rf"other bytes(.|\n)*The package is {package.package}"):
            vault.pull(busybox, name)
    assert not package.item.place.exists()


def test_a_registry_with_tls_wants_a_name_and_a_password(guarded: Guarded, locks: tuple[Lock, ...]) -> None:
    busybox = [found for found in locks if found.variant == "busybox"]
    name = f"{guarded.registry.host}/vault:1"
    guarded.admit(lambda: vault.push(busybox, name))
    assert vault.push(busybox, name).new == vault.packages(busybox)
    assert vault.pull(busybox, name).packages == vault.packages(busybox)


def test_an_unreachable_registry_is_a_clear_error(reference: str, empty_cache: Callable[[], None]) -> None:
    """Also as an exit status; the discard port is one on which nobody listens."""
    empty_cache()
    with pytest.raises(RegistryError, match=r"127\.0\.0\.1:9/vault:1 cannot be reached"):
        registry.digest("127.0.0.1:9/vault:1")
    with pytest.raises(RegistryError, match="is not there"):
        registry.digest(reference.replace("vault:1", "nothing:1"))
    done = subprocess.run(
        [sys.executable, "-m", "scripts.vault", "pull", "127.0.0.1:9/vault:1"],
        cwd=paths.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == RegistryError.exit_status
    assert "cannot be reached" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root and unshare(1)")
def test_a_build_from_a_vault_alone_gives_the_committed_digests(
    reference: str, locks: tuple[Lock, ...], empty_cache: Callable[[], None]
) -> None:
    """No network, no cache, no engine: the registry's vault becomes a folder, and everything else comes from that."""
    empty_cache()
    vault.pull(locks, reference)
    # The path of an engine's socket must be a short one, and pytest's are not.
    with tempfile.TemporaryDirectory(prefix="vault-") as scratch:
        checkout, folder = Path(scratch) / "checkout", Path(scratch) / "vault"
        vault.push(locks, str(folder))
        paths.copy_checkout(checkout)
        variables = {"PROSODY_VAULT": str(folder), "PROSODY_ENGINE": "embedded", "XDG_CACHE_HOME": f"{scratch}/cache"}
        done = subprocess.run(
            [*_ISOLATED, "/bin/sh", "-c", _BUILD, "sh", sys.executable],
            cwd=checkout, env=os.environ | variables, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        committed = digests.load("debian")
        assert committed is not None
        expected = committed.image(platforms.native())
        assert expected is not None
        assert (checkout / "dist/debian/blobs/sha256" / expected.manifest.removeprefix("sha256:")).is_file()
