"""Logging in: every mechanism, tied to the connection or not, without an account, refused, and in one step."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import docker
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from tests.integration import channel_binding, streams
from tests.integration.authority import Authority
from tests.integration.channel_binding import NONE, Binding, BoundStream, authenticate
from tests.integration.clients import Client, connected, entered
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server
from tests.integration.streams import SASL, ProtocolError, Stream

# Passwords are stored as SHA-256 in the first, as SHA-1 in the second; the third has none.
OLD, GUESTS = "old.example", "guests.example"
USERNAME, PASSWORD = "alice", "of alice"
EVERYWHERE = {"SCRAM-SHA-256": DOMAIN, "SCRAM-SHA-1": OLD}
_BIND2, _CARBONS, _FAST = "urn:xmpp:bind:0", "urn:xmpp:carbons:2", "urn:xmpp:fast:0"
_MANAGEMENT, _SASL2 = "urn:xmpp:sm:3", "urn:xmpp:sasl:2"


@dataclass(frozen=True)
class Gate:
    """A server of three domains, whose certificate an authority has issued."""

    server: Server
    authority: Path

    @contextmanager
    def bound(self, domain: str) -> Iterator[tuple[BoundStream, set[str], set[str]]]:
        """An encrypted stream that a login can be tied to, and the mechanisms and bindings offered on it."""
        with BoundStream(self.server.port(), domain) as stream:
            stream.open()
            stream.request_tls()
            stream.shake_hands(self.authority)
            mechanisms, bindings = channel_binding.offered(stream.open())
            yield stream, mechanisms, bindings

    @contextmanager
    def encrypted(self, domain: str = DOMAIN, sender: str | None = None) -> Iterator[tuple[Stream, ET.Element]]:
        """An encrypted stream, and its features."""
        with Stream(self.server.port(), domain, sender=sender) as stream:
            stream.open()
            stream.start_tls(streams.trusting(self.authority))
            yield stream, stream.open()


@pytest.fixture(scope="module")
def gate(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gate]:
    """The server, with all that the image has for logging in."""
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    authority = Authority()
    pair = authority.issue([DOMAIN, OLD, GUESTS])
    (folder / "all.crt").write_bytes(pair.full)
    (folder / "all.key").write_bytes(pair.key)
    for path in folder.iterdir():
        path.chmod(0o644)
    root = tmp_path_factory.mktemp("authority") / "root.pem"
    root.write_bytes(authority.root)
    environment = {
        "PROSODY_VIRTUAL_HOSTS": f"{DOMAIN}, {OLD}, {GUESTS}",
        "PROSODY_ACCOUNTS": "\n".join(f"{USERNAME}@{domain}:{PASSWORD}" for domain in (DOMAIN, OLD)),
        "PROSODY_PASSWORD_HASH__OLD_EXAMPLE": "SHA-1",
        "PROSODY_TLS_SERVER_END_POINT_HASH__OLD_EXAMPLE": (
            x509.load_pem_x509_certificate(pair.certificate).fingerprint(SHA256()).hex()
        ),
        "PROSODY_AUTHENTICATION__GUESTS_EXAMPLE": "anonymous",
        "PROSODY_ENABLE_MODULES__CHAT_EXAMPLE": "sasl2, sasl2_bind2, sasl2_sm, sasl2_fast",
    }
    mounts = {str(folder): {"bind": "/etc/prosody/certs", "mode": "ro"}}
    server = Server(client, image, environment, mounts=mounts)
    try:
        server.start()
        yield Gate(server, root)
    finally:
        server.remove()


# ---- Mechanisms, by the library


@pytest.mark.parametrize(
    ("mechanism", "domain", "version"),
    [
        ("SCRAM-SHA-256", DOMAIN, ssl.TLSVersion.TLSv1_3),
        ("SCRAM-SHA-1", OLD, ssl.TLSVersion.TLSv1_3),
        ("PLAIN", DOMAIN, ssl.TLSVersion.TLSv1_3),
        ("PLAIN", OLD, ssl.TLSVersion.TLSv1_2),
        # By tls-unique, which TLS 1.3 does not have; for tls-exporter see below.
        ("SCRAM-SHA-256-PLUS", DOMAIN, ssl.TLSVersion.TLSv1_2),
        ("SCRAM-SHA-1-PLUS", OLD, ssl.TLSVersion.TLSv1_2),
    ],
)
def test_the_library_logs_in(gate: Gate, mechanism: str, domain: str, version: ssl.TLSVersion) -> None:
    async def scenario() -> None:
        client = Client(f"{USERNAME}@{domain}", PASSWORD, gate.authority)
        client.ssl_context.maximum_version = version
        sasl = client.plugin["feature_mechanisms"]
        sasl.use_mech = mechanism
        async with entered(client, "127.0.0.1", gate.server.port()):
            assert sasl.mech is not None
            assert sasl.mech.name == mechanism
            if mechanism.endswith("-PLUS"):
                assert sasl.mech.gs2_header.startswith(b"p=tls-unique")

    asyncio.run(scenario())


@pytest.mark.parametrize("mechanism", ["ANONYMOUS", "SCRAM-SHA-1", "DIGEST-MD5", "EXTERNAL", "NONSENSE"])
def test_what_is_not_offered_is_refused(gate: Gate, mechanism: str) -> None:
    with gate.encrypted() as (stream, features):
        assert mechanism not in channel_binding.offered(features)[0]
        stream.send(f"<auth xmlns='{SASL}' mechanism='{mechanism}'>=</auth>")
        assert stream.expect(f"{{{SASL}}}failure").find(f"{{{SASL}}}invalid-mechanism") is not None


def test_guests_need_no_account(gate: Gate) -> None:
    """XEP-0175: each is somebody else."""

    async def scenario() -> None:
        async with (
            connected(gate.server.port(), GUESTS, "", gate.authority) as first,
            connected(gate.server.port(), GUESTS, "", gate.authority) as second,
        ):
            assert first.boundjid.domain == second.boundjid.domain == GUESTS
            assert first.boundjid.local
            assert first.boundjid.local != second.boundjid.local
            first.say(second.boundjid.full, "who are you?")
            assert await second.next_message() == "who are you?"

    asyncio.run(scenario())
    with gate.encrypted(GUESTS) as (stream, _), pytest.raises(ProtocolError, match="invalid-mechanism"):
        stream.log_in(USERNAME, PASSWORD)


# ---- Tied to the connection


@pytest.mark.parametrize("mechanism", EVERYWHERE)
def test_a_login_is_tied_to_its_connection(gate: Gate, mechanism: str) -> None:
    with gate.bound(EVERYWHERE[mechanism]) as (stream, mechanisms, bindings):
        assert {mechanism, f"{mechanism}-PLUS"} <= mechanisms
        assert "tls-exporter" in bindings
        assert authenticate(stream, USERNAME, PASSWORD, f"{mechanism}-PLUS", stream.binding()) is None
        stream.open()
        stream.bind()


def test_a_login_is_tied_to_the_certificate(gate: Gate) -> None:
    for _ in range(2):  # also on a second connection
        with gate.bound(OLD) as (stream, _, bindings):
            assert bindings == {"tls-exporter", "tls-server-end-point"}
            assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-1-PLUS", stream.end_point()) is None
    other = Binding("p=tls-server-end-point", hashlib.sha256(b"another certificate").digest())
    with gate.bound(OLD) as (stream, _, _):
        assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-1-PLUS", other) == "malformed-request"
    with gate.bound(DOMAIN) as (stream, _, bindings):
        assert bindings == {"tls-exporter"}, "offered without a hash to compare with"


# ---- Refusals


def test_an_unknown_account_looks_like_a_wrong_password(gate: Gate) -> None:
    def refusal(username: str) -> str:
        with gate.encrypted() as (stream, _), pytest.raises(ProtocolError) as refused:
            stream.log_in(username, "wrong")
        return str(refused.value)

    assert "not-authorized" in refusal(USERNAME)
    assert refusal(USERNAME) == refusal(f"nobody-{uuid.uuid4()}")
    for username in (USERNAME, "nobody"):
        with gate.bound(DOMAIN) as (bound, _, _):
            assert authenticate(bound, username, "wrong", "SCRAM-SHA-256") == "not-authorized"


@pytest.mark.xfail(reason="Prosody 13.0.6 refuses an unknown account before it asks for a proof", raises=AssertionError)
def test_an_unknown_account_is_asked_for_a_proof_as_well(gate: Gate) -> None:
    with gate.encrypted() as (stream, _):
        initial = base64.b64encode(f"n,,n=nobody-{uuid.uuid4()},r=nonce".encode()).decode()
        stream.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>{initial}</auth>")
        assert stream.read().tag == f"{{{SASL}}}challenge"


def test_another_attempt_on_the_same_stream_may_succeed(gate: Gate) -> None:
    with gate.bound(DOMAIN) as (stream, _, _):
        assert authenticate(stream, USERNAME, "wrong", "SCRAM-SHA-256") == "not-authorized"
        stream.send(f"<auth xmlns='{SASL}' mechanism='SCRAM-SHA-256'>biwsbj1hbGljZSxyPWE=</auth>")
        stream.expect(f"{{{SASL}}}challenge")
        stream.send(f"<abort xmlns='{SASL}'/>")
        assert stream.expect(f"{{{SASL}}}failure").find(f"{{{SASL}}}aborted") is not None
        assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256", NONE) is None


def test_names_are_compared_as_names(gate: Gate) -> None:
    """RFC 7622, 3.3: neither case nor width tells two accounts apart."""
    for username in ("ALICE", "\uff21lice"):
        with gate.encrypted() as (stream, _):
            stream.log_in(username, PASSWORD)
            assert bound_address(stream).startswith(f"{USERNAME}@{DOMAIN}/")


def test_a_disabled_account_is_refused_until_it_is_enabled(gate: Gate) -> None:
    jid = f"disabled-{uuid.uuid4().hex[:6]}@{DOMAIN}"
    username = jid.partition("@")[0]
    gate.server.shell(f"user:create('{jid}', '{PASSWORD}')")
    gate.server.shell(f"user:disable('{jid}')")
    with gate.encrypted() as (stream, _), pytest.raises(ProtocolError, match="account-disabled"):
        stream.log_in(username, PASSWORD)
    gate.server.shell(f"user:enable('{jid}')")
    with gate.encrypted() as (stream, _):
        stream.log_in(username, PASSWORD)


# ---- The address that a client gets (RFC 6120, 7)


def bound_address(stream: Stream, resource: str = "") -> str:
    """The address after binding a resource."""
    wanted = f"<resource>{resource}</resource>" if resource else ""
    stream.send(f"<iq type='set' id='bind'><bind xmlns='{streams.BIND}'>{wanted}</bind></iq>")
    answer = stream.expect(f"{{{streams.CLIENT}}}iq")
    address = answer.findtext(f"{{{streams.BIND}}}bind/{{{streams.BIND}}}jid")
    if address is None:
        raise ProtocolError(streams.text_of(answer))
    return address


def test_the_server_chooses_an_address_if_asked_to(gate: Gate) -> None:
    with gate.encrypted() as (first, _), gate.encrypted() as (second, _):
        for stream in (first, second):
            stream.log_in(USERNAME, PASSWORD)
        addresses = {bound_address(first), bound_address(second)}
        assert len(addresses) == 2
        assert all(len(address.partition("/")[2]) >= 8 for address in addresses), "it can be guessed"


def test_a_client_takes_the_place_of_an_earlier_one(gate: Gate) -> None:
    with gate.encrypted() as (first, _), gate.encrypted() as (second, _):
        for stream in (first, second):
            stream.log_in(USERNAME, PASSWORD)
            assert bound_address(stream, "phone") == f"{USERNAME}@{DOMAIN}/phone"
        error = first.expect(f"{{{streams.STREAMS}}}error")
        assert error.find("{urn:ietf:params:xml:ns:xmpp-streams}conflict") is not None
        with pytest.raises(ProtocolError, match="closed"):
            first.read()
        with pytest.raises(ProtocolError, match="service-unavailable"):
            bound_address(second, "tablet")


# ---- In one step (XEP-0388, XEP-0386, XEP-0484)


def sasl2(stream: Stream, mechanism: str, content: bytes, *inline: str, device: str) -> ET.Element:
    """The outcome of a login whose first message is all that the mechanism needs."""
    stream.send(
        f"<authenticate xmlns='{_SASL2}' mechanism='{mechanism}'>"
        f"<initial-response>{base64.b64encode(content).decode()}</initial-response>"
        f"<user-agent id='{device}'><software>tests</software></user-agent>{''.join(inline)}</authenticate>"
    )
    return stream.read()


def with_token(token: str, who: bytes = b"Initiator", binding: bytes = b"") -> bytes:
    """What proves that somebody has a token (draft-schmaus-kitten-sasl-ht)."""
    return hmac.digest(token.encode(), who + binding, "sha256")


def new_token(gate: Gate, username: str, mechanism: str, device: str) -> str:
    """A token for later logins, which a password was shown for."""
    with gate.encrypted(sender=f"{username}@{DOMAIN}") as (stream, _):
        request = f"<request-token xmlns='{_FAST}' mechanism='{mechanism}'/>"
        success = sasl2(stream, "PLAIN", f"\0{username}\0{PASSWORD}".encode(), request, device=device)
        token = success.find(f"{{{_FAST}}}token")
        assert token is not None, streams.text_of(success)
        return token.get("token", "")


def test_everything_is_asked_for_at_once(gate: Gate) -> None:
    """Login, address, copies and stream management in one round trip."""
    with gate.encrypted() as (stream, features):
        assert features.find(f"{{{_SASL2}}}authentication/{{{_SASL2}}}inline/{{{_BIND2}}}bind") is not None
        bind = (
            f"<bind xmlns='{_BIND2}'><tag>tests</tag><enable xmlns='{_CARBONS}'/>"
            f"<enable xmlns='{_MANAGEMENT}' resume='true'/></bind>"
        )
        success = sasl2(
            stream, "PLAIN", f"\0{USERNAME}\0{PASSWORD}".encode(), bind, device=str(uuid.uuid4())
        )  # fmt: skip
        assert success.tag == f"{{{_SASL2}}}success", streams.text_of(success)
        address = success.findtext(f"{{{_SASL2}}}authorization-identifier", "")
        assert address.startswith(f"{USERNAME}@{DOMAIN}/tests~")
        enabled = success.find(f"{{{_BIND2}}}bound/{{{_MANAGEMENT}}}enabled")
        assert enabled is not None
        stream.expect(f"{{{streams.STREAMS}}}features")
        stream.send("<iq type='get' id='ping'><ping xmlns='urn:xmpp:ping'/></iq>")
        answer = stream.expect(f"{{{streams.CLIENT}}}iq")
        assert (answer.get("type"), answer.get("to")) == ("result", address)
        stream.drop()
    with gate.encrypted() as (stream, _):
        resume = f"<resume xmlns='{_MANAGEMENT}' previd='{enabled.get('id')}' h='1'/>"
        success = sasl2(
            stream, "PLAIN", f"\0{USERNAME}\0{PASSWORD}".encode(), resume, device=str(uuid.uuid4())
        )  # fmt: skip
        assert success.find(f"{{{_MANAGEMENT}}}resumed") is not None, streams.text_of(success)
        assert success.findtext(f"{{{_SASL2}}}authorization-identifier") == address


def test_a_wrong_password_is_refused_in_one_step_as_well(gate: Gate) -> None:
    with gate.encrypted() as (stream, _):
        failure = sasl2(stream, "PLAIN", f"\0{USERNAME}\0wrong".encode(), device="device")
        assert failure.tag == f"{{{_SASL2}}}failure"
        assert failure.find(f"{{{SASL}}}not-authorized") is not None


def test_a_device_comes_back_with_a_token(gate: Gate) -> None:
    device, mechanism = str(uuid.uuid4()), "HT-SHA-256-NONE"
    token = new_token(gate, USERNAME, mechanism, device)

    def attempt(proof: bytes, from_device: str) -> ET.Element:
        with gate.encrypted(sender=f"{USERNAME}@{DOMAIN}") as (stream, _):
            content = USERNAME.encode() + b"\0" + proof
            return sasl2(stream, mechanism, content, f"<fast xmlns='{_FAST}'/>", device=from_device)

    success = attempt(with_token(token), device)
    assert success.tag == f"{{{_SASL2}}}success", streams.text_of(success)
    proof = base64.b64decode(success.findtext(f"{{{_SASL2}}}additional-data", ""))
    assert proof == with_token(token, b"Responder"), "the server does not know the token"
    for refused in (attempt(with_token("wrong"), device), attempt(with_token(token), str(uuid.uuid4()))):
        assert refused.find(f"{{{SASL}}}not-authorized") is not None, streams.text_of(refused)


def test_a_token_is_tied_to_the_connection(gate: Gate) -> None:
    device, mechanism = str(uuid.uuid4()), "HT-SHA-256-EXPR"
    token = new_token(gate, USERNAME, mechanism, device)
    for is_own in (True, False):
        with BoundStream(gate.server.port(), DOMAIN, sender=f"{USERNAME}@{DOMAIN}") as stream:
            stream.open()
            stream.request_tls()
            stream.shake_hands(gate.authority)
            stream.open()
            data = stream.binding().data if is_own else b"of another connection"
            content = USERNAME.encode() + b"\0" + with_token(token, binding=data)
            outcome = sasl2(stream, mechanism, content, f"<fast xmlns='{_FAST}'/>", device=device)
            assert (outcome.tag == f"{{{_SASL2}}}success") is is_own, streams.text_of(outcome)


def test_a_new_password_ends_tokens(gate: Gate) -> None:
    username, device, mechanism = f"changing-{uuid.uuid4().hex[:6]}", str(uuid.uuid4()), "HT-SHA-256-NONE"
    gate.server.shell(f"user:create('{username}@{DOMAIN}', '{PASSWORD}')")
    token = new_token(gate, username, mechanism, device)
    time.sleep(1 - time.time() % 1)  # until another second, in which the time of a change is kept
    gate.server.shell(f"user:password('{username}@{DOMAIN}', 'another')")
    with gate.encrypted(sender=f"{username}@{DOMAIN}") as (stream, _):
        content = username.encode() + b"\0" + with_token(token)
        refused = sasl2(stream, mechanism, content, f"<fast xmlns='{_FAST}'/>", device=device)
        assert refused.find(f"{{{SASL}}}credentials-expired") is not None, streams.text_of(refused)
