"""Where data is kept: files and three databases keep the same, give it back after a restart, and to one another."""

from __future__ import annotations

import asyncio
import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from tests.integration import networks, servers, stored_data
from tests.integration.clients import RefusedError, log_in
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage, Outcome
from tests.integration.networks import Network
from tests.integration.servers import Server
from tests.integration.stored_data import ALICE, BOB, CAROL, ENVIRONMENT, OFFLINE, View
from tests.peers import mariadb, postgresql
from tests.peers.mariadb import Mariadb
from tests.peers.postgresql import Postgresql

_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5280, 5281)}


@dataclass(frozen=True)
class Databases:
    """The database servers of this module, and the network on which Prosody reaches them."""

    network: Network
    postgresql: Postgresql
    mariadb: Mariadb

    def environment(self, storage: str) -> dict[str, str]:
        """The variables for a storage."""
        if storage == "internal":
            return {}
        if storage == "SQLite3":
            return {"PROSODY_SQL_DRIVER": "SQLite3"}
        peer = postgresql if storage == "PostgreSQL" else mariadb
        server = self.postgresql if storage == "PostgreSQL" else self.mariadb
        return {
            "PROSODY_SQL_DRIVER": storage,
            "PROSODY_SQL_HOST": server.peer.address,
            "PROSODY_SQL_DB": peer.DATABASE,
            "PROSODY_SQL_USERNAME": peer.USER,
            "PROSODY_SQL_PASSWORD": peer.PASSWORD,
        }


@pytest.fixture(scope="module")
def databases(client: docker.DockerClient, images: Images) -> Iterator[Databases]:
    """PostgreSQL and MariaDB, both empty."""
    with (
        networks.network(client) as network,
        postgresql.serving(client, images.peer("postgresql"), network, 2) as first,
        mariadb.serving(client, images.peer("mariadb"), network, 3) as second,
    ):
        yield Databases(network, first, second)


@dataclass
class Stored:
    """A server, whose storage can be changed while it is stopped."""

    client: docker.DockerClient
    server: Server
    databases: Databases
    folder: Path

    def use(self, storage: str, **environment: str) -> None:
        """Start the server, again if it runs, with a storage."""
        self.server.remove_container()
        self.server.environment = ENVIRONMENT | self.databases.environment(storage) | environment
        self.server.start()
        # The accounts are made by then: it begins after every module is ready.
        self.server.wait_for(lambda: "Running periodic tasks" in self.server.log(), "the server is prepared")

    def migrate(self, *arguments: str, database: str = "internal") -> Outcome:
        """What becomes of the command `migrate`, with the variables for `database`."""
        assert self.server.volume is not None
        return servers.run(
            self.client, self.server.image, "migrate", *arguments,
            environment={**ENVIRONMENT, **self.databases.environment(database)},
            volumes={self.server.volume.name: {"bind": "/var/lib/prosody", "mode": "rw"}},
            **self.databases.network.member(4),
        )  # fmt: skip

    @property
    def certificate(self) -> Path:
        """What the server's clients trust."""
        return self.server.certificate(self.folder)

    def write(self) -> View:
        """Write everything."""
        return asyncio.run(stored_data.write(self.server, self.certificate))

    def read(self, written: View) -> View:
        """Everything that is there now, of what was written."""
        return asyncio.run(stored_data.read(self.server, self.certificate, written["upload"], written["token"]))

    def read_waiting(self) -> View:
        """What waits for somebody, who takes it."""
        return asyncio.run(stored_data.read_waiting(self.server, self.certificate))


@contextmanager
def _stored(client: docker.DockerClient, image: LoadedImage, databases: Databases, folder: Path) -> Iterator[Stored]:
    server = Server(client, image, {}, {"ports": _PORTS, **databases.network.member(5)})
    try:
        yield Stored(client, server, databases, folder)
    finally:
        server.remove()


@pytest.fixture
def stored(client: docker.DockerClient, image: LoadedImage, databases: Databases, tmp_path: Path) -> Iterator[Stored]:
    """A server that is not started yet."""
    with _stored(client, image, databases, tmp_path) as made:
        yield made


def _compare(view: View, expected: View, storage: str) -> None:
    """Fail with what is different, which pytest would not find in so much."""
    if storage != "internal":
        # Prosody 13.0 stores what is false in a database, but does not read it (keyval_store_get of mod_storage_sql).
        expected = expected | {"preferences": expected["preferences"].replace(f"<n1:jid>{CAROL}</n1:jid>", "")}
    different = [name for name in expected if view.get(name) != expected[name]]
    assert not different, {name: (view.get(name), expected[name]) for name in different}
    assert view.keys() == expected.keys()


@pytest.mark.parametrize("storage", ["SQLite3", "PostgreSQL", "MySQL"])
def test_what_clients_write_is_there_after_a_restart(stored: Stored, storage: str) -> None:
    stored.use(storage)
    written = stored.write()
    _check_content(written)
    stored.use(storage)
    _compare(stored.read(written), written, storage)
    with pytest.raises(RefusedError):
        log_in(stored.server.port(), ALICE, "first password", stored.certificate)
    _check_waiting(stored.read_waiting())
    errors = [line for line in stored.server.log().splitlines() if " error\t" in line]
    assert not errors


def _check_content(view: View) -> None:
    """What was written is what was meant to be; the rest of the test is about whether it stays."""
    text = stored_data.TEXT
    assert len(view["archive of bob"]) == 26
    assert len(view["archive of alice"]) == 26 + len(OFFLINE)
    assert len(view["room of alice"]["archive"]) == 12
    assert view["room of alice"]["subject"][1] == text
    assert view["room of alice"]["settings"]["muc#roomconfig_roomname"] == [text]
    assert [len(view["room of alice"][name]) for name in ("owner", "admin", "member", "outcast")] == [2, 1, 1, 2]
    assert len(view["events"]["urn:example:diary"]) == 5
    assert len(view["pubsub"]["news"]) == 3
    assert len(view["blocked"]) == 3
    assert len(view["roster of alice"]) == 4
    assert view["role"].endswith("prosody:member")
    assert view["invitation"] == "result"
    assert stored_data.LONG.strip() in view["private data"]
    assert BOB in view["accounts"]


def _check_waiting(view: View) -> None:
    assert view == {"messages": OFFLINE, "wants to subscribe": ALICE}


def test_nothing_is_lost_between_storages(stored: Stored) -> None:
    """From files to SQLite, on to PostgreSQL, and back to files, which are replaced; each serves what it got."""
    stored.use("internal")
    written = stored.write()
    _check_content(written)
    stored.use("internal")
    _compare(stored.read(written), written, "internal")
    files = _files(stored.server)
    for source, target in (("internal", "SQLite3"), ("SQLite3", "PostgreSQL"), ("PostgreSQL", "internal")):
        stored.server.remove_container()
        database = "PostgreSQL" if "PostgreSQL" in (source, target) else "internal"
        outcome = stored.migrate(source, target, "--replace", database=database)
        assert outcome.status == 0, outcome.text
        stored.use(target)
        _compare(stored.read(written), written, target)
    assert _files(stored.server) == files
    _check_waiting(stored.read_waiting())


def _files(server: Server) -> set[str]:
    """Names of the files that hold data, apart from those that the server uses for itself."""
    chunks, _ = server.running.get_archive("/var/lib/prosody")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        names = {Path(name) for name in archive.getnames()}
    return {
        str(name)
        for name in names
        if name.suffix in (".dat", ".list") and name.stem not in ("cron", "container_health")
    }
