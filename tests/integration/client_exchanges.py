"""Exchanges that slixmpp clients have with a server and with each other."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import slixmpp
from slixmpp.exceptions import IqError

from tests.integration import streams
from tests.integration.clients import Client, Watch, connected
from tests.integration.containers import PATIENCE
from tests.integration.evidence import FAILURES, Exchange, Feature, Place
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.socket_exchanges import announced_capabilities, request
from tests.integration.streams import ProtocolError
from tests.integration.uploads import UPLOADS, ask_for_slot

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
ROOMS, GATEWAY = f"conference.{DOMAIN}", f"gateway.{DOMAIN}"
GATEWAY_SECRET = "secret of the gateway"
_DISCO = "http://jabber.org/protocol/disco#info"
_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


@dataclass(frozen=True)
class Scene:
    """A server with two users who are logged in."""

    server: Server
    certificate: Path
    alice: Client
    bob: Client


async def perform(
    server: Server,
    certificate: Path,
    attempts: dict[Exchange, Callable[[Scene], Awaitable[None]]],
    failures: dict[Exchange, str],
) -> set[Feature]:
    """Have the exchanges one after the other; returns what the server's entities say of themselves."""
    async with (
        connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
        connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob,
    ):
        for client in (alice, bob):
            for plugin in ("xep_0030", "xep_0115", "xep_0163"):
                client.register_plugin(plugin)
        scene = Scene(server, certificate, alice, bob)
        for exchange, attempt in attempts.items():
            try:
                await attempt(scene)
                failures.pop(exchange)
            except FAILURES as error:
                failures[exchange] = f"{type(error).__name__}: {error}"
        return await _disco_features(scene)


async def _disco_features(scene: Scene) -> set[Feature]:
    room = await _make_room(scene)
    places = {
        Place.HOST: DOMAIN, Place.ACCOUNT: ALICE, Place.ROOMS: ROOMS, Place.ROOM: room, Place.UPLOADS: UPLOADS,
    }  # fmt: skip
    found = set()
    for place, address in places.items():
        info = await scene.alice.plugin["xep_0030"].get_info(jid=slixmpp.JID(address), timeout=PATIENCE)
        for name in info["disco_info"]["features"]:
            found.add(Feature(place, name))
    return found


async def publish(client: Client, node: str, item: str, payload: str, **options: str) -> None:
    """Publish an item on the account's own service; `options` are preconditions (XEP-0060, 7.1.5)."""
    fields = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in options.items())
    form = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>http://jabber.org/protocol/pubsub#publish-options</value></field>{fields}</x></publish-options>"
        if options
        else ""
    )
    await client.ask(
        "set",
        f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><publish node='{node}'><item id='{item}'>{payload}</item>"
        f"</publish>{form}</pubsub>",
    )


async def _login(scene: Scene) -> None:
    mechanism = scene.alice.plugin["feature_mechanisms"].mech
    if mechanism is None or not mechanism.name.startswith("SCRAM-"):
        raise ProtocolError(f"logged in with {mechanism and mechanism.name}")
    await scene.alice.ask("get", "<ping xmlns='urn:xmpp:ping'/>", DOMAIN)


async def befriend(alice: Client, bob: Client) -> None:
    """Let two see each other's presence (RFC 6121, 3), unless they do already."""
    contacts = ((Watch(alice, "presence"), bob), (Watch(bob, "presence"), alice))
    if await _subscription(alice, bob) == "both":
        return
    # Both clients approve requests and ask back by themselves.
    alice.send_presence_subscription(pto=slixmpp.JID(bob.boundjid.bare))
    for watch, contact in contacts:
        address = contact.boundjid.bare
        await watch.until(lambda stanza, address=address: _comes_from(stanza, address) and not stanza.get("type"))  # type: ignore[misc]


async def _subscription(client: Client, contact: Client) -> str | None:
    roster = await client.ask("get", "<query xmlns='jabber:iq:roster'/>")
    items = roster.iter("{jabber:iq:roster}item")
    return next((item.get("subscription") for item in items if item.get("jid") == contact.boundjid.bare), None)


async def _messaging(scene: Scene) -> None:
    await befriend(scene.alice, scene.bob)
    subscription = await _subscription(scene.alice, scene.bob)
    if subscription not in ("to", "both"):
        raise ProtocolError(f"the contact is not in the roster as one: {subscription}")
    for sender, receiver in ((scene.alice, scene.bob), (scene.bob, scene.alice)):
        watch, text = Watch(receiver, "message"), str(uuid.uuid4())
        sender.say(receiver.boundjid.bare, text)
        await watch.until(lambda stanza, text=text: body(stanza) == text)  # type: ignore[misc]


