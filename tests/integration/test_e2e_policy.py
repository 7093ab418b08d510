"""The policy of end-to-end encryption: what is refused, what is only remarked on, and what always passes."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import docker
import pytest
import slixmpp

from tests.integration import networks, streams
from tests.integration.clients import Client, Watch, connected
from tests.integration.containers import CONFINED, LoadedImage
from tests.integration.networks import Network
from tests.integration.servers import DOMAIN, Server
from tests.integration.streams import ProtocolError, Stream

PASSWORD = "a password"
# Answers every question with NXDOMAIN (RFC 1035, 4.1), so that no server waits for name servers that the engine's
# network cannot reach. Addresses come from the table of hosts.
NAME_SERVER = """
local listener = require "socket".udp()
assert(listener:setsockname("*", 53))
while true do
	local query, address, port = listener:receivefrom()
	local position = 13
	while query:byte(position) ~= 0 do position = position + query:byte(position) + 1 end
	local header = query:sub(1, 2) .. "\\x81\\x83\\0\\1\\0\\0\\0\\0\\0\\0"
	listener:sendto(header .. query:sub(13, position + 4), address, port)
end
"""
ALICE, BOB, CAROL = (f"{name}@{DOMAIN}" for name in ("alice", "bob", "carol"))
ROOMS = f"conference.{DOMAIN}"
OTHER_DOMAIN = "other.example"
DAVE = f"dave@{OTHER_DOMAIN}"
TEXTS = {
    "optional_chat": "please encrypt conversations",
    "required_chat": "conversations must be encrypted",
    "optional_muc": "please encrypt rooms",
    "required_muc": "rooms must be encrypted",
}
ENCRYPTED = {
    "OMEMO": "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'/></encrypted>",
    "OMEMO 1": "<encrypted xmlns='urn:xmpp:omemo:1'><header sid='1'/></encrypted>",
    "OMEMO 2": "<encrypted xmlns='urn:xmpp:omemo:2'><header sid='1'/></encrypted>",
    "OpenPGP (XEP-0373)": "<openpgp xmlns='urn:xmpp:openpgp:0'>AAAA</openpgp>",
    "OpenPGP (XEP-0027)": "<x xmlns='jabber:x:encrypted'>AAAA</x>",
    "named by XEP-0380": "<encryption xmlns='urn:xmpp:eme:0' namespace='urn:example:cipher'/>",
}
WITHOUT_TEXT = {
    "receipt": "<received xmlns='urn:xmpp:receipts' id='1'/>",
    "chat state": "<composing xmlns='http://jabber.org/protocol/chatstates'/>",
    "marker": "<displayed xmlns='urn:xmpp:chat-markers:0' id='1'/>",
    "empty body": "<body/>",
    "invitation with a text": f"<x xmlns='jabber:x:conference' jid='r@{ROOMS}'/><body>Come to the room r</body>",
}


def configure(
    folder: Path, *, chat: str, muc: str, whitelist: Sequence[str] = (), texts: Mapping[str, str] = TEXTS
) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
    """Variables and mounts that switch the policy on; the only place that knows how options get into a server."""
    options = {"e2e_policy_chat": chat, "e2e_policy_muc": muc}
    options |= {f"e2e_policy_message_{name}": text for name, text in texts.items()}
    lines = [f'{name} = "{value}"' for name, value in options.items()]
    exempt = ", ".join(f'"{address}"' for address in whitelist)
    lines += [
        f"e2e_policy_whitelist = {{ {exempt} }}",
        f'Component "{ROOMS}" "muc"',
        'modules_enabled:append { "e2e_policy" }',
    ]
    drop_in = folder / "e2e_policy.cfg.lua"
    drop_in.write_text("\n".join(lines))
    drop_in.chmod(0o644)
    mounts = {str(drop_in): {"bind": f"/etc/prosody/conf.d/{drop_in.name}", "mode": "ro"}}
    return {"PROSODY_ENABLE_MODULES": "e2e_policy"}, mounts


@dataclass(frozen=True)
class Policed:
    """A server with a policy, and the certificate to trust."""

    server: Server
    certificate: Path

    def run(self, scenario: Callable[..., Awaitable[None]], *users: str) -> None:
        """Run a scenario with a client of each user."""

        async def scene() -> None:
            async with AsyncExitStack() as stack:
                clients = [
                    await stack.enter_async_context(connected(self.server.port(), user, PASSWORD, self.certificate))
                    for user in users
                ]
                await scenario(*map(User, clients))

        asyncio.run(scene())


class User:
    """A client, and the messages that arrive at it."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self._watch = Watch(client, "message")

    async def next(self) -> ET.Element:
        """The next message of any kind."""
        return await self._watch.until(lambda _stanza: True)

    async def next_with(self, text: str) -> ET.Element:
        """The next message, which must have this body."""
        stanza = await self.next()
        assert body_of(stanza) == text, streams.text_of(stanza)
        return stanza

    async def next_refusal(self, text: str) -> None:
        """The next message, which must be an error that names the policy."""
        stanza = await self.next()
        error = stanza.find("{jabber:client}error")
        assert stanza.get("type") == "error", streams.text_of(stanza)
        assert error is not None
        conditions = "{urn:ietf:params:xml:ns:xmpp-stanzas}"
        assert error.find(f"{conditions}policy-violation") is not None, streams.text_of(stanza)
        assert error.findtext(f"{conditions}text") == text

    async def next_remark(self, text: str) -> None:
        """The next message, which must be one of the server."""
        stanza = await self.next_with(text)
        assert stanza.get("type") == "headline"
        assert stanza.get("from") in (DOMAIN, ROOMS)

    def send(self, to: str, payload: str, kind: str = "chat") -> None:
        """Send a message with any content."""
        self.client.send_raw(f"<message to='{to}' type='{kind}' id='{uuid.uuid4()}'>{payload}</message>")

    async def synchronise(self) -> None:
        """Return when the server has handled what was sent, for it answers in order (RFC 6120, 10.1)."""
        await self.client.plugin["xep_0199"].ping(slixmpp.JID(self.client.boundjid.domain))

    async def join(self, room: str, nick: str) -> None:
        """Enter a room, and return when its history and subject have been sent."""
        self.client.send_raw(f"<presence to='{room}/{nick}'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
        await self._watch.until(lambda stanza: stanza.find("{jabber:client}subject") is not None)

    async def make_room(self) -> str:
        """A new room that others can enter; this user is in it as "owner"."""
        room = f"{uuid.uuid4()}@{ROOMS}"
        await self.join(room, "owner")
        request = self.client.make_iq_set(ito=slixmpp.JID(room))
        request.append(
            streams.parse(
                b"<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
            )
        )
        answer: Any = request.send()  # type: ignore[no-untyped-call]
        await answer
        return room


def body_of(stanza: ET.Element) -> str | None:
    return stanza.findtext("{jabber:client}body")


def text(name: str = "") -> str:
    """A body that no other message has."""
    return f"<body>{name}{uuid.uuid4()}</body>"


def cipher(content: str) -> str:
    """A message in OMEMO with a stand-in for clients that do not know it, recognised by `content`."""
    return f"<body>{content}</body>{ENCRYPTED['OMEMO']}"


@contextmanager
def policed(client: docker.DockerClient, image: LoadedImage, folder: Path, **options: Any) -> Iterator[Policed]:
    """A server with the three users and a policy."""
    environment, mounts = configure(folder, **options)
    accounts = "\n".join(f"{user}:{PASSWORD}" for user in (ALICE, BOB, CAROL))
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts} | environment)
    server.mounts |= mounts
    try:
        server.start()
        yield Policed(server, server.certificate(folder))
    finally:
        server.remove()


