"""Rooms (XEP-0045) as the scenes' clients make, enter and use them."""

from __future__ import annotations

import uuid
from typing import Any, NamedTuple
from xml.etree import ElementTree as ET

import slixmpp

from tests.integration import streams
from tests.integration.client_exchanges import ROOMS, body
from tests.integration.clients import Client, Watch
from tests.integration.containers import PATIENCE
from tests.integration.scenes import BOB, words

MUC = "http://jabber.org/protocol/muc"


def new_room() -> slixmpp.JID:
    """The address of a room that does not exist yet."""
    return slixmpp.JID(f"{uuid.uuid4()}@{ROOMS}")


def of(client: Client) -> Any:
    """The client's commands for rooms, which have no types."""
    return client.plugin["xep_0045"]


class Entry(NamedTuple):
    """What somebody hears who enters a room."""

    presence: Any  # their own
    subject: Any
    occupants: list[Any]  # presences
    history: list[Any]  # messages


async def enter(client: Client, room: slixmpp.JID, nick: str, **options: Any) -> Entry:
    """Enter a room; raises PresenceError if that is refused."""
    return Entry(*await of(client).join_muc_wait(room, nick, timeout=PATIENCE, **options))


async def leave(client: Client, room: slixmpp.JID) -> None:
    """Leave a room, and wait until that has happened."""
    watch, nick = Watch(client, "presence"), of(client).get_our_jid_in_room(room)
    of(client).leave_muc(room, slixmpp.JID(nick).resource)
    await watch.until(lambda stanza: stanza.get("from") == nick and stanza.get("type") == "unavailable")


async def configure(owner: Client, room: slixmpp.JID, **options: str) -> None:
    """Change what is named of the configuration of a room; without a name, take what it is (XEP-0045, 10.1.2)."""
    fields = "".join(
        f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>" for name, value in options.items()
    )
    kind = f"<field var='FORM_TYPE'><value>{MUC}#roomconfig</value></field>" if options else ""
    form = f"<x xmlns='jabber:x:data' type='submit'>{kind}{fields}</x>"
    await owner.ask("set", f"<query xmlns='{MUC}#owner'>{form}</query>", str(room))


async def open_room(owner: Client, nick: str = "alice", **options: str) -> slixmpp.JID:
    """A new room that its owner is in and has configured."""
    room = new_room()
    await enter(owner, room, nick)
    await configure(owner, room, **options)
    return room


async def open_room_for_both(owner: Client, **options: str) -> slixmpp.JID:
    """The same, with Bob as a member: the image limits how often others may do something in a room."""
    room = await open_room(owner, **options)
    await affiliate(owner, room, BOB, "member")
    return room


async def affiliate(owner: Client, room: slixmpp.JID, address: str, affiliation: str, **options: str) -> None:
    """Give somebody an affiliation."""
    await of(owner).set_affiliation(room, affiliation, jid=slixmpp.JID(address), timeout=PATIENCE, **options)


async def say(client: Client, room: slixmpp.JID) -> tuple[str, ET.Element]:
    """Say something new in a room; returns it, and the message as the room sends it to everybody."""
    watch, text = Watch(client, "message"), words()
    client.say(str(room), text, kind="groupchat")
    heard = await watch.until(lambda stanza: body(stanza) == text)
    assert heard.get("type") == "groupchat", streams.text_of(heard)
    return text, heard


async def read(client: Client, room: slixmpp.JID, **options: Any) -> list[str]:
    """What was said in a room, in order; `options` are those of slixmpp."""
    archive: Any = client.plugin["xep_0313"]
    messages = [found async for found in archive.iterate(room, **options)]
    return [str(found["mam_result"]["forwarded"]["stanza"]["body"]) for found in messages]


def codes(stanza: ET.Element) -> set[str]:
    """Status codes in a presence or message (XEP-0045, 15.6)."""
    return {status.get("code", "") for status in stanza.iter(f"{{{MUC}#user}}status")}


def standing(stanza: ET.Element) -> tuple[str | None, str | None]:
    """Affiliation and role in a presence."""
    item = next(stanza.iter(f"{{{MUC}#user}}item"))
    return item.get("affiliation"), item.get("role")
