"""Profanity, a client in a terminal: somebody types, and reads what it shows."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import docker

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

_PATIENCE = 20.0  # seconds
_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"  # where libcurl looks, for uploads
# Colours, and places on the screen (ECMA-48, 5.4).
_SEQUENCE = re.compile(r"\x1b(\[[0-9;?]*[a-zA-Z]|\([A-Z]|[=>])")


@dataclass
class Profanity:
    """The client, started and not logged in; `terminal` is connected to its screen and keyboard."""

    peer: Peer
    terminal: socket.socket | None = None
    _received: bytes = b""

    def attach(self) -> bool:
        """Take the place of the terminal. The container's log would not do: it waits for the ends of lines."""
        # What Docker's SDK gives only reads; the socket below it can do both.
        stream: Any = self.peer.running.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
        self.terminal = stream._sock
        return True

    def enter(self, line: str) -> None:
        """Type a line: a command, or what is to be said in the window that is open."""
        assert self.terminal is not None
        self.terminal.sendall(f"{line}\r".encode())

    def sees(self, word: str) -> None:
        """Wait until a word is shown that was not waited for before; blanks may be jumps to another place."""
        assert self.terminal is not None
        self.terminal.settimeout(_PATIENCE)
        while True:
            shown = _SEQUENCE.sub("", self._received.decode(errors="replace"))
            if word in shown:
                self._received = b""
                return
            try:
                chunk = self.terminal.recv(65536)
            except TimeoutError:
                chunk = b""
            assert chunk, f"it does not show {word!r}, but:\n{shown}"
            self._received += chunk

    def log_in(self, account: str, password: str) -> None:
        """Connect to the server of an account, over verified TLS only."""
        self.enter(f"/connect {account} tls force")
        self.sees("password:")
        self.enter(password)
        self.sees("successfully")


@contextmanager
def started(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int,
    hosts: Mapping[str, str], authority: bytes, files: Mapping[str, bytes],
) -> Iterator[Profanity]:  # fmt: skip
    """The client as member `number` of `network`, which finds `hosts` (name -> address) and trusts `authority`."""
    found = Profanity(
        Peer(
            client, image, network, number,
            command=["profanity"],
            files={_AUTHORITIES: authority} | dict(files),
            environment={"HOME": "/data", "SSL_CERT_FILE": _AUTHORITIES, "TERM": "xterm"},
            options={"extra_hosts": dict(hosts), "tty": True, "stdin_open": True},
        )
    )  # fmt: skip
    with peers.running(found.peer, found.attach):
        try:
            yield found
        finally:
            if found.terminal is not None:
                found.terminal.close()
