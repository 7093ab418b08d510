"""A MariaDB server with one database, which one user may use over the network."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker

from tests import peers
from tests.integration.containers import LoadedImage, Outcome
from tests.integration.networks import Network
from tests.peers import Peer
from tests.peers.databases import OPTIONS, Database, supervised

USER, PASSWORD, DATABASE = "prosody", 'database\'s "password"', "prosody"
_SOCKET = "/run/mysqld/mysqld.sock"
# Nothing has to survive this machine, so nothing waits for its disk. Making keys for TLS takes a second, and Prosody
# has no use for them: LuaDBI, through which it connects, cannot ask for TLS here.
_OPTIONS = (
    "--no-defaults --datadir=/data --tmpdir=/data --innodb-flush-log-at-trx-commit=2 --innodb-log-file-size=8M"
    " --innodb-data-file-path=ibdata1:8M:autoextend --innodb-undo-tablespaces=0 --skip-name-resolve --skip-ssl"
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
"""
_SERVER = f"mariadbd {_OPTIONS} --init-file=/setup.sql --socket={_SOCKET} --bind-address=0.0.0.0"
_QUOTED = PASSWORD.replace("'", "''")
_SETUP = f"""
CREATE DATABASE IF NOT EXISTS {DATABASE};
CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{_QUOTED}';
GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';
"""


class Mariadb(Database):
    """The server."""

    def is_ready(self) -> bool:
        """Whether it answers, and the user is there."""
        outcome = self._ask(f"SHOW GRANTS FOR '{USER}'@'%'")
        return outcome.status == 0

    def query(self, statement: str) -> str:
        """What the database answers to an SQL statement: a row per line, columns with tabs between them."""
        outcome = self._ask(statement)
        assert outcome.status == 0, outcome.text
        return outcome.output.strip()

    def _ask(self, statement: str) -> Outcome:
        return self.peer.execute(
            "mariadb", "--no-defaults", "--skip-ssl", f"--socket={_SOCKET}", "--user=root", "--batch",
            "--skip-column-names", f"--execute={statement}", DATABASE,
        )  # fmt: skip


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage, network: Network, number: int) -> Iterator[Mariadb]:
    """The server as member `number` of `network`."""
    found = Mariadb(
        Peer(
            client, image, network, number,
            command=["/bin/sh", "-c", _START + supervised(_SERVER, "KILL")],
            files={"/setup.sql": _SETUP},
            options=OPTIONS,
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
