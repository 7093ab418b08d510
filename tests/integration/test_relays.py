"""Data between clients that cannot reach each other: by the file transfer proxy (XEP-0065), and by TURN (XEP-0215)."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import aioice.stun
import aioice.turn
import docker
import pytest
from slixmpp.exceptions import IqError

from tests.integration import servers
from tests.integration.clients import Client, ask, connected
from tests.integration.conftest import Images
from tests.integration.containers import PATIENCE, LoadedImage
from tests.integration.gateways import attached
from tests.integration.networks import network
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.peers import coturn

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
PROXY, STRANGER = f"proxy.{DOMAIN}", "stranger.example"
_SECRET = "secret of the stranger"
_SERVICES = "urn:xmpp:extdisco:2"
_BYTESTREAMS = "http://jabber.org/protocol/bytestreams"
_PROSODY, _COTURN = 2, 3  # members of the network
_SHORT = 1  # second for which credentials of the service over TCP are good


@dataclass(frozen=True)
class Relays:
    """A server that knows both, its certificate, and the port of the TURN server on this machine (UDP)."""

    server: Server
    certificate: Path
    turn_port: int

    @asynccontextmanager
    async def users(self) -> AsyncIterator[tuple[Client, Client]]:
        """Alice and Bob."""
        async with (
            connected(self.server.port(), ALICE, ALICE_PASSWORD, self.certificate) as alice,
            connected(self.server.port(), BOB, BOB_PASSWORD, self.certificate) as bob,
        ):
            yield alice, bob


@pytest.fixture(scope="module")
def relays(
    client: docker.DockerClient, images: Images, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relays]:
    with network(client) as made, coturn.serving(client, images.peer("coturn"), made, _COTURN) as turn:
        udp, tcp = (turn.port(coturn.PORT, transport=transport) for transport in ("udp", "tcp"))
        short = {
            "type": "turn", "transport": "tcp", "host": "127.0.0.1", "port": tcp,
            "secret": coturn.SECRET, "ttl": _SHORT,
        }  # fmt: skip
        environment = {
            "PROSODY_PROXY65_DOMAIN": PROXY,
            "PROSODY_PROXY65_ADDRESS": made.address(_PROSODY),
            "PROSODY_TURN_HOST": "127.0.0.1",
            "PROSODY_TURN_PORT": str(udp),
            "PROSODY_TURN_SECRET": coturn.SECRET,
            "PROSODY_EXTERNAL_SERVICES": json.dumps([short]),
            "PROSODY_EXTERNAL_COMPONENTS": f"{STRANGER}:{_SECRET}",
        }
        ports = {"ports": {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5347)}}
        with servers.serving(client, image, made.member(_PROSODY) | ports, **environment) as server:
            yield Relays(server, server.certificate(tmp_path_factory.mktemp("relays")), udp)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, PATIENCE))


# ---- The file transfer proxy


class Bytes:
    """What arrives on the bytestreams of a client."""

    def __init__(self, client: Client) -> None:
        client.register_plugin("xep_0065", {"auto_accept": True})
        self.plugin: Any = client.plugin["xep_0065"]
        self.stream: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()
        self.content = b""
        client.add_event_handler("socks5_stream", self.stream.set_result)
        client.add_event_handler("socks5_data", self._add)
        client.add_event_handler("socks5_closed", lambda _event: self.closed.set())

    def _add(self, chunk: bytes) -> None:
        self.content += chunk


def test_two_clients_send_a_file_through_the_proxy(relays: Relays) -> None:
    content = secrets.token_bytes(1 << 20)

    async def scenario() -> None:
        async with relays.users() as (alice, bob):
            sent, received = Bytes(alice), Bytes(bob)
            stream = await sent.plugin.handshake(bob.boundjid.full, timeout=PATIENCE)
            assert stream is not None, "the proxy was not found"
            await stream.write(content)
            other = await received.stream
            await other.write(b"thank you")
            while sent.content != b"thank you" or len(received.content) < len(content):
                await asyncio.sleep(0.01)
            stream.transport.close()
            await received.closed.wait()
            assert received.content == content

    run(scenario())


def test_the_proxy_activates_only_what_is_connected(relays: Relays) -> None:
    async def scenario() -> None:
        async with relays.users() as (alice, bob):
            plugin = Bytes(alice).plugin
            with pytest.raises(IqError, match="item-not-found"):
                await plugin.activate(PROXY, "nothing", bob.boundjid.full, timeout=PATIENCE)

    run(scenario())


def test_strangers_get_neither_the_proxy_nor_credentials(relays: Relays) -> None:
    async def scenario() -> None:
        async with attached(relays.server.port(5347), STRANGER, _SECRET) as stranger:
            for recipient, tag in ((PROXY, f"{{{_BYTESTREAMS}}}query"), (DOMAIN, f"{{{_SERVICES}}}services")):
                with pytest.raises(IqError, match="forbidden"):
                    await ask(stranger, "get", recipient, ET.Element(tag))

    run(scenario())


# ---- TURN


@dataclass(frozen=True)
class Credentials:
    """What a client is told about a TURN server."""

    address: tuple[str, int]
    transport: str
    username: str
    password: str


async def credentials(client: Client, transport: str = "udp") -> Credentials:
    """The TURN server over `transport`, as Prosody tells a client about it."""
    answer = await ask(client, "get", DOMAIN, ET.Element(f"{{{_SERVICES}}}services", {"type": "turn"}))
    (found,) = (
        service for service in answer.xml.iter(f"{{{_SERVICES}}}service") if service.get("transport") == transport
    )
    address = (found.get("host"), int(found.get("port")))
    return Credentials(address, transport, found.get("username"), found.get("password"))


class Datagrams(asyncio.DatagramProtocol):
    """What arrives at a relayed address, with where it comes from."""

    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, tuple[str, int]]] = asyncio.Queue()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.received.put_nowait((data, addr))


@asynccontextmanager
async def allocation(found: Credentials) -> AsyncIterator[tuple[aioice.turn.TurnTransport, Datagrams]]:
    """A relayed address at the TURN server; raises TransactionFailed if it refuses."""
    transport, protocol = await aioice.turn.create_turn_endpoint(
        Datagrams, found.address, found.username, found.password, transport=found.transport
    )
    try:
        yield transport, protocol
    finally:
        transport.close()


def test_two_clients_talk_through_the_turn_server(relays: Relays) -> None:
    async def scenario() -> None:
        async with relays.users() as (alice, bob):
            of_alice, of_bob = await credentials(alice), await credentials(bob)
        assert of_alice.address == ("127.0.0.1", relays.turn_port)
        async with allocation(of_alice) as (left, at_left), allocation(of_bob) as (right, at_right):
            left_address, right_address = (end.get_extra_info("sockname") for end in (left, right))
            # Each lets the other in by sending to it (RFC 8656, 12: a channel is a permission). The first are lost.
            right.sendto(b"open", left_address)
            while True:
                left.sendto(b"from Alice", right_address)
                try:
                    assert await asyncio.wait_for(at_right.received.get(), 0.2) == (b"from Alice", left_address)
                    break
                except TimeoutError:
                    continue
            right.sendto(b"from Bob", left_address)
            while (await at_left.received.get()) != (b"from Bob", right_address):
                continue

    run(scenario())


def test_wrong_credentials_are_refused(relays: Relays) -> None:
    """The control of the test above: neither another password nor a later end is accepted."""

    async def scenario() -> None:
        async with relays.users() as (alice, _):
            found = await credentials(alice)
        later = str(int(found.username) + 3600)
        for username, password in ((found.username, "wrong"), (later, found.password)):
            assert not await is_accepted(replace(found, username=username, password=password))

    run(scenario())


def test_credentials_end(relays: Relays) -> None:
    async def scenario() -> None:
        async with relays.users() as (alice, _):
            # The control: on a busy machine a second may be over before the TURN server is asked.
            while not await is_accepted(found := await credentials(alice, "tcp")):
                continue
        assert int(found.username) <= time.time() + _SHORT
        # coturn looks at its clock only now and then; `run` limits how often this is tried.
        while await is_accepted(found):
            await asyncio.sleep(0.2)

    run(scenario())


async def is_accepted(found: Credentials) -> bool:
    """Whether the TURN server relays for these; if not, the reason is that they are not valid (RFC 8489, 9.2.4)."""
    try:
        async with allocation(found):
            return True
    except aioice.stun.TransactionFailed as error:
        assert "401" in str(error), error  # noqa: PT017  (another failure must not pass as this one)
        return False
