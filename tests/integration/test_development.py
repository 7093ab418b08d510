"""What people who develop clients, gateways and components need: an open server that stays with them, and its parts."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import re
import socket
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import docker
import pytest
from cryptography import x509
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET

from scripts import paths, variants
from tests.integration import browsers, servers
from tests.integration.authority import Authority
from tests.integration.clients import RefusedError, ask, connected, log_in
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.gateways import CLIENT, COMPONENT, PRIVILEGE, Gateway, attached
from tests.integration.registration import Registration
from tests.integration.servers import Server
from tests.integration.web_client import WebClient

pytestmark = pytest.mark.variant("dev")

DOMAIN = "localhost"
TEST, OTHER, PASSWORD, SECRET = f"test@{DOMAIN}", f"other@{DOMAIN}", "password", "secret"
GATEWAY = f"gateway.{DOMAIN}"
DELEGATED = "urn:example:delegated"
ITEMS = "http://jabber.org/protocol/disco#items"
UPLOAD = "urn:xmpp:http:upload:0"
PUBSUB = "http://jabber.org/protocol/pubsub"
# What the variant dev sets; most tests give it to the image that every other variant is made from.
DEVELOPMENT = variants.load("dev").image.environment
SCREENSHOT = paths.DIST / "test-artifacts" / "web-client.png"
_COMPONENTS = ("conference", "pubsub", "upload")
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5280, 5281, 5347)}
_WEB_FILES = {
    "converse.min.js": b"export default {};\n",
    "converse.min.css": b"body {}\n",
    "chunkjs/locales/de.js": b"export {};\n",
    "omemo.wasm": b"\0asm",
    "images/logo.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "LICENSE": b"not for browsers",
}


@contextmanager
def developing(
    client: docker.DockerClient,
    image: LoadedImage,
    web_files: Path,
    mounts: Mapping[str, str] | None = None,
    **environment: str,
) -> Iterator[Server]:
    """A server as the variant dev has it, with all its ports published.

    `mounts` says which folders are in the container, and where; `environment` adds to its variables.
    """
    server = Server(client, image, {"PROSODY_DOMAIN": "localhost", **DEVELOPMENT, **environment}, {"ports": _PORTS})
    for source, place in ({str(web_files): "/usr/share/javascript/converse.js/dist"} | dict(mounts or {})).items():
        server.mounts[source] = {"bind": place, "mode": "ro"}
    try:
        server.start()
        server.wait_for(lambda: "Running periodic tasks" in server.log(), "accounts are made")
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def web_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like that of converse.js, small, with a secret beside it."""
    root = tmp_path_factory.mktemp("web")
    for name, content in _WEB_FILES.items():
        path = root / "dist" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for path in (root, *root.parents[:2], *root.rglob("*")):
        path.chmod(path.stat().st_mode | (0o055 if path.is_dir() else 0o044))
    return root / "dist"


@pytest.fixture(scope="module")
def workshop(client: docker.DockerClient, image: LoadedImage, web_files: Path) -> Iterator[Server]:
    """A server for development that the tests of this module share."""
    with developing(client, image, web_files) as started:
        yield started


@pytest.fixture
def anchor(workshop: Server, tmp_path: Path) -> Path:
    """The authority as a browser downloads it."""
    path = tmp_path / "certificate.pem"
    path.write_bytes(get(workshop, "/certificate.pem").body)
    return path


class Page:
    """What the server answered to a request over HTTP."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.body = response.status, response.read()
        self.headers = {name.lower(): value for name, value in response.getheaders()}


def get(server: Server, path: str, *, host: str = DOMAIN, **headers: str) -> Page:
    """A page of the server. The path is sent as it is: libraries would tidy it up."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port(5280), timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host} | {k.replace("_", "-"): v for k, v in headers.items()})
        return Page(connection.getresponse())
    finally:
        connection.close()


# ---- Who may start


