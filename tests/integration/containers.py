"""Containers that tests look into: the image's servers, and the peers that they talk to."""

from __future__ import annotations

import io
import tarfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from docker.models.containers import Container

from scripts.platforms import Platform

# What the image promises to run under, and the tests therefore always use.
CONFINED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
PATIENCE = 60.0  # seconds; emulated processors are slow


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
class Contained:
    """Something that runs in a container, once it is started."""

    container: Container | None = field(default=None, init=False)

    @property
    def running(self) -> Container:
        """The container, which must have been started."""
        assert self.container is not None, "it was not started"
        return self.container

    def port(self, inside: int = 5222, address: str = "127.0.0.1") -> int:
        """Port on an address of this machine that leads to a port of the container."""
        self.running.reload()
        ports: Any = self.running.ports
        return {port["HostIp"]: int(port["HostPort"]) for port in ports[f"{inside}/tcp"]}[address]

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until `condition` holds; fails with the log if the container ends or it takes too long."""
        deadline = time.monotonic() + PATIENCE
        while not condition():
            self.running.reload()
            assert self.running.status in ("created", "running"), f"the container ended:\n{self.log()}"
            assert time.monotonic() < deadline, f"{what}: not within {PATIENCE:.0f} s:\n{self.log()}"
            time.sleep(0.05)

    def execute(self, *command: str, user: str = "") -> Outcome:
        """Run a command in the container, as `docker exec` does."""
        result: Any = self.running.exec_run(list(command), user=user, demux=True)
        output, errors = result.output
        return Outcome(result.exit_code, (output or b"").decode(), (errors or b"").decode())

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
