"""Nodes for a builder of buildx: BuildKit of an engine, listening on a port as buildkitd does."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

# Docker's engine serves the API of buildkitd on its own socket, after this (its API's reference, "/grpc").
_UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 0\r\n\r\n"


@dataclass
class Node:
    """Where a node listens, and how many bytes builds have sent to it."""

    endpoint: str
    received: int = 0


@contextmanager
def listening(engine: Path) -> Iterator[Node]:
    """BuildKit of the engine with this socket, on a port of the loopback; no connection outlives the block."""
    opened: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        node = Node(f"tcp://127.0.0.1:{server.getsockname()[1]}")

        def accept() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:  # closed: the test is over
                    return
                opened.append(client)
                threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with contextlib.suppress(OSError), client, socket.socket(socket.AF_UNIX) as daemon:
                daemon.connect(str(engine))
                daemon.sendall(_UPGRADE)
                answer = b""
                while not answer.endswith(b"\r\n\r\n"):
                    answer += daemon.recv(1)
                if not answer.startswith(b"HTTP/1.1 101 "):
                    raise OSError(answer.decode())
                back = threading.Thread(target=pass_on, args=(daemon, client, None), daemon=True)
                back.start()
                pass_on(client, daemon, node)
                back.join()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield node
        finally:
            server.shutdown(socket.SHUT_RDWR)
            for connection in opened:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def pass_on(source: socket.socket, target: socket.socket, node: Node | None) -> None:
    """Pass on bytes until one side ends; what comes from builds is counted."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
            if node:
                node.received += len(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