def test_a_public_domain_is_refused(client: docker.DockerClient, image: LoadedImage) -> None:
    variables = {"PROSODY_DEVELOPMENT": "true", "PROSODY_DOMAIN": "chat.prosody.im"}
    outcome = servers.run(client, image, environment=variables, tmpfs={"/var/lib/prosody": "mode=1777"})
    assert outcome.status == 78, outcome.text
    for name in ("chat.prosody.im", "conference.chat.prosody.im", "upload.chat.prosody.im"):
        assert re.search(rf": {re.escape(name)} is a public name.*PROSODY_DEVELOPMENT_DOMAINS={name}", outcome.text)
    assert "Hello and welcome" not in outcome.text


@pytest.mark.parametrize(
    ("domain", "allowed"),
    [("localhost", ""), ("chat.test", ""), ("prosody", ""), ("nas.local", ""), ("chat.prosody.im", "prosody.im")],
)
def test_other_domains_are_not(client: docker.DockerClient, image: LoadedImage, domain: str, allowed: str) -> None:
    variables = {"PROSODY_DEVELOPMENT": "true", "PROSODY_DOMAIN": domain, "PROSODY_DEVELOPMENT_DOMAINS": allowed}
    outcome = servers.run(client, image, "check", environment=variables)
    assert outcome.status == 0, outcome.text
    assert "is a public name" not in outcome.text


def test_without_the_switch_a_public_domain_is_served(client: docker.DockerClient, image: LoadedImage) -> None:
    outcome = servers.run(client, image, "check", environment={"PROSODY_DOMAIN": "chat.prosody.im"})
    assert outcome.status == 0, outcome.text


# ---- Accounts and certificates


def test_known_accounts_log_in_over_tls_that_the_downloaded_authority_verifies(workshop: Server, anchor: Path) -> None:
    log_in(workshop.port(), TEST, PASSWORD, anchor)
    log_in(workshop.port(), f"admin@{DOMAIN}", PASSWORD, anchor)
    with pytest.raises(RefusedError):
        log_in(workshop.port(), TEST, "another password", anchor)


def test_anybody_can_register(workshop: Server, anchor: Path) -> None:
    with Registration(workshop, anchor, DOMAIN) as stranger:
        assert stranger.register("newcomer", "a password") is None
    log_in(workshop.port(), f"newcomer@{DOMAIN}", "a password", anchor)


def _shake_hands(workshop: Server, context: ssl.SSLContext) -> None:
    with (
        socket.create_connection(("127.0.0.1", workshop.port(5281)), timeout=20) as connection,
        context.wrap_socket(connection, server_hostname=DOMAIN),
    ):
        pass


def test_the_authority_verifies_what_nothing_else_does(workshop: Server, anchor: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(anchor))
    # As of Python 3.13 and other verifiers that go by the letter of RFC 5280.
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    _shake_hands(workshop, trusting)
    with pytest.raises(ssl.SSLCertVerificationError):
        _shake_hands(workshop, ssl.create_default_context())


def test_the_authority_is_for_the_served_names_only_and_cannot_sign_any_more(workshop: Server, anchor: Path) -> None:
    authority = x509.load_pem_x509_certificate(anchor.read_bytes())
    constraints = authority.extensions.get_extension_for_class(x509.NameConstraints)
    permitted = constraints.value.permitted_subtrees or []
    assert constraints.critical
    assert {name.value for name in permitted} == {DOMAIN} | {f"{part}.{DOMAIN}" for part in _COMPONENTS}
    basic = authority.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (basic.ca, basic.path_length) == (True, 0)
    # The only key that is kept is that of the server.
    outcome = workshop.execute(
        "/usr/bin/lua5.4", "-e", "for name in require('lfs').dir('/var/lib/prosody/certificates') do print(name) end"
    )
    assert sorted(outcome.output.split()) == [".", "..", f"{DOMAIN}.crt", f"{DOMAIN}.key"]
    served = x509.load_pem_x509_certificates(workshop.read(f"/var/lib/prosody/certificates/{DOMAIN}.crt"))
    assert served[0].issuer == authority.subject == served[1].subject
    assert served[0].public_key() != authority.public_key()