async def _items(scene: Scene) -> None:
    found = await scene.alice.plugin["xep_0030"].get_items(jid=slixmpp.JID(DOMAIN), timeout=PATIENCE)
    missing = {ROOMS, UPLOADS} - {str(jid) for jid, _node, _name in found["disco_items"]["items"]}
    if missing:
        raise ProtocolError(f"not listed: {', '.join(sorted(missing))}")


async def _capabilities(scene: Scene) -> None:
    announced = await asyncio.to_thread(announced_capabilities, scene.server, scene.certificate)
    node, version = announced.get("node"), announced.get("ver")
    query = f"<query xmlns='{_DISCO}' node='{node}#{version}'/>"
    answer = await scene.alice.ask("get", query, DOMAIN)
    information = answer.find(f"{{{_DISCO}}}query")
    assert information is not None, "a result without content"
    computed = _capabilities_hash(information)
    if announced.get("hash") != "sha-1" or computed != version:
        raise ProtocolError(f"announced {announced.get('hash')} {version}, computed {computed}")


def _capabilities_hash(information: ET.Element) -> str:
    """The hash of disco information (XEP-0115, 5.1). slixmpp's own does not follow it where a field has no value."""
    data = "{jabber:x:data}"
    identities = sorted(
        "/".join(found.get(name, "") for name in ("category", "type", _LANGUAGE, "name"))
        for found in information.iter(f"{{{_DISCO}}}identity")
    )
    parts = identities + sorted(found.get("var", "") for found in information.iter(f"{{{_DISCO}}}feature"))
    forms = []
    for form in information.iter(f"{data}x"):
        values = {
            field.get("var", ""): sorted(value.text or "" for value in field.iter(f"{data}value"))
            for field in form.iter(f"{data}field")
        }
        kind = values.pop("FORM_TYPE")
        forms.append(kind + [part for name in sorted(values) for part in (name, *values[name])])
    parts += [part for form in sorted(forms) for part in form]
    text = "".join(f"{part}<" for part in parts)
    return base64.b64encode(hashlib.sha1(text.encode(), usedforsecurity=False).digest()).decode()


async def _events(scene: Scene) -> None:
    mood = "http://jabber.org/protocol/mood"
    watch, text = Watch(scene.bob, "message"), str(uuid.uuid4())
    scene.bob.plugin["xep_0030"].add_feature(f"{mood}+notify")
    await scene.bob.plugin["xep_0115"].update_caps()
    await publish(scene.alice, mood, "current", f"<mood xmlns='{mood}'><happy/><text>{text}</text></mood>")
    await watch.until(lambda stanza: any(found.text == text for found in stanza.iter(f"{{{mood}}}text")))


async def _vcard(scene: Scene) -> None:
    name = f"Alice {uuid.uuid4()}"
    await scene.alice.ask("set", f"<vCard xmlns='vcard-temp'><FN>{name}</FN></vCard>")
    answer = await scene.bob.ask("get", "<vCard xmlns='vcard-temp'/>", ALICE)
    if answer.findtext("{vcard-temp}vCard/{vcard-temp}FN") != name:
        raise ProtocolError(f"another vCard: {streams.text_of(answer)}")


