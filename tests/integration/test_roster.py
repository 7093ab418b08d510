"""Contact lists and presence (RFC 6121): who may see whom, how that begins and ends, and what is seen."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree as ET

import docker
import pytest
from slixmpp.exceptions import IqError

from tests.integration.clients import Client, Watch, connected
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server, serving
from tests.integration.streams import CLIENT

PASSWORD = "the same for all"
Kind = Literal["subscribe", "subscribed", "unsubscribe", "unsubscribed"]
_ROSTER = "jabber:iq:roster"
_QUERY = f"{{{_ROSTER}}}query"
_STATUS = f"{{{CLIENT}}}status"


@dataclass
class Town:
    """A server with people who do not know each other."""

    server: Server
    certificate: Path
    strangers: Iterator[str]

    @asynccontextmanager
    async def client(self, jid: str, *, available: bool = True) -> AsyncIterator[Client]:
        """A client that decides nothing by itself and wants to be told about changes of its list."""
        async with connected(self.server.port(), jid, PASSWORD, self.certificate, available=False) as client:
            client.auto_authorize, client.auto_subscribe = None, False
            await roster(client)
            if available:
                client.send_presence()
                await client.catch_up()
            yield client

    @asynccontextmanager
    async def pair(self) -> AsyncIterator[tuple[Client, Client]]:
        """Clients of two people who have never met."""
        async with AsyncExitStack() as stack:
            first, second = [await stack.enter_async_context(self.client(next(self.strangers))) for _ in range(2)]
            yield first, second


@pytest.fixture(scope="module")
def town(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A server that has two people for each test."""
    people = [f"person{number}@{DOMAIN}" for number in range(26)]
    accounts = "\n".join(f"{jid}:{PASSWORD}" for jid in people)
    with serving(client, image, PROSODY_ACCOUNTS=accounts, PROSODY_ITERATION_COUNT="4096") as server:
        yield Town(server, server.certificate(tmp_path_factory.mktemp("town")), iter(people))


@dataclass(frozen=True)
class Contact:
    """An entry of a list."""

    subscription: str
    is_asked: bool = False
    name: str | None = None
    groups: frozenset[str] = frozenset()


def contacts(query: ET.Element | None) -> dict[str, Contact]:
    """The entries of a list, or of a change to it."""
    assert query is not None
    return {
        item.get("jid", ""): Contact(
            item.get("subscription", ""),
            item.get("ask") == "subscribe",
            item.get("name"),
            frozenset(group.text or "" for group in item),
        )
        for item in query
    }


async def roster(client: Client) -> dict[str, Contact]:
    """The client's list."""
    return contacts((await client.ask("get", f"<query xmlns='{_ROSTER}'/>")).find(_QUERY))


async def settle(*clients: Client) -> None:
    """Wait until all that was sent has reached the others, twice: answers are sent by clients as well."""
    for client in (*clients, *clients):
        await client.catch_up()


async def send(client: Client, kind: Kind, to: Client) -> None:
    """Send a presence of this kind to a person, and wait until it is handled."""
    client.send_presence(pto=to.boundjid.bare, ptype=kind)
    await settle(client, to)


async def befriend(first: Client, second: Client) -> None:
    """Let two people see each other."""
    for one, other in ((first, second), (second, first)):
        await send(one, "subscribe", other)
        await send(other, "subscribed", one)
    known = await roster(first), await roster(second)
    assert known == (
        {second.boundjid.bare: Contact("both")},
        {first.boundjid.bare: Contact("both")},
    )


def seen(watch: Watch) -> list[tuple[str, str]]:
    """Presences that have come: who sent them, and their kind, or else their status."""
    return [
        (stanza.get("from", ""), stanza.get("type", stanza.findtext(_STATUS, "available"))) for stanza in watch.taken()
    ]


# ---- The list itself


def test_every_client_of_a_person_learns_of_changes(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend), town.client(person.boundjid.bare) as other:
            jid = friend.boundjid.bare

            async def change(item: str, expected: Contact) -> None:
                watches = [Watch(client, "iq") for client in (person, other)]
                await person.ask("set", f"<query xmlns='{_ROSTER}'>{item}</query>")
                for watch in watches:
                    push = await watch.until(lambda stanza: stanza.find(_QUERY) is not None)
                    assert (push.get("type"), contacts(push.find(_QUERY))) == ("set", {jid: expected})

            await change(
                f"<item jid='{jid}' name='A &amp; Ö'><group>work</group><group>choir</group></item>",
                Contact("none", name="A & Ö", groups=frozenset({"work", "choir"})),
            )
            await change(f"<item jid='{jid}' name='B'/>", Contact("none", name="B"))
            async with town.client(person.boundjid.bare) as later:
                assert await roster(later) == {jid: Contact("none", name="B")}
            await change(f"<item jid='{jid}' subscription='remove'/>", Contact("remove"))
            assert await roster(other) == {}

    asyncio.run(scenario())


