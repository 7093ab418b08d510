"""Servers that the image is tested with: a variant of Debian packages each, and beside it what starts it.

`<name>.yaml` is an ordinary variant, with its lock and its digests; `<name>.py` configures and runs it.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker

from tests.integration.containers import CONFINED, Contained, LoadedImage
from tests.integration.networks import Network


@dataclass
class Peer(Contained):
    """A peer's container; `number` is its place on the network, `files` are paths in the container with their content.

    The rest is as in Docker's SDK. `environment`, `tmpfs` and `ports` (published on 127.0.0.1) are for it alone.
    """

    client: docker.DockerClient
    image: LoadedImage
    network: Network
    number: int
    command: Sequence[str] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    tmpfs: Sequence[str] = ()
    ports: Sequence[int] = ()
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Its IPv4 address on the network."""
        return self.network.address(self.number)

    def create(self, folder: Path) -> None:
        """Create the container, with its files kept in `folder`; it is not started yet."""
        volumes = {}
        for index, (path, content) in enumerate(self.files.items()):
            file = folder / str(index)
            file.write_bytes(content.encode() if isinstance(content, str) else content)
            file.chmod(0o644)
            volumes[str(file)] = {"bind": path, "mode": "ro"}
        options: dict[str, Any] = {
            "command": list(self.command),
            "platform": self.image.platform.name,
            "environment": dict(self.environment),
            "ports": {f"{port}/tcp": ("127.0.0.1", None) for port in self.ports},
            "volumes": volumes,
            "tmpfs": dict.fromkeys(self.tmpfs, "mode=1777"),
        }
        merged = options | CONFINED | self.network.member(self.number) | dict(self.options)
        self.container = self.client.containers.create(self.image.name, **merged)

    def start(self, ready: Callable[[], bool]) -> None:
        """Start the container, also again, and wait until it is `ready`."""
        self.begin()
        self.wait_for(ready, f"{self.image.name} is ready")

    def stop(self) -> None:
        """End its processes as a crash does; what it has in a tmpfs is lost."""
        self.running.kill()
        self.running.wait()


@contextmanager
def running(peer: Peer, ready: Callable[[], bool]) -> Iterator[None]:
    """Create and start `peer`, wait until it is `ready`; in the end it is removed."""
    with tempfile.TemporaryDirectory(prefix="peer-") as folder:
        Path(folder).chmod(0o755)  # the container's user is another one
        try:
            peer.create(Path(folder))
            peer.start(ready)
            yield
        finally:
            peer.remove_container()
