"""Who may do what in a room (XEP-0045, 5), and what those who look after it can do about the others."""

from __future__ import annotations

import asyncio
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import slixmpp

from tests.integration import streams
from tests.integration.client_exchanges import body
from tests.integration.clients import Client, Watch
from tests.integration.containers import PATIENCE
from tests.integration.rooms import (
    MUC,
    affiliate,
    codes,
    configure,
    enter,
    leave,
    of,
    open_room,
    open_room_for_both,
    read,
    say,
    standing,
)  # fmt: skip
from tests.integration.scenes import ALICE, BOB, Stage, condition, refusal, words

_MODERATION, _RETRACTION = "urn:xmpp:message-moderate:1", "urn:xmpp:message-retract:1"
DENIED = ("forbidden", "not-allowed")  # XEP-0045, 5.2: which one depends on who asks for what


async def affiliated(client: Client, room: slixmpp.JID, affiliation: str) -> set[str]:
    """Who has an affiliation, as the room tells it."""
    return {str(address) for address in await of(client).get_affiliation_list(room, affiliation, timeout=PATIENCE)}


async def put_out(watch: Watch, room: slixmpp.JID, nick: str) -> ET.Element:
    """The presence with which an occupant is told that they are no longer there."""
    return await watch.until(
        lambda stanza: stanza.get("from") == f"{room}/{nick}" and stanza.get("type") == "unavailable"
    )


async def is_heard(speaker: Client, room: slixmpp.JID) -> bool:
    """Whether somebody may speak in a room; the refusal must be the one of those without a voice."""
    watch, text = Watch(speaker, "message"), words()
    speaker.say(str(room), text, kind="groupchat")
    answer = await watch.until(lambda stanza: body(stanza) == text or stanza.get("type") == "error")
    assert condition(answer) in (None, "forbidden")
    return condition(answer) is None


# ---- Out


