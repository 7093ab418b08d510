"""Federation of the hardened image: with servers whose certificates can be verified, and with no others.

Real servers in containers of their own, which find each other by fixed addresses; the authority is one of this test.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.types import IPAMConfig, IPAMPool

from tests.integration.authority import Authority, Pair
from tests.integration.servers import CONFINED, DOMAIN, LoadedImage, Server
from tests.integration.test_e2e_policy import NAME_SERVER

_TRUSTED_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
_SUBNET, _NAMES = "10.213.203.0/24", "10.213.203.10"
_ADDRESSES = {
    DOMAIN: "10.213.203.11",
    "verified.example": "10.213.203.12",
    "self-signed.example": "10.213.203.13",
    "stranger.example": "10.213.203.14",
    "expired.example": "10.213.203.15",
    "misnamed.example": "10.213.203.16",
}
OTHERS = [domain for domain in _ADDRESSES if domain != DOMAIN]
UNVERIFIABLE = [domain for domain in OTHERS if domain != "verified.example"]


class Peer(Server):
    """A server that is of no use to clients here: it has started when it says so."""

    def accepts_clients(self) -> bool:
        return "Running periodic tasks" in self.log()


@dataclass(frozen=True)
class Network:
    """Servers by domain. The first is the one that is tested."""

    servers: dict[str, Server]

    def ping(self, domain: str, other: str) -> str:
        """What the shell of a server prints when it sends a ping to another (XEP-0199)."""
        return self.servers[domain].execute("prosodyctl", "shell", f"xmpp:ping('{domain}', '{other}', 15)").text


@pytest.fixture(scope="module")
def network(
    client: docker.DockerClient, hardened: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    """A hardened server, and one of each kind of certificate."""
    trusted, other = Authority(), Authority()
    pairs = {
        DOMAIN: trusted.issue([DOMAIN]),
        "verified.example": trusted.issue(["verified.example"]),
        "self-signed.example": None,
        "stranger.example": other.issue(["stranger.example"]),
        "expired.example": trusted.issue(
            ["expired.example"], valid_from=timedelta(days=-30), valid_for=timedelta(days=20)
        ),
        "misnamed.example": trusted.issue(["somebody.example"]),
    }
    folder = tmp_path_factory.mktemp("network")
    (folder / "authorities.crt").write_bytes(trusted.root)
    (folder / "resolv.conf").write_text(f"nameserver {_NAMES}\n")
    for path in folder.iterdir():
        path.chmod(0o644)
    with ExitStack() as stack:
        pool = IPAMPool(subnet=_SUBNET)
        name = f"prosody-test-{uuid.uuid4().hex[:8]}"
        found = client.networks.create(name, ipam=IPAMConfig(pool_configs=[pool]))
        stack.callback(found.remove)
        stack.enter_context(_name_server(client, hardened, name))
        servers = {}
        for domain, pair in pairs.items():
            servers[domain] = _server(client, hardened, name, domain, folder, pair)
            stack.callback(servers[domain].remove)
            servers[domain].start()
        yield Network(servers)


def _endpoint(client: docker.DockerClient, network: str, address: str) -> dict[str, Any]:
    """Docker's options that put a container into a network."""
    return {
        "network": network,
        "networking_config": {network: client.api.create_endpoint_config(ipv4_address=address)},
    }


@contextmanager
def _name_server(client: docker.DockerClient, image: LoadedImage, network: str) -> Iterator[None]:
    container = client.containers.create(
        image.name, ["-e", NAME_SERVER], entrypoint=["/usr/bin/lua5.4"], platform=image.platform.name, **CONFINED,
        **_endpoint(client, network, _NAMES),
    )  # fmt: skip
    try:
        container.start()
        yield
    finally:
        container.remove(force=True, v=True)


def _server(
    client: docker.DockerClient, image: LoadedImage, network: str, domain: str, folder: Path, pair: Pair | None
) -> Server:
    mounts = {
        str(folder / "authorities.crt"): {"bind": _TRUSTED_AUTHORITIES, "mode": "ro"},
        str(folder / "resolv.conf"): {"bind": "/etc/resolv.conf", "mode": "ro"},
    }
    if pair:
        path = folder / f"{domain}.pem"
        path.write_bytes(pair.full + pair.key)
        path.chmod(0o644)
        mounts[str(path)] = {"bind": f"/etc/prosody/certs/{path.name}", "mode": "ro"}
    options = _endpoint(client, network, _ADDRESSES[domain]) | {"extra_hosts": _ADDRESSES}
    environment = {"PROSODY_DOMAIN": domain, "PROSODY_MUC_DOMAIN": "none", "PROSODY_UPLOAD_DOMAIN": "none"}
    # The name server of this network proves nothing, see the last test.
    environment["PROSODY_USE_DANE"] = "false"
    if domain != DOMAIN:
        # What the others demand is not what is tested: they take anything, and show anything.
        environment["PROSODY_S2S_SECURE_AUTH"] = "false"
    return Peer(client, image, environment, options, mounts)


def test_servers_that_can_be_verified_federate(network: Network) -> None:
    for one, two in ((DOMAIN, "verified.example"), ("verified.example", DOMAIN)):
        assert "pong" in network.ping(one, two).lower()
    sessions = network.servers[DOMAIN].shell("s2s:show()")
    assert "verified.example" in sessions
    assert "TLSv1.3" in network.servers[DOMAIN].shell("s2s:show_tls()")


@pytest.mark.parametrize("other", UNVERIFIABLE)
def test_a_server_that_cannot_be_verified_is_refused_both_ways(network: Network, other: str) -> None:
    """Neither is anything sent to it, nor taken from it, though it would take anything itself."""
    outgoing, incoming = network.ping(DOMAIN, other), network.ping(other, DOMAIN)
    assert "pong" not in outgoing.lower(), outgoing
    assert "certificate" in outgoing, outgoing
    assert "pong" not in incoming.lower(), incoming
    assert "not-authorized" in incoming or "certificate" in incoming, incoming


@pytest.mark.parametrize("other", UNVERIFIABLE)
def test_the_other_server_is_fine_but_for_its_certificate(network: Network, other: str) -> None:
    """The control: a server that demands no certificate is answered by each of them."""
    lenient = next(domain for domain in OTHERS if domain != other)
    assert "pong" in network.ping(lenient, other).lower()
