"""The image under the seccomp profile of deploy/: the server works, and what it never does is refused."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from scripts import paths, toolset
from tests.integration import servers
from tests.integration.clients import connected
from tests.integration.conftest import Images
from tests.integration.containers import CONFINED, LoadedImage, Outcome
from tests.integration.servers import ACCOUNTS, Server

PROFILE = (paths.ROOT / "deploy" / "seccomp.json").read_text()
STRICT = CONFINED | {"security_opt": ["no-new-privileges", f"seccomp={PROFILE}"]}
(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()


@pytest.fixture(scope="module")
def strict_server(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server under the profile."""
    with serving(client, image) as server:
        yield server


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A started server of `image` under the profile."""
    accounts = "\n".join(f"{address}:{password}" for address, password in ACCOUNTS.items())
    environment = {"PROSODY_DOMAIN": servers.DOMAIN, "PROSODY_ACCOUNTS": accounts}
    server = Server(client, image, environment, {"security_opt": STRICT["security_opt"]})
    try:
        server.start()
        yield server
    finally:
        server.remove()


def test_the_filter_is_in_force(strict_server: Server) -> None:
    script = 'print(io.open("/proc/self/status"):read("a"))'
    status = strict_server.execute("/usr/bin/lua5.4", "-e", script)
    assert "Seccomp:\t2" in status.output, "mode 2 is a filter (proc(5))"
    assert "NoNewPrivs:\t1" in status.output


def test_messages_and_the_archive_work(strict_server: Server, tmp_path: Path) -> None:
    certificate = strict_server.certificate(tmp_path)
    text = f"under the filter {uuid.uuid4()}"

    async def scenario() -> None:
        async with (
            connected(strict_server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(strict_server.port(), BOB, BOB_PASSWORD, certificate) as bob,
        ):
            alice.say(BOB, text)
            assert await bob.next_message() == text

    asyncio.run(scenario())


def test_the_health_check_and_the_shell_work(strict_server: Server) -> None:
    assert strict_server.execute("/usr/bin/lua5.4", "/usr/local/lib/prosody-container/health.lua").status == 0
    assert servers.DOMAIN in strict_server.shell("host:list()")


def test_a_reload_and_a_restart_work(strict_server: Server) -> None:
    strict_server.running.kill("HUP")
    strict_server.wait_for(lambda: "eload" in strict_server.log(), "the reload is in the log")
    strict_server.restart()


@pytest.mark.parametrize("name", ["dev", "hardened", "jitsi"])
def test_the_other_variants_start(client: docker.DockerClient, images: Images, name: str) -> None:
    with serving(client, images.load(name)) as server:
        assert server.accepts_clients()


def run_busybox(client: docker.DockerClient, image: LoadedImage, *command: str, profile: str) -> Outcome:
    """A program that the image does not have, in a container as root with all capabilities, under a profile."""
    busybox = toolset.unpack("busybox").root / "usr/bin/busybox"
    return servers.run(
        client, image, *command, entrypoint=["/busybox"], user="0", cap_drop=[], cap_add=["ALL"],
        security_opt=[f"seccomp={profile}"], volumes={str(busybox): {"bind": "/busybox", "mode": "ro"}},
    )  # fmt: skip


@pytest.mark.parametrize(
    "command",
    [
        ("mount", "-t", "tmpfs", "none", "/etc/prosody/conf.d"),
        ("umount", "/etc/hosts"),
        ("unshare", "-m", "/busybox", "true"),
        ("unshare", "-U", "/busybox", "true"),
        ("chroot", "/", "/busybox", "true"),
        ("hostname", "other"),
        ("mknod", "/dev/device", "c", "1", "3"),
        ("dmesg", "-s", "1"),
    ],
    ids=" ".join,
)
def test_what_the_server_never_does_is_refused(
    client: docker.DockerClient, image: LoadedImage, command: tuple[str, ...]
) -> None:
    """Even for root with every capability; without the profile the same succeeds, so it is the profile that refuses."""
    free = run_busybox(client, image, *command, profile="unconfined")
    assert free.status == 0, free.text
    refused = run_busybox(client, image, *command, profile=PROFILE)
    assert refused.status != 0
    assert any(words in refused.text.lower() for words in ("not permitted", "permission denied")), refused.text
