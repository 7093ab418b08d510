"""A client whose login is tied to its TLS connection (SCRAM-PLUS: RFC 5802, RFC 7677), by two of the ways.

tls-exporter (RFC 9266) is tied to this very connection, tls-server-end-point (RFC 5929, 4) to the server's certificate.

Python's ssl cannot export keying material, which TLS 1.3 needs for it, so the handshake is OpenSSL's through pyOpenSSL.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from cryptography.hazmat.primitives.hashes import SHA256
from OpenSSL import SSL

from tests.integration.containers import PATIENCE
from tests.integration.streams import SASL, ProtocolError, Stream, text_of

CHANNEL_BINDINGS = "urn:xmpp:sasl-cb:0"  # XEP-0440
_LABEL, _LENGTH = b"EXPORTER-Channel-Binding", 32  # RFC 9266, 4.2


@dataclass(frozen=True)
class Binding:
    """What a client says of channel binding: the flag of RFC 5802, 7, and the data of its own end."""

    flag: str
    data: bytes = b""


NONE = Binding("n")  # the client does not do it
NOT_OFFERED = Binding("y")  # the client does, and believes that the server does not


class BoundStream(Stream):
    """A stream whose TLS can be bound to."""

    def shake_hands(self, certificate: Path) -> None:
        """Shake hands for TLS; the server's certificate must be `certificate`."""
        context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        context.load_verify_locations(str(certificate))
        context.set_verify(SSL.VERIFY_PEER)
        # OpenSSL wants a socket that blocks; the kernel's own timeout keeps it from waiting for ever (socket(7)).
        self._socket.setblocking(True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", int(PATIENCE), 0))
        secured = SSL.Connection(context, self._socket)
        secured.set_tlsext_host_name(self._domain.encode())
        secured.set_connect_state()
        secured.do_handshake()
        self._secured = secured
        self._socket = secured  # type: ignore[assignment]  # it can do all that is asked of it here
        self._restart()

    def binding(self) -> Binding:
        """What ties a login to this very connection."""
        return Binding("p=tls-exporter", self._secured.export_keying_material(_LABEL, _LENGTH))

    def end_point(self) -> Binding:
        """What ties a login to the server's certificate."""
        certificate = self._secured.get_peer_certificate(as_cryptography=True)
        assert certificate is not None
        return Binding("p=tls-server-end-point", certificate.fingerprint(SHA256()))


def authenticate(stream: Stream, username: str, password: str, mechanism: str, binding: Binding = NONE) -> str | None:
    """Log in with SCRAM; returns None, or the condition with which the server refuses (RFC 6120, 6.5)."""
    algorithm = mechanism.removeprefix("SCRAM-").removesuffix("-PLUS").replace("-", "").lower()
    header = f"{binding.flag},,"
    own_nonce = secrets.token_urlsafe(18)
    first = f"n={username},r={own_nonce}"
    stream.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>{_encode(f'{header}{first}'.encode())}</auth>")
    challenge = _answer(stream, "challenge")
    if isinstance(challenge, str):
        return challenge
    fields = dict(part.split("=", 1) for part in challenge.decode().split(","))
    assert fields["r"].startswith(own_nonce), "the server's nonce does not continue the client's"
    salted = hashlib.pbkdf2_hmac(algorithm, password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
    final = f"c={_encode(header.encode() + binding.data)},r={fields['r']}"
    everything = f"{first},{challenge.decode()},{final}".encode()
    key = hmac.digest(salted, b"Client Key", algorithm)
    signature = hmac.digest(hashlib.new(algorithm, key).digest(), everything, algorithm)
    proof = bytes(left ^ right for left, right in zip(key, signature, strict=True))
    stream.send(f"<response xmlns='{SASL}'>{_encode(f'{final},p={_encode(proof)}'.encode())}</response>")
    success = _answer(stream, "success")
    if isinstance(success, str):
        return success
    expected = hmac.digest(hmac.digest(salted, b"Server Key", algorithm), everything, algorithm)
    assert success == f"v={_encode(expected)}".encode(), "the server does not know the password"
    return None


def offered(features: ET.Element) -> tuple[set[str], set[str]]:
    """Mechanisms, and types of channel binding, that stream features offer."""
    mechanisms = {element.text or "" for element in features.iterfind(f".//{{{SASL}}}mechanism")}
    bindings = {element.get("type", "") for element in features.iterfind(f".//{{{CHANNEL_BINDINGS}}}channel-binding")}
    return mechanisms, bindings


def _answer(stream: Stream, expected: str) -> bytes | str:
    """What the server says, or why it refuses."""
    element = stream.read()
    if element.tag == f"{{{SASL}}}failure":
        return element[0].tag.removeprefix(f"{{{SASL}}}")
    if element.tag != f"{{{SASL}}}{expected}":
        raise ProtocolError(f"expected {expected}, the server sent {text_of(element)}")
    return base64.b64decode(element.text or "")


def _encode(content: bytes) -> str:
    return base64.b64encode(content).decode()
