"""coturn, which relays for whoever shows credentials made with a secret that it shares with Prosody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

PORT = 3478
SECRET = "secret of the relay; with = and , in it"
_REALM = "chat.example"


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage, network: Network, number: int) -> Iterator[Peer]:
    """Coturn as member `number` of `network`, which it relays into; UDP and TCP are published."""
    address = network.address(number)
    configuration = f"""
listening-ip={address}
relay-ip={address}
listening-port={PORT}
realm={_REALM}
use-auth-secret
static-auth-secret={SECRET}
no-tls
no-dtls
no-cli
userdb=/run/coturn/users
pidfile=/run/coturn/pid
log-file=stdout
"""
    peer = Peer(
        client, image, network, number,
        command=["/usr/bin/turnserver", "-c", "/etc/turnserver.conf"],
        files={"/etc/turnserver.conf": configuration},
        tmpfs=["/run/coturn"],
        options={"ports": {f"{PORT}/{kind}": ("127.0.0.1", None) for kind in ("udp", "tcp")}},
    )  # fmt: skip
    with peers.running(peer, lambda: "(admin thread)" in peer.log()):
        yield peer
