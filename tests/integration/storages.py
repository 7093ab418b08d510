"""Where a server keeps its data: files, SQLite, or one of two database servers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import mariadb, postgresql
from tests.peers.databases import Database
from tests.peers.mariadb import Mariadb
from tests.peers.postgresql import Postgresql

FILES, SERVERS = ("internal", "SQLite3"), ("PostgreSQL", "MySQL")


@dataclass(frozen=True)
class Databases:
    """The database servers, and the network on which Prosody reaches them."""

    network: Network
    postgresql: Postgresql
    mariadb: Mariadb

    def server(self, storage: str) -> Database:
        """The server of a storage that has one."""
        return self.postgresql if storage == "PostgreSQL" else self.mariadb

    def environment(self, storage: str) -> dict[str, str]:
        """The variables for a storage."""
        if storage in FILES:
            return environment(storage)
        peer = postgresql if storage == "PostgreSQL" else mariadb
        return {
            "PROSODY_SQL_DRIVER": storage,
            "PROSODY_SQL_HOST": self.server(storage).peer.address,
            "PROSODY_SQL_DB": peer.DATABASE,
            "PROSODY_SQL_USERNAME": peer.USER,
            "PROSODY_SQL_PASSWORD": peer.PASSWORD,
        }


def environment(storage: str) -> dict[str, str]:
    """The variables for a storage that needs no server."""
    return {} if storage == "internal" else {"PROSODY_SQL_DRIVER": storage}


@contextmanager
def serving(
    client: docker.DockerClient, postgresql_image: LoadedImage, mariadb_image: LoadedImage, network: Network
) -> Iterator[Databases]:
    """PostgreSQL and MariaDB, both empty; members 2 and 3 of `network`."""
    with (
        postgresql.serving(client, postgresql_image, network, 2) as first,
        mariadb.serving(client, mariadb_image, network, 3) as second,
    ):
        yield Databases(network, first, second)
