"""What docs/migrating.md promises: examples of other images run with this one, on the data that they left.

The examples are in `migrating/`: compose files with the facts of those images' own READMEs, and under `x-migration`
what has to be changed besides the image, what is in the folders, and who logs in.
"""

from __future__ import annotations

import asyncio
import io
import re
import shlex
import sqlite3
import tarfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import pytest
import slixmpp
import yaml
from docker.models.volumes import Volume

from scripts.paths import ROOT
from tests.integration.authority import Authority
from tests.integration.clients import connected
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server

PAGE = ROOT / "docs" / "migrating.md"
CATALOGUE = ROOT / "images" / "environment.yaml"
FOLDER = Path(__file__).parent / "migrating"
JITSI = FOLDER / "jitsi.yaml"
EXAMPLES = sorted(path for path in FOLDER.glob("*.yaml") if path != JITSI)
OTHER_DOMAIN = "old.example"
ROMEO, PASSWORD = f"romeo@{DOMAIN}", "juliet4ever"
# Variables that the page says are in the way: those of OpusVL's first versions.
UNKNOWN = ("PROSODY_BOOTSTRAP", "PROSODY_CORE_MODULES", "PROSODY_COMM_MODULES", "PROSODY_USE_LIBEVENT")
_DATA = "/var/lib/prosody"


@dataclass(frozen=True)
class Owner:
    """A user and a group, as the owner of files."""

    uid: int = 0
    gid: int = 0

    @classmethod
    def parse(cls, text: str) -> Owner:
        """From UID:GID."""
        uid, gid = text.split(":")
        return cls(int(uid), int(gid))


@dataclass(frozen=True)
class Example:
    """One service of a compose file, changed as the page says, and what belongs to it."""

    service: Mapping[str, Any]
    migration: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Example:
        """The only service of a file."""
        document = yaml.safe_load(path.read_text())
        (service,) = document["services"].values()
        migration = document.get("x-migration", {})
        changes = dict(migration.get("changes", {}))
        changes["environment"] = _variables(service) | {
            name: str(value) for name, value in changes.get("environment", {}).items()
        }
        return cls(service | changes, migration)

    @property
    def owner(self) -> Owner:
        """Who owns what is in the folders."""
        return Owner.parse(self.migration.get("owner", "0:0"))

    @property
    def contents(self) -> Mapping[str, str]:
        """The text of each file, by its path as the mounts write it."""
        return dict(self.migration.get("contents", {}))

    def mounts(self) -> Iterator[tuple[str, str, str]]:
        """Source, target and mode of each mount."""
        for volume in self.service.get("volumes", ()):
            source, target, mode = (*volume.split(":"), "rw")[:3]
            yield source, target, mode

    def options(self) -> dict[str, Any]:
        """The rest of it, as the engine's SDK calls it; not confined, as those who come from elsewhere are not."""
        options: dict[str, Any] = {"read_only": False, "cap_drop": [], "security_opt": []}
        options |= {name: self.service[name] for name in ("user", "hostname") if name in self.service}
        if "command" in self.service:
            options["command"] = shlex.split(self.service["command"])
        if "tmpfs" in self.service:
            options["tmpfs"] = {self.service["tmpfs"]: ""}
        return options


def _variables(service: Mapping[str, Any]) -> dict[str, str]:
    """The environment of a service, which compose files write in two ways."""
    written = service.get("environment", {})
    if isinstance(written, list):
        return dict(item.split("=", 1) for item in written)
    return {name: str(value) for name, value in written.items()}


