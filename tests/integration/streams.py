"""XMPP streams on bare sockets: what a client library hides, such as features, TLS handshakes and framing."""

from __future__ import annotations

import base64
import hashlib
import logging
import secrets
import socket
import ssl
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree as ET

from tests.integration.containers import PATIENCE

CLIENT = "jabber:client"
SERVER = "jabber:server"
BIND = "urn:ietf:params:xml:ns:xmpp-bind"
FRAMING = "urn:ietf:params:xml:ns:xmpp-framing"
SASL = "urn:ietf:params:xml:ns:xmpp-sasl"
STREAMS = "http://etherx.jabber.org/streams"
TLS = "urn:ietf:params:xml:ns:xmpp-tls"
_log = logging.getLogger(__name__)
# RFC 6455, 1.3: what a server adds to the key of a client before it hashes it
_WEBSOCKET_SALT = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class ProtocolError(Exception):
    """The server ended the stream, or answered something that the exchange has no use for."""


class Stream:
    """One connection to a port of this machine, and the stream on it."""

    def __init__(
        self,
        port: int,
        domain: str,
        namespace: str = CLIENT,
        sender: str | None = None,
        *,
        address: str = "127.0.0.1",
    ) -> None:
        self._socket = socket.create_connection((address, port), timeout=PATIENCE)
        self._domain, self._namespace, self._sender = domain, namespace, sender
        self._restart()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drop()

    def drop(self) -> None:
        """Close the connection without closing the stream, as a network that fails does."""
        self._socket.close()

    def secure(self, context: ssl.SSLContext) -> None:
        """Shake hands for TLS; the certificate must be one that `context` trusts for the domain."""
        self._socket = context.wrap_socket(self._socket, server_hostname=self._domain)
        self._restart()

    @property
    def application_protocol(self) -> str | None:
        """What the server chose of the offered protocols (ALPN)."""
        assert isinstance(self._socket, ssl.SSLSocket), "the connection is not encrypted"
        return self._socket.selected_alpn_protocol()

    @property
    def tls_version(self) -> str | None:
        """Version of TLS in use."""
        assert isinstance(self._socket, ssl.SSLSocket), "the connection is not encrypted"
        return self._socket.version()

    def open(self) -> ET.Element:
        """Send a stream header; returns the features that the server answers with (RFC 6120, 4.3)."""
        self.send_header()
        return self.expect(f"{{{STREAMS}}}features")

    def send_header(self) -> None:
        """Begin a stream, or begin it anew."""
        self._restart()
        sender = f" from='{self._sender}'" if self._sender else ""
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self._domain}'{sender} version='1.0' xmlns='{self._namespace}'"
            f" xmlns:stream='{STREAMS}' xmlns:db='jabber:server:dialback'>"
        )

    def start_tls(self, context: ssl.SSLContext) -> None:
        """Change to TLS within the stream (RFC 6120, 5.4); afterwards it has to be opened anew."""
        self.request_tls()
        self.secure(context)

    def request_tls(self) -> socket.socket:
        """Ask for TLS within the stream; returns the connection, on which a handshake is expected next."""
        self.send(f"<starttls xmlns='{TLS}'/>")
        self.expect(f"{{{TLS}}}proceed")
        return self._socket

    def log_in(self, username: str, password: str) -> ET.Element:
        """Authenticate with PLAIN (RFC 4616); returns the features of the new stream."""
        secret = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
        self.send(f"<auth xmlns='{SASL}' mechanism='PLAIN'>{secret}</auth>")
        self.expect(f"{{{SASL}}}success")
        return self.open()

    def bind(self) -> None:
        """Have the server choose a resource (RFC 6120, 7.6)."""
        self.send(f"<iq type='set' id='bind'><bind xmlns='{BIND}'/></iq>")
        answer = self.expect(f"{{{CLIENT}}}iq")
        if answer.get("type") != "result":
            raise ProtocolError(f"no resource was bound: {text_of(answer)}")

    def send(self, text: str) -> None:
        """Send XML."""
        _log.debug("SEND: %s", text)
        self._socket.sendall(text.encode())

    def expect(self, tag: str) -> ET.Element:
        """The next child of the stream, which must be a `tag`."""
        element = self.read()
        if element.tag != tag:
            raise ProtocolError(f"expected {tag}, the server sent {text_of(element)}")
        return element

    def read(self) -> ET.Element:
        """The next child of the stream."""
        while True:
            event: str
            element: ET.Element
            for event, element in self._parser.read_events():
                self._depth += 1 if event == "start" else -1
                if event == "end" and self._depth == 1:
                    return element
                if self._depth == 0:
                    raise ProtocolError("the server closed the stream")
            chunk = self._socket.recv(65536)
            if not chunk:
                raise ProtocolError("the server closed the connection")
            _log.debug("RECV: %s", chunk.decode(errors="replace"))
            self._parser.feed(chunk)

    def _restart(self) -> None:
        self._parser: Any = ET.XMLPullParser(("start", "end"))  # what its events carry depends on their kind
        self._depth = 0


