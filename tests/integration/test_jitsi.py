"""A server for conferences, by the variables of docker-jitsi-meet: its services, rooms that tokens open, and guests."""

from __future__ import annotations

import asyncio
import base64
import hmac
import time
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import docker
import pytest
import slixmpp

from tests.integration import servers, streams, tokens
from tests.integration.clients import Client, RefusedError, Watch, connected
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

pytestmark = pytest.mark.variant("jitsi")

AUTH, GUESTS, ROOMS, INTERNAL = (f"{name}.{DOMAIN}" for name in ("auth", "guest", "muc", "internal-muc"))
SECRET = "a secret of thirty-two characters"
FOCUS, BRIDGE = "password of focus", "password of jvb"
PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5281)}
MUC = "http://jabber.org/protocol/muc"
MODERATION, RETRACTION = "urn:xmpp:message-moderate:1", "urn:xmpp:message-retract:1"
# What compose files of docker-jitsi-meet set, with domains of the tests. The image sees by it that it is a deployment.
ENVIRONMENT = {
    "XMPP_DOMAIN": DOMAIN,
    "XMPP_AUTH_DOMAIN": AUTH,
    "XMPP_GUEST_DOMAIN": GUESTS,
    "XMPP_MUC_DOMAIN": ROOMS,
    "XMPP_INTERNAL_MUC_DOMAIN": INTERNAL,
    "JICOFO_AUTH_USER": "focus",
    "JICOFO_AUTH_PASSWORD": FOCUS,
    "JVB_AUTH_USER": "jvb",
    "JVB_AUTH_PASSWORD": BRIDGE,
    "PROSODY_MODE": "client",
    "LOG_LEVEL": "info",
    "TZ": "UTC",
    "PUBLIC_URL": "https://meet.example",
}
WITH_TOKENS = ENVIRONMENT | {
    "ENABLE_AUTH": "1",
    "ENABLE_GUESTS": "1",
    "AUTH_TYPE": "jwt",
    "JWT_APP_ID": "meet",
    "JWT_APP_SECRET": SECRET,
    "JWT_ACCEPTED_ISSUERS": "meet",
    "JWT_ACCEPTED_AUDIENCES": "meet",
    "MAX_PARTICIPANTS": "3",
}


@dataclass(frozen=True)
class Conference:
    """A started server, and what clients verify it with."""

    server: Server
    certificate: Path

    def connected(self, address: str, password: str) -> Any:
        """A client that is logged in."""
        return connected(self.server.port(), address, password, self.certificate)

    def focus(self) -> Any:
        """The client that conducts."""
        return self.connected(f"focus@{AUTH}", FOCUS)

    def guest(self) -> Any:
        """A client of the domain that anybody may use."""
        return self.connected(GUESTS, "")

    def person(self, name: str, **claims: Any) -> Any:
        """A client with a token; `context` is completed by the name."""
        context = {"user": {"id": name, **claims.pop("user", {})}}
        return self.connected(f"{name}@{DOMAIN}", tokens.shared(SECRET, context=context, **claims))


@contextmanager
def conference(
    client: docker.DockerClient, image: LoadedImage, folder: Path, environment: Mapping[str, str]
) -> Iterator[Conference]:
    """A server with these variables."""
    server = Server(client, image, environment, {"ports": PORTS})
    try:
        server.start()
        yield Conference(server, server.certificate(folder))
    finally:
        server.remove()


@pytest.fixture(scope="module")
def image(images: Images) -> LoadedImage:
    """The jitsi variant."""
    return images.load("jitsi")


@pytest.fixture(scope="module")
def meeting(
    client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Conference]:
    """A deployment with tokens and guests."""
    with conference(client, image, tmp_path_factory.mktemp("meeting"), WITH_TOKENS) as made:
        yield made


def new_room(domain: str = ROOMS) -> str:
    return f"{uuid.uuid4()}@{domain}"


async def enter(client: Client, room: str, nick: str) -> ET.Element:
    """Try to enter a room; returns the own presence in it, or the error."""
    watch = Watch(client, "presence")
    client.send_raw(f"<presence to='{room}/{nick}'><x xmlns='{MUC}'/></presence>")
    return await watch.until(lambda stanza: stanza.get("from") == f"{room}/{nick}" and _is_answer(stanza))


