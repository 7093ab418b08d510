"""A server under load, in the container and bare: logins, messages and rooms; writes docs/load.md and its picture.

In each round both servers are started, in the container's network namespace, each on its own port of the loopback, and
loaded one after the other, in an order that turns with every round: what drifts on the machine drifts for both. Then
the container alone is compared with itself, reached from outside through its published port, to tell what the engine's
way there costs. The servers have one processor, the clients another.
"""

from __future__ import annotations

import io
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from scripts import build, paths, platforms
from scripts.console import console
from scripts.engine import Engine
from scripts.errors import UserError
from tests.bench import bare, flood
from tests.bench.bare import Bare, children
from tests.bench.starts import first_process, resident, ticks
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server

PAGE = paths.ROOT / "docs" / "load.md"
PICTURE = PAGE.with_suffix(".svg")
CLIENTS, ROUNDS = 200, 9
LIMIT = 1.02  # how many times worse than bare the container may be
_CONFIDENCE = 0.9
_PHASES = ("ready", "logins", "chats", "paced", "join", "rooms", "end")
_OURS, _BARE, _PUBLISHED = "container", "bare", "container, published port"
_TICK = os.sysconf("SC_CLK_TCK")  # a second


@dataclass(frozen=True)
class Contender:
    """A server, and how it is reached."""

    name: str
    process: int
    port: int
    enter: tuple[str, ...] = ()  # a command before that of the clients


@dataclass(frozen=True)
class Phase:
    """What a phase has shown, of clients and server."""

    seconds: float
    count: int
    latencies: Sequence[float]
    busy: float  # share of a processor that the clients used
    work: float  # seconds of processor time that the server used
    memory: float  # MiB that the server has resident afterwards


Round = Mapping[str, Phase]  # by name


@dataclass(frozen=True)
class Measure:
    """A number that a round gives, and whether more of it is better."""

    what: str
    unit: str
    of: Callable[[Round], float]
    more_is_better: bool = False
    fresh: bool = False  # only of a server that nobody was connected to before


def _latency(share: int) -> Callable[[Round], float]:
    return lambda found: statistics.quantiles(found["paced"].latencies, n=100)[share - 1] * 1000


MEASURES = (
    Measure("logins", "/s", lambda r: r["logins"].count / r["logins"].seconds, more_is_better=True),
    Measure("messages between two", "/s", lambda r: r["chats"].count / r["chats"].seconds, more_is_better=True),
    Measure(
        f"messages in rooms of {flood.OCCUPANTS}, every copy", "/s", lambda r: r["rooms"].count / r["rooms"].seconds,
        more_is_better=True,
    ),
    Measure(f"latency, median at {flood.PACE:g} messages/s", "ms", _latency(50)),
    Measure("latency, 95 %", "ms", _latency(95)),
    Measure("latency, 99 %", "ms", _latency(99)),
    Measure("processor time of a login", "ms", lambda r: r["logins"].work / r["logins"].count * 1000),
    Measure("processor time of a message between two", "ms", lambda r: r["chats"].work / r["chats"].count * 1000),
    Measure("processor time of a copy in a room", "ms", lambda r: r["rooms"].work / r["rooms"].count * 1000),
    Measure(
        "memory of a session", "KiB",
        lambda r: (r["logins"].memory - r["ready"].memory) / r["logins"].count * 1024, fresh=True,
    ),
)  # fmt: skip


