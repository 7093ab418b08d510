"""Issuers of JSON Web Tokens, servers of their keys, and logins with tokens on bare connections."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.etree import ElementTree as ET

import docker
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from tests.integration import streams
from tests.integration.servers import DOMAIN, Server
from tests.integration.streams import Stream, WebSocket
from tests.integration.web import Bosh, sasl

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_CURVES: Mapping[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


@dataclass(frozen=True)
class FromNow:
    """A time, in seconds from when the token is made; tests are collected long before they run."""

    seconds: int

    def __str__(self) -> str:
        return f"{self.seconds:+}s"


def claims(**changes: Any) -> dict[str, Any]:
    """Claims of a good token; None takes one away, and FromNow becomes a time."""
    usual = {
        "iss": "meet", "aud": "meet", "sub": DOMAIN, "room": "*", "exp": int(time.time()) + 600,
        "context": {"user": {"id": "juliet", "name": "Juliet"}},
    }  # fmt: skip
    return {
        name: int(time.time()) + value.seconds if isinstance(value, FromNow) else value
        for name, value in (usual | changes).items()
        if value is not None
    }


@dataclass(frozen=True)
class Issuer:
    """A key pair with a name, which signs with one algorithm."""

    algorithm: str
    key: PrivateKey
    name: str

    @classmethod
    def make(cls, algorithm: str, name: str) -> Issuer:
        """With a new key."""
        curve = _CURVES.get(algorithm)
        return cls(algorithm, ec.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048), name)

    @classmethod
    def load(cls, algorithm: str, pem: bytes, name: str) -> Issuer:
        """With a key in PEM."""
        key = load_pem_private_key(pem, None)
        assert isinstance(key, PrivateKey)
        return cls(algorithm, key, name)

    def token(self, header: Mapping[str, Any] | None = None, **changes: Any) -> str:
        """A signed token with the usual claims, changed."""
        private = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        names = {"kid": self.name, **(header or {})}
        return jwt.encode(
            claims(**changes),
            private,
            self.algorithm,
            {key: value for key, value in names.items() if value is not None},
        )

    @property
    def public(self) -> bytes:
        """The public key in PEM."""
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def jwk(self) -> dict[str, Any]:
        """The public key as a JSON Web Key (RFC 7517)."""
        algorithm = jwt.get_algorithm_by_name(self.algorithm)
        public: dict[str, Any] = json.loads(algorithm.to_jwk(self.key.public_key()))
        public.pop("key_ops", None)
        return public | {"kid": self.name, "use": "sig", "alg": self.algorithm}


def shared(secret: str, algorithm: str = "HS256", **changes: Any) -> str:
    """A token that is signed with a shared secret."""
    return jwt.encode(claims(**changes), secret, algorithm)


def confused(public: bytes, name: str) -> str:
    """A token signed with a public key as if it were a shared secret (RFC 8725, 2.1); PyJWT refuses to make one."""
    parts = ({"alg": "HS256", "typ": "JWT", "kid": name}, claims())
    signed = b".".join(_base64url(json.dumps(part).encode()) for part in parts)
    return (signed + b"." + _base64url(hmac.digest(public, signed, "sha256"))).decode()


def unsigned(signature: bytes = b"") -> str:
    """A token that claims to need no signature (RFC 7519, 6)."""
    parts = ({"alg": "none", "typ": "JWT"}, claims())
    return b".".join([*(_base64url(json.dumps(part).encode()) for part in parts), signature]).decode()


def malformed(header: str) -> str:
    """A token with this text as its header, and a signature of nothing."""
    parts = (header.encode(), json.dumps(claims()).encode(), b"signature")
    return b".".join(_base64url(part) for part in parts).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")


@dataclass
class KeyServer:
    """A web server that containers reach, with the keys of issuers as a set and one by one."""

    issuers: list[Issuer] = field(default_factory=list)
    lifetime: str = "max-age=3600"
    is_broken: bool = False
    requests: list[tuple[str, int]] = field(default_factory=list)  # path and status of each
    address: str = ""

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        keys = {hashlib.sha256(issuer.name.encode()).hexdigest(): issuer for issuer in self.issuers}
        alone = keys.get(handler.path.removeprefix("/").removesuffix(".pem"))
        body = alone.public if alone else json.dumps({"keys": [issuer.jwk() for issuer in self.issuers]}).encode()
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        status = 200 if alone or handler.path == "/keys.json" else 404
        if self.is_broken:
            status = 503
        elif status == 200 and handler.headers.get("If-None-Match") == tag:
            status = 304
        self.requests.append((handler.path, status))
        handler.send_response(status)
        handler.send_header("Cache-Control", self.lifetime)
        handler.send_header("ETag", tag)
        handler.send_header("Content-Length", str(len(body) if status == 200 else 0))
        handler.end_headers()
        if status == 200:
            handler.wfile.write(body)


@contextmanager
def key_server(client: docker.DockerClient, tls: ssl.SSLContext | None = None) -> Iterator[KeyServer]:
    """A running key server; its address is that of this machine in the network of containers."""
    served = KeyServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *_arguments: Any) -> None:
            """Nothing: the requests are remembered."""

    web = ThreadingHTTPServer(("0.0.0.0", 0), Handler)
    if tls:
        web.socket = tls.wrap_socket(web.socket, server_side=True)
    served.address = f"{gateway(client)}:{web.server_address[1]}"
    thread = threading.Thread(target=web.serve_forever)
    thread.start()
    try:
        yield served
    finally:
        web.shutdown()
        thread.join()
        web.server_close()


def gateway(client: docker.DockerClient) -> str:
    """Address of this machine in the usual network of containers."""
    (configuration, *_) = client.networks.get("bridge").attrs["IPAM"]["Config"]
    return str(configuration["Gateway"])


# Ways to log in; each returns the address that was bound, or None if the token was refused.
Login = Callable[[Server, Path, str], str | None]


def _over_stream(server: Server, certificate: Path, mechanism: str, content: bytes) -> str | None:
    with Stream(server.port(5222), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.open()
        stream.send(sasl(mechanism, content))
        answer = stream.read()
        if answer.tag == f"{{{streams.SASL}}}challenge":  # OAUTHBEARER says why before it fails (RFC 7628, 3.2.3)
            stream.send(f"<response xmlns='{streams.SASL}'>AQ==</response>")
            answer = stream.read()
        if answer.tag != f"{{{streams.SASL}}}success":
            return None
        stream.open()
        stream.send(f"<iq type='set' id='bind'><bind xmlns='{streams.BIND}'/></iq>")
        return _bound(stream.read())


def _bound(element: ET.Element) -> str:
    address = element.findtext(f".//{{{streams.BIND}}}jid")
    assert address, streams.text_of(element)
    return address


def plain(server: Server, certificate: Path, token: str, username: str = "juliet") -> str | None:
    """With the token as a password (RFC 4616)."""
    return _over_stream(server, certificate, "PLAIN", f"\0{username}\0{token}".encode())


def bearer(server: Server, certificate: Path, token: str) -> str | None:
    """With the token as what it is (RFC 7628)."""
    return _over_stream(server, certificate, "OAUTHBEARER", f"n,,\x01auth=Bearer {token}\x01\x01".encode())


def websocket(server: Server, certificate: Path, token: str | None) -> str | None:
    """With the token in the address of a WebSocket, as clients of Jitsi do."""
    with open_websocket(server, certificate, token) as socket:
        return enter(socket)


def open_websocket(server: Server, certificate: Path, token: str | None, domain: str = DOMAIN) -> WebSocket:
    """A WebSocket whose address has the token."""
    query = f"?{urlencode({'room': 'tea', 'token': token})}" if token is not None else ""
    return WebSocket(server.port(5281), domain, f"/xmpp-websocket{query}", streams.trusting(certificate))


def enter(socket: WebSocket, domain: str = DOMAIN) -> str | None:
    """Log in on a WebSocket with ANONYMOUS (RFC 4505); None if that is refused."""

    def open_stream() -> None:
        socket.send(f"<open xmlns='{streams.FRAMING}' to='{domain}' version='1.0'/>")
        assert socket.receive().tag == f"{{{streams.FRAMING}}}open"
        assert socket.receive().tag == f"{{{streams.STREAMS}}}features"

    open_stream()
    socket.send(sasl("ANONYMOUS"))
    if socket.receive().tag != f"{{{streams.SASL}}}success":
        return None
    open_stream()
    socket.send(f"<iq xmlns='{streams.CLIENT}' type='set' id='bind'><bind xmlns='{streams.BIND}'/></iq>")
    return _bound(socket.receive())


def bosh(server: Server, certificate: Path, token: str | None) -> str | None:
    """With the token in the address of BOSH (XEP-0206)."""
    query = f"?{urlencode({'room': 'tea', 'token': token})}" if token is not None else ""
    session = Bosh(server.port(5281), DOMAIN, certificate, query=query)
    return _bound(session.bind()) if session.authenticate("ANONYMOUS") else None


LOGINS: Mapping[str, Login] = {"plain": plain, "bearer": bearer, "websocket": websocket, "bosh": bosh}
