"""Prosody 0.12 with a configuration of the caller's, and with accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import docker
from docker.types import Mount

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.integration.servers import answers_clients
from tests.peers import Peer
from tests.peers.xmpp import CLIENTS, XmppServer

DATA = "/var/lib/prosody"


class OldProsody(XmppServer):
    """The server; it may be started again when it was stopped."""

    files = 5281

    def is_ready(self) -> bool:
        """Whether clients can connect."""
        try:
            return answers_clients(self.port(), self.domain)
        except (KeyError, IndexError, TypeError):  # not published yet
            return False

    def start(self) -> None:
        """Start it again."""
        self.peer.start(self.is_ready)

    def shell(self, command: str) -> str:
        """What its shell answers to a command."""
        return self.peer.execute("/usr/bin/lua", "/usr/bin/prosodyctl", "shell", command).text

    def register(self, address: str, password: str) -> None:
        """Make an account."""
        user, host = address.split("@")
        outcome = self.peer.execute("/usr/bin/lua", "/usr/bin/prosodyctl", "register", user, host, password)
        assert outcome.status == 0, outcome.text


@contextmanager
def serving(
    client: docker.DockerClient,
    image: LoadedImage,
    network: Network,
    number: int,
    domain: str,
    *,
    configuration: str,
    files: Mapping[str, str | bytes],
    accounts: Mapping[str, str],
    volume: str = "",
) -> Iterator[OldProsody]:
    """The server as member `number` of `network`.

    `configuration` and `files` are what it reads, `accounts` are passwords by address, `volume` keeps its data.
    """
    options: dict[str, Any] = {"mounts": [Mount(DATA, volume)]} if volume else {}
    found = OldProsody(
        Peer(
            client, image, network, number,
            command=["/usr/bin/lua", "/usr/bin/prosody", "-F"],
            files={"/etc/prosody/prosody.cfg.lua": configuration, **files},
            ports=[CLIENTS, OldProsody.files],
            options=options,
        ),
        domain,
    )  # fmt: skip
    with peers.running(found.peer, found.is_ready):
        for address, password in accounts.items():
            found.register(address, password)
        yield found
