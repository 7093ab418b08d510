"""go-sendxmpp, a client of the command line: it waits for messages, and sends some meanwhile."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests import peers
from tests.integration.containers import LoadedImage, Outcome, execute
from tests.integration.networks import Network
from tests.peers import Peer


@dataclass
class Sendxmpp:
    """The client, logged in."""

    peer: Peer
    login: Sequence[str]

    def run(self, *arguments: str) -> Outcome:
        """Run it a second time, as the same user."""
        return self.peer.execute("go-sendxmpp", *self.login, *arguments)

    def distrusting(self, *arguments: str) -> Outcome:
        """The same, without any authority that it trusts."""
        command = ["go-sendxmpp", *self.login, *arguments]
        return execute(self.peer.running, command, environment={"SSL_CERT_FILE": "/dev/null"})

    def receives(self, pattern: str) -> str:
        """Wait for a message of a pattern; returns what its group matches, if there is one."""
        self.peer.wait_for(lambda: re.search(pattern, self.peer.log()) is not None, f"it has received {pattern!r}")
        found = re.search(pattern, self.peer.log())
        return found.group(found.re.groups) if found else ""


@contextmanager
def listening(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int,
    hosts: Mapping[str, str], authority: bytes, files: Mapping[str, bytes], account: str, password: str,
) -> Iterator[Sendxmpp]:  # fmt: skip
    """The client as member `number` of `network`, which finds `hosts` (name -> address) and trusts `authority`."""
    login = [f"--username={account}", f"--password={password}"]
    found = Sendxmpp(
        Peer(
            client, image, network, number,
            command=["go-sendxmpp", *login, "--listen"],
            files={"/authority.pem": authority} | dict(files),
            environment={"HOME": "/data", "SSL_CERT_FILE": "/authority.pem"},
            options={"extra_hosts": dict(hosts)},
        ),
        login,
    )  # fmt: skip
    with peers.running(found.peer, lambda: True):
        yield found
