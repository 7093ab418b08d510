"""What the hardened image reads, keeps and tells: nothing that need not be.

Messages in clear are refused, addresses are nowhere in the log or the data, the archive is short, nobody can register,
and nobody learns what software answers.
"""

from __future__ import annotations

import io
import ipaddress
import re
import socket
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import docker
import httpx
import pytest
import slixmpp

from tests.integration import networks, servers, streams
from tests.integration.channel_binding import authenticate
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import ProtocolError, Stream
from tests.integration.test_e2e_policy import ENCRYPTED, WITHOUT_TEXT, Policed, User, body_of, cipher, text

pytestmark = pytest.mark.variant("hardened")

(ALICE, PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
CAROL = f"carol@{DOMAIN}"
ROOMS, UPLOADS = f"conference.{DOMAIN}", f"upload.{DOMAIN}"
LOOPBACKS = ("127.0.0.1", "::1")
PORTS = (5222, 5223, 5269, 5270, 5281)
# Addresses that turn up in what clients and proxies say, rather than in where they connect from (RFC 5737, RFC 3849)
FORWARDED, REMOTE, REMOTE_6 = "203.0.113.77", "192.0.2.55", "2001:db8:5::77"
_PATIENCE = 20.0  # seconds
_IQ = "<iq type='get' id='{id}' to='{to}'>{payload}</iq>"


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, hardened: LoadedImage) -> Iterator[Server]:
    """A server with the ports that strangers reach."""
    with servers.serving(client, hardened, published()) as started:
        yield started


@pytest.fixture
def certificate(server: Server, tmp_path: Path) -> Path:
    return server.certificate(tmp_path)


def published(*addresses: str) -> dict[str, Any]:
    """Docker's options that publish the image's ports on addresses of this machine."""
    return {"ports": {f"{port}/tcp": [(address, None) for address in addresses or LOOPBACKS[:1]] for port in PORTS}}


@contextmanager
def encrypted(server: Server, certificate: Path, address: str = "127.0.0.1") -> Iterator[Stream]:
    """A stream over TLS of somebody who has not logged in."""
    with Stream(server.port(5222, address), DOMAIN, address=address) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.open()
        yield stream


def log_in(stream: Stream, jid: str = ALICE, password: str = PASSWORD) -> ET.Element:
    """Log in and bind a resource; returns the features offered in between, or raises ProtocolError."""
    refusal = authenticate(stream, str(slixmpp.JID(jid).local), password, "SCRAM-SHA-256")
    if refusal:
        raise ProtocolError(refusal)
    features = stream.open()
    stream.bind()
    return features


@contextmanager
def logged_in(server: Server, certificate: Path) -> Iterator[Stream]:
    """A stream of Alice's."""
    with encrypted(server, certificate) as stream:
        log_in(stream)
        yield stream


def ask(stream: Stream, to: str, payload: str) -> ET.Element:
    """The answer to a query."""
    stream.send(_IQ.format(id="question", to=to, payload=payload))
    while True:
        answer = stream.read()
        if answer.get("id") == "question":
            return answer


def fetch(
    server: Server, certificate: Path, path: str, host: str = DOMAIN, address: str = "127.0.0.1"
) -> httpx.Response:
    """Answer to a request over HTTPS, whatever its status."""
    named = f"[{address}]" if ":" in address else address
    with httpx.Client(verify=streams.trusting(certificate), timeout=_PATIENCE, trust_env=False) as client:
        return client.get(
            f"https://{named}:{server.port(5281, address)}{path}",
            headers={"Host": host, "X-Forwarded-For": FORWARDED},
            extensions={"sni_hostname": DOMAIN},
        )


# ---- Encryption from end to end, with nothing configured


@pytest.fixture(scope="module")
def policed(
    client: docker.DockerClient, hardened: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Policed]:
    """A server with the image's own policy, and with Carol exempt from it, by the name of another image."""
    accounts = "\n".join(f"{user}:a password" for user in (ALICE, BOB, CAROL))
    server = Server(
        client, hardened, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts, "E2E_POLICY_WHITELIST": CAROL}
    )
    try:
        server.start()
        yield Policed(server, server.certificate(tmp_path_factory.mktemp("policed")))
    finally:
        server.remove()


