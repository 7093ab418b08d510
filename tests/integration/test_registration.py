"""How people get an account by themselves: with a form, with an invitation, on a web page; and how they leave."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import tarfile
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from xml.sax.saxutils import escape

import docker
import pytest
import slixmpp

from tests.integration import servers, streams, web
from tests.integration.client_exchanges import publish
from tests.integration.clients import Client, RefusedError, Watch, entered, log_in
from tests.integration.containers import LoadedImage
from tests.integration.registration import Registration
from tests.integration.scenes import ALICE, ALICE_PASSWORD, BOB, BOB_PASSWORD, Stage, command, refusal, results
from tests.integration.servers import DOMAIN
from tests.integration.streams import Stream

OPEN, LIMITED, BLOCKED, SOCIABLE = (f"{name}.example" for name in ("open", "limited", "blocked", "sociable"))
CAROL, CAROL_PASSWORD = f"carol@{SOCIABLE}", "carol's password"
REGISTER, FORM = "jabber:iq:register", "{jabber:x:data}"
PASSWORD = "a good password"


@pytest.fixture(scope="module")
def stage(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server that needs invitations, which Alice administers, and domains that see that differently."""
    accounts = {ALICE: ALICE_PASSWORD, BOB: BOB_PASSWORD, CAROL: CAROL_PASSWORD}
    variables = {
        "PROSODY_VIRTUAL_HOSTS": ",".join((DOMAIN, OPEN, LIMITED, BLOCKED, SOCIABLE)),
        "PROSODY_ACCOUNTS": "\n".join(f"{address}:{password}" for address, password in accounts.items()),
        "PROSODY_ADMINS": ALICE,
        "PROSODY_WEB_INVITES": "true",
        "PROSODY_ALLOW_REGISTRATION__OPEN_EXAMPLE": "true",
        "PROSODY_REGISTRATION_TITLE__OPEN_EXAMPLE": "Come in",
        "PROSODY_REGISTRATION_THROTTLE_MAX__OPEN_EXAMPLE": "1000",
        "PROSODY_ENABLE_MODULES__OPEN_EXAMPLE": "password_policy",
        "PROSODY_ALLOW_REGISTRATION__LIMITED_EXAMPLE": "true",
        "PROSODY_REGISTRATION_THROTTLE_MAX__LIMITED_EXAMPLE": "2",
        "PROSODY_ALLOW_REGISTRATION__BLOCKED_EXAMPLE": "true",
        "PROSODY_REGISTRATION_BLOCKLIST__BLOCKED_EXAMPLE": "0.0.0.0/0",
        "PROSODY_ALLOW_USER_INVITES__SOCIABLE_EXAMPLE": "true",
        "PROSODY_INVITE_EXPIRY__SOCIABLE_EXAMPLE": "1 s",
    }
    ports = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5281)}
    with servers.serving(client, image, {"ports": ports}, **variables) as started:
        yield Stage(started, started.certificate(tmp_path_factory.mktemp("stage")))


def register(stage: Stage, domain: str, name: str, password: str = PASSWORD) -> str | None:
    """Make an account; returns why it is refused."""
    with Registration(stage.server, stage.certificate, domain) as stranger:
        return stranger.register(name, password)


def new_name() -> str:
    """A name that nobody has."""
    return f"n{uuid.uuid4().hex[:12]}"


# ---- With a form


def test_what_has_to_be_filled_in(stage: Stage) -> None:
    """XEP-0077, 3.1, for old clients and as a form."""
    with Registration(stage.server, stage.certificate, OPEN) as stranger:
        query = stranger.form()[0]
    assert {child.tag for child in query} >= {f"{{jabber:iq:register}}{name}" for name in ("username", "password")}
    assert query.findtext(f"{FORM}x/{FORM}title") == "Come in"
    assert {field.get("var") for field in query.iter(f"{FORM}field")} == {"FORM_TYPE", "username", "password"}


def test_an_account_is_made_once(stage: Stage) -> None:
    name = new_name()
    assert register(stage, OPEN, name) is None
    log_in(stage.server.port(), f"{name}@{OPEN}", PASSWORD, stage.certificate)
    for same in (name, name.upper()):
        assert "not-acceptable" in (register(stage, OPEN, same, "another password") or "accepted")
    with pytest.raises(RefusedError):
        log_in(stage.server.port(), f"{name}@{OPEN}", "another password", stage.certificate)


@pytest.mark.parametrize(
    ("name", "password", "reason"),
    [
        ("", PASSWORD, "Required value missing"), ("juliet", "", "No password provided"),
        ("a b", PASSWORD, "not-acceptable"), ("a@b", PASSWORD, "not-acceptable"),
        ("juliet", "short", "too short"),
    ],
)  # fmt: skip
def test_what_is_not_accepted(stage: Stage, name: str, password: str, reason: str) -> None:
    assert reason in (register(stage, OPEN, name, password) or "accepted")


def test_a_name_that_looks_like_another_is_refused(stage: Stage) -> None:
    """As those that are told apart by nobody (mod_mimicking): this one has a letter of Cyrillic."""
    assert register(stage, OPEN, "paypal") is None
    assert "not-acceptable" in (register(stage, OPEN, "p\N{CYRILLIC SMALL LETTER A}ypal") or "accepted")


