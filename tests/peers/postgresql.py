"""A PostgreSQL server with one database, which one user may use over the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

USER, PASSWORD, DATABASE = "prosody", 'database\'s "password"', "prosody"
_PORT = 5432
_BIN = "/usr/lib/postgresql/17/bin"
# A cluster of its own for each container, which is kept when the server is started again.
# Nothing has to survive this machine, so nothing waits for its disk.
_START = f"""
set -e
if [ ! -d /data/cluster ]; then
    {_BIN}/initdb --pgdata=/data/cluster --no-sync --encoding=UTF8 --no-locale --username={USER} \\
        --auth-local=trust --auth-host=scram-sha-256 --pwfile=/password
    echo 'host all all all scram-sha-256' >> /data/cluster/pg_hba.conf
    echo 'CREATE DATABASE {DATABASE}' | {_BIN}/postgres --single -D /data/cluster postgres
fi
exec {_BIN}/postgres -D /data/cluster -c fsync=off -c listen_addresses='*' -c port={_PORT}
"""


@dataclass
class Postgresql:
    """The server; it may be stopped and started again."""

    peer: Peer

    def is_ready(self) -> bool:
        """Whether it accepts connections."""
        return self.peer.execute(f"{_BIN}/pg_isready", "--quiet").status == 0

    def query(self, statement: str) -> str:
        """What the database answers to an SQL statement: a row per line, columns with | between them."""
        outcome = self.peer.execute(
            f"{_BIN}/psql", f"--username={USER}", "--no-align", "--tuples-only", f"--command={statement}", DATABASE
        )
        assert outcome.status == 0, outcome.text
        return outcome.output.strip()

    def stop(self) -> None:
        """Kill it; all that was committed stays."""
        self.peer.stop()

    def start(self) -> None:
        """Start it again."""
        self.peer.start(self.is_ready)


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage, network: Network, number: int) -> Iterator[Postgresql]:
    """The server as member `number` of `network`."""
    found = Postgresql(
        Peer(
            client, image, network, number,
            command=["/bin/sh", "-c", _START],
            files={"/password": PASSWORD},
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
