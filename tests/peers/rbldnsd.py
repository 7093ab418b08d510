"""rbldnsd, a name server of block lists (RFC 5782)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer


@dataclass
class Rbldnsd:
    """The name server; it may be stopped and started again."""

    peer: Peer

    def is_ready(self) -> bool:
        """Whether it has read its lists."""
        return "zones reloaded" in self.peer.log()

    def asked(self) -> str:
        """The questions that it was asked, with the kind of the answer: a line each."""
        return self.peer.log()

    def stop(self) -> None:
        """Kill it."""
        self.peer.stop()


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int, lists: Mapping[str, Sequence[str]]
) -> Iterator[Rbldnsd]:
    """The name server as member `number` of `network`, with `lists`: names and the addresses on them."""
    zones = [f"{name}:ip4set:/{name}" for name in lists]
    found = Rbldnsd(
        Peer(
            client, image, network, number,
            command=["rbldnsd", "-n", "-b", "0.0.0.0/53", "-w", "/", "-l", "+/dev/stdout", *zones],
            files={f"/{name}": "".join(f"{address}\n" for address in addresses) for name, addresses in lists.items()},
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
