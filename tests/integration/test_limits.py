"""Whoever takes too much is slowed or refused (mod_limits, mod_muc_limits), and nobody else notices."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import docker
import pytest
import slixmpp

from tests.integration import servers, streams
from tests.integration.client_exchanges import body
from tests.integration.clients import Client, Watch
from tests.integration.containers import PATIENCE, LoadedImage
from tests.integration.rooms import affiliate, enter, leave, new_room, of, open_room
from tests.integration.scenes import (
    ALICE,
    ALICE_PASSWORD,
    BOB,
    BOB_PASSWORD,
    Stage,
    condition,
    refusal,
    words,
)
from tests.integration.servers import DOMAIN
from tests.integration.streams import CLIENT, SERVER, STREAMS, ProtocolError, Stream

FLOOD = 35_000  # bytes; a client may send 10 kB a second, and two seconds' worth at once
PAUSE = 0.9  # seconds; whoever is over the limit is paused for a second at least
STANZA = 20_000  # bytes that one stanza may have


@pytest.fixture(scope="module")
def stage(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server that allows less than usual, but for Bob, whom nothing limits."""
    variables = {
        "PROSODY_UNLIMITED_JIDS": BOB,
        "PROSODY_C2S_STANZA_SIZE_LIMIT": str(STANZA),
        "PROSODY_MUC_MAX_ROOMS": "8",
        "PROSODY_MUC_MAX_NICK_LENGTH": "8",
        "PROSODY_MUC_MAX_CHAR_COUNT": "1000",
    }
    ports = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5269)}
    with servers.serving(client, image, {"ports": ports}, **variables) as started:
        yield Stage(started, started.certificate(tmp_path_factory.mktemp("stage")))


# ---- Bandwidth


@contextlib.contextmanager
def logged_in(stage: Stage, address: str, password: str) -> Iterator[Stream]:
    """A stream on which somebody is logged in, and which sends what it is told to, however much."""
    name, domain = address.split("@")
    with Stream(stage.server.port(), domain) as stream:
        stream.open()
        stream.start_tls(streams.trusting(stage.certificate))
        stream.open()
        stream.log_in(name, password)
        stream.bind()
        yield stream


