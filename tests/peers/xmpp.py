"""What the XMPP servers among the peers have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tests.peers import Peer

CLIENTS = 5222


@dataclass
class XmppServer:
    """The server of `domain`; its rooms are at rooms.DOMAIN, its files at upload.DOMAIN."""

    peer: Peer
    domain: str
    files: ClassVar[int]  # port in the container

    @property
    def rooms(self) -> str:
        """Address of the service for rooms."""
        return f"rooms.{self.domain}"

    @property
    def uploads(self) -> str:
        """Address of the service for files."""
        return f"upload.{self.domain}"

    def port(self, inside: int = CLIENTS) -> int:
        """Port of 127.0.0.1 that leads to one of its own, by default to that for clients."""
        return self.peer.port(inside)

    def upload_port(self) -> int:
        """Port of 127.0.0.1 for files, over HTTPS."""
        return self.peer.port(self.files)