def _is_answer(stanza: ET.Element) -> bool:
    own = any(status.get("code") == "110" for status in stanza.iter(f"{{{MUC}#user}}status"))
    return stanza.get("type") == "error" or (own and stanza.get("type") is None)


def condition(stanza: ET.Element) -> str | None:
    """The condition of an error (RFC 6120, 8.3.3); None if it is none."""
    error = stanza.find(f"{{{streams.CLIENT}}}error")
    return None if error is None else error[0].tag.split("}")[1]


def standing(stanza: ET.Element) -> tuple[str | None, str | None]:
    """Affiliation and role in a presence."""
    item = next(stanza.iter(f"{{{MUC}#user}}item"), None)
    assert item is not None, streams.text_of(stanza)
    return item.get("affiliation"), item.get("role")


async def ask(client: Client, to: str, kind: str, payload: str) -> ET.Element:
    """The answer to a request, which may be an error."""
    watch, identifier = Watch(client, "iq"), uuid.uuid4().hex
    client.send_raw(f"<iq to='{to}' type='{kind}' id='{identifier}'>{payload}</iq>")
    return await watch.until(lambda stanza: stanza.get("id") == identifier)


@asynccontextmanager
async def open_room(meeting: Conference) -> AsyncIterator[tuple[Client, str]]:
    """A room that focus has opened, as Jicofo does."""
    async with meeting.focus() as focus:
        room = new_room()
        assert standing(await enter(focus, room, "focus")) == ("owner", "moderator")
        yield focus, room


# The deployment


def test_services_log_in(meeting: Conference) -> None:
    async def scenario() -> None:
        async with meeting.focus() as focus, meeting.connected(f"jvb@{AUTH}", BRIDGE) as bridge:
            brewery = f"jvbbrewery@{INTERNAL}"
            # Whoever comes first opens the room in which they meet.
            assert standing(await enter(bridge, brewery, "bridge"))[1] == "moderator"
            assert condition(await enter(focus, brewery, "focus")) is None

    asyncio.run(scenario())


@pytest.mark.parametrize("account", [f"focus@{AUTH}", f"jvb@{AUTH}"])
def test_services_need_their_passwords(meeting: Conference, account: str) -> None:
    with pytest.raises(RefusedError):
        asyncio.run(_enter_and_leave(meeting, account, "another password"))


async def _enter_and_leave(meeting: Conference, account: str, password: str) -> None:
    async with meeting.connected(account, password):
        pass