@pytest.mark.parametrize("kind", ["chat", "normal", "headline"])
def test_a_message_in_clear_is_refused(policed: Policed, kind: str) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, text(), kind)
        answer = await alice.next()
        assert "policy-violation" in streams.text_of(answer)
        assert "OMEMO" in streams.text_of(answer), "the sender is not told what to do"
        alice.send(BOB, cipher("only this"), kind)
        await bob.next_with("only this")

    policed.run(scenario, ALICE, BOB)


def test_a_message_in_clear_is_refused_in_rooms(policed: Policed) -> None:
    async def scenario(alice: User, bob: User) -> None:
        room = await alice.make_room()
        await bob.join(room, "bob")
        for to, kind in ((room, "groupchat"), (f"{room}/bob", "chat")):
            alice.send(to, text(), kind)
            answer = await alice.next()
            assert "policy-violation" in streams.text_of(answer)
            assert "room" in streams.text_of(answer)
        alice.send(room, cipher("for all"), "groupchat")
        await bob.next_with("for all")

    policed.run(scenario, ALICE, BOB)


@pytest.mark.parametrize("name", ENCRYPTED)
def test_an_encrypted_message_passes(policed: Policed, name: str) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, f"<body>stand-in</body>{ENCRYPTED[name]}")
        await bob.next_with("stand-in")

    policed.run(scenario, ALICE, BOB)


def test_who_is_exempt_and_what_has_no_text_passes(policed: Policed) -> None:
    async def scenario(alice: User, carol: User) -> None:
        carol.send(ALICE, "<body>from carol</body>")
        await alice.next_with("from carol")
        alice.send(CAROL, WITHOUT_TEXT["receipt"])
        assert body_of(await carol.next()) is None

    policed.run(scenario, ALICE, CAROL)


def test_the_policy_gives_way_to_the_variable_of_another_image(
    client: docker.DockerClient, hardened: LoadedImage, tmp_path: Path
) -> None:
    """SaraSmiseth's name, though the image has a default under its own."""

    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, "<body>in clear</body>")
        await bob.next_with("in clear")

    accounts = "\n".join(f"{user}:a password" for user in (ALICE, BOB))
    server = Server(
        client, hardened, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts, "E2E_POLICY_CHAT": "none"}
    )
    try:
        server.start()
        Policed(server, server.certificate(tmp_path)).run(scenario, ALICE, BOB)
    finally:
        server.remove()


# ---- Addresses


def addresses_in(content: str) -> set[str]:
    """Everything in a text that is an IPv4 or IPv6 address of somebody, however it is written."""
    found = set()
    for candidate in re.findall(r"[0-9A-Fa-f:.]{3,}", content):
        for trimmed in (candidate, candidate.strip(".:"), candidate.rstrip(".:"), candidate.rpartition(":")[0]):
            try:
                address = ipaddress.ip_address(trimmed)
            except ValueError:
                continue
            if not address.is_unspecified:  # the one of listeners
                found.add(str(address))
    return found


@contextmanager
def with_both_families(
    client: docker.DockerClient, image: LoadedImage, **environment: str
) -> Iterator[tuple[Server, set[str]]]:
    """A server reached by IPv4 and IPv6, and the addresses from which connections come to it."""
    limits = {"PROSODY_C2S_MAX_CONNECTIONS_PER_IP": "10", "PROSODY_LOG_LEVELS": "", "PROSODY_LOGLEVEL": "debug"}
    with networks.network(client, ipv6=True) as network:
        options = published(*LOOPBACKS) | {"network": network.name}
        with servers.serving(client, image, options, **limits | environment) as server:
            network.wait_for_gateway()
            yield server, {network.address(1), network.address6(1)}  # published ports come from the gateway


