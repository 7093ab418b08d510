"""The load test's arithmetic, and what its clients see in a stream; the load itself needs an engine."""

from __future__ import annotations

import asyncio

import pytest

from tests.bench import load
from tests.bench.flood import Session
from tests.bench.load import Comparison, Measure, Phase, Round

FAST = Measure("messages", "/s", lambda _: 0.0, more_is_better=True)
SHORT = Measure("latency", "ms", lambda _: 0.0)


@pytest.mark.parametrize(
    ("measure", "ours", "reference", "ratio"),
    [
        pytest.param(FAST, [50.0], [100.0], 2.0, id="half as many are twice as bad"),
        pytest.param(SHORT, [50.0], [100.0], 0.5, id="half as long is half as bad"),
        pytest.param(SHORT, [1.0, 20.0, 3.0], [1.0, 10.0, 1.0], 2.0, id="of rounds, not of medians"),
    ],
)
def test_a_ratio_above_one_is_worse(measure: Measure, ours: list[float], reference: list[float], ratio: float) -> None:
    assert Comparison(measure, ours, reference).ratio == ratio


@pytest.mark.parametrize(
    ("count", "left_out"),
    # Tables of the sign test: so many of the lowest and highest may go at 90 %.
    [pytest.param(1, 0), pytest.param(5, 0), pytest.param(8, 1), pytest.param(9, 1), pytest.param(20, 5)],
)
def test_the_range_leaves_out_what_chance_allows(count: int, left_out: int) -> None:
    found = Comparison(SHORT, [float(number) for number in range(1, count + 1)], [1.0] * count)
    assert found.interval == (1.0 + left_out, float(count - left_out))


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [
        pytest.param([1.0, 0.9, 1.02], "yes", id="always within"),
        pytest.param([1.1, 1.03, 1.2], "no", id="always beyond"),
        pytest.param([0.9, 1.0, 1.1], "hidden by noise", id="sometimes beyond"),
    ],
)
def test_only_what_the_rounds_agree_on_is_said(ours: list[float], verdict: str) -> None:
    assert Comparison(SHORT, ours, [1.0] * len(ours)).verdict == verdict


def a_round(factor: float) -> Round:
    """What a server shows that is `factor` times as slow and big as another."""

    def phase(memory: float, count: int) -> Phase:
        return Phase(2 * factor, count, [0.001 * factor] * 10, 0.3, factor, memory)

    sizes = {"ready": 30.0, "logins": 30 + 10 * factor, "chats": 50.0, "paced": 50.0, "rooms": 50.0}
    return {name: phase(memory, 100) for name, memory in sizes.items()}


def test_everything_measured_shows_a_server_that_is_worse() -> None:
    found = load.compare({"container": [a_round(1.5)], "bare": [a_round(1.0)]})
    assert [comparison.measure for comparison in found] == list(load.MEASURES)
    assert [comparison.ratio for comparison in found] == pytest.approx([1.5] * len(found))


def test_memory_is_not_told_of_a_server_that_others_were_connected_to_before() -> None:
    names = {
        c.measure.what for c in load.compare({"container, published port": [a_round(1)], "container": [a_round(1)]})
    }
    assert "memory of a session" not in names
    assert len(names) == len(load.MEASURES) - 1


def test_page_and_picture_say_what_was_found() -> None:
    image = {"container": [a_round(1.5)] * 5, "bare": [a_round(1.0)] * 5}
    text = load.page(image, {"container, published port": [a_round(1.0)], "container": [a_round(1.0)]}, 100, "1.2.3")
    assert "| logins | 33.3/s | 50/s | 1.500x | 1.500 to 1.500 | no |" in text
    assert "at most 30% of their processor" in text
    assert load.picture(image) == load.picture(image)


@pytest.mark.parametrize("size", [1, 7, 64, 10_000])
def test_clients_see_every_message_whatever_the_chunks_are(size: int) -> None:
    """Also what they wait for, once; and what is no message of theirs they pass over."""
    body = "<message from='a@b'><body>{} {} hello</body></message>"
    stream = "".join(body.format(number, number + 1) for number in range(20)) + "<body>hello</body><iq id='x'/>"

    async def scenario() -> tuple[list[tuple[int, int]], bool]:
        seen: list[tuple[int, int]] = []
        session = Session(0, "chat.example")
        session.arrived = lambda _session, sent, sender: seen.append((sent, sender))
        reader = asyncio.StreamReader()
        waiting = asyncio.create_task(session.read(reader))
        answered = session.awaiting(b"<iq id='x'/>")
        encoded = stream.encode()
        for start in range(0, len(encoded), size):
            reader.feed_data(encoded[start : start + size])
            await asyncio.sleep(0)
        reader.feed_eof()
        await waiting
        return seen, answered.done()

    assert asyncio.run(scenario()) == ([(number, number + 1) for number in range(20)], True)


def test_latencies_are_percentiles_in_milliseconds() -> None:
    phase = Phase(1, 1, [number / 1000 for number in range(1, 1001)], 0, 0, 0)
    latencies = [measure.of({"paced": phase}) for measure in load.MEASURES if measure.what.startswith("latency")]
    assert latencies == pytest.approx([500.5, 950.95, 990.99])