def test_a_list_that_is_known_is_not_sent_again(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            assert "rosterver" in person.features

            async def ask(version: str) -> ET.Element | None:
                return (await person.ask("get", f"<query xmlns='{_ROSTER}' ver='{version}'/>")).find(_QUERY)

            async def add(jid: str) -> None:
                await person.ask("set", f"<query xmlns='{_ROSTER}'><item jid='{jid}'/></query>")

            await add(friend.boundjid.bare)
            whole = await ask("")
            assert whole is not None
            assert list(contacts(whole)) == [friend.boundjid.bare]
            version = whole.get("ver", "")
            assert await ask(version) is None
            await add(f"somebody@{DOMAIN}")
            changed = await ask(version)
            assert changed is not None
            assert changed.get("ver") != version
            assert f"somebody@{DOMAIN}" in contacts(changed)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "item",
    [
        pytest.param("", id="nobody"),
        pytest.param("<item/>", id="without an address"),
        pytest.param("<item jid='a@b@c'/>", id="not an address"),
        pytest.param(f"<item jid='a@{DOMAIN}'/><item jid='b@{DOMAIN}'/>", id="two at once"),
        pytest.param(f"<item jid='absent@{DOMAIN}' subscription='remove'/>", id="who is not there"),
    ],
)
def test_a_change_that_makes_no_sense_is_refused(town: Town, item: str) -> None:
    async def scenario() -> None:
        async with town.client(f"person25@{DOMAIN}") as person:
            with pytest.raises(IqError):
                await person.ask("set", f"<query xmlns='{_ROSTER}'>{item}</query>")
            assert await roster(person) == {}

    asyncio.run(scenario())


# ---- How it begins that somebody is seen, and how it ends


