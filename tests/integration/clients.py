"""slixmpp clients that tests can await."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import slixmpp
from slixmpp.util.sasl.mechanisms import SCRAM
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration import streams
from tests.integration.containers import PATIENCE

ENCRYPTION = "urn:xmpp:eme:0"


def _salted(self: Any, password: bytes, salt: bytes, iterations: int) -> bytes:
    """Hi(str, salt, i) of RFC 5802, 2.2: PBKDF2 with HMAC, which the library computes in Python, step by step."""
    return hashlib.pbkdf2_hmac(self.hash().name, password, salt, iterations)


SCRAM.Hi = _salted  # type: ignore[method-assign, assignment]


class RefusedError(Exception):
    """The server did not let the client in."""


async def ask(entity: Any, kind: str, recipient: str | None, payload: ET.Element) -> Any:
    """Send a query as a client or a component; returns the answer, and raises IqError if it is an error."""
    query = entity.make_iq(itype=kind, ito=recipient, ifrom=entity.boundjid)
    query.append(payload)
    return await query.send(timeout=PATIENCE)


class Client(slixmpp.ClientXMPP):
    """A client whose incoming messages wait in a queue; it takes a resource of its own unless `jid` has one."""

    def __init__(self, jid: str, password: str, certificate: Path) -> None:
        # Nobody but `certificate` is trusted; by itself the library reads all authorities of the machine, twice.
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        super().__init__(jid if "/" in jid else f"{jid}/{uuid.uuid4().hex[:6]}", password, ssl_context=trusting)
        self.ca_certs = certificate
        self.enable_direct_tls = False
        self.register_plugin("xep_0313")  # message archive management
        self.register_plugin("xep_0199")  # ping
        self.messages: asyncio.Queue[Any] = asyncio.Queue()
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.add_event_handler("message", self.messages.put_nowait)
        self.add_event_handler("session_start", lambda _event: self._settle(None))
        self.add_event_handler("failed_all_auth", lambda _event: self._settle(RefusedError("authentication failed")))
        self.add_event_handler("no_auth", lambda _event: self._settle(RefusedError("no usable mechanism")))
        self.add_event_handler("ssl_invalid_chain", lambda error: self._settle(RefusedError(f"certificate: {error}")))
        self.add_event_handler("disconnected", lambda reason: self._settle(RefusedError(f"disconnected: {reason}")))

    def _settle(self, error: Exception | None) -> None:
        if not self.outcome.done():
            if error is None:
                self.outcome.set_result(None)
            else:
                self.outcome.set_exception(error)

    async def next_message(self) -> str:
        """Body of the next message that has one."""
        while True:
            message = await asyncio.wait_for(self.messages.get(), PATIENCE)
            if message["body"]:
                return str(message["body"])

    async def receive(self, expected: Sequence[str]) -> list[str]:
        """Those of the expected texts that arrive, as often as they do, once all of them have arrived."""
        received: list[str] = []
        while set(expected) - set(received):
            received.append(await self.next_message())
        return [text for text in received + await self.drain() if text in expected]

    async def drain(self) -> list[str]:
        """Bodies of the messages that have been delivered, for the server answers in order (RFC 6120, 10.1)."""
        await self.catch_up()
        received = [self.messages.get_nowait() for _ in range(self.messages.qsize())]
        return [str(message["body"]) for message in received if message["body"]]

    async def ask(self, kind: str, payload: str, to: str | None = None) -> ET.Element:
        """The answer to a request; raises IqError if it is refused."""
        element: ET.Element = (await ask(self, kind, to, streams.parse(payload.encode()))).xml
        return element

    async def catch_up(self) -> None:
        """Wait until the server has handled everything that was sent: it answers in order (RFC 6120, 10.1)."""
        await self.plugin["xep_0199"].ping(slixmpp.JID(self.boundjid.domain))

    def upcoming(self, event: str) -> asyncio.Future[Any]:
        """What comes with the next event of the library, from now on; fails if there is none in time."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def settle(outcome: Any) -> None:
            if not future.done():
                future.set_result(outcome)

        def give_up() -> None:
            if not future.done():
                future.set_exception(TimeoutError(f"no {event} within {PATIENCE:.0f} s"))

        self.add_event_handler(event, settle, disposable=True)
        asyncio.get_running_loop().call_later(PATIENCE, give_up)
        return future

    async def reconnected(self, port: int, event: str) -> Any:
        """Connect again, and wait for an event of the library; returns what comes with it."""
        waiting = self.upcoming(event)
        self.connect("127.0.0.1", port)
        return await waiting

    def say(self, to: str, body: str, *payloads: str, kind: str = "chat") -> None:
        """Send a message with a body, marked as encrypted (XEP-0380): some variants take no other."""
        self.tell(
            to, f"<encryption xmlns='{ENCRYPTION}' namespace='urn:example:cipher'/>", *payloads, kind=kind, body=body
        )

    def tell(self, to: str, *payloads: str, kind: str = "chat", body: str = "") -> None:
        """Send a message with extensions."""
        message = self.make_message(mto=slixmpp.JID(to), mbody=body or None)
        message["type"] = kind
        for payload in payloads:
            message.append(streams.parse(payload.encode()))
        message.send()


class Watch:
    """Incoming stanzas of one kind, from the moment it is made."""

    def __init__(self, client: Client, kind: str) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        matcher = MatchXPath(f"{{{streams.CLIENT}}}{kind}")
        client.register_handler(Callback(f"watch {uuid.uuid4()}", matcher, self._queue.put_nowait))

    async def until(self, condition: Callable[[ET.Element], bool]) -> ET.Element:
        """The next stanza for which `condition` holds."""
        async with asyncio.timeout(PATIENCE):
            while True:
                element: ET.Element = (await self._queue.get()).xml
                if condition(element):
                    return element

    def taken(self) -> list[ET.Element]:
        """Those that have come and were not looked at yet."""
        return [self._queue.get_nowait().xml for _ in range(self._queue.qsize())]


@asynccontextmanager
async def connected(
    port: int,
    jid: str,
    password: str,
    certificate: Path,
    *,
    available: bool = True,
    plugins: Iterable[str] = (),
    address: str = "127.0.0.1",
) -> AsyncIterator[Client]:
    """A client that is logged in; raises RefusedError if the server does not let it in.

    The server's certificate is verified against `certificate` and the JID's domain.
    """
    client = Client(jid, password, certificate)
    for plugin in plugins:
        client.register_plugin(plugin)
    async with entered(client, address, port, available=available):
        yield client


@asynccontextmanager
async def entered(client: Client, address: str, port: int, *, available: bool = True) -> AsyncIterator[None]:
    """Log a client in, and out in the end; raises RefusedError if the server does not let it in."""
    client.connect(address, port)
    try:
        await asyncio.wait_for(asyncio.shield(client.outcome), PATIENCE)
        if available:
            client.send_presence()
            await client.catch_up()
        yield
    finally:
        await client.disconnect(wait=0.5)


def log_in(port: int, jid: str, password: str, certificate: Path) -> None:
    """Log in over verified TLS, and out; raises RefusedError if the server does not let the client in."""

    async def scenario() -> None:
        async with connected(port, jid, password, certificate, available=False):
            pass

    asyncio.run(scenario())
