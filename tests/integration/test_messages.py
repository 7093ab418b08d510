"""Two real clients of one real server: connect, authenticate, talk, be offline, read the archive."""

from __future__ import annotations

import asyncio
import socket
import uuid
from pathlib import Path

import pytest
import slixmpp

from tests.integration.clients import RefusedError, connected
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()


def test_messages_go_both_ways_over_verified_tls(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with (
            connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob,
        ):
            for client in (alice, bob):
                assert client.transport is not None
                assert client.transport.get_extra_info("cipher"), "the stream is not encrypted"
            mechanism = alice.plugin["feature_mechanisms"].mech
            assert mechanism is not None
            assert mechanism.name.startswith("SCRAM-"), f"logged in with {mechanism.name}"
            alice.say(BOB, "hello bob <&> ünïcode 🙂")
            assert await bob.next_message() == "hello bob <&> ünïcode 🙂"
            bob.say(ALICE, "hello alice")
            assert await alice.next_message() == "hello alice"

    asyncio.run(scenario())


def test_an_unknown_certificate_is_refused(server: Server) -> None:
    """The control of the test above: verification is real, so another trust anchor must fail."""
    other = Path(__file__).parent / "other-authority.pem"

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, other):
            pytest.fail("a client trusted a certificate that it does not know")

    with pytest.raises(RefusedError, match=r"certificate|disconnected"):
        asyncio.run(scenario())


def test_a_message_to_someone_offline_is_delivered_later(server: Server, certificate: Path) -> None:
    text = f"for later {uuid.uuid4()}"

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            alice.say(BOB, text)
            await alice.catch_up()
        async with connected(server.port(), BOB, BOB_PASSWORD, certificate) as bob:
            while await bob.next_message() != text:
                continue

    asyncio.run(scenario())


def test_the_archive_gives_the_conversation_back(server: Server, certificate: Path) -> None:
    texts = [f"archived {number} {uuid.uuid4()}" for number in range(3)]

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            for text in texts:
                alice.say(BOB, text)
            await alice.catch_up()
            bodies = [
                str(result["mam_result"]["forwarded"]["stanza"]["body"])
                async for result in alice.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(BOB))
            ]
        assert bodies[-len(texts) :] == texts

    asyncio.run(scenario())


def test_data_and_certificate_outlive_the_container(server: Server, certificate: Path, tmp_path: Path) -> None:
    text = f"kept {uuid.uuid4()}"

    async def say() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            alice.say(BOB, text)
            await alice.catch_up()

    async def read() -> list[str]:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            return [
                str(result["mam_result"]["forwarded"]["stanza"]["body"])
                async for result in alice.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(BOB))
            ]

    before = certificate.read_bytes()
    asyncio.run(say())
    server.restart()
    assert server.certificate(tmp_path).read_bytes() == before, "a new certificate was made"
    assert text in asyncio.run(read())


def test_a_wrong_password_is_refused(server: Server, certificate: Path) -> None:
    async def scenario() -> None:
        async with connected(server.port(), ALICE, "not her password", certificate):
            pytest.fail("a client logged in with a wrong password")

    with pytest.raises(RefusedError):
        asyncio.run(scenario())


def test_login_without_encryption_is_refused(server: Server) -> None:
    """PLAIN on an unencrypted stream, though it was not offered: SASL failure or a closed stream, never success."""
    header = (
        f"<?xml version='1.0'?><stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client'"
        " xmlns:stream='http://etherx.jabber.org/streams'>"
    )
    # base64 of NUL alice NUL password; the password does not matter, as it must not even be looked at
    attempt = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHBhc3N3b3Jk</auth>"
    with socket.create_connection(("127.0.0.1", server.port()), timeout=30) as connection:
        connection.sendall(header.encode())
        features = _read_until(connection, b"</stream:features>")
        assert b"<required/>" in features
        assert b"<mechanism>" not in features, "mechanisms are offered before encryption"
        connection.sendall(attempt.encode())
        answer = _read_until(connection, b">")
    assert b"<success" not in answer
    assert b"encryption-required" in answer or b"stream:error" in answer or b"<failure" in answer, answer


def _read_until(connection: socket.socket, end: bytes) -> bytes:
    answer = b""
    while end not in answer:
        chunk = connection.recv(4096)
        if not chunk:
            break
        answer += chunk
    return answer