def seconds_for_flood(stream: Stream) -> float:
    """How long it takes until a flood of requests is answered, every one."""
    filling = "x" * 900
    requests = [
        f"<iq type='get' id='{number}' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'>{filling}</ping></iq>"
        for number in range(FLOOD // 1000)
    ]
    start = time.monotonic()
    stream.send("".join(requests))
    answered = [stream.expect(f"{{{CLIENT}}}iq").get("id") for _ in requests]
    assert answered == [str(number) for number in range(len(requests))]
    return time.monotonic() - start


def test_a_client_that_floods_is_slowed_and_keeps_its_connection(stage: Stage) -> None:
    """What is beyond two seconds' worth takes its time; the control is somebody whom nothing limits."""
    with logged_in(stage, ALICE, ALICE_PASSWORD) as limited, logged_in(stage, BOB, BOB_PASSWORD) as unlimited:
        free = seconds_for_flood(unlimited)
        slowed = seconds_for_flood(limited)
    assert slowed > PAUSE, f"{slowed:.2f} s"
    assert free < slowed - PAUSE / 2, f"slowed: {slowed:.2f} s, free: {free:.2f} s"


def test_a_server_that_floods_is_slowed(stage: Stage) -> None:
    """Before it has proved who it is: 30 kB a second, and two seconds' worth at once."""
    with Stream(stage.server.port(5269), DOMAIN, SERVER) as stream:
        stream.open()
        filling = "x" * 900
        # Questions whether a key is its own, which a server answers to anybody (XEP-0220, 2.4).
        question = f"<db:verify from='other.example' to='{DOMAIN}' id='{{}}'>{filling}</db:verify>"
        start = time.monotonic()
        stream.send("".join(question.format(number) for number in range(80)))
        answers = [stream.read() for _ in range(80)]
        seconds = time.monotonic() - start
    assert {answer.get("type") for answer in answers} == {"invalid"}
    assert seconds > PAUSE, f"answered after {seconds:.2f} s"


# ---- Sizes and numbers


def test_the_limits_are_told(stage: Stage) -> None:
    """XEP-0478: so that a client need not find out."""
    found = "{urn:xmpp:stream-limits:0}limits"
    with Stream(stage.server.port(), DOMAIN) as stream:
        assert _largest(stream.open().find(found)) == 10_000
        stream.start_tls(streams.trusting(stage.certificate))
        stream.open()
        assert _largest(stream.log_in("bob", BOB_PASSWORD).find(found)) == STANZA


def _largest(limits: Any) -> int:
    assert limits is not None, "no limits are told"
    return int(limits.findtext("{urn:xmpp:stream-limits:0}max-bytes"))


def test_a_stanza_has_a_largest_size(stage: Stage) -> None:
    """One below is delivered; one above ends the stream before it is whole."""
    start = f"<iq type='get' id='big' to='{DOMAIN}'><ping xmlns='urn:xmpp:ping'>"
    with logged_in(stage, BOB, BOB_PASSWORD) as sender:
        sender.send(f"{start}{'x' * (STANZA - 1200)}</ping></iq>")
        assert sender.read().get("id") == "big"
        # No more than that: what the server has not read when it closes has the network drop what it said last.
        sender.send(f"{start}{'x' * (STANZA + 1000)}")
        assert _stream_error(sender.read()) == "policy-violation"
        with pytest.raises(ProtocolError):
            sender.read()


def test_who_is_not_logged_in_may_send_less(stage: Stage) -> None:
    with Stream(stage.server.port(), DOMAIN) as stream:
        stream.open()
        stream.send(f"<iq type='get' id='big'><query xmlns='jabber:iq:register'>{'x' * 11_000}")
        assert _stream_error(stream.read()) == "policy-violation"


def _stream_error(element: Any) -> str:
    assert element.tag == f"{{{STREAMS}}}error", streams.text_of(element)
    return str(element[0].tag.split("}")[1])


def test_connections_of_an_address_are_counted(client: docker.DockerClient, image: LoadedImage) -> None:
    with servers.serving(client, image, PROSODY_C2S_MAX_CONNECTIONS_PER_IP="3") as server, ExitStack() as opened:
        held = [opened.enter_context(Stream(server.port(), DOMAIN)) for _ in range(3)]
        for stream in held:
            stream.open()
        with Stream(server.port(), DOMAIN) as fourth, pytest.raises((ProtocolError, OSError)):
            fourth.open()
        server.wait_for(lambda: "4 of 3 current connections" in server.log(), "the refusal is logged")
        held[0].drop()
        server.wait_for(lambda: servers.answers_clients(server.port()), "a place is free")
        assert "limit 3" in server.shell("limits:connections('127.0.0.1')")


# ---- Rooms


async def tried(speaker: Client, room: slixmpp.JID, text: str) -> str | None:
    """Try to say something in a room; returns why it is refused."""
    watch = Watch(speaker, "message")
    speaker.say(str(room), text, kind="groupchat")
    answer = await watch.until(lambda stanza: body(stanza) == text or stanza.get("type") == "error")
    return condition(answer)


def test_an_occupant_who_floods_a_room_is_refused(stage: Stage) -> None:
    """Three things at once, and one each two seconds afterwards; members are not limited."""

    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        outcomes = [await tried(bob, room, words()) for _ in range(5)]
        assert outcomes[:2] == [None, None]
        assert outcomes[-1] == "policy-violation"
        await affiliate(alice, room, BOB, "member")
        assert [await tried(bob, room, words()) for _ in range(10)] == [None] * 10

    stage.play(scene)


@pytest.mark.parametrize("text", ["x" * 1100, "a line\n" * 30])
def test_a_long_message_is_refused_in_a_room(stage: Stage, text: str) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "bob")
        assert await tried(bob, room, text) == "policy-violation"
        assert await tried(alice, room, text) is None, "the owner is limited as well"

    stage.play(scene)


def test_a_long_nick_is_a_nuisance_only_to_its_bearer(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        room = await open_room(alice)
        await enter(bob, room, "n" * 8)
        await leave(bob, room)
        refused = Watch(bob, "presence")
        of(bob).make_join_stanza(room, "n" * 9).send()
        assert condition(await refused.until(lambda stanza: stanza.get("type") == "error")) == "policy-violation"

    stage.play(scene)


def test_there_are_only_so_many_rooms(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        made = [await open_room(alice) for _ in range(8)]
        assert await refusal(open_room(alice)) == "resource-constraint"
        assert await refusal(enter(bob, new_room(), "bob")) == "resource-constraint"
        await of(alice).destroy(made[0], timeout=PATIENCE)
        await open_room(alice)

    stage.play(scene)
