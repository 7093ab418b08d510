"""Pebble, an authority that signs certificates for whoever proves to have a name (ACME, RFC 8555)."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import docker
import httpx

from tests import peers
from tests.integration.authority import Authority
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

NAME = "acme.example"
_PORT, _MANAGEMENT = 14000, 15000
DIRECTORY = f"https://{NAME}:{_PORT}/dir"  # what clients of it are told
_CONFIGURATION = {
    "listenAddress": f"0.0.0.0:{_PORT}",
    "managementListenAddress": f"0.0.0.0:{_MANAGEMENT}",
    "certificate": "/tls.crt",
    "privateKey": "/tls.key",
    # Where it looks for proofs; of port 443 none is accepted here.
    "httpPort": 80,
    "tlsPort": 443,
    "certificateValidityPeriod": 90 * 86400,
    "retryAfter": {"authz": 1, "order": 1},
}


@dataclass
class Pebble:
    """The authority; its root is made anew at each start."""

    peer: Peer
    context: ssl.SSLContext

    def root(self) -> bytes:
        """The certificate (PEM) that what it signs can be verified with."""
        address = f"https://127.0.0.1:{self.peer.port(_MANAGEMENT)}/roots/0"
        with httpx.Client(verify=self.context) as web:
            return web.get(address, extensions={"sni_hostname": NAME}).raise_for_status().content

    def is_ready(self) -> bool:
        """Whether it answers."""
        try:
            return bool(self.root())
        except (httpx.HTTPError, KeyError, IndexError, TypeError):  # not published yet
            return False


@contextmanager
def serving(
    client: docker.DockerClient,
    image: LoadedImage,
    network: Network,
    number: int,
    authority: Authority,
    hosts: Mapping[str, str],
) -> Iterator[Pebble]:
    """The authority as member `number` of `network`, which finds `hosts` (name -> address).

    `authority` is not its root, but issues the certificate that it shows to its own clients.
    """
    pair = authority.issue([NAME])
    found = Pebble(
        Peer(
            client, image, network, number,
            command=["pebble", "-config", "/pebble.json"],
            files={"/pebble.json": json.dumps({"pebble": _CONFIGURATION}), "/tls.crt": pair.full, "/tls.key": pair.key},
            # By itself it waits, and refuses some requests, to test its clients.
            environment={"PEBBLE_VA_NOSLEEP": "1", "PEBBLE_WFE_NONCEREJECT": "0"},
            options={"extra_hosts": dict(hosts)},
            ports=[_MANAGEMENT],
        ),
        ssl.create_default_context(cadata=authority.root.decode()),
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        yield found
