"""Federation with ejabberd and with Prosody 0.12: what users of two servers do together, and how servers meet.

All find each other through a real name server. One Prosody 0.12 has a host for each way in which a certificate can be
wrong, so that nothing but the certificate differs.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import docker
import pytest
import slixmpp

from tests.integration import networks, web, zones
from tests.integration.authority import Authority, Pair
from tests.integration.clients import Client, Watch, connected
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import CLIENT
from tests.integration.uploads import ask_for_slot
from tests.peers import dns, ejabberd, prosody_0_12
from tests.peers.ejabberd import Ejabberd
from tests.peers.prosody_0_12 import OldProsody

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
EJABBERD, OLD = "ejabberd.example", "old.example"
PASSWORD = "there's a password"
STANZAS = "urn:ietf:params:xml:ns:xmpp-stanzas"
# Hosts of ours and of the old server which are found by nothing but direct TLS (XEP-0368), or by IPv6.
DIRECT, SIX = "direct.example", "six.example"
OLD_DIRECT, OLD_SIX = "direct.old.example", "six.old.example"
# Why the certificate of a host of the old server is refused, as the log says it.
REFUSED = {
    "expired.example": "its certificate has expired",
    "misnamed.example": "its certificate is not valid for this name",
    "unknown.example": "its certificate is not trusted",
}
# What dialback is for: nobody known has signed the certificate, and the DNS says who it is, or that it is another.
DIALBACK, IMPOSTOR = "dialback.example", "impostor.example"
# Known to nobody but the name server, which has their keys (DANE, RFC 7673): one of ours, one of the old server.
DANE, OLD_DANE = "dane.example", "confirmed.example"
_NAMES, _OURS, _EJABBERD, _OLD, _DANE = 10, 11, 12, 13, 14  # numbers on the network
_EJABBERD_PORT = 5299
_PATIENCE = 20.0  # seconds


@dataclass(frozen=True)
class Side:
    """One of the servers, as its users know it: addresses, and ports of 127.0.0.1."""

    user: str
    password: str
    port: int
    rooms: str
    uploads: str
    upload_port: int

    @property
    def domain(self) -> str:
        """The domain of its users."""
        return str(slixmpp.JID(self.user).domain)


@dataclass(frozen=True)
class Federation:
    """Two servers of the image and the others; `root` is the authority that all of them, and the clients, trust."""

    ours: Server
    asking: Server  # asks the DNS to confirm certificates (DANE)
    ejabberd: Ejabberd
    old: OldProsody
    root: Path

    @property
    def here(self) -> Side:
        """The server that is tested."""
        port, uploads = self.ours.port(), self.ours.port(5281)
        return Side(ALICE, ALICE_PASSWORD, port, f"conference.{DOMAIN}", f"upload.{DOMAIN}", uploads)

    def there(self, domain: str) -> Side:
        """Another server."""
        found = self.ejabberd if domain == EJABBERD else self.old
        user = f"user@{domain}"
        return Side(user, PASSWORD, found.port(), found.rooms, found.uploads, found.upload_port())

    def user(self, side: Side) -> AbstractAsyncContextManager[Client]:
        """The user of a server, logged in."""
        return connected(side.port, side.user, side.password, self.root)

    def streams(self, other: str, host: str = DOMAIN) -> list[list[str]]:
        """What the shell shows of each connection of a host of ours with a domain, by column."""
        rows = [[column.strip() for column in line.split("|")] for line in self.ours.shell("s2s:show()").splitlines()]
        return [row for row in rows if len(row) > 3 and row[1] == host and row[3] == other]

    def ping(self, other: str) -> str:
        """What the shell prints of a ping to another domain (XEP-0199)."""
        return self.ours.execute("prosodyctl", "shell", f"xmpp:ping('{DOMAIN}', '{other}', 15)").text

    def ping_from(self, other: str, host: str = DOMAIN, patience: int = 15) -> str:
        """What the shell of the old server prints of a ping from a host of its to one of ours, within seconds."""
        return self.old.shell(f"xmpp:ping('{other}', '{host}', {patience})")

    def part(self, other: str) -> None:
        """Close the connections with a domain, so that the next stanza makes a new one."""
        self.ours.execute("prosodyctl", "shell", f"s2s:closeall('{other}')")
        self.ours.wait_for(lambda: not self.streams(other), f"connections with {other} are closed")


@pytest.fixture(scope="module")
def federation(
    client: docker.DockerClient, images: Images, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Federation]:
    trusted, other = Authority(), Authority()
    month = timedelta(days=30)
    ours = trusted.issue([DOMAIN, f"*.{DOMAIN}", DIRECT, SIX])
    old = trusted.issue([OLD, f"*.{OLD}"])
    pairs = dict.fromkeys((OLD, f"rooms.{OLD}", f"upload.{OLD}", OLD_DIRECT, OLD_SIX), old) | {
        "expired.example": trusted.issue(["expired.example"], valid_from=-2 * month, valid_for=month),
        "misnamed.example": trusted.issue(["somebody.example"]),
        "unknown.example": other.issue(["unknown.example"]),
        DIALBACK: other.issue([DIALBACK]),
        IMPOSTOR: other.issue([IMPOSTOR]),
        OLD_DANE: other.issue([OLD_DANE]),
    }
    confirmed = other.issue([DANE])
    folder = tmp_path_factory.mktemp("federation")
    with ExitStack() as stack:
        network = stack.enter_context(networks.network(client, ipv6=True))
        keys = {host: zones.tlsa(pair.certificate) for host, pair in ((DANE, confirmed), (OLD_DANE, pairs[OLD_DANE]))}
        zone = zones.signed(_records(network, pairs, keys))
        names = stack.enter_context(dns.serving(client, images.peer("dns"), network, _NAMES, zone.text))
        root = folder / "root.pem"
        for name, content in {
            "root.pem": trusted.root,
            "resolv.conf": names.resolver.encode(),
            "anchor": zone.anchor.encode(),
            "ours.pem": ours.full + ours.key,
            "confirmed.pem": confirmed.full + confirmed.key,
        }.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o644)
        common = {"root.pem": "/etc/ssl/certs/ca-certificates.crt", "resolv.conf": "/etc/resolv.conf"}
        server = Server(
            client, image,
            {
                "PROSODY_DOMAIN": DOMAIN,
                "PROSODY_VIRTUAL_HOSTS": f"{DOMAIN}, {DIRECT}, {SIX}",
                "PROSODY_ACCOUNTS": f"{ALICE}:{ALICE_PASSWORD}",
                "PROSODY_S2S_INSECURE_DOMAINS": f"{DIALBACK}, {IMPOSTOR}",
            },
            network.member(_OURS) | {"ports": {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}},
            _mounts(folder, common | {"ours.pem": "/etc/prosody/certs/ours.pem"}),
        )  # fmt: skip
        asking = Server(
            client, image,
            {
                "PROSODY_DOMAIN": DANE, "PROSODY_MUC_DOMAIN": "none", "PROSODY_UPLOAD_DOMAIN": "none",
                "PROSODY_USE_DANE": "true", "PROSODY_DNSSEC_TRUST_ANCHORS": "/anchor",
            },
            network.member(_DANE) | {"ports": {"5222/tcp": ("127.0.0.1", None)}},
            _mounts(folder, common | {"confirmed.pem": "/etc/prosody/certs/confirmed.pem", "anchor": "/anchor"}),
        )  # fmt: skip
        for started in (server, asking):
            stack.callback(started.remove)
            started.start()
        first = stack.enter_context(
            ejabberd.serving(
                client, images.peer("ejabberd"), network, _EJABBERD, EJABBERD, port=_EJABBERD_PORT,
                pair=trusted.issue(ejabberd.names(EJABBERD)), authority=trusted.root, accounts={"user": PASSWORD},
                resolver=names.resolver,
            )
        )  # fmt: skip
        files: dict[str, str | bytes] = {"/root.pem": trusted.root, "/etc/resolv.conf": names.resolver}
        for host, pair in pairs.items():
            files |= {f"/certs/{host}.crt": pair.full, f"/certs/{host}.key": pair.key}
        second = stack.enter_context(
            prosody_0_12.serving(
                client, images.peer("prosody-0-12"), network, _OLD, OLD,
                configuration=_old_configuration(pairs), accounts={f"user@{OLD}": PASSWORD},
                files=files,
            )
        )  # fmt: skip
        yield Federation(server, asking, first, second, root)


def _mounts(folder: Path, places: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Files of a folder in a container, by name."""
    return {str(folder / name): {"bind": place, "mode": "ro"} for name, place in places.items()}