def test_the_authority_can_be_had_in_three_ways_and_its_key_in_none(workshop: Server, anchor: Path) -> None:
    page = get(workshop, "/certificate.pem")
    assert (page.status, page.headers["content-type"]) == (200, "application/x-x509-ca-cert")
    assert page.headers["x-content-type-options"] == "nosniff"
    outcome = workshop.execute("prosodyctl", "mod_container_authority")
    assert outcome.status == 0, outcome.text
    in_volume = workshop.read(f"/var/lib/prosody/certificates/{DOMAIN}.crt").decode()
    assert page.body.decode() == outcome.output
    assert in_volume.endswith(outcome.output)
    assert "PRIVATE" not in outcome.output


def test_with_a_certificate_of_ones_own_there_is_nothing_to_import(
    client: docker.DockerClient, image: LoadedImage, web_files: Path, tmp_path: Path
) -> None:
    pair = Authority().issue([DOMAIN, *(f"{part}.{DOMAIN}" for part in _COMPONENTS)])
    certificates = tmp_path / "certs"
    certificates.mkdir()
    pair.put(certificates, "own")
    with developing(client, image, web_files, mounts={str(certificates): "/etc/prosody/certs"}) as server:
        assert get(server, "/certificate.pem").status == 404


def test_the_authority_stays(client: docker.DockerClient, image: LoadedImage, web_files: Path) -> None:
    with developing(client, image, web_files) as server:
        before = get(server, "/certificate.pem").body
        server.restart()
        assert get(server, "/certificate.pem").body == before


# ---- Gateways


async def _advertised(gateway: Gateway) -> Any:
    """The rights that the server has told the component of."""
    await asyncio.wait_for(asyncio.shield(gateway.privileged), 20)
    return gateway.rights.granted_privileges[DOMAIN]


def _hosts(server: Server) -> str:
    return server.shell("host:list()")


def test_a_component_of_any_name_logs_in_and_is_found(workshop: Server, anchor: Path) -> None:
    async def scenario() -> None:
        for name in (GATEWAY, f"irc.{DOMAIN}", f"deeper.irc.{DOMAIN}"):
            async with (
                attached(workshop.port(5347), name, SECRET),
                connected(workshop.port(), TEST, PASSWORD, anchor) as user,
            ):
                assert name in _hosts(workshop)
                parent = name.partition(".")[2]
                if parent == DOMAIN:
                    items = await ask(user, "get", parent, ET.Element(f"{{{ITEMS}}}query"))
                    assert name in [item.get("jid") for item in items.xml.iter(f"{{{ITEMS}}}item")]

    asyncio.run(scenario())


def test_a_component_with_a_wrong_secret_leaves_nothing_behind(workshop: Server) -> None:
    name = f"stranger.{DOMAIN}"

    async def scenario() -> None:
        with pytest.raises(RefusedError):
            async with attached(workshop.port(5347), name, "a guess"):
                pass

    asyncio.run(scenario())
    workshop.wait_for(lambda: name not in _hosts(workshop), "the name is gone")


@pytest.mark.parametrize(
    "name", [DOMAIN, f"conference.{DOMAIN}", "gateway.example", f"a@b.{DOMAIN}", f"UPPER.{DOMAIN}"]
)
def test_other_names_are_refused(workshop: Server, name: str) -> None:
    before = _hosts(workshop)

    async def scenario() -> None:
        with pytest.raises(RefusedError):
            async with attached(workshop.port(5347), name, SECRET):
                pass

    asyncio.run(scenario())
    assert _hosts(workshop) == before


def test_a_component_comes_back_after_a_reload(workshop: Server) -> None:
    name = f"returning.{DOMAIN}"

    async def scenario() -> None:
        async with attached(workshop.port(5347), name, SECRET) as gateway:
            workshop.shell("config:reload()")
            assert (await _advertised(gateway)).roster == "both"
        async with attached(workshop.port(5347), name, SECRET) as gateway:
            assert (await _advertised(gateway)).roster == "both"

    asyncio.run(scenario())


