"""Where data is kept: files and three databases keep the same, give it back after a restart, and to one another."""

from __future__ import annotations

import asyncio
import io
import itertools
import tarfile
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import pytest
from slixmpp.exceptions import IqError

from tests.integration import servers, storages, stored_data
from tests.integration.authority import Authority
from tests.integration.clients import Client, RefusedError, Watch, connected, log_in
from tests.integration.containers import LoadedImage, Outcome
from tests.integration.servers import DOMAIN, Server
from tests.integration.storages import Databases
from tests.integration.stored_data import ALICE, BOB, CAROL, ENVIRONMENT, OFFLINE, View
from tests.integration.streams import CLIENT
from tests.peers import postgresql

_DATA = "/var/lib/prosody"
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5280, 5281)}


# Accounts of another domain, so that what one test leaves in a database is not in another's way.
_DOMAIN = "outage.example"
_ANNA, _BEN, _CLEO = (f"{name}@{_DOMAIN}" for name in ("anna", "ben", "cleo"))
_PASSWORD = "a password"
_FRESH = {
    "PROSODY_DOMAIN": _DOMAIN,
    "PROSODY_ADMINS": _ANNA,
    "PROSODY_PUBSUB_DOMAIN": f"pubsub.{_DOMAIN}",
    "PROSODY_ACCOUNTS": "\n".join(f"{address}:{_PASSWORD}" for address in (_ANNA, _BEN, _CLEO)),
}
_PUBSUB = _FRESH["PROSODY_PUBSUB_DOMAIN"]
_NOTE = "<query xmlns='jabber:iq:private'><note xmlns='urn:example:note'>a note</note></query>"


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
            volumes={self.server.volume.name: {"bind": _DATA, "mode": "rw"}},
            **self.databases.network.member(4),
        )  # fmt: skip

    def failing(self) -> list[str]:
        """The checks that the server says have failed."""
        report = httpx.get(f"http://127.0.0.1:{self.server.port(5280)}/ready", trust_env=False).json()
        return [name for name, check in report["checks"].items() if not check["ok"]]

    @asynccontextmanager
    async def client_of(self, address: str) -> AsyncIterator[Client]:
        """A client of one of the accounts that have a password in common."""
        async with connected(self.server.port(), address, _PASSWORD, self.certificate) as client:
            yield client

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
    """From files to SQLite, on to PostgreSQL, back to files, to MariaDB and back; each serves what it got.

    Files are replaced when there are some.
    """
    stored.use("internal")
    written = stored.write()
    _check_content(written)
    stored.use("internal")
    _compare(stored.read(written), written, "internal")
    files = _files(stored.server)
    for source, target in itertools.pairwise(("internal", "SQLite3", "PostgreSQL", "internal", "MySQL", "internal")):
        stored.server.remove_container()
        database = next((storage for storage in (source, target) if storage in storages.SERVERS), "internal")
        outcome = stored.migrate(source, target, "--replace", database=database)
        assert outcome.status == 0, outcome.text
        stored.use(target)
        _compare(stored.read(written), written, target)
    assert _files(stored.server) == files
    _check_waiting(stored.read_waiting())


def _files(server: Server) -> set[str]:
    """Names of the files that hold data, apart from those that the server uses for itself."""
    chunks, _ = server.running.get_archive(_DATA)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        names = {Path(name) for name in archive.getnames()}

    return {
        str(name)
        for name in names
        if name.suffix in (".dat", ".list") and name.stem not in ("cron", "container_health")
    }


