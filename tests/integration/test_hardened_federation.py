"""Federation of the hardened image: with servers that can be verified, and with no others.

Real servers in containers of their own, which find each other through a real name server; certificates are verified by
an authority of this test, or by DNSSEC.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import networks, zones
from tests.integration.authority import Authority
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.servers import DOMAIN, Server
from tests.peers import dns

pytestmark = pytest.mark.variant("hardened")

_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"
# How a server can be verified, or why it cannot
ISSUED = ["verified.example"]
CONFIRMED = ["confirmed.example"]
UNVERIFIABLE = ["stranger.example", "expired.example", "misnamed.example", "contradicted.example"]
OTHERS = [*ISSUED, *CONFIRMED, *UNVERIFIABLE]


class Peer(Server):
    """A server of any domain."""

    def accepts_clients(self) -> bool:
        """Whether it has started: clients are of no use here."""
        return "Running periodic tasks" in self.log()


@dataclass(frozen=True)
class Network:
    """Servers by domain: the one that is tested, and others that take anything and show anything."""

    servers: Mapping[str, Server]

    def ping(self, domain: str, other: str) -> str:
        """What the shell of a server prints when it sends a ping to another (XEP-0199)."""
        return self.servers[domain].execute("prosodyctl", "shell", f"xmpp:ping('{domain}', '{other}', 15)").text

    def has_let_in(self, other: str) -> bool:
        """Whether the server that is tested has taken another for what it says it is."""
        return f"Incoming s2s connection {other}->{DOMAIN} complete" in self.servers[DOMAIN].log()


@pytest.fixture(scope="module")
def network(
    client: docker.DockerClient, images: Images, hardened: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Network]:
    trusted, other = Authority(), Authority()
    month = timedelta(days=30)
    pairs = {
        DOMAIN: trusted.issue([DOMAIN]),
        "verified.example": trusted.issue(["verified.example"]),
        "confirmed.example": other.issue(["confirmed.example"]),
        "stranger.example": other.issue(["stranger.example"]),
        "expired.example": trusted.issue(["expired.example"], valid_from=-2 * month, valid_for=month),
        "misnamed.example": trusted.issue(["somebody.example"]),
        "contradicted.example": other.issue(["contradicted.example"]),
    }
    confirmations = {
        "confirmed.example": zones.tlsa(pairs["confirmed.example"].certificate),
        "contradicted.example": zones.tlsa(pairs["stranger.example"].certificate),
    }
    numbers = {domain: number for number, domain in enumerate(pairs, start=11)}
    folder = tmp_path_factory.mktemp("network")
    with ExitStack() as stack:
        made = stack.enter_context(networks.network(client))
        zone = zones.signed(_records({name: made.address(number) for name, number in numbers.items()}, confirmations))
        names = stack.enter_context(dns.serving(client, images.peer("dns"), made, 10, zone.text))
        files = {
            "authorities.crt": trusted.root,
            "resolv.conf": names.resolver.encode(),
            "anchor": zone.anchor.encode(),
        }
        files |= {f"{domain}.pem": pair.full + pair.key for domain, pair in pairs.items()}
        for name, content in files.items():
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o644)
        servers = {}
        for domain, number in numbers.items():
            servers[domain] = _server(client, hardened, domain, folder, made.member(number))
            stack.callback(servers[domain].remove)
            servers[domain].start()
        yield Network(servers)


def _records(addresses: Mapping[str, str], confirmations: Mapping[str, str]) -> dict[str, dict[str, list[str]]]:
    """What servers are asked for (RFC 6120, 3.2.1; RFC 7673)."""
    records: dict[str, dict[str, list[str]]] = {}
    for domain, address in addresses.items():
        records[f"{domain}."] = {"A": [address]}
        records[f"_xmpp-server._tcp.{domain}."] = {"SRV": [f"0 0 5269 {domain}."]}
    for domain, confirmation in confirmations.items():
        records[f"_5269._tcp.{domain}."] = {"TLSA": [confirmation]}
    return records


def _server(
    client: docker.DockerClient, image: LoadedImage, domain: str, folder: Path, endpoint: Mapping[str, Any]
) -> Server:
    paths = {
        "authorities.crt": _AUTHORITIES,
        "resolv.conf": "/etc/resolv.conf",
        "anchor": "/anchor",
        f"{domain}.pem": f"/etc/prosody/certs/{domain}.pem",
    }
    mounts = {str(folder / name): {"bind": path, "mode": "ro"} for name, path in paths.items()}
    environment = {"PROSODY_DOMAIN": domain, "PROSODY_MUC_DOMAIN": "none", "PROSODY_UPLOAD_DOMAIN": "none"}
    if domain == DOMAIN:
        environment["PROSODY_DNSSEC_TRUST_ANCHORS"] = "/anchor"
    else:
        environment |= {"PROSODY_S2S_SECURE_AUTH": "false", "PROSODY_USE_DANE": "false"}
    return Peer(client, image, environment, endpoint, mounts)


@pytest.mark.parametrize("other", [*ISSUED, *CONFIRMED])
def test_a_server_that_can_be_verified_is_federated_with(network: Network, other: str) -> None:
    """By an authority, or by a record of the server's key that is signed (DANE, RFC 7673)."""
    for one, two in ((other, DOMAIN), (DOMAIN, other)):
        answer = network.ping(one, two)
        assert "pong" in answer.lower(), answer
    assert network.has_let_in(other)
    assert "TLSv1.3" in network.servers[DOMAIN].shell("s2s:show_tls()")


@pytest.mark.parametrize("other", UNVERIFIABLE)
def test_a_server_that_cannot_be_verified_is_refused_both_ways(network: Network, other: str) -> None:
    """Neither is anything sent to it, nor taken from it, though it would take anything itself."""
    outgoing, incoming = network.ping(DOMAIN, other), network.ping(other, DOMAIN)
    assert "pong" not in outgoing.lower(), outgoing
    assert "certificate" in outgoing, outgoing
    assert "pong" not in incoming.lower(), incoming
    assert not network.has_let_in(other)


@pytest.mark.parametrize("other", [*CONFIRMED, *UNVERIFIABLE])
def test_the_other_server_is_fine_but_for_its_certificate(network: Network, other: str) -> None:
    """The control: a server that demands no certificate gets an answer from each of them."""
    assert "pong" in network.ping("verified.example", other).lower()


def test_answers_that_prove_nothing_are_not_believed(
    client: docker.DockerClient, images: Images, hardened: LoadedImage, tmp_path: Path
) -> None:
    """Signed by another key than the root's, as somebody in between would have to: nobody is even connected to."""
    zone = zones.signed(_records({DOMAIN: "127.0.0.1", "verified.example": "127.0.0.1"}, {}))
    resolver = tmp_path / "resolv.conf"
    mounts = {str(resolver): {"bind": "/etc/resolv.conf", "mode": "ro"}}
    with ExitStack() as stack:
        made = stack.enter_context(networks.network(client))
        names = stack.enter_context(dns.serving(client, images.peer("dns"), made, 10, zone.text))
        resolver.write_text(names.resolver)
        resolver.chmod(0o644)
        server = Peer(client, hardened, {"PROSODY_DOMAIN": DOMAIN}, made.member(11), mounts)
        stack.callback(server.remove)
        server.start()
        assert "Validation error" in Network({DOMAIN: server}).ping(DOMAIN, "verified.example")
