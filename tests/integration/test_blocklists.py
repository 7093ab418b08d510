"""Block lists of addresses in the DNS: who registers from a listed address is noted and told, and not turned away."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.integration import networks
from tests.integration.clients import connected
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.registration import Registration
from tests.integration.servers import Server
from tests.peers import rbldnsd
from tests.peers.rbldnsd import Rbldnsd

LISTED, CLEAN, SILENT = "listed.example", "clean.example", "silent.example"
_PASSWORD = "correct horse"
_NAMES, _XMPP = 2, 3  # members of the network


@dataclass(frozen=True)
class Scene:
    """A server of three hosts; each asks a list of its own, and registrations come from `address`."""

    server: Server
    lists: Rbldnsd
    address: str


@pytest.fixture(scope="module")
def scene(client: docker.DockerClient, images: Images, image: LoadedImage) -> Iterator[Scene]:
    with networks.network(client) as network:
        # What comes in through a published port is from the gateway.
        address = network.address(1)
        others = "198.51.100.0/24"
        lists = {f"list.{LISTED}": [others, address], f"list.{CLEAN}": [others], f"list.{SILENT}": [address]}
        variables = {
            "PROSODY_DOMAIN": LISTED,
            "PROSODY_VIRTUAL_HOSTS": f"{LISTED}, {CLEAN}, {SILENT}",
            "PROSODY_ALLOW_REGISTRATION": "true",
            "PROSODY_DNS_RESOLVERS": network.address(_NAMES),
            "PROSODY_DNSBLS__LISTED_EXAMPLE": f"list.{LISTED}",
            "PROSODY_DNSBLS__CLEAN_EXAMPLE": f"list.{CLEAN}",
            "PROSODY_DNSBLS__SILENT_EXAMPLE": f"list.{SILENT}",
            "PROSODY_DNSBL_MESSAGE": "The address {registration.ip} of {registration.username} is listed.",
        }
        with rbldnsd.serving(client, images.peer("rbldnsd"), network, _NAMES, lists) as started:
            server = Server(client, image, variables, network.member(_XMPP))
            try:
                server.start()
                yield Scene(server, started, address)
            finally:
                server.remove()


def register(scene: Scene, host: str, certificate: Path) -> str:
    """Name of a new account, which must not be refused."""
    name = f"user-{uuid.uuid4().hex[:8]}"
    with Registration(scene.server, certificate, host) as registration:
        assert registration.register(name, _PASSWORD) is None
    return name


def flags(scene: Scene, jid: str) -> str:
    """What is noted about an account."""
    return scene.server.shell(f"flags:list('{jid}')")


async def _first_message(scene: Scene, jid: str, certificate: Path) -> str:
    async with connected(scene.server.port(), jid, _PASSWORD, certificate) as user:
        user.say(jid, "nothing came before this")
        return await user.next_message()


def test_who_registers_from_a_listed_address_is_noted_and_told(scene: Scene, tmp_path: Path) -> None:
    certificate = scene.server.certificate(tmp_path)
    name = register(scene, LISTED, certificate)
    jid = f"{name}@{LISTED}"
    scene.server.wait_for(lambda: f"Matched list.{LISTED}" in flags(scene, jid), "the account has a flag")
    told = asyncio.run(_first_message(scene, jid, certificate))
    assert told == f"The address {scene.address} of {name} is listed."


def test_who_registers_from_another_is_not(scene: Scene, tmp_path: Path) -> None:
    certificate = scene.server.certificate(tmp_path)
    jid = f"{register(scene, CLEAN, certificate)}@{CLEAN}"
    question = ".".join(reversed(scene.address.split("."))) + f".list.{CLEAN} A IN: NXDOMAIN"
    scene.server.wait_for(lambda: question in scene.lists.asked(), "the list has been asked")
    assert asyncio.run(_first_message(scene, jid, certificate)) == "nothing came before this"
    assert "0 flags listed" in flags(scene, jid)


def test_a_list_without_an_answer_keeps_nobody_waiting(scene: Scene, tmp_path: Path) -> None:
    certificate = scene.server.certificate(tmp_path)
    scene.lists.stop()
    start = time.monotonic()
    jid = f"{register(scene, SILENT, certificate)}@{SILENT}"
    assert asyncio.run(_first_message(scene, jid, certificate)) == "nothing came before this"
    assert time.monotonic() - start < 5, scene.server.log()
    assert "0 flags listed" in flags(scene, jid)
