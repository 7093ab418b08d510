"""Accounts of the environment: made once, invited, given roles; and the invitation of a first administrator."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import servers
from tests.integration.clients import RefusedError, connected, log_in
from tests.integration.containers import LoadedImage
from tests.integration.registration import Registration
from tests.integration.servers import DOMAIN, Server

SECOND = "second.example"
JULIET = f"juliet@{DOMAIN}"
# Everything that quoting, separators and encodings could trip over.
PASSWORDS = {
    f"quotes@{DOMAIN}": """it's "quoted" `twice`""",
    f"colons@{DOMAIN}": ":a:b@c.example:d:",
    f"brackets@{DOMAIN}": "]] ]=] --[[ os.exit(1) --]]",
    f"blanks@{DOMAIN}": "  two in front, two behind  ",
    f"escapes@{DOMAIN}": r"\n \\ \0 %s %1 ${PROSODY_DOMAIN} $(id) {}",
    f"markup@{DOMAIN}": "<a&b>,;=#",
    f"unicode@{DOMAIN}": "pässwörd пароль 密码 ﬁ",
    f"naïve@{SECOND}": "another domain",
    f"digits@{SECOND}": "0042",
}
_INVITATION = re.compile(r"Invitation for (.+), good once and until (\S+ \S+ UTC): xmpp:(\S+)\?register;preauth=(\S+)")
_STORAGES = {"files": {}, "SQLite3": {"PROSODY_SQL_DRIVER": "SQLite3"}}


def invitations(server: Server) -> dict[str, str]:
    """Invitations in the log: token by whom it is for."""
    return {name: token for name, _, _, token in _INVITATION.findall(server.log())}


def wait_for_preparation(server: Server) -> None:
    """Wait until accounts and invitations are made: mod_cron begins after every module is ready."""
    server.wait_for(lambda: "Running periodic tasks" in server.log(), "the server is prepared")


def restart(server: Server, **environment: str) -> None:
    """A new container on the same data, with variables of its own."""
    server.remove_container()
    server.environment = environment
    server.start()
    wait_for_preparation(server)


