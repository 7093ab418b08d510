"""Data of released versions, which every later one has to open: how they are made, kept, and put into a volume.

    .venv/bin/python -m tests.integration.released_data

makes those of this version and of Prosody 0.12 (tests/integration/data/README.md).
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import tarfile
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.models.volumes import Volume

from scripts import engine
from tests.integration import networks, stored_data
from tests.integration.authority import Authority, Pair
from tests.integration.conftest import Images
from tests.integration.containers import Contained, LoadedImage
from tests.integration.servers import DOMAIN, Server
from tests.integration.stored_data import ACCOUNTS, ALICE, ENVIRONMENT, PUBSUB, ROOMS, UPLOADS, View
from tests.peers import prosody_0_12
from tests.peers.prosody_0_12 import DATA, OldProsody

FOLDER = Path(__file__).parent / "data"
STORAGES = ("files", "sqlite")
_VIEW = "view.json"
# As the first process of the container may be root, and becomes the owner of the data: docs/container.md.
_AS_ROOT: dict[str, Any] = {"user": "root", "cap_add": ["SETUID", "SETGID", "KILL"]}
# What the image has by itself, as somebody wrote it down for Prosody 0.12.
_OLD_CONFIGURATION = f"""
admins = {{ "{ALICE}" }}
authentication = "internal_hashed"
modules_enabled = {{
    "roster", "saslauth", "tls", "disco", "offline", "carbons", "mam", "pep", "private", "blocklist", "bookmarks",
    "vcard4", "vcard_legacy", "ping", "register", "admin_adhoc", "invites", "invites_adhoc", "invites_register",
}}
allow_registration = true
registration_invite_only = true
certificates = "/certs"
log = {{ {{ levels = {{ min = "info" }}, to = "console" }} }}
VirtualHost "{DOMAIN}"
Component "{ROOMS}" "muc"
    modules_enabled = {{ "muc_mam" }}
Component "{UPLOADS}" "http_file_share"
Component "{PUBSUB}" "pubsub"
"""
_OLD_STORAGE = {
    "files": 'default_storage = "internal"',
    "sqlite": 'default_storage = "sql"; sql = { driver = "SQLite3", database = "prosody.sqlite" }',
}


@dataclass(frozen=True)
class Place:
    """A volume that servers of one domain have one after the other, with certificates that `root` has signed."""

    client: docker.DockerClient
    images: Images
    volume: Volume
    folder: Path
    pair: Pair

    @property
    def root(self) -> Path:
        """What clients trust."""
        return self.folder / "root.pem"

    @contextmanager
    def old(self, storage: str) -> Iterator[OldProsody]:
        """Prosody 0.12 with the accounts."""
        files: dict[str, str | bytes] = {}
        for host in (DOMAIN, ROOMS, UPLOADS, PUBSUB):
            files |= {f"/certs/{host}.crt": self.pair.full, f"/certs/{host}.key": self.pair.key}
        with (
            networks.network(self.client) as network,
            prosody_0_12.serving(
                self.client, self.images.peer("prosody-0-12"), network, 2, DOMAIN, volume=str(self.volume.name),
                configuration=_OLD_STORAGE[storage] + _OLD_CONFIGURATION, files=files, accounts=ACCOUNTS,
            ) as server,
        ):  # fmt: skip
            yield server

    @contextmanager
    def new(self, image: LoadedImage, **environment: str) -> Iterator[Server]:
        """A server of `image`, which deletes nothing because of its age."""
        ageless = {"PROSODY_ARCHIVE_EXPIRES_AFTER": "never", "PROSODY_UPLOAD_EXPIRES_AFTER": "never"}
        server = Server(
            self.client, image, ENVIRONMENT | ageless | environment,
            _AS_ROOT | {"ports": {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}},
            {str(self.folder / "own.pem"): {"bind": "/etc/prosody/certs/own.pem", "mode": "ro"}},
        )  # fmt: skip
        server.volume = self.volume
        try:
            server.start()
            # The accounts are made by then.
            server.wait_for(lambda: "Running periodic tasks" in server.log(), "the server is prepared")
            yield server
        finally:
            server.remove_container()

    def put(self, archive: Path, image: LoadedImage) -> View:
        """Fill the volume with data that were kept; returns what clients saw of them."""
        content = io.BytesIO()
        with (
            tarfile.open(archive) as kept,
            tarfile.open(fileobj=content, mode="w") as data,
        ):
            for member in kept:
                if member.name == _VIEW:
                    view: View = json.load(_file(kept, member))
                else:
                    data.addfile(member, _file(kept, member) if member.isfile() else None)
        helper: Container = self.client.containers.create(
            image.name, volumes={self.volume.name: {"bind": DATA, "mode": "rw"}}
        )
        try:
            helper.put_archive(DATA, content.getvalue())
        finally:
            helper.remove(force=True)
        return view


def _file(archive: tarfile.TarFile, member: tarfile.TarInfo) -> Any:
    found = archive.extractfile(member)
    assert found is not None, f"{member.name} is not a file"
    return found


@contextmanager
def place(client: docker.DockerClient, images: Images) -> Iterator[Place]:
    """A new one."""
    authority = Authority()
    pair = authority.issue([DOMAIN, f"*.{DOMAIN}"])
    volume = client.volumes.create(f"prosody-test-{uuid.uuid4().hex[:8]}")
    try:
        with tempfile.TemporaryDirectory(prefix="data-") as folder:
            Path(folder).chmod(0o755)  # the container's user is another one
            for name, content in (("root.pem", authority.root), ("own.pem", pair.full + pair.key)):
                file = Path(folder) / name
                file.write_bytes(content)
                file.chmod(0o644)
            yield Place(client, images, volume, Path(folder), pair)
    finally:
        volume.remove(force=True)


def comparable(view: View) -> View:
    """A view as it is kept."""
    kept: View = json.loads(json.dumps(view))
    return kept


def _keep(contained: Contained, storage: str, view: View) -> None:
    """Stop a server and keep its data, and what clients saw of them."""
    version = re.search(r"Prosody version (\S+)", contained.log())
    assert version, contained.log()
    contained.running.stop()
    chunks, _ = contained.running.get_archive(DATA)
    path = FOLDER / version[1] / f"{storage}.tar.xz"
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as data,
        tarfile.open(path, "w:xz", preset=9) as kept,
    ):
        for member in data:
            # Without the folder itself.
            member.name = member.name.partition("/")[2]
            if member.name and member.name != "prosody.pid":
                kept.addfile(member, _file(data, member) if member.isfile() else None)
        content = json.dumps(comparable(view), indent=1).encode()
        entry = tarfile.TarInfo(_VIEW)
        entry.size = len(content)
        kept.addfile(entry, io.BytesIO(content))
    print(f"{path}: {path.stat().st_size} bytes")


def main() -> None:
    """Command line of this module."""
    tool = engine.find()
    client, images = tool.sdk(timeout=120), Images(tool)
    for storage in STORAGES:
        with place(client, images) as found, found.old(storage) as old:
            address, token = asyncio.run(stored_data.fill(old, found.root))
            view = asyncio.run(stored_data.read_as_clients(old, found.root, address, token))
            _keep(old.peer, storage, view)
        variables = {"PROSODY_SQL_DRIVER": "SQLite3"} if storage == "sqlite" else {}
        with place(client, images) as found, found.new(images.load("debian"), **variables) as server:
            address, token = asyncio.run(stored_data.fill(server, found.root))
            view = asyncio.run(stored_data.read_as_clients(server, found.root, address, token))
            _keep(server, storage, view)


if __name__ == "__main__":
    main()
