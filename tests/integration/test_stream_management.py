"""Stream management (XEP-0198): what a client and a server acknowledge to each other survives a lost connection."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import docker
import pytest
import slixmpp

from tests.integration.clients import Client, Watch, connected
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, Server, serving
from tests.integration.streams import CLIENT

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
MANAGEMENT: Literal["xep_0198"] = "xep_0198"
_STATUS = f"{{{CLIENT}}}status"
_STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"


@pytest.fixture(scope="module")
def impatient(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that waits a second for a lost client, and keeps five stanzas for it."""
    with serving(client, image, PROSODY_SMACKS_HIBERNATION_TIME="1", PROSODY_SMACKS_MAX_QUEUE_SIZE="5") as started:
        yield started


async def lose(client: Client) -> None:
    """Close the connection under the client and its stream, without a word in TLS or XMPP."""
    assert client.transport is not None
    gone = client.upcoming("disconnected")
    client.transport.abort()
    await gone


def texts(kind: str, count: int) -> list[str]:
    """Messages that nobody else writes."""
    return [f"{kind} {number} {uuid.uuid4()}" for number in range(count)]


async def archived(client: Client) -> list[str]:
    """Every text in the client's archive."""
    return [
        str(result["mam_result"]["forwarded"]["stanza"]["body"])
        async for result in client.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(ALICE))
    ]


def test_the_server_acknowledges_what_it_has_handled(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate, plugins=[MANAGEMENT]) as alice:
            management = alice.plugin[MANAGEMENT]
            acknowledged: asyncio.Queue[slixmpp.Message] = asyncio.Queue()
            alice.add_event_handler("stanza_acked", acknowledged.put_nowait)
            said = texts("acknowledged", 3)
            for text in said:
                alice.say(BOB, text)
            await alice.catch_up()
            management.request_ack()  # type: ignore[no-untyped-call]
            seen: list[str] = []
            while said[-1] not in seen:
                seen.append(str((await asyncio.wait_for(acknowledged.get(), 40))["body"]))
            assert [text for text in seen if text in said] == said
            assert management.last_ack == management.seq

    asyncio.run(scenario())


def test_a_stream_is_resumed_after_its_connection_was_cut(server: Server, certificate: Path) -> None:
    """Both ways, under the same address: nothing is lost, nothing comes twice, and nobody sees the client go."""
    to_bob, from_bob = texts("while he is away", 5), texts("on the way", 20)

    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate, plugins=[MANAGEMENT]) as bob,
        ):
            address, sent = str(bob.boundjid), bob.plugin[MANAGEMENT].seq + len(from_bob)
            bob.send_presence(pto=alice.boundjid)
            presences = Watch(alice, "presence")
            for text in from_bob:
                bob.say(ALICE, text)
            while bob.plugin[MANAGEMENT].seq < sent:  # until the library has written them
                await asyncio.sleep(0)
            await lose(bob)
            for text in to_bob:
                alice.say(BOB, text)
            await alice.catch_up()
            await bob.reconnected(server.port(), "session_resumed")
            assert await bob.receive(to_bob) == to_bob
            assert await alice.receive(from_bob) == from_bob
            assert str(bob.boundjid) == address
            bob.send_presence(pto=alice.boundjid, pstatus="still here")
            presence = await presences.until(
                lambda stanza: stanza.get("type") is not None or stanza.findtext(_STATUS) is not None
            )
            assert presence.findtext(_STATUS) == "still here", "the client was seen to go"

    asyncio.run(scenario())


