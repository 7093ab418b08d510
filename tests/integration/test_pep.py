"""What people publish of themselves (XEP-0163): who is told, who may read, and what old clients see of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import uuid
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.integration import streams
from tests.integration.client_exchanges import befriend, publish
from tests.integration.clients import Client, Watch
from tests.integration.containers import PATIENCE
from tests.integration.scenes import ALICE, BOB, Stage, refusal, words

PUBSUB = "http://jabber.org/protocol/pubsub"
BOOKMARKS, OLD_BOOKMARKS = "urn:xmpp:bookmarks:1", "storage:bookmarks"
DATA, METADATA = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
VCARD, VCARD_NODE = "urn:ietf:params:xml:ns:vcard-4.0", "urn:xmpp:vcard4"
# Not a picture that anything could show, but the server does not look at pictures.
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(200)
IDENTIFIER = hashlib.sha1(PICTURE, usedforsecurity=False).hexdigest()  # XEP-0084, 4.1


def new_node() -> str:
    """A node that nobody has used yet."""
    return f"urn:example:{uuid.uuid4()}"


def note(text: str) -> str:
    """Something to publish."""
    return f"<note xmlns='urn:example:note'>{text}</note>"


async def interest(client: Client, publisher: Client, *nodes: str) -> None:
    """Have the client say that it wants to be told of nodes (XEP-0163, 4.3), and the server learn it.

    The server asks what an announced hash stands for, so it knows when the client is told of a node that nobody knew.
    """
    unknown, disco = new_node(), client.plugin["xep_0030"]
    await publish(publisher, unknown, "current", note("a mark"))
    for node in (unknown, *nodes):
        disco.add_feature(f"{node}+notify")
    told = Watch(client, "message")
    await client.plugin["xep_0115"].update_caps()
    await told.until(about(unknown))


def event(stanza: ET.Element, node: str) -> ET.Element | None:
    """What a notification says of a node; None if it is about something else."""
    found = (items for items in stanza.iter(f"{{{PUBSUB}#event}}items") if items.get("node") == node)
    return next(found, None)


def about(node: str) -> Any:
    """Whether a message is a notification about a node."""
    return lambda stanza: event(stanza, node) is not None


def has(stanza: ET.Element, kind: str, **attributes: str) -> bool:
    """Whether a notification holds an element with these attributes."""
    found = stanza.iter(f"{{{PUBSUB}#event}}{kind}")
    return any(attributes.items() <= element.attrib.items() for element in found)


async def items(client: Client, owner: str, node: str) -> dict[str, str]:
    """What the items of a node say, by their names."""
    answer = await client.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>", owner)
    return {item.get("id", ""): "".join(item.itertext()) for item in answer.iter(f"{{{PUBSUB}}}item")}


async def configure(owner: Client, node: str, **options: str) -> None:
    """Change the configuration of a node (XEP-0060, 8.2)."""
    fields = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in options.items())
    await owner.ask("set",
        f"<pubsub xmlns='{PUBSUB}#owner'><configure node='{node}'><x xmlns='jabber:x:data' type='submit'>"
        f"<field var='FORM_TYPE'><value>{PUBSUB}#node_config</value></field>{fields}</x></configure></pubsub>",
    )  # fmt: skip


# ---- Who is told


def test_only_who_is_interested_is_told(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        wanted, other = new_node(), new_node()
        await befriend(alice, bob)
        await interest(bob, alice, wanted)
        async with stage.bob() as indifferent:
            told, untold = Watch(bob, "message"), Watch(indifferent, "message")
            await publish(alice, other, "1", note("not asked for"))
            await publish(alice, wanted, "1", note("asked for"))
            first = await told.until(lambda stanza: stanza.find(f"{{{PUBSUB}#event}}event") is not None)
            assert event(first, wanted) is not None, streams.text_of(first)
            assert first.get("from") == ALICE
            alice.say(str(indifferent.boundjid), "the end")
            first = await untold.until(lambda _stanza: True)
            assert first.get("from") == str(alice.boundjid), streams.text_of(first)

    stage.play(scene)


def test_who_comes_later_is_told_the_last_item(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        node = new_node()
        await befriend(alice, bob)
        for text in ("earlier", "latest"):
            await publish(alice, node, text, note(text))
        told = Watch(bob, "message")
        await interest(bob, alice, node)
        found = event(await told.until(about(node)), node)
        assert found is not None
        assert [item.get("id") for item in found] == ["latest"]

    stage.play(scene)


def test_changes_of_a_node_are_told(stage: Stage) -> None:
    """An item is taken back, all are, the node is deleted (XEP-0060, 7.2, 8.5, 8.4)."""

    async def scene(alice: Client, bob: Client) -> None:
        node = new_node()
        await befriend(alice, bob)
        await interest(bob, alice, node)
        told = Watch(bob, "message")
        for name in ("1", "2", "3"):
            await publish(alice, node, name, note(name), persist_items="true", max_items="max")
        assert await items(bob, ALICE, node) == {"1": "1", "2": "2", "3": "3"}
        service: Any = alice.plugin["xep_0060"]
        await service.retract(None, node, "2", notify=True, timeout=PATIENCE)
        await told.until(lambda stanza: has(stanza, "retract", id="2"))
        assert set(await items(bob, ALICE, node)) == {"1", "3"}
        await service.purge(None, node, timeout=PATIENCE)
        await told.until(lambda stanza: has(stanza, "purge", node=node))
        assert await items(bob, ALICE, node) == {}
        await service.delete_node(None, node, timeout=PATIENCE)
        await told.until(lambda stanza: has(stanza, "delete", node=node))
        assert await refusal(items(bob, ALICE, node)) == "item-not-found"

    stage.play(scene)


# ---- Who may read and write


@pytest.mark.parametrize(
    ("model", "readers"),
    [
        ("open", {"stranger", "contact", "friend"}), ("presence", {"contact", "friend"}), ("roster", {"friend"}),
        ("whitelist", set()),
    ],
)  # fmt: skip
def test_access(stage: Stage, model: str, readers: set[str]) -> None:
    """Access models (XEP-0060, 4.5). A contact sees presence, a friend is also in a group of the owner's roster."""

    async def scene(alice: Client, bob: Client) -> None:
        node, text = new_node(), words()
        await publish(alice, node, "current", note(text), access_model=model)
        if model == "roster":
            await configure(alice, node, access_model=model, roster_groups_allowed="Friends")
        assert await items(alice, ALICE, node) == {"current": text}

        async def is_read_by(reader: str) -> None:
            if reader in readers:
                assert await items(bob, ALICE, node) == {"current": text}
            else:
                assert await refusal(items(bob, ALICE, node)) == "forbidden"

        await unfriend(alice)
        await is_read_by("stranger")
        await befriend(alice, bob)
        await is_read_by("contact")
        group = f"<item jid='{BOB}'><group>Friends</group></item>"
        await alice.ask("set", f"<query xmlns='jabber:iq:roster'>{group}</query>")
        await is_read_by("friend")

    stage.play(scene)