def test_who_is_approved_sees_the_other(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            at_person, at_friend = Watch(person, "presence"), Watch(friend, "presence")
            await send(person, "subscribe", friend)
            assert await roster(person) == {friend.boundjid.bare: Contact("none", is_asked=True)}
            assert await roster(friend) == {}, "who has not answered yet has nobody in the list"
            assert (person.boundjid.bare, "subscribe") in seen(at_friend)
            assert (friend.boundjid.full, "available") not in seen(at_person)

            await send(friend, "subscribed", person)
            assert await roster(person) == {friend.boundjid.bare: Contact("to")}
            assert await roster(friend) == {person.boundjid.bare: Contact("from")}
            assert seen(at_person) == [(friend.boundjid.bare, "subscribed"), (friend.boundjid.full, "available")]

            person.send_presence(pstatus="unseen")
            friend.send_presence(pstatus="seen")
            await settle(person, friend)
            assert (friend.boundjid.full, "seen") in seen(at_person)
            assert (person.boundjid.full, "unseen") not in seen(at_friend), "it was approved in one direction"

            await send(friend, "subscribe", person)
            await send(person, "subscribed", friend)
            assert await roster(person) == {friend.boundjid.bare: Contact("both")}
            assert (person.boundjid.full, "unseen") in seen(at_friend)

    asyncio.run(scenario())


def test_who_is_denied_sees_nothing_and_can_ask_again(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            at_person, at_friend = Watch(person, "presence"), Watch(friend, "presence")
            for _ in range(2):
                await send(person, "subscribe", friend)
                assert (person.boundjid.bare, "subscribe") in seen(at_friend)
                await send(friend, "unsubscribed", person)
                assert (friend.boundjid.bare, "unsubscribed") in seen(at_person)
                assert await roster(person) == {friend.boundjid.bare: Contact("none")}
                assert await roster(friend) == {}
            friend.send_presence(pstatus="secret")
            await settle(friend, person)
            assert seen(at_person) == []

    asyncio.run(scenario())


def test_a_request_waits_until_it_is_answered(town: Town) -> None:
    """At each login, once, for who was away; XEP-0172 and whatever else is in it is kept."""

    async def scenario() -> None:
        friend = next(town.strangers)
        async with town.client(next(town.strangers)) as person:
            person.send_presence(pto=friend, ptype="subscribe", pstatus="do you remember me?")
            await person.catch_up()
            for _ in range(2):
                async with town.client(friend, available=False) as back:
                    watch = Watch(back, "presence")
                    back.send_presence()
                    await back.catch_up()
                    request = [found for found in watch.taken() if found.get("type") == "subscribe"]
                    assert [found.get("from") for found in request] == [person.boundjid.bare]
                    assert request[0].findtext(_STATUS) == "do you remember me?"
            async with town.client(friend) as back:
                await send(back, "subscribed", person)
            async with town.client(friend, available=False) as back:
                watch = Watch(back, "presence")
                back.send_presence()
                await back.catch_up()
                assert (person.boundjid.bare, "subscribe") not in seen(watch)

    asyncio.run(scenario())


def test_a_request_can_be_approved_before_it_comes(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            assert "preapproval" in friend.features
            await send(friend, "subscribed", person)
            at_person, at_friend = Watch(person, "presence"), Watch(friend, "presence")
            await send(person, "subscribe", friend)
            assert (friend.boundjid.bare, "subscribed") in seen(at_person)
            assert (person.boundjid.bare, "subscribe") not in seen(at_friend), "it was answered already"
            assert await roster(person) == {friend.boundjid.bare: Contact("to")}

    asyncio.run(scenario())


def test_either_can_end_it(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            await befriend(person, friend)
            at_person, at_friend = Watch(person, "presence"), Watch(friend, "presence")
            await send(person, "unsubscribe", friend)
            assert (person.boundjid.bare, "unsubscribe") in seen(at_friend)
            assert await roster(person) == {friend.boundjid.bare: Contact("from")}
            assert await roster(friend) == {person.boundjid.bare: Contact("to")}
            friend.send_presence(pstatus="no longer seen")
            await settle(friend, person)
            assert (friend.boundjid.full, "no longer seen") not in seen(at_person)

            await send(person, "unsubscribed", friend)
            ended = seen(at_friend)
            assert (person.boundjid.bare, "unsubscribed") in ended
            assert (person.boundjid.full, "unavailable") in ended
            assert await roster(friend) == {person.boundjid.bare: Contact("none")}

    asyncio.run(scenario())


def test_who_is_removed_from_a_list_is_not_seen_and_sees_nothing(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            await befriend(person, friend)
            at_friend = Watch(friend, "presence")
            await person.ask(
                "set", f"<query xmlns='{_ROSTER}'><item jid='{friend.boundjid.bare}' subscription='remove'/></query>"
            )
            await settle(person, friend)
            ended = seen(at_friend)
            assert {(person.boundjid.bare, kind) for kind in ("unsubscribe", "unsubscribed")} <= set(ended)
            assert (person.boundjid.full, "unavailable") in ended
            assert (await roster(person), await roster(friend)) == ({}, {person.boundjid.bare: Contact("none")})

    asyncio.run(scenario())


# ---- What is seen


def test_a_friend_sees_each_client_come_change_and_go(town: Town) -> None:
    async def scenario() -> None:
        async with town.pair() as (person, friend):
            await befriend(person, friend)
            watch = Watch(friend, "presence")
            async with town.client(person.boundjid.bare, available=False) as second:
                own = Watch(second, "presence")
                await settle(second, friend)
                assert seen(watch) == [], "a client that says nothing is not seen"
                second.send_presence(pshow="away", pstatus="at lunch", ppriority=3)
                await settle(second, friend)
                (stanza,) = watch.taken()
                assert [stanza.findtext(f"{{{CLIENT}}}{name}") for name in ("show", "status", "priority")] == [
                    "away",
                    "at lunch",
                    "3",
                ]
                everybody = {client.boundjid.full for client in (person, second, friend)}
                assert {who for who, _ in seen(own)} == everybody
                second.send_presence(ptype="unavailable")
                await settle(second, friend)
                assert seen(watch) == [(second.boundjid.full, "unavailable")]
                second.send_presence()
                await settle(second, friend)
                assert seen(watch) == [(second.boundjid.full, "available")]
                assert second.transport is not None
                second.transport.abort()
                gone = await watch.until(lambda stanza: stanza.get("type") is not None)
                assert (gone.get("from"), gone.get("type")) == (second.boundjid.full, "unavailable")
            async with town.client(friend.boundjid.bare, available=False) as late:
                watch = Watch(late, "presence")
                late.send_presence()
                await settle(late)
                assert (person.boundjid.full, "available") in seen(watch), "who comes later sees who is there"

    asyncio.run(scenario())


def test_a_stranger_sees_what_is_sent_to_it_alone(town: Town) -> None:
    """Directed presence (RFC 6121, 4.6), which ends with the client."""

    async def scenario() -> None:
        async with town.pair() as (_person, stranger):
            watch = Watch(stranger, "presence")
            async with town.client(next(town.strangers)) as person:
                person.send_presence(pto=stranger.boundjid.full, pstatus="for you")
                person.send_presence(pstatus="for friends")
                await settle(person, stranger)
                assert seen(watch) == [(person.boundjid.full, "for you")]
                person.send_presence(pto=stranger.boundjid.bare, ptype="probe")
                stranger.send_presence(pto=person.boundjid.bare, ptype="probe")
                await settle(person, stranger)
                assert [kind for _, kind in seen(watch)] in (["unsubscribed"], []), "a probe tells nothing"
            gone = await watch.until(lambda stanza: stanza.get("type") == "unavailable")
            assert gone.get("from") == person.boundjid.full

    asyncio.run(scenario())


def test_friends_learn_how_long_somebody_has_been_away(town: Town) -> None:
    """XEP-0012."""
    question, answered = "<query xmlns='jabber:iq:last'/>", "{jabber:iq:last}query"

    async def scenario() -> None:
        async with town.pair() as (person, friend):
            for client in (person, friend):
                await client.ask("get", question, DOMAIN)  # how long the server has been there
            with pytest.raises(IqError, match="forbidden"):
                await friend.ask("get", question, person.boundjid.bare)
            await befriend(person, friend)
            person.send_presence(ptype="unavailable", pstatus="gone home")
            await settle(person, friend)
            answer = (await friend.ask("get", question, person.boundjid.bare)).find(answered)
            assert answer is not None
            assert answer.text == "gone home"
            assert 0 <= int(answer.get("seconds", "-1")) < 60

    asyncio.run(scenario())