@pytest.fixture(scope="module")
def required(
    client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Policed]:
    """A server that wants everything encrypted, but for Carol."""
    with policed(
        client, image, tmp_path_factory.mktemp("required"), chat="required", muc="required", whitelist=[CAROL]
    ) as found:
        yield found


@pytest.fixture(scope="module")
def optional(
    client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Policed]:
    """A server that only remarks on what is not encrypted."""
    with policed(client, image, tmp_path_factory.mktemp("optional"), chat="optional", muc="optional") as found:
        yield found


@pytest.mark.parametrize("kind", ["chat", "normal"])
def test_a_message_in_clear_is_refused(required: Policed, kind: str) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, text(), kind)
        await alice.next_refusal(TEXTS["required_chat"])
        alice.send(bob.client.boundjid.full, text(), kind)
        await alice.next_refusal(TEXTS["required_chat"])
        # The first that arrives is the one that was sent after those in clear.
        alice.send(BOB, cipher("only this"), kind)
        await bob.next_with("only this")

    required.run(scenario, ALICE, BOB)


@pytest.mark.parametrize("name", ENCRYPTED)
def test_an_encrypted_message_is_delivered(required: Policed, name: str) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, f"<body>stand-in</body>{ENCRYPTED[name]}")
        await bob.next_with("stand-in")

    required.run(scenario, ALICE, BOB)


