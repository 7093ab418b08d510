"""Crashes, power cuts and other faults: what a server has acknowledged is there afterwards, once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from tests.integration import delivery, servers
from tests.integration.containers import LoadedImage
from tests.integration.delivery import Flood, flooding
from tests.integration.servers import Server

_STORAGES = {"internal": {}, "sqlite": {"PROSODY_SQL_DRIVER": "SQLite3"}}
Record = Callable[[str, object], None]


@pytest.fixture(scope="module", params=_STORAGES)
def stored(request: pytest.FixtureRequest, client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server on each storage in turn."""
    with servers.serving(client, image, **_STORAGES[request.param]) as started:
        yield started


def test_a_killed_server_has_what_it_acknowledged(
    stored: Server, tmp_path: Path, record_property: Record
) -> None:
    certificate = stored.certificate(tmp_path)

    async def scenario() -> None:
        async with flooding(stored, certificate) as flood:
            await flood.until(lambda: len(flood.acknowledged) >= 300)
            await asyncio.to_thread(stored.running.kill)
            await flood.lost.wait()
        await asyncio.to_thread(stored.restart)
        tally = flood.tally(await delivery.kept(stored, certificate, flood))
        tally.report("kill -9", record_property)
        assert tally.tried > tally.acknowledged >= 300
        assert (tally.lost, tally.doubled) == (0, 0)

    asyncio.run(scenario())
