"""Containers of the image under test: started by the engine the build uses, and removed in the end."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.volumes import Volume

from tests.integration.containers import CONFINED, PATIENCE, Contained, LoadedImage, Outcome

DOMAIN = "chat.example"
ACCOUNTS = {f"alice@{DOMAIN}": 'alice\'s "pass"]] word', f"bob@{DOMAIN}": "bob:pass,word"}


@dataclass
class Server(Contained):
    """A running Prosody; `volume` outlives the container, so a restart keeps the data."""

    client: docker.DockerClient
    image: LoadedImage
    environment: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    mounts: dict[str, dict[str, str]] = field(default_factory=dict)
    volume: Volume | None = None

    def start(self) -> None:
        """Create the container and wait until clients can connect."""
        if self.volume is None:
            self.volume = self.client.volumes.create(f"prosody-test-{uuid.uuid4().hex[:8]}")
        options: dict[str, Any] = {
            "environment": dict(self.environment),
            "platform": self.image.platform.name,
            "ports": {"5222/tcp": ("127.0.0.1", None), "5223/tcp": ("127.0.0.1", None)},
            "volumes": {self.volume.name: {"bind": "/var/lib/prosody", "mode": "rw"}} | self.mounts,
        }
        self.container = self.client.containers.create(self.image.name, **options | CONFINED | dict(self.options))
        self.begin()
        self.wait_for(self.accepts_clients, "clients can connect")

    def restart(self) -> None:
        """Replace the container by a new one on the same data."""
        self.remove_container()
        self.start()

    @property
    def domain(self) -> str:
        """The domain served."""
        return self.environment.get("PROSODY_DOMAIN") or self.environment.get("XMPP_DOMAIN", DOMAIN)

    @property
    def address(self) -> str:
        """Its IPv4 address on the engine's own network, which this machine reaches."""
        self.running.reload()
        (network,) = self.running.attrs["NetworkSettings"]["Networks"].values()
        return str(network["IPAddress"])

    def accepts_clients(self) -> bool:
        """Whether the server answers a client's stream header with its features."""
        try:
            return answers_clients(self.port(), self.domain)
        except (KeyError, IndexError, TypeError):  # not published yet
            return False

    def health(self) -> Outcome:
        """What the image's own health check says: the engine repeats it every 30 s, which is too long to wait for."""
        kind, *command = self.running.attrs["Config"]["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.execute(*command)

    def shell(self, command: str, user: str = "") -> str:
        """What Prosody's own shell answers to a command."""
        outcome = self.execute("prosodyctl", "shell", command, user=user)
        assert outcome.status == 0, outcome.text
        return outcome.output.strip()

    def certificate(self, folder: Path) -> Path:
        """The certificate that the server made for itself, as a file in `folder`."""
        path = folder / f"{self.domain}.crt"
        path.write_bytes(self.read(f"/var/lib/prosody/certificates/{self.domain}.crt"))
        return path

    def remove(self) -> None:
        """Remove the container and its data."""
        self.remove_container()
        if self.volume is not None:
            self.volume.remove(force=True)
            self.volume = None


def answers_clients(port: int, domain: str = DOMAIN) -> bool:
    """Whether a server on this port of 127.0.0.1 answers a client's stream header with its features (RFC 6120, 4.3)."""
    header = (
        f"<?xml version='1.0'?><stream:stream to='{domain}' version='1.0' xmlns='jabber:client'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(header.encode())
            answer = b""
            while b"</stream:features>" not in answer:
                chunk = connection.recv(4096)
                if not chunk:
                    return False
                answer += chunk
    except OSError:
        return False
    return True


def run(
    client: docker.DockerClient, image: LoadedImage, *command: str, patience: float = PATIENCE, **options: Any
) -> Outcome:
    """Outcome of a container that is expected to end by itself within `patience` seconds."""
    container = client.containers.create(
        image.name, list(command), **{"platform": image.platform.name} | CONFINED | options
    )
    try:
        # Attached before it starts: a log that is asked for afterwards may lack what was printed last.
        chunks: Any = container.attach(stdout=True, stderr=True, stream=True, demux=True)
        container.start()
        stop = threading.Timer(patience, container.kill)
        stop.start()
        printed = list(chunks)
        stop.cancel()
        output = b"".join(part for part, _ in printed if part).decode(errors="replace")
        errors = b"".join(part for _, part in printed if part).decode(errors="replace")
        return Outcome(int(container.wait(timeout=60)["StatusCode"]), output, errors)
    finally:
        container.remove(force=True, v=True)


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, options: Mapping[str, Any] | None = None, /, **environment: str
) -> Iterator[Server]:
    """A started server with the tests' accounts; `environment` adds to its variables, `options` to those of Docker."""
    accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts} | environment
    server = Server(client, image, variables, dict(options or {}))
    try:
        server.start()
        yield server
    finally:
        server.remove()