def _old_configuration(hosts: Mapping[str, Pair]) -> str:
    users = [host for host in hosts if host not in (f"rooms.{OLD}", f"upload.{OLD}")]
    return f"""
        modules_enabled = {{
            "roster", "saslauth", "tls", "dialback", "disco", "ping", "smacks", "s2s_bidi", "admin_shell",
        }}
        authentication = "internal_hashed"
        certificates = "/certs"
        ssl = {{ cafile = "/root.pem" }}
        s2s_secure_auth = true
        s2s_insecure_domains = {{ "{DANE}" }}
        s2s_direct_tls_ports = {{ 5270 }}
        interfaces = {{ "*", "::" }}
        log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
        {"".join(f'VirtualHost "{host}"' for host in users)}
        Component "rooms.{OLD}" "muc"
        Component "upload.{OLD}" "http_file_share"
    """


def _records(network: Network, pairs: Mapping[str, Pair], keys: Mapping[str, str]) -> zones.Records:
    """Where each domain is (RFC 6120, 3.2.1; XEP-0368), and the `keys` of some (RFC 7673).

    Rooms and files are at the default port of their own name.
    """
    ours, theirs, old, asking = (network.address(number) for number in (_OURS, _EJABBERD, _OLD, _DANE))
    records: dict[str, dict[str, list[str]]] = {
        f"{DOMAIN}.": {"A": [ours]},
        f"conference.{DOMAIN}.": {"A": [ours]},
        f"_xmpps-server._tcp.{DIRECT}.": {"SRV": [f"0 0 5270 {DOMAIN}."]},
        f"{SIX}.": {"AAAA": [network.address6(_OURS)]},
        # Nothing listens where it is to be tried first, and the port is its own.
        f"_xmpp-server._tcp.{EJABBERD}.": {
            "SRV": [f"10 0 {_EJABBERD_PORT - 1} alive.{EJABBERD}.", f"20 0 {_EJABBERD_PORT} alive.{EJABBERD}."]
        },
        f"_xmpp-server._tcp.rooms.{EJABBERD}.": {"SRV": [f"0 0 {_EJABBERD_PORT} alive.{EJABBERD}."]},
        f"alive.{EJABBERD}.": {"A": [theirs]},
        f"_xmpps-server._tcp.{OLD_DIRECT}.": {"SRV": [f"0 0 5270 {OLD}."]},
        f"{OLD_SIX}.": {"AAAA": [network.address6(_OLD)]},
        # This server does not know the name either.
        f"_xmpp-server._tcp.{IMPOSTOR}.": {"SRV": [f"0 0 {_EJABBERD_PORT} alive.{EJABBERD}."]},
    }
    for host in pairs:
        if host not in (OLD_DIRECT, OLD_SIX, IMPOSTOR):
            records[f"{host}."] = {"A": [old]}
    records[f"{DANE}."] = {"A": [asking]}
    for host, key in keys.items():
        records[f"_xmpp-server._tcp.{host}."] = {"SRV": [f"0 0 5269 {host}."]}
        records[f"_5269._tcp.{host}."] = {"TLSA": [key]}
    return records