@pytest.mark.parametrize("storage", storages.SERVERS)
def test_a_lost_database_is_told_to_clients_until_it_is_back(stored: Stored, storage: str) -> None:
    """Nothing is restarted but the database, and the clients stay connected."""
    stored.use(storage, **_FRESH)
    database = stored.databases.server(storage)

    async def scenario() -> None:
        async with stored.client_of(_ANNA) as anna, stored.client_of(_BEN) as ben:
            received = Watch(ben, "message")
            await _say(anna, _BEN, "before")
            database.stop()
            with pytest.raises(IqError, match="internal-server-error"):
                await anna.ask("set", _NOTE)
            # Who is there gets messages all the same; who is not, cannot, and the sender is told.
            errors = Watch(anna, "message")
            await _say(anna, _BEN, "meanwhile")
            await received.until(lambda stanza: stanza.findtext(f"{{{CLIENT}}}body") == "meanwhile")
            await _say(anna, _CLEO, "for later")
            await errors.until(lambda stanza: stanza.get("type") == "error" and stanza.get("from") == _CLEO)
            with pytest.raises(RefusedError):
                async with stored.client_of(_CLEO):
                    pass
            database.start()
            await anna.ask("set", _NOTE)
            await _say(anna, _BEN, "after")
            # What was said meanwhile is in no archive.
            assert await _archived(anna) == ["before", "after"]

    try:
        asyncio.run(scenario())
    finally:
        if not database.is_ready():
            database.start()
    assert stored.server.running.attrs["State"]["Running"]


@pytest.mark.parametrize("storage", storages.SERVERS)
def test_a_server_that_starts_before_its_database_works_as_soon_as_that_is_there(stored: Stored, storage: str) -> None:
    stored.use(storage, **_FRESH)
    asyncio.run(_create_node(stored))
    database = stored.databases.server(storage)
    database.stop()
    try:
        stored.use(storage, **_FRESH)
        assert stored.failing() == ["storage"]
        with pytest.raises(RefusedError):
            log_in(stored.server.port(), _ANNA, _PASSWORD, stored.certificate)
    finally:
        database.start()
    stored.server.wait_for(lambda: not stored.failing(), "the server is ready")
    assert asyncio.run(_nodes(stored)) == ["news"]


def test_postgresql_is_used_over_verified_tls_only_where_that_is_asked_for(stored: Stored, tmp_path: Path) -> None:
    database, path = stored.databases.postgresql, "/etc/prosody/database.pem"
    password = postgresql.PASSWORD.replace("'", r"\'")
    connection = (
        f"host={postgresql.HOST} dbname={postgresql.DATABASE} user={postgresql.USER} password='{password}'"
        f" sslmode=verify-full sslrootcert={path}"
    )
    stored.server.options = {**stored.server.options, "extra_hosts": {postgresql.HOST: database.peer.address}}
    root = tmp_path / "root.pem"
    stored.server.mounts[str(root)] = {"bind": path, "mode": "ro"}
    tmp_path.chmod(0o755)
    for content, failing in ((database.root, []), (Authority().root, ["storage"])):
        root.write_bytes(content)
        root.chmod(0o644)
        stored.use("PostgreSQL", **_FRESH, PROSODY_SQL_DB=connection, PROSODY_SQL_HOST="", PROSODY_SQL_USERNAME="")
        assert stored.failing() == failing
        encrypted = database.query(
            "SELECT DISTINCT ssl FROM pg_stat_ssl NATURAL JOIN pg_stat_activity WHERE client_addr IS NOT NULL"
        )
        assert encrypted == ("" if failing else "t")


# Holds the database as another process does that writes, until it is told to end.
_WRITER = """
local connection = require("DBI").Connect("SQLite3", "/var/lib/prosody/prosody.sqlite")
connection:autocommit(true)
-- The server may be writing at this moment.
repeat local begun = connection:prepare("BEGIN EXCLUSIVE"):execute() until begun
assert(io.open("/var/lib/prosody/begun", "w")):close()
repeat require("socket").sleep(0.05) until io.open("/var/lib/prosody/end")
assert(connection:prepare("COMMIT"):execute())
"""
_HAS_BEGUN = ["lua5.4", "-e", 'assert(io.open("/var/lib/prosody/begun"))']
# Whether a command has the database open as well.
_IS_OPENED = [
    "lua5.4",
    "-e",
    """
local lfs = require "lfs"
for process in lfs.dir("/proc") do
	local file = process:find("^%d+$") and io.open("/proc/" .. process .. "/cmdline")
	if file and file:read("a"):find("prosodyctl", 1, true) then
		for descriptor in lfs.dir("/proc/" .. process .. "/fd") do
			local target = lfs.symlinkattributes("/proc/" .. process .. "/fd/" .. descriptor, "target")
			if target == "/var/lib/prosody/prosody.sqlite" then os.exit(0) end
		end
	end
end
os.exit(1)
""",
]
_END = ["lua5.4", "-e", 'assert(io.open("/var/lib/prosody/end", "w")):close()']


