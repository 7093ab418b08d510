"""What the container itself promises: healthy, quiet, reloads with care, stops well, keeps its data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import slixmpp

from tests.integration import servers
from tests.integration.clients import Client, connected, log_in
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
RELOADING = "Reloading configuration file"


def test_the_health_check_says_healthy(own_server: Server) -> None:
    outcome = own_server.health()
    assert outcome.status == 0, outcome.text


def test_the_health_check_notices_a_deaf_server(client: docker.DockerClient, image: LoadedImage) -> None:
    """The same check where no server listens."""
    health = client.images.get(image.name).attrs["Config"]["Healthcheck"]["Test"]
    outcome = servers.run(client, image, *health[2:], entrypoint=[health[1]])
    assert outcome.status == 1, outcome.text


def test_a_stop_is_graceful_and_quick(own_server: Server) -> None:
    started = time.monotonic()
    own_server.running.stop(timeout=30)
    seconds = time.monotonic() - started
    assert own_server.running.wait()["StatusCode"] == 0, own_server.log()
    assert seconds < 10, f"took {seconds:.1f} s; docker kills after 10 s"


def test_the_self_signed_certificate_is_announced(own_server: Server) -> None:
    log = own_server.log()
    assert "self-signed" in log
    assert "SHA-256" in log or "sha256" in log.lower()


def test_the_log_is_free_of_warnings(own_server: Server) -> None:
    bad = [line for line in own_server.log().splitlines() if {"error", "warn"} & set(line.split())]
    assert not bad, bad


def test_storage_in_sqlite_keeps_accounts(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    with servers.serving(client, image, PROSODY_STORAGE="sql", PROSODY_SQL_DRIVER="SQLite3") as server:
        certificate = server.certificate(tmp_path)

        log_in(server.port(), ALICE, ALICE_PASSWORD, certificate)
        assert server.read("/var/lib/prosody/prosody.sqlite").startswith(b"SQLite format 3\0")
        server.restart()
        log_in(server.port(), ALICE, ALICE_PASSWORD, certificate)


# ---- Reloads


class Reloading:
    """A server whose files in conf.d, and file of a variable, can be changed, with somebody connected to it."""

    def __init__(self, server: Server, drop_ins: Path, values: Path, certificate: Path) -> None:
        self.server, self.drop_ins, self.values, self.certificate = server, drop_ins, values, certificate

    def reload(self) -> str:
        """Have the server read its configuration again; returns what it logs until it can be asked something again."""
        before = self.server.log()
        self.server.running.kill("SIGHUP")
        self.server.wait_for(lambda: RELOADING in self.server.log()[len(before) :], "the configuration is read again")
        self.title()
        return self.server.log()[len(before) :]

    def title(self) -> str:
        """The option of the configuration that these tests change."""
        return self.option("own_title")

    def option(self, name: str) -> str:
        """An option of the running server, as it answers."""
        return self.server.shell(f"> require 'prosody.core.configmanager'.get('*', '{name}')").removeprefix("Result: ")

    def while_connected(self, *steps: str | None) -> list[str]:
        """Reload once for each text of the file in conf.d (None: without it) while a client stays connected."""

        async def scenario() -> list[str]:
            logs = []
            async with connected(self.server.port(), ALICE, ALICE_PASSWORD, self.certificate) as alice:
                for text in steps:
                    self.write(text)
                    logs.append(await asyncio.to_thread(self.reload))
                    await self.ping(alice)
            return logs

        return asyncio.run(scenario())

    def write(self, text: str | None) -> None:
        """The file in conf.d."""
        path = self.drop_ins / "own.cfg.lua"
        if text is None:
            path.unlink()
        else:
            path.write_text(text)
            path.chmod(0o644)

    async def ping(self, alice: Client) -> None:
        """The connection from before is still there."""
        await alice.plugin["xep_0199"].ping(slixmpp.JID(DOMAIN))
        assert not alice.disconnected.done()


@pytest.fixture
def reloading(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> Iterator[Reloading]:
    folders = [tmp_path / name for name in ("conf.d", "values")]
    for folder in folders:
        folder.mkdir(mode=0o755)
    drop_ins, values = folders
    (values / "motd").write_text("first\n")
    accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts, "PROSODY_MOTD_FILE": "/values/motd"}
    server = Server(client, image, variables)
    server.mounts = {
        str(drop_ins): {"bind": "/etc/prosody/conf.d", "mode": "ro"},
        str(values): {"bind": "/values", "mode": "ro"},
    }
    found = Reloading(server, drop_ins, values, tmp_path)
    found.write('own_title = "first"\n')
    try:
        server.start()
        found.certificate = server.certificate(tmp_path)
        yield found
    finally:
        server.remove()


def test_a_reload_takes_effect_and_disturbs_nobody(reloading: Reloading) -> None:
    assert reloading.title() == "first"
    (log,) = reloading.while_connected('own_title = "second"\n')
    assert "error" not in log.split(), log
    assert reloading.title() == "second"
    reloading.while_connected(None)
    assert reloading.title() == "nil"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('own_title = "second"\nown_title = \n', "own.cfg.lua"),
        ('own_title = "second"\nerror "made up"\n', "made up"),
        ('own_title = "second"\nInclude "missing.cfg.lua"\n', "missing.cfg.lua"),
    ],
    ids=["syntax", "error", "include"],
)
def test_a_reload_of_a_faulty_file_changes_nothing(reloading: Reloading, text: str, reason: str) -> None:
    log, again = reloading.while_connected(text, 'own_title = "third"\n')
    assert any("error" in line.split() and reason in line for line in log.splitlines()), log
    assert "error" not in again.split(), again
    assert reloading.title() == "third"


@pytest.mark.parametrize("text", ["own_title = \n", "error 'made up'\n"], ids=["syntax", "error"])
def test_after_a_faulty_reload_the_server_has_what_it_had(reloading: Reloading, text: str, tmp_path: Path) -> None:
    reloading.while_connected(text)
    assert reloading.title() == "first"
    log_in(reloading.server.port(), BOB, BOB_PASSWORD, reloading.certificate)
    health = reloading.server.execute("/usr/bin/lua5.4", "/usr/local/lib/prosody-container/health.lua")
    assert health.status == 0, health.text


def test_a_reload_reads_the_files_of_variables(reloading: Reloading) -> None:
    assert reloading.option("motd_text") == "first"
    (reloading.values / "motd").write_text("second\n")
    reloading.while_connected('own_title = "second"\n')
    assert reloading.option("motd_text") == "second"


@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_a_reload_with_a_broken_file_of_a_variable_changes_nothing(reloading: Reloading, content: str | None) -> None:
    motd = reloading.values / "motd"
    if content is None:
        motd.unlink()
    else:
        motd.write_text(content)
    (log,) = reloading.while_connected('own_title = "second"\n')
    assert any("error" in line.split() and "PROSODY_MOTD_FILE" in line for line in log.splitlines()), log
    assert reloading.title() == "first"
    assert reloading.option("motd_text") == "first"
    motd.write_text("third\n")
    reloading.while_connected('own_title = "third"\n')
    assert (reloading.title(), reloading.option("motd_text")) == ("third", "third")