@pytest.fixture
def start(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that is not started yet; `restart` starts it."""
    server = Server(client, image, {})
    try:
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def populated(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server of two domains, with all kinds of passwords and with roles."""
    with servers.serving(
        client,
        image,
        PROSODY_VIRTUAL_HOSTS=f"{DOMAIN}, {SECOND}",
        PROSODY_ACCOUNTS="\n".join(f"{address}:{password}" for address, password in PASSWORDS.items()),
        PROSODY_ACCOUNT_ROLES=f"quotes@{DOMAIN}=prosody:admin,digits@{SECOND}=prosody:member",
        LOCAL="local",
        DOMAIN=SECOND,
        PASSWORD=' "of one":account ',
    ) as started:
        wait_for_preparation(started)
        yield started


@pytest.mark.parametrize("address", PASSWORDS)
def test_a_password_may_have_any_characters(populated: Server, address: str, tmp_path: Path) -> None:
    certificate = populated.certificate(tmp_path)
    log_in(populated.port(), address, PASSWORDS[address], certificate)
    with pytest.raises(RefusedError):
        log_in(populated.port(), address, PASSWORDS[address] + "x", certificate)


def test_local_domain_and_password_make_an_account(populated: Server, tmp_path: Path) -> None:
    log_in(populated.port(), f"local@{SECOND}", ' "of one":account ', populated.certificate(tmp_path))


def test_an_account_is_made_in_its_domain_only(populated: Server) -> None:
    assert f"digits@{DOMAIN}" not in populated.shell(f"user:list('{DOMAIN}')")


def test_roles_are_given(populated: Server) -> None:
    assert populated.shell(f"user:role('quotes@{DOMAIN}')") == "OK: prosody:admin"
    assert populated.shell(f"user:role('digits@{SECOND}')") == "OK: prosody:member"
    assert populated.shell(f"user:role('colons@{DOMAIN}')") == "OK: prosody:registered"


def test_no_password_is_logged(populated: Server) -> None:
    log = populated.log()
    assert not [password for password in PASSWORDS.values() if password in log]


@pytest.mark.parametrize("storage", _STORAGES)
def test_a_password_belongs_to_its_user(start: Server, storage: str, tmp_path: Path) -> None:
    """Changed by the user (XEP-0077, 3.3), it outlives a restart, unless the operator wants it back."""
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{JULIET}:first", **_STORAGES[storage]}
    restart(start, **variables)
    certificate = start.certificate(tmp_path)

    async def change() -> None:
        async with connected(start.port(), JULIET, "first", certificate) as juliet:
            juliet.register_plugin("xep_0077")
            registration: Any = juliet.plugin["xep_0077"]
            await registration.change_password("second", jid=DOMAIN)

    asyncio.run(change())
    restart(start, **variables)
    assert "account created" not in start.log()
    log_in(start.port(), JULIET, "second", certificate)
    with pytest.raises(RefusedError):
        log_in(start.port(), JULIET, "first", certificate)
    restart(start, **variables, PROSODY_ACCOUNTS_OVERWRITE="true")
    log_in(start.port(), JULIET, "first", certificate)
    restart(start, **variables, PROSODY_ACCOUNTS_OVERWRITE="true")
    assert "password changed" not in start.log(), "a password that is right already was set again"


def test_roles_follow_the_environment(start: Server) -> None:
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{JULIET}:a"}
    restart(start, **variables, PROSODY_ACCOUNT_ROLES=f"{JULIET}=prosody:admin")
    assert start.shell(f"user:role('{JULIET}')") == "OK: prosody:admin"
    restart(start, **variables)
    assert start.shell(f"user:role('{JULIET}')") == "OK: prosody:admin"
    restart(start, **variables, PROSODY_ACCOUNT_ROLES=f"{JULIET}=prosody:member,romeo@{DOMAIN}=prosody:admin")
    assert start.shell(f"user:role('{JULIET}')") == "OK: prosody:member"
    assert f"no account romeo@{DOMAIN} to give the role" in start.log()


def test_a_role_that_does_not_exist_is_reported(start: Server) -> None:
    restart(
        start,
        PROSODY_DOMAIN=DOMAIN,
        PROSODY_ACCOUNTS=f"{JULIET}:a",
        PROSODY_ACCOUNT_ROLES=f"{JULIET}=prosody:empress",
    )
    assert f"The role prosody:empress could not be given to {JULIET}" in start.log()


def test_an_account_can_be_added_by_a_reload(start: Server, tmp_path: Path) -> None:
    folder = tmp_path / "values"
    folder.mkdir(mode=0o755)
    accounts = folder / "accounts"
    accounts.write_text(f"{JULIET}:a\n")
    start.mounts[str(folder)] = {"bind": "/values", "mode": "ro"}
    restart(start, PROSODY_DOMAIN=DOMAIN, PROSODY_ACCOUNTS_FILE="/values/accounts")
    accounts.write_text(f"{JULIET}:a\nromeo@{DOMAIN}:b\n")
    start.running.kill("SIGHUP")
    start.wait_for(lambda: f"account created: romeo@{DOMAIN}" in start.log(), "romeo's account is made")
    log_in(start.port(), f"romeo@{DOMAIN}", "b", start.certificate(tmp_path))


@pytest.mark.parametrize("storage", _STORAGES)
def test_an_address_alone_is_invited_until_it_registers(start: Server, storage: str, tmp_path: Path) -> None:
    variables = {
        "PROSODY_DOMAIN": DOMAIN,
        "PROSODY_ACCOUNTS": f"romeo@{DOMAIN}:b\n{JULIET}",
        "PROSODY_ACCOUNT_ROLES": f"{JULIET}=prosody:member",
        **_STORAGES[storage],
    }
    restart(start, **variables)
    first = invitations(start)
    assert set(first) == {JULIET}
    restart(start, **variables)
    assert invitations(start) == first, "another invitation was made"
    certificate, token = start.certificate(tmp_path), first[JULIET]

    with Registration(start, certificate) as stranger:
        assert "not-acceptable" in (stranger.register("mallory", "a") or "accepted"), "registered without invitation"
        assert "forbidden" in (stranger.show("guessed") or "accepted")
    with Registration(start, certificate) as stranger:
        assert stranger.show(token) is None
        assert "is for the name juliet" in (stranger.register("mallory", "a") or "accepted")
    with Registration(start, certificate) as juliet, Registration(start, certificate) as other:
        assert juliet.show(token) is None
        assert other.show(token) is None
        assert juliet.register("juliet", "her own") is None
        assert "used already" in (other.register("rosaline", "a") or "accepted")
    with Registration(start, certificate) as late:
        assert "forbidden" in (late.show(token) or "accepted"), "the invitation can be used twice"
    log_in(start.port(), JULIET, "her own", certificate)
    assert start.shell(f"user:role('{JULIET}')") == "OK: prosody:member"

    restart(start, **variables)
    assert invitations(start) == {}
    assert f"no account {JULIET}" not in start.log()
    log_in(start.port(), JULIET, "her own", certificate)


def test_an_invitation_ends_when_the_account_is_made_otherwise(start: Server, tmp_path: Path) -> None:
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": JULIET}
    restart(start, **variables)
    token = invitations(start)[JULIET]
    assert start.execute("prosodyctl", "register", "juliet", DOMAIN, "a").status == 0
    restart(start, **variables)
    assert invitations(start) == {}
    with Registration(start, start.certificate(tmp_path)) as stranger:
        assert "forbidden" in (stranger.show(token) or "accepted")


@pytest.mark.parametrize("storage", _STORAGES)
def test_a_first_administrator_is_invited_once(start: Server, storage: str, tmp_path: Path) -> None:
    variables = {"PROSODY_DOMAIN": DOMAIN, **_STORAGES[storage]}
    whom = f"the first administrator of {DOMAIN}"
    restart(start, **variables)
    first = invitations(start)
    assert set(first) == {whom}
    restart(start, **variables)
    assert invitations(start) == first, "another invitation was made"
    certificate, token = start.certificate(tmp_path), first[whom]
    with Registration(start, certificate) as juliet, Registration(start, certificate) as other:
        assert juliet.show(token) is None
        assert other.show(token) is None
        assert juliet.register("juliet", "a") is None
        assert "used already" in (other.register("mallory", "a") or "accepted"), "two administrators were made"
    assert start.shell(f"user:role('{JULIET}')") == "OK: prosody:admin"
    with Registration(start, certificate) as late:
        assert "forbidden" in (late.show(token) or "accepted"), "the invitation can be used twice"
    restart(start, **variables)
    assert invitations(start) == {}
    log_in(start.port(), JULIET, "a", certificate)


@pytest.mark.parametrize(
    "variables",
    [{"PROSODY_ADMIN_INVITE": "false"}, {"PROSODY_ACCOUNTS": f"{JULIET}:a"}],
    ids=["switched off", "accounts are named"],
)
def test_no_administrator_is_invited(start: Server, variables: dict[str, str], tmp_path: Path) -> None:
    """Neither from the beginning, nor any more when it was invited before."""
    restart(start, PROSODY_DOMAIN=DOMAIN)
    (token,) = invitations(start).values()
    restart(start, PROSODY_DOMAIN=DOMAIN, **variables)
    assert invitations(start) == {}
    with Registration(start, start.certificate(tmp_path)) as stranger:
        assert "forbidden" in (stranger.show(token) or "accepted"), "the earlier invitation is still good"


def test_no_administrator_is_invited_where_there_is_an_account(start: Server) -> None:
    restart(start, PROSODY_DOMAIN=DOMAIN, PROSODY_ADMIN_INVITE="false")
    assert start.execute("prosodyctl", "register", "juliet", DOMAIN, "a").status == 0
    restart(start, PROSODY_DOMAIN=DOMAIN)
    assert invitations(start) == {}


def test_the_invitation_of_an_administrator_expires(start: Server, tmp_path: Path) -> None:
    restart(start, PROSODY_DOMAIN=DOMAIN, PROSODY_ADMIN_INVITE_EXPIRES_AFTER="1 s")
    (token,) = invitations(start).values()
    certificate = start.certificate(tmp_path)

    def is_refused() -> bool:
        with Registration(start, certificate) as stranger:
            return "forbidden" in (stranger.show(token) or "accepted")

    start.wait_for(is_refused, "the invitation expires")
    restart(start, PROSODY_DOMAIN=DOMAIN)
    assert invitations(start), "nobody could become an administrator any more"
    assert token not in invitations(start).values()


def test_an_account_of_another_domain_stops_the_start(client: docker.DockerClient, image: LoadedImage) -> None:
    outcome = servers.run(
        client, image, environment={"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"romeo@{SECOND}:a-secret"}
    )
    assert outcome.status == 78, outcome.text
    assert f"romeo@{SECOND}" in outcome.errors
    assert f"the domain served is {DOMAIN}" in outcome.errors
    assert "a-secret" not in outcome.text