def test_an_address_registers_only_so_often(stage: Stage) -> None:
    refused = [register(stage, LIMITED, new_name()) for _ in range(3)]
    assert refused[:2] == [None, None]
    assert "policy-violation" in (refused[2] or "accepted")


def test_an_address_that_is_blocked_does_not(stage: Stage) -> None:
    assert "blocklisted" in (register(stage, BLOCKED, new_name()) or "accepted")


def test_nobody_sends_a_password_in_clear(stage: Stage) -> None:
    with Stream(stage.server.port(), OPEN) as stream:
        assert "iq-register" not in streams.text_of(stream.open())
        query = f"<username>{new_name()}</username><password>a good password</password>"
        stream.send(f"<iq type='set' id='r'><query xmlns='jabber:iq:register'>{query}</query></iq>")
        answer = stream.read()
    assert answer.get("type") != "result", streams.text_of(answer)


# ---- With an invitation


class Newcomer(Client):
    """A client that shows an invitation and registers (XEP-0445, XEP-0077) on the stream on which it then logs in."""

    def __init__(self, jid: str, password: str, certificate: Path, token: str) -> None:
        super().__init__(jid, password, certificate)
        self._token = token
        self.register_plugin("xep_0077")
        self.add_event_handler("register", self._register)

    async def _register(self, _form: Any) -> None:
        answers = Watch(self, "iq")
        credentials = f"<username>{escape(self.boundjid.local)}</username><password>{escape(self.password)}</password>"
        # Sent as it is, because slixmpp keeps what it does not know back until there is a session.
        for identifier, payload in (
            ("preauth", f"<preauth xmlns='urn:xmpp:pars:0' token='{escape(self._token)}'/>"),
            ("register", f"<query xmlns='{REGISTER}'>{credentials}</query>"),
        ):
            self.send_raw(f"<iq type='set' id='{identifier}'>{payload}</iq>")
            await answers.until(lambda stanza, wanted=identifier: stanza.get("id") == wanted)  # type: ignore[misc]


def token_of(uri: str, address: str, action: str) -> str:
    """The token of an invitation (XEP-0401, XEP-0379)."""
    found = re.fullmatch(rf"xmpp:{re.escape(address)}\?{action};preauth=([^;]+)(;ibr=y)?", uri)
    assert found, uri
    return found[1]


def test_an_administrator_invites(stage: Stage) -> None:
    """The whole way of XEP-0401: the command, the token, the account, the login; then it is used up."""
    create = "urn:xmpp:invite#create-account"

    async def scene(alice: Client, bob: Client) -> None:
        assert await refusal(command(bob, DOMAIN, create)) == "forbidden"
        invitation = results(await command(alice, DOMAIN, create))
        expiry = datetime.fromisoformat(invitation["expire"]) - datetime.now(UTC)
        assert timedelta(days=6) < expiry <= timedelta(days=7)
        token = token_of(invitation["uri"], DOMAIN, "register")
        newcomer = Newcomer(f"{new_name()}@{DOMAIN}", PASSWORD, stage.certificate, token)
        async with entered(newcomer, "127.0.0.1", stage.server.port()):
            assert newcomer.boundjid.domain == DOMAIN
        with Registration(stage.server, stage.certificate) as late:
            assert "forbidden" in (late.show(token) or "accepted")

    stage.play(scene)


def test_a_user_invites_contacts_only(stage: Stage) -> None:
    """Unless told otherwise: who has an account becomes a contact without being asked (XEP-0379), others get none."""

    async def scene(alice: Client, bob: Client) -> None:
        bob.auto_authorize, bob.auto_subscribe = None, False
        await bob.ask("get", "<query xmlns='jabber:iq:roster'/>")
        invitation = results(await command(bob, DOMAIN, "urn:xmpp:invite#invite"))
        token = token_of(invitation["uri"], BOB, "roster")
        with Registration(stage.server, stage.certificate) as stranger:
            assert "forbidden" in (stranger.show(token) or "accepted")
        pushes = Watch(bob, "iq")
        alice.send_raw(
            f"<presence type='subscribe' to='{BOB}'><preauth xmlns='urn:xmpp:pars:0' token='{token}'/></presence>"
        )
        await pushes.until(
            lambda stanza: any(
                item.get("jid") == ALICE and item.get("subscription") == "both"
                for item in stanza.iter("{jabber:iq:roster}item")
            )
        )

    stage.play(scene)


