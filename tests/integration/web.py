"""Requests over HTTPS to servers and proxies on this machine, and BOSH sessions made of them."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx

from tests.integration import streams
from tests.integration.containers import PATIENCE

_log = logging.getLogger(__name__)
_SHOWN = 4096  # octets of a request or an answer that a failed test tells
BINDING = "http://jabber.org/protocol/httpbind"


def answer(
    port: int,
    certificate: Path,
    method: str,
    url: str,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> httpx.Response:
    """The answer to a request for a URL, sent to a port of this machine; the host of the URL has to be certified."""
    wanted = httpx.URL(url)
    with httpx.Client(verify=streams.trusting(certificate), timeout=PATIENCE, trust_env=False) as client:
        _log.debug("SEND: %s %s %s", method, url, content[:_SHOWN].decode(errors="replace"))
        found = client.request(
            method,
            wanted.copy_with(host="127.0.0.1", port=port),
            content=content,
            headers={"Host": wanted.host, **(headers or {})},
            extensions={"sni_hostname": wanted.host},
        )
        _log.debug("RECV: %d %s", found.status_code, found.content[:_SHOWN].decode(errors="replace"))
        return found


class Bosh:
    """A session over BOSH (XEP-0124, XEP-0206)."""

    def __init__(
        self, port: int, domain: str, certificate: Path, *, query: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Begin it: the address may have a `query`, and requests more `headers`."""
        self._port, self._domain, self._certificate = port, domain, certificate
        self._query, self._headers = query, {"Content-Type": "text/xml; charset=utf-8", **(headers or {})}
        self._number, self._session = 1573741820, ""
        self.begun = self.exchange(
            f"to='{domain}' wait='10' hold='1' ver='1.11' content='text/xml; charset=utf-8' xml:lang='en'"
            " xmpp:version='1.0'"
        )
        self._session = f"sid='{self.begun.get('sid')}'"

    def exchange(self, attributes: str, content: str = "") -> ET.Element:
        """Send a body with `attributes` and `content`; returns the body of the answer."""
        self._number += 1
        attributes = f"rid='{self._number}' {self._session} xmlns:xmpp='urn:xmpp:xbosh' {attributes}"
        body = f"<body xmlns='{BINDING}' {attributes}>{content}</body>".encode()
        url = f"https://{self._domain}/http-bind{self._query}"
        found = answer(self._port, self._certificate, "POST", url, body, self._headers)
        found.raise_for_status()
        return streams.parse(found.content)

    def authenticate(self, mechanism: str, initial: bytes | None = None) -> bool:
        """Log in; whether that succeeds."""
        found = self.exchange("", sasl(mechanism, initial))
        if found.find(f"{{{streams.SASL}}}success") is None:
            assert found.find(f"{{{streams.SASL}}}failure") is not None, streams.text_of(found)
            return False
        self.exchange(f"to='{self._domain}' xmpp:restart='true'")
        return True

    def bind(self) -> ET.Element:
        """Have the server choose a resource; returns its answer."""
        return self.exchange("", f"<iq xmlns='{streams.CLIENT}' type='set' id='b'><bind xmlns='{streams.BIND}'/></iq>")


def sasl(mechanism: str, initial: bytes | None = None) -> str:
    """What begins an authentication (RFC 6120, 6.4.2)."""
    text = "" if initial is None else base64.b64encode(initial).decode()
    return f"<auth xmlns='{streams.SASL}' mechanism='{mechanism}'>{text}</auth>"


def plain(username: str, password: str) -> bytes:
    """What PLAIN begins with (RFC 4616)."""
    return f"\0{username}\0{password}".encode()
