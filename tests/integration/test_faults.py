"""Crashes, power cuts and other faults: what a server has acknowledged is there afterwards, once."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest
import slixmpp

from tests.integration import delivery, disks, servers, streams
from tests.integration.clients import connected
from tests.integration.containers import LoadedImage
from tests.integration.delivery import RECEIVER, SENDER, Flood, flooding
from tests.integration.disks import Disk
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import Stream

# What is to be seen is the storage at work, not the limit of the connection.
_UNLIMITED = {"PROSODY_C2S_RATE_LIMIT": "100mb/s"}
_STORAGES: dict[str, dict[str, str]] = {"internal": {}, "sqlite": {"PROSODY_SQL_DRIVER": "SQLite3"}}
_MEMORY = 96 * 1024 * 1024  # bytes that the container may use
_ENOUGH = 100  # messages acknowledged before something happens
_MANAGEMENT = "urn:xmpp:sm:3"
Record = Callable[[str, object], None]


@pytest.fixture(scope="module", params=_STORAGES)
def stored(request: pytest.FixtureRequest, client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server on each storage in turn."""
    memory = {"mem_limit": _MEMORY, "memswap_limit": _MEMORY}
    with servers.serving(client, image, memory, **_UNLIMITED, **_STORAGES[request.param]) as started:
        yield started


# ---- Processes that end


def _kill(server: Server) -> None:
    server.running.kill()
    assert server.running.wait()["StatusCode"] == 128 + 9


def _use_up_memory(server: Server) -> None:
    """Have the server itself use more memory than its container may: the kernel kills it (cgroups(7))."""
    server.execute("prosodyctl", "shell", f"> #('x'):rep({2 * _MEMORY})")
    server.running.wait()
    server.running.reload()
    assert server.running.attrs["State"]["OOMKilled"], server.log()


@pytest.mark.parametrize("end", [_kill, _use_up_memory])
def test_a_server_that_is_killed_has_what_it_acknowledged(
    end: Callable[[Server], None], stored: Server, tmp_path: Path, record_property: Record
) -> None:
    certificate = stored.certificate(tmp_path)

    async def scenario() -> None:
        async with flooding(stored, certificate) as flood:
            await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
            await asyncio.to_thread(end, stored)
            await flood.lost.wait()
        await asyncio.to_thread(stored.restart)
        tally = flood.tally(await delivery.kept(stored, certificate, flood))
        tally.report(end.__name__, record_property)
        assert tally.tried > tally.acknowledged >= _ENOUGH
        assert (tally.lost, tally.doubled) == (0, 0)

    asyncio.run(scenario())


def _handled(server: Server, certificate: Path, flood: Flood) -> int:
    """What a server that was started again says to a client that wants to resume: the stanzas that were handled."""
    with Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.open()
        stream.log_in(slixmpp.JID(SENDER).local, ACCOUNTS[SENDER])
        stream.send(f"<resume xmlns='{_MANAGEMENT}' previd='{flood.stream}' h='0'/>")
        return int(stream.expect(f"{{{_MANAGEMENT}}}failed").get("h", "-1"))


def test_a_server_that_is_stopped_says_what_it_has_handled(
    stored: Server, tmp_path: Path, record_property: Record
) -> None:
    """So a client sends the rest again, and nothing twice (XEP-0198, 5)."""
    certificate = stored.certificate(tmp_path)

    async def scenario() -> None:
        async with (
            connected(stored.port(), SENDER, ACCOUNTS[SENDER], certificate) as other,
            flooding(stored, certificate) as flood,
        ):
            farewell: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            other.add_event_handler("stream_error", farewell.set_result)
            await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
            began = time.monotonic()
            await asyncio.to_thread(stored.running.stop, timeout=30)
            assert time.monotonic() - began < 10, "Docker kills after 10 s"
            assert stored.running.wait()["StatusCode"] == 0, stored.log()
            assert (await farewell)["condition"] == "system-shutdown"
            await flood.lost.wait()
        await asyncio.to_thread(stored.restart)
        flood.note_handled(await asyncio.to_thread(_handled, stored, certificate, flood))

        async with flooding(stored, certificate) as again:
            rest = [body for body in flood.tried if body not in flood.acknowledged]
            for body in rest:
                again.sender.say(RECEIVER, body)
            await again.until(lambda: again.acknowledged.issuperset(rest))
        flood.acknowledged.update(rest)
        tally = flood.tally(await delivery.kept(stored, certificate, flood))
        tally.report("SIGTERM", record_property)
        assert rest
        assert tally.found == tally.tried
        assert (tally.lost, tally.doubled) == (0, 0)

    asyncio.run(scenario())


