"""Archives of rooms (XEP-0313): read page by page, by whom the room lets in, as long as the owner wants one."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

import slixmpp

from tests.integration.clients import Client
from tests.integration.containers import PATIENCE
from tests.integration.rooms import configure, enter, open_room, read, say
from tests.integration.scenes import Stage, refusal


async def page(client: Client, room: slixmpp.JID, **options: Any) -> tuple[list[Any], Any]:
    """One page of an archive: its messages, and what is said of the page (XEP-0059)."""
    archive: Any = client.plugin["xep_0313"]
    answer = await archive.retrieve(room, timeout=PATIENCE, **options)
    return answer["mam"]["results"], answer["mam_fin"]


def _bodies(messages: list[Any]) -> list[str]:
    return [str(found["mam_result"]["forwarded"]["stanza"]["body"]) for found in messages]


def test_an_archive_is_read_in_pages(stage: Stage) -> None:
    """Forwards and backwards; pages meet without a gap and without an overlap."""

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        said = [(await say(alice, room))[0] for _ in range(7)]
        await enter(bob, room, "bob")
        assert await read(bob, room) == said
        assert await read(bob, room, rsm={"max": 3}) == said

        messages, fin = await page(bob, room, rsm={"max": "3"})
        assert _bodies(messages) == said[:3]
        assert fin["complete"] != "true"
        messages, fin = await page(bob, room, rsm={"max": "3", "after": fin["rsm"]["last"]})
        assert _bodies(messages) == said[3:6]
        messages, fin = await page(bob, room, rsm={"max": "3", "after": fin["rsm"]["last"]})
        assert (_bodies(messages), fin["complete"]) == (said[6:], "true")

        messages, fin = await page(bob, room, rsm={"max": "3", "before": fin["rsm"]["first"]})
        assert _bodies(messages) == said[3:6]
        # The newest first, as a client that is opened does.
        assert await read(bob, room, rsm={"max": 3}, reverse=True) == said[::-1]

    stage.play(scene)


def test_an_archive_is_searched_by_time(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        said = [(await say(alice, room))[0] for _ in range(2)]
        first, last = (_time(found) for found in (await page(alice, room))[0])
        # Times are told in whole seconds, and kept more precisely.
        second = timedelta(seconds=1)
        assert await read(alice, room, start=first, end=last + second) == said
        assert await read(alice, room, start=last + second) == []
        assert await read(alice, room, end=first - second) == []

    stage.play(scene)


def _time(found: Any) -> datetime:
    moment: datetime = found["mam_result"]["forwarded"]["delay"]["stamp"]
    return moment


def test_who_may_not_enter_may_not_read(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        text, _ = await say(alice, room)
        assert await read(bob, room) == [text]
        await configure(alice, room, membersonly="1")
        assert await refusal(page(bob, room)) == "forbidden"

    stage.play(scene)


def test_no_archive_where_the_owner_wants_none(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice, enablearchiving="0")
        await say(alice, room)
        await configure(alice, room, enablearchiving="1")
        kept, _ = await say(alice, room)
        assert await read(bob, room) == [kept]

    stage.play(scene)


def test_an_archive_outlives_the_server(stage: Stage) -> None:
    """So does what is shown to those who enter."""

    async def talk() -> tuple[slixmpp.JID, list[str]]:
        async with stage.alice() as alice:
            room = await open_room(alice, persistentroom="1")
            return room, [(await say(alice, room))[0] for _ in range(2)]

    room, said = asyncio.run(talk())
    stage.server.restart()

    async def scene(alice: Client, bob: Client) -> None:
        assert await read(alice, room) == said
        assert [message["body"] for message in (await enter(bob, room, "bob")).history] == said

    stage.play(scene)
