"""Who is blocked reaches nobody, and is not reached, until that is taken back (XEP-0191)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from xml.etree import ElementTree as ET

import slixmpp

from tests.integration.client_exchanges import befriend, body
from tests.integration.clients import Client, Watch
from tests.integration.containers import PATIENCE
from tests.integration.scenes import ALICE, BOB, Stage, condition, refusal, words
from tests.integration.servers import DOMAIN


@asynccontextmanager
async def blocked(by: Client, *addresses: str) -> AsyncIterator[Any]:
    """Addresses are blocked by somebody, and no longer when the block ends; gives the commands of XEP-0191."""
    commands: Any = by.plugin["xep_0191"]
    jids = [slixmpp.JID(address) for address in addresses]
    await commands.block(jids, timeout=PATIENCE)
    try:
        yield commands
    finally:
        await commands.unblock(jids, timeout=PATIENCE)


def _status(stanza: ET.Element) -> str | None:
    return stanza.findtext("{jabber:client}status")


def test_presence_ends_and_comes_back(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        await befriend(alice, bob)
        of_alice, of_bob = Watch(bob, "presence"), Watch(alice, "presence")
        async with blocked(alice, BOB):
            await of_alice.until(lambda stanza: stanza.get("from") == str(alice.boundjid) and _is_gone(stanza))
            alice.send_presence(pstatus="not for bob")
            bob.send_presence(pstatus="not for alice")
            await alice.catch_up()
            await bob.catch_up()
        seen = await of_alice.until(lambda stanza: stanza.get("from") == str(alice.boundjid))
        assert not _is_gone(seen), "she does not come back"
        # What was said meanwhile is her state now; his was lost on the way, and the next one is not.
        assert _status(seen) == "not for bob"
        bob.send_presence(pstatus="for alice")
        # The first that says something: one without words may still be on its way since the two became friends.
        came = await of_bob.until(lambda stanza: stanza.get("from") == str(bob.boundjid) and bool(_status(stanza)))
        assert _status(came) == "for alice"

    stage.play(scene)


def _is_gone(stanza: ET.Element) -> bool:
    return stanza.get("type") == "unavailable"


def test_requests_are_refused_in_both_directions(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        pings: Any = [client.plugin["xep_0199"] for client in (alice, bob)]
        # The controls: each answers the other.
        await pings[0].ping(bob.boundjid, timeout=PATIENCE)
        await pings[1].ping(alice.boundjid, timeout=PATIENCE)
        async with blocked(alice, BOB):
            assert await refusal(pings[0].ping(bob.boundjid, timeout=PATIENCE)) == "not-acceptable"
            assert await refusal(pings[1].ping(alice.boundjid, timeout=PATIENCE)) == "service-unavailable"
            # Nor is anything told of her account.
            vcards: Any = bob.plugin["xep_0054"]
            assert await refusal(vcards.get_vcard(slixmpp.JID(ALICE), timeout=PATIENCE)) == "service-unavailable"
        await pings[1].ping(alice.boundjid, timeout=PATIENCE)

    stage.play(scene)


def test_nothing_is_sent_to_who_is_blocked(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        refused, allowed = words(), words()
        errors, heard = Watch(alice, "message"), Watch(bob, "message")
        async with blocked(alice, BOB):
            alice.say(BOB, refused)
            error = await errors.until(lambda stanza: stanza.get("type") == "error")
            assert condition(error) == "not-acceptable"
            assert next(error.iter("{urn:xmpp:blocking:errors}blocked"), None) is not None
        alice.say(BOB, allowed)
        assert body(await heard.until(lambda stanza: body(stanza) in (refused, allowed))) == allowed

    stage.play(scene)


def test_a_domain_and_a_single_client_can_be_blocked(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        async with stage.bob() as other:
            heard = Watch(alice, "message")
            for addresses, expected in (([DOMAIN], []), ([str(bob.boundjid)], [other]), ([], [bob, other])):
                said = {client: words() for client in (bob, other)}
                async with blocked(alice, *addresses or ["nobody.example"]):
                    for client in (bob, other):
                        client.say(ALICE, said[client])
                        await client.catch_up()
                last = words()
                bob.say(ALICE, last)
                arrived = []
                while (text := body(await heard.until(lambda stanza: body(stanza) is not None))) != last:
                    arrived.append(text)
                assert arrived == [said[client] for client in expected], addresses

    stage.play(scene)


def test_own_clients_are_told_and_the_list_stays(stage: Stage) -> None:
    """Only a client that has asked for the list is told of changes (XEP-0191, 3.3 and 3.4)."""
    addresses = {BOB, "spam.example", "juliet@capulet.example/balcony"}

    async def block() -> None:
        async with stage.alice() as one, stage.alice() as interested, stage.alice() as other:
            assert await listed(interested) == set()
            pushes, unwanted = Watch(interested, "iq"), Watch(other, "iq")
            commands: Any = one.plugin["xep_0191"]
            await commands.block([slixmpp.JID(address) for address in addresses], timeout=PATIENCE)
            assert _items(await pushes.until(_is_of("block"))) == addresses
            await commands.unblock(slixmpp.JID(BOB), timeout=PATIENCE)
            assert _items(await pushes.until(_is_of("unblock"))) == {BOB}
            await other.catch_up()
            answer = await unwanted.until(lambda stanza: stanza.get("type") in ("set", "result"))
            assert answer.get("type") == "result", "a client is told that did not ask"

    async def find_and_empty() -> None:
        async with stage.alice() as alice:
            assert await listed(alice) == addresses - {BOB}
            # Without a name, all are unblocked (XEP-0191, 3.5).
            pushes = Watch(alice, "iq")
            alice.send_raw("<iq type='set' id='all'><unblock xmlns='urn:xmpp:blocking'/></iq>")
            assert _items(await pushes.until(_is_of("unblock"))) == set()
            assert await listed(alice) == set()

    asyncio.run(block())
    stage.server.restart()
    asyncio.run(find_and_empty())


async def listed(client: Client) -> set[str]:
    """Who is blocked, as the server says."""
    commands: Any = client.plugin["xep_0191"]
    return {str(jid) for jid in await commands.get_blocked_jids(timeout=PATIENCE)}


def _is_of(action: str) -> Any:
    return lambda stanza: stanza.get("type") == "set" and stanza.find(f"{{urn:xmpp:blocking}}{action}") is not None


def _items(push: ET.Element) -> set[str]:
    return {item.get("jid", "") for item in push.iter("{urn:xmpp:blocking}item")}
