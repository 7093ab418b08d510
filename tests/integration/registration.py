"""Somebody without an account, who makes one."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from tests.integration import streams
from tests.integration.servers import DOMAIN, Server
from tests.integration.streams import CLIENT, Stream


class Registration:
    """Somebody without an account, who shows an invitation and makes one (XEP-0445, XEP-0077)."""

    def __init__(self, server: Server, certificate: Path, domain: str = DOMAIN) -> None:
        self._stream = Stream(server.port(), domain)
        self._stream.open()
        self._stream.start_tls(streams.trusting(certificate))
        self._stream.open()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.drop()

    def form(self) -> ET.Element:
        """What has to be filled in."""
        self._stream.send("<iq type='get' id='form'><query xmlns='jabber:iq:register'/></iq>")
        return self._stream.expect(f"{{{CLIENT}}}iq")

    def show(self, token: str) -> str | None:
        """Show an invitation; returns why it is refused."""
        return self._ask(f"<preauth xmlns='urn:xmpp:pars:0' token='{escape(token)}'/>")

    def register(self, username: str, password: str) -> str | None:
        """Make an account; returns why it is refused."""
        return self._ask(
            f"<query xmlns='jabber:iq:register'><username>{escape(username)}</username>"
            f"<password>{escape(password)}</password></query>"
        )

    def _ask(self, payload: str) -> str | None:
        self._stream.send(f"<iq type='set' id='ask'>{payload}</iq>")
        answer = self._stream.expect(f"{{{CLIENT}}}iq")
        if answer.get("type") == "result":
            return None
        assert answer.get("type") == "error"
        return streams.text_of(answer)
