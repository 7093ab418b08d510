"""What administrators do to a running server: with commands in their client (XEP-0133), and with its shell."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import docker
import pytest
import slixmpp

from tests.integration import servers
from tests.integration.clients import Client, RefusedError, Watch, log_in
from tests.integration.containers import PATIENCE, LoadedImage
from tests.integration.rooms import affiliate, enter, new_room, open_room, standing
from tests.integration.scenes import ALICE, BOB, BOB_PASSWORD, Stage, command, refusal, results, words
from tests.integration.servers import DOMAIN

ADMIN = "http://jabber.org/protocol/admin#"
COMMANDS = "http://jabber.org/protocol/commands"


@pytest.fixture(scope="module")
def stage(client: docker.DockerClient, image: LoadedImage, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A server that Alice administers, and on which nobody else makes rooms."""
    variables = {
        "PROSODY_ADMINS": ALICE,
        "PROSODY_ENABLE_MODULES": "announce",
        "PROSODY_RESTRICT_ROOM_CREATION": "admins",
    }
    with servers.serving(client, image, **variables) as started:
        yield Stage(started, started.certificate(tmp_path_factory.mktemp("stage")))


def new_address() -> str:
    """An address that nobody has."""
    return f"n{uuid.uuid4().hex[:12]}@{DOMAIN}"


def can_log_in(stage: Stage, address: str, password: str) -> bool:
    """Whether this is the password of an account."""
    try:
        log_in(stage.server.port(), address, password, stage.certificate)
    except RefusedError:
        return False
    return True


async def offered(client: Client) -> set[str]:
    """Commands that the server offers to somebody (XEP-0050, 2.2)."""
    disco: Any = client.plugin["xep_0030"]
    found = await disco.get_items(jid=slixmpp.JID(DOMAIN), node=COMMANDS, timeout=PATIENCE)
    return {node for _jid, node, _name in found["disco_items"]["items"]}


# ---- In a client


