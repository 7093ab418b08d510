"""A Tor network of its own in one container: authorities, relays, onion services, and a proxy to reach them."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import docker

from tests import peers
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.peers import Peer

_PROXY = 9050
_AUTHORITIES = ("authority1", "authority2", "authority3")
_RELAYS = ("relay1", "relay2", "relay3")
# The authorities agree as often as Tor allows (tor(1), "Testing Network Options").
_COMMON = """
Nickname {name}
DataDirectory /data/{name}
Log notice stdout
TestingTorNetwork 1
Address 127.0.0.1
AddressDisableIPv6 1
AssumeReachable 1
PathsNeededToBuildCircuits 0.25
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard *
TestingDirAuthVoteHSDir *
MinUptimeHidServDirectoryV2 0
TestingV3AuthInitialVotingInterval 5
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval 10
V3AuthVoteDelay 2
V3AuthDistDelay 2
%include /data/authorities
"""
_AUTHORITY = """
SocksPort 0
ORPort 500{number}
DirPort 700{number}
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo tests
ExitPolicy reject *:*
"""
_RELAY = """
SocksPort 0
ORPort 600{number}
ExitRelay 1
ExitPolicy accept *:*
"""
# Else what uses onion services keeps to four relays in the second place of its circuits, chosen once: with a consensus
# that has but one relay yet, to that one, which cannot be in the first place of the same circuit as well.
_USER = """
VanguardsLiteEnabled 0
"""
# Everybody has to know the keys of the authorities, which therefore are made first. Tor tells a fingerprint only if it
# knows an authority, so in the beginning there is one that does not exist.
_START = """
set -e
zeros=0000000000000000000000000000000000000000
echo "DirAuthority none v3ident=$zeros 127.0.0.1:1 $zeros" > /data/authorities
for number in 1 2 3; do
    mkdir -m 700 /data/authority$number /data/authority$number/keys
    cd /data/authority$number/keys
    echo passphrase | tor-gencert --create-identity-key --passphrase-fd 0 2> /dev/null &
done
wait
for number in 1 2 3; do
    name=authority$number
    fingerprint=$(tor --quiet -f /tor/$name --list-fingerprint | sed -n "s/^$name //p" | tr -d ' ')
    identity=$(sed -n 's/^fingerprint //p' /data/$name/keys/authority_certificate)
    echo "DirAuthority $name orport=500$number no-v2 v3ident=$identity 127.0.0.1:700$number $fingerprint"
done > /data/known
mv /data/known /data/authorities
for file in /tor/*; do
    mkdir -p -m 700 /data/${file#/tor/}
    tor --quiet -f $file &
done
wait
"""


@dataclass
class Tor:
    """The network, with an onion service for each of `members`."""

    peer: Peer
    members: Sequence[int]

    def address(self, member: int) -> str:
        """The onion address at which a member of the network of containers is reached."""
        return self._hostname(member).strip()

    def has_addresses(self) -> bool:
        """Whether the services know their addresses, long before they are reached."""
        return all(self._hostname(member).endswith(".onion\n") for member in self.members)

    def wait_until_reached(self) -> None:
        """Wait until each service answers through the proxy: the authorities have to agree first, more than once."""
        names = [self.address(member) for member in self.members]
        self.peer.wait_for(lambda: all(map(self._reaches, names)), f"{' and '.join(names)} are reached", 120)

    def _hostname(self, member: int) -> str:
        return self.peer.execute("cat", f"/data/services/{member}/hostname").output

    def _reaches(self, name: str) -> bool:
        """Whether the proxy connects to a service (RFC 1928, with a name as address)."""
        request = b"\5\1\0\3" + bytes([len(name)]) + name.encode() + (5269).to_bytes(2, "big")
        try:
            with socket.create_connection(("127.0.0.1", self.peer.port(_PROXY)), timeout=10) as connection:
                connection.sendall(b"\5\1\0")
                if connection.recv(2) != b"\5\0":
                    return False
                connection.sendall(request)
                return connection.recv(10)[:2] == b"\5\0"
        except OSError:
            return False


@contextmanager
def running(
    client: docker.DockerClient, image: LoadedImage, network: Network, number: int, members: Sequence[int]
) -> Iterator[Tor]:
    """The Tor network as member `number` of `network`; `members` are servers that listen on port 5269."""
    services = "".join(
        f"HiddenServiceDir /data/services/{member}\nHiddenServicePort 5269 {network.address(member)}:5269\n"
        for member in members
    )
    own = {
        "services": f"{_USER}SocksPort 0\n{services}",
        "proxy": f"{_USER}SocksPort 0.0.0.0:{_PROXY}\n",
        **{name: _AUTHORITY.format(number=index) for index, name in enumerate(_AUTHORITIES, 1)},
        **{name: _RELAY.format(number=index) for index, name in enumerate(_RELAYS, 1)},
    }
    found = Tor(
        Peer(
            client, image, network, number,
            command=["sh", "-c", _START],
            files={f"/tor/{name}": _COMMON.format(name=name) + settings for name, settings in own.items()},
            environment={"HOME": "/data"},
            ports=[_PROXY],
        ),
        members,
    )  # fmt: skip
    with peers.running(found.peer, found.has_addresses):
        yield found
