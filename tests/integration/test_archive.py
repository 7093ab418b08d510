"""The archive of messages (XEP-0313): paging (XEP-0059), filters, preferences, and what is kept."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import docker
import pytest
from slixmpp.exceptions import IqError

from tests.integration.clients import Client, Watch, connected
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server, serving
from tests.integration.streams import CLIENT

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
CAROL, CAROL_PASSWORD = f"carol@{DOMAIN}", "carol's"
LIMIT = 10  # messages in one answer
PAUSE = 8  # messages before the pause
CONVERSATION = [(BOB if number % 4 else CAROL, f"{number} {uuid.uuid4()}") for number in range(16)]
_MAM, _RSM, _SID = "urn:xmpp:mam:2", "http://jabber.org/protocol/rsm", "urn:xmpp:sid:0"
_BODY = f"{{{CLIENT}}}body"
_FORWARD, _DELAY = "urn:xmpp:forward:0", "urn:xmpp:delay"


@pytest.fixture(scope="module", params=[{}, {"PROSODY_SQL_DRIVER": "SQLite3"}], ids=["files", "SQLite"])
def server(request: pytest.FixtureRequest, client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that gives ten messages at once."""
    accounts = "\n".join(f"{jid}:{password}" for jid, password in {**ACCOUNTS, CAROL: CAROL_PASSWORD}.items())
    limit = {"PROSODY_ARCHIVE_MAX_QUERY_RESULTS": str(LIMIT)}
    with serving(client, image, PROSODY_ACCOUNTS=accounts, **limit, **request.param) as started:
        yield started


def counts(server: Server) -> bool:
    """Whether answers tell how many messages match: those of a database do (XEP-0059, 2.6, demands it of nobody)."""
    return "PROSODY_SQL_DRIVER" in server.environment


@dataclass(frozen=True)
class Page:
    """An answer of the archive: its messages in the order in which they came, and what it says of them."""

    texts: list[str]
    ids: list[str]
    stamps: list[str]
    first: str | None
    last: str | None
    count: int | None
    is_complete: bool


async def query(client: Client, *paging: str, to: str | None = None, flip: bool = False, **fields: str) -> Page:
    """Ask an archive: `paging` are elements of RSM, `fields` those of the form, with - as _."""
    identifier, watch = str(uuid.uuid4()), Watch(client, "message")
    values = "".join(
        f"<field var='{name.rstrip('_').replace('_', '-')}'>"
        + "".join(f"<value>{value}</value>" for value in text.split())
        + "</field>"
        for name, text in fields.items()
    )
    form = f"<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>{_MAM}</value></field>{values}</x>"
    answer = await client.ask(
        "set",
        f"<query xmlns='{_MAM}' queryid='{identifier}'>{form}<set xmlns='{_RSM}'>{''.join(paging)}</set>"
        f"{'<flip-page/>' if flip else ''}</query>",
        to,
    )
    end = answer.find(f"{{{_MAM}}}fin")
    assert end is not None
    count = end.findtext(f"{{{_RSM}}}set/{{{_RSM}}}count")
    found = [stanza.find(f"{{{_MAM}}}result") for stanza in watch.taken()]
    results = [result for result in found if result is not None and result.get("queryid") == identifier]
    forwarded = f"{{{_FORWARD}}}forwarded"
    return Page(
        [result.findtext(f"{forwarded}/{{{CLIENT}}}message/{_BODY}", "") for result in results],
        [result.get("id", "") for result in results],
        [_stamp(result.find(f"{forwarded}/{{{_DELAY}}}delay")) for result in results],
        end.findtext(f"{{{_RSM}}}set/{{{_RSM}}}first"),
        end.findtext(f"{{{_RSM}}}set/{{{_RSM}}}last"),
        int(count) if count else None,
        end.get("complete") == "true",
    )


def _stamp(delay: ET.Element | None) -> str:
    assert delay is not None
    return delay.get("stamp", "")


def at_most(count: int) -> str:
    """The size of a page."""
    return f"<max>{count}</max>"


