"""The peers that tests rely on start, and again after a crash; how long that takes is a property in JUnit's report."""

from __future__ import annotations

import time
from collections.abc import Callable

import docker
import pytest

from tests.integration.conftest import Images
from tests.integration.networks import Network
from tests.peers import mariadb, postgresql


@pytest.mark.parametrize("name", ["postgresql", "mariadb"])
def test_a_database_keeps_what_was_committed(
    client: docker.DockerClient,
    images: Images,
    network: Network,
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    image = images.peer(name)
    serving = {"postgresql": postgresql.serving, "mariadb": mariadb.serving}[name]
    start = time.monotonic()
    with serving(client, image, network, 2) as database:
        record_property("seconds", time.monotonic() - start)
        database.query("CREATE TABLE words (word text)")
        database.query("INSERT INTO words VALUES ('kept')")
        database.stop()
        database.start()
        assert database.query("SELECT word FROM words") == "kept"