@pytest.fixture(params=[EJABBERD, OLD])
def there(request: pytest.FixtureRequest, federation: Federation) -> Side:
    """Each of the other servers, with which there is no connection."""
    found = federation.there(request.param)
    federation.part(found.domain)
    return found


@pytest.mark.parametrize("direction", ["out", "in"])
def test_users_talk_whoever_begins(federation: Federation, there: Side, direction: str) -> None:
    """Certificates alone prove who is who. With the old server, one connection carries both directions (XEP-0288)."""

    async def scenario() -> None:
        async with federation.user(federation.here) as alice, federation.user(there) as other:
            one, two = (alice, other) if direction == "out" else (other, alice)
            for sender, receiver in ((one, two), (two, one)):
                text = f"from {sender.boundjid.bare} {uuid.uuid4()}"
                sender.say(receiver.boundjid.bare, text)
                assert await receiver.next_message() == text

    asyncio.run(scenario())
    found = federation.streams(there.domain)
    # ejabberd 24.12 has the XEP, but offers it after authentication and in another namespace.
    arrows = {"out": "-->", "in": "<--"} if there.domain == EJABBERD else {direction: "<->"}
    assert {row[0][:5]: row[1:] for row in found} == {
        f"s2s{way}"[:5]: [DOMAIN, arrow, there.domain, "IPv4", "TLSv1.3", "Succeeded", "Not used"]
        for way, arrow in arrows.items()
    }


