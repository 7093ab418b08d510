"""The reference implementation of a registry: on the loopback without TLS, or with TLS for who has logged in."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker
import httpx

from tests import peers
from tests.integration.authority import Pair
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

_PORT = 5000
_FOLDER = "/var/lib/docker-registry"
_NAME, _PASSWORD = "builder", "secret"
_USERS = f"{_NAME}:$2b$04$meDLxKl6pGxp0YXmHIT9P.HW8YtJeJsHRiJLrz5e5VF/IH2zsGU9K\n"  # bcrypt, of the password


@dataclass
class Registry:
    """The registry; `secure` if it has TLS and asks for a name and a password."""

    peer: Peer
    secure: bool

    @property
    def host(self) -> str:
        """Its part of references; on the loopback, unless TLS is to be needed."""
        return f"{self.peer.address}:{_PORT}" if self.secure else f"127.0.0.1:{self.peer.port(_PORT)}"

    def requests(self, method: str, part: str) -> int:
        """How often something with `part` in its path was asked for by `method` until now."""
        # The log comes through the engine in its order: with this last request in it, it has all others.
        last = uuid.uuid4().hex
        scheme = "https" if self.secure else "http"
        httpx.get(f"{scheme}://{self.host}/v2/{last}/tags/list", verify=False, trust_env=False)  # noqa: S501
        self.peer.wait_for(lambda: last in self.peer.log(), "all requests are in the log")
        return sum(f'"{method} /v2/' in line and part in line for line in self.peer.log().splitlines())

    def spoil(self, sha256: str) -> None:
        """Change the first byte of a blob where the registry keeps it."""
        folder = f"{_FOLDER}/docker/registry/v2/blobs/sha256/{sha256[:2]}/{sha256}"
        content = self.peer.read(f"{folder}/data")
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            member = tarfile.TarInfo("data")
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(bytes([content[0] ^ 1]) + content[1:]))
        assert self.peer.running.put_archive(folder, stream.getvalue())


def docker_configuration(registry: Registry) -> str:
    """What `docker login` leaves in config.json for who may use the registry."""
    token = base64.b64encode(f"{_NAME}:{_PASSWORD}".encode()).decode()
    return json.dumps({"auths": {registry.host: {"auth": token}}})


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int, certificate: Pair | None = None
) -> Iterator[Registry]:
    """The registry as member `number` of `network`; with a certificate for its address it has TLS, and users."""
    http: dict[str, Any] = {"addr": f":{_PORT}"}
    configuration: dict[str, Any] = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": _FOLDER}},
        "http": http,
    }
    files: dict[str, str | bytes] = {}
    if certificate is not None:
        http["tls"] = {"certificate": "/tls.crt", "key": "/tls.key"}
        configuration["auth"] = {"htpasswd": {"realm": "tests", "path": "/users"}}
        files = {"/tls.crt": certificate.full, "/tls.key": certificate.key, "/users": _USERS}
    peer = Peer(
        client, image, network, number,
        command=["docker-registry", "serve", "/config.yml"],
        files={"/config.yml": json.dumps(configuration), **files},  # JSON is YAML
        ports=[_PORT],
    )  # fmt: skip
    found = Registry(peer, certificate is not None)
    with peers.running(peer, lambda: "listening on" in peer.log()):
        yield found