def test_commands_are_for_administrators(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        names = ("add-user", "change-user-password", "delete-user", "get-online-users-list", "user-stats", "announce")
        administrative = {f"{ADMIN}{name}" for name in names}
        assert administrative <= await offered(alice)
        for_all = await offered(bob)
        assert not {node for node in for_all if node.startswith((ADMIN, "http://prosody.im/protocol/"))}
        for node in administrative | {"http://prosody.im/protocol/modules#unload", f"{ADMIN}shutdown"}:
            assert await refusal(command(bob, DOMAIN, node)) == "forbidden"

    stage.play(scene)


def test_an_account_is_made_changed_and_deleted(stage: Stage) -> None:
    address = new_address()

    def add(alice: Client, second: str = "first") -> Any:
        credentials = {"accountjid": address, "password": "first", "password-verify": second}
        return command(alice, DOMAIN, f"{ADMIN}add-user", credentials)

    async def make(alice: Client, bob: Client) -> None:
        refused = await add(alice, "something else")
        assert [note[0] for note in refused["notes"]] == ["error"]
        made = await add(alice)
        assert [note[0] for note in made["notes"]] == ["info"]
        again = await add(alice)
        assert [note[0] for note in again["notes"]] == ["error"]

    async def change(alice: Client, bob: Client) -> None:
        fields = {"accountjid": address, "password": "second"}
        await command(alice, DOMAIN, f"{ADMIN}change-user-password", fields)

    async def delete(alice: Client, bob: Client) -> None:
        async with stage.client(address, "second") as deleted:
            ended = deleted.upcoming("disconnected")
            await command(alice, DOMAIN, f"{ADMIN}delete-user", {"accountjids": [address]})
            await ended

    stage.play(make)
    assert can_log_in(stage, address, "first")
    stage.play(change)
    assert can_log_in(stage, address, "second")
    assert not can_log_in(stage, address, "first")
    stage.play(delete)
    assert not can_log_in(stage, address, "second")


def test_an_account_is_closed_for_a_time(stage: Stage) -> None:
    """Disabled and enabled again: nobody gets in meanwhile, and everything is still there."""

    async def disable(alice: Client, bob: Client) -> None:
        ended = bob.upcoming("disconnected")
        await command(alice, DOMAIN, f"{ADMIN}disable-user", {"accountjids": [BOB]})
        await ended

    stage.play(disable)
    assert not can_log_in(stage, BOB, BOB_PASSWORD)
    stage.server.shell(f"user:enable('{BOB}')")
    assert can_log_in(stage, BOB, BOB_PASSWORD)


def test_who_is_there(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        online = results(
            await command(alice, DOMAIN, f"{ADMIN}get-online-users-list", {"max_items": "all", "details": "1"})
        )["onlineuserjids"]
        assert ALICE in online
        assert bob.boundjid.resource in online
        statistics = results(await command(alice, DOMAIN, f"{ADMIN}user-stats", {"accountjid": BOB}))
        assert bob.boundjid.resource in statistics["onlineresources"]
        assert statistics["rostersize"] == "0"
        ended = bob.upcoming("disconnected")
        await command(alice, DOMAIN, f"{ADMIN}end-user-session", {"accountjids": [str(bob.boundjid)]})
        await ended

    stage.play(scene)


def test_everybody_hears_an_announcement(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        heard, text = Watch(bob, "message"), words()
        await command(alice, DOMAIN, f"{ADMIN}announce", {"subject": "Attention", "announcement": text})
        message = await heard.until(lambda stanza: text in "".join(stanza.itertext()))
        assert (message.get("from"), message.get("type")) == (DOMAIN, "headline")
        assert message.findtext("{jabber:client}subject") == "Attention"

    stage.play(scene)


def test_only_administrators_make_rooms_where_that_is_wanted(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        assert await refusal(enter(bob, new_room(), "bob")) == "not-allowed"
        room = await open_room(alice)
        await enter(bob, room, "bob")

    stage.play(scene)


# ---- In the shell


def test_the_shell_looks_after_accounts(stage: Stage) -> None:
    address, shell = new_address(), stage.server.shell
    shell(f"user:create('{address}', 'first', 'prosody:member')")
    assert shell(f"user:role('{address}')") == "OK: prosody:member"
    assert address in shell(f"user:list('{DOMAIN}')")
    shell(f"user:password('{address}', 'second')")
    assert can_log_in(stage, address, "second")
    shell(f"user:delete('{address}')")
    assert not can_log_in(stage, address, "second")
    assert address not in shell(f"user:list('{DOMAIN}')")


def test_the_shell_shows_and_ends_connections(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        shown = stage.server.shell("c2s:show()")
        for client in (alice, bob):
            assert str(client.boundjid) in shown
        assert re.search(r"TLSv1\.[23]", stage.server.shell("c2s:show_tls()"))
        assert "0 s2s connections" in stage.server.shell("s2s:show()")
        ended = bob.upcoming("disconnected")
        stage.server.shell(f"c2s:close('{bob.boundjid}')")
        await ended
        assert str(bob.boundjid) not in stage.server.shell("c2s:show()")
        await alice.catch_up()

    stage.play(scene)


def test_the_shell_looks_after_rooms(stage: Stage) -> None:
    async def scene(alice: Client, bob: Client) -> None:
        shell, room = stage.server.shell, new_room()
        shell(f"muc:create('{room}', {{ persistent = true, public = true }})")
        assert str(room) in shell(f"muc:list('{room.domain}')")
        entered = (await enter(bob, room, "bob")).presence.xml
        assert standing(entered) == ("none", "participant")
        assert "bob" in shell(f"muc:occupants('{room}')")
        own = await open_room(alice)
        await affiliate(alice, own, BOB, "member")
        assert re.search(rf"{BOB}.*member|member.*{BOB}", shell(f"muc:affiliations('{own}')"), re.DOTALL)
        told = Watch(bob, "presence")
        shell(f"muc:room('{room}'):destroy()")
        await told.until(lambda stanza: stanza.get("type") == "unavailable")
        assert await refusal(enter(bob, room, "bob")) == "gone"

    stage.play(scene)


def test_the_shell_says_what_is_wrong(stage: Stage) -> None:
    """With a status that scripts can see."""
    for wrong in (f"user:password('nobody@{DOMAIN}', 'a')", "user:create('no address')", "nonsense:nothing()", "host:"):
        outcome = stage.server.execute("prosodyctl", "shell", wrong)
        assert outcome.status != 0, outcome.text
        assert outcome.text.strip(), wrong


def test_the_shell_is_nobody_elses(stage: Stage) -> None:
    """Not of other users in the container: only of the server's own, and of root."""
    assert stage.server.execute("prosodyctl", "shell", "server:uptime()", user="12345:12345").status != 0
    assert stage.server.shell("server:uptime()").startswith("OK")
