"""Networks of containers that a test makes for itself: fixed addresses, and no way out."""

from __future__ import annotations

import secrets
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError
from docker.types import IPAMConfig, IPAMPool

from tests.integration.containers import PATIENCE

# Each network takes one /24 of it; the embedded engines take theirs from 10.213.0.0/16.
_RANGE = IPv4Network("10.214.0.0/16")
_ROUTES = Path("/proc/net/route")  # of Linux
_ADDRESSES = Path("/proc/net/if_inet6")  # likewise, see proc(5)
_TENTATIVE = 0x40  # IFA_F_TENTATIVE of linux/if_addr.h
_ATTEMPTS = 20  # tests that run at the same time may choose the same one


@dataclass(frozen=True)
class Network:
    """A network; its members are numbered from 2 to 254, the gateway is 1."""

    client: docker.DockerClient
    name: str
    ipv4: IPv4Network
    ipv6: IPv6Network | None

    def address(self, number: int) -> str:
        """IPv4 address of a member."""
        return str(self.ipv4[number])

    def address6(self, number: int) -> str:
        """IPv6 address of a member of a network that was made with them."""
        assert self.ipv6 is not None, f"{self.name} has no IPv6"
        return str(self.ipv6[number])

    def member(self, number: int) -> dict[str, Any]:
        """Options of Docker's SDK with which a container becomes the member `number`."""
        addresses: dict[str, Any] = {"ipv4_address": self.address(number)}
        if self.ipv6 is not None:
            addresses["ipv6_address"] = self.address6(number)
        endpoint = self.client.api.create_endpoint_config(**addresses)
        return {"network": self.name, "networking_config": {self.name: endpoint}}

    def wait_for_gateway(self) -> None:
        """Wait until this machine may use its IPv6 address in the network.

        When the first member has joined, the kernel asks for a second whether anybody else has the address (RFC 4862,
        5.4). What this machine connects to until then, it connects to from its address in another network; and if that
        one goes, which may be another test's, the connection is dead.
        """
        deadline = time.monotonic() + PATIENCE
        while self._is_tentative(IPv6Address(self.address6(1))):
            assert time.monotonic() < deadline, f"{self.address6(1)} is still tentative"
            time.sleep(0.05)

    @staticmethod
    def _is_tentative(address: IPv6Address) -> bool:
        lines = _ADDRESSES.read_text().splitlines() if _ADDRESSES.is_file() else []
        # Address, index of the interface, length of the prefix, scope, flags, interface: the numbers are hexadecimal.
        fields = (line.split() for line in lines)
        return any(bytes.fromhex(found) == address.packed and int(flags, 16) & _TENTATIVE
                   for found, _, _, _, flags, _ in fields)  # fmt: skip


def _free() -> list[int]:
    """Numbers of the networks that no other engine of this machine has: of those, an engine does not know."""
    lines = _ROUTES.read_text().splitlines()[1:] if _ROUTES.is_file() else []
    # The second field is the destination, as a number in this machine's byte order.
    taken = {IPv4Address(int(line.split()[1], 16).to_bytes(4, sys.byteorder)) for line in lines}
    networks = enumerate(_RANGE.subnets(new_prefix=24))
    return [number for number, subnet in networks if subnet.network_address not in taken]


@contextmanager
def network(client: docker.DockerClient, *, ipv6: bool = False) -> Iterator[Network]:
    """A new network, whose members are to be gone when the context ends."""
    name = f"prosody-test-{uuid.uuid4().hex[:8]}"
    for attempt in range(_ATTEMPTS):
        number = secrets.choice(_free())
        ipv4 = list(_RANGE.subnets(new_prefix=24))[number]
        ipv6_pool = IPv6Network(f"fd00:213:{number:x}::/64") if ipv6 else None
        pools = [IPAMPool(subnet=str(pool)) for pool in (ipv4, ipv6_pool) if pool is not None]
        try:
            made = client.networks.create(name, ipam=IPAMConfig(pool_configs=pools), enable_ipv6=ipv6)
            break
        except APIError as error:
            if "overlaps" not in str(error) or attempt + 1 == _ATTEMPTS:
                raise
    try:
        yield Network(client, name, ipv4, ipv6_pool)
    finally:
        made.remove()
