"""Which clients get a message, with what it holds, and who gets copies: the same where encryption is required."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import docker
import pytest
from slixmpp.exceptions import IqError

from tests.integration import streams
from tests.integration.clients import Client, Watch, connected
from tests.integration.conftest import Images
from tests.integration.containers import PATIENCE
from tests.integration.servers import ACCOUNTS, DOMAIN, Server, serving

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
_STANZAS = "{urn:ietf:params:xml:ns:xmpp-stanzas}"


@pytest.fixture(scope="module", params=["debian", "hardened"])
def server(request: pytest.FixtureRequest, client: docker.DockerClient, images: Images) -> Iterator[Server]:
    """The variants that differ in what they let through."""
    with serving(client, images.load(request.param)) as started:
        yield started


# ---- Which client of an account gets a message (RFC 6121, 8.5)


@asynccontextmanager
async def resources(server: Server, certificate: Path, *priorities: int) -> AsyncIterator[list[Client]]:
    """Clients of Bob, each with a priority."""
    async with AsyncExitStack() as stack:
        clients = []
        for priority in priorities:
            client = await stack.enter_async_context(
                connected(server.port(), BOB, BOB_PASSWORD, certificate, available=False)
            )
            client.send_presence(ppriority=priority)
            await client.drain()
            clients.append(client)
        yield clients


async def who_gets(sender: Client, receivers: Sequence[Client], to: str, kind: str = "chat") -> list[int]:
    """Numbers of the receivers that a message reaches, as often as it does."""
    text = str(uuid.uuid4())
    sender.say(to, text, kind=kind)
    await sender.catch_up()
    return [number for number, receiver in enumerate(receivers) for found in await receiver.drain() if found == text]


def test_the_most_available_clients_get_messages(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            resources(server, certificate, 5, 5, 1, -1) as bobs,
        ):
            assert await who_gets(alice, bobs, BOB) == [0, 1]
            assert await who_gets(alice, bobs, BOB, "normal") == [0, 1]
            assert await who_gets(alice, bobs, BOB, "headline") == [0, 1, 2]
            for number, bob in enumerate(bobs):
                assert await who_gets(alice, bobs, bob.boundjid.full) == [number]
            # Somebody who answers a client that has left means the person.
            assert await who_gets(alice, bobs, f"{BOB}/gone") == [0, 1]

    asyncio.run(scenario())


def test_a_client_that_hides_gets_what_is_sent_to_itself(server: Server, certificate: Path) -> None:
    """Without presence, or with a negative priority, nothing for the account is delivered; it is kept for later."""
    text = str(uuid.uuid4())

    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate, available=False) as silent,
            resources(server, certificate, -1) as (negative,),
        ):
            hidden = [silent, negative]
            for kind in ("normal", "headline"):
                assert await who_gets(alice, hidden, BOB, kind) == []
            assert await who_gets(alice, hidden, silent.boundjid.full) == [0]
            alice.say(BOB, text)
            await alice.catch_up()
            silent.send_presence()
            assert await silent.receive([text]) == [text]

    asyncio.run(scenario())


def test_what_cannot_be_delivered_comes_back(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            for to, kind in ((f"nobody@{DOMAIN}", "chat"), (f"nobody@{DOMAIN}", "normal"), (BOB, "groupchat")):
                watch = Watch(alice, "message")
                alice.say(to, "hello", kind=kind)
                error = await watch.until(lambda stanza: stanza.get("type") == "error")
                assert error.get("from") == to
                assert error.find(f"{{{streams.CLIENT}}}error/{_STANZAS}service-unavailable") is not None
            for to in (f"nobody@{DOMAIN}", f"{BOB}/gone"):
                with pytest.raises(IqError, match="service-unavailable"):
                    await alice.ask("get", "<question xmlns='urn:example:question'/>", to)

    asyncio.run(scenario())


def test_a_headline_is_not_kept(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            assert await who_gets(alice, [], BOB, "headline") == []
            later = str(uuid.uuid4())
            alice.say(BOB, later)
            await alice.catch_up()
            async with connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob:
                assert await bob.receive([later]) == [later]
                assert await bob.drain() == []

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("plugin", "event", "payload", "body"),
    [
        pytest.param(
            "xep_0085", "chatstate", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", "", id="chat state"
        ),
        pytest.param("xep_0184", "receipt_received", "<received xmlns='urn:xmpp:receipts' id='1'/>", "", id="receipt"),
        pytest.param(
            "xep_0333", "marker_displayed", "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>", "", id="marker"
        ),
        pytest.param(
            "xep_0308", "message_correction", "<replace xmlns='urn:xmpp:message-correct:0' id='1'/>", "I meant this",
            id="correction",
        ),
        pytest.param(
            "xep_0444", "reactions", "<reactions xmlns='urn:xmpp:reactions:0' id='1'><reaction>\U0001f600</reaction>"
            "</reactions>", "", id="reactions",
        ),
    ],
)  # fmt: skip
def test_what_clients_say_about_messages_arrives_as_it_was_sent(
    server: Server, certificate: Path, plugin: str, event: str, payload: str, body: str
) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate, plugins=[plugin]) as bob,
        ):
            noticed = bob.upcoming(event)
            if body:
                alice.say(BOB, body, payload)
            else:
                alice.tell(BOB, payload)
            message = await noticed
            sent = streams.parse(payload.encode())
            received = message.xml.find(sent.tag)
            assert ET.canonicalize(ET.tostring(received)) == ET.canonicalize(ET.tostring(sent))
            assert message["body"] == body

    asyncio.run(scenario())


def test_a_receipt_is_asked_for_and_given(server: Server, certificate: Path) -> None:
    """XEP-0184, by what the library does by itself."""

    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate, plugins=["xep_0184"]) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate, plugins=["xep_0184"]) as bob,
        ):
            given = alice.upcoming("receipt_received")
            alice.say(bob.boundjid.full, "did you get this?", "<request xmlns='urn:xmpp:receipts'/>")
            asked = await asyncio.wait_for(bob.messages.get(), PATIENCE)
            assert (await given)["receipt"] == asked["id"]

    asyncio.run(scenario())


# ---- Copies for one's other clients (XEP-0280)


@dataclass
class Copies:
    """A client that gets copies, and what it got: kind and text of each."""

    client: Client
    seen: list[tuple[str, str]] = field(default_factory=list)

    def note(self, message: Any) -> None:
        """Remember a copy; only one's own account may send such (XEP-0280, 11)."""
        for kind in ("carbon_sent", "carbon_received"):
            if message.get_plugin(kind, check=True):
                assert message["from"] == self.client.boundjid.bare
                self.seen.append((kind, str(message[kind]["body"])))

    async def taken(self) -> list[tuple[str, str]]:
        """What has come since this was asked last."""
        await self.client.catch_up()
        seen, self.seen = self.seen, []
        return seen


