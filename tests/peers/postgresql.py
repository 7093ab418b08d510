"""A PostgreSQL server with one database, which one user may use over the network, with TLS or without."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests import peers
from tests.integration.authority import Authority
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer
from tests.peers.databases import OPTIONS, Database, supervised

USER, PASSWORD, DATABASE = "prosody", 'database\'s "password"', "prosody"
HOST = "database.example"
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
    # The server takes no key that others could read, and there is no program here that copies one.
    (umask 077; while IFS= read -r line; do echo "$line"; done < /key > /data/key)
    echo 'CREATE DATABASE {DATABASE}' | {_BIN}/postgres --single -D /data/cluster postgres
fi
"""
_SERVER = (
    f"{_BIN}/postgres -D /data/cluster -c fsync=off -c listen_addresses='*' -c port={_PORT}"
    " -c ssl=on -c ssl_cert_file=/certificate -c ssl_key_file=/data/key"
)


@dataclass
class Postgresql(Database):
    """The server; clients verify its certificate, which is for `HOST`, with `root`."""

    root: bytes

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


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage, network: Network, number: int) -> Iterator[Postgresql]:
    """The server as member `number` of `network`."""
    authority = Authority()
    pair = authority.issue([HOST])
    peer = Peer(
        client, image, network, number,
        command=["/bin/sh", "-c", _START + supervised(_SERVER, "QUIT")],
        files={"/password": PASSWORD, "/certificate": pair.full, "/key": pair.key},
        options=OPTIONS,
    )  # fmt: skip
    found = Postgresql(peer, authority.root)
    with peers.running(found.peer, found.is_ready):
        yield found
