"""Scenes that two people play on a server."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError, PresenceError
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration import streams
from tests.integration.clients import Client, connected
from tests.integration.containers import PATIENCE
from tests.integration.servers import ACCOUNTS, Server

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
# What slixmpp has for the specifications that scenes are about.
_PLUGINS = ("xep_0030", "xep_0045", "xep_0050", "xep_0054", "xep_0060", "xep_0115", "xep_0163", "xep_0191")


@dataclass(frozen=True)
class Stage:
    """A server with the tests' accounts, and what clients verify it with."""

    server: Server
    certificate: Path

    @asynccontextmanager
    async def client(self, address: str, password: str) -> AsyncIterator[Client]:
        """A client that is logged in, with the plugins that scenes use; it has announced an interest in nothing."""
        async with connected(self.server.port(), address, password, self.certificate, plugins=_PLUGINS) as client:
            every_presence = MatchXPath(f"{{{streams.CLIENT}}}presence")
            client.register_handler(Callback("refused", every_presence, partial(_tell_of_refusal, client)))
            yield client

    def alice(self) -> AbstractAsyncContextManager[Client]:
        """One more client of Alice."""
        return self.client(ALICE, ALICE_PASSWORD)

    def bob(self) -> AbstractAsyncContextManager[Client]:
        """One more client of Bob."""
        return self.client(BOB, BOB_PASSWORD)

    def play(self, scene: Callable[[Client, Client], Awaitable[None]]) -> None:
        """Have Alice and Bob log in, play the scene, and log out."""

        async def played() -> None:
            async with self.alice() as alice, self.bob() as bob:
                await scene(alice, bob)

        asyncio.run(played())


def _tell_of_refusal(client: Client, presence: Any) -> None:
    """Have slixmpp notice that a room refused an occupant: it waits for an element that Prosody does not send."""
    if presence["type"] == "error":
        client.event(f"muc::{presence['from'].bare}::presence-error", presence)


async def refusal(request: Awaitable[object]) -> str:
    """The condition of the error that answers a request (RFC 6120, 8.3.3)."""
    try:
        answer = await request
    except (IqError, PresenceError) as error:
        return str(error.condition)
    raise AssertionError(f"it was not refused: {answer}")


async def command(client: Client, to: str, node: str, fields: Mapping[str, str | list[str]] | None = None) -> Any:
    """What a command (XEP-0050) comes to, whose form is filled in with `fields` if it has one."""
    commands: Any = client.plugin["xep_0050"]
    answer = await commands.send_command(slixmpp.JID(to), node, timeout=PATIENCE)
    if fields is not None:
        assert answer["command"]["status"] == "executing", answer
        form = answer["command"]["form"]
        form["type"] = "submit"
        for name, value in fields.items():
            form.get_fields()[name].set_value(value)
        session = answer["command"]["sessionid"]
        answer = await commands.send_command(
            slixmpp.JID(to), node, action="complete", payload=[form], sessionid=session, timeout=PATIENCE
        )
    assert answer["command"]["status"] == "completed", answer
    return answer["command"]


def results(command: Any) -> dict[str, str]:
    """The fields of the form that a command ends with."""
    return {name: str(field.get_value()) for name, field in command["form"].get_fields().items()}


def condition(stanza: ET.Element) -> str | None:
    """The condition of an error that came as a stanza; None if it is none."""
    error = stanza.find(f"{{{streams.CLIENT}}}error")
    return None if error is None else error[0].tag.split("}")[1]


def words() -> str:
    """Words that were never said before."""
    return f"words {uuid.uuid4()}"