class Newcomer(Server):
    """A server with nothing but the mounts of its example: even the data are where that image had them."""

    def start(self) -> None:
        """Create the container and wait until clients can connect."""
        options: dict[str, Any] = {
            "environment": dict(self.environment),
            "platform": self.image.platform.name,
            "ports": {"5222/tcp": ("127.0.0.1", None)},
            "volumes": self.mounts,
        }
        self.container = self.client.containers.run(self.image.name, detach=True, **options | dict(self.options))
        self.wait_for(self.accepts_clients, "clients can connect")

    def run(self, *command: str) -> str:
        """Output of a command in the container, which must succeed."""
        outcome = self.execute(*command)
        assert outcome.status == 0, outcome.text
        return outcome.text


@dataclass
class Place:
    """Where examples find their folders: volumes that the engine fills, so that anybody can own what is there."""

    client: docker.DockerClient
    image: LoadedImage
    folder: Path
    volumes: dict[str, Volume] = field(default_factory=dict)

    def volume(self, name: str) -> Volume:
        """The volume for one folder, made when it is first asked for."""
        if name not in self.volumes:
            self.volumes[name] = self.client.volumes.create(f"prosody-test-{uuid.uuid4().hex[:8]}")
        return self.volumes[name]

    def put(self, name: str, owner: Owner, files: Mapping[str, bytes]) -> None:
        """Fill a volume: the folder belongs to `owner` alone, and so does all that is in it."""
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:

            def add(path: str, content: bytes | None) -> None:
                member = tarfile.TarInfo(path)
                member.uid, member.gid = owner.uid, owner.gid
                # What belongs to root must be readable by others, as no server runs as root.
                member.mode = 0o755 if owner == Owner() else 0o750
                if content is None:
                    member.type = tarfile.DIRTYPE
                    archive.addfile(member)
                else:
                    member.mode &= 0o644
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))

            parents = {str(parent) for path in files for parent in Path("x", path).parents if parent != Path()}
            for folder in sorted(parents | {"x"}):
                add(folder, None)
            for path, content in files.items():
                add(f"x/{path}", content)
        helper = self.client.containers.create(
            self.image.name, volumes={self.volume(name).name: {"bind": "/mnt/x", "mode": "rw,nocopy"}}
        )
        try:
            helper.put_archive("/mnt", stream.getvalue())
        finally:
            helper.remove(force=True, v=True)

    def mounts(self, example: Example, replacements: Mapping[str, bytes]) -> dict[str, dict[str, str]]:
        """The mounts of an example, with all that is in them."""
        contents = {path: replacements.get(text.strip()) or text.encode() for path, text in example.contents.items()}
        found: dict[str, dict[str, str]] = {}
        for source, target, mode in example.mounts():
            if source in contents:
                path = self.folder / f"{len(found)}-{Path(source).name}"
                path.write_bytes(contents[source])
                path.chmod(0o644)
                found[str(path)] = {"bind": target, "mode": mode}
                continue
            prefix = f"{source}/"
            inside = {
                path.removeprefix(prefix): content for path, content in contents.items() if path.startswith(prefix)
            }
            if source not in self.volumes:  # otherwise data that were put there before
                self.put(source, example.owner, inside)
            found[self.volume(source).name] = {"bind": target, "mode": f"{mode},nocopy"}
        return found

    def remove(self) -> None:
        """Remove all volumes."""
        for volume in self.volumes.values():
            volume.remove(force=True)


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues the certificates of all examples."""
    return Authority()


@pytest.fixture
def place(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> Iterator[Place]:
    """Volumes for one test."""
    made = Place(client, image, tmp_path)
    yield made
    made.remove()


@contextmanager
def started(place: Place, authority: Authority, example: Example, **environment: str) -> Iterator[Newcomer]:
    """A server as an example starts it, with the account of the example."""
    pair = authority.issue([DOMAIN, f"*.{DOMAIN}", OTHER_DOMAIN])
    mounts = place.mounts(example, {"CERTIFICATE": pair.full, "KEY": pair.key})
    server = Newcomer(
        place.client, place.image, example.service["environment"] | environment, example.options(), mounts
    )
    try:
        server.start()
        yield server
    finally:
        server.remove()


def trusted(server: Newcomer, example: Example, authority: Authority, folder: Path) -> Path:
    """What clients verify the certificate with."""
    if "CERTIFICATE" not in example.contents.values():
        return server.certificate(folder)
    path = folder / "root.pem"
    path.write_bytes(authority.root)
    return path


def log_in(server: Newcomer, account: str, password: str, certificate: Path) -> None:
    """Log in over verified TLS; raises RefusedError if the server does not let the client in."""

    async def scenario() -> None:
        async with connected(server.port(), account, password, certificate):
            pass

    asyncio.run(scenario())


def output_of(place: Place, command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and output of a container that ends by itself."""
    container = place.client.containers.create(place.image.name, list(command), environment=dict(environment))
    try:
        container.start()
        status = int(container.wait(timeout=60)["StatusCode"])
        return status, container.logs().decode(errors="replace")
    finally:
        container.remove(force=True, v=True)