# ---- Power cuts


@contextmanager
def _on_disk(
    client: docker.DockerClient, image: LoadedImage, folder: Path, environment: Mapping[str, str], options: str
) -> Iterator[tuple[Server, Disk]]:
    """A server whose volume is a disk, mounted with `options`; all that the start wrote is on it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can make disks")
    with disks.disk(client, folder, options) as disk:
        accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
        variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts, **_UNLIMITED, **environment}
        server = Server(client, image, variables, volume=disk.volume)
        try:
            server.start()
            disk.sync()
            yield server, disk
        finally:
            server.remove()


def _cut_power(server: Server, disk: Disk, flood: Flood) -> None:
    """Stop the server in the midst of its work, and lose what is not on the disk."""
    server.running.pause()
    disk.cut_power()
    flood.sender.abort()  # what the server would say now, it would not have said
    server.remove_container()
    disk.restore_power()


@pytest.mark.parametrize(
    ("environment", "options"),
    [({"PROSODY_SQL_DRIVER": "SQLite3"}, "defaults"), ({}, "sync,dirsync")],
    ids=["sqlite", "internal-sync"],
)
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    environment: dict[str, str],
    options: str,
    client: docker.DockerClient,
    image: LoadedImage,
    tmp_path: Path,
    record_property: Record,
) -> None:
    with _on_disk(client, image, tmp_path, environment, options) as (server, disk):
        certificate = server.certificate(tmp_path)

        async def scenario() -> None:
            async with flooding(server, certificate) as flood:
                await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
                await asyncio.to_thread(_cut_power, server, disk, flood)
            await asyncio.to_thread(server.start)
            tally = flood.tally(await delivery.kept(server, certificate, flood))
            tally.report("power cut", record_property)
            assert tally.tried > tally.acknowledged >= _ENOUGH
            assert (tally.lost, tally.doubled) == (0, 0)

        asyncio.run(scenario())


def test_files_are_mended_after_a_power_cut(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    """Prosody does not wait for the disk: what the system had not written is lost, but nothing else, then or later."""
    with _on_disk(client, image, tmp_path, {}, "defaults") as (server, disk):
        certificate = server.certificate(tmp_path)

        async def scenario() -> None:
            async with flooding(server, certificate) as flood:
                await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
                written = set(flood.acknowledged)
                await asyncio.to_thread(disk.sync)
                await flood.until(lambda: len(flood.acknowledged) >= len(written) + _ENOUGH)
                await asyncio.to_thread(_cut_power, server, disk, flood)
            await asyncio.to_thread(server.start)
            places = await delivery.kept(server, certificate, flood)
            tally = flood.tally(places)
            tally.report("power cut", record_property)
            assert tally.doubled == 0
            for place in places.values():
                assert written <= set(place), server.log()

            async with flooding(server, certificate) as later:
                await later.until(lambda: len(later.acknowledged) >= _ENOUGH)
            tally = later.tally(await delivery.kept(server, certificate, later))
            assert (tally.lost, tally.doubled) == (0, 0)
            earlier = await delivery.kept(server, certificate, flood)
            assert earlier["receiver's archive"] == places["receiver's archive"]

        asyncio.run(scenario())
