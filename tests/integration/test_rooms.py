"""Rooms (XEP-0045): made, found, entered under a name, spoken in, left, and destroyed."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest
import slixmpp

from tests.integration import rooms
from tests.integration.client_exchanges import ROOMS, body
from tests.integration.clients import Client, Watch
from tests.integration.containers import PATIENCE
from tests.integration.rooms import (
    MUC,
    codes,
    configure,
    enter,
    leave,
    new_room,
    of,
    open_room,
    open_room_for_both,
    say,
    standing,
)  # fmt: skip
from tests.integration.scenes import ALICE, BOB, Stage, condition, refusal, words

OCCUPANT = "{urn:xmpp:occupant-id:0}occupant-id"


async def information(client: Client, room: slixmpp.JID) -> tuple[str, set[str]]:
    """Name and features of a room (XEP-0045, 6.4)."""
    disco: Any = client.plugin["xep_0030"]
    info = (await disco.get_info(jid=room, timeout=PATIENCE))["disco_info"]
    return next(iter(info["identities"]))[3], set(info["features"])


# ---- Made


def test_a_new_room_is_locked_until_it_is_configured(stage: Stage) -> None:
    """An instant room: its owner takes what there is (XEP-0045, 10.1.2)."""

    async def scene(alice: Client, bob: Client) -> None:
        room = new_room()
        made = (await enter(alice, room, "alice")).presence.xml
        assert {"110", "201"} <= codes(made)
        assert standing(made) == ("owner", "moderator")
        assert await refusal(enter(bob, room, "bob")) == "item-not-found"
        await configure(alice, room)
        entered = (await enter(bob, room, "bob")).presence.xml
        assert "201" not in codes(entered)
        assert standing(entered) == ("none", "participant")

    stage.play(scene)


def test_an_owner_fills_in_the_form(stage: Stage) -> None:
    """A reserved room (XEP-0045, 10.1.3): what the form says holds, is told to all, and is told by the room."""

    async def scene(alice: Client, bob: Client) -> None:
        room = new_room()
        await enter(alice, room, "alice")
        form = await of(alice).get_room_config(room, timeout=PATIENCE)
        fields = form.get_fields()
        assert not fields["muc#roomconfig_membersonly"].get_value()
        fields["muc#roomconfig_roomname"].set_value("Wonderland")
        fields["muc#roomconfig_roomdesc"].set_value("Tea at any time")
        fields["muc#roomconfig_persistentroom"].set_value(True)
        await of(alice).set_room_config(room, form, timeout=PATIENCE)
        name, features = await information(bob, room)
        assert name == "Wonderland"
        assert features >= {"muc_persistent", "muc_open", "muc_unmoderated", "muc_semianonymous", "muc_unsecured"}

        await enter(bob, room, "bob")
        told = Watch(bob, "message")
        await configure(alice, room, moderatedroom="1", roomname="Looking glass")
        await told.until(lambda stanza: "104" in codes(stanza))
        name, features = await information(bob, room)
        assert name == "Looking glass"
        assert "muc_moderated" in features

        assert await refusal(of(bob).get_room_config(room, timeout=PATIENCE)) == "forbidden"
        assert await refusal(configure(bob, room, roomname="Bob's")) == "forbidden"

    stage.play(scene)


def test_only_public_rooms_are_listed(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        disco: Any = bob.plugin["xep_0030"]

        async def listed() -> set[str]:
            found = await disco.get_items(jid=slixmpp.JID(ROOMS), timeout=PATIENCE)
            return {str(address) for address, _node, _name in found["disco_items"]["items"]}

        public, hidden = await open_room(alice, publicroom="1"), await open_room(alice)
        assert str(public) in await listed()
        assert str(hidden) not in await listed()
        await configure(alice, public, publicroom="0")
        assert str(public) not in await listed()

    stage.play(scene)


def test_who_comes_to_a_destroyed_room_is_sent_on(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room, other = await open_room(alice, persistentroom="1"), new_room()
        await enter(bob, room, "bob")
        assert await refusal(of(bob).destroy(room, timeout=PATIENCE)) == "forbidden"
        told = Watch(bob, "presence")
        await of(alice).destroy(room, "we have moved", str(other), timeout=PATIENCE)
        last = await told.until(lambda stanza: stanza.get("from") == f"{room}/bob")
        destroyed = next(last.iter(f"{{{MUC}#user}}destroy"))
        assert last.get("type") == "unavailable"
        assert (destroyed.get("jid"), destroyed.findtext(f"{{{MUC}#user}}reason")) == (str(other), "we have moved")
        # Its name is kept, so that nobody takes it over (a tombstone).
        assert await refusal(enter(bob, room, "bob")) == "gone"

    stage.play(scene)


def test_a_room_that_is_not_kept_ends_with_its_last_occupant(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        kept, fleeting = await open_room(alice, persistentroom="1"), await open_room(alice)
        for room in (kept, fleeting):
            await leave(alice, room)
        assert "201" not in codes((await enter(bob, kept, "bob")).presence.xml)
        assert "201" in codes((await enter(bob, fleeting, "bob")).presence.xml)

    stage.play(scene)


# ---- Under a name


def test_a_name_is_for_one(stage: Stage) -> None:
    """For one person, that is: more clients of hers share it (XEP-0045, 7.2.8)."""

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room_for_both(alice)
        assert await refusal(enter(bob, room, "alice")) == "conflict"
        await enter(bob, room, "bob")
        async with stage.alice() as other:
            await enter(other, room, "alice")
            heard = Watch(other, "message")
            text, _ = await say(bob, room)
            await heard.until(lambda stanza: body(stanza) == text)
        # She is still there with the first.
        await of(bob).set_self_nick(room, "robert", timeout=PATIENCE)
        assert set(of(bob).get_roster(room)) == {"alice", "robert"}
        watch = Watch(bob, "presence")
        bob.send_presence(pto=slixmpp.JID(f"{room}/alice"))
        assert condition(await watch.until(lambda stanza: stanza.get("type") == "error")) == "conflict"

    stage.play(scene)


def test_a_name_can_be_registered(stage: Stage) -> None:
    """XEP-0045, 7.10 and 7.12; by default for members, and for good: it is kept while its owner is away."""
    register = "<query xmlns='jabber:iq:register'>{}</query>"
    form = register.format(
        f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{MUC}#register</value></field>"
        "<field var='muc#register_roomnick'><value>hatter</value></field></x>"
    )

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice, persistentroom="1")
        assert await refusal(bob.ask("set", form, str(room))) == "registration-required"
        await rooms.affiliate(alice, room, BOB, "member")
        await bob.ask("set", form, str(room))
        assert await refusal(alice.ask("set", form, str(room))) == "conflict"
        await leave(alice, room)
        assert await refusal(enter(alice, room, "hatter")) == "conflict"
        reserved = "<query xmlns='http://jabber.org/protocol/disco#info' node='x-roomuser-item'/>"
        own = await bob.ask("get", reserved, str(room))
        identities = own.iter("{http://jabber.org/protocol/disco#info}identity")
        assert "hatter" in {identity.get("name") for identity in identities}
        await enter(bob, room, "hatter")

    stage.play(scene)


def test_occupants_have_an_identity_that_stays(stage: Stage) -> None:
    """XEP-0421: whatever the name, and nobody else can claim it."""

    async def scene(alice: Client, bob: Client) -> None:
        room, elsewhere = await open_room_for_both(alice), await open_room_for_both(alice)
        entered = (await enter(bob, room, "bob")).presence.xml
        identity = _identity(entered)
        _, heard = await say(bob, room)
        assert _identity(heard) == identity
        await of(bob).set_self_nick(room, "robert", timeout=PATIENCE)
        watch, text = Watch(bob, "message"), words()
        bob.say(str(room), text, "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='another'/>", kind="groupchat")
        heard = await watch.until(lambda stanza: body(stanza) == text)
        assert [found.get("id") for found in heard.iter(OCCUPANT)] == [identity]
        await leave(bob, room)
        assert _identity((await enter(bob, room, "bob")).presence.xml) == identity
        assert _identity((await say(alice, room))[1]) != identity
        assert _identity((await enter(bob, elsewhere, "bob")).presence.xml) != identity, "rooms can compare notes"

    stage.play(scene)


def _identity(stanza: Any) -> str:
    (found,) = stanza.iter(OCCUPANT)
    return str(found.get("id"))


@pytest.mark.parametrize("whois", ["moderators", "anyone"])
def test_real_addresses_are_seen_by_whom_the_owner_wants(stage: Stage, whois: str) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice, whois=whois)
        seen = Watch(alice, "presence")
        joined = await enter(bob, room, "bob")
        assert ("100" in codes(joined.presence.xml)) == (whois == "anyone")
        (other,) = (occupant for occupant in joined.occupants if occupant["from"].resource == "alice")
        assert (ALICE in str(other)) == (whois == "anyone")
        assert BOB in str(_item_of(await seen.until(lambda stanza: stanza.get("from") == f"{room}/bob")).get("jid"))

    stage.play(scene)


def _item_of(stanza: Any) -> Any:
    return next(stanza.iter(f"{{{MUC}#user}}item"))


# ---- Spoken in


def test_who_enters_hears_what_was_said(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room_for_both(alice)
        said = [(await say(alice, room))[0] for _ in range(3)]
        for wanted, expected in (({}, said), ({"maxstanzas": 2}, said[1:]), ({"maxchars": 0}, [])):
            history = (await enter(bob, room, "bob", **wanted)).history
            assert [message["body"] for message in history] == expected, wanted
            assert all(message["delay"]["from"] == room for message in history)
            await leave(bob, room)
        await configure(alice, room, historylength="1")
        assert len((await enter(bob, room, "bob")).history) == 3, "the field has another name"

    stage.play(scene)


def test_the_subject_is_kept_and_guarded(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room_for_both(alice)
        assert not (await enter(bob, room, "bob")).subject["subject"]
        told = Watch(bob, "message")
        of(alice).set_subject(room, "Tea")
        await told.until(lambda stanza: stanza.findtext("{jabber:client}subject") == "Tea")
        of(bob).set_subject(room, "Coffee")
        assert condition(await told.until(lambda stanza: stanza.get("type") == "error")) == "forbidden"
        await configure(alice, room, changesubject="1")
        of(bob).set_subject(room, "Coffee")
        await told.until(lambda stanza: stanza.findtext("{jabber:client}subject") == "Coffee")
        await leave(bob, room)
        again = await enter(bob, room, "bob")
        assert (again.subject["subject"], again.subject["from"].resource) == ("Coffee", "bob")

    stage.play(scene)


def test_private_messages_go_to_one(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        to_alice, to_bob, text = Watch(alice, "message"), Watch(bob, "message"), words()
        bob.say(f"{room}/alice", text)
        heard = await to_alice.until(lambda stanza: body(stanza) == text)
        assert (heard.get("from"), heard.get("type")) == (f"{room}/bob", "chat")
        await configure(alice, room, allowpm="moderator")
        bob.say(f"{room}/alice", text)
        assert condition(await to_bob.until(lambda stanza: stanza.get("type") == "error")) == "policy-violation"

    stage.play(scene)


def test_who_is_no_longer_there_learns_it(stage: Stage) -> None:
    """XEP-0410: a client pings itself."""

    async def scene(alice: Client, bob: Client) -> None:
        room, ping = await open_room(alice), bob.plugin["xep_0199"].ping
        own = slixmpp.JID(f"{room}/bob")
        await enter(bob, room, "bob")
        await ping(own, timeout=PATIENCE)
        await of(alice).set_role(room, "bob", "none", timeout=PATIENCE)
        assert await refusal(ping(own, timeout=PATIENCE)) == "not-acceptable"
        assert await refusal(ping(slixmpp.JID(f"{room}/alice"), timeout=PATIENCE)) == "not-acceptable"

    stage.play(scene)


def test_a_room_has_a_picture(stage: Stage) -> None:
    """A vCard that its owners set and anybody reads, and whose hash the room announces (XEP-0486)."""
    picture = bytes(range(64))
    photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{base64.b64encode(picture).decode()}</BINVAL></PHOTO>"
    card = f"<vCard xmlns='vcard-temp'>{photo}</vCard>"
    identifier = hashlib.sha1(picture, usedforsecurity=False).hexdigest()

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        assert await refusal(bob.ask("set", card, str(room))) == "forbidden"
        seen = Watch(bob, "presence")
        await alice.ask("set", card, str(room))
        await seen.until(lambda stanza: stanza.findtext(".//{vcard-temp:x:update}photo") == identifier)
        found = await bob.ask("get", "<vCard xmlns='vcard-temp'/>", str(room))
        assert base64.b64decode(found.findtext(".//{vcard-temp}BINVAL") or "") == picture

    stage.play(scene)


# ---- Invited to


def test_an_invitation_through_the_room_makes_a_member(stage: Stage) -> None:
    """XEP-0045, 7.8.2: to rooms for members only, an owner's invitation lets in, and can be declined."""

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice, membersonly="1")
        assert await refusal(enter(bob, room, "bob")) == "registration-required"
        invited, declined = Watch(bob, "message"), Watch(alice, "message")
        of(alice).invite(room, BOB, "come to tea")
        invitation = await invited.until(lambda stanza: next(stanza.iter(f"{{{MUC}#user}}invite"), None) is not None)
        assert invitation.get("from") == str(room)
        assert next(invitation.iter(f"{{{MUC}#user}}reason")).text == "come to tea"
        of(bob).decline(room, str(alice.boundjid.bare), "not thirsty")
        answer = await declined.until(lambda stanza: next(stanza.iter(f"{{{MUC}#user}}decline"), None) is not None)
        assert next(answer.iter(f"{{{MUC}#user}}reason")).text == "not thirsty"
        assert standing((await enter(bob, room, "bob")).presence.xml)[0] == "member"
        # Members may not invite unless the room allows it.
        of(bob).invite(room, "carol@chat.example")
        assert condition(await invited.until(lambda stanza: stanza.get("type") == "error")) == "forbidden"

    stage.play(scene)
