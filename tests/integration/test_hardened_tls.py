"""Transport of the hardened image: TLS 1.3 alone on every port, nothing in clear, and logins tied to their connection.

Each port is offered every version of SSL and TLS, and in each every cipher suite that can be written.
"""

from __future__ import annotations

import socket
import ssl
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import docker
import httpx
import pytest
import slixmpp
from OpenSSL import SSL

from tests.integration import channel_binding, servers, streams, tls_offers
from tests.integration.channel_binding import NONE, NOT_OFFERED, BoundStream, authenticate
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import ProtocolError, Stream
from tests.integration.tls_offers import Refusal, Scan, Version

pytestmark = pytest.mark.variant("hardened")

(ALICE, PASSWORD), *_ = ACCOUNTS.items()
USERNAME = str(slixmpp.JID(ALICE).local)
# Of the three that TLS 1.3 has for general use (RFC 8446, B.4); Mozilla's "modern" takes all of them.
SUITES = {0x1301: b"TLS_AES_128_GCM_SHA256", 0x1302: b"TLS_AES_256_GCM_SHA384", 0x1303: b"TLS_CHACHA20_POLY1305_SHA256"}
GROUPS = {23: "P-256", 24: "P-384", 29: "X25519"}
PORTS = (5222, 5223, 5269, 5270, 5280, 5281)
HANDSHAKE_FAILURE, PROTOCOL_VERSION = Refusal(40), Refusal(70)  # alerts of RFC 8446, 6.2
_PATIENCE = 20.0  # seconds


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, hardened: LoadedImage) -> Iterator[Server]:
    """A server with every port published, that of plain HTTP as well."""
    with serving(client, hardened) as started:
        yield started


def serving(client: docker.DockerClient, image: LoadedImage, **environment: str) -> AbstractContextManager[Server]:
    """A server with the tests' accounts and all ports."""
    ports = {f"{port}/tcp": ("127.0.0.1", None) for port in PORTS}
    return servers.serving(client, image, {"ports": ports}, **environment)


@pytest.fixture
def certificate(server: Server, tmp_path: Path) -> Path:
    return server.certificate(tmp_path)


# How a connection gets to where a handshake is expected, by port


def _direct(server: Server, port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port(port)), timeout=_PATIENCE)


def _within_a_stream(namespace: str) -> Callable[[Server, int], socket.socket]:
    def connect(server: Server, port: int) -> socket.socket:
        stream = Stream(server.port(port), DOMAIN, namespace, "other.example" if namespace == streams.SERVER else None)
        stream.open()
        return stream.request_tls()

    return connect


WAYS: dict[int, Callable[[Server, int], socket.socket]] = {
    5222: _within_a_stream(streams.CLIENT),
    5223: _direct,
    5269: _within_a_stream(streams.SERVER),
    5270: _direct,
    5281: _direct,
}


@pytest.mark.parametrize("port", WAYS)
@pytest.mark.parametrize("version", [version for version in Version if version < Version.TLS1_3])
def test_every_suite_of_an_old_version_is_refused(server: Server, port: int, version: Version) -> None:
    found = tls_offers.scan_suites(lambda: WAYS[port](server, port), version, DOMAIN)
    assert found.accepted == set()
    # OpenSSL is built without SSL 3.0, and does not even see a version in it.
    assert found.refusals == {HANDSHAKE_FAILURE if version == Version.SSL3 else PROTOCOL_VERSION}


@pytest.mark.parametrize("port", WAYS)
def test_ssl_2_is_refused(server: Server, port: int) -> None:
    answer = tls_offers.offer_ssl2(lambda: WAYS[port](server, port))
    assert isinstance(answer, Refusal), answer


@pytest.mark.parametrize("port", WAYS)
def test_three_suites_and_three_groups_of_tls_1_3_are_taken(server: Server, port: int) -> None:
    suites = tls_offers.scan_suites(lambda: WAYS[port](server, port), Version.TLS1_3, DOMAIN)
    assert suites.accepted == set(SUITES)
    groups = tls_offers.scan_groups(lambda: WAYS[port](server, port), DOMAIN)
    assert groups.accepted == set(GROUPS)