def test_contacts_see_each_other_come_and_go(federation: Federation, there: Side) -> None:
    """Subscription in both directions; both clients approve requests and ask back by themselves."""

    async def scenario() -> None:
        async with federation.user(federation.here) as alice:
            watch = Watch(alice, "presence")
            async with federation.user(there) as other:
                seen = Watch(other, "presence")
                alice.send_presence_subscription(pto=slixmpp.JID(there.user))
                await watch.until(lambda stanza: _is_from(stanza, other.boundjid.full) and not stanza.get("type"))
                await seen.until(lambda stanza: _is_from(stanza, alice.boundjid.full) and not stanza.get("type"))
                alice.send_presence(pshow="away", pstatus="out for lunch")
                await seen.until(lambda stanza: stanza.findtext(f"{{{CLIENT}}}status") == "out for lunch")
            gone = await watch.until(lambda stanza: stanza.get("type") == "unavailable")
            assert slixmpp.JID(gone.get("from", "")).bare == there.user

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["here", "there"])
def test_rooms_are_open_to_users_of_the_other_server(federation: Federation, there: Side, host: str) -> None:
    """A room on either side; what is said in it reaches both."""
    owner, guest = (federation.here, there) if host == "here" else (there, federation.here)
    room = slixmpp.JID(f"{uuid.uuid4()}@{owner.rooms}")

    async def scenario() -> None:
        async with federation.user(owner) as first, federation.user(guest) as second:
            heard = {client: asyncio.Queue[Any]() for client in (first, second)}
            for client, nick in ((first, "owner"), (second, "guest")):
                client.register_plugin("xep_0045")
                client.add_event_handler("groupchat_message", heard[client].put_nowait)
                await client.plugin["xep_0045"].join_muc_wait(room, nick, maxstanzas=0, timeout=_PATIENCE)
                if client == first:
                    # The room stays as it is (XEP-0045, 10.1.2).
                    await client.ask(
                        "set",
                        "<query xmlns='http://jabber.org/protocol/muc#owner'>"
                        "<x xmlns='jabber:x:data' type='submit'/></query>",
                        str(room),
                    )
            for client in (first, second):
                text = str(uuid.uuid4())
                client.send_message(mto=room, mbody=text, mtype="groupchat")
                for queue in heard.values():
                    async with asyncio.timeout(_PATIENCE):
                        while (await queue.get())["body"] != text:
                            continue

    asyncio.run(scenario())


@pytest.mark.parametrize("host", ["here", "there"])
def test_a_link_to_a_file_is_followed_by_a_user_of_the_other_server(
    federation: Federation, there: Side, host: str
) -> None:
    """An upload (XEP-0363), its address in a message, and the download."""
    sender, receiver = (federation.here, there) if host == "here" else (there, federation.here)
    content = uuid.uuid4().bytes

    async def scenario() -> None:
        async with federation.user(sender) as first, federation.user(receiver) as second:
            slot = await ask_for_slot(first, "note.txt", len(content), service=sender.uploads)
            sent = await asyncio.to_thread(
                web.answer, sender.upload_port, federation.root, "PUT", slot.put, content, slot.headers
            )
            assert sent.status_code == 201
            first.say(receiver.user, slot.get)
            link = await second.next_message()
            found = await asyncio.to_thread(web.answer, sender.upload_port, federation.root, "GET", link)
            assert found.content == content

    asyncio.run(scenario())


@pytest.mark.parametrize(("other", "reason"), REFUSED.items())
def test_a_server_whose_certificate_is_wrong_is_refused_both_ways(
    federation: Federation, other: str, reason: str
) -> None:
    """The sender is told, and the log says why."""
    outgoing = federation.ping(other)
    assert "pong" not in outgoing
    assert reason.removeprefix("its") in outgoing
    incoming = federation.ping_from(other)
    assert "pong" not in incoming
    assert reason.removeprefix("its") in incoming

    def refusals() -> list[str]:
        words = f"Forbidding insecure connection to/from {other}"
        return [line for line in federation.ours.log().splitlines() if words in line]

    federation.ours.wait_for(lambda: len(refusals()) >= 2, "both are logged")
    lines = refusals()
    assert len(lines) == 2
    assert all(line.endswith(f"because {reason}") for line in lines)
    assert {line[:5] for line in lines} == {"s2sin", "s2sou"}


