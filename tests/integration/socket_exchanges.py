"""Exchanges with a server on bare sockets and over HTTP, where a client library would hide what is to be seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from xml.etree import ElementTree as ET

import slixmpp

from tests.integration import streams, web
from tests.integration.containers import Published
from tests.integration.evidence import Exchange, Feature, Place
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import ProtocolError, Stream, WebSocket
from tests.integration.web import Bosh

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
_OTHER_SERVER = "other.example"


def stream_features(server: Server, certificate: Path) -> set[Feature]:
    """The features of streams, of clients and of servers."""
    context = streams.trusting(certificate)
    found: set[Feature] = set()

    def note(place: Place, features: ET.Element) -> None:
        for feature in features:
            name = feature.tag[1:].split("}")[0]
            found.add(Feature(place, name))
            if any(child.tag == f"{{{name}}}required" for child in feature):
                found.add(Feature(place, f"{name} (required)"))

    with Stream(server.port(5222), DOMAIN) as stream:
        note(Place.BEFORE_TLS, stream.open())
        stream.start_tls(context)
        note(Place.AFTER_TLS, stream.open())
        note(Place.AFTER_LOGIN, stream.log_in(slixmpp.JID(ALICE).local, ALICE_PASSWORD))
    with Stream(server.port(5269), DOMAIN, streams.SERVER, _OTHER_SERVER) as stream:
        note(Place.SERVERS, stream.open())
    return found


def _tls(server: Server, certificate: Path) -> None:
    with Stream(server.port(5222), DOMAIN) as stream:
        before = stream.open()
        if before.find(f"{{{streams.SASL}}}mechanisms") is not None:
            raise ProtocolError("mechanisms are offered before TLS")
        stream.start_tls(streams.trusting(certificate))
        if stream.tls_version not in ("TLSv1.2", "TLSv1.3"):
            raise ProtocolError(f"{stream.tls_version} was agreed on")


def _client_tls(server: Server, certificate: Path) -> None:
    with Stream(server.port(5223), DOMAIN) as stream:
        _direct_tls(stream, certificate, "xmpp-client")
        stream.open()


def _server_tls(server: Server, certificate: Path) -> None:
    with Stream(server.port(5270), DOMAIN, streams.SERVER, _OTHER_SERVER) as stream:
        _direct_tls(stream, certificate, "xmpp-server")
        _expect_refusal(stream)


def _servers(server: Server, certificate: Path) -> None:
    with Stream(server.port(5269), DOMAIN, streams.SERVER, _OTHER_SERVER) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        _expect_refusal(stream)


def _direct_tls(stream: Stream, certificate: Path, protocol: str) -> None:
    """The server need not confirm the protocol (XEP-0368 asks only the connecting side), but must take no other."""
    stream.secure(streams.trusting(certificate, protocol))
    if stream.application_protocol not in (None, protocol):
        raise ProtocolError(f"the server chose {stream.application_protocol} instead of {protocol}")


def _expect_refusal(stream: Stream) -> None:
    """Other servers have to show a certificate, which this one has not: the stream opens, and ends with that reason."""
    stream.send_header()
    answer = stream.expect(f"{{{streams.STREAMS}}}error")
    if answer.find("{urn:ietf:params:xml:ns:xmpp-streams}not-authorized") is None:
        raise ProtocolError(f"refused for another reason: {streams.text_of(answer)}")


def _resumption(server: Server, certificate: Path) -> None:
    management = "urn:xmpp:sm:3"
    with _logged_in(server, certificate) as first:
        first.bind()
        first.send(f"<enable xmlns='{management}' resume='true'/>")
        identifier = first.expect(f"{{{management}}}enabled").get("id")
        if not identifier:
            raise ProtocolError("stream management is enabled, but without resumption")
    with _logged_in(server, certificate) as second:
        second.send(f"<resume xmlns='{management}' previd='{identifier}' h='0'/>")
        second.expect(f"{{{management}}}resumed")


def _client_state(server: Server, certificate: Path) -> None:
    with _logged_in(server, certificate) as stream:
        stream.bind()
        stream.send("<inactive xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/>")
        # A server that does not know these would answer with a stream error.
        stream.send("<iq type='get' id='after'><ping xmlns='urn:xmpp:ping'/></iq>")
        answer = stream.expect(f"{{{streams.CLIENT}}}iq")
        if answer.get("id") != "after":
            raise ProtocolError(f"not the answer to the ping: {streams.text_of(answer)}")


@contextmanager
def _logged_in(server: Server, certificate: Path) -> Iterator[Stream]:
    with Stream(server.port(5222), DOMAIN) as stream:
        _log_in(stream, certificate)
        yield stream


def _log_in(stream: Stream, certificate: Path) -> ET.Element:
    stream.open()
    stream.start_tls(streams.trusting(certificate))
    stream.open()
    return stream.log_in(slixmpp.JID(ALICE).local, ALICE_PASSWORD)


def _websocket(server: Server, certificate: Path) -> None:
    with WebSocket(server.port(5281), DOMAIN, "/xmpp-websocket", streams.trusting(certificate)) as socket:
        socket.send(f"<open xmlns='{streams.FRAMING}' to='{DOMAIN}' version='1.0'/>")
        for expected in (f"{{{streams.FRAMING}}}open", f"{{{streams.STREAMS}}}features"):
            received = socket.receive()
            if received.tag != expected:
                raise ProtocolError(f"expected {expected}, the server sent {streams.text_of(received)}")
        if received.find(f"{{{streams.SASL}}}mechanisms") is None:
            raise ProtocolError("no mechanism is offered")


def _bosh(server: Server, certificate: Path) -> None:
    answer = Bosh(server.port(5281), DOMAIN, certificate).begun
    if answer.tag != f"{{{web.BINDING}}}body" or not answer.get("sid"):
        raise ProtocolError(f"no session: {streams.text_of(answer)}")
    if answer.find(f"{{{streams.STREAMS}}}features/{{{streams.SASL}}}mechanisms") is None:
        raise ProtocolError(f"no mechanism is offered: {streams.text_of(answer)}")


def _host_meta(server: Server, certificate: Path) -> None:
    for name in ("host-meta", "host-meta.json"):
        document = request(server, certificate, "GET", f"https://{DOMAIN}/.well-known/{name}").decode()
        for relation in ("urn:xmpp:alt-connections:xbosh", "urn:xmpp:alt-connections:websocket"):
            if relation not in document:
                raise ProtocolError(f"{name} lacks {relation}: {document}")


def announced_capabilities(server: Server, certificate: Path) -> ET.Element:
    """What the server announces of itself among its stream features (XEP-0115, 8.1)."""
    with Stream(server.port(5222), DOMAIN) as stream:
        features = _log_in(stream, certificate)
    found = features.find("{http://jabber.org/protocol/caps}c")
    if found is None:
        raise ProtocolError("nothing is announced")
    return found


def request(
    server: Published,
    certificate: Path,
    method: str,
    url: str,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """Body of the answer to a request for a URL of the server, sent to the port that is published here."""
    found = web.answer(
        server.port(5281), certificate, method, url, content,
        {"Content-Type": "text/plain; charset=utf-8", **(headers or {})},
    )  # fmt: skip
    found.raise_for_status()
    return found.content


EXCHANGES: dict[Exchange, Callable[[Server, Path], None]] = {
    Exchange.TLS: _tls,
    Exchange.CLIENT_TLS: _client_tls,
    Exchange.SERVER_TLS: _server_tls,
    Exchange.SERVERS: _servers,
    Exchange.RESUMPTION: _resumption,
    Exchange.CLIENT_STATE: _client_state,
    Exchange.WEBSOCKET: _websocket,
    Exchange.BOSH: _bosh,
    Exchange.HOST_META: _host_meta,
}