async def unfriend(alice: Client) -> None:
    """Take Bob out of Alice's roster, and end the subscriptions in both directions (RFC 6121, 2.5)."""
    if BOB in streams.text_of(await alice.ask("get", "<query xmlns='jabber:iq:roster'/>")):
        await alice.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{BOB}' subscription='remove'/></query>")


def test_nobody_else_writes(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        node = new_node()
        await publish(alice, node, "1", note("hers"), access_model="open")
        service: Any = bob.plugin["xep_0060"]
        payload = streams.parse(note("his").encode())
        for name in (node, new_node()):
            assert await refusal(service.publish(ALICE, name, id="2", payload=payload, timeout=PATIENCE)) == "forbidden"
        assert await refusal(service.retract(ALICE, node, "1", timeout=PATIENCE)) == "forbidden"
        assert await refusal(service.delete_node(ALICE, node, timeout=PATIENCE)) == "forbidden"
        assert await refusal(service.get_node_config(ALICE, node, timeout=PATIENCE)) == "forbidden"
        assert await items(bob, ALICE, node) == {"1": "hers"}

    stage.play(scene)


def test_a_precondition_has_to_hold(stage: Stage) -> None:
    """Options of a publication that the node does not have are refused (XEP-0060, 7.1.5), until it is configured."""

    async def scene(alice: Client, bob: Client) -> None:
        node = new_node()
        await publish(alice, node, "1", note("for all"), access_model="open")
        secret = publish(alice, node, "1", note("secret"), access_model="whitelist")
        assert await refusal(secret) == "conflict"
        assert await items(bob, ALICE, node) == {"1": "for all"}
        await configure(alice, node, access_model="whitelist")
        await publish(alice, node, "1", note("secret"), access_model="whitelist")
        assert await refusal(items(bob, ALICE, node)) == "forbidden"

    stage.play(scene)


def test_keys_of_omemo_are_open_to_strangers(stage: Stage) -> None:
    """The list of devices and their bundles, as clients publish them (XEP-0384, 5.3), and as older ones do."""
    new, old = "urn:xmpp:omemo:2", "eu.siacs.conversations.axolotl"
    bundles = {f"{new}:bundles": ("31415", "27182"), f"{old}.bundles:31415": ("current",)}

    async def publish_keys() -> None:
        async with stage.alice() as alice:
            await publish(
                alice, f"{new}:devices", "current", f"<devices xmlns='{new}'><device id='31415'/></devices>",
                access_model="open",
            )  # fmt: skip
            await publish(alice, f"{old}.devicelist", "current", f"<list xmlns='{old}'/>", access_model="open")
            for node, names in bundles.items():
                for name in names:
                    payload = f"<bundle xmlns='{new}'><ik>{name}</ik></bundle>"
                    await publish(alice, node, name, payload, access_model="open", max_items="max")

    async def read_keys() -> None:
        async with stage.alice() as alice:
            await unfriend(alice)
        async with stage.bob() as bob:
            for node, names in bundles.items():
                assert await items(bob, ALICE, node) == {name: name for name in names}
            devices = await bob.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{new}:devices'/></pubsub>", ALICE)
            assert [device.get("id") for device in devices.iter(f"{{{new}}}device")] == ["31415"]
            assert await items(bob, ALICE, f"{old}.devicelist") == {"current": ""}

    asyncio.run(publish_keys())
    stage.server.restart()
    asyncio.run(read_keys())


# ---- What old clients see


def test_a_picture_in_the_vcard_is_published(stage: Stage) -> None:
    """The other direction is an exchange of the compliance suites."""

    async def scene(alice: Client, bob: Client) -> None:
        await befriend(alice, bob)
        await interest(bob, alice, METADATA)
        told = Watch(bob, "message")
        encoded = base64.b64encode(PICTURE).decode()
        await alice.ask("set",
            f"<vCard xmlns='vcard-temp'><PHOTO><TYPE>image/png</TYPE><BINVAL>{encoded}</BINVAL></PHOTO></vCard>",
        )  # fmt: skip
        found = event(await told.until(about(METADATA)), METADATA)
        assert found is not None
        (info,) = found.iter(f"{{{METADATA}}}info")
        assert (info.get("id"), info.get("bytes"), info.get("type")) == (IDENTIFIER, str(len(PICTURE)), "image/png")
        data = (await items(bob, ALICE, DATA))[IDENTIFIER]
        assert base64.b64decode(data) == PICTURE
        # Taken away, it is taken away everywhere.
        await alice.ask("set", "<vCard xmlns='vcard-temp'><FN>Alice</FN></vCard>")
        assert await items(bob, ALICE, METADATA) == {}
        seen = Watch(bob, "presence")
        alice.send_presence()
        update = await seen.until(lambda stanza: stanza.get("from") == str(alice.boundjid))
        assert update.findtext("{vcard-temp:x:update}x/{vcard-temp:x:update}photo") == ""

    stage.play(scene)


def test_old_and_new_vcards_are_one(stage: Stage) -> None:
    """As XEP-0292 and XEP-0054 have them; whoever may not read the one may not read the other."""

    async def scene(alice: Client, bob: Client) -> None:
        await alice.ask("set",
            "<vCard xmlns='vcard-temp'><FN>Alice of old</FN><N><FAMILY>Liddell</FAMILY></N><EMAIL>"
            "<USERID>alice@example.org</USERID></EMAIL></vCard>",
        )  # fmt: skip
        card = await bob.ask("get", f"<vcard xmlns='{VCARD}'/>", ALICE)
        assert _texts(card, VCARD, "fn", "surname", "email") == ["Alice of old", "Liddell", "alice@example.org"]
        # The same card as an item, which is where it is published (XEP-0292, 4).
        assert (await items(bob, ALICE, VCARD_NODE))["current"] == "".join(card.itertext())

        await publish(
            alice, VCARD_NODE, "current",
            f"<vcard xmlns='{VCARD}'><fn><text>Alice anew</text></fn><email><text>new@example.org</text></email>"
            "<note><text>a note</text></note></vcard>",
        )  # fmt: skip
        old = await bob.ask("get", "<vCard xmlns='vcard-temp'/>", ALICE)
        assert _texts(old, "vcard-temp", "FN", "USERID", "NOTE") == ["Alice anew", "new@example.org", "a note"]

        await configure(alice, VCARD_NODE, access_model="whitelist")
        assert await refusal(bob.ask("get", f"<vcard xmlns='{VCARD}'/>", ALICE)) == "forbidden"
        hidden = await bob.ask("get", "<vCard xmlns='vcard-temp'/>", ALICE)
        assert "Alice" not in "".join(hidden.itertext())

    stage.play(scene)


def _texts(stanza: ET.Element, namespace: str, *names: str) -> list[str]:
    return ["".join(next(stanza.iter(f"{{{namespace}}}{name}")).itertext()) for name in names]


@pytest.mark.parametrize("way", ["private XML", "an item as before"])
def test_bookmarks_of_old_clients_are_those_of_new_ones(stage: Stage, way: str) -> None:
    """XEP-0402, 6, for both predecessors; the other direction is an exchange of the compliance suites."""
    private = "<query xmlns='jabber:iq:private'>{}</query>"

    async def keep(client: Client, conferences: str) -> None:
        storage = f"<storage xmlns='{OLD_BOOKMARKS}'>{conferences}</storage>"
        if way == "private XML":
            await client.ask("set", private.format(storage))
        else:
            await publish(client, OLD_BOOKMARKS, "current", storage, access_model="whitelist")

    async def scene(alice: Client, bob: Client) -> None:
        async with stage.alice() as modern:
            await interest(modern, alice, BOOKMARKS)
            told = Watch(modern, "message")
            first, second = (f"{uuid.uuid4()}@conference.example" for _ in range(2))
            await keep(
                alice,
                f"<conference jid='{first}' name='First' autojoin='true'><nick>al</nick></conference>"
                f"<conference jid='{second}' name='Second'/>",
            )
            for address in (first, second):
                await told.until(lambda stanza, address=address: has(stanza, "item", id=address))  # type: ignore[misc]
            answer = await modern.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{BOOKMARKS}'/></pubsub>")
            kept = {
                item.get("id"): next(item.iter(f"{{{BOOKMARKS}}}conference"))
                for item in answer.iter(f"{{{PUBSUB}}}item")
            }
            assert set(kept) == {first, second}
            assert (kept[first].get("name"), kept[first].get("autojoin")) == ("First", "true")
            assert kept[first].findtext(f"{{{BOOKMARKS}}}nick") == "al"
            # What is left out is removed; what a new client adds, an old one reads.
            await keep(alice, f"<conference jid='{second}' name='Second'/>")
            await told.until(lambda stanza: has(stanza, "retract", id=first))
            await publish(modern, BOOKMARKS, first, f"<conference xmlns='{BOOKMARKS}' name='Again'/>")
            if way == "private XML":
                old = await alice.ask("get", private.format(f"<storage xmlns='{OLD_BOOKMARKS}'/>"))
            else:
                old = await alice.ask("get", f"<pubsub xmlns='{PUBSUB}'><items node='{OLD_BOOKMARKS}'/></pubsub>")
            names = {found.get("jid"): found.get("name") for found in old.iter(f"{{{OLD_BOOKMARKS}}}conference")}
            assert names == {second: "Second", first: "Again"}
            assert await refusal(items(bob, ALICE, BOOKMARKS)) == "forbidden"
            await keep(alice, "")

    stage.play(scene)


def test_what_is_private_is_kept_by_name_and_owner(stage: Stage) -> None:
    """XEP-0049: one element does not replace another, and each has their own."""
    stored = "<query xmlns='jabber:iq:private'>{}</query>"

    async def scene(alice: Client, bob: Client) -> None:
        kept = {(client, name): words() for client in (alice, bob) for name in ("one", "two")}
        for (client, name), text in kept.items():
            await client.ask("set", stored.format(f"<{name} xmlns='urn:example:note'>{text}</{name}>"))
        for (client, name), text in kept.items():
            answer = await client.ask("get", stored.format(f"<{name} xmlns='urn:example:note'/>"))
            assert answer.findtext(f"{{jabber:iq:private}}query/{{urn:example:note}}{name}") == text
        other = bob.ask("get", stored.format("<one xmlns='urn:example:note'/>"), ALICE)
        assert await refusal(other) == "service-unavailable"

    stage.play(scene)


def test_items_outlive_the_server(stage: Stage) -> None:
    kept, fleeting = new_node(), new_node()

    async def write() -> None:
        async with stage.alice() as alice:
            for name in ("1", "2", "3"):
                await publish(alice, kept, name, note(name), max_items="2", access_model="open")
            await publish(alice, fleeting, "1", note("1"), persist_items="false", access_model="open")

    async def read() -> None:
        async with stage.bob() as bob:
            assert await items(bob, ALICE, kept) == {"2": "2", "3": "3"}
            assert await refusal(items(bob, ALICE, fleeting)) == "feature-not-implemented"

    asyncio.run(write())
    stage.server.restart()
    asyncio.run(read())
