"""Data of every kind that a server keeps: written by clients, and read back by clients as one complete view.

Two views are equal if and only if nothing that clients can see has changed.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape, quoteattr

import slixmpp

from tests.integration import streams
from tests.integration.clients import Client, Watch, connected
from tests.integration.containers import Published
from tests.integration.servers import DOMAIN, Server
from tests.integration.socket_exchanges import request
from tests.integration.streams import ProtocolError

ROOMS, UPLOADS, PUBSUB = f"conference.{DOMAIN}", f"upload.{DOMAIN}", f"pubsub.{DOMAIN}"
ALICE, BOB, CAROL, DORA = (f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol", "dora"))
# Deseret letters are beyond the BMP and may be part of an address (RFC 3454, A.1 leaves them assigned).
DESERET = f"\U00010428\U00010429@{DOMAIN}"
ACCOUNTS = dict.fromkeys((ALICE, BOB, CAROL, DORA), "first password")
ENVIRONMENT = {
    "PROSODY_DOMAIN": DOMAIN,
    "PROSODY_ADMINS": ALICE,
    "PROSODY_PUBSUB_DOMAIN": PUBSUB,
    "PROSODY_C2S_RATE_LIMIT": "50mb/s",
    "PROSODY_MUC_EVENT_RATE": "1000",
    "PROSODY_ACCOUNTS": "\n".join(f"{address}:{password}" for address, password in ACCOUNTS.items()),
}
# What the accounts are left with: one password is changed by its user, the others by the administrator.
PASSWORDS = {ALICE: 'alice\'s "new" \\ % \U0001f511', BOB: "bob's given", DESERET: "пароль \U0001f511 密码"}
TEXT = "ünï <&> 'quotes' \"double\" \\n %s \u2028 \U0001f642\U00010428 \U0001f468\u200d\U0001f469\u200d\U0001f467"
LONG = "long \U0001f642 " * 20_000  # 220,000 bytes in UTF-8
ROOM = f"\U00010428room@{ROOMS}"
OFFLINE = [f"for later {number} {TEXT}" for number in range(3)]
_CONVERSATION = [f"message {number} {TEXT}" for number in range(25)]
_PAGE = 10  # messages
_MAM, _PUBSUB, _FORM = "urn:xmpp:mam:2", "http://jabber.org/protocol/pubsub", "jabber:x:data"
_MUC = "http://jabber.org/protocol/muc"

View = dict[str, Any]


@dataclass(frozen=True)
class _Form:
    """A submitted data form (XEP-0004)."""

    kind: str
    fields: Mapping[str, str]

    def __str__(self) -> str:
        values = {"FORM_TYPE": self.kind, **self.fields}
        fields = "".join(
            f"<field var={quoteattr(name)}><value>{escape(value)}</value></field>" for name, value in values.items()
        )
        return f"<x xmlns='{_FORM}' type='submit'>{fields}</x>"


@asynccontextmanager
async def client_of(server: Published, certificate: Path, address: str) -> AsyncIterator[Client]:
    """A client with the password that `write` leaves the account with."""
    async with connected(server.port(), address, PASSWORDS[address], certificate) as client:
        yield client


async def write(server: Server, certificate: Path) -> View:
    """Write everything on a new server; returns what is seen of it, apart from messages that wait for somebody."""
    address, token = await fill(server, certificate)
    server.shell(f"user:set_role('{CAROL}', 'prosody:member')")
    async with connected(server.port(), CAROL, "first password", certificate):
        pass  # leaves the time at which the account was last used
    return await read(server, certificate, address, token)


async def fill(server: Published, certificate: Path) -> tuple[str, str]:
    """Write what clients can write, on any server that has `ACCOUNTS`.

    Returns the address of a file, and the token of an invitation.
    """
    async with connected(server.port(), ALICE, "first password", certificate) as alice:
        await _accounts(alice)
    async with client_of(server, certificate, ALICE) as alice, client_of(server, certificate, BOB) as bob:
        await _contacts(alice, bob)
        await _account_data(alice)
        await _events(alice)
        await _messages(alice, bob)
        await _room(alice, bob)
        await _nodes(alice, bob)
        return await _upload(server, certificate, alice), await _invite(alice)


async def _accounts(alice: Client) -> None:
    await _command(alice, "add-user", accountjid=DESERET, password=PASSWORDS[DESERET])
    await _command(alice, "change-user-password", accountjid=BOB, password=PASSWORDS[BOB])
    # XEP-0077, 3.3
    await alice.ask(
        "set",
        f"<query xmlns='jabber:iq:register'><username>alice</username><password>{escape(PASSWORDS[ALICE])}</password>"
        "</query>",
    )


async def _command(client: Client, name: str, **fields: str) -> ET.Element:
    """Have the server execute a command of XEP-0133; returns the last answer."""
    node = name if ":" in name else f"http://jabber.org/protocol/admin#{name}"
    commands = "http://jabber.org/protocol/commands"
    opened = await client.ask("set", f"<command xmlns='{commands}' node='{node}' action='execute'/>", DOMAIN)
    command = opened.find(f"{{{commands}}}command")
    assert command is not None
    if command.get("status") == "completed":
        return command
    form = _Form("http://jabber.org/protocol/admin", {**fields, "password-verify": fields["password"]})
    answer = await client.ask(
        "set",
        f"<command xmlns='{commands}' node='{node}' sessionid='{command.get('sessionid')}'>{form}</command>",
        DOMAIN,
    )
    completed = answer.find(f"{{{commands}}}command")
    if completed is None or completed.get("status") != "completed" or completed.find("*[@type='error']") is not None:
        raise ProtocolError(f"{name}: {streams.text_of(answer)}")
    return completed


async def _contacts(alice: Client, bob: Client) -> None:
    watches = ((Watch(alice, "presence"), BOB), (Watch(bob, "presence"), ALICE))
    for client in (alice, bob):
        await client.ask("get", "<query xmlns='jabber:iq:roster'/>")
    # Both clients approve requests and ask back by themselves.
    alice.send_presence_subscription(pto=slixmpp.JID(BOB))
    for watch, contact in watches:
        await watch.until(partial(_is_available, contact))
    groups = "".join(f"<group>{escape(name)}</group>" for name in ("Friends", TEXT))
    for contact in (BOB, DESERET, "somebody@elsewhere.example"):
        await alice.ask(
            "set",
            f"<query xmlns='jabber:iq:roster'><item jid='{contact}' name={quoteattr(TEXT)}>{groups}</item></query>",
        )
    # A request that nobody has answered yet is kept for Dora, who is not there.
    alice.send_raw(f"<presence to='{DORA}' type='subscribe'/>")
    await alice.catch_up()


async def _account_data(alice: Client) -> None:
    note = f"<note xmlns='urn:example:note' date='1899-12-31T23:59:59Z'>{escape(TEXT)}<long>{LONG}</long></note>"
    await alice.ask("set", f"<query xmlns='jabber:iq:private'>{note}</query>")
    card = f"<FN>{escape(TEXT)}</FN><BDAY>1582-10-15</BDAY><REV>2100-02-28T23:59:59.999999Z</REV><DESC>{LONG}</DESC>"
    await alice.ask("set", f"<vCard xmlns='vcard-temp'>{card}</vCard>")
    blocked = ("spam@elsewhere.example", DESERET, "bad.example")
    items = "".join(f"<item jid='{address}'/>" for address in blocked)
    await alice.ask("set", f"<block xmlns='urn:xmpp:blocking'>{items}</block>")
    await alice.ask(
        "set",
        f"<prefs xmlns='{_MAM}' default='roster'><always><jid>{DESERET}</jid></always><never><jid>{CAROL}</jid></never>"
        "</prefs>",
    )


async def _events(alice: Client) -> None:
    for number in range(5):
        await _publish(alice, "urn:example:diary", f"day {number}", escape(f"{number} {TEXT}"), max_items="5")
    await _publish(alice, "urn:example:secret", "current", LONG, access_model="whitelist")
    bookmark = (
        f"<conference xmlns='urn:xmpp:bookmarks:1' name={quoteattr(TEXT)} autojoin='true'><nick>{escape(TEXT)}</nick>"
        "<extensions><state xmlns='urn:example:state' minimized='true'/></extensions></conference>"
    )
    await _publish(
        alice, "urn:xmpp:bookmarks:1", ROOM, bookmark,
        max_items="max", access_model="whitelist", send_last_published_item="never",
    )  # fmt: skip


async def _publish(client: Client, node: str, item: str, content: str, to: str | None = None, **options: str) -> None:
    """Publish an item, whose content becomes an entry unless it is an element; `options` are those of the node."""
    entry = content if content.startswith("<") else f"<entry xmlns='urn:example:entry'>{content}</entry>"
    fields = {f"pubsub#{name}": value for name, value in {"persist_items": "true", **options}.items()}
    form = f"<publish-options>{_Form(f'{_PUBSUB}#publish-options', fields)}</publish-options>" if to is None else ""
    await client.ask(
        "set",
        f"<pubsub xmlns='{_PUBSUB}'><publish node='{node}'><item id='{item}'>{entry}</item></publish>{form}</pubsub>",
        to,
    )


async def _messages(alice: Client, bob: Client) -> None:
    for number, text in enumerate(_CONVERSATION):
        sender, receiver = (alice, BOB) if number % 2 else (bob, ALICE)
        sender.say(receiver, text)
        await sender.catch_up()
    alice.say(BOB, LONG)
    for text in OFFLINE:
        alice.say(DORA, text)
    await alice.catch_up()


async def _room(alice: Client, bob: Client) -> None:
    await _join(alice, ROOM, "alice")
    settings = {
        "roomname": TEXT, "roomdesc": TEXT * 20, "persistentroom": "1", "publicroom": "1", "membersonly": "1",
        "moderatedroom": "1", "whois": "anyone", "enablearchiving": "1", "changesubject": "0", "lang": "de",
    }  # fmt: skip
    form = _Form(f"{_MUC}#roomconfig", {f"muc#roomconfig_{name}": value for name, value in settings.items()})
    await alice.ask("set", f"<query xmlns='{_MUC}#owner'>{form}</query>", ROOM)
    affiliations = (
        (BOB, "admin"), (DESERET, "member"), (CAROL, "owner"), ("spam@elsewhere.example", "outcast"),
        ("bad.example", "outcast"),
    )  # fmt: skip
    for address, affiliation in affiliations:
        item = f"<item jid='{address}' affiliation='{affiliation}'><reason>{escape(TEXT)}</reason></item>"
        await alice.ask("set", f"<query xmlns='{_MUC}#admin'>{item}</query>", ROOM)
    await _join(bob, ROOM, "bob")
    nick = _Form(f"{_MUC}#register", {"muc#register_roomnick": "bob \U00010428"})
    await bob.ask("set", f"<query xmlns='jabber:iq:register'>{nick}</query>", ROOM)
    alice.send_raw(f"<message to='{ROOM}' type='groupchat'><subject>{escape(TEXT)}</subject></message>")
    for number, client in enumerate((alice, bob) * 6):
        client.send_raw(f"<message to='{ROOM}' type='groupchat'><body>{number} {escape(TEXT)}</body></message>")
        await client.catch_up()


async def _join(client: Client, room: str, nick: str) -> ET.Element:
    """Enter a room; returns its subject, which comes last (XEP-0045, 7.2.2)."""
    watch = Watch(client, "message")
    client.send_raw(f"<presence to='{room}/{nick}'><x xmlns='{_MUC}'/></presence>")
    return await watch.until(lambda stanza: stanza.find(f"{{{streams.CLIENT}}}subject") is not None)


async def _nodes(alice: Client, bob: Client) -> None:
    form = _Form(
        f"{_PUBSUB}#node_config", {"pubsub#title": TEXT, "pubsub#max_items": "20", "pubsub#persist_items": "1"}
    )
    await alice.ask(
        "set", f"<pubsub xmlns='{_PUBSUB}'><create node='news'/><configure>{form}</configure></pubsub>", PUBSUB
    )
    for number in range(3):
        await _publish(alice, "news", f"item {number}", escape(f"{number} {TEXT}"), PUBSUB)
    await bob.ask("set", f"<pubsub xmlns='{_PUBSUB}'><subscribe node='news' jid='{BOB}'/></pubsub>", PUBSUB)
    await alice.ask(
        "set",
        f"<pubsub xmlns='{_PUBSUB}#owner'><affiliations node='news'><affiliation jid='{DESERET}'"
        " affiliation='publisher'/></affiliations></pubsub>",
        PUBSUB,
    )


async def _upload(server: Published, certificate: Path, alice: Client) -> str:
    """Upload a file (XEP-0363); returns its address."""
    content, namespace = LONG.encode(), "urn:xmpp:http:upload:0"
    answer = await alice.ask(
        "get", f"<request xmlns='{namespace}' filename='note 🙂.txt' size='{len(content)}'/>", UPLOADS
    )
    put, get = (answer.find(f".//{{{namespace}}}{name}") for name in ("put", "get"))
    assert put is not None
    assert get is not None
    headers = {header.get("name", ""): header.text or "" for header in put}
    request(server, certificate, "PUT", put.get("url", ""), content, headers)
    return get.get("url", "")


async def _invite(alice: Client) -> str:
    """An invitation for a new account; returns its token."""
    completed = await _command(alice, "urn:xmpp:invite#create-account")
    for value in completed.iter(f"{{{_FORM}}}value"):
        if "preauth=" in (value.text or ""):
            return (value.text or "").split("preauth=")[1].split(";")[0]
    raise ProtocolError(f"no invitation: {streams.text_of(completed)}")


async def read(server: Server, certificate: Path, upload: str, token: str) -> View:
    """Everything that can be seen without changing it; `upload` is a file's address, `token` that of an invitation."""
    view = await read_as_clients(server, certificate, upload, token)
    view["accounts"] = sorted(server.shell(f"user:list('{DOMAIN}')").splitlines())
    view["role"] = server.shell(f"user:role('{CAROL}')")
    view["last activity"] = server.shell(f"user:activity('{CAROL}')")
    return view