def make_noise(server: Server, certificate: Path) -> None:
    """All that a server logs with addresses: by both families, what succeeds and what fails."""
    for address in LOOPBACKS:
        with encrypted(server, certificate, address) as stream:
            log_in(stream)
            for remote in (f"juliet@{REMOTE}", f"juliet@[{REMOTE_6}]"):
                stream.send(f"<message to='{remote}'><body>hello</body>{ENCRYPTED['OMEMO']}</message>")
            ask(stream, DOMAIN, "<ping xmlns='urn:xmpp:ping'/>")
        with encrypted(server, certificate, address) as stream, pytest.raises(ProtocolError, match="not-authorized"):
            log_in(stream, password="wrong")
        with encrypted(server, certificate, address) as stream:
            assert register(stream).get("type") == "error"
        for domain in ("other.example", REMOTE):
            with Stream(server.port(5269, address), DOMAIN, streams.SERVER, domain, address=address) as stream:
                stream.open()
                stream.start_tls(streams.trusting(certificate))
                stream.send_header()
                assert stream.read() is not None
        for port in PORTS:
            with socket.create_connection((address, server.port(port, address)), timeout=_PATIENCE) as connection:
                connection.sendall(b"neither XML nor TLS \xff\r\n\r\n")
                while _is_open(connection):
                    pass
        for path in ("/", "/nothing", "/health"):
            fetch(server, certificate, path, address=address)
        crowd = [socket.create_connection((address, server.port(5222, address))) for _ in range(15)]
        for connection in crowd:
            connection.sendall(b"<?xml version='1.0'?>")
        for connection in crowd:
            connection.close()
    server.shell("c2s:show()")


def _is_open(connection: socket.socket) -> bool:
    try:
        return connection.recv(4096) != b""
    except ConnectionError:
        return False


def register(stream: Stream) -> ET.Element:
    """The answer to an attempt to make an account (XEP-0077)."""
    payload = "<query xmlns='jabber:iq:register'><username>mallory</username><password>secret</password></query>"
    stream.send(f"<iq type='set' id='register' to='{DOMAIN}'>{payload}</iq>")
    return stream.expect(f"{{{streams.CLIENT}}}iq")


def files_of(server: Server) -> str:
    """Everything in the data, with the names of files."""
    chunks, _ = server.running.get_archive("/var/lib/prosody")
    parts = []
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if not member.name.endswith((".crt", ".key")):
                parts.append(f"{member.name}\n{file.read().decode(errors='replace') if file else ''}")
    return "\n".join(parts)


def test_no_address_is_in_the_log_or_the_data(
    client: docker.DockerClient, hardened: LoadedImage, tmp_path: Path
) -> None:
    with with_both_families(client, hardened) as (server, sources):
        make_noise(server, server.certificate(tmp_path))
        log, data = server.log(), files_of(server)
    assert log.count("[address]") > 100, "nothing was hidden, so this proves nothing"
    assert addresses_in(log) == set()
    # Whom somebody writes to is in the archive, whatever it is called.
    assert addresses_in(data) & (sources | {FORWARDED}) == set()
    assert addresses_in(data) <= {REMOTE, REMOTE_6}
    assert "13.0.6" in log, "a version was taken for an address"


def test_the_addresses_would_be_in_the_log(client: docker.DockerClient, hardened: LoadedImage, tmp_path: Path) -> None:
    """The control: the same noise, with the filter off."""
    with with_both_families(client, hardened, PROSODY_LOG_ADDRESSES="true") as (server, sources):
        make_noise(server, server.certificate(tmp_path))
        found = addresses_in(server.log())
    assert sources | {REMOTE, REMOTE_6} <= found, found


# ---- What is kept