@pytest.fixture(scope="module")
def written(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[Server, Path]:
    """The server once the conversation is in Alice's archive, and its certificate."""
    certificate = server.certificate(tmp_path_factory.mktemp("archive"))

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            for number, (to, text) in enumerate(CONVERSATION):
                if number == PAUSE:
                    await alice.catch_up()
                    await asyncio.sleep(1 - time.time() % 1)  # until the clock shows another second
                alice.say(to, text)
            await alice.catch_up()

    asyncio.run(scenario())
    return server, certificate


TEXTS = [text for _, text in CONVERSATION]


def test_forwards_page_by_page(written: tuple[Server, Path]) -> None:
    server, certificate = written

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            seen: list[str] = []
            page = await query(alice, at_most(7))
            while True:
                seen += page.texts
                assert (page.first, page.last) == (page.ids[0], page.ids[-1])
                assert page.count == (len(TEXTS) if counts(server) else None)
                if page.is_complete:
                    break
                assert len(page.texts) == 7
                page = await query(alice, at_most(7), f"<after>{page.last}</after>")
            assert seen == TEXTS

    asyncio.run(scenario())


@pytest.mark.parametrize("flip", [False, True])
def test_backwards_page_by_page(written: tuple[Server, Path], flip: bool) -> None:
    """From the newest page on; within a page the oldest message comes first, unless it is flipped."""
    server, certificate = written

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            seen: list[str] = []
            page = await query(alice, at_most(7), "<before/>", flip=flip)
            while True:
                texts = page.texts[::-1] if flip else page.texts
                seen = texts + seen
                if page.is_complete:
                    break
                assert len(texts) == 7
                page = await query(alice, at_most(7), f"<before>{page.first}</before>", flip=flip)
            assert seen == TEXTS

    asyncio.run(scenario())


def test_filters(written: tuple[Server, Path]) -> None:
    server, certificate = written

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            first = await query(alice, at_most(LIMIT))
            for person in (BOB, CAROL):
                page = await query(alice, at_most(4), with_=person)
                said = [text for to, text in CONVERSATION if to == person]
                assert (page.texts, page.count) == (said[:4], len(said) if counts(server) else None)
            # In whole seconds: for those of SQLite, Prosody leaves out fractions of these, but not of messages.
            pause = f"{first.stamps[PAUSE][:19]}Z"
            assert (await query(alice, end=pause)).texts == TEXTS[:PAUSE]
            assert (await query(alice, start=pause)).texts == TEXTS[PAUSE:]
            assert (await query(alice, start=pause, with_=CAROL)).texts == [
                text for to, text in CONVERSATION[PAUSE:] if to == CAROL
            ]
            assert (await query(alice, start=first.stamps[0], end=pause, with_=BOB)).texts == [
                text for to, text in CONVERSATION[:PAUSE] if to == BOB
            ]
            page = await query(alice, after_id=first.ids[1], before_id=first.ids[4])
            assert page.texts == TEXTS[2:4]
            page = await query(alice, ids=f"{first.ids[6]} {first.ids[3]}")
            assert page.texts == [TEXTS[3], TEXTS[6]]
            page = await query(alice, end="2000-01-01T00:00:00Z")
            assert (page.texts, page.is_complete) == ([], True)

    asyncio.run(scenario())


def test_limits(written: tuple[Server, Path]) -> None:
    server, certificate = written

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            page = await query(alice, at_most(1000))
            assert (page.texts, page.is_complete) == (TEXTS[:LIMIT], False)
            page = await query(alice, at_most(0))
            assert (page.texts, page.count) == ([], len(TEXTS) if counts(server) else None)
            for paging in (f"<after>{uuid.uuid4()}</after>", f"<before>{uuid.uuid4()}</before>"):
                with pytest.raises(IqError, match="item-not-found"):
                    await query(alice, paging)
            for to in (BOB, CAROL):
                with pytest.raises(IqError):
                    await query(alice, to=to)

    asyncio.run(scenario())


def test_the_archive_tells_where_it_begins_and_ends(written: tuple[Server, Path]) -> None:
    server, certificate = written

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            first, last = await query(alice, at_most(1)), await query(alice, at_most(1), "<before/>")
            answer = await alice.ask("get", f"<metadata xmlns='{_MAM}'/>")
            ends = [answer.find(f"{{{_MAM}}}metadata/{{{_MAM}}}{name}") for name in ("start", "end")]
            assert [end is not None and end.get("id") for end in ends] == [first.first, last.last]

    asyncio.run(scenario())


def test_a_message_tells_its_place_in_the_archive(server: Server, certificate: Path) -> None:
    """XEP-0359; nobody else can say it, whoever the message is sent to."""
    forged = f"<stanza-id xmlns='{_SID}' id='forged' by='{ALICE}'/>"
    other = f"<stanza-id xmlns='{_SID}' id='of a gateway' by='gateway.example'/>"

    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), CAROL, CAROL_PASSWORD, certificate) as carol,
        ):
            for to in (ALICE, alice.boundjid.full):
                text, watch = str(uuid.uuid4()), Watch(alice, "message")
                carol.say(to, text, forged, other)
                message = await watch.until(lambda stanza, text=text: stanza.findtext(_BODY) == text)  # type: ignore[misc]
                given = {found.get("by"): found.get("id") for found in message.iter(f"{{{_SID}}}stanza-id")}
                page = await query(alice, at_most(1), "<before/>")
                assert given == {ALICE: page.last, "gateway.example": "of a gateway"}
                assert "forged" not in ET.tostring(message, encoding="unicode")

    asyncio.run(scenario())