@dataclass(frozen=True)
class Comparison:
    """A measure of two servers, round by round."""

    measure: Measure
    ours: Sequence[float]
    reference: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """How many times worse ours is, sorted; of rounds, as what drifts is the same within one."""
        pairs = zip(self.ours, self.reference, strict=True)
        return sorted(theirs / ours if self.measure.more_is_better else ours / theirs for ours, theirs in pairs)

    @property
    def ratio(self) -> float:
        """The usual ratio."""
        return statistics.median(self.ratios)

    @property
    def interval(self) -> tuple[float, float]:
        """Where the ratio is, as surely as `_CONFIDENCE`.

        Each round is on either side of the true median with the same chance, so how many are is binomial, whatever the
        noise is like (the confidence interval that belongs to the sign test).
        """
        count, cut, outside = len(self.ratios), 0, 2 / 2 ** len(self.ratios)
        while outside + 2 * math.comb(count, cut + 1) / 2**count <= 1 - _CONFIDENCE:
            cut += 1
            outside += 2 * math.comb(count, cut) / 2**count
        return self.ratios[cut], self.ratios[-1 - cut]

    @property
    def verdict(self) -> str:
        """Whether ours is within the limit, as far as the rounds can tell."""
        low, high = self.interval
        if high <= LIMIT:
            return "yes"
        return "no" if low > LIMIT else "hidden by noise"

    @property
    def cells(self) -> tuple[str, ...]:
        """What the table shows."""
        unit = self.measure.unit if self.measure.unit.startswith("/") else f" {self.measure.unit}"
        values = [f"{statistics.median(values):.3g}{unit}" for values in (self.ours, self.reference)]
        low, high = self.interval
        return (self.measure.what, *values, f"{self.ratio:.3f}x", f"{low:.3f} to {high:.3f}", self.verdict)


def compare(rounds: Mapping[str, Sequence[Round]]) -> list[Comparison]:
    """All measures that can be told of two servers, the second being the reference."""
    return [
        Comparison(measure, *([measure.of(one) for one in found] for found in rounds.values()))
        for measure in MEASURES
        if not measure.fresh or _PUBLISHED not in rounds
    ]


def write(tool: Engine, clients: int = CLIENTS, count: int = ROUNDS) -> None:
    """Measure, print, write page and picture."""
    with _prepared(tool, clients) as (server, reference, certificate):

        def rounds(*names: str) -> Mapping[str, Sequence[Round]]:
            found: dict[str, list[Round]] = {name: [] for name in names}
            for number in range(count):
                with _started(server, reference) as contenders:
                    for name in names if number % 2 else reversed(names):
                        found[name].append(_round(contenders[name], certificate, clients))
                        console.print(f"round {number + 1}, {name}: {_summary(found[name][-1])}")
            return found

        image, way = rounds(_OURS, _BARE), rounds(_PUBLISHED, _OURS)
    paths.write_text(PAGE, page(image, way, clients, tool.version))
    paths.write_text(PICTURE, picture(image))
    for comparison in compare(image):
        console.print(" | ".join(comparison.cells))


def _summary(found: Round) -> str:
    return ", ".join(f"{measure.what} {measure.of(found):.3g} {measure.unit}" for measure in MEASURES[:4])


@contextmanager
def _prepared(tool: Engine, clients: int) -> Iterator[tuple[Server, Bare, Path]]:
    """A server whose accounts are made, the same one bare, and the certificate of both."""
    native = platforms.native()
    layout = build.build(build.prepare("debian", [native]), [native], tool, folder=paths.SCRATCH / "bench" / "layout")
    image = LoadedImage("prosody-bench:debian", native)
    build.load(layout, layout.images[0], [image.name], tool)
    client = tool.sdk()
    accounts = "\n".join(f"{flood.user(number)}@{DOMAIN}:{flood.PASSWORD}" for number in range(clients))
    options: dict[str, Any] = {"ports": {"5222/tcp": ("127.0.0.1", None)}}
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts}, options)
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=paths.SCRATCH) as folder:
            scratch = Path(folder)
            server.start()
            certificate = server.certificate(scratch)
            server.running.stop()
            yield server, Bare(server, client, layout, scratch), certificate
    finally:
        server.remove()
        client.images.remove(image.name, force=True)
        client.close()


@contextmanager
def _started(server: Server, reference: Bare) -> Iterator[dict[str, Contender]]:
    """Both servers, running."""
    server.restart()
    first = first_process(server.running)
    enter = ("nsenter", f"--net=/proc/{first}/ns/net")
    with reference.prepared(enter) as process:
        bare.begin(process)
        (ours,), (theirs,) = children(first), children(process.pid)
        for identifier in (ours, theirs):
            os.sched_setaffinity(identifier, {0})
        yield {
            _OURS: Contender(_OURS, ours, 5222, enter),
            _BARE: Contender(_BARE, theirs, bare.PORT, enter),
            _PUBLISHED: Contender(_PUBLISHED, ours, server.port()),
        }


