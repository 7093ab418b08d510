"""Accounts in an LDAP directory: an OpenLDAP server knows the passwords, and is there or not."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import streams
from tests.integration.authority import Authority
from tests.integration.clients import RefusedError, connected, log_in
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import Stream
from tests.peers import openldap
from tests.peers.openldap import PEOPLE, Openldap

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
CAROL, CAROL_PASSWORD = f"carol@{DOMAIN}", "carol's password"
DAVE, DAVE_PASSWORD = f"dave@{DOMAIN}", "dave's password"


def _hashed(password: str) -> str:
    """As OpenLDAP keeps it: salted SHA-1 (slappasswd(8), {SSHA})."""
    digest = hashlib.sha1(password.encode() + b"salt", usedforsecurity=False).digest()
    return "{SSHA}" + base64.b64encode(digest + b"salt").decode()


_PEOPLE = {
    "alice": {"userPassword": ALICE_PASSWORD, "employeeType": "staff"},
    "bob": {"userPassword": BOB_PASSWORD, "employeeType": "staff"},
    "carol": {"userPassword": CAROL_PASSWORD, "employeeType": "guest"},
    "dave": {"userPassword": _hashed(DAVE_PASSWORD), "employeeType": "staff"},
}
_TRUSTED = "/etc/prosody/directory.pem"
_STANDSTILL = 15.0  # seconds; three attempts that the image limits to 3 s for a connection, 5 s for an answer


@pytest.fixture(scope="module")
def authority() -> Authority:
    """Issues the certificate of the directory."""
    return Authority()


@pytest.fixture(scope="module")
def directory(
    client: docker.DockerClient, images: Images, network: Network, authority: Authority
) -> Iterator[Openldap]:
    """Alice, Bob and Dave, whom the filter lets in, and Carol, whom it does not."""
    with openldap.serving(client, images.peer("openldap"), network, 2, authority, _PEOPLE) as started:
        yield started


@contextmanager
def asking(
    directory: Openldap, image: LoadedImage, number: int, mounts: dict[str, Any] | None = None, /, **environment: str
) -> Iterator[Server]:
    """A started server that asks the directory; it is the member `number` of its network."""
    network = directory.peer.network
    variables = {
        "PROSODY_DOMAIN": DOMAIN,
        "PROSODY_AUTHENTICATION": "ldap",
        "PROSODY_LDAP_SERVER": openldap.NAME,
        "PROSODY_LDAP_BASE": openldap.BASE,
        "PROSODY_LDAP_ROOTDN": openldap.READER,
        "PROSODY_LDAP_PASSWORD": openldap.READER_PASSWORD,
        "PROSODY_LDAP_FILTER": "(&(uid=$user)(employeeType=staff))",
        "PROSODY_ADMINS": ALICE,
    } | environment
    options = network.member(number) | {"extra_hosts": {openldap.NAME: directory.peer.address}}
    server = Server(network.client, image, variables, options, mounts or {})
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module", params=["bind", "getpasswd"])
def mode(request: pytest.FixtureRequest) -> str:
    """How passwords are checked."""
    return str(request.param)


@pytest.fixture(scope="module")
def server(directory: Openldap, image: LoadedImage, mode: str) -> Iterator[Server]:
    with asking(directory, image, 3, PROSODY_LDAP_MODE=mode) as started:
        yield started


def test_who_is_in_the_directory_gets_in(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob,
        ):
            alice.say(BOB, "we are both known")
            assert await bob.next_message() == "we are both known"

    asyncio.run(scenario())
    assert server.says(f"Authenticated as {ALICE} [prosody:operator]")
    assert server.says(f"Authenticated as {BOB} [prosody:registered]")


@pytest.mark.parametrize(
    ("jid", "password"),
    [
        (ALICE, BOB_PASSWORD),
        (CAROL, CAROL_PASSWORD),
        (f"nobody@{DOMAIN}", ALICE_PASSWORD),
        # Characters with a meaning in filters (RFC 4515, 3) are only characters of a name.
        (f"ali*@{DOMAIN}", ALICE_PASSWORD),
        (f"alice)(uid=*@{DOMAIN}", ALICE_PASSWORD),
    ],
    ids=["wrong password", "outside the filter", "not in the directory", "wildcard", "another filter"],
)
def test_who_is_not_stays_out(jid: str, password: str, server: Server, certificate: Path) -> None:
    with pytest.raises(RefusedError, match="authentication failed"):
        log_in(server.port(), jid, password, certificate)


def test_an_empty_password_is_none(server: Server, certificate: Path) -> None:
    # A directory answers it with success and logs nobody in (RFC 4513, 5.1.2).
    with Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.open()
        stream.send(f"<auth xmlns='{streams.SASL}' mechanism='PLAIN'>AGFsaWNlAA==</auth>")  # \0alice\0
        assert stream.read().tag == f"{{{streams.SASL}}}failure"
    log_in(server.port(), ALICE, ALICE_PASSWORD, certificate)


def test_the_password_itself_is_sent_only_where_the_directory_needs_it(
    server: Server, mode: str, certificate: Path
) -> None:
    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            mechanism = alice.plugin["feature_mechanisms"].mech
            assert mechanism is not None
            assert mechanism.name == "PLAIN" if mode == "bind" else mechanism.name.startswith("SCRAM-")

    asyncio.run(scenario())


def test_a_hashed_password_can_be_tried_but_not_read(server: Server, mode: str, certificate: Path) -> None:
    if mode == "bind":
        log_in(server.port(), DAVE, DAVE_PASSWORD, certificate)
    else:
        with pytest.raises(RefusedError, match="authentication failed"):
            log_in(server.port(), DAVE, DAVE_PASSWORD, certificate)


def test_a_password_changed_in_the_directory_counts_at_once(
    server: Server, directory: Openldap, certificate: Path
) -> None:
    log_in(server.port(), BOB, BOB_PASSWORD, certificate)
    directory.modify(f"uid=bob,{PEOPLE}", "userPassword", "a new password")
    try:
        log_in(server.port(), BOB, "a new password", certificate)
        with pytest.raises(RefusedError, match="authentication failed"):
            log_in(server.port(), BOB, BOB_PASSWORD, certificate)
    finally:
        directory.modify(f"uid=bob,{PEOPLE}", "userPassword", BOB_PASSWORD)


def test_a_directory_is_believed_only_with_a_certificate(
    directory: Openldap, image: LoadedImage, authority: Authority, tmp_path: Path
) -> None:
    root = tmp_path / "directory.pem"
    root.write_bytes(authority.root)
    root.chmod(0o644)
    mounts = {str(root): {"bind": _TRUSTED, "mode": "ro"}}
    with asking(directory, image, 4, mounts, PROSODY_LDAP_TLS="true") as server:
        with pytest.raises(RefusedError, match="authentication failed"):
            log_in(server.port(), ALICE, ALICE_PASSWORD, server.certificate(tmp_path))
        assert server.says("LDAP: Connect error")
    with asking(directory, image, 4, mounts, PROSODY_LDAP_TLS="true", LDAPTLS_CACERT=_TRUSTED) as server:
        seen = len(directory.log())
        log_in(server.port(), ALICE, ALICE_PASSWORD, server.certificate(tmp_path))
        assert directory.peer.says("TLS established", seen)
        assert directory.peer.says(" STARTTLS", seen)
    address = f"ldaps://{openldap.NAME}"
    with asking(directory, image, 4, mounts, PROSODY_LDAP_SERVER=address, LDAPTLS_CACERT=_TRUSTED) as server:
        seen = len(directory.log())
        log_in(server.port(), ALICE, ALICE_PASSWORD, server.certificate(tmp_path))
        assert directory.peer.says("TLS established", seen)


def test_a_directory_may_be_late_go_away_and_come_back(directory: Openldap, image: LoadedImage, tmp_path: Path) -> None:
    directory.stop()
    with asking(directory, image, 5) as server:
        certificate = server.certificate(tmp_path)

        def refused_within() -> float:
            start = time.monotonic()
            with pytest.raises(RefusedError, match="authentication failed"):
                log_in(server.port(), ALICE, ALICE_PASSWORD, certificate)
            return time.monotonic() - start

        async def scenario() -> None:
            assert await asyncio.to_thread(refused_within) < _STANDSTILL
            assert server.says("Can't contact LDAP server")
            directory.start()
            async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
                directory.stop()
                assert await asyncio.to_thread(refused_within) < _STANDSTILL
                # Who was in stays in.
                alice.say(ALICE, "still here")
                assert await alice.next_message() == "still here"
            directory.start()
            await asyncio.to_thread(log_in, server.port(), ALICE, ALICE_PASSWORD, certificate)

        asyncio.run(scenario())
