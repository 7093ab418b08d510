"""A MariaDB server with one database, which one user may use over the network, and only with TLS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests import peers
from tests.integration.containers import LoadedImage, Outcome
from tests.integration.networks import Network
from tests.peers import Peer

USER, PASSWORD, DATABASE = "prosody", 'database\'s "password"', "prosody"
_SOCKET = "/run/mysqld/mysqld.sock"
# Nothing has to survive this machine, so nothing waits for its disk. The server makes its certificate by itself.
_OPTIONS = (
    "--no-defaults --datadir=/data --innodb-flush-log-at-trx-commit=2 --innodb-log-file-size=8M"
    " --innodb-data-file-path=ibdata1:8M:autoextend --innodb-undo-tablespaces=0 --skip-name-resolve"
)
# The tables of the system are read from the package, as mariadb-install-db does; there are no programs for that here.
_START = f"""
set -e
show() {{ while IFS= read -r line; do printf '%s\\n' "$line"; done < "/usr/share/mariadb/mariadb_$1.sql"; }}
if [ ! -f /data/prepared ]; then
    {{ echo 'CREATE DATABASE mysql;'; echo 'USE mysql;'
       show system_tables; show performance_tables; show system_tables_data; }} | mariadbd {_OPTIONS} --bootstrap
    : > /data/prepared
fi
exec mariadbd {_OPTIONS} --init-file=/setup.sql --socket={_SOCKET} --bind-address=0.0.0.0
"""
_QUOTED = PASSWORD.replace("'", "''")
_SETUP = f"""
CREATE DATABASE IF NOT EXISTS {DATABASE};
CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{_QUOTED}' REQUIRE SSL;
GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';
"""


@dataclass
class Mariadb:
    """The server; it may be stopped and started again."""

    peer: Peer

    def is_ready(self) -> bool:
        """Whether it answers, and the user is there."""
        outcome = self._ask(f"SELECT count(*) FROM mysql.global_priv WHERE User='{USER}'")
        return outcome.status == 0 and outcome.output.strip() == "1"

    def query(self, statement: str) -> str:
        """What the database answers to an SQL statement: a row per line, columns with tabs between them."""
        outcome = self._ask(statement)
        assert outcome.status == 0, outcome.text
        return outcome.output.strip()

    def stop(self) -> None:
        """Kill it; all that was committed stays."""
        self.peer.stop()

    def start(self) -> None:
        """Start it again."""
        self.peer.start(self.is_ready)

    def _ask(self, statement: str) -> Outcome:
        return self.peer.execute(
            "mariadb", "--no-defaults", f"--socket={_SOCKET}", "--user=root", "--batch", "--skip-column-names",
            f"--execute={statement}", DATABASE,
        )  # fmt: skip


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage, network: Network, number: int) -> Iterator[Mariadb]:
    """The server as member `number` of `network`."""
    found = Mariadb(
        Peer(
            client, image, network, number,
            command=["/bin/sh", "-c", _START],
            files={"/setup.sql": _SETUP},
            tmpfs=["/tmp"],
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