@asynccontextmanager
async def copying(server: Server, certificate: Path, jid: str, password: str) -> AsyncIterator[Copies]:
    """A client of low priority that asks for copies."""
    async with connected(server.port(), jid, password, certificate, plugins=["xep_0280"]) as client:
        copies = Copies(client)
        client.add_event_handler("carbon_sent", copies.note)
        client.add_event_handler("carbon_received", copies.note)
        client.send_presence(ppriority=0)
        await client.plugin["xep_0280"].enable()
        yield copies


def test_other_clients_get_copies(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            resources(server, certificate, 5) as (bob,),
            copying(server, certificate, ALICE, ALICE_PASSWORD) as hers,
            copying(server, certificate, BOB, BOB_PASSWORD) as his,
        ):

            async def copies(to: str, *payloads: str) -> tuple[str, list[tuple[str, str]], list[tuple[str, str]]]:
                text = str(uuid.uuid4())
                alice.say(to, text, *payloads)
                await alice.catch_up()
                assert await bob.receive([text]) == [text], "the message itself comes once"
                return text, await hers.taken(), await his.taken()

            for to in (BOB, bob.boundjid.full):
                text, sent, received = await copies(to)
                assert (sent, received) == ([("carbon_sent", text)], [("carbon_received", text)])
            for payload in (
                "<private xmlns='urn:xmpp:carbons:2'/><no-copy xmlns='urn:xmpp:hints'/>",
                "<no-copy xmlns='urn:xmpp:hints'/>",
                "<private xmlns='urn:xmpp:carbons:2'/>",
            ):
                elements = [f"{part}/>" for part in payload.split("/>") if part]
                assert (await copies(bob.boundjid.full, *elements))[1:] == ([], []), payload
            await hers.client.plugin["xep_0280"].disable()
            text, sent, received = await copies(bob.boundjid.full)
            assert (sent, received) == ([], [("carbon_received", text)])

    asyncio.run(scenario())


def test_nobody_else_can_send_copies(server: Server, certificate: Path) -> None:
    """A copy that somebody else wrote is a message like any other, from whom it is from (CVE-2017-5589 and others)."""
    text = str(uuid.uuid4())
    forged = (
        "<received xmlns='urn:xmpp:carbons:2'><forwarded xmlns='urn:xmpp:forward:0'>"
        f"<message xmlns='jabber:client' from='boss@{DOMAIN}' to='{BOB}' type='chat'><body>{text}</body></message>"
        "</forwarded></received>"
    )

    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob,
        ):
            watch = Watch(bob, "message")
            alice.tell(BOB, forged)
            message = await watch.until(lambda stanza: text in streams.text_of(stanza))
            assert message.get("from") == alice.boundjid.full

    asyncio.run(scenario())
