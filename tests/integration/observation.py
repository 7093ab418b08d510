"""Starts servers, and sees what they advertise and which exchanges succeed."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import docker

from tests.integration import socket_exchanges
from tests.integration.client_exchanges import BY_DEFAULT, GATEWAY, GATEWAY_SECRET, WHEN_CONFIGURED, perform
from tests.integration.containers import LoadedImage
from tests.integration.evidence import FAILURES, Exchange, Feature, Observation
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

_PORTS = (5222, 5223, 5269, 5270, 5281, 5347)
# What only shows when it is set up: an external component, and a TURN server to be told about.
_EXTENSIONS = f"""
component_interfaces = {{ "*" }}
external_services = {{ {{ type = "turn", transport = "udp", host = "turn.example", port = 3478, secret = "shared" }} }}
Component "{GATEWAY}"
	component_secret = "{GATEWAY_SECRET}"
"""


def observe(client: docker.DockerClient, image: LoadedImage) -> Observation:
    """Look at a server as the image configures it by default, and at one that has more configured."""
    features: set[Feature] = set()
    failures = dict.fromkeys(Exchange, "it was not tried")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with _serving(client, image) as server:
            certificate = server.certificate(folder)
            features |= socket_exchanges.stream_features(server, certificate)
            for exchange, attempt in socket_exchanges.EXCHANGES.items():
                try:
                    attempt(server, certificate)
                    failures.pop(exchange)
                except FAILURES as error:
                    failures[exchange] = f"{type(error).__name__}: {error}"
            features |= asyncio.run(perform(server, certificate, BY_DEFAULT, failures))
        drop_in = folder / "extensions.cfg.lua"
        drop_in.write_text(_EXTENSIONS)
        drop_in.chmod(0o644)
        with _serving(client, image, drop_in) as server:
            asyncio.run(perform(server, server.certificate(folder), WHEN_CONFIGURED, failures))
    return Observation(frozenset(features), frozenset(set(Exchange) - set(failures)), failures)


@contextmanager
def _serving(client: docker.DockerClient, image: LoadedImage, drop_in: Path | None = None) -> Iterator[Server]:
    accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
    ports = {f"{port}/tcp": ("127.0.0.1", None) for port in _PORTS}
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts}, {"ports": ports})
    if drop_in:
        server.mounts[str(drop_in)] = {"bind": f"/etc/prosody/conf.d/{drop_in.name}", "mode": "ro"}
    try:
        server.start()
        yield server
    finally:
        server.remove()