async def _avatar(scene: Scene) -> None:
    # The smallest picture there is: one transparent pixel.
    picture = base64.b64decode(
        "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
    )
    identifier = hashlib.sha1(picture, usedforsecurity=False).hexdigest()  # XEP-0084, 4.1
    watch = Watch(scene.bob, "presence")
    encoded = base64.b64encode(picture).decode()
    data, metadata = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
    await publish(scene.alice, data, identifier, f"<data xmlns='{data}'>{encoded}</data>")
    await publish(
        scene.alice, metadata, identifier,
        f"<metadata xmlns='{metadata}'><info bytes='{len(picture)}' id='{identifier}' type='image/png' height='1'"
        " width='1'/></metadata>",
    )  # fmt: skip
    answer = await scene.bob.ask("get", "<vCard xmlns='vcard-temp'/>", ALICE)
    photo = answer.findtext("{vcard-temp}vCard/{vcard-temp}PHOTO/{vcard-temp}BINVAL")
    if photo is None or base64.b64decode(photo) != picture:
        raise ProtocolError(f"the vCard has another picture: {streams.text_of(answer)}")
    scene.alice.send_presence()
    await watch.until(lambda stanza: stanza.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo") == identifier)


async def _carbons(scene: Scene) -> None:
    text = str(uuid.uuid4())
    async with connected(scene.server.port(), ALICE, ALICE_PASSWORD, scene.certificate) as other:
        await other.ask("set", "<enable xmlns='urn:xmpp:carbons:2'/>")
        watch = Watch(other, "message")
        scene.alice.say(BOB, text)
        await watch.until(
            lambda stanza: (
                stanza.findtext(
                    "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message/{jabber:client}body"
                )
                == text
            )
        )


async def _blocking(scene: Scene) -> None:
    item, refused, allowed = f"<item jid='{BOB}'/>", str(uuid.uuid4()), str(uuid.uuid4())
    watch = Watch(scene.alice, "message")
    await scene.alice.ask("set", f"<block xmlns='urn:xmpp:blocking'>{item}</block>")
    scene.bob.say(ALICE, refused)
    # The message has been handled when what was sent after it is answered (RFC 6120, 10.1: in order).
    await scene.bob.ask("get", "<ping xmlns='urn:xmpp:ping'/>", DOMAIN)
    await scene.alice.ask("set", f"<unblock xmlns='urn:xmpp:blocking'>{item}</unblock>")
    scene.bob.say(ALICE, allowed)
    arrived = await watch.until(lambda stanza: body(stanza) in (refused, allowed))
    if body(arrived) == refused:
        raise ProtocolError("a blocked contact's message arrived")


async def _make_room(scene: Scene) -> str:
    """A new room that Alice owns and is in; only she can know its name."""
    room = f"{uuid.uuid4()}@{ROOMS}"
    await _join(scene.alice, room, "alice")
    await scene.alice.ask(
        "set",
        "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>",
        room,
    )
    return room


async def _join(client: Client, room: str, nick: str) -> None:
    watch = Watch(client, "presence")
    client.send_raw(f"<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
    await watch.until(lambda stanza: stanza.get("from") == f"{room}/{nick}" and _is_own_presence(stanza))


def _is_own_presence(stanza: ET.Element) -> bool:
    user = "{http://jabber.org/protocol/muc#user}"
    return any(status.get("code") == "110" for status in stanza.iter(f"{user}status"))


async def _talk_in_room(scene: Scene) -> tuple[str, str]:
    """A room, and what Alice said there and Bob has received."""
    room, text = await _make_room(scene), str(uuid.uuid4())
    await _join(scene.bob, room, "bob")
    watch = Watch(scene.bob, "message")
    scene.alice.say(room, text, kind="groupchat")
    await watch.until(lambda stanza: stanza.get("from") == f"{room}/alice" and body(stanza) == text)
    return room, text


async def _room(scene: Scene) -> None:
    await _talk_in_room(scene)


async def _room_archive(scene: Scene) -> None:
    room, text = await _talk_in_room(scene)
    watch = Watch(scene.bob, "message")
    await scene.bob.ask("set", "<query xmlns='urn:xmpp:mam:2' queryid='room'/>", room)
    await watch.until(lambda stanza: _archived_text(stanza) == text)


async def _archive(scene: Scene) -> None:
    text = str(uuid.uuid4())
    scene.alice.say(BOB, text)
    watch = Watch(scene.alice, "message")
    await scene.alice.ask("set", "<query xmlns='urn:xmpp:mam:2' queryid='own'/>")
    await watch.until(lambda stanza: _archived_text(stanza) == text)


def _archived_text(stanza: ET.Element) -> str | None:
    return stanza.findtext(
        "{urn:xmpp:mam:2}result/{urn:xmpp:forward:0}forwarded/{jabber:client}message/{jabber:client}body"
    )


async def _self_ping(scene: Scene) -> None:
    room = await _make_room(scene)
    await scene.alice.ask("get", "<ping xmlns='urn:xmpp:ping'/>", f"{room}/alice")


async def _invitation(scene: Scene) -> None:
    room = f"{uuid.uuid4()}@{ROOMS}"
    watch = Watch(scene.bob, "message")
    scene.alice.send_raw(f"<message to='{BOB}'><x xmlns='jabber:x:conference' jid='{room}'/></message>")
    await watch.until(lambda stanza: any(found.get("jid") == room for found in stanza.iter("{jabber:x:conference}x")))


async def _bookmarks(scene: Scene) -> None:
    room, node = f"{uuid.uuid4()}@{ROOMS}", "urn:xmpp:bookmarks:1"
    await publish(
        scene.alice, node, room, f"<conference xmlns='{node}' name='A room' autojoin='false'/>",
        persist_items="true", max_items="max", send_last_published_item="never", access_model="whitelist",
    )  # fmt: skip
    answer = await scene.alice.ask(
        "get", "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"
    )
    if not any(found.get("jid") == room for found in answer.iter("{storage:bookmarks}conference")):
        raise ProtocolError(f"no such bookmark: {streams.text_of(answer)}")


async def _private_item(scene: Scene) -> None:
    node, text = f"urn:example:{uuid.uuid4()}", str(uuid.uuid4())
    await publish(
        scene.alice, node, "current", f"<note xmlns='urn:example:note'>{text}</note>",
        persist_items="true", access_model="whitelist",
    )  # fmt: skip
    wanted = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>"
    answer = await scene.alice.ask("get", wanted)
    if not any(found.text == text for found in answer.iter("{urn:example:note}note")):
        raise ProtocolError(f"the owner cannot read the item: {streams.text_of(answer)}")
    try:
        answer = await scene.bob.ask("get", wanted, ALICE)
    except IqError:
        return
    raise ProtocolError(f"a contact reads a private item: {streams.text_of(answer)}")


async def _private_xml(scene: Scene) -> None:
    text = str(uuid.uuid4())
    stored = "<query xmlns='jabber:iq:private'><note xmlns='urn:example:note'>{}</note></query>"
    await scene.alice.ask("set", stored.format(text))
    answer = await scene.alice.ask("get", stored.format(""))
    if answer.findtext("{jabber:iq:private}query/{urn:example:note}note") != text:
        raise ProtocolError(f"something else is stored: {streams.text_of(answer)}")


async def _upload(scene: Scene) -> None:
    content = uuid.uuid4().bytes
    slot = await ask_for_slot(scene.alice, "note.txt", len(content), "text/plain; charset=utf-8")

    def transfer() -> bytes:
        request(scene.server, scene.certificate, "PUT", slot.put, content, slot.headers)
        return request(scene.server, scene.certificate, "GET", slot.get)

    if await asyncio.to_thread(transfer) != content:
        raise ProtocolError("the file is not the one that was uploaded")


async def _push(scene: Scene) -> None:
    await scene.alice.ask("set", f"<enable xmlns='urn:xmpp:push:0' jid='push.{DOMAIN}' node='device'/>")
    await scene.alice.ask("set", f"<disable xmlns='urn:xmpp:push:0' jid='push.{DOMAIN}' node='device'/>")


async def _no_services(scene: Scene) -> None:
    services = await _services(scene)
    if services:
        raise ProtocolError(f"a service is listed that nobody configured: {streams.text_of(services[0])}")


async def _turn(scene: Scene) -> None:
    services = await _services(scene)
    if not any(
        found.get("host") == "turn.example" and found.get("username") and found.get("password") for found in services
    ):
        raise ProtocolError("the TURN server is not listed with credentials")


async def _services(scene: Scene) -> list[ET.Element]:
    namespace = "urn:xmpp:extdisco:2"
    answer = await scene.alice.ask("get", f"<services xmlns='{namespace}'/>", DOMAIN)
    services = answer.find(f"{{{namespace}}}services")
    if services is None:
        raise ProtocolError(f"not a list of services: {streams.text_of(answer)}")
    return list(services)


async def _component(scene: Scene) -> None:
    make: Any = slixmpp.ComponentXMPP  # which has no types
    component = make(GATEWAY, GATEWAY_SECRET, "127.0.0.1", scene.server.port(5347))
    component.register_plugin("xep_0030")
    component.register_plugin("xep_0199")
    started = asyncio.Event()
    component.add_event_handler("session_start", lambda _event: started.set())
    component.connect()
    try:
        await asyncio.wait_for(started.wait(), PATIENCE)
        await scene.alice.ask("get", "<ping xmlns='urn:xmpp:ping'/>", GATEWAY)
    finally:
        await component.disconnect(wait=0.5)


def _comes_from(stanza: ET.Element, bare: str) -> bool:
    return slixmpp.JID(stanza.get("from", "")).bare == bare


def body(stanza: ET.Element) -> str | None:
    """What a message says."""
    return stanza.findtext(f"{{{streams.CLIENT}}}body")


# In this order: what contacts exchange needs the subscription that messaging makes.
BY_DEFAULT: dict[Exchange, Callable[[Scene], Awaitable[None]]] = {
    Exchange.LOGIN: _login,
    Exchange.MESSAGING: _messaging,
    Exchange.ITEMS: _items,
    Exchange.CAPABILITIES: _capabilities,
    Exchange.EVENTS: _events,
    Exchange.VCARD: _vcard,
    Exchange.AVATAR: _avatar,
    Exchange.CARBONS: _carbons,
    Exchange.ROOM: _room,
    Exchange.ROOM_ARCHIVE: _room_archive,
    Exchange.SELF_PING: _self_ping,
    Exchange.INVITATION: _invitation,
    Exchange.BOOKMARKS: _bookmarks,
    Exchange.PRIVATE_ITEM: _private_item,
    Exchange.PRIVATE_XML: _private_xml,
    Exchange.ARCHIVE: _archive,
    Exchange.UPLOAD: _upload,
    Exchange.PUSH: _push,
    Exchange.NO_SERVICES: _no_services,
    Exchange.BLOCKING: _blocking,
}
WHEN_CONFIGURED: dict[Exchange, Callable[[Scene], Awaitable[None]]] = {
    Exchange.COMPONENT: _component,
    Exchange.TURN: _turn,
}