def _round(contender: Contender, certificate: Path, clients: int) -> Round:
    """All phases, with clients that only this round has."""
    command = [
        *contender.enter, "taskset", "--cpu-list", str((os.cpu_count() or 1) - 1),
        sys.executable, "-m", "tests.bench.flood", "--port", str(contender.port), "--domain", DOMAIN,
        "--certificate", str(certificate), "--clients", str(clients),
    ]  # fmt: skip
    found: dict[str, Phase] = {}
    with subprocess.Popen(
        command, cwd=paths.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as generator:
        assert generator.stdin is not None
        assert generator.stdout is not None
        for phase in _PHASES:
            before = ticks(contender.process)
            generator.stdin.write(f"{phase}\n")
            generator.stdin.flush()
            answer = generator.stdout.readline()
            if not answer:
                raise UserError(f"the clients of {contender.name} failed in the phase {phase!r}: see above")
            work = (ticks(contender.process) - before) / _TICK
            found[phase] = Phase(**json.loads(answer), work=work, memory=resident(contender.process))
        generator.stdin.close()
    return found


def page(image: Mapping[str, Sequence[Round]], way: Mapping[str, Sequence[Round]], clients: int, version: str) -> str:
    """Text of docs/load.md."""
    rounds = [one for pair in (image, way) for found in pair.values() for one in found]
    busiest = max(one[phase].busy for one in rounds for phase in ("chats", "rooms"))
    machine = f"{os.cpu_count()} processors ({platform.machine()}), Docker {version}"
    lines = [
        "# Load",
        "",
        "Written by `scripts/nox -s bench -- load`. The image and the same Prosody without a container, from the",
        "same files with the same configuration, are started in one network namespace, and loaded in turn over its",
        f"loopback; {len(image[_OURS])} rounds. In each, {clients} clients log in (STARTTLS, PLAIN), send",
        f"{clients * flood.CHATS} messages in pairs, and get {clients * flood.COPIES} copies of messages in rooms of",
        f"{flood.OCCUPANTS}, as fast as the server lets them. One processor is the servers', the other the clients'.",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine}.",
        "",
        f"![Ratios of the rounds]({PICTURE.name})",
        "",
        "## The image",
        "",
        *_table(compare(image), "bare"),
        "",
        "The ratio is the median of those of the rounds: above 1 the image is worse; the goal is 1.02. The range is",
        f"where the ratio is with a confidence of {_CONFIDENCE:.0%}: of a limit within it nothing can be said. The",
        f"clients used at most {busiest:.0%} of their processor.",
        "",
        "## Through a published port",
        "",
        "The same container, reached from the machine through the port that Docker publishes. What it costs more than",
        "within its network is the engine's way there; with the embedded engine a process that copies (docker-proxy).",
        "",
        *_table(compare(way), "within its network"),
        "",
    ]
    return "\n".join(lines)


def _table(comparisons: Sequence[Comparison], reference: str) -> list[str]:
    return [
        f"| what | measured | {reference} | ratio | range | within 2 % |",
        "|---|--:|--:|--:|--:|---|",
        *(f"| {' | '.join(comparison.cells)} |" for comparison in comparisons),
    ]


def picture(image: Mapping[str, Sequence[Round]]) -> str:
    """Text of docs/load.svg: for each measure the ratios of all rounds, the image to bare."""
    comparisons = compare(image)
    # Without these, identifiers and the date would differ each time.
    with mpl.rc_context({"svg.hashsalt": "load", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, 1 + 0.35 * len(comparisons)), layout="constrained")
        axes = figure.subplots()
        for place, comparison in enumerate(comparisons):
            axes.plot(comparison.ratios, [place] * len(comparison.ratios), "o", color="tab:gray", alpha=0.6)
            axes.plot(comparison.ratio, place, "|", color="tab:blue", markersize=18, markeredgewidth=3)
        axes.axvspan(2 - LIMIT, LIMIT, color="tab:green", alpha=0.2)
        axes.axvline(1, color="black", linewidth=0.8)
        axes.set_yticks(range(len(comparisons)), [found.measure.what for found in comparisons], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("image to bare: rounds (dots) and their median; above 1 the image is worse; green: 2 %")
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"