def test_a_user_invites_to_the_server_where_that_is_allowed(stage: Stage) -> None:
    """Who comes is a contact at once. And an invitation is not good for longer than was said."""

    async def scene() -> str:
        async with stage.client(CAROL, CAROL_PASSWORD) as carol:
            invitation = results(await command(carol, SOCIABLE, "urn:xmpp:invite#invite"))
            token = token_of(invitation["uri"], CAROL, "roster")
            newcomer = Newcomer(f"{new_name()}@{SOCIABLE}", PASSWORD, stage.certificate, token)
            async with entered(newcomer, "127.0.0.1", stage.server.port()):
                for client, contact in ((carol, newcomer), (newcomer, carol)):
                    roster = await client.ask("get", "<query xmlns='jabber:iq:roster'/>")
                    (item,) = roster.iter("{jabber:iq:roster}item")
                    assert (item.get("jid"), item.get("subscription")) == (contact.boundjid.bare, "both")
            other = results(await command(carol, SOCIABLE, "urn:xmpp:invite#invite"))
            return token_of(other["uri"], CAROL, "roster")

    token = asyncio.run(scene())

    def is_refused() -> bool:
        with Registration(stage.server, stage.certificate, SOCIABLE) as stranger:
            return "forbidden" in (stranger.show(token) or "accepted")

    stage.server.wait_for(is_refused, "the invitation expires")


def test_a_web_page_leads_to_an_account(stage: Stage) -> None:
    name, port = new_name(), stage.server.port(5281)

    async def invite() -> dict[str, str]:
        async with stage.alice() as alice:
            return results(await command(alice, DOMAIN, "urn:xmpp:invite#create-account"))

    invitation = asyncio.run(invite())
    token = token_of(invitation["uri"], DOMAIN, "register")
    page = web.answer(port, stage.certificate, "GET", invitation["landing-url"])
    assert page.status_code == 200
    assert escape(invitation["uri"]) in page.text
    assert invitation["uri"] in page.headers["Link"]

    address = f"https://{DOMAIN}/register"
    form = web.answer(port, stage.certificate, "GET", f"{address}?t={token}")
    assert 'name="password"' in form.text
    fields = urlencode({"user": name, "password": PASSWORD, "token": token}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    done = web.answer(port, stage.certificate, "POST", address, fields, headers)
    assert done.status_code == 200, done.text
    log_in(stage.server.port(), f"{name}@{DOMAIN}", PASSWORD, stage.certificate)

    assert "expired" in web.answer(port, stage.certificate, "GET", invitation["landing-url"]).text
    again = urlencode({"user": new_name(), "password": PASSWORD, "token": token}).encode()
    assert web.answer(port, stage.certificate, "POST", address, again, headers).status_code == 303


# ---- Changed, and left


def test_a_new_password_ends_the_sessions_of_others(stage: Stage) -> None:
    name = new_name()
    address = f"{name}@{OPEN}"
    assert register(stage, OPEN, name, "the old password") is None

    async def scene() -> None:
        async with stage.client(address, "the old password") as own, stage.client(address, "the old password") as other:
            ended = other.upcoming("disconnected")
            own.register_plugin("xep_0077")
            registration: Any = own.plugin["xep_0077"]
            assert await refusal(registration.change_password("short", jid=OPEN)) == "not-acceptable"
            await registration.change_password("the new password", jid=OPEN)
            await ended
            await own.catch_up()

    asyncio.run(scene())
    log_in(stage.server.port(), address, "the new password", stage.certificate)
    with pytest.raises(RefusedError):
        log_in(stage.server.port(), address, "the old password", stage.certificate)


def test_who_leaves_leaves_nothing(stage: Stage) -> None:
    """All that was kept is removed with the account (XEP-0077, 3.2), and nobody can take its name over."""
    name = new_name()
    address = f"{name}@{OPEN}"
    assert register(stage, OPEN, name) is None

    async def live_and_leave() -> None:
        async with stage.client(address, PASSWORD) as leaver:
            await leaver.ask("set", "<vCard xmlns='vcard-temp'><FN>Soon gone</FN></vCard>")
            await leaver.ask(
                "set", "<query xmlns='jabber:iq:private'><note xmlns='urn:example:note'><kept/></note></query>"
            )
            await publish(leaver, "urn:example:note", "current", "<note xmlns='urn:example:note'/>")
            leaver.say(address, "to myself")
            await leaver.catch_up()
            stores = {path.split("/")[0] for path in kept(stage, OPEN, name)}
            assert stores >= {"accounts", "account_details", "pep", "private"}, stores
            leaver.register_plugin("xep_0077")
            registration: Any = leaver.plugin["xep_0077"]
            gone = leaver.upcoming("disconnected")
            with contextlib.suppress(slixmpp.exceptions.IqTimeout):
                await registration.cancel_registration(jid=OPEN, timeout=1)
            await gone

    asyncio.run(live_and_leave())
    stage.server.wait_for(lambda: kept(stage, OPEN, name) <= {f"tombstones/{name}.dat"}, "the data are removed")
    with pytest.raises(RefusedError):
        log_in(stage.server.port(), address, PASSWORD, stage.certificate)
    assert "not-acceptable" in (register(stage, OPEN, name) or "accepted")


def kept(stage: Stage, domain: str, name: str) -> set[str]:
    """Files that hold something of an account."""
    folder = domain.replace(".", "%2e")
    chunks, _ = stage.server.running.get_archive(f"/var/lib/prosody/{folder}")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        paths = [path.removeprefix(f"{folder}/") for path in archive.getnames()]
    return {path for path in paths if name in path}