def test_dialback_is_for_the_servers_that_were_named(federation: Federation) -> None:
    """Its certificate is of nobody known, as that of another which is refused; the name server tells who it is."""
    assert "pong" in federation.ping(DIALBACK)
    federation.part(DIALBACK)
    assert "pong" in federation.ping_from(DIALBACK)
    authenticated = {row[0][:5]: row[6] for row in federation.streams(DIALBACK)}
    assert authenticated["s2sin"] == "", "its certificate was believed"
    assert federation.ours.says(f"Incoming s2s connection {DIALBACK}->{DOMAIN} complete")


def test_dialback_exposes_an_impostor(federation: Federation) -> None:
    """It has the same exception, but the name server leads to somebody else, who denies it."""
    assert "pong" not in federation.ping_from(IMPOSTOR, patience=1)
    denial = f"Outgoing s2s stream {DOMAIN}->{IMPOSTOR} closed: host-unknown"
    federation.ours.wait_for(lambda: denial in federation.ours.log(), "the impostor is exposed")
    assert f"Incoming s2s connection {IMPOSTOR}->{DOMAIN} complete" not in federation.ours.log()


def test_a_key_in_the_dns_takes_the_place_of_an_authority(federation: Federation) -> None:
    """DANE in both directions (RFC 7673); a certificate without such a record is refused, as all are by default.

    Prosody 0.12 does not ask the DNS about servers that connect to it, so it makes an exception for this one.
    """

    def ping(other: str) -> str:
        return federation.asking.execute("prosodyctl", "shell", f"xmpp:ping('{DANE}', '{other}', 15)").text

    assert "pong" in federation.ping_from(OLD_DANE, DANE)
    assert federation.asking.says(f"Incoming s2s connection {OLD_DANE}->{DANE} complete")
    federation.asking.execute("prosodyctl", "shell", f"s2s:closeall('{OLD_DANE}')")
    assert "pong" in ping(OLD_DANE)
    assert federation.asking.says(f"Outgoing s2s connection {DANE}->{OLD_DANE} complete")
    for other in ("unknown.example", DIALBACK):
        assert "certificate is not trusted" in ping(other)
    assert "certificate is not trusted" in federation.ping(OLD_DANE)


@pytest.mark.parametrize("initiator", ["ours", "old"])
def test_direct_tls_is_found(federation: Federation, initiator: str) -> None:
    """There is a record for direct TLS (XEP-0368), and no other way."""
    assert "pong" in (federation.ping(OLD_DIRECT) if initiator == "ours" else federation.ping_from(OLD, DIRECT))


@pytest.mark.parametrize("initiator", ["ours", "old"])
def test_ipv6_is_enough(federation: Federation, initiator: str) -> None:
    if initiator == "ours":
        assert "pong" in federation.ping(OLD_SIX)
        (stream,) = federation.streams(OLD_SIX)
    else:
        assert "pong" in federation.ping_from(OLD, SIX)
        (stream,) = federation.streams(OLD, SIX)
    assert stream[4] == "IPv6"


def test_what_a_server_did_not_acknowledge_is_given_back(federation: Federation) -> None:
    """Stream management between servers (XEP-0198): the message was sent, and its receiver's server has died."""
    there = federation.there(OLD)

    async def scenario() -> None:
        async with federation.user(federation.here) as alice, federation.user(there) as other:
            alice.say(there.user, "before")
            assert await other.next_message() == "before"
            federation.old.peer.running.kill(signal="SIGSTOP")
            errors = Watch(alice, "message")
            alice.say(there.user, "lost?")
            await alice.catch_up()
            federation.old.peer.stop()
            error = await errors.until(lambda stanza: stanza.get("type") == "error")
            assert error.get("from") == there.user
            assert error.find(f"{{{CLIENT}}}error/{{{STANZAS}}}recipient-unavailable") is not None

    try:
        asyncio.run(scenario())
    finally:
        federation.old.start()


def _is_from(stanza: ET.Element, address: str) -> bool:
    return stanza.get("from") == address