def test_a_message_is_archived_for_three_days(client: docker.DockerClient, hardened: LoadedImage) -> None:
    """Two are put into the archive with their times, and the server removes one when it tidies up."""
    day = 24 * 3600
    # It tidies up soon after it has started, unless that is put off.
    with servers.serving(client, hardened, PROSODY_OPTION_CRON_INITIAL_DELAY="3600") as server:
        for age, name in ((4 * day, "old"), (2 * day, "new")):
            server.shell(
                f"> local manager, st = require 'prosody.core.storagemanager', require 'prosody.util.stanza';"
                f" local at, archive = os.time() - {age}, manager.open('{DOMAIN}', 'archive', 'archive');"
                f" archive:append('alice', '{name}', st.message({{ to = '{BOB}' }}, '{name}'), at, '{BOB}');"
                f" manager.open('{DOMAIN}', 'archive_cleanup', 'map')"
                f":set(os.date('!%Y-%m-%d', at), 'alice', true); return true"
            )
        assert kept(server) == ["old", "new"]
        server.environment = {**server.environment, "PROSODY_OPTION_CRON_INITIAL_DELAY": "1"}
        server.restart()
        server.wait_for(lambda: "Deleted 1 expired messages" in server.log(), "an expired message is deleted")
        assert kept(server) == ["new"]
        assert server.shell(option(UPLOADS, "http_file_share_expires_after")) == f"Result: {3 * day}"
        assert server.shell(option(ROOMS, "muc_log_expires_after")) == f"Result: {3 * day}"


def test_who_is_told_of_new_accounts_is_not_told_addresses(server: Server) -> None:
    template = server.shell(option(DOMAIN, "registration_notification"))
    assert "$username" in template
    assert "$ip" not in template


def kept(server: Server) -> list[str]:
    """Identifiers of what is in Alice's archive."""
    answer = server.shell(
        f"> local keys = {{}}; for key in require 'prosody.core.storagemanager'.open('{DOMAIN}', 'archive', 'archive')"
        ":find('alice', {}) do table.insert(keys, key) end; return table.concat(keys, ' ')"
    )
    return answer.removeprefix("Result: ").split()


def option(host: str, name: str) -> str:
    """Command of the shell that asks for an option."""
    return f"> require 'prosody.core.configmanager'.get('{host}', '{name}')"


def test_new_files_are_for_the_server_alone(server: Server) -> None:
    chunks, _ = server.running.get_archive("/var/lib/prosody")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        modes = {member.name: member.mode & 0o077 for member in archive if member.name != "prosody"}
    readable = {name for name, mode in modes.items() if mode and not name.endswith((".crt", "certificates"))}
    assert modes
    assert readable == set()


# ---- Accounts


def test_nobody_can_register(server: Server, certificate: Path) -> None:
    with encrypted(server, certificate) as stream:
        answer = register(stream)
    assert answer.get("type") == "error", streams.text_of(answer)
    with encrypted(server, certificate) as stream, pytest.raises(ProtocolError, match="not-authorized"):
        log_in(stream, f"mallory@{DOMAIN}", "secret")


def test_the_log_holds_no_way_in(client: docker.DockerClient, hardened: LoadedImage) -> None:
    server = Server(client, hardened, {"PROSODY_DOMAIN": DOMAIN})
    try:
        server.start()
        server.wait_for(lambda: "Running periodic tasks" in server.log(), "the server has settled")
        assert "preauth" not in server.log()
    finally:
        server.remove()


# ---- What the server tells of itself

QUERIES: Mapping[str, str] = {
    "version (XEP-0092)": "<query xmlns='jabber:iq:version'/>",
    "time (XEP-0202)": "<time xmlns='urn:xmpp:time'/>",
    "old time (XEP-0090)": "<query xmlns='jabber:iq:time'/>",
    "uptime and last activity (XEP-0012)": "<query xmlns='jabber:iq:last'/>",
}


@pytest.mark.parametrize("query", QUERIES)
@pytest.mark.parametrize("to", [DOMAIN, ROOMS, UPLOADS, ALICE])
def test_a_question_about_the_server_has_no_answer(server: Server, certificate: Path, query: str, to: str) -> None:
    with logged_in(server, certificate) as stream:
        answer = ask(stream, to, QUERIES[query])
    assert answer.get("type") == "error", streams.text_of(answer)
    assert "prosody" not in streams.text_of(answer).lower()


