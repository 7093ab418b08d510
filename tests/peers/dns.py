"""NSD, the only name server of a network: it serves one zone, the root, and knows nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dns.exception
import dns.message
import dns.query
import docker

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

_PORT = 53
# In the foreground and without files of its own: a log, a database of what was transferred, keys for remote control.
_CONFIGURATION = f"""
server:
    port: {_PORT}
    do-ip6: no
    username: ""
    zonesdir: "/"
    pidfile: ""
    zonelistfile: ""
    xfrdfile: ""
    xfrdir: "/run/nsd"
    server-count: 1
remote-control:
    control-enable: no
zone:
    name: "."
    zonefile: "/zone"
"""


@dataclass
class NameServer:
    """The server."""

    peer: Peer

    @property
    def resolver(self) -> str:
        """Content of /etc/resolv.conf with which a container asks it."""
        return f"nameserver {self.peer.address}\n"

    def is_ready(self) -> bool:
        """Whether it answers."""
        question = dns.message.make_query(".", "SOA")
        try:
            answer = dns.query.tcp(question, "127.0.0.1", port=self.peer.port(_PORT), timeout=1)
        except (KeyError, IndexError, TypeError, EOFError, OSError, dns.exception.DNSException):  # not published yet
            return False
        return bool(answer.answer)


@contextmanager
def serving(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int, zone: str
) -> Iterator[NameServer]:
    """The server as member `number` of `network`, with a `zone` of tests/integration/zones.py."""
    found = NameServer(
        Peer(
            client, image, network, number,
            command=["/usr/sbin/nsd", "-d", "-c", "/nsd.conf"],
            files={"/nsd.conf": _CONFIGURATION, "/zone": zone},
            tmpfs=["/run/nsd"],
            ports=[_PORT],
        )
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