def test_a_gateway_reads_and_changes_contact_lists(workshop: Server, anchor: Path) -> None:
    contact = f"friend@{GATEWAY}"

    async def scenario() -> None:
        async with (
            attached(workshop.port(5347), GATEWAY, SECRET) as gateway,
            connected(workshop.port(), TEST, PASSWORD, anchor) as user,
        ):
            await _advertised(gateway)
            await user.get_roster()
            pushes: asyncio.Queue[Any] = asyncio.Queue()
            user.add_event_handler("roster_update", pushes.put_nowait)
            item = {"name": "Friend", "subscription": "both", "groups": ["Far"]}
            await gateway.rights.set_roster(TEST, {contact: item})
            push = await asyncio.wait_for(pushes.get(), 20)
            assert push["roster"]["items"][contact]["name"] == "Friend"
            roster = await gateway.rights.get_roster(TEST)
            found = roster["roster"]["items"][contact]
            assert (found["name"], found["subscription"], found["groups"]) == ("Friend", "both", ["Far"])

    asyncio.run(scenario())


def test_a_gateway_writes_messages_in_the_name_of_a_user(workshop: Server, anchor: Path) -> None:
    async def scenario() -> None:
        async with (
            attached(workshop.port(5347), GATEWAY, SECRET) as gateway,
            connected(workshop.port(), OTHER, PASSWORD, anchor) as reader,
        ):
            await _advertised(gateway)
            gateway.write_as(TEST, OTHER, "From my phone")
            received = await asyncio.wait_for(reader.messages.get(), 20)
            assert (received["from"].bare, received["body"]) == (TEST, "From my phone")

    asyncio.run(scenario())


def test_a_gateway_sees_the_presence_of_users_and_shows_that_of_its_contacts(workshop: Server, anchor: Path) -> None:
    contact = f"present@{GATEWAY}"

    async def scenario() -> None:
        async with attached(workshop.port(5347), GATEWAY, SECRET) as gateway:
            await _advertised(gateway)
            await gateway.rights.set_roster(TEST, {contact: {"name": "Present", "subscription": "both", "groups": []}})
            async with connected(workshop.port(), TEST, PASSWORD, anchor) as user:
                presence = await gateway.next_presence(TEST)
                assert presence["type"] == "available"
                seen: asyncio.Queue[Any] = asyncio.Queue()
                user.add_event_handler("presence", seen.put_nowait)
                gateway.send_presence(pto=TEST, pfrom=contact, pshow="dnd", pstatus="On a train")
                while (shown := await asyncio.wait_for(seen.get(), 20))["from"].bare != contact:
                    pass
                assert (shown["show"], shown["status"]) == ("dnd", "On a train")
            while (await gateway.next_presence(TEST))["type"] != "unavailable":
                pass

    asyncio.run(scenario())


def _publication(text: str) -> ET.Element:
    pubsub = ET.Element(f"{{{PUBSUB}}}pubsub")
    publish = ET.SubElement(pubsub, f"{{{PUBSUB}}}publish", node="urn:example:mood")
    item = ET.SubElement(publish, f"{{{PUBSUB}}}item", id="current")
    ET.SubElement(item, "{urn:example:mood}mood").text = text
    return pubsub


def test_a_gateway_publishes_in_the_name_of_a_user(workshop: Server, anchor: Path) -> None:
    async def scenario() -> None:
        async with (
            attached(workshop.port(5347), GATEWAY, SECRET) as gateway,
            connected(workshop.port(), TEST, PASSWORD, anchor) as user,
        ):
            await _advertised(gateway)
            assert (await gateway.ask_as(TEST, "set", _publication("calm"))).get("type") == "result"
            pubsub = ET.Element(f"{{{PUBSUB}}}pubsub")
            ET.SubElement(pubsub, f"{{{PUBSUB}}}items", node="urn:example:mood")
            answer = await ask(user, "get", TEST, pubsub)
            assert [mood.text for mood in answer.xml.iter("{urn:example:mood}mood")] == ["calm"]
            with pytest.raises(IqError) as refused:
                await gateway.ask_as(TEST, "get", ET.Element("{jabber:iq:private}query"))
            assert refused.value.iq.xml.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden") is not None

    asyncio.run(scenario())