@pytest.mark.parametrize("port", WAYS)
@pytest.mark.parametrize("suite", SUITES.values(), ids=bytes.decode)
def test_a_handshake_with_each_suite_is_completed(server: Server, certificate: Path, port: int, suite: bytes) -> None:
    """The control of the scan: what a ServerHello promises is kept, with a verified certificate."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.load_verify_locations(str(certificate))
    context.set_verify(SSL.VERIFY_PEER)
    context.set_tls13_ciphersuites(suite)
    with WAYS[port](server, port) as connection:
        connection.setblocking(True)
        secured = SSL.Connection(context, connection)
        secured.set_tlsext_host_name(DOMAIN.encode())
        secured.set_connect_state()
        secured.do_handshake()
        assert (secured.get_protocol_version_name(), secured.get_cipher_name()) == ("TLSv1.3", suite.decode())


@pytest.mark.parametrize("port", WAYS)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
def test_a_library_that_allows_everything_cannot_speak_an_old_version(
    server: Server, port: int, version: ssl.TLSVersion
) -> None:
    with WAYS[port](server, port) as connection, pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|unsupported"):
        _lax(version).wrap_socket(connection, server_hostname=DOMAIN)


def _lax(version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # old versions are what this is about
        context.minimum_version = context.maximum_version = version
    return context


# ---- Controls: the scan finds what a server admits


def test_the_scan_finds_the_suites_of_tls_1_2(client: docker.DockerClient, hardened: LoadedImage) -> None:
    """Those for the server's own certificate (ECDSA) that Mozilla's "intermediate" names."""
    with serving(client, hardened, PROSODY_TLS_PROFILE="intermediate") as server:
        found = tls_offers.scan_suites(lambda: _direct(server, 5223), Version.TLS1_2, DOMAIN)
        old = tls_offers.scan_suites(lambda: _direct(server, 5223), Version.TLS1_1, DOMAIN)
    assert found.accepted == {0xC02B, 0xC02C, 0xCCA9}
    assert old == Scan(frozenset(), frozenset({PROTOCOL_VERSION}))


def test_the_scan_finds_suites_of_versions_that_libraries_forbid(
    client: docker.DockerClient, hardened: LoadedImage
) -> None:
    """With everything allowed that OpenSSL still has: TLS 1.0 and 1.1 with suites for ECDSA."""
    lax = {"PROSODY_TLS_PROFILE": "old", "PROSODY_TLS_CIPHERS": "ALL:@SECLEVEL=0"}
    with serving(client, hardened, **lax) as server:
        for version in (Version.TLS1_0, Version.TLS1_1):
            found = tls_offers.scan_suites(lambda: _direct(server, 5223), version, DOMAIN)
            assert {0xC009, 0xC00A} <= found.accepted, version
        ssl3 = tls_offers.scan_suites(lambda: _direct(server, 5223), Version.SSL3, DOMAIN)
        with _direct(server, 5223) as connection:
            secured = _lax(ssl.TLSVersion.TLSv1).wrap_socket(connection, server_hostname=DOMAIN)
            assert secured.version() == "TLSv1"
    assert ssl3.accepted == set()


# ---- Nothing in clear


def request_page(server: Server, certificate: Path, path: str) -> httpx.Response:
    """Answer to a request over HTTPS, whatever its status."""
    with httpx.Client(verify=streams.trusting(certificate), timeout=_PATIENCE, trust_env=False) as client:
        return client.get(
            f"https://127.0.0.1:{server.port(5281)}{path}",
            headers={"Host": DOMAIN},
            extensions={"sni_hostname": DOMAIN},
        )


def listening(server: Server) -> set[int]:
    """Ports on which the container's kernel listens, as it says itself (proc_pid_net(5)); 0A is LISTEN."""
    program = 'for _, name in ipairs { "tcp", "tcp6" } do io.write((io.open("/proc/net/" .. name):read("a"))) end'
    outcome = server.execute("/usr/bin/lua5.4", "-e", program)
    assert outcome.status == 0, outcome.text
    rows = [line.split() for line in outcome.output.splitlines()]
    return {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"}


def test_nothing_listens_but_what_is_encrypted(server: Server) -> None:
    assert listening(server) == set(WAYS)


@pytest.mark.parametrize("port", [5280, 5281, 5223])
def test_plain_http_gets_no_answer(server: Server, port: int) -> None:
    """Neither a page nor a way to encryption; where TLS is spoken, at most an alert."""
    request = f"GET / HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n"
    answer = b""
    try:
        with _direct(server, port) as connection:
            connection.sendall(request.encode())
            while chunk := connection.recv(4096):
                answer += chunk
    except ConnectionError:
        pass
    assert b"HTTP" not in answer
    assert len(answer) <= 7, answer  # an alert is a record of two bytes


@pytest.mark.parametrize("path", ["/http-bind", "/xmpp-websocket", "/.well-known/host-meta", "/metrics"])
def test_what_is_not_needed_is_not_served(server: Server, certificate: Path, path: str) -> None:
    answer = request_page(server, certificate, path)
    assert answer.status_code == 404, answer.text


def test_what_is_not_needed_can_be_asked_for(
    client: docker.DockerClient, hardened: LoadedImage, tmp_path: Path
) -> None:
    """The control of the test above."""
    wanted = {"PROSODY_BOSH": "true", "PROSODY_WEBSOCKET": "true"}
    with serving(client, hardened, **wanted) as server:
        certificate = server.certificate(tmp_path)
        for path in ("/http-bind", "/xmpp-websocket", "/.well-known/host-meta"):
            assert request_page(server, certificate, path).status_code != 404, path


def test_no_login_is_offered_or_taken_before_encryption(server: Server) -> None:
    with Stream(server.port(5222), DOMAIN) as stream:
        features = stream.open()
        assert channel_binding.offered(features) == (set(), set())
        assert features.find(f"{{{streams.TLS}}}starttls/{{{streams.TLS}}}required") is not None
        assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256") in ("encryption-required", "invalid-mechanism")


# ---- Channel binding


@contextmanager
def encrypted(server: Server, certificate: Path, port: int) -> Iterator[tuple[BoundStream, tuple[set[str], set[str]]]]:
    """A stream over TLS on a port for clients, and the mechanisms and bindings offered on it."""
    with BoundStream(server.port(port), DOMAIN) as stream:
        if port == 5222:
            stream.open()
            stream.request_tls()
        stream.shake_hands(certificate)
        yield stream, channel_binding.offered(stream.open())


@pytest.mark.parametrize("port", [5222, 5223])
def test_a_login_can_be_tied_to_its_connection(server: Server, certificate: Path, port: int) -> None:
    with encrypted(server, certificate, port) as (stream, (mechanisms, bindings)):
        assert "SCRAM-SHA-256-PLUS" in mechanisms
        assert bindings == {"tls-exporter"}
        assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256-PLUS", stream.binding()) is None
        stream.open()
        stream.bind()


def test_a_login_on_another_connection_is_refused(server: Server, certificate: Path) -> None:
    """What somebody in between would send on: the password is right, the connection is not the client's."""
    with encrypted(server, certificate, 5222) as (client, _), encrypted(server, certificate, 5222) as (between, _):
        assert client.binding() != between.binding()
        refusal = authenticate(between, USERNAME, PASSWORD, "SCRAM-SHA-256-PLUS", client.binding())
        assert refusal == "malformed-request"  # Prosody's word for the binding of another connection


def test_a_wrong_password_is_refused_with_the_right_binding(server: Server, certificate: Path) -> None:
    with encrypted(server, certificate, 5222) as (stream, _):
        assert authenticate(stream, USERNAME, "wrong", "SCRAM-SHA-256-PLUS", stream.binding()) == "not-authorized"


def test_an_offer_that_was_taken_away_is_noticed(server: Server, certificate: Path) -> None:
    """A client that saw no -PLUS says so, and the server knows that it offered it (RFC 5802, 6)."""
    with encrypted(server, certificate, 5222) as (stream, _):
        assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256", NOT_OFFERED) is not None


def test_a_client_without_channel_binding_logs_in(server: Server, certificate: Path) -> None:
    with encrypted(server, certificate, 5222) as (stream, (mechanisms, _)):
        assert mechanisms == {"SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"}
        assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256") is None


def test_a_password_in_clear_is_refused_even_within_tls(server: Server, certificate: Path) -> None:
    with encrypted(server, certificate, 5222) as (stream, _), pytest.raises(ProtocolError, match="invalid-mechanism"):
        stream.log_in(USERNAME, PASSWORD)


def test_channel_binding_can_be_required(client: docker.DockerClient, hardened: LoadedImage, tmp_path: Path) -> None:
    with serving(client, hardened, PROSODY_CHANNEL_BINDING="required") as server:
        certificate = server.certificate(tmp_path)
        with encrypted(server, certificate, 5222) as (stream, (mechanisms, _)):
            assert mechanisms == {"SCRAM-SHA-256-PLUS"}
            assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256", NONE) == "invalid-mechanism"
        with encrypted(server, certificate, 5223) as (stream, _):
            assert authenticate(stream, USERNAME, PASSWORD, "SCRAM-SHA-256-PLUS", stream.binding()) is None