def test_nothing_that_is_said_names_the_software(server: Server, certificate: Path) -> None:
    """Features on every kind of stream, service discovery, and pages: all that a stranger or a user can ask for."""
    said: list[str] = []
    for namespace, port in ((streams.CLIENT, 5222), (streams.SERVER, 5269)):
        for domain in (DOMAIN, ROOMS, "unknown.example"):
            if namespace == streams.CLIENT and domain != DOMAIN:
                continue
            said += _features(server, certificate, port, domain, namespace)
    with encrypted(server, certificate) as stream:
        said.append(streams.text_of(log_in(stream)))
        for to in (DOMAIN, ROOMS, UPLOADS, ALICE):
            for kind in ("info", "items"):
                said.append(
                    streams.text_of(ask(stream, to, f"<query xmlns='http://jabber.org/protocol/disco#{kind}'/>"))
                )
        for namespace in ("vcard-temp", "jabber:iq:register", "http://jabber.org/protocol/stats"):
            said.append(streams.text_of(ask(stream, DOMAIN, f"<query xmlns='{namespace}'/>")))
    for host, paths in (
        (DOMAIN, ("/", "/nothing", "/health", "/ready")),
        (UPLOADS, ("/", "/file_share", "/file_share/x")),
    ):
        for path in paths:
            answer = fetch(server, certificate, path, host)
            said.append(f"{answer.headers}\n{answer.text}")
    assert len(said) > 15
    assert [text_ for text_ in said if "prosody" in text_.lower() or "13.0" in text_] == []


def _features(server: Server, certificate: Path, port: int, domain: str, namespace: str) -> Sequence[str]:
    """What is said at the beginning of a stream, before and after encryption; errors as well."""
    sender = "other.example" if namespace == streams.SERVER else None
    said = []
    with Stream(server.port(port), domain, namespace, sender) as stream:
        stream.send_header()
        said.append(streams.text_of(stream.read()))
        if "starttls" in said[0] and domain == DOMAIN:
            stream.start_tls(streams.trusting(certificate))
            stream.send_header()
            said.append(streams.text_of(stream.read()))
    return said


def test_the_capabilities_that_are_announced_can_be_asked_for(server: Server, certificate: Path) -> None:
    """Under the node that takes the place of the software's (XEP-0115, 6.2), with the same information."""
    with encrypted(server, certificate) as stream:
        announced = log_in(stream).find("{http://jabber.org/protocol/caps}c")
        assert announced is not None
        node = f"{announced.get('node')}#{announced.get('ver')}"
        named, plain, other = (
            ask(stream, DOMAIN, f"<query xmlns='http://jabber.org/protocol/disco#info'{attribute}/>")
            for attribute in (f" node='{node}'", "", " node='xmpp:other#hash'")
        )
    assert named[0].attrib.pop("node") == node
    # Attributes come in any order.
    assert ET.canonicalize(streams.text_of(named[0])) == ET.canonicalize(streams.text_of(plain[0]))
    assert other.get("type") == "error"


def test_the_software_is_named_where_that_is_wanted(
    client: docker.DockerClient, hardened: LoadedImage, tmp_path: Path
) -> None:
    """The control: with the variable off, the same questions are answered."""
    with servers.serving(client, hardened, published(), PROSODY_DISCREET="false") as server:
        certificate = server.certificate(tmp_path)
        with encrypted(server, certificate) as stream:
            assert "prosody.im" in streams.text_of(log_in(stream))
            assert "Prosody" in streams.text_of(ask(stream, DOMAIN, QUERIES["version (XEP-0092)"]))
        assert "Prosody is running" in fetch(server, certificate, "/", UPLOADS).text


def test_no_statistics_are_kept(server: Server) -> None:
    assert server.shell("> tostring(require 'prosody.core.statsmanager'.collect)") == "Result: nil"