def test_a_refusal_is_a_stanza_and_nothing_else(workshop: Server) -> None:
    """Strict parsers end a stream that has text between stanzas (RFC 6120, 4.9.3.1)."""
    name = f"strict.{DOMAIN}"
    parser: Any = ET.XMLPullParser(("start", "end"))
    with socket.create_connection(("127.0.0.1", workshop.port(5347)), timeout=20) as connection:

        def exchange(text: str, event: str, tag: str, identifier: str = "") -> Any:
            """Send something, and wait for the beginning or the end of an element."""
            connection.sendall(text.encode())
            while True:
                for found, element in parser.read_events():
                    if found == event and element.tag.endswith(tag) and identifier in (element.get("id") or ""):
                        return element
                chunk = connection.recv(65536)
                assert chunk, "the server closed the connection"
                parser.feed(chunk)

        opening = f"<stream:stream to='{name}' xmlns='{COMPONENT}' xmlns:stream='http://etherx.jabber.org/streams'>"
        stream = exchange(opening, "start", "stream")
        digest = hashlib.sha1((stream.get("id") + SECRET).encode()).hexdigest()  # noqa: S324  (XEP-0114)
        exchange(f"<handshake>{digest}</handshake>", "end", "handshake")
        refused = (
            f"<iq type='get' id='refused' from='{name}' to='{TEST}'><privileged_iq xmlns='{PRIVILEGE}'>"
            f"<iq type='get' id='inner' from='{TEST}' to='{TEST}' xmlns='{CLIENT}'><query xmlns='jabber:iq:private'/>"
            "</iq></privileged_iq></iq>"
        )
        answer = exchange(refused, "end", "iq", "refused")
        exchange(
            f"<iq type='get' id='last' from='{name}' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'/></iq>",
            "end",
            "iq",
            "last",
        )
    assert answer.find(".//{urn:ietf:params:xml:ns:xmpp-stanzas}forbidden") is not None
    assert not [child.tail for child in stream if child.tail]


def test_a_gateway_answers_in_place_of_the_server(workshop: Server, anchor: Path) -> None:
    async def scenario() -> None:
        async with (
            attached(workshop.port(5347), GATEWAY, SECRET) as gateway,
            connected(workshop.port(), TEST, PASSWORD, anchor) as user,
        ):
            assert await asyncio.wait_for(gateway.delegated.get(), 20) == [DELEGATED]
            gateway.answer_delegated(f"{{{DELEGATED}}}answer", "from the gateway")
            for recipient in (DOMAIN, TEST, None):
                answer = await ask(user, "get", recipient, ET.Element(f"{{{DELEGATED}}}question"))
                assert [found.text for found in answer.xml.iter(f"{{{DELEGATED}}}answer")] == ["from the gateway"]
        async with connected(workshop.port(), TEST, PASSWORD, anchor) as user:
            with pytest.raises(IqError) as refused:
                await ask(user, "get", DOMAIN, ET.Element(f"{{{DELEGATED}}}question"))
            assert refused.value.condition == "service-unavailable"

    asyncio.run(scenario())


def test_a_component_without_rights_has_none(client: docker.DockerClient, image: LoadedImage, web_files: Path) -> None:
    with developing(client, image, web_files, PROSODY_PRIVILEGED_COMPONENTS=f"irc.{DOMAIN}") as server:

        async def scenario() -> None:
            async with attached(server.port(5347), GATEWAY, SECRET) as gateway:
                with pytest.raises(IqError):
                    await ask(gateway, "get", TEST, ET.Element("{jabber:iq:roster}query"))
                assert not gateway.privileged.done()
            async with attached(server.port(5347), f"irc.{DOMAIN}", SECRET) as gateway:
                assert (await _advertised(gateway)).message == "outgoing"

        asyncio.run(scenario())


# ---- The web client's files


