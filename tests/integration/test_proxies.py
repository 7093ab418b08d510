"""Behind nginx, which is configured as `deploy/` has it for users: HTTP on one port, and XMPP with the PROXY protocol.

nginx reaches the server by IPv6 here, and clients reach both by IPv4 and IPv6.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from xml.etree import ElementTree as ET

import docker
import pytest
import slixmpp

from tests.integration import servers, streams, web
from tests.integration.authority import Authority
from tests.integration.clients import connected
from tests.integration.conftest import Images
from tests.integration.containers import PATIENCE, LoadedImage
from tests.integration.networks import Network, network
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import Stream, WebSocket
from tests.integration.uploads import UPLOADS, ask_for_slot
from tests.integration.web import Bosh
from tests.peers import Peer, nginx

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
_USERNAME = slixmpp.JID(ALICE).local
_PROSODY, _NGINX = 2, 3  # members of the network
_LOOPBACKS = ("127.0.0.1", "::1")
_SAME = f"files.{DOMAIN}"  # an upload service whose files have addresses of the domain itself
_CLAIMED = "203.0.113.7"  # an address that nobody here has
_RELATIONS = {
    "urn:xmpp:alt-connections:xbosh": f"https://{DOMAIN}/http-bind",
    "urn:xmpp:alt-connections:websocket": f"wss://{DOMAIN}/xmpp-websocket",
}


@dataclass(frozen=True)
class Site:
    """A server behind nginx; `root` verifies nginx's certificate, `own` the server's."""

    server: Server
    proxy: Peer
    network: Network
    root: Path
    own: Path

    @property
    def https(self) -> int:
        """The port of nginx that is published here."""
        return self.proxy.port(nginx.HTTPS)

    @property
    def visitor(self) -> str:
        """The address from which clients on this machine come to containers."""
        return str(self.network.ipv4[1])

    def addresses(self) -> set[str]:
        """From where Alice's clients come, if one believes the server."""
        answer = self.server.shell(
            f"> local found, user = {{}}, prosody.hosts['{DOMAIN}'].sessions['{_USERNAME}'];"
            " for _, session in pairs(user.sessions) do table.insert(found, session.ip) end;"
            " return table.concat(found, ' ')"
        )
        return set(answer.removeprefix("Result: ").split())


