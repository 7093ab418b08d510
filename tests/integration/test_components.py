"""External components (XEP-0114) that are named in the configuration, as gateways and bots have them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import docker
import pytest
import slixmpp
from slixmpp.exceptions import IqError

from tests.integration import servers
from tests.integration.clients import RefusedError, ask, connected
from tests.integration.containers import PATIENCE, LoadedImage
from tests.integration.gateways import Gateway, attached
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
# Of the first the older connection stays, of the second the newer one.
STAYING, YIELDING = f"irc.{DOMAIN}", f"bot.{DOMAIN}"
_SECRETS = {STAYING: "secret; of 'irc' ü", YIELDING: "secret of the bot"}
_PORT = 5347
_PING = "{urn:xmpp:ping}ping"


@dataclass(frozen=True)
class Site:
    """A server that knows two components, and its certificate."""

    server: Server
    certificate: Path

    @property
    def port(self) -> int:
        """Where components connect."""
        return self.server.port(_PORT)


@pytest.fixture(scope="module")
def site(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    ports = {"ports": {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, _PORT)}}
    environment = {
        "PROSODY_EXTERNAL_COMPONENTS": "\n".join(f"{name}:{secret}" for name, secret in _SECRETS.items()),
        "PROSODY_COMPONENT_CONFLICT_RESOLVE__BOT_CHAT_EXAMPLE": "kick_old",
    }
    with servers.serving(client, image, ports, **environment) as server:
        yield Site(server, server.certificate(tmp_path_factory.mktemp("components")))


def test_users_and_a_component_write_to_each_other(site: Site) -> None:
    async def scenario() -> None:
        async with (
            attached(site.port, STAYING, _SECRETS[STAYING]) as gateway,
            connected(site.server.port(), ALICE, ALICE_PASSWORD, site.certificate) as alice,
        ):
            messages: asyncio.Queue[Any] = asyncio.Queue()
            gateway.add_event_handler("message", messages.put_nowait)
            alice.say(f"#tea@{STAYING}", "is anybody there?")
            question = await asyncio.wait_for(messages.get(), PATIENCE)
            assert (question["from"].bare, question["to"].bare) == (ALICE, f"#tea@{STAYING}")
            assert question["body"] == "is anybody there?"
            gateway.send_message(mto=alice.boundjid, mfrom=f"#tea@{STAYING}/juliet", mbody="I am", mtype="chat")
            assert await alice.next_message() == "I am"
            items = await alice.ask("get", "<query xmlns='http://jabber.org/protocol/disco#items'/>", DOMAIN)
            assert STAYING in {item.get("jid") for item in items.iter("{http://jabber.org/protocol/disco#items}item")}

    asyncio.run(scenario())


def test_a_component_that_is_away_is_said_to_be_until_it_is_back(site: Site) -> None:
    async def scenario() -> None:
        async with connected(site.server.port(), ALICE, ALICE_PASSWORD, site.certificate) as alice:
            for _ in range(2):
                with pytest.raises(IqError, match="remote-server-timeout"):
                    await ask(alice, "get", STAYING, ET.Element(_PING))
                async with attached(site.port, STAYING, _SECRETS[STAYING]):
                    await ask(alice, "get", STAYING, ET.Element(_PING))

    asyncio.run(scenario())


async def answers(site: Site, component: Gateway) -> bool:
    """Whether what a user asks of the component comes to this connection of it."""
    asked: asyncio.Queue[Any] = asyncio.Queue()
    component.add_event_handler("message", asked.put_nowait)
    async with connected(site.server.port(), ALICE, ALICE_PASSWORD, site.certificate) as alice:
        alice.say(component.boundjid.bare, "are you there?")
        return str((await asyncio.wait_for(asked.get(), PATIENCE))["body"]) == "are you there?"


def test_the_older_connection_stays_by_default(site: Site) -> None:
    async def scenario() -> None:
        async with attached(site.port, STAYING, _SECRETS[STAYING]) as first:
            with pytest.raises(RefusedError, match="conflict"):
                async with attached(site.port, STAYING, _SECRETS[STAYING]):
                    pass
            assert await answers(site, first)
            assert first.stream_errors.empty()

    asyncio.run(scenario())


def test_the_newer_connection_takes_over_where_that_is_wanted(site: Site) -> None:
    async def scenario() -> None:
        async with (
            attached(site.port, YIELDING, _SECRETS[YIELDING]) as first,
            attached(site.port, YIELDING, _SECRETS[YIELDING]) as second,
        ):
            assert await asyncio.wait_for(first.stream_errors.get(), PATIENCE) == "conflict"
            assert await answers(site, second)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("name", "secret", "reason"),
    [
        (STAYING, "a guess", "not-authorized"),
        (STAYING, _SECRETS[YIELDING], "not-authorized"),
        (STAYING, "", "not-authorized"),
        (f"unknown.{DOMAIN}", _SECRETS[STAYING], "host-unknown"),
        (DOMAIN, _SECRETS[STAYING], "host-unknown"),
    ],
)
def test_others_are_refused(site: Site, name: str, secret: str, reason: str) -> None:
    async def scenario() -> None:
        with pytest.raises(RefusedError, match=reason):
            async with attached(site.port, name, secret):
                pass

    asyncio.run(scenario())


def test_a_component_speaks_for_itself_only(site: Site) -> None:
    """Its connection ends when it sends in the name of a user, or of another domain."""

    async def scenario() -> None:
        for sender in (ALICE, f"somebody@{YIELDING}", "juliet@elsewhere.example"):
            async with (
                connected(site.server.port(), ALICE, ALICE_PASSWORD, site.certificate) as alice,
                attached(site.port, STAYING, _SECRETS[STAYING]) as gateway,
            ):
                gateway.send_message(mto=slixmpp.JID(ALICE), mfrom=sender, mbody="it was me", mtype="chat")
                assert await asyncio.wait_for(gateway.stream_errors.get(), PATIENCE) == "invalid-from"
                await alice.catch_up()
                assert alice.messages.empty()

    asyncio.run(scenario())
