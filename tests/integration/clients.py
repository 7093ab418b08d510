"""slixmpp clients that tests can await."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import slixmpp

ENCRYPTION = "urn:xmpp:eme:0"
_PATIENCE = 40.0  # seconds; emulated processors are slow


class RefusedError(Exception):
    """The server did not let the client in."""


class Client(slixmpp.ClientXMPP):
    """A client whose incoming messages wait in a queue."""

    def __init__(self, jid: str, password: str, certificate: Path) -> None:
        super().__init__(f"{jid}/{uuid.uuid4().hex[:6]}", password)
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
            message = await asyncio.wait_for(self.messages.get(), _PATIENCE)
            if message["body"]:
                return str(message["body"])

    def say(self, to: str, body: str) -> None:
        """Send a chat message to a bare JID, marked as encrypted (XEP-0380): some variants take no other."""
        message = self.make_message(mto=slixmpp.JID(to), mbody=body, mtype="chat")
        message.append(ET.Element(f"{{{ENCRYPTION}}}encryption", namespace="urn:example:cipher"))
        message.send()


@asynccontextmanager
async def connected(
    port: int,
    jid: str,
    password: str,
    certificate: Path,
    *,
    available: bool = True,
) -> AsyncIterator[Client]:
    """A client that is logged in; raises RefusedError if the server does not let it in.

    The server's certificate is verified against `certificate` and the JID's domain.
    """
    client = Client(jid, password, certificate)
    client.connect("127.0.0.1", port)
    try:
        await asyncio.wait_for(asyncio.shield(client.outcome), _PATIENCE)
        if available:
            client.send_presence()
            # The answer to a ping comes after the presence was handled (RFC 6120, 10.1: in order).
            await client.plugin["xep_0199"].ping(slixmpp.JID(client.boundjid.domain))
        yield client
    finally:
        await client.disconnect(wait=0.5)


def log_in(port: int, jid: str, password: str, certificate: Path) -> None:
    """Log in over verified TLS, and out; raises RefusedError if the server does not let the client in."""

    async def scenario() -> None:
        async with connected(port, jid, password, certificate, available=False):
            pass

    asyncio.run(scenario())