class WebSocket:
    """A WebSocket with the subprotocol xmpp (RFC 6455, RFC 7395), over TLS."""

    def __init__(self, port: int, domain: str, path: str, context: ssl.SSLContext) -> None:
        connection = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self._socket = context.wrap_socket(connection, server_hostname=domain)
        self._received = b""
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        request = [
            f"GET {path} HTTP/1.1", f"Host: {domain}:{port}", "Connection: Upgrade", "Upgrade: websocket",
            "Sec-WebSocket-Version: 13", "Sec-WebSocket-Protocol: xmpp", f"Sec-WebSocket-Key: {key}", "", "",
        ]  # fmt: skip
        self._socket.sendall("\r\n".join(request).encode())
        status, *fields = self._until(b"\r\n\r\n").decode().splitlines()
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in fields)}
        if " 101 " not in f"{status} ":
            raise ProtocolError(f"no upgrade: {status}")
        accepted = hashlib.sha1((key + _WEBSOCKET_SALT).encode(), usedforsecurity=False).digest()
        if headers.get("sec-websocket-accept") != base64.b64encode(accepted).decode():
            raise ProtocolError("the server's answer does not belong to the key that was sent")
        if headers.get("sec-websocket-protocol") != "xmpp":
            raise ProtocolError("the server did not agree to the subprotocol xmpp")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, text: str) -> None:
        """Send a text message in one frame; those of clients are masked (RFC 6455, 5.3)."""
        _log.debug("SEND: %s", text)
        payload = text.encode()
        short = len(payload) < 126
        length = bytes([0x80 | len(payload)]) if short else b"\xfe" + len(payload).to_bytes(2, "big")
        mask = secrets.token_bytes(4)
        masked = bytes(octet ^ mask[index % 4] for index, octet in enumerate(payload))
        self._socket.sendall(b"\x81" + length + mask + masked)

    def receive(self) -> ET.Element:
        """The next message, which is a whole element (RFC 7395, 3.3)."""
        first, second = self._take(2)
        if first != 0x81 or second & 0x80:
            raise ProtocolError(f"not a text message in one unmasked frame: {first:#x} {second:#x}")
        length = second
        if second >= 126:
            length = int.from_bytes(self._take(2 if second == 126 else 8), "big")
        payload = self._take(length)
        _log.debug("RECV: %s", payload.decode(errors="replace"))
        return parse(payload)

    def _take(self, count: int) -> bytes:
        while len(self._received) < count:
            self._more()
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            self._more()
        taken, self._received = self._received.split(end, 1)
        return taken

    def _more(self) -> None:
        chunk = self._socket.recv(65536)
        if not chunk:
            raise ProtocolError("the server closed the connection")
        self._received += chunk


def trusting(certificate: Path, *protocols: str) -> ssl.SSLContext:
    """TLS that trusts one certificate, and offers application protocols (ALPN)."""
    context = ssl.create_default_context(cafile=str(certificate))
    if protocols:
        context.set_alpn_protocols(list(protocols))
    return context


def parse(document: bytes) -> ET.Element:
    """The root element of a document."""
    parser: Any = ET.XMLPullParser(("end",))
    parser.feed(document)
    parser.close()
    root: ET.Element = list(parser.read_events())[-1][1]
    return root


def text_of(element: ET.Element) -> str:
    """The element as text, for messages."""
    return ET.tostring(element, encoding="unicode")