def test_a_changed_password_of_a_service_counts(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    """The services are told by the same variables."""
    with conference(client, image, tmp_path, ENVIRONMENT) as made:
        asyncio.run(_enter_and_leave(made, f"focus@{AUTH}", FOCUS))
        made.server.environment = ENVIRONMENT | {"JICOFO_AUTH_PASSWORD": "a new password"}
        made.server.restart()
        asyncio.run(_enter_and_leave(made, f"focus@{AUTH}", "a new password"))
        with pytest.raises(RefusedError):
            asyncio.run(_enter_and_leave(made, f"focus@{AUTH}", FOCUS))


def test_a_participant_finds_jicofo(meeting: Conference) -> None:
    """The request for a conference goes to focus.DOMAIN, wherever focus is logged in, and the answer comes back."""
    namespace, component = "http://jitsi.org/protocol/focus", f"focus.{DOMAIN}"

    async def scenario() -> None:
        async with meeting.person("juliet") as juliet:
            request = f"<conference xmlns='{namespace}' room='tea@{ROOMS}'/>"
            assert condition(await ask(juliet, component, "set", request)) == "service-unavailable"
            async with meeting.focus() as focus:
                watch = Watch(focus, "iq")
                asked = asyncio.create_task(ask(juliet, component, "set", request))
                received = await watch.until(lambda stanza: stanza.find(f"{{{namespace}}}conference") is not None)
                # Jicofo reads from the resource who asks.
                assert received.get("from") == f"{component}/{juliet.boundjid.full}"
                focus.send_raw(
                    f"<iq type='result' to='{received.get('from')}' id='{received.get('id')}'>"
                    f"<conference xmlns='{namespace}' ready='true'/></iq>"
                )
                answer = await asked
                assert answer.get("from") == component
                assert answer[0].get("ready") == "true"

    asyncio.run(scenario())


def test_nobody_else_answers_for_jicofo(meeting: Conference) -> None:
    async def scenario() -> None:
        async with meeting.person("juliet") as juliet, meeting.guest() as guest:
            watch = Watch(juliet, "iq")
            guest.send_raw(f"<iq type='result' to='focus.{DOMAIN}/{juliet.boundjid.full}' id='forged'/>")
            answer = await ask(guest, juliet.boundjid.full, "get", "<ping xmlns='urn:xmpp:ping'/>")
            assert answer.get("type") == "result"
            ping = await watch.until(lambda stanza: stanza.find("{urn:xmpp:ping}ping") is not None or
                                     stanza.get("id") == "forged")  # fmt: skip
            assert ping.get("id") != "forged"

    asyncio.run(scenario())


@pytest.mark.parametrize("way", ["websocket", "bosh"])
def test_web_clients_get_in_with_their_token(meeting: Conference, way: str) -> None:
    login = tokens.LOGINS[way]
    assert login(meeting.server, meeting.certificate, tokens.shared(SECRET))
    assert login(meeting.server, meeting.certificate, tokens.shared(SECRET, aud="another")) is None


def test_a_conference_in_the_browser(meeting: Conference) -> None:
    """The token in the address of a WebSocket opens the room for a session that nobody has a name for."""

    async def scenario() -> None:
        async with open_room(meeting) as (_, room):
            name = slixmpp.JID(room).local
            for claim, expected in ((name, None), ("another", "not-allowed")):
                with tokens.open_websocket(meeting.server, meeting.certificate, _token(claim)) as socket:
                    assert await asyncio.to_thread(tokens.enter, socket)
                    socket.send(
                        f"<presence xmlns='{streams.CLIENT}' to='{room}/{claim[:4]}'><x xmlns='{MUC}'/></presence>"
                    )
                    while not _is_answer(answer := await asyncio.to_thread(socket.receive)):
                        pass
                    assert condition(answer) == expected

    asyncio.run(scenario())


def _token(room: str) -> str:
    return tokens.shared(SECRET, room=room, context={"user": {"name": "Juliet", "affiliation": "owner"}})


@pytest.mark.parametrize("more", [{}, {"ENABLE_AUTH": "1", "ENABLE_GUESTS": "1"}], ids=["anonymous", "guests"])
def test_a_deployment_is_healthy(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, more: Mapping[str, str]
) -> None:
    """Hosts of anonymous users store nothing, which is no failure of the storage."""
    with conference(client, image, tmp_path, ENVIRONMENT | dict(more)) as made:
        outcome = made.server.execute("prosodyctl", "status")
        assert outcome.status == 0, outcome.text
        log = made.server.log()
        assert "error" not in log
        assert "warn" not in log


def test_relays_are_told_with_credentials(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    """To anybody in the deployment, guests as well (XEP-0215); good for relays with the same secret."""
    secret = "secret of the relays"
    relays = {"STUN_HOST": "stun.example", "TURNS_HOST": "turn.example", "TURN_CREDENTIALS": secret}
    with conference(client, image, tmp_path, ENVIRONMENT | relays) as made:

        async def scenario() -> ET.Element:
            async with made.connected(DOMAIN, "") as guest:
                return await ask(guest, DOMAIN, "get", "<services xmlns='urn:xmpp:extdisco:2'/>")

        services = {item.get("type"): item for item in asyncio.run(scenario()).iter("{urn:xmpp:extdisco:2}service")}
        assert (services["stun"].get("host"), services["stun"].get("port")) == ("stun.example", "443")
        relay = services["turns"]
        assert (relay.get("host"), relay.get("transport")) == ("turn.example", "tcp")
        # As relays check it: the expiry is the name, its HMAC the password.
        name = relay.get("username") or ""
        expected = base64.b64encode(hmac.digest(secret.encode(), name.encode(), "sha1")).decode()
        assert relay.get("password") == expected
        assert int(name) > time.time() + 80000


def test_joining_is_limited_in_rate(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    # Two at once, and then one in twenty seconds: the rate times the factor is how many may come at once.
    limits = {"PROSODY_ENABLE_RATE_LIMITS": "1", "PROSODY_MUC_EVENT_RATE": "0.05", "PROSODY_MUC_BURST_FACTOR": "40"}
    with conference(client, image, tmp_path, ENVIRONMENT | limits) as made:

        async def scenario() -> None:
            async with open_room(made) as (focus, room), AsyncExitStack() as stack:
                people = [await stack.enter_async_context(made.connected(DOMAIN, "")) for _ in range(3)]
                answers = [condition(await enter(person, room, f"person {n}")) for n, person in enumerate(people)]
                assert answers == [None, None, "policy-violation"]
                # Who is in can talk as much as before.
                for number in range(10):
                    await say(people[0], focus, room, f"message {number}")

        asyncio.run(scenario())


# Rooms


def test_a_token_opens_its_room_only(meeting: Conference) -> None:
    async def scenario() -> None:
        async with open_room(meeting) as (_, room):
            name = slixmpp.JID(room).local
            async with (
                meeting.person("juliet", room=name) as juliet,
                meeting.person("romeo", room="another") as romeo,
                meeting.person("nurse", room=None) as nurse,
                meeting.person("tybalt", room=name.upper()) as tybalt,
            ):
                assert standing(await enter(juliet, room, "juliet")) == ("none", "participant")
                assert condition(await enter(romeo, room, "romeo")) == "not-allowed"
                assert condition(await enter(nurse, room, "nurse")) == "not-allowed"
                assert condition(await enter(tybalt, room, "tybalt")) is None

    asyncio.run(scenario())


def test_only_focus_opens_rooms(meeting: Conference) -> None:
    async def scenario() -> None:
        async with meeting.person("juliet") as juliet, meeting.guest() as guest:
            assert condition(await enter(juliet, new_room(), "juliet")) == "not-allowed"
            assert condition(await enter(guest, new_room(), "guest")) == "not-allowed"

    asyncio.run(scenario())


def test_guests_join_what_is_open(meeting: Conference) -> None:
    async def scenario() -> None:
        async with open_room(meeting) as (_, room), meeting.guest() as guest:
            assert standing(await enter(guest, room, "guest")) == ("none", "participant")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("user", "more", "expected"),
    [
        ({"moderator": True}, {}, ("owner", "moderator")),
        ({"moderator": "true"}, {}, ("owner", "moderator")),
        ({"affiliation": "owner"}, {}, ("owner", "moderator")),
        ({"affiliation": "admin"}, {}, ("admin", "moderator")),
        ({"affiliation": "member"}, {}, ("member", "participant")),
        ({"affiliation": "outcast"}, {}, ("none", "participant")),
        ({"moderator": False}, {}, ("none", "participant")),
        ({}, {"moderator": True}, ("owner", "moderator")),
    ],
    ids=str,
)
def test_affiliations_come_from_tokens(
    meeting: Conference, user: Mapping[str, Any], more: Mapping[str, Any], expected: tuple[str, str]
) -> None:
    async def scenario() -> None:
        async with open_room(meeting) as (focus, room):
            async with meeting.person("juliet", user=user, **more) as juliet:
                assert standing(await enter(juliet, room, "juliet")) == expected
                left = Watch(focus, "presence")
            await left.until(lambda stanza: stanza.get("type") == "unavailable")
            # They last as long as the visit.
            for affiliation in ("owner", "admin", "member"):
                query = f"<query xmlns='{MUC}#admin'><item affiliation='{affiliation}'/></query>"
                listed = await ask(focus, room, "get", query)
                assert f"juliet@{DOMAIN}" not in {item.get("jid") for item in listed.iter(f"{{{MUC}#admin}}item")}

    asyncio.run(scenario())


def test_a_ban_holds_against_a_token(meeting: Conference) -> None:
    async def scenario() -> None:
        async with open_room(meeting) as (focus, room), meeting.person("juliet", user={"moderator": True}) as juliet:
            assert standing(await enter(juliet, room, "juliet"))[0] == "owner"
            ban = f"<query xmlns='{MUC}#admin'><item affiliation='outcast' jid='juliet@{DOMAIN}'/></query>"
            assert (await ask(focus, room, "set", ban)).get("type") == "result"
            assert condition(await enter(juliet, room, "juliet")) == "forbidden"

    asyncio.run(scenario())


def test_members_pass_by_those_who_wait(meeting: Conference) -> None:
    """A room for members only: who is one by a token gets in, others do not."""

    async def scenario() -> None:
        async with (
            open_room(meeting) as (focus, room),
            meeting.person("juliet", user={"affiliation": "member"}) as juliet,
            meeting.person("romeo") as romeo,
            meeting.guest() as guest,
        ):
            await configure(focus, room, "muc#roomconfig_membersonly", "1")
            assert condition(await enter(juliet, room, "juliet")) is None
            assert condition(await enter(romeo, room, "romeo")) == "registration-required"
            assert condition(await enter(guest, room, "guest")) == "registration-required"

    asyncio.run(scenario())


def test_a_password_of_a_room_is_needed_beside_the_token(meeting: Conference) -> None:
    async def scenario() -> None:
        async with open_room(meeting) as (focus, room), meeting.person("juliet") as juliet:
            await configure(focus, room, "muc#roomconfig_roomsecret", "sesame")
            assert condition(await enter(juliet, room, "juliet")) == "not-authorized"

    asyncio.run(scenario())


async def configure(owner: Client, room: str, name: str, value: str) -> None:
    field = f"<field var='{name}'><value>{value}</value></field>"
    kind = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>"
    form = f"<query xmlns='{MUC}#owner'><x xmlns='jabber:x:data' type='submit'>{kind}{field}</x></query>"
    answer = await ask(owner, room, "set", form)
    assert answer.get("type") == "result", streams.text_of(answer)


def test_the_room_is_full(meeting: Conference) -> None:
    """MAX_PARTICIPANTS is 3; services are not counted, and who owns the room gets in."""

    async def scenario() -> None:
        async with open_room(meeting) as (_, room), AsyncExitStack() as stack:
            people = [await stack.enter_async_context(meeting.guest()) for _ in range(4)]
            for number, person in enumerate(people[:3]):
                assert condition(await enter(person, room, f"guest {number}")) is None
            assert condition(await enter(people[3], room, "guest 3")) == "service-unavailable"
            owner = await stack.enter_async_context(meeting.person("juliet", user={"moderator": True}))
            assert condition(await enter(owner, room, "juliet")) is None
            # A place becomes free.
            left = Watch(owner, "presence")
            for number in (0, 1):
                people[number].send_raw(f"<presence to='{room}/guest {number}' type='unavailable'/>")
                await left.until(lambda stanza: stanza.get("type") == "unavailable")
            assert condition(await enter(people[3], room, "guest 3")) is None

    asyncio.run(scenario())


def test_nothing_of_a_room_is_told_to_who_has_no_token_for_it(meeting: Conference) -> None:
    async def scenario() -> None:
        async with open_room(meeting) as (focus, room), meeting.person("romeo", room="another") as romeo:
            said = Watch(focus, "message")
            focus.send_message(mto=slixmpp.JID(room), mbody="a secret", mtype="groupchat")
            await said.until(lambda stanza: stanza.findtext(f"{{{streams.CLIENT}}}body") == "a secret")
            archive = "<query xmlns='urn:xmpp:mam:2' queryid='q'/>"
            occupants = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
            assert condition(await ask(romeo, room, "set", archive)) == "not-allowed"
            assert condition(await ask(romeo, room, "get", occupants)) == "not-allowed"
            assert (await ask(focus, room, "set", archive)).get("type") == "result"
            # That it is there is no secret: clients ask before they enter.
            features = "<query xmlns='http://jabber.org/protocol/disco#info'/>"
            assert (await ask(romeo, room, "get", features)).get("type") == "result"

    asyncio.run(scenario())


def test_tokens_for_a_tenant(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    environment = WITH_TOKENS | {"JWT_ENABLE_DOMAIN_VERIFICATION": "true"}
    with conference(client, image, tmp_path, environment) as made:

        async def scenario() -> None:
            async with made.focus() as focus, AsyncExitStack() as stack:
                tenant, common = f"[acme]{uuid.uuid4()}@{ROOMS}", new_room()
                for room in (tenant, common):
                    assert condition(await enter(focus, room, "focus")) is None
                for subject, expected in (
                    ("acme", (None, "not-allowed")),
                    (DOMAIN, ("not-allowed", None)),
                    ("*", (None, None)),
                    ("other", ("not-allowed", "not-allowed")),
                ):
                    name = f"user-{uuid.uuid4().hex[:6]}"
                    person = await stack.enter_async_context(made.person(name, sub=subject, user={"moderator": True}))
                    answers = [condition(await enter(person, room, name)) for room in (tenant, common)]
                    assert tuple(answers) == expected, subject

        asyncio.run(scenario())


def test_without_guests_a_token_is_needed(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    """And without a Jitsi deployment rooms open for tokens as well."""
    environment = {
        "PROSODY_DOMAIN": DOMAIN, "PROSODY_VIRTUAL_HOSTS": f"{DOMAIN}, {GUESTS}", "PROSODY_MUC_DOMAIN": ROOMS,
        "PROSODY_AUTHENTICATION": "json_web_token", "PROSODY_AUTHENTICATION__GUEST_CHAT_EXAMPLE": "anonymous",
        "PROSODY_JWT_APP_ID": "meet", "PROSODY_JWT_SECRET": SECRET, "PROSODY_JWT_ROOMS": "true",
        "PROSODY_ROOM_LOCKING": "false",
    }  # fmt: skip
    with conference(client, image, tmp_path, environment) as made:

        async def scenario() -> None:
            room = new_room()
            name = slixmpp.JID(room).local
            async with made.person("juliet", room=name) as juliet, made.guest() as guest:
                assert condition(await enter(guest, room, "guest")) == "not-allowed"
                assert standing(await enter(juliet, room, "juliet")) == ("owner", "moderator")
                assert condition(await enter(guest, room, "guest")) == "not-allowed"

        asyncio.run(scenario())


def test_whoever_needs_no_token_is_a_guest(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    environment = {
        "PROSODY_DOMAIN": DOMAIN, "PROSODY_MUC_DOMAIN": ROOMS, "PROSODY_AUTHENTICATION": "json_web_token",
        "PROSODY_JWT_APP_ID": "meet", "PROSODY_JWT_SECRET": SECRET, "PROSODY_JWT_ROOMS": "true",
        "PROSODY_JWT_ALLOW_EMPTY": "true", "PROSODY_ROOM_LOCKING": "false",
    }  # fmt: skip
    with conference(client, image, tmp_path, environment) as made:

        async def scenario() -> None:
            room = new_room()
            async with made.person("juliet") as juliet, made.connected(DOMAIN, "") as guest:
                assert condition(await enter(guest, room, "guest")) == "not-allowed"
                assert standing(await enter(juliet, room, "juliet")) == ("owner", "moderator")
                assert standing(await enter(guest, room, "guest")) == ("none", "participant")

        asyncio.run(scenario())
        # A token that is wrong does not make a guest.
        assert tokens.websocket(made.server, made.certificate, tokens.shared(SECRET, exp=1)) is None
        assert tokens.websocket(made.server, made.certificate, None)


# Moderation (XEP-0425)


@pytest.mark.parametrize("storage", ["memory", "internal", "SQLite3"])
def test_moderation_retracts_a_message_in_the_archive(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, storage: str
) -> None:
    rooms = f"conference.{DOMAIN}"
    environment = {
        "memory": {"PROSODY_STORAGE__CONFERENCE_CHAT_EXAMPLE": "memory"}, "internal": {},
        "SQLite3": {"PROSODY_SQL_DRIVER": "SQLite3"},
    }[storage]  # fmt: skip
    with servers.serving(client, image, PROSODY_ROOM_LOCKING="false", **environment) as server:
        made = Conference(server, server.certificate(tmp_path))
        (alice_address, alice_password), (bob_address, bob_password) = ACCOUNTS.items()

        async def scenario() -> None:
            room = new_room(rooms)
            async with (
                made.connected(alice_address, alice_password) as alice,
                made.connected(bob_address, bob_password) as bob,
            ):
                assert standing(await enter(alice, room, "alice"))[1] == "moderator"
                assert standing(await enter(bob, room, "bob"))[1] == "participant"
                harmless, _ = await say(bob, alice, room, "good morning")
                name, text = await say(bob, alice, room, "something that must not stay")
                assert text in await archive(alice, room)

                request = (
                    f"<moderate xmlns='{MODERATION}' id='{name}'><retract xmlns='{RETRACTION}'/>"
                    "<reason>not here</reason></moderate>"
                )
                assert condition(await ask(bob, room, "set", request)) == "forbidden"
                assert text in await archive(alice, room)
                told = Watch(bob, "message")
                assert (await ask(alice, room, "set", request)).get("type") == "result"
                note = await told.until(lambda stanza: stanza.find(f"{{{RETRACTION}}}retract") is not None)
                assert note.find(f"{{{RETRACTION}}}retract").get("id") == name  # type: ignore[union-attr]

                kept = await archive(alice, room)
                assert text not in kept
                assert "good morning" in kept
                assert name in kept
                assert harmless in kept
                assert "retracted" in kept

        asyncio.run(scenario())


async def say(speaker: Client, listener: Client, room: str, text: str) -> tuple[str, str]:
    """Say something in a room; returns the name that the room gave to it (XEP-0359), and what was said."""
    watch = Watch(listener, "message")
    speaker.send_message(mto=slixmpp.JID(room), mbody=text, mtype="groupchat")
    heard = await watch.until(lambda stanza: stanza.findtext(f"{{{streams.CLIENT}}}body") == text)
    identifier = heard.find("{urn:xmpp:sid:0}stanza-id")
    assert identifier is not None, streams.text_of(heard)
    return str(identifier.get("id")), text


async def archive(client: Client, room: str) -> str:
    """Everything that the archive of a room holds, as text."""
    name, found = uuid.uuid4().hex, []
    watch = Watch(client, "message")
    answered = asyncio.create_task(ask(client, room, "set", f"<query xmlns='urn:xmpp:mam:2' queryid='{name}'/>"))
    answer = await answered
    assert answer.get("type") == "result", streams.text_of(answer)
    last = answer.findtext(".//{http://jabber.org/protocol/rsm}last")

    def is_last(stanza: ET.Element) -> bool:
        result = stanza.find("{urn:xmpp:mam:2}result")
        if result is not None and result.get("queryid") == name:
            found.append(streams.text_of(stanza))
        return result is not None and result.get("id") == last

    await watch.until(is_last)
    return "\n".join(found)


# What is refused


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"JICOFO_AUTH_PASSWORD": ""}, "JICOFO_AUTH_PASSWORD is not set: focus@auth.chat.example needs a password"),
        ({"JVB_AUTH_PASSWORD": ""}, "JVB_AUTH_PASSWORD is not set"),
        ({"GLOBAL_CONFIG": "c2s_timeout = 30"}, "GLOBAL_CONFIG holds source text"),
        ({"XMPP_MUC_CONFIGURATION": "a = 1"}, "XMPP_MUC_CONFIGURATION holds source text"),
        ({"PROSODY_MODE": "visitors"}, 'PROSODY_MODE="visitors": only the mode client'),
        ({"AUTH_TYPE": "matrix"}, 'AUTH_TYPE: "matrix" is not valid, expected one of internal, jwt, ldap'),
        ({"ENABLE_AUTH": "1", "AUTH_TYPE": "jwt"}, "tokens need a key"),
        ({"XMPP_MODULES": "nonsense_module"}, "XMPP_MODULES: there is no module nonsense_module"),
        ({"PROSODY_JITSI": "false"}, "JVB_AUTH_PASSWORD is for a Jitsi deployment, which this is not"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_environments_that_are_refused(
    client: docker.DockerClient, image: LoadedImage, changes: Mapping[str, str], message: str
) -> None:
    outcome = servers.run(client, image, environment=ENVIRONMENT | dict(changes))
    assert outcome.status == 78
    assert message in outcome.text
    assert FOCUS not in outcome.text
    assert BRIDGE not in outcome.text


def test_modules_of_jitsi_are_loaded_where_they_are(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    """The folder of one's own comes first, then the folder of Jitsi's modules; what is in neither is left out."""
    own, theirs = tmp_path / "own", tmp_path / "theirs"
    sources = {
        own / "mod_muc_meeting_id.lua": 'module:log("info", "meeting id of my own");',
        theirs / "mod_muc_meeting_id.lua": 'module:log("info", "meeting id of theirs");',
        theirs / "mod_speakerstats_component.lua":
            'module:log("info", "statistics of %s", module:get_option_string("muc_component"));',
        theirs / "mod_polls_component.lua": 'module:log("info", "polls");',
    }  # fmt: skip
    for path, text in sources.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o644)
    mounts = {str(own): {"bind": "/prosody-plugins-custom", "mode": "ro"},
              str(theirs): {"bind": "/prosody-plugins", "mode": "ro"}}  # fmt: skip
    server = Server(client, image, ENVIRONMENT | {"DISABLE_POLLS": "1"}, {}, mounts)
    try:
        server.start()
        server.wait_for(lambda: f"statistics of {ROOMS}" in server.log(), "the statistics are loaded")
        log = server.log()
        assert "meeting id of my own" in log
        assert "meeting id of theirs" not in log
        assert "polls" not in log
        assert "error" not in log.lower()
    finally:
        server.remove()