def refused(place: Place, environment: Mapping[str, str], *names: str) -> None:
    """The start must end, with a line for each of these variables."""
    status, output = output_of(place, [], environment)
    assert status == 78, output
    for name in names:
        assert f"{name} is not a variable of this image" in output


def sections() -> dict[str, str]:
    """The text of the page, by the titles of its sections."""
    parts = re.split(r"^## (.+)$", PAGE.read_text(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs_with_another_image(path: Path, place: Place, authority: Authority, tmp_path: Path) -> None:
    example = Example.read(path)
    account, password = example.migration["account"], example.migration["password"]

    with started(place, authority, example) as server:
        if example.migration.get("registered"):
            server.run("prosodyctl", "register", *account.split("@"), password)
        log_in(server, account, password, trusted(server, example, authority, tmp_path))
        for expected in example.migration["log"]:
            assert server.says(expected), server.log()
        assert server.run("prosodyctl", "status")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_page_names_every_change(path: Path) -> None:
    migration = Example.read(path).migration
    text = sections()[migration["section"]]
    changes = dict(migration.get("changes", {}))

    for name, value in changes.pop("environment", {}).items():
        assert re.search(rf"\b{name}[=:]", text), f"{name}={value}"
    for name, value in changes.items():
        for item in value if isinstance(value, list) else [value]:
            assert item in text, f"{name}: {item}"


def test_the_page_names_only_variables_that_exist() -> None:
    catalogue = yaml.safe_load(CATALOGUE.read_text())
    known = {"PROSODY_CONFIG"}
    for section in catalogue["sections"]:
        for name, variable in section["variables"].items():
            known |= {name, *variable.get("peers", {}).values()}

    named = set(re.findall(r"`([A-Z][A-Z0-9_]+[A-Z0-9])(?:[=:][^`]*)?`", PAGE.read_text()))
    named |= set(re.findall(r"^ *([A-Z][A-Za-z0-9_]+)[=:] ?\S", PAGE.read_text(), flags=re.MULTILINE))
    unknown = {name for name in named if name not in known and not name.startswith("PROSODY_OPTION_")}
    assert len(named) > 40
    assert unknown == set(UNKNOWN) | {"CAPTCHA_PRIVATE", "CAPTCHA_PUBLIC", "SINCE"}


@pytest.mark.parametrize(
    ("title", "domain"),
    [("prosodyim/prosody", "PROSODY_VIRTUAL_HOSTS"), ("SaraSmiseth/prosody", "DOMAIN"), ("tobi312/prosody", "DOMAIN"),
     ("OpusVL/prosody-docker", "PROSODY_DEFAULT_VIRTUALHOST")],
)  # fmt: skip
def test_the_defaults_of_another_image_can_be_kept(title: str, domain: str, place: Place) -> None:
    """The blocks of variables on the page are right, and have an effect."""
    blocks = re.findall(r"```env\n(.*?)```", sections()[title], flags=re.DOTALL)
    assert blocks, title
    variables = dict(line.split("=", 1) for block in blocks for line in block.splitlines())

    status, output = output_of(place, ["check"], {domain: DOMAIN} | variables)
    assert status == 0, output
    assert "has no effect" not in output


def test_the_prosody_of_jitsi_is_refused_with_advice(place: Place) -> None:
    """Where this is no Jitsi deployment: half of one would let people in who are not meant to."""
    status, output = output_of(place, [], Example.read(JITSI).service["environment"])
    assert status == 78, output
    for name in ("XMPP_AUTH_DOMAIN", "JICOFO_AUTH_PASSWORD", "JVB_AUTH_PASSWORD", "PROSODY_ENABLE_RATE_LIMITS"):
        assert f"{name} is for a Jitsi deployment, which this is not: set PROSODY_JITSI=true" in output


def test_the_prosody_of_jitsi_runs_where_it_is_switched_on(place: Place, authority: Authority, tmp_path: Path) -> None:
    """As the image prosody:jitsi sets it."""
    example = Example.read(JITSI)
    with started(place, authority, example, PROSODY_JITSI="auto") as server:
        path = server.certificate(tmp_path)
        for account in ("focus@auth.meet.jitsi", "jvb@auth.meet.jitsi"):
            log_in(server, account, "secret", path)


def test_variables_that_the_page_calls_unknown_are_refused(place: Place) -> None:
    refused(place, dict.fromkeys(UNKNOWN, "1"), *UNKNOWN)


def test_data_of_another_user_are_explained(place: Place) -> None:
    """Without the change that the page asks for, the message says the same."""
    example = Example.read(FOLDER / "sarasmiseth.yaml")
    place.put("./data", example.owner, {"prosody.sqlite": b""})
    mounts = {place.volume("./data").name: {"bind": "/usr/local/var/lib/prosody", "mode": "rw"}}
    container = place.client.containers.create(
        place.image.name, environment=example.service["environment"], volumes=mounts
    )
    try:
        container.start()
        status = int(container.wait(timeout=60)["StatusCode"])
        output = container.logs().decode(errors="replace")
    finally:
        container.remove(force=True, v=True)
    assert status == 73, output
    assert "--user 999:999" in output
    assert "chown -R 5222:5222" in output


@pytest.mark.parametrize("command", [["prosodyctl", "about"], ["prosodyctl", "check", "disabled"]])
def test_commands_of_other_images_run(place: Place, command: list[str]) -> None:
    status, output = output_of(place, command, {"PROSODY_VIRTUAL_HOSTS": DOMAIN})
    assert status == 0, output
    assert output


def as_an_older_server_made_it(database: bytes, folder: Path) -> bytes:
    """The database with the index of Prosody 0.11, in place of the one that came later."""
    path = folder / "prosody.sqlite"
    path.write_bytes(database)
    connection = sqlite3.connect(path)
    try:
        connection.execute("DROP INDEX prosody_unique_index")
        connection.execute('CREATE INDEX prosody_index ON prosody ("host", "user", "store", "key")')
        connection.commit()
        hashes = [
            value
            for (value,) in connection.execute("SELECT value FROM prosody WHERE store='accounts' AND key='stored_key'")
        ]
    finally:
        connection.close()
    assert [len(value) for value in hashes] == [40], "not SHA-1, which is all that older servers have"
    return path.read_bytes()


def test_a_database_of_sarasmiseth_is_found_and_kept(place: Place, authority: Authority, tmp_path: Path) -> None:
    """Accounts and archive of its SQLite file, which nothing but the data folder tells of."""
    example = Example.read(FOLDER / "sarasmiseth.yaml")
    # Where that image keeps messages.
    archive = {"PROSODY_OPTION_archive_store": '"archive2"'}
    assert "PROSODY_OPTION_archive_store" in sections()[example.migration["section"]]
    text = f"written before {uuid.uuid4()}"

    async def write(server: Newcomer) -> None:
        async with connected(server.port(), ROMEO, PASSWORD, root) as romeo:
            romeo.say(f"nurse@{DOMAIN}", text)
            await romeo.plugin["xep_0199"].ping(slixmpp.JID(DOMAIN))

    async def read(server: Newcomer) -> list[str]:
        async with connected(server.port(), ROMEO, PASSWORD, root) as romeo:
            return [
                str(result["mam_result"]["forwarded"]["stanza"]["body"])
                async for result in romeo.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(f"nurse@{DOMAIN}"))
            ]

    with started(place, authority, example, PROSODY_SQL_DRIVER="SQLite3", **archive) as server:
        root = trusted(server, example, authority, tmp_path)
        server.run("prosodyctl", "register", *ROMEO.split("@"), PASSWORD)
        asyncio.run(write(server))
        server.running.stop()
        made = server.read(f"{_DATA}/prosody.sqlite")
    place.volumes.pop("./data").remove()
    place.put("./data", example.owner, {"prosody.sqlite": as_an_older_server_made_it(made, tmp_path)})

    with started(place, authority, example, **archive) as server:
        assert asyncio.run(read(server)) == [text]
        assert server.says("prosody.sqlite")
        assert " error\t" not in server.log()


@pytest.mark.parametrize(
    ("name", "domain"), [("official-compose", DOMAIN), ("official-compose", OTHER_DOMAIN), ("opusvl", DOMAIN)]
)
def test_accounts_in_files_stay_as_the_other_image_can_read_them(
    name: str, domain: str, place: Place, authority: Authority, tmp_path: Path
) -> None:
    """SHA-1, for those that were there and those that come after, on whatever host they are: this is the way back."""
    example = Example.read(FOLDER / f"{name}.yaml")
    folder = f"{_DATA}/{domain.replace('.', '%2e')}/accounts"

    with started(place, authority, example, LOCAL="", PROSODY_PASSWORD_HASH="SHA-1") as server:
        root = trusted(server, example, authority, tmp_path)
        server.run("prosodyctl", "register", "romeo", domain, PASSWORD)
    with started(place, authority, example, LOCAL="") as server:
        log_in(server, f"romeo@{domain}", PASSWORD, root)
        server.run("prosodyctl", "register", "nurse", domain, PASSWORD)
        log_in(server, f"nurse@{domain}", PASSWORD, root)
        for account in ("romeo", "nurse"):
            stored = server.read(f"{folder}/{account}.dat").decode()
            assert re.search(r'"stored_key"\] = "[0-9a-f]{40}"', stored), stored


def test_paths_of_sarasmiseth_lead_to_ours(place: Place, authority: Authority) -> None:
    """Each mount arrives where this image looks, and the volume that the image asks for does not hide the data."""
    example = Example.read(FOLDER / "sarasmiseth-all.yaml")
    expected = {
        "/usr/local/var/lib/prosody": _DATA,
        "/usr/local/etc/prosody/certs": "/etc/prosody/certs",
        "/usr/local/lib/prosody/custom-modules": "/etc/prosody/modules",
    }
    with ExitStack() as stack:
        server = stack.enter_context(started(place, authority, example))
        table = server.run("/usr/bin/lua5.4", "-e", "io.write(io.open('/proc/self/mountinfo'):read('a'))")
        mounted = {line.split()[4] for line in table.splitlines()}
        assert set(expected.values()) <= mounted
        assert not set(expected) & mounted
        server.run("prosodyctl", "register", "nurse", DOMAIN, PASSWORD)
        helper = place.client.containers.create(
            place.image.name, volumes={place.volume("prosody").name: {"bind": "/mnt/x", "mode": "ro"}}
        )
        stack.callback(helper.remove, force=True, v=True)
        _, attributes = helper.get_archive("/mnt/x/prosody.sqlite")
        assert attributes is not None
        assert attributes["size"] > 0