async def read_as_clients(server: Published, certificate: Path, upload: str, token: str) -> View:
    """What clients can see of it, on any server."""
    async with client_of(server, certificate, ALICE) as alice, client_of(server, certificate, BOB) as bob:
        view: View = {"upload": upload, "token": token}
        view["file"] = hashlib.sha256(request(server, certificate, "GET", upload)).hexdigest()
        for name, client in (("alice", alice), ("bob", bob)):
            roster = await client.ask("get", "<query xmlns='jabber:iq:roster'/>")
            view[f"roster of {name}"] = sorted(map(_contact, roster[0]))
            view[f"archive of {name}"] = await _archive(client, None)
        for name, query in {
            "private data": "<query xmlns='jabber:iq:private'><note xmlns='urn:example:note'/></query>",
            "bookmarks": "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>",
            "vCard": "<vCard xmlns='vcard-temp'/>",
            "preferences": f"<prefs xmlns='{_MAM}'/>",
        }.items():
            view[name] = _canonical((await alice.ask("get", query))[0])
        blocked = await alice.ask("get", "<blocklist xmlns='urn:xmpp:blocking'/>")
        view["blocked"] = sorted(item.get("jid", "") for item in blocked.iter("{urn:xmpp:blocking}item"))
        view["events"] = await _service(alice, ALICE)
        view["pubsub"] = await _service(alice, PUBSUB)
        for name in ("subscriptions", "affiliations"):
            answer = await alice.ask("get", f"<pubsub xmlns='{_PUBSUB}#owner'><{name} node='news'/></pubsub>", PUBSUB)
            view[f"pubsub {name}"] = sorted(map(_canonical, answer[0][0]))
        view["vCard seen by a contact"] = _canonical((await bob.ask("get", "<vCard xmlns='vcard-temp'/>", ALICE))[0])
        view["room of alice"] = await _room_view(alice)
        view["nick of bob"] = _canonical((await bob.ask("get", "<query xmlns='jabber:iq:register'/>", ROOM))[0])
    async with client_of(server, certificate, DESERET):
        pass  # the account is there, with its password
    view["invitation"] = _invitation(server, certificate, token)
    return view