@pytest.mark.parametrize(("patience", "status"), [("20000", 0), ("0", 1)])
def test_commands_wait_for_other_processes_to_write(
    client: docker.DockerClient, image: LoadedImage, patience: str, status: int
) -> None:
    """From the first statement on: Prosody itself sets SQLite's patience only after it has asked for its tables."""
    with servers.serving(
        client, image, PROSODY_SQL_DRIVER="SQLite3", PROSODY_SQLITE_BUSY_TIMEOUT_MS=patience
    ) as server:
        server.running.exec_run(["lua5.4", "-e", _WRITER], detach=True)
        server.wait_for(lambda: server.execute(*_HAS_BEGUN).status == 0, "another process writes")

        def let_in() -> None:
            server.wait_for(lambda: server.execute(*_IS_OPENED).status == 0, "the command has opened the database")
            server.execute(*_END)

        # Who waits is let in; who does not ends while the other still writes.
        with ThreadPoolExecutor() as threads:
            over = threads.submit(let_in) if int(patience) else None
            outcome = server.execute("prosodyctl", "register", "romeo", DOMAIN, _PASSWORD)
            if over:
                over.result()
        assert outcome.status == status, outcome
        assert ("database is locked" in outcome.errors + outcome.output) == bool(status)


def test_a_place_that_holds_data_is_not_written_to_unless_told(stored: Stored) -> None:
    stored.use("internal")
    stored.server.remove_container()
    assert f"{DOMAIN}: " in stored.migrate("internal", "SQLite3").output
    again = stored.migrate("internal", "SQLite3")
    assert again.status == 1
    assert "SQLite3 holds data" in again.errors
    assert stored.migrate("internal", "SQLite3", "--replace").status == 0


@pytest.mark.parametrize(
    "arguments", [[], ["internal"], ["internal", "internal"], ["internal", "PostgreSQL"], ["internal", "SQLite3", "-x"]]
)
def test_what_cannot_be_copied_is_refused(stored: Stored, arguments: list[str]) -> None:
    outcome = servers.run(
        stored.client,
        stored.server.image,
        "migrate",
        *arguments,
        environment={**ENVIRONMENT},
        tmpfs={_DATA: "mode=1777"},
    )
    assert outcome.status == 64
    assert "not migrated: " in outcome.errors


async def _say(client: Client, to: str, text: str) -> None:
    """Send a message, and wait until the server has handled it."""
    client.say(to, text)
    await client.catch_up()


async def _archived(client: Client) -> list[str]:
    """Texts of the messages in the client's archive."""
    found = client.plugin["xep_0313"].iterate()
    return [str(result["mam_result"]["forwarded"]["stanza"]["body"]) async for result in found]


async def _create_node(stored: Stored) -> None:
    async with stored.client_of(_ANNA) as anna:
        await anna.ask(
            "set", "<pubsub xmlns='http://jabber.org/protocol/pubsub'><create node='news'/></pubsub>", _PUBSUB
        )


async def _nodes(stored: Stored) -> list[str]:
    """Nodes of the pubsub service."""
    async with stored.client_of(_ANNA) as anna:
        answer = await anna.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", _PUBSUB)
        return [item.get("node", "") for item in answer[0]]
