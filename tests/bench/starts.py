"""How long a server takes from its start to the first login, and its memory then, in the container and bare."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container

from scripts import build, paths, platforms
from scripts.engine import Engine
from tests.bench.bare import PORT, Bare, begin, children
from tests.bench.rows import Row
from tests.integration.clients import connected
from tests.integration.containers import CONFINED, LoadedImage
from tests.integration.servers import ACCOUNTS, Server, answers_clients, serving

_ROUNDS = 9
_REFERENCE = "the same Prosody, bare, configured by hand"
_PATIENCE = 30.0  # seconds
_QUIET = 2.0  # seconds without any work after which a server counts as idle


@dataclass(frozen=True)
class _Start:
    """What one start took."""

    seconds: float  # to the first login
    memory: float  # MiB, resident, idle after that client has gone


def rows(tool: Engine) -> Iterator[Row]:
    """Measure; start of the container, against the same Prosody from the same files without any container."""
    native = platforms.native()
    layout = build.build(build.prepare("debian", [native]), [native], tool, folder=paths.SCRATCH / "bench" / "layout")
    image = LoadedImage("prosody-bench:debian", native)
    build.load(layout, layout.images[0], [image.name], tool)
    client = tool.sdk()
    contained: list[_Start] = []
    bare: list[_Start] = []
    empty: list[float] = []
    try:
        with tempfile.TemporaryDirectory(prefix="bench-", dir=paths.SCRATCH) as folder:
            scratch = Path(folder)
            with serving(client, image) as server:
                certificate = server.certificate(scratch)
                server.running.stop()
                reference = Bare(server, client, layout, scratch)
                server.remove_container()
                for _ in range(_ROUNDS):
                    contained.append(_contained(client, server, certificate))
                    bare.append(_bare(reference, certificate))
                    empty.append(_empty(client, server))
    finally:
        client.images.remove(image.name, force=True)
        client.close()
    seconds, bare_seconds = _median(contained, _seconds), _median(bare, _seconds)
    yield Row("start to first login", seconds, "s", bare_seconds, _REFERENCE, at_most=1.3)
    # What the engine itself takes to set up any container (network, ports, namespaces) is not the image's doing.
    yield Row(
        "start to first login, less that of a container that does nothing",
        seconds - statistics.median(empty),
        "s",
        bare_seconds,
        _REFERENCE,
        at_most=1.3,
    )
    yield Row(
        "memory, idle after the first login", _median(contained, _memory), "MiB", _median(bare, _memory), _REFERENCE,
        at_most=1.1,
    )  # fmt: skip


def _seconds(start: _Start) -> float:
    return start.seconds


def _memory(start: _Start) -> float:
    return start.memory


def _median(starts: Sequence[_Start], of: Callable[[_Start], float]) -> float:
    return statistics.median(map(of, starts))


def _contained(client: docker.DockerClient, server: Server, certificate: Path) -> _Start:
    container = _created(client, server)
    try:
        seconds = _until_login(container.start, certificate, lambda: container.logs().decode(errors="replace"))
        # The first process of a container passes signals on; the server is its only child.
        (identifier,) = children(first_process(container))
        return _Start(seconds, _idle_memory(identifier))
    finally:
        container.remove(force=True)


def first_process(container: Container) -> int:
    """Its number on this machine. The engine tells the one that it sees itself, and may have processes of its own."""
    container.reload()
    seen = str(container.attrs["State"]["Pid"])
    for path in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):  # it has ended
            for line in path.read_text().splitlines():
                # pid_namespaces(7): as each namespace sees it, the outermost first
                if line.startswith("NSpid:") and line.split()[-2:] == [seen, "1"]:
                    return int(path.parent.name)
    raise LookupError(f"the process {seen} of the engine is not on this machine")


def _bare(reference: Bare, certificate: Path) -> _Start:
    with reference.prepared() as process:
        seconds = _until_login(lambda: begin(process), certificate, reference.log.read_text)
        (identifier,) = children(process.pid)
        return _Start(seconds, _idle_memory(identifier))


def _empty(client: docker.DockerClient, server: Server) -> float:
    """Seconds that the engine takes to start the same container for a program that does nothing."""
    container = _created(client, server, entrypoint=["/usr/bin/tini", "--version"])
    try:
        began = time.monotonic()
        container.start()
        return time.monotonic() - began
    finally:
        container.remove(force=True)


def _created(client: docker.DockerClient, server: Server, **more: object) -> Container:
    assert server.volume is not None
    options: dict[str, Any] = {
        "environment": dict(server.environment),
        "ports": {"5222/tcp": ("127.0.0.1", PORT)},
        "volumes": {server.volume.name: {"bind": "/var/lib/prosody", "mode": "rw"}},
    }
    return client.containers.create(server.image.name, **options | CONFINED | more)


def _until_login(start: Callable[[], object], certificate: Path, log: Callable[[], str]) -> float:
    """Seconds from `start` to the first accepted login; returns when that client has gone."""
    jid, password = next(iter(ACCOUNTS.items()))

    async def log_in() -> float:
        async with connected(PORT, jid, password, certificate, available=False):
            return time.monotonic() - began

    began = time.monotonic()
    start()
    while not answers_clients(PORT):
        if time.monotonic() - began > _PATIENCE:
            raise TimeoutError(f"the server does not answer:\n{log()}")
        time.sleep(0.01)
    return asyncio.run(log_in())


def _idle_memory(identifier: int) -> float:
    """Resident MiB of a process, once it has nothing left to do.

    Not the proportional set: what is shared counts less there the more servers run beside this one.
    """
    worked, since, deadline = -1, time.monotonic(), time.monotonic() + _PATIENCE
    while time.monotonic() - since < _QUIET:
        work = ticks(identifier)
        if work != worked:
            worked, since = work, time.monotonic()
        if time.monotonic() > deadline:
            raise TimeoutError("the server does not come to rest")
        time.sleep(0.1)
    return resident(identifier)


def resident(identifier: int) -> float:
    """Resident MiB of a process."""
    for line in Path(f"/proc/{identifier}/smaps_rollup").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "Rss":
            return int(rest.split()[0]) / 1024
    raise LookupError(f"/proc/{identifier}/smaps_rollup has no Rss")


def ticks(identifier: int) -> int:
    """Processor time that a process has used, in ticks (proc(5): the 14th and 15th field, utime and stime)."""
    fields = Path(f"/proc/{identifier}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