# ---- What is kept


async def kept(sender: Client, receiver: Client, *payloads: str, kind: str = "chat") -> bool:
    """Whether the receiver's archive keeps a message."""
    text = str(uuid.uuid4())
    sender.say(receiver.boundjid.full, text, *payloads, kind=kind)
    await sender.catch_up()
    page = await query(receiver, at_most(1), "<before/>")
    return text in page.texts


def test_what_is_said_is_kept_unless_somebody_objects(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), CAROL, CAROL_PASSWORD, certificate) as carol,
        ):
            assert await kept(alice, carol)
            assert await kept(alice, carol, kind="normal")
            assert not await kept(alice, carol, kind="headline")
            assert not await kept(alice, carol, "<no-store xmlns='urn:xmpp:hints'/>")
            assert not await kept(alice, carol, "<no-permanent-store xmlns='urn:xmpp:hints'/>")
            # What has no body: markers are kept, typing is not.
            newest = (await query(carol, at_most(1), "<before/>")).last
            alice.tell(CAROL, "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
            await alice.catch_up()
            assert (await query(carol, f"<after>{newest}</after>")).ids == []
            alice.tell(CAROL, "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>")
            await alice.catch_up()
            assert len((await query(carol, f"<after>{newest}</after>")).ids) == 1

    asyncio.run(scenario())


def test_preferences_are_kept_and_followed(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob,
            connected(server.port(), CAROL, CAROL_PASSWORD, certificate) as carol,
        ):

            async def prefer(default: str, always: str = "", never: str = "") -> None:
                rules = "".join(
                    f"<{name}>{f'<jid>{jid}</jid>' if jid else ''}</{name}>"
                    for name, jid in (("always", always), ("never", never))
                )
                preferences = f"<prefs xmlns='{_MAM}' default='{default}'>{rules}</prefs>"
                await carol.ask("set", preferences)
                answer = await carol.ask("get", f"<prefs xmlns='{_MAM}'/>")
                stored = answer.find(f"{{{_MAM}}}prefs")
                assert stored is not None
                assert stored.get("default") == default
                for name, jid in (("always", always), ("never", never)):
                    listed = [found.text for found in stored.iterfind(f"{{{_MAM}}}{name}/{{{_MAM}}}jid")]
                    assert listed == ([jid] if jid else [])

            async def followed() -> tuple[bool, bool]:
                return await kept(alice, carol), await kept(bob, carol)

            try:
                await prefer("always", never=BOB)
                assert await followed() == (True, False)
                await prefer("never", always=BOB)
                assert await followed() == (False, True)
                await prefer("roster")
                assert await followed() == (False, False)
                await carol.ask("set", f"<query xmlns='jabber:iq:roster'><item jid='{ALICE}'/></query>")
                assert await followed() == (True, False)
            finally:
                await prefer("always")

    asyncio.run(scenario())