async def read_waiting(server: Published, certificate: Path) -> View:
    """What waits for somebody who has not been there yet; seeing it takes it away."""
    address, password = DORA, "first password"
    async with connected(server.port(), address, password, certificate, available=False) as dora:
        messages, presences = Watch(dora, "message"), Watch(dora, "presence")
        dora.send_presence()
        request_ = await presences.until(lambda stanza: stanza.get("type") == "subscribe")
        texts = []
        for _ in OFFLINE:
            message = await messages.until(lambda stanza: stanza.find(f"{{{streams.CLIENT}}}body") is not None)
            assert message.find("{urn:xmpp:delay}delay") is not None, "it does not say when it was sent"
            texts.append(message.findtext(f"{{{streams.CLIENT}}}body"))
    return {"messages": texts, "wants to subscribe": request_.get("from")}


async def _archive(client: Client, to: str | None) -> list[tuple[str, str, str]]:
    """A whole archive, page by page (XEP-0313, XEP-0059): identifier, time to the second, and message.

    Databases other than SQLite keep no fractions of seconds.
    """
    found: list[tuple[str, str, str]] = []
    watch, after = Watch(client, "message"), ""
    while True:
        answer = await client.ask(
            "set",
            f"<query xmlns='{_MAM}'><set xmlns='http://jabber.org/protocol/rsm'><max>{_PAGE}</max>{after}</set></query>",
            to,
        )
        finish = answer.find(f"{{{_MAM}}}fin")
        assert finish is not None
        last = finish.findtext(".//{http://jabber.org/protocol/rsm}last")
        while last is not None and (not found or found[-1][0] != last):
            result = (await watch.until(lambda stanza: stanza.find(f"{{{_MAM}}}result") is not None))[0]
            delay, message = result.find(".//{urn:xmpp:delay}delay"), result.find(f".//{{{streams.CLIENT}}}message")
            assert delay is not None
            assert message is not None
            found.append((result.get("id", ""), delay.get("stamp", "")[:19], _canonical(message)))
        if finish.get("complete") == "true":
            return found
        after = f"<after>{last}</after>"


