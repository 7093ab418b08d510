"""The peers that tests rely on start quickly, and again after a crash."""

from __future__ import annotations

import time
from collections.abc import Iterator

import docker
import pytest

from tests.integration import networks
from tests.integration.conftest import Images
from tests.integration.networks import Network
from tests.peers import postgresql


@pytest.fixture(scope="module")
def network(client: docker.DockerClient) -> Iterator[Network]:
    with networks.network(client) as made:
        yield made


def test_postgresql_keeps_what_was_committed(client: docker.DockerClient, images: Images, network: Network) -> None:
    image = images.peer("postgresql")
    start = time.monotonic()
    with postgresql.serving(client, image, network, 2) as database:
        assert time.monotonic() - start < 3, database.peer.log()
        database.query("CREATE TABLE words (word text)")
        database.query("INSERT INTO words VALUES ('kept')")
        database.stop()
        database.start()
        assert database.query("SELECT word FROM words") == "kept"
