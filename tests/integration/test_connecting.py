"""Connecting: by TLS from the start or on request, over BOSH and WebSocket, and what ends a stream at once."""

from __future__ import annotations

import asyncio
import ssl
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import docker
import pytest
import slixmpp

from tests.integration import streams
from tests.integration.clients import Client, connected, entered
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server, serving
from tests.integration.streams import CLIENT, SASL, STREAMS, TLS, ProtocolError, Stream
from tests.integration.web_transports import BoshClient, WebSocketClient

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
USERNAME = slixmpp.JID(ALICE).local
_CONDITIONS = "urn:ietf:params:xml:ns:xmpp-streams"
_SILENCE = 2  # seconds in which a client has to log in
# Limits that docs/environment.md tells, in bytes
_BEFORE_LOGIN, _AFTER_LOGIN = 10_000, 256 * 1024
# Beginnings of stanzas that are larger. They do not go on: what the server has not read when it closes has the network
# drop what it said last.
_TOO_MUCH = {limit: f"<message><body>{'x' * (limit + 1000)}" for limit in (_BEFORE_LOGIN, _AFTER_LOGIN)}


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that is reached in every way, and by everybody who logs in soon."""
    ports = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5281)}
    # By default a client may send 10 kB a second, which makes big stanzas slow.
    limits = {"PROSODY_C2S_TIMEOUT": str(_SILENCE), "PROSODY_C2S_RATE_LIMIT": "100mb/s"}
    with serving(client, image, {"ports": ports}, **limits) as started:
        yield started


# ---- Ways in, by the library


class DirectTlsClient(Client):
    """A client that begins with TLS (XEP-0368)."""

    def __init__(self, jid: str, password: str, certificate: Path) -> None:
        super().__init__(jid, password, certificate)
        self.enable_direct_tls, self.enable_starttls = True, False


@pytest.mark.parametrize(
    ("kind", "port"), [(Client, 5222), (DirectTlsClient, 5223), (WebSocketClient, 5281), (BoshClient, 5281)]
)
def test_the_library_logs_in_and_talks(server: Server, certificate: Path, kind: type[Client], port: int) -> None:
    there, back = str(uuid.uuid4()), str(uuid.uuid4())

    async def scenario() -> None:
        bob = kind(BOB, BOB_PASSWORD, certificate)
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            entered(bob, "127.0.0.1", server.port(port)),
        ):
            mechanism = bob.plugin["feature_mechanisms"].mech
            assert mechanism is not None
            assert mechanism.name.startswith("SCRAM-")
            assert bob.transport is not None
            assert bob.transport.get_extra_info("ssl_object").version() == "TLSv1.3"
            alice.say(BOB, there)
            assert await bob.receive([there]) == [there]
            for text in (back, "ünïcode <&> 🙂"):
                bob.say(ALICE, text)
                assert await alice.receive([text]) == [text]

    asyncio.run(scenario())


# ---- Before there is TLS


@pytest.mark.parametrize(
    ("attempt", "refusal"),
    [
        pytest.param(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>=</auth>", "encryption-required", id="login"),
        pytest.param(
            "<iq type='set' id='1'><query xmlns='jabber:iq:auth'><username>alice</username></query></iq>",
            "service-unavailable", id="login of old",
        ),
        pytest.param(
            "<iq type='get' id='1'><query xmlns='jabber:iq:register'/></iq>", "Encryption is required",
            id="registration",
        ),
        pytest.param(f"<iq type='set' id='1'><bind xmlns='{streams.BIND}'/></iq>", "not-authorized", id="address"),
        pytest.param(f"<message to='{ALICE}'><body>hello</body></message>", "service-unavailable", id="message"),
    ],
)  # fmt: skip
def test_nothing_is_done_before_there_is_tls(server: Server, attempt: str, refusal: str) -> None:
    with Stream(server.port(), DOMAIN) as stream:
        features = stream.open()
        assert [feature.tag for feature in features if "limits" not in feature.tag] == [f"{{{TLS}}}starttls"]
        assert features.find(f"{{{TLS}}}starttls/{{{TLS}}}required") is not None
        stream.send(attempt)
        assert refusal in streams.text_of(stream.read())


def test_what_comes_with_the_request_for_tls_is_not_taken_for_encrypted(server: Server, certificate: Path) -> None:
    """Somebody in between adds to it what would be handled once the client has encrypted (CVE-2011-0411 and others)."""
    with Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.send(f"<starttls xmlns='{TLS}'/><iq type='get' id='injected'><ping xmlns='urn:xmpp:ping'/></iq>")
        stream.expect(f"{{{TLS}}}proceed")
        try:
            stream.secure(streams.trusting(certificate))
            stream.open()
            stream.log_in(USERNAME, ALICE_PASSWORD)
            stream.bind()
            stream.send("<iq type='get' id='own'><ping xmlns='urn:xmpp:ping'/></iq>")
            assert stream.expect(f"{{{CLIENT}}}iq").get("id") == "own"
        except (ssl.SSLError, ProtocolError, OSError):
            return  # the connection was ended, which is as good


def test_tls_begins_once(server: Server, certificate: Path) -> None:
    with encrypted(server, certificate) as (stream, features):
        assert features.find(f"{{{TLS}}}starttls") is None
        stream.send(f"<starttls xmlns='{TLS}'/>")
        assert stream.read().tag in (f"{{{TLS}}}failure", f"{{{STREAMS}}}error")


@contextmanager
def encrypted(server: Server, certificate: Path) -> Iterator[tuple[Stream, ET.Element]]:
    """A stream over TLS, and its features."""
    with Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        yield stream, stream.open()


# ---- What ends a stream (RFC 6120, 4.9)


def expect_end(stream: Stream, condition: str) -> None:
    """The stream ends with an error."""
    error = stream.expect(f"{{{STREAMS}}}error")
    assert error.find(f"{{{_CONDITIONS}}}{condition}") is not None, streams.text_of(error)
    with pytest.raises((ProtocolError, ConnectionError)):
        stream.read()


def header(to: str = f"to='{DOMAIN}'", namespace: str = CLIENT, stream: str = STREAMS) -> str:
    """The beginning of a stream."""
    return f"<?xml version='1.0'?><stream:stream {to} version='1.0' xmlns='{namespace}' xmlns:stream='{stream}'>"


@pytest.mark.parametrize(
    ("beginning", "condition"),
    [
        pytest.param(header("to='other.example'"), "host-unknown", id="another domain"),
        pytest.param(header(f"to='conference.{DOMAIN}'"), "host-unknown", id="a domain without accounts"),
        pytest.param(header(""), "improper-addressing", id="no domain"),
        pytest.param(header("to='not a domain'"), "host-unknown", id="not a domain"),
        pytest.param(header(stream="urn:example:stream"), "invalid-namespace", id="namespace of the stream"),
        pytest.param(
            header(namespace="urn:example:client") + "<iq/>", "unsupported-stanza-type", id="namespace of stanzas"
        ),
        pytest.param(f"<stream xmlns='{CLIENT}' to='{DOMAIN}' version='1.0'>", "invalid-namespace", id="no stream"),
        pytest.param("GET / HTTP/1.1\r\nHost: chat.example\r\n\r\n", "not-well-formed", id="HTTP"),
        pytest.param("<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>", "not-well-formed", id="a document type"),
        pytest.param("<?xml version='1.0'?><!-- hello -->" + header()[21:], "not-well-formed", id="a comment"),
        pytest.param(header() + "<?run this?>", "not-well-formed", id="an instruction"),
        pytest.param(header() + "<iq></message>", "not-well-formed", id="tags that do not match"),
        pytest.param(header() + "<iq><body>\0</body></iq>", "not-well-formed", id="a character that XML has not"),
        pytest.param(header() + "<iq>&unknown;</iq>", "not-well-formed", id="an unknown entity"),
        pytest.param(header() + _TOO_MUCH[_BEFORE_LOGIN], "policy-violation", id="too much before login"),
        pytest.param(header() + f"<iq a='{'x' * _BEFORE_LOGIN}'", "policy-violation", id="too long a tag"),
    ],
)
def test_a_stream_that_begins_wrong_is_ended(server: Server, beginning: str, condition: str) -> None:
    with Stream(server.port(), DOMAIN) as stream:
        stream.send(beginning)
        element = stream.read()
        if element.tag == f"{{{STREAMS}}}features":
            element = stream.read()
        assert element.find(f"{{{_CONDITIONS}}}{condition}") is not None, streams.text_of(element)
        with pytest.raises((ProtocolError, ConnectionError)):
            stream.read()


def test_the_domain_stays_the_same(server: Server, certificate: Path) -> None:
    with Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.send(header("to='other.example'"))
        expect_end(stream, "not-authorized")


@pytest.mark.parametrize(
    ("stanza", "condition"),
    [
        pytest.param(_TOO_MUCH[_AFTER_LOGIN], "policy-violation", id="too long"),
        pytest.param("<question xmlns='urn:example:question'/>", "unsupported-stanza-type", id="not a stanza"),
        pytest.param("<question/>", "unsupported-stanza-type", id="an unknown stanza"),
    ],
)
def test_a_stanza_that_nobody_may_send_ends_the_stream(
    server: Server, certificate: Path, stanza: str, condition: str
) -> None:
    with encrypted(server, certificate) as (stream, _):
        stream.log_in(USERNAME, ALICE_PASSWORD)
        stream.bind()
        stream.send(stanza)
        expect_end(stream, condition)


def test_a_stanza_as_long_as_allowed_arrives(server: Server, certificate: Path) -> None:
    """The control of the test above; the limit is told in the features (XEP-0478)."""
    with encrypted(server, certificate) as (stream, before):
        assert _limit(before) == _BEFORE_LOGIN
        assert _limit(stream.log_in(USERNAME, ALICE_PASSWORD)) == _AFTER_LOGIN
        stream.bind()
        text = "x" * (_AFTER_LOGIN - 200)
        stream.send(f"<message to='{ALICE}' type='headline'><body>{text}</body></message>")
        stream.send("<iq type='get' id='after'><ping xmlns='urn:xmpp:ping'/></iq>")
        assert stream.expect(f"{{{CLIENT}}}iq").get("id") == "after"


def test_nobody_writes_as_somebody_else(server: Server, certificate: Path) -> None:
    with encrypted(server, certificate) as (stream, _):
        stream.log_in(USERNAME, ALICE_PASSWORD)
        stream.bind()
        stream.send("<presence/>")
        stream.send(f"<message from='{BOB}' to='{ALICE}' type='chat'><body>hello</body></message>")
        while (element := stream.read()).tag != f"{{{CLIENT}}}message":
            continue
        assert element.get("from", "").startswith(f"{ALICE}/")


def _limit(features: ET.Element) -> int:
    namespace = "urn:xmpp:stream-limits:0"
    return int(features.findtext(f"{{{namespace}}}limits/{{{namespace}}}max-bytes", "0"))


def test_who_does_not_log_in_is_sent_away(server: Server, certificate: Path) -> None:
    with Stream(server.port(), DOMAIN) as silent, encrypted(server, certificate) as (stream, _):
        for waiting in (silent, stream):
            if waiting is silent:
                waiting.open()
            expect_end(waiting, "connection-timeout")


def test_clients_are_told_of_the_end(own_server: Server, tmp_path: Path) -> None:
    # Not by a published port: the engine ends its proxy with the container, whatever that has still to pass on.
    with Stream(5222, DOMAIN, address=own_server.address) as stream:
        stream.open()
        stream.start_tls(streams.trusting(own_server.certificate(tmp_path)))
        stream.open()
        stream.log_in(USERNAME, ALICE_PASSWORD)
        stream.bind()
        own_server.running.kill("SIGTERM")
        expect_end(stream, "system-shutdown")


# ---- What the server says of itself


def test_the_server_answers_questions(server: Server, certificate: Path) -> None:
    """XEP-0092, XEP-0202, XEP-0012 and XEP-0199; the hardened variant's own tests say that it does not."""

    async def scenario() -> None:
        plugins = ["xep_0012", "xep_0092"]
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate, plugins=plugins) as alice:
            host = slixmpp.JID(DOMAIN)
            version = (await alice.plugin["xep_0092"].get_version(host))["software_version"]
            assert (version["name"], version["version"].split(".")[0]) == ("Prosody", "13")
            uptime = (await alice.plugin["xep_0012"].get_last_activity(host))["last_activity"]["seconds"]
            assert 0 <= int(uptime) < 3600
            # The library's plugin for the time fails on what the server answers, which is as XEP-0082 has it.
            answer = await alice.ask("get", "<time xmlns='urn:xmpp:time'/>", DOMAIN)
            told = datetime.fromisoformat(answer.findtext("{urn:xmpp:time}time/{urn:xmpp:time}utc", ""))
            assert abs(datetime.now(UTC) - told) < timedelta(minutes=1)
            for address in (DOMAIN, ALICE):
                await alice.ask("get", "<ping xmlns='urn:xmpp:ping'/>", address)

    asyncio.run(scenario())