async def _service(client: Client, address: str) -> View:
    """Nodes of a pubsub service, with their items in order and their configuration."""
    view: View = {}
    nodes = await client.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", address)
    for name in sorted(item.get("node", "") for item in nodes[0]):
        items = await client.ask("get", f"<pubsub xmlns='{_PUBSUB}'><items node='{name}'/></pubsub>", address)
        view[name] = [_canonical(item) for item in items.iter(f"{{{_PUBSUB}}}item")]
        view[f"{name} configuration"] = _fields(
            await client.ask("get", f"<pubsub xmlns='{_PUBSUB}#owner'><configure node='{name}'/></pubsub>", address)
        )
    return view


async def _room_view(alice: Client) -> View:
    rooms = await alice.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", ROOMS)
    view: View = {"rooms": [_canonical(item) for item in rooms[0]]}
    view["settings"] = _fields(await alice.ask("get", f"<query xmlns='{_MUC}#owner'/>", ROOM))
    for affiliation in ("owner", "admin", "member", "outcast"):
        query = f"<query xmlns='{_MUC}#admin'><item affiliation='{affiliation}'/></query>"
        view[affiliation] = sorted(map(_canonical, (await alice.ask("get", query, ROOM))[0]))
    view["archive"] = await _archive(alice, ROOM)
    subject = await _join(alice, ROOM, "alice")
    view["subject"] = (subject.get("from"), subject.findtext(f"{{{streams.CLIENT}}}subject"))
    alice.send_raw(f"<presence to='{ROOM}/alice' type='unavailable'/>")
    await alice.catch_up()
    return view


def _invitation(server: Published, certificate: Path, token: str) -> str:
    """What a client that wants to register is answered when it shows an invitation (XEP-0445)."""
    with streams.Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.open()
        stream.send(f"<iq type='set' id='show'><preauth xmlns='urn:xmpp:pars:0' token='{token}'/></iq>")
        return stream.expect(f"{{{streams.CLIENT}}}iq").get("type", "")


def _contact(item: ET.Element) -> tuple[list[tuple[str, str]], list[str]]:
    """A contact of a roster, whose groups have no order (RFC 6121, 2.1.2.6)."""
    return sorted(item.attrib.items()), sorted(group.text or "" for group in item)


def _fields(answer: ET.Element) -> dict[str, list[str]]:
    """The values of a form that an answer holds; where there are several, they have no order."""
    return {
        field.get("var", ""): sorted(value.text or "" for value in field.findall(f"{{{_FORM}}}value"))
        for field in answer.iter(f"{{{_FORM}}}field")
    }


def _is_available(contact: str, presence: ET.Element) -> bool:
    return slixmpp.JID(presence.get("from", "")).bare == contact and not presence.get("type")


def _canonical(element: ET.Element) -> str:
    return ET.canonicalize(streams.text_of(element), rewrite_prefixes=True)