def test_who_is_kicked_may_come_back(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        assert await refusal(of(bob).set_role(room, "alice", "none", timeout=PATIENCE)) in DENIED
        told = Watch(bob, "presence")
        await of(alice).set_role(room, "bob", "none", reason="enough", timeout=PATIENCE)
        last = await put_out(told, room, "bob")
        assert "307" in codes(last)
        assert next(last.iter(f"{{{MUC}#user}}reason")).text == "enough"
        await enter(bob, room, "bob")

    stage.play(scene)


def test_who_is_banned_may_not_until_that_is_lifted(stage: Stage) -> None:
    """A ban also holds where everything else stays: over a restart, with the rest of what the owner has set."""
    room = asyncio.run(_ban(stage))
    stage.server.restart()

    async def scene(alice: Client, bob: Client) -> None:
        assert await refusal(enter(bob, room, "bob")) == "forbidden"
        assert await refusal(enter(bob, room, "somebody else")) == "forbidden"
        assert standing((await enter(alice, room, "alice")).presence.xml) == ("owner", "moderator")
        assert await affiliated(alice, room, "outcast") == {BOB}
        assert await affiliated(alice, room, "member") == {"carol@other.example"}
        form = (await of(alice).get_room_config(room, timeout=PATIENCE)).get_fields()
        assert form["muc#roomconfig_roomname"].get_value() == "Wonderland"
        await affiliate(alice, room, BOB, "none")
        assert (await enter(bob, room, "bob")).subject["subject"] == "Tea"

    stage.play(scene)


async def _ban(stage: Stage) -> slixmpp.JID:
    async with stage.alice() as alice, stage.bob() as bob:
        room = await open_room(alice, persistentroom="1", roomname="Wonderland")
        await enter(bob, room, "bob")
        watch = Watch(alice, "message")
        of(alice).set_subject(room, "Tea")
        await watch.until(lambda stanza: stanza.findtext("{jabber:client}subject") == "Tea")
        await affiliate(alice, room, "carol@other.example", "member")
        told, seen = Watch(bob, "presence"), Watch(alice, "presence")
        await affiliate(alice, room, BOB, "outcast", reason="never again")
        for watch in (told, seen):
            assert "301" in codes(await put_out(watch, room, "bob"))
        assert await refusal(enter(bob, room, "bob")) == "forbidden"
        return room


# ---- In


def test_members_only(stage: Stage) -> None:
    """Who is no member does not get in, and does not stay (XEP-0045, 9.4 and 10.2.1)."""

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        told = Watch(bob, "presence")
        await configure(alice, room, membersonly="1")
        assert "322" in codes(await put_out(told, room, "bob"))
        assert await refusal(enter(bob, room, "bob")) == "registration-required"
        await affiliate(alice, room, BOB, "member")
        assert standing((await enter(bob, room, "bob")).presence.xml) == ("member", "participant")
        assert await affiliated(alice, room, "member") == {BOB}
        await affiliate(alice, room, BOB, "none")
        assert "321" in codes(await put_out(told, room, "bob"))
        assert await refusal(enter(bob, room, "bob")) == "registration-required"

    stage.play(scene)


def test_a_password(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room_for_both(alice, roomsecret="open sesame")
        disco: Any = bob.plugin["xep_0030"]
        info = await disco.get_info(jid=room, timeout=PATIENCE)
        assert "muc_passwordprotected" in info["disco_info"]["features"]
        for wrong in (None, "open barley"):
            assert await refusal(enter(bob, room, "bob", password=wrong)) == "not-authorized"
        await enter(bob, room, "bob", password="open sesame")
        await leave(bob, room)
        # A new one counts at once, and who has the old one does not get in.
        await configure(alice, room, roomsecret="open wheat")
        assert await refusal(enter(bob, room, "bob", password="open sesame")) == "not-authorized"

    stage.play(scene)


# ---- With a voice


def test_in_a_moderated_room_a_voice_is_given(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice, moderatedroom="1")
        assert standing((await enter(bob, room, "bob")).presence.xml) == ("none", "visitor")
        assert not await is_heard(bob, room)
        requested = Watch(alice, "message")
        of(bob).request_voice(room, "participant")
        request = await requested.until(lambda stanza: stanza.find("{jabber:x:data}x") is not None)
        assert BOB in "".join(request.itertext())
        told = Watch(bob, "presence")
        await of(alice).set_role(room, "bob", "participant", timeout=PATIENCE)
        given = await told.until(lambda stanza: stanza.get("from") == f"{room}/bob")
        assert standing(given) == ("none", "participant")
        assert await is_heard(bob, room)
        await of(alice).set_role(room, "bob", "visitor", timeout=PATIENCE)
        assert not await is_heard(bob, room)

    stage.play(scene)


def test_members_have_a_voice(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room_for_both(alice, moderatedroom="1")
        assert standing((await enter(bob, room, "bob")).presence.xml) == ("member", "participant")
        assert await is_heard(bob, room)

    stage.play(scene)


# ---- With more than that


@pytest.mark.parametrize("affiliation", ["admin", "owner"])
def test_what_admins_and_owners_may_do(stage: Stage, affiliation: str) -> None:
    """XEP-0045, 5.2.1: an admin looks after members and guests, an owner after all, and the last one stays."""

    async def scene(alice: Client, bob: Client) -> None:
        room, is_owner = await open_room(alice), affiliation == "owner"
        await affiliate(alice, room, BOB, affiliation)
        assert standing((await enter(bob, room, "bob")).presence.xml) == (affiliation, "moderator")
        await affiliate(bob, room, "carol@other.example", "outcast")
        await affiliate(bob, room, "dave@other.example", "member")
        assert await affiliated(bob, room, "outcast") == {"carol@other.example"}
        if not is_owner:
            assert await refusal(affiliate(bob, room, "dave@other.example", "admin")) in DENIED
            assert await refusal(affiliate(bob, room, ALICE, "none")) in DENIED
            assert await refusal(of(bob).set_role(room, "alice", "participant", timeout=PATIENCE)) in DENIED
            assert await refusal(configure(bob, room, roomname="Bob's")) in DENIED
            return
        await affiliate(bob, room, ALICE, "none")
        await configure(bob, room, roomname="Bob's")
        assert await refusal(affiliate(bob, room, BOB, "admin")) == "conflict"
        assert await refusal(affiliate(alice, room, BOB, "none")) in DENIED

    stage.play(scene)


def test_a_guest_may_do_nothing_of_it(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        assert await refusal(affiliate(bob, room, BOB, "owner")) in DENIED
        assert await refusal(affiliate(bob, room, ALICE, "outcast")) in DENIED
        assert await refusal(affiliated(bob, room, "outcast")) in DENIED
        assert await refusal(of(bob).set_role(room, "alice", "visitor", timeout=PATIENCE)) in (
            "forbidden",
            "not-allowed",
        )
        await say(alice, room)

    stage.play(scene)


# ---- What was said


def test_a_moderator_takes_a_message_back(stage: Stage) -> None:
    """XEP-0425: everybody is told, and the archive has it no more. The hardened image has no module for it."""

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room_for_both(alice)
        await enter(bob, room, "bob")
        kept, _ = await say(bob, room)
        text, heard = await say(bob, room)
        given = heard.find("{urn:xmpp:sid:0}stanza-id")
        assert given is not None, streams.text_of(heard)
        request = f"<moderate xmlns='{_MODERATION}' id='{given.get('id')}'><retract xmlns='{_RETRACTION}'/></moderate>"
        is_there = ":hardened-" not in stage.server.image.name
        answer = await refusal(bob.ask("set", request, str(room)))
        assert answer == ("forbidden" if is_there else "service-unavailable")
        assert await read(alice, room) == [kept, text]
        if not is_there:
            return
        told = Watch(bob, "message")
        await alice.ask("set", request, str(room))
        note = await told.until(lambda stanza: stanza.find(f"{{{_RETRACTION}}}retract") is not None)
        assert note.find(f"{{{_RETRACTION}}}retract").get("id") == given.get("id")  # type: ignore[union-attr]
        found = await read(alice, room)
        assert kept in found
        assert text not in found

    stage.play(scene)