@pytest.fixture(scope="module")
def site(
    client: docker.DockerClient, images: Images, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("proxies")
    authority = Authority()
    root = folder / "root.pem"
    root.write_bytes(authority.root)
    pair = authority.issue([DOMAIN, UPLOADS], valid_for=timedelta(days=1))
    with network(client, ipv6=True) as made:
        proxy_address = made.address6(_NGINX)
        environment = {
            "PROSODY_HTTP_EXTERNAL_URL": f"https://{DOMAIN}/",
            "PROSODY_COMPONENTS": f"{UPLOADS}:http_file_share, {_SAME}:http_file_share",
            "PROSODY_UPLOAD_EXTERNAL_URL__UPLOAD_CHAT_EXAMPLE": f"https://{UPLOADS}/",
            "PROSODY_HTTP_HOST__FILES_CHAT_EXAMPLE": DOMAIN,
            "PROSODY_TRUSTED_PROXIES": proxy_address,
            "PROSODY_PROXY_PORTS": "15222:c2s, 15269:s2s",
            "PROSODY_PROXY_TRUSTED": proxy_address,
        }
        published = {f"{port}/tcp": [(address, None) for address in _LOOPBACKS] for port in (5222, 5280, 5281, 15222)}
        options = made.member(_PROSODY) | {"ports": published}
        with (
            servers.serving(client, image, options, **environment) as server,
            nginx.serving(client, images.peer("nginx"), made, _NGINX, pair, made.address6(_PROSODY)) as proxy,
        ):
            yield Site(server, proxy, made, root, server.certificate(folder))


# ---- HTTP


@pytest.mark.parametrize("name", ["host-meta", "host-meta.json"])
def test_web_clients_find_the_port_of_nginx(site: Site, name: str) -> None:
    """XEP-0156; pages of other origins have to be able to read it."""
    answer = web.answer(site.https, site.root, "GET", f"https://{DOMAIN}/.well-known/{name}")
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    if name.endswith(".json"):
        assert answer.headers["Content-Type"] == "application/json"
        found = {link["rel"]: link["href"] for link in answer.json()["links"]}
    else:
        assert answer.headers["Content-Type"] == "application/xrd+xml"
        links = ET.fromstring(answer.content).iter("{http://docs.oasis-open.org/ns/xri/xrd-1.0}Link")  # noqa: S314
        found = {link.get("rel", ""): link.get("href", "") for link in links}
    assert found == _RELATIONS


def test_a_client_logs_in_over_bosh(site: Site) -> None:
    session = Bosh(site.https, DOMAIN, site.root)
    assert session.authenticate("PLAIN", web.plain(_USERNAME, ALICE_PASSWORD))
    assert ALICE in streams.text_of(session.bind())
    assert site.addresses() == {site.visitor}
    session.exchange("type='terminate'")


def test_a_client_logs_in_over_websocket(site: Site) -> None:
    with open_websocket(site) as connection:
        log_in(connection)
        assert site.addresses() == {site.visitor}


def open_websocket(site: Site) -> WebSocket:
    return WebSocket(site.https, DOMAIN, "/xmpp-websocket", streams.trusting(site.root))


def log_in(connection: WebSocket) -> None:
    def open_stream() -> None:
        connection.send(f"<open xmlns='{streams.FRAMING}' to='{DOMAIN}' version='1.0'/>")
        assert connection.receive().tag == f"{{{streams.FRAMING}}}open"
        assert connection.receive().tag == f"{{{streams.STREAMS}}}features"

    open_stream()
    connection.send(web.sasl("PLAIN", web.plain(_USERNAME, ALICE_PASSWORD)))
    assert connection.receive().tag == f"{{{streams.SASL}}}success"
    open_stream()
    connection.send(f"<iq xmlns='{streams.CLIENT}' type='set' id='bind'><bind xmlns='{streams.BIND}'/></iq>")
    assert ALICE in streams.text_of(connection.receive())


def test_a_client_cannot_say_where_it_is(site: Site) -> None:
    """Neither through nginx nor beside it: an address is believed only if the proxy has written it."""
    claims = {"X-Forwarded-For": _CLAIMED, "Forwarded": f"for={_CLAIMED};proto=https"}
    for port, certificate in ((site.https, site.root), (site.server.port(5281), site.own)):
        session = Bosh(port, DOMAIN, certificate, headers=claims)
        assert session.authenticate("PLAIN", web.plain(_USERNAME, ALICE_PASSWORD))
        session.bind()
        assert site.addresses() == {site.visitor}
        session.exchange("type='terminate'")


def test_a_client_cannot_say_that_it_is_encrypted(site: Site) -> None:
    """On the plain port, which only the proxy should reach, no mechanism is offered to anybody else."""
    request = (
        f"<body xmlns='{web.BINDING}' rid='1' to='{DOMAIN}' wait='1' hold='1' ver='1.11' xmlns:xmpp='urn:xmpp:xbosh'"
        " xmpp:version='1.0'/>"
    )
    with socket.create_connection(("127.0.0.1", site.server.port(5280)), timeout=PATIENCE) as connection:
        connection.sendall(
            f"POST /http-bind HTTP/1.1\r\nHost: {DOMAIN}\r\nX-Forwarded-Proto: https\r\nX-Forwarded-For: {_CLAIMED}\r\n"
            f"Connection: close\r\nContent-Length: {len(request)}\r\n\r\n{request}".encode()
        )
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"200 OK" in answer
    assert b"<mechanism>" not in answer


def test_what_is_for_administrators_is_not_on_the_public_port(site: Site) -> None:
    answer = web.answer(site.https, site.root, "GET", f"https://{DOMAIN}/metrics")
    assert answer.status_code == 403


def test_a_file_goes_through_nginx(site: Site) -> None:
    """It is larger than what nginx takes without being told, and not slowed down by the limit of a client over BOSH."""
    Bosh(site.https, DOMAIN, site.root).exchange("type='terminate'")
    content = secrets.token_bytes(3 << 20)

    async def scenario() -> None:
        async with connected(site.server.port(), ALICE, ALICE_PASSWORD, site.own) as alice:
            slot = await ask_for_slot(alice, "Fußgänger.bin", len(content), "image/png")
        assert slot.put.startswith(f"https://{UPLOADS}/file_share/")
        upload = web.answer(site.https, site.root, "PUT", slot.put, content, slot.headers)
        assert upload.status_code == 201
        download = web.answer(site.https, site.root, "GET", slot.get)
        assert download.content == content
        assert download.headers["X-Content-Type-Options"] == "nosniff"
        rest = web.answer(site.https, site.root, "GET", slot.get, headers={"Range": "bytes=1000000-"})
        assert (rest.status_code, rest.content) == (206, content[1_000_000:])

    asyncio.run(scenario())


def test_uploads_need_no_name_of_their_own(site: Site) -> None:
    async def scenario() -> None:
        async with connected(site.server.port(), ALICE, ALICE_PASSWORD, site.own) as alice:
            slot = await ask_for_slot(alice, "note.txt", 4, "text/plain", service=_SAME)
        assert slot.put.startswith(f"https://{DOMAIN}/file_share/")
        assert web.answer(site.https, site.root, "PUT", slot.put, b"note", slot.headers).status_code == 201
        assert web.answer(site.https, site.root, "GET", slot.get).content == b"note"

    asyncio.run(scenario())


def test_http_leads_to_https(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.proxy.port(nginx.HTTP)), timeout=PATIENCE) as connection:
        connection.sendall(f"GET /a?b HTTP/1.1\r\nHost: {DOMAIN}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert "308" in answer.splitlines()[0]
    assert f"Location: https://{DOMAIN}/a?b" in answer


# ---- The PROXY protocol


def test_the_server_knows_who_comes_through_a_stream(site: Site) -> None:
    async def scenario() -> None:
        async with connected(site.proxy.port(nginx.CLIENTS), ALICE, ALICE_PASSWORD, site.own):
            assert await asyncio.to_thread(site.addresses) == {site.visitor}

    asyncio.run(scenario())


def test_servers_come_through_a_stream(site: Site) -> None:
    with Stream(site.proxy.port(nginx.SERVERS), DOMAIN, streams.SERVER, "other.example") as stream:
        assert stream.open().find(f"{{{streams.TLS}}}starttls") is not None


def test_nobody_else_uses_the_ports_for_proxies(site: Site) -> None:
    """Else everybody could claim any address (PROXY protocol, 2)."""
    with socket.create_connection(("127.0.0.1", site.server.port(15222)), timeout=PATIENCE) as connection:
        header = f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' xmlns:stream='{streams.STREAMS}'>"
        connection.sendall(f"PROXY TCP4 {_CLAIMED} 192.0.2.1 1 5222\r\n{header}".encode())
        assert connection.recv(4096) == b""


# ---- IPv6


@pytest.mark.parametrize("address", _LOOPBACKS)
def test_clients_connect_over_both_families(site: Site, address: str) -> None:
    async def scenario() -> None:
        async with connected(
            site.server.port(address=address), ALICE, ALICE_PASSWORD, site.own, address=address
        ) as alice:
            alice.say(ALICE, "to myself")
            assert await alice.next_message() == "to myself"
            (found,) = await asyncio.to_thread(site.addresses)
            assert (":" in found) == (":" in address)

    asyncio.run(scenario())
