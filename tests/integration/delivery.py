"""Counts what becomes of messages: tried, acknowledged to the sender (XEP-0198), and kept by the server afterwards."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import slixmpp
from slixmpp.xmlstream.stanzabase import StanzaBase

from tests.integration.clients import Client, connected
from tests.integration.servers import ACCOUNTS, Server

(SENDER, _), (RECEIVER, _) = ACCOUNTS.items()
_IN_FLIGHT = 40  # messages sent and not acknowledged at a time, so that the server is never without work
_ASK_EVERY = 10  # messages after which the sender asks for an acknowledgement
MANAGEMENT = "urn:xmpp:sm:3"
_PATIENCE = 30.0  # seconds


@dataclass(frozen=True)
class Tally:
    """Numbers of messages. `lost` are missing somewhere, although acknowledged and not refused; `doubled` are twice."""

    tried: int
    acknowledged: int
    refused: int
    found: int
    lost: int
    doubled: int

    def report(self, title: str, record: Callable[[str, object], None]) -> None:
        """Print the numbers, and record them as properties of the test."""
        numbers = asdict(self)
        print(f"{title}: {', '.join(f'{name} {number}' for name, number in numbers.items())}")
        for name, number in numbers.items():
            record(f"messages {name}", number)


@dataclass
class Flood:
    """Messages that `sender` sends to somebody who is offline, as fast as the server acknowledges them.

    Some of the acknowledged ones may be `refused` with an error.
    """

    sender: Client
    name: str = field(default_factory=lambda: uuid.uuid4().hex)
    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    tried: list[str] = field(default_factory=list)
    acknowledged: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    _bodies: dict[str, str] = field(default_factory=dict)  # by the identifiers of the stanzas

    def __post_init__(self) -> None:
        self.lost = asyncio.Event()  # the connection is
        self._progress = asyncio.Event()
        self.sender.plugin["xep_0198"].window = _ASK_EVERY
        self.sender.add_filter("out", self._note_sent)
        self.sender.add_event_handler("stanza_acked", self._note_acknowledged)
        self.sender.add_event_handler("message_error", self._note_refused)
        self.sender.add_event_handler("disconnected", self._note_lost)

    def _note_sent(self, stanza: StanzaBase) -> StanzaBase:
        if isinstance(stanza, slixmpp.Message):
            self._bodies[stanza["id"]] = stanza["body"]
        return stanza

    def _note_acknowledged(self, stanza: StanzaBase) -> None:
        if isinstance(stanza, slixmpp.Message):
            self.acknowledged.add(stanza["body"])
            self._progress.set()

    def _note_refused(self, stanza: slixmpp.Message) -> None:
        self.refused.add(self._bodies[stanza["id"]])
        self._progress.set()

    def _note_lost(self, _reason: object) -> None:
        self.lost.set()
        self._progress.set()

    def send(self) -> None:
        """Send one more message."""
        body = f"{self.name} {len(self.tried)}"
        self.tried.append(body)
        self.sender.say(RECEIVER, body)

    async def burst(self, count: int) -> None:
        """Send so many messages, and wait until they are acknowledged."""
        for _ in range(count):
            self.send()
        await self.sender.catch_up()
        self.sender.send_raw(f"<r xmlns='{MANAGEMENT}'/>")
        await self.until(lambda: self.acknowledged.issuperset(self.tried))

    async def run(self) -> None:
        """Send until the connection is lost, or the task is cancelled."""
        while not self.lost.is_set():
            while len(self.tried) - len(self.acknowledged) < _IN_FLIGHT:
                self.send()
            await self._progress.wait()
            self._progress.clear()

    @property
    def stream(self) -> str:
        """What the server calls the stream, to resume it."""
        return str(self.sender.plugin["xep_0198"].sm_id)

    def note_handled(self, number: int) -> None:
        """Take the server's word, given to another stream, for how many stanzas of this one it has handled."""
        for sequence, stanza in self.sender.plugin["xep_0198"].unacked_queue:
            if sequence <= number:
                self._note_acknowledged(stanza)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition` holds; it may become true with an acknowledgement or an error only."""
        async with asyncio.timeout(_PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    def count(self, bodies: Iterable[str]) -> Counter[str]:
        """How often each of its messages is among others."""
        return Counter(body for body in bodies if body.startswith(self.name))

    def tally(self, places: Mapping[str, Counter[str]]) -> Tally:
        """What `places` hold of it: each should have every acknowledged message once."""
        found = set.intersection(*(set(place) for place in places.values()))
        lost = self.acknowledged - self.refused - found
        doubled = {body for place in places.values() for body, number in place.items() if number > 1}
        return Tally(len(self.tried), len(self.acknowledged), len(self.refused), len(found), len(lost), len(doubled))


@asynccontextmanager
async def flooding(server: Server, certificate: Path) -> AsyncIterator[Flood]:
    """A flood that goes on until the connection is lost or the context ends."""
    async with connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate, plugins=["xep_0198"]) as sender:
        flood = Flood(sender)
        task = asyncio.create_task(flood.run())
        try:
            yield flood
        finally:
            task.cancel()


async def kept(server: Server, certificate: Path, flood: Flood) -> dict[str, Counter[str]]:
    """What the server has of a flood: in the archives of both sides, and delivered to the receiver who comes online."""
    places = {}
    async with connected(server.port(), RECEIVER, ACCOUNTS[RECEIVER], certificate) as receiver:
        places["offline"] = flood.count(await receiver.drain())
        places["receiver's archive"] = await _archived(receiver, SENDER, flood)
    async with connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate) as sender:
        places["sender's archive"] = await _archived(sender, RECEIVER, flood)
    return places


async def _archived(client: Client, other: str, flood: Flood) -> Counter[str]:
    results = client.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(other), start=flood.began, rsm={"max": 50})
    return flood.count([str(result["mam_result"]["forwarded"]["stanza"]["body"]) async for result in results])
