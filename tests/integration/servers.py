"""Containers under test: started by the engine the build uses, reached on the loopback, removed in the end."""

from __future__ import annotations

import io
import socket
import tarfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.models.volumes import Volume

from scripts.platforms import Platform

DOMAIN = "chat.example"
ACCOUNTS = {f"alice@{DOMAIN}": 'alice\'s "pass"]] word', f"bob@{DOMAIN}": "bob:pass,word"}
# What the image promises to run under, and the tests therefore always use.
CONFINED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
_PATIENCE = 60.0  # seconds; emulated processors are slow


@dataclass(frozen=True)
class LoadedImage:
    """An image in the engine: its name, and the platform that it is to run as."""

    name: str
    platform: Platform


@dataclass(frozen=True)
class Outcome:
    """What became of a command: exit status, standard output, standard error."""

    status: int
    output: str
    errors: str = ""

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return self.output + self.errors


@dataclass
class Server:
    """A running Prosody; `volume` outlives the container, so a restart keeps the data."""

    client: docker.DockerClient
    image: LoadedImage
    environment: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    mounts: dict[str, dict[str, str]] = field(default_factory=dict)
    container: Container | None = None
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
        self.container = self.client.containers.run(
            self.image.name, detach=True, **options | CONFINED | dict(self.options)
        )
        self.wait_for(self.accepts_clients, "clients can connect")

    def restart(self) -> None:
        """Replace the container by a new one on the same data."""
        self.remove_container()
        self.start()

    @property
    def running(self) -> Container:
        """The container, which must have been started."""
        assert self.container is not None, "the server was not started"
        return self.container

    def port(self, inside: int = 5222, address: str = "127.0.0.1") -> int:
        """Port on an address of this machine that leads to a port of the container."""
        self.running.reload()
        ports: Any = self.running.ports
        return {port["HostIp"]: int(port["HostPort"]) for port in ports[f"{inside}/tcp"]}[address]

    @property
    def domain(self) -> str:
        """The domain served."""
        return self.environment.get("PROSODY_DOMAIN") or self.environment.get("XMPP_DOMAIN", DOMAIN)

    def accepts_clients(self) -> bool:
        """Whether the server answers a client's stream header with its features."""
        try:
            return answers_clients(self.port(), self.domain)
        except (KeyError, IndexError, TypeError):  # not published yet
            return False

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition` holds; fails with the log if the container ends or it takes too long."""
        deadline = time.monotonic() + _PATIENCE
        while not condition():
            self.running.reload()
            assert self.running.status in ("created", "running"), f"the container ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"{what}: not within {_PATIENCE:.0f} s:\n{self.log()}"
            time.sleep(0.05)

    def execute(self, *command: str, user: str = "") -> Outcome:
        """Run a command in the container, as `docker exec` does."""
        result: Any = self.running.exec_run(list(command), user=user, demux=True)
        output, errors = result.output
        return Outcome(result.exit_code, (output or b"").decode(), (errors or b"").decode())

    def shell(self, command: str, user: str = "") -> str:
        """What Prosody's own shell answers to a command."""
        outcome = self.execute("prosodyctl", "shell", command, user=user)
        assert outcome.status == 0, outcome.text
        return outcome.output.strip()

    def log(self) -> str:
        """What the container has printed so far."""
        return self.running.logs().decode(errors="replace")

    def read(self, path: str) -> bytes:
        """Content of a file in the container."""
        chunks, _ = self.running.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            assert member is not None, f"{path} is not a file"
            return member.read()

    def certificate(self, folder: Path) -> Path:
        """The certificate that the server made for itself, as a file in `folder`."""
        path = folder / f"{self.domain}.crt"
        path.write_bytes(self.read(f"/var/lib/prosody/certificates/{self.domain}.crt"))
        return path

    def remove_container(self) -> None:
        """Stop and remove the container; the volume stays."""
        if self.container is not None:
            self.container.remove(force=True)
            self.container = None

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
    client: docker.DockerClient, image: LoadedImage, *command: str, patience: float = _PATIENCE, **options: Any
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
