"""python -m tests.bench.flood: many clients of one server, driven from standard input, measured in JSON lines.

Each line on standard input starts a phase; when it has ended, a line on standard output tells what was seen. Whoever
measures the server reads its clocks in between. The clients parse next to nothing, so that one processor can make more
load than Prosody takes: what they look for are bodies of messages, which begin with the time that they were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import re
import ssl
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

from tests.integration import streams
from tests.integration.streams import ProtocolError

PASSWORD = "secret"
OCCUPANTS = 10  # of each room
# For each client: messages to one other, arriving copies in rooms, messages where latency is measured.
CHATS, COPIES, PACED = 20, 40, 2
PACE = 100.0  # of the latter, a second: far below what a server can take
_LOGINS = 8  # at the same time
_TEXT = "a message of the usual length, which is about seventy characters long"
_BODY = re.compile(rb"<body>(\d+) (\d+) [^<]*</body>")
_TAIL = 8192  # bytes that are kept because a stanza may go on in the next chunk
_PATIENCE = 60.0  # seconds
_LONGEST = 600.0  # seconds that a phase may take


def user(number: int) -> str:
    """Name of an account."""
    return f"user{number}"


@dataclass(frozen=True)
class Seen:
    """What a phase has shown."""

    seconds: float
    count: int  # logins, or messages that arrived
    latencies: list[float] = field(default_factory=list)  # seconds from sending to arrival
    busy: float = 0.0  # share of the time that this program was working


class Session:
    """One client's connection."""

    def __init__(self, number: int, domain: str) -> None:
        self.number, self.domain = number, domain
        self.arrived: Callable[[Session, int, int], None] = lambda *_: None
        self._awaited: tuple[bytes, asyncio.Future[None]] | None = None

    async def greet(self, port: int) -> None:
        """Connect and open a stream."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        await self._open()

    async def log_in(self, port: int, context: ssl.SSLContext) -> None:
        """STARTTLS, PLAIN, bind, presence; returns when the server has handled all of it."""
        await self.greet(port)
        self.send(f"<starttls xmlns='{streams.TLS}'/>")
        await self._answered(b"<proceed", b">")
        await self._writer.start_tls(context, server_hostname=self.domain)
        await self._open()
        secret = base64.b64encode(f"\0{user(self.number)}\0{PASSWORD}".encode()).decode()
        self.send(f"<auth xmlns='{streams.SASL}' mechanism='PLAIN'>{secret}</auth>")
        await self._answered(b"<success", b">")
        await self._open()
        self.send(f"<iq type='set' id='bind'><bind xmlns='{streams.BIND}'/></iq>")
        await self._answered(b"<jid>", b"</iq>")
        self._reading = asyncio.create_task(self.read(self._reader))
        self.send("<presence/>")
        await self.ask("<ping xmlns='urn:xmpp:ping'/>", self.domain)

    def send(self, text: str) -> None:
        """Send XML."""
        self._writer.write(text.encode())

    def say(self, to: str, kind: str) -> None:
        """Send a message with the time and this client's number."""
        self.send(
            f"<message to='{to}' type='{kind}'><body>{time.perf_counter_ns()} {self.number} {_TEXT}</body></message>"
        )

    async def ask(self, payload: str, to: str, kind: str = "get") -> None:
        """Make a request, and wait for its answer."""
        identifier = f"request{time.perf_counter_ns()}"
        await self.exchange(
            f"<iq type='{kind}' id='{identifier}' to='{to}'>{payload}</iq>", f"id='{identifier}'".encode()
        )

    async def exchange(self, text: str, awaited: bytes) -> None:
        """Send XML, and wait until the server sends something with `awaited` in it."""
        future = self.awaiting(awaited)
        self.send(text)
        await asyncio.wait_for(future, _PATIENCE)

    def awaiting(self, awaited: bytes) -> asyncio.Future[None]:
        """What is done when the server has sent something with `awaited` in it."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._awaited = awaited, future
        return future

    async def close(self) -> None:
        """Close the stream, and wait until the server has closed it as well."""
        self.send("</stream:stream>")
        await asyncio.wait_for(self._reading, _PATIENCE)
        self._writer.close()

    async def _open(self) -> None:
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{self.domain}' version='1.0' xmlns='{streams.CLIENT}'"
            f" xmlns:stream='{streams.STREAMS}'>"
        )
        await self._answered(b"<stream:features", b"</stream:features>")

    async def _answered(self, wanted: bytes, end: bytes) -> None:
        answer = await asyncio.wait_for(self._reader.readuntil(end), _PATIENCE)
        if wanted not in answer:
            raise ProtocolError(f"{user(self.number)} expected {wanted!r}, the server sent {answer!r}")

    async def read(self, reader: asyncio.StreamReader) -> None:
        """Look through what arrives, to the end."""
        kept = b""
        while chunk := await reader.read(1 << 16):
            kept += chunk
            handled = 0
            for found in _BODY.finditer(kept):
                handled = found.end()
                self.arrived(self, int(found[1]), int(found[2]))
            if self._awaited is not None and self._awaited[0] in kept:
                self._awaited[1].set_result(None)
                self._awaited, handled = None, len(kept)
            kept = kept[handled:][-_TAIL:]


class Flood:
    """All clients, and what they do in the phases; each phase returns how many logins or arrivals there were."""

    def __init__(self, domain: str, port: int, context: ssl.SSLContext, clients: int) -> None:
        self._domain, self._port, self._context = domain, port, context
        self._sessions = [Session(number, domain) for number in range(clients)]
        self._rooms = [self._sessions[first : first + OCCUPANTS] for first in range(0, clients, OCCUPANTS)]
        self._latencies: list[float] = []

    async def run(self, phase: str) -> Seen:
        """What a phase shows."""
        phases: dict[str, Callable[[], Awaitable[int]]] = {
            "ready": self.ready, "logins": self.logins, "chats": self.chats, "paced": self.paced, "join": self.join,
            "rooms": self.rooms, "end": self.end,
        }  # fmt: skip
        self._latencies = []
        worked, start = time.process_time(), time.perf_counter()
        count = await phases[phase]()
        seconds = time.perf_counter() - start
        return Seen(seconds, count, self._latencies, (time.process_time() - worked) / seconds)

    async def ready(self) -> int:
        """The server answers a client."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                await Session(0, self._domain).greet(self._port)
                return 0
            if time.monotonic() > deadline:
                raise TimeoutError(f"no server answers on port {self._port}")
            await asyncio.sleep(0.1)

    async def logins(self) -> int:
        """Everybody logs in, a few at a time."""
        waiting = iter(self._sessions)

        async def next_ones() -> None:
            for session in waiting:
                await session.log_in(self._port, self._context)

        await asyncio.gather(*(next_ones() for _ in range(_LOGINS)))
        return len(self._sessions)

    async def chats(self) -> int:
        """In pairs, both always have a message under way, and send the next when the other's arrives."""

        def answer(session: Session, sender: int) -> bool:
            session.say(self._address(sender), "chat")
            return True

        first = [(session, session.number ^ 1) for session in self._sessions]
        return await self._exchanges(len(self._sessions) * CHATS, answer, first)

    async def paced(self) -> int:
        """Messages come at a steady pace, whatever the server does."""
        self._attend(lambda _session, _sender: None)
        start = time.perf_counter()
        for number in range(len(self._sessions) * PACED):
            await asyncio.sleep(max(0.0, start + number / PACE - time.perf_counter()))
            session = self._sessions[number % len(self._sessions)]
            session.say(self._address(session.number ^ 1), "chat")
        return await self._settled()

    async def join(self) -> int:
        """Everybody enters a room as a member of it: others may not talk as much as they like."""
        await asyncio.gather(*(self._fill(room) for room in self._rooms))
        return len(self._sessions)

    async def rooms(self) -> int:
        """In each room there is always one message under way; who comes next sends when the last one's arrives."""
        following = {
            (after, before.number)
            for room in self._rooms
            for before, after in zip(room, room[1:] + room[:1], strict=True)
        }

        def follow(session: Session, sender: int) -> bool:
            if (session, sender) not in following:
                return False
            session.say(self._room_of(session), "groupchat")
            return True

        first = [(room[0], room[-1].number) for room in self._rooms]
        return await self._exchanges(len(self._sessions) * COPIES // OCCUPANTS, follow, first)

    async def end(self) -> int:
        """Everybody leaves."""
        await asyncio.gather(*(session.close() for session in self._sessions))
        return len(self._sessions)

    async def _exchanges(
        self, count: int, answer: Callable[[Session, int], bool], first: Sequence[tuple[Session, int]]
    ) -> int:
        """So many messages that call forth each other, as if the `first` clients had got some from these senders.

        `answer` returns whether it has sent one.
        """
        done, left = asyncio.Event(), count

        def arrived(session: Session, sender: int) -> None:
            nonlocal left
            if left:
                left -= answer(session, sender)
            else:
                done.set()

        self._attend(arrived)
        for session, sender in first:
            arrived(session, sender)
        await asyncio.wait_for(done.wait(), _LONGEST)
        return await self._settled()

    def _attend(self, then: Callable[[Session, int], None]) -> None:
        """Note when messages arrive, and do something then."""

        def arrived(session: Session, sent: int, sender: int) -> None:
            self._latencies.append((time.perf_counter_ns() - sent) / 1e9)
            then(session, sender)

        for session in self._sessions:
            session.arrived = arrived

    async def _settled(self) -> int:
        """How many messages have arrived, once all have: the server answers in order (RFC 6120, 10.1)."""
        for _ in range(2):  # what the first answers let through to others precedes the second ones
            await asyncio.gather(*(s.ask("<ping xmlns='urn:xmpp:ping'/>", self._domain) for s in self._sessions))
        return len(self._latencies)

    async def _fill(self, room: Sequence[Session]) -> None:
        owner, address = room[0], self._room_of(room[0])
        await self._enter(owner)
        form = "<x xmlns='jabber:x:data' type='submit'/>"
        await owner.ask(f"<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>", address, "set")
        for other in room[1:]:
            # One request for each: Prosody looks at the first item of a request only.
            item = f"<item affiliation='member' jid='{self._address(other.number)}'/>"
            await owner.ask(f"<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>", address, "set")
            await self._enter(other)

    async def _enter(self, session: Session) -> None:
        to = f"{self._room_of(session)}/{user(session.number)}"
        # A room tells the occupants' own presence by this code, and sends the subject last (XEP-0045, 7.1).
        await session.exchange(
            f"<presence to='{to}'><x xmlns='http://jabber.org/protocol/muc'/></presence>", b"<subject"
        )

    def _address(self, number: int) -> str:
        return f"{user(number)}@{self._domain}"

    def _room_of(self, session: Session) -> str:
        return f"room{session.number // OCCUPANTS}@conference.{self._domain}"


async def _serve(arguments: argparse.Namespace) -> None:
    context = streams.trusting(arguments.certificate)
    flood = Flood(arguments.domain, arguments.port, context, arguments.clients)
    while phase := (await asyncio.to_thread(sys.stdin.readline)).strip():
        print(json.dumps(asdict(await flood.run(phase))), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.flood", description="Make load in phases.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--domain", required=True)
    parser.add_argument("--certificate", type=Path, required=True)
    parser.add_argument("--clients", type=int, required=True)
    asyncio.run(_serve(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