def test_otr_is_encrypted_and_words_about_it_are_not(required: Policed) -> None:
    async def scenario(alice: User, bob: User) -> None:
        for body in ("?OTRv23?", "?OTR:AAMDJ+MVmSfjFZ==."):
            alice.send(BOB, f"<body>{body}</body>")
            await bob.next_with(body)
        alice.send(BOB, "<body>?OTR is a protocol</body>")
        await alice.next_refusal(TEXTS["required_chat"])

    required.run(scenario, ALICE, BOB)


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_what_has_nothing_to_encrypt_is_delivered(required: Policed, name: str) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, WITHOUT_TEXT[name])
        arrived = await bob.next()
        wanted = streams.parse(f"<message xmlns='jabber:client'>{WITHOUT_TEXT[name]}</message>".encode())
        assert {child.tag for child in wanted} <= {child.tag for child in arrived}, streams.text_of(arrived)

    required.run(scenario, ALICE, BOB)


def test_a_second_body_is_looked_at(required: Policed) -> None:
    async def scenario(alice: User) -> None:
        alice.send(BOB, "<body/><body xml:lang='de'>Klartext</body>")
        await alice.next_refusal(TEXTS["required_chat"])

    required.run(scenario, ALICE)


def test_errors_and_messages_to_the_server_pass(required: Policed) -> None:
    async def scenario(alice: User, bob: User) -> None:
        error = "<body>came back</body><error type='cancel'><gone xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        alice.send(bob.client.boundjid.full, error, "error")
        await bob.next_with("came back")
        # Nobody reads these, and the server says so, instead of naming the policy.
        alice.send(DOMAIN, text())
        answer = await alice.next()
        assert "policy-violation" not in streams.text_of(answer)

    required.run(scenario, ALICE, BOB)


def test_the_whitelist_exempts_both_sides(required: Policed) -> None:
    async def scenario(alice: User, carol: User) -> None:
        alice.send(CAROL, "<body>to carol</body>")
        await carol.next_with("to carol")
        carol.send(ALICE, "<body>from carol</body>")
        await alice.next_with("from carol")

    required.run(scenario, ALICE, CAROL)


def test_rooms_follow_their_own_policy(required: Policed) -> None:
    async def scenario(alice: User, bob: User) -> None:
        room = await alice.make_room()
        await bob.join(room, "bob")
        alice.send(room, text(), "groupchat")
        await alice.next_refusal(TEXTS["required_muc"])
        alice.send(f"{room}/bob", text())
        await alice.next_refusal(TEXTS["required_muc"])
        alice.send(f"{room}/bob", cipher("in private"))
        await bob.next_with("in private")
        alice.send(room, cipher("for all"), "groupchat")
        await bob.next_with("for all")
        await alice.next_with("for all")
        alice.send(room, "<subject>Tea</subject>", "groupchat")
        assert (await bob.next()).findtext("{jabber:client}subject") == "Tea"

    required.run(scenario, ALICE, BOB)


