"""External components as gateways are: slixmpp on the component port, with rights over the accounts of the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import slixmpp
from slixmpp.xmlstream import ET
from slixmpp.xmlstream.handler import Callback
from slixmpp.xmlstream.matcher import MatchXPath

from tests.integration.clients import RefusedError, ask
from tests.integration.containers import PATIENCE

COMPONENT = "jabber:component:accept"
CLIENT = "jabber:client"
DELEGATION = "urn:xmpp:delegation:2"
FORWARD = "urn:xmpp:forward:0"
PRIVILEGE = "urn:xmpp:privilege:2"
# The library has no types for what makes stanzas.
_stanzas: Any = slixmpp


class Gateway(slixmpp.ComponentXMPP):
    """A component whose incoming stanzas wait in queues."""

    def __init__(self, name: str, secret: str, port: int) -> None:
        super().__init__(name, secret, "127.0.0.1", port)  # type: ignore[no-untyped-call]
        for plugin in ("xep_0030", "xep_0199", "xep_0356"):
            self.register_plugin(plugin)
        self.presences: asyncio.Queue[Any] = asyncio.Queue()
        self.privileged: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.delegated: asyncio.Queue[list[str]] = asyncio.Queue()
        self.stream_errors: asyncio.Queue[str] = asyncio.Queue()
        self.outcome: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Rights are kept by the class, so those of an earlier server would be seen here.
        self.rights.granted_privileges.clear()
        self.add_event_handler("session_start", lambda _event: self._settle(None))
        self.add_event_handler("stream_error", self._note_stream_error)
        self.add_event_handler("disconnected", lambda reason: self._settle(RefusedError(f"disconnected: {reason}")))
        self.add_event_handler("presence", self.presences.put_nowait)
        self.add_event_handler("privileges_advertised", self._note_privileges)
        self.register_handler(
            Callback(
                "Delegations", MatchXPath(f"{{{COMPONENT}}}message/{{{DELEGATION}}}delegation"), self._note_delegation
            )
        )

    @property
    def rights(self) -> Any:
        """The plugin for XEP-0356."""
        return self.plugin["xep_0356"]

    def _settle(self, error: Exception | None) -> None:
        if not self.outcome.done():
            if error is None:
                self.outcome.set_result(None)
            else:
                self.outcome.set_exception(error)

    def _note_stream_error(self, error: Any) -> None:
        self.stream_errors.put_nowait(error["condition"])
        self._settle(RefusedError(error["condition"]))

    def _note_privileges(self, _event: Any) -> None:
        if not self.privileged.done():
            self.privileged.set_result(None)

    def _note_delegation(self, message: Any) -> None:
        self.delegated.put_nowait(
            [str(item.get("namespace")) for item in message.xml.iter(f"{{{DELEGATION}}}delegated")]
        )

    def answer_delegated(self, tag: str, text: str) -> None:
        """Answer every delegated request with an element `tag` that holds `text` (XEP-0355, 6)."""

        def answer(request: Any) -> None:
            inner = request.xml.find(f".//{{{FORWARD}}}forwarded/{{{CLIENT}}}iq")
            result = ET.Element(f"{{{CLIENT}}}iq", {
                "type": "result", "id": inner.get("id"), "to": inner.get("from"), "from": inner.get("to") or "",
            })  # fmt: skip
            ET.SubElement(result, tag).text = text
            reply = request.reply()
            delegation = ET.Element(f"{{{DELEGATION}}}delegation")
            ET.SubElement(delegation, f"{{{FORWARD}}}forwarded").append(result)
            reply.append(delegation)
            reply.send()

        self.register_handler(
            Callback("Delegated", MatchXPath(f"{{{COMPONENT}}}iq/{{{DELEGATION}}}delegation"), answer)
        )

    def write_as(self, sender: str, recipient: str, body: str) -> None:
        """Send a chat message in the name of a user (XEP-0356, 5)."""
        message = _stanzas.Message()
        message["from"], message["to"], message["type"], message["body"] = sender, recipient, "chat", body
        self.rights.send_privileged_message(message)

    async def ask_as(self, user: str, kind: str, payload: ET.Element, recipient: str | None = None) -> Any:
        """Send a query in the name of a user, to the user's own account unless there is a `recipient` (XEP-0356, 6).

        Returns the answer to it.
        """
        inner = _stanzas.Iq()
        inner["type"], inner["from"], inner["to"], inner["id"] = kind, user, recipient or user, "on-behalf"
        inner.append(payload)
        wrapper = ET.Element(f"{{{PRIVILEGE}}}privileged_iq")
        wrapper.append(inner.xml)
        return (await ask(self, kind, user, wrapper)).xml.find(f".//{{{CLIENT}}}iq")

    async def next_presence(self, sender: str) -> Any:
        """The next presence from an address, bare."""
        while True:
            presence = await asyncio.wait_for(self.presences.get(), PATIENCE)
            if presence["from"].bare == sender:
                return presence


@asynccontextmanager
async def attached(port: int, name: str, secret: str) -> AsyncIterator[Gateway]:
    """A component that has logged in; raises RefusedError if the server does not let it in."""
    gateway = Gateway(name, secret, port)
    gateway.connect()
    try:
        await asyncio.wait_for(asyncio.shield(gateway.outcome), PATIENCE)
        yield gateway
    finally:
        await gateway.disconnect(wait=0.5)
