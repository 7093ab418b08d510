"""Certificates that real clients of ACME get from an authority, into folders that the image reads."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest
from cryptography import x509

from tests.integration import networks, servers
from tests.integration.authority import Authority
from tests.integration.clients import connected
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.peers import pebble
from tests.peers.pebble import Pebble

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
UPLOADS = f"upload.{DOMAIN}"
_PEBBLE, _XMPP = 2, 3  # members of the network
_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}
_DATA = "/etc/letsencrypt"
_PROMISE = 60.0  # seconds within which a change is noticed


@dataclass(frozen=True)
class Program:
    """A client of ACME: for which name, where it runs, and what it is called with, at first and to renew."""

    name: str
    domain: str
    member: int
    first: tuple[str, ...]
    renewal: tuple[str, ...]


# Both prove that they have the name over HTTP (http-01).
_CERTBOT = (
    "--non-interactive", "--server", pebble.DIRECTORY, "--config-dir", _DATA, "--work-dir", f"{_DATA}/work",
    "--logs-dir", f"{_DATA}/logs",
)  # fmt: skip
_LEGO = (
    "lego", "--path", _DATA, "--server", pebble.DIRECTORY, "--accept-tos", "--email", f"admin@{DOMAIN}", "--http",
    "--domains", UPLOADS,
)  # fmt: skip
PROGRAMS = (
    Program(
        "certbot", DOMAIN, 4,
        ("certbot", "certonly", "--standalone", "--agree-tos", "--register-unsafely-without-email", "--domain", DOMAIN,
         *_CERTBOT),
        ("certbot", "renew", "--force-renewal", "--no-random-sleep-on-renew", *_CERTBOT),
    ),
    Program("lego", UPLOADS, 5, (*_LEGO, "run"), (*_LEGO, "renew", "--days", "365", "--no-random-sleep")),
)  # fmt: skip


@dataclass(frozen=True)
class Office:
    """Where certificates are asked for: each program has a folder of its own in `folder`, and an image."""

    images: Mapping[str, LoadedImage]
    network: Network
    pebble: Pebble
    trusted: Path
    folder: Path

    async def run(self, program: Program, command: tuple[str, ...]) -> None:
        """Run a program, which must succeed."""
        folder = self.folder / program.name
        folder.mkdir(exist_ok=True)
        folder.chmod(0o777)
        outcome = await asyncio.to_thread(
            servers.run, self.network.client, self.images[program.name], *command,
            **self.network.member(program.member),
            extra_hosts={pebble.NAME: self.pebble.peer.address},
            tmpfs={"/tmp": "mode=1777"},  # noqa: S108  (a place in the container)
            environment={"REQUESTS_CA_BUNDLE": "/trusted.pem", "LEGO_CA_CERTIFICATES": "/trusted.pem"},
            volumes={
                str(folder): {"bind": _DATA, "mode": "rw"},
                str(self.trusted): {"bind": "/trusted.pem", "mode": "ro"},
            },
        )  # fmt: skip
        assert outcome.status == 0, outcome.text


@pytest.fixture
def office(client: docker.DockerClient, images: Images, tmp_path: Path) -> Iterator[Office]:
    authority, trusted, folder = Authority(), tmp_path / "trusted.pem", tmp_path / "certificates"
    trusted.write_bytes(authority.root)
    trusted.chmod(0o644)
    folder.mkdir()
    folder.chmod(0o755)
    with networks.network(client) as network:
        hosts = {program.domain: network.address(program.member) for program in PROGRAMS}
        with pebble.serving(client, images.peer("pebble"), network, _PEBBLE, authority, hosts) as started:
            programs = {program.name: images.peer(program.name) for program in PROGRAMS}
            yield Office(programs, network, started, trusted, folder)


def serials(server: Server, root: bytes) -> dict[str, int]:
    """Serial number of the certificate that each name has, verified with `root`."""
    context = ssl.create_default_context(cadata=root.decode())
    found = {}
    for program in PROGRAMS:
        with (
            socket.create_connection(("127.0.0.1", server.port(5281)), timeout=10) as connection,
            context.wrap_socket(connection, server_hostname=program.domain) as encrypted,
        ):
            shown = encrypted.getpeercert(binary_form=True)
            assert shown is not None
            found[program.domain] = x509.load_der_x509_certificate(shown).serial_number
    return found


def test_certificates_are_used_and_their_renewal_cuts_nobody(
    client: docker.DockerClient, image: LoadedImage, office: Office, tmp_path: Path
) -> None:
    root = tmp_path / "root.pem"
    root.write_bytes(office.pebble.root())
    # It runs as the user that the programs ran as, so it may read the keys.
    server = Server(
        client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{ALICE}:{ALICE_PASSWORD}"},
        office.network.member(_XMPP) | {"ports": _PORTS},
        {str(office.folder): {"bind": "/etc/prosody/certs", "mode": "ro"}},
    )  # fmt: skip

    async def scenario() -> None:
        await asyncio.gather(*(office.run(program, program.first) for program in PROGRAMS))
        await asyncio.to_thread(server.start)
        async with connected(server.port(), ALICE, ALICE_PASSWORD, root) as alice:
            first = serials(server, root.read_bytes())
            await asyncio.gather(*(office.run(program, program.renewal) for program in PROGRAMS))
            async with asyncio.timeout(_PROMISE):
                while set(serials(server, root.read_bytes()).values()) & set(first.values()):
                    await asyncio.sleep(0.25)
            alice.say(ALICE, "still here")
            assert await alice.next_message() == "still here"

    try:
        asyncio.run(scenario())
    finally:
        server.remove()
