"""What the database servers have in common: they crash and come back while their container stays."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

from tests.peers import Peer

# The container outlives its server, as a machine does. Otherwise its address would vanish, and not refuse connections.
OPTIONS: dict[str, Any] = {"stdin_open": True}


def supervised(server: str, crash: str) -> str:
    """A shell's last lines: run the command `server`, end it with the signal `crash` at USR2, begin again at USR1."""
    return f"""
begin() {{ {server} & server=$!; }}
trap begin USR1
trap 'kill -{crash} $server' USR2
begin
while :; do read -r nothing || :; done
"""


@dataclass
class Database(ABC):
    """A database server; it may be stopped and started again."""

    peer: Peer

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether it answers."""

    @abstractmethod
    def query(self, statement: str) -> str:
        """What it answers to an SQL statement: a row per line."""

    def stop(self) -> None:
        """Let it crash; all that was committed stays."""
        self.peer.running.kill("SIGUSR2")
        self.peer.wait_for(lambda: not self.is_ready(), "the database is gone")

    def start(self) -> None:
        """Start it again."""
        self.peer.running.kill("SIGUSR1")
        self.peer.wait_for(self.is_ready, "the database is back")
