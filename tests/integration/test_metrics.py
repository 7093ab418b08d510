"""A Prometheus server reads /metrics: what it finds there, and where it is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import pytest
from cryptography import x509
from slixmpp import JID

from tests.integration import networks
from tests.integration.clients import connected
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.peers import prometheus
from tests.peers.prometheus import Prometheus, Target

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
_PROMETHEUS, _OPEN, _CLOSED, _HARDENED = range(2, 6)  # members of the network
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5280)}


@dataclass(frozen=True)
class Watched:
    """Three servers, of which Prometheus may read two."""

    prometheus: Prometheus
    open: Server
    closed: Server
    hardened: Server


@pytest.fixture(scope="module")
def watched(
    client: docker.DockerClient, images: Images, image: LoadedImage, hardened: LoadedImage,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:  # fmt: skip
    with ExitStack() as stack:
        network = stack.enter_context(networks.network(client))

        def serve(image: LoadedImage, number: int, **environment: str) -> Server:
            accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
            variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts} | environment
            server = Server(client, image, variables, network.member(number) | {"ports": _PORTS})
            stack.callback(server.remove)
            server.start()
            return server

        reader = network.address(_PROMETHEUS)
        opened = serve(image, _OPEN, PROSODY_METRICS_IPS=reader)
        closed = serve(image, _CLOSED)
        strict = serve(hardened, _HARDENED, PROSODY_METRICS="true", PROSODY_METRICS_CIDR=f"{reader}/32")
        certificate = strict.certificate(tmp_path_factory.mktemp("hardened")).read_bytes()
        targets = {
            "open": Target(network.address(_OPEN)),
            "closed": Target(network.address(_CLOSED)),
            "hardened": Target(network.address(_HARDENED), DOMAIN, certificate),
        }
        started = stack.enter_context(
            prometheus.serving(client, images.peer("prometheus"), network, _PROMETHEUS, targets)
        )
        yield Watched(started, opened, closed, strict)


@pytest.mark.parametrize("job", ["open", "hardened"])
def test_prometheus_reads_a_server_that_lets_it(job: str, watched: Watched) -> None:
    assert watched.prometheus.target(job)["health"] == "up", watched.prometheus.target(job)
    assert watched.prometheus.ask(f'up{{job="{job}"}}') == [1]


def test_nobody_else_reads_it(watched: Watched) -> None:
    refused = watched.prometheus.target("closed")
    assert refused["health"] == "down"
    assert "403 Forbidden" in refused["lastError"]
    # From this machine, which is neither the address that may nor the server's own.
    for server in (watched.open, watched.closed):
        assert httpx.get(f"http://127.0.0.1:{server.port(5280)}/metrics").status_code == 403


def test_the_numbers_are_those_of_the_server(watched: Watched, tmp_path: Path) -> None:
    found, server = watched.prometheus, watched.open
    certificate = server.certificate(tmp_path)

    async def becomes(number: float, name: str, **labels: str) -> None:
        chosen = ",".join(f'{label}="{value}"' for label, value in {"job": "open", **labels}.items())
        # Connections of nobody are not counted as none, but not at all.
        expression = f"sum({name}{{{chosen}}}) or vector(0)"
        await asyncio.to_thread(
            found.peer.wait_for, lambda: found.ask(expression) == [number], f"{expression} is {number}"
        )

    async def scenario() -> None:
        await becomes(1, "prosody_info", version="13.0.6")
        expiry = x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.timestamp()
        await becomes(expiry, "prosody_mod_container_certificates__not_after_seconds", host=DOMAIN)
        await becomes(0, "prosody_mod_c2s__connections")
        await becomes(0, "prosody_mod_c2s__encrypted_total")
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate),
        ):
            alice.register_plugin("xep_0045")
            await alice.plugin["xep_0045"].join_muc_wait(JID(f"tea@conference.{DOMAIN}"), "alice")
            await becomes(2, "prosody_mod_c2s__connections", host=DOMAIN, ip_family="ipv4")
            await becomes(2, "prosody_mod_c2s__encrypted_total", protocol="TLSv1.3")
            await becomes(1, "prosody_mod_muc__live_room", host=f"conference.{DOMAIN}")
        await becomes(0, "prosody_mod_c2s__connections")
        await becomes(2, "prosody_mod_c2s__encrypted_total")

    asyncio.run(scenario())


def test_promtool_misses_nothing_but_explanations(watched: Watched) -> None:
    get = "io.write((require('socket.http').request('http://127.0.0.1:5280/metrics')))"
    read = watched.closed.execute("/usr/bin/lua5.4", "-e", get)
    assert read.output.endswith("# EOF\n")
    outcome = watched.prometheus.check(read.output)
    remarks = outcome.text.splitlines()
    # Statistics of Prosody's modules often have no text; that of this image has one.
    assert [remark for remark in remarks if not remark.endswith(" no help text")] == []
    assert not any("container_certificates" in remark for remark in remarks), outcome.text