def test_private_messages_in_rooms_elsewhere_count_as_rooms(required: Policed) -> None:
    async def scenario(alice: User) -> None:
        alice.send("room@rooms.elsewhere.example/nick", f"{text()}<x xmlns='http://jabber.org/protocol/muc#user'/>")
        await alice.next_refusal(TEXTS["required_muc"])

    required.run(scenario, ALICE)


def test_a_remark_comes_once_for_each_session_and_recipient(optional: Policed) -> None:
    async def first(alice: User, bob: User) -> None:
        for number in range(3):
            alice.send(BOB, f"<body>message {number}</body>")
            await bob.next_with(f"message {number}")
        alice.send(CAROL, text())
        await alice.next_remark(TEXTS["optional_chat"])
        await alice.next_remark(TEXTS["optional_chat"])
        # The next that arrives is from Bob, so there was no further remark.
        await alice.synchronise()
        bob.send(ALICE, cipher("the end"))
        await alice.next_with("the end")

    async def second(alice: User, bob: User) -> None:
        alice.send(BOB, text())
        await alice.next_remark(TEXTS["optional_chat"])

    optional.run(first, ALICE, BOB)
    optional.run(second, ALICE, BOB)


def test_what_is_encrypted_is_not_remarked_on(optional: Policed) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, cipher("one"))
        alice.send(BOB, WITHOUT_TEXT["receipt"])
        await bob.next_with("one")
        await alice.synchronise()
        bob.send(ALICE, cipher("two"))
        await alice.next_with("two")

    optional.run(scenario, ALICE, BOB)


def test_rooms_get_one_remark_though_two_hosts_look(optional: Policed) -> None:
    """The user's host and the rooms' both have the module; the remark is that of the first, and not repeated."""

    async def scenario(alice: User, bob: User) -> None:
        room = await alice.make_room()
        await bob.join(room, "bob")
        received = []
        for number in range(2):
            alice.send(room, f"<body>message {number}</body>", "groupchat")
            await bob.next_with(f"message {number}")
        alice.send(f"{room}/bob", "<body>in private</body>")
        await bob.next_with("in private")
        bob.send(room, cipher("the end"), "groupchat")
        while "the end" not in received:
            received.append(body_of(await alice.next()))
        assert sorted(filter(None, received)) == sorted(["message 0", "message 1", "the end", TEXTS["optional_muc"]])

    optional.run(scenario, ALICE, BOB)


def test_policies_are_independent_and_texts_have_defaults(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, "<body>in clear</body>")
        await bob.next_with("in clear")
        await alice.synchronise()
        room = await alice.make_room()
        alice.send(room, text(), "groupchat")
        # This is also the first message since: no policy, no remark on the conversation.
        refused = await alice.next()
        conditions = "{jabber:client}error/{urn:ietf:params:xml:ns:xmpp-stanzas}"
        assert refused.find(f"{conditions}policy-violation") is not None, streams.text_of(refused)
        assert "end-to-end encrypted" in (refused.findtext(f"{conditions}text") or "")

    with policed(client, image, tmp_path, chat="none", muc="required", texts={}) as found:
        found.run(scenario, ALICE, BOB)


