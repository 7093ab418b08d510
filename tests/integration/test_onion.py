"""Two onion services federate through a real SOCKS proxy, which alone knows where they are."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
import slixmpp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from docker.models.containers import Container
from slixmpp.exceptions import IqError

from scripts import toolset
from tests.integration import networks
from tests.integration.clients import Client, connected
from tests.integration.conftest import Images
from tests.integration.containers import CONFINED, LoadedImage
from tests.integration.networks import Network
from tests.integration.servers import Server

PASSWORD = "correct horse"
_PROXY = 10  # number on the network


def onion_address() -> str:
    """A new address of version 3 (rend-spec-v3, "Encoding onion addresses")."""
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    checksum = hashlib.sha3_256(b".onion checksum" + key + b"\3").digest()[:2]
    return base64.b32encode(key + checksum + b"\3").decode().lower() + ".onion"


@dataclass
class Onions:
    """A network of containers with a SOCKS proxy, which alone finds the servers by their names."""

    client: docker.DockerClient
    image: LoadedImage
    network: Network
    proxy: Container
    servers: list[Server]

    def add(self, domain: str, number: int, **environment: str) -> Server:
        """Start a server of `domain` with one account, user@domain, as member `number` of the network."""
        variables = {
            "PROSODY_DOMAIN": domain, "PROSODY_ACCOUNTS": f"user@{domain}:{PASSWORD}", "PROSODY_LOGLEVEL": "debug",
            "PROSODY_MUC_DOMAIN": "none", "PROSODY_UPLOAD_DOMAIN": "none",
        }  # fmt: skip
        if "PROSODY_TOR" in environment:
            variables["PROSODY_TOR_PROXY_HOST"] = self.network.address(_PROXY)
        server = Server(self.client, self.image, variables | environment, self.network.member(number))
        self.servers.append(server)
        server.start()
        return server

    def asked(self) -> str:
        """What the proxy has said: a line for each connection."""
        return self.proxy.logs().decode()


@contextmanager
def proxied(client: docker.DockerClient, image: LoadedImage, hosts: Mapping[str, int]) -> Iterator[Onions]:
    """A network whose proxy finds `hosts` (name -> number on the network)."""
    with ExitStack() as stack:
        made = stack.enter_context(networks.network(client))
        found = Onions(client, image, made, _proxy(client, image, made, hosts), [])
        stack.callback(found.proxy.remove, force=True, v=True)
        found.proxy.start()
        try:
            yield found
        finally:
            for server in found.servers:
                server.remove()


def _proxy(client: docker.DockerClient, image: LoadedImage, made: Network, hosts: Mapping[str, int]) -> Container:
    root = toolset.unpack("socks").root
    loader = next(root.glob("usr/lib/*/ld-linux*.so*")).relative_to(root)
    return client.containers.create(
        image.name, [], platform=image.platform.name, **CONFINED,
        entrypoint=[f"/socks/{loader}", "--library-path", f"/socks/{loader.parent}", "/socks/usr/bin/microsocks",
                    "-p", "9050"],
        volumes={str(root): {"bind": "/socks", "mode": "ro"}},
        extra_hosts={name: made.address(number) for name, number in hosts.items()}, **made.member(_PROXY),
    )  # fmt: skip


TOR = {"PROSODY_TOR": "onion"}


def talk(first: Server, second: Server, folder: Path) -> None:
    """A message in each direction."""

    async def scenario() -> None:
        async with user(first, folder) as one, user(second, folder) as two:
            one.say(f"user@{second.domain}", "over the onion")
            assert await two.next_message() == "over the onion"
            two.say(f"user@{first.domain}", "and back")
            assert await one.next_message() == "and back"

    asyncio.run(scenario())


def user(server: Server, folder: Path) -> Any:
    """The one user of a server, logged in."""
    return connected(server.port(), f"user@{server.domain}", PASSWORD, server.certificate(folder))


async def refused(client: Client, address: str) -> IqError:
    """The error that a ping of `address` ends with."""
    with pytest.raises(IqError) as caught:
        await client.plugin["xep_0199"].send_ping(slixmpp.JID(address), timeout=30)
    return caught.value


@pytest.fixture(params=["debian", "hardened"])
def either(request: pytest.FixtureRequest, images: Images) -> LoadedImage:
    """An image with the usual defaults, and one that asks the DNS to confirm certificates (DANE)."""
    return images.load(request.param)


@pytest.fixture
def onions() -> tuple[str, str]:
    """Two addresses."""
    return onion_address(), onion_address()


@pytest.mark.parametrize("mode", ["onion", "all", "only"])
def test_two_onion_services_talk(
    client: docker.DockerClient, either: LoadedImage, tmp_path: Path, onions: tuple[str, str], mode: str
) -> None:
    """Neither has a certificate that the other could verify, and only the proxy can find them."""
    here, there = onions
    addresses = {here: 11, there: 12}
    with proxied(client, either, addresses) as found:
        first = found.add(here, addresses[here], **TOR | {"PROSODY_TOR": mode})
        second = found.add(there, addresses[there], **TOR)
        talk(first, second, tmp_path)
        asked = found.asked()
        assert f"{here}:5269" in asked
        assert f"{there}:5269" in asked
        for server in (first, second):
            log = server.log()
            assert "Stream encrypted" in log, "the streams are encrypted all the same"
            assert not [line for line in log.splitlines() if "DNS" in line and ".onion" in line]
            assert "_xmpp-server._tcp" not in log


def test_a_mapped_domain_is_reached_at_its_onion_address(
    client: docker.DockerClient, either: LoadedImage, tmp_path: Path, onions: tuple[str, str]
) -> None:
    """Both have ordinary names; each knows the onion address of the other."""
    here, there = onions
    with proxied(client, either, {here: 11, there: 12}) as found:
        services = f"one.example:{here}, two.example:{there}:5269"
        first = found.add("one.example", 11, **TOR, PROSODY_TOR_SERVICES=services)
        second = found.add("two.example", 12, **TOR, PROSODY_TOR_SERVICES=services)
        talk(first, second, tmp_path)
        assert f"{there}:5269" in found.asked()
        assert "two.example" not in found.asked()


def test_without_tor_an_onion_service_is_not_found(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, onions: tuple[str, str]
) -> None:
    """The control: it is the proxy that finds them."""
    here, there = onions
    with proxied(client, image, {here: 11, there: 12}) as found:
        first = found.add(here, 11)
        found.add(there, 12, **TOR)

        async def scenario() -> None:
            async with user(first, tmp_path) as one:
                assert (await refused(one, f"user@{there}")).condition == "remote-server-not-found"

        asyncio.run(scenario())
        assert there not in found.asked()


def test_only_onion_services_are_talked_to(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, onions: tuple[str, str]
) -> None:
    """Neither out nor in: not even with a server that proves its name by dialback."""
    here, _ = onions
    with proxied(client, image, {here: 11, "clear.example": 12}) as found:
        only = found.add(here, 11, **TOR | {"PROSODY_TOR": "only"}, PROSODY_S2S_SECURE_AUTH="false")
        clear = found.add("clear.example", 12, **TOR | {"PROSODY_TOR": "all"}, PROSODY_S2S_SECURE_AUTH="false")

        async def scenario() -> None:
            async with user(only, tmp_path) as inside, user(clear, tmp_path) as outside:
                error = await refused(inside, "user@clear.example")
                assert error.condition == "not-allowed"
                assert "onion services only" in error.text
                assert (await refused(outside, f"user@{here}")).condition in (
                    "remote-server-not-found", "remote-server-timeout", "policy-violation", "service-unavailable",
                )  # fmt: skip

        asyncio.run(scenario())
        assert "clear.example:5269" not in found.asked(), "it is not even asked for"
        assert only.says("onion services only")


def test_names_of_others_are_still_proved_by_certificates(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, onions: tuple[str, str]
) -> None:
    """Through the proxy, too: the onion's exception is the onion's alone."""
    here, _ = onions
    with proxied(client, image, {here: 11, "clear.example": 12}) as found:
        server = found.add(here, 11, **TOR | {"PROSODY_TOR": "all"})
        found.add("clear.example", 12, **TOR | {"PROSODY_TOR": "all"})

        async def scenario() -> None:
            async with user(server, tmp_path) as one:
                await refused(one, "user@clear.example")

        asyncio.run(scenario())
        assert "clear.example:5269" in found.asked()
        assert server.says("Forbidding insecure connection to/from clear.example")


@pytest.mark.parametrize(
    ("hosts", "environment", "reason"),
    [
        pytest.param({}, {}, "through the proxy: ", id="unknown to the proxy"),
        pytest.param({}, {"PROSODY_TOR_PROXY_PORT": "9051"}, "cannot be reached", id="no proxy there"),
        pytest.param(
            {}, {"PROSODY_TOR_PROXY_HOST": "127.0.0.1", "PROSODY_TOR_PROXY_PORT": "5222"}, "not a SOCKS 5 proxy",
            id="another service",
        ),
        pytest.param(
            {}, {"PROSODY_TOR_PROXY_HOST": "127.0.0.1", "PROSODY_TOR_PROXY_PORT": "5223", "PROSODY_TOR_TIMEOUT": "2"},
            "through the proxy: ", id="a service that waits",
        ),
    ],
)  # fmt: skip
def test_a_failure_is_told_to_the_sender_in_time(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, onions: tuple[str, str],
    hosts: dict[str, int], environment: dict[str, str], reason: str,
) -> None:  # fmt: skip
    here, there = onions
    with proxied(client, image, hosts) as found:
        server = found.add(here, 11, **TOR | environment)

        async def scenario() -> None:
            async with user(server, tmp_path) as one:
                error = await refused(one, f"user@{there}")
                assert error.condition in ("remote-server-not-found", "remote-server-timeout")

        asyncio.run(scenario())
        assert server.says(reason)