class Parts(HTMLParser):
    """What a page refers to, and the settings in it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: dict[str, str] = {}
        self.settings: dict[str, Any] = {}
        self._in_settings = False
        self.inline_scripts = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        target = named.get("src") or named.get("href")
        if target:
            self.references[named.get("rel") or tag] = target
        self._in_settings = named.get("id") == "settings"
        self.inline_scripts += tag == "script" and named.get("type") != "application/json" and not named.get("src")

    def handle_data(self, data: str) -> None:
        if self._in_settings and data.strip():
            self.settings = json.loads(data)


def test_the_start_page_is_made_for_its_host(workshop: Server) -> None:
    page = get(workshop, "/")
    parts = Parts(page.body.decode())
    assert page.status == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert parts.settings["bosh_service_url"] == "/http-bind"
    assert parts.settings["websocket_url"] == "/xmpp-websocket"
    assert (parts.settings["default_domain"], parts.settings["muc_domain"]) == (DOMAIN, f"conference.{DOMAIN}")
    assert parts.settings["allow_registration"] is True
    assert parts.inline_scripts == 0
    # Relative ones only: whatever name, port or path a reverse proxy has in front, they lead here.
    assert set(parts.references) == {"icon", "stylesheet", "script"}
    assert all(target.startswith("web-client/") for target in parts.references.values())


def test_the_page_may_talk_to_this_server_only(workshop: Server) -> None:
    page = get(workshop, "/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert policy["connect-src"] == f"'self' upload.{DOMAIN}:*"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert not any(re.search(r"https?:|\*(?!$| )|'unsafe-eval'", value.replace(":*", "")) for value in policy.values())
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in page.headers


def test_files_have_their_types_and_are_kept_by_browsers(workshop: Server) -> None:
    script = Parts(get(workshop, "/").body.decode()).references["script"]
    folder = "/" + script.rsplit("/", 1)[0]
    for name, kind in {
        "converse.min.js": "text/javascript; charset=utf-8",
        "converse.min.css": "text/css; charset=utf-8",
        "chunkjs/locales/de.js": "text/javascript; charset=utf-8",
        "omemo.wasm": "application/wasm",
        "images/logo.svg": "image/svg+xml",
    }.items():
        page = get(workshop, f"{folder}/{name}")
        assert (page.status, page.body, page.headers["content-type"]) == (200, _WEB_FILES[name], kind)
        assert page.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert get(workshop, f"{folder}/{name}", If_None_Match=page.headers["etag"]).status == 304
    assert b"converse.initialize" in get(workshop, f"/{script}").body
    # Under the name of another version they are not kept.
    assert get(workshop, "/web-client/0/converse.min.js").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/web-client/0/../../../../etc/prosody/x.js", "/web-client/0/%2e%2e/%2e%2e/secret.json",
        "/web-client/0/..%2f..%2fsecret.json", "/web-client/0/../secret.json", "/web-client/0/../dist/../secret.json",
        "/web-client/0//etc/passwd", "/web-client/0/%00.js", "/web-client/0/LICENSE", "/web-client/0/", "/web-client/0",
        "/web-client/", "/web-client/0/chunkjs", "/web-client/0/chunkjs/", "/web-client/0/link.json",
        "/web-client/0/missing.js", "/secret.json", "/converse.min.js",
    ],
)  # fmt: skip
def test_nothing_else_is_served(workshop: Server, web_files: Path, path: str) -> None:
    (web_files.parent / "secret.json").write_text('"a secret"')
    (web_files.parent / "secret.json").chmod(0o644)
    page = get(workshop, path)
    assert page.status in (400, 403, 404), page.body
    assert b"a secret" not in page.body


def test_other_pages_are_still_there(workshop: Server) -> None:
    assert get(workshop, "/health").body == b"ok\n"
    assert get(workshop, "/http-bind").status == 200
    assert get(workshop, "/.well-known/host-meta.json").status == 200


def test_a_page_elsewhere_may_use_bosh_and_websocket(workshop: Server) -> None:
    for path in ("/http-bind", "/xmpp-websocket"):
        assert get(workshop, path, Origin="http://client.test:8080").headers["access-control-allow-origin"] in (
            "*",
            "http://client.test:8080",
        )


def test_settings_are_added_and_cannot_leave_their_element(
    client: docker.DockerClient, image: LoadedImage, web_files: Path
) -> None:
    hostile = "</script><script>alert(1)</script><!--"
    settings = json.dumps({"locked_domain": DOMAIN, "muc_domain": "rooms.test", "nickname": hostile})
    external = "https://chat.test:8443/xmpp/"
    with developing(
        client, image, web_files, PROSODY_WEB_CLIENT_SETTINGS=settings, PROSODY_HTTP_EXTERNAL_URL=external
    ) as server:
        parts = Parts(get(server, "/").body.decode())
    assert parts.inline_scripts == 0
    assert (parts.settings["nickname"], parts.settings["muc_domain"]) == (hostile, "rooms.test")
    assert parts.settings["locked_domain"] == DOMAIN
    # Behind a reverse proxy: its path, and whatever name and port the browser used.
    assert parts.settings["bosh_service_url"] == "/xmpp/http-bind"
    assert parts.settings["websocket_url"] == "/xmpp/xmpp-websocket"


# ---- The variant itself, and its web client in a browser


@pytest.fixture
def dev(client: docker.DockerClient, images: Images) -> Iterator[Server]:
    """The variant as it is: one command, and no variable but the one that tells the tests what it is anyway."""
    ports = _PORTS | {f"{browsers.PORT}/tcp": ("127.0.0.1", None)}
    server = Server(client, images.load("dev"), {"PROSODY_DOMAIN": DOMAIN}, {"ports": ports})
    try:
        server.start()
        server.wait_for(lambda: "Running periodic tasks" in server.log(), "accounts are made")
        yield server
    finally:
        server.remove()


def test_the_variant_needs_no_variables(dev: Server, tmp_path: Path) -> None:
    anchor = tmp_path / "certificate.pem"
    anchor.write_bytes(get(dev, "/certificate.pem").body)
    for address in (f"admin@{DOMAIN}", TEST, OTHER):
        log_in(dev.port(), address, PASSWORD, anchor)
    assert "prosody:operator" in dev.shell(f"user:role('admin@{DOMAIN}')")

    async def scenario() -> None:
        async with attached(dev.port(5347), GATEWAY, SECRET) as gateway:
            granted = await _advertised(gateway)
            assert (granted.roster, granted.message, granted.presence) == ("both", "outgoing", "roster")
            file = {"filename": "picture.png", "size": "2048", "content-type": "image/png"}
            request = ET.Element(f"{{{UPLOAD}}}request", file)
            slot = await gateway.ask_as(TEST, "get", request, f"upload.{DOMAIN}")
            assert slot.find(f"{{{UPLOAD}}}slot/{{{UPLOAD}}}put").get("url").endswith("/picture.png")
            assert await asyncio.wait_for(gateway.delegated.get(), 20) == [DELEGATED]

    asyncio.run(scenario())


def test_the_variant_has_a_shell(dev: Server) -> None:
    outcome = dev.execute(
        "bash", "-c", "find /etc/prosody -maxdepth 1 -type d | sort | sed 's:.*/::' | grep -v prosody"
    )
    assert outcome.output.split() == ["certs", "conf.d", "modules"], outcome.text


@pytest.mark.parametrize("address", ["http://localhost:5280/", "https://localhost:5281/"])
def test_the_web_client_logs_in_writes_and_reads(
    client: docker.DockerClient, dev: Server, tmp_path: Path, address: str
) -> None:
    """The other side of the conversation is slixmpp."""
    anchor = tmp_path / "certificate.pem"
    anchor.write_bytes(get(dev, "/certificate.pem").body)
    anchor.chmod(0o644)
    with browsers.browsing(client, dev, anchor) as browser:
        web_client = WebClient(browser, address)
        asyncio.run(_converse(dev, web_client, anchor))
        assert web_client.faults() == []
        assert web_client.answered_hosts() == {urlsplit(address).netloc}


def test_a_browser_does_not_trust_another_authority(client: docker.DockerClient, dev: Server, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    other.write_bytes(Authority().root)
    other.chmod(0o644)
    with browsers.browsing(client, dev, other) as browser:
        browser.get("https://localhost:5281/")
        assert "ERR_CERT_AUTHORITY_INVALID" in browser.page_source


async def _converse(server: Server, web_client: WebClient, anchor: Path) -> None:
    async with connected(server.port(), OTHER, PASSWORD, anchor) as partner:
        try:
            await asyncio.to_thread(web_client.log_in, "test", PASSWORD)
            await asyncio.to_thread(web_client.open_chat, OTHER)
            await asyncio.to_thread(web_client.say, "Hello from a browser")
            assert await partner.next_message() == "Hello from a browser"
            partner.say(TEST, "Hello from slixmpp")
            await asyncio.to_thread(web_client.wait_for_message, "Hello from slixmpp")
        finally:
            web_client.keep_screenshot(SCREENSHOT)
            print(f"screenshot: {SCREENSHOT}")