def test_the_served_domain_in_the_whitelist_exempts_everybody(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    async def scenario(alice: User, bob: User) -> None:
        alice.send(BOB, "<body>in clear</body>")
        await bob.next_with("in clear")

    with policed(client, image, tmp_path, chat="required", muc="required", whitelist=["", DOMAIN]) as found:
        found.run(scenario, ALICE, BOB)


class OtherServer(Server):
    """A server of another domain."""

    def accepts_clients(self) -> bool:
        """Whether the server answers for its domain."""
        try:
            with Stream(self.port(), OTHER_DOMAIN) as stream:
                stream.open()
        except (OSError, ProtocolError, KeyError, IndexError, TypeError):  # the last ones: not published yet
            return False
        return True


@pytest.mark.parametrize("policy", ["optional", "required"])
def test_occupants_from_other_servers_follow_the_policy_of_the_rooms(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, policy: str
) -> None:
    async def scenario(alice: User, dave: User) -> None:
        room = await alice.make_room()
        await dave.join(room, "dave")
        if policy == "required":
            dave.send(room, text(), "groupchat")
            await dave.next_refusal(TEXTS["required_muc"])
            dave.send(f"{room}/owner", text())
            await dave.next_refusal(TEXTS["required_muc"])
            dave.send(room, cipher("unreadable"), "groupchat")
            await alice.next_with("unreadable")
            await dave.next_with("unreadable")
        else:
            # No more than these: rooms limit how much those who do not belong to them say.
            for number in range(2):
                dave.send(room, f"<body>message {number}</body>", "groupchat")
                await alice.next_with(f"message {number}")
            received = {body_of(await dave.next()) for _ in range(3)}
            assert received == {TEXTS["optional_muc"], "message 0", "message 1"}
        alice.send(room, cipher("the end"), "groupchat")
        await dave.next_with("the end")

    environment, mounts = configure(tmp_path, chat=policy, muc=policy)
    with (
        networks.network(client) as network,
        two_servers(client, image, network, environment, mounts, tmp_path) as (rooms, other),
    ):
        own, foreign = tmp_path / "own.crt", tmp_path / "other.crt"
        own.write_bytes(rooms.read(f"/var/lib/prosody/certificates/{DOMAIN}.crt"))
        foreign.write_bytes(other.read(f"/var/lib/prosody/certificates/{OTHER_DOMAIN}.crt"))

        async def scene() -> None:
            async with (
                connected(rooms.port(), ALICE, PASSWORD, own) as alice,
                connected(other.port(), DAVE, PASSWORD, foreign) as dave,
            ):
                await scenario(User(alice), User(dave))

        asyncio.run(scene())


@contextmanager
def two_servers(
    client: docker.DockerClient,
    image: LoadedImage,
    network: Network,
    environment: Mapping[str, str],
    mounts: Mapping[str, dict[str, str]],
    folder: Path,
) -> Iterator[tuple[Server, Server]]:
    """A server with a policy, and one of another domain without, which find each other by fixed addresses."""
    names, first, second = 10, 11, 12  # numbers on the network
    hosts = {DOMAIN: network.address(first), ROOMS: network.address(first), OTHER_DOMAIN: network.address(second)}
    resolver = folder / "resolv.conf"
    resolver.write_text(f"nameserver {network.address(names)}\n")
    resolver.chmod(0o644)
    resolver_mount = {str(resolver): {"bind": "/etc/resolv.conf", "mode": "ro"}}
    # Neither has a certificate that the other trusts; what is tested here is not how servers know each other.
    common = {"PROSODY_S2S_SECURE_AUTH": "false"}
    rooms = Server(
        client, image,
        {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{ALICE}:{PASSWORD}", **common, **environment},
        network.member(first) | {"extra_hosts": hosts}, resolver_mount | dict(mounts),
    )  # fmt: skip
    other = OtherServer(
        client, image,
        {"PROSODY_DOMAIN": OTHER_DOMAIN, "PROSODY_ACCOUNTS": f"{DAVE}:{PASSWORD}", **common},
        network.member(second) | {"extra_hosts": hosts}, resolver_mount,
    )  # fmt: skip
    name_server = client.containers.create(
        image.name, ["-e", NAME_SERVER], entrypoint=["/usr/bin/lua5.4"], platform=image.platform.name, **CONFINED,
        **network.member(names),
    )  # fmt: skip
    try:
        name_server.start()
        rooms.start()
        other.start()
        yield rooms, other
    finally:
        rooms.remove()
        other.remove()
        name_server.remove(force=True, v=True)