def test_a_stream_is_taken_over_from_a_connection_that_still_stands(impatient: Server, tmp_path: Path) -> None:
    """As when a phone changes networks: the server has not noticed yet, and the client comes from elsewhere."""
    said = texts("after the change", 3)
    certificate = impatient.certificate(tmp_path)

    async def scenario() -> None:
        async with (
            connected(impatient.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(impatient.port(), BOB, BOB_PASSWORD, certificate, plugins=[MANAGEMENT]) as before,
        ):
            ended = before.upcoming("disconnected")
            after = Client(str(before.boundjid), BOB_PASSWORD, certificate)
            after.register_plugin(MANAGEMENT)
            for name in ("sm_id", "handled", "seq", "last_ack"):
                setattr(after.plugin[MANAGEMENT], name, getattr(before.plugin[MANAGEMENT], name))
            try:
                await after.reconnected(impatient.port(), "session_resumed")
                await ended
                for text in said:
                    alice.say(BOB, text)
                assert await after.receive(said) == said
            finally:
                await after.disconnect(wait=0.5)

    asyncio.run(scenario())


def test_what_an_expired_session_missed_is_delivered_once(impatient: Server, tmp_path: Path) -> None:
    certificate, said = impatient.certificate(tmp_path), texts("missed", 3)

    async def scenario() -> None:
        async with (
            connected(impatient.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(impatient.port(), BOB, BOB_PASSWORD, certificate, plugins=[MANAGEMENT]) as bob,
        ):
            address = str(bob.boundjid)
            bob.send_presence(pto=alice.boundjid)
            presences = Watch(alice, "presence")
            await bob.catch_up()
            await lose(bob)
            for text in said:
                alice.say(BOB, text)
            await presences.until(lambda stanza: stanza.get("type") == "unavailable")
            anew = bob.upcoming("session_start")  # the library binds a resource at once when it cannot resume
            failed = await bob.reconnected(impatient.port(), "sm_failed")
            assert failed.xml.find(f"{_STANZAS}item-not-found") is not None
            assert int(failed.xml.get("h")) > 0, "the client is not told what had been handled"
            await anew
            assert str(bob.boundjid) == address
            bob.send_presence()
            assert await bob.receive(said) == said
            assert [text for text in await archived(bob) if text in said] == said

    asyncio.run(scenario())


def test_a_session_that_missed_too_much_is_not_resumed(impatient: Server, tmp_path: Path) -> None:
    """A gap would be worse; the archive has it all."""
    certificate, said = impatient.certificate(tmp_path), texts("too many", 8)

    async def scenario() -> None:
        async with (
            connected(impatient.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(impatient.port(), BOB, BOB_PASSWORD, certificate, plugins=[MANAGEMENT]) as bob,
        ):
            await lose(bob)
            for text in said:
                alice.say(BOB, text)
            await alice.catch_up()
            anew = bob.upcoming("session_start")  # the library binds a resource at once when it cannot resume
            failed = await bob.reconnected(impatient.port(), "sm_failed")
            assert failed.xml.find(f"{_STANZAS}resource-constraint") is not None
            await anew
            assert [text for text in await archived(bob) if text in said] == said

    asyncio.run(scenario())


def test_nobody_resumes_the_stream_of_somebody_else(impatient: Server, tmp_path: Path) -> None:
    certificate = impatient.certificate(tmp_path)

    async def scenario() -> None:
        async with connected(impatient.port(), BOB, BOB_PASSWORD, certificate, plugins=[MANAGEMENT]) as bob:
            thief = Client(ALICE, ALICE_PASSWORD, certificate)
            thief.register_plugin(MANAGEMENT)
            thief.plugin[MANAGEMENT].sm_id = bob.plugin[MANAGEMENT].sm_id
            try:
                failed = await thief.reconnected(impatient.port(), "sm_failed")
                assert failed.xml.find(f"{_STANZAS}item-not-found") is not None
                await bob.catch_up()
            finally:
                await thief.disconnect(wait=0.5)

    asyncio.run(scenario())


def test_a_restart_tells_what_had_been_handled(own_server: Server, tmp_path: Path) -> None:
    """Then the client knows which of its messages to send again."""
    certificate = own_server.certificate(tmp_path)

    async def scenario() -> None:
        async with connected(own_server.port(), BOB, BOB_PASSWORD, certificate, plugins=[MANAGEMENT]) as bob:
            for text in texts("before the restart", 3):
                bob.say(ALICE, text)
            await bob.catch_up()
            handled = bob.plugin[MANAGEMENT].seq
            ended = bob.upcoming("disconnected")
            await asyncio.to_thread(own_server.running.stop)
            await ended
            await asyncio.to_thread(own_server.restart)
            failed = await bob.reconnected(own_server.port(), "sm_failed")
            assert failed.xml.find(f"{_STANZAS}item-not-found") is not None
            assert int(failed.xml.get("h")) == handled

    asyncio.run(scenario())
