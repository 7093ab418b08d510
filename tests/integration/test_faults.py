"""Crashes, power cuts and other faults: what a server has acknowledged is there afterwards, once."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import docker
import pytest
import slixmpp

from scripts import toolset
from tests.integration import delivery, disks, servers, storages, streams
from tests.integration.authority import Authority
from tests.integration.clients import Client, RefusedError, connected, log_in
from tests.integration.containers import CONFINED, PATIENCE, LoadedImage
from tests.integration.delivery import MANAGEMENT, RECEIVER, SENDER, Flood, flooding
from tests.integration.disks import Disk
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.storages import Databases
from tests.integration.streams import Stream

# What is to be seen is the storage at work, not the limit of the connection.
_UNLIMITED = {"PROSODY_C2S_RATE_LIMIT": "100mb/s"}
_MEMORY = 96 * 1024 * 1024  # bytes that the container may use
_ENOUGH = 80  # messages acknowledged before something happens
_GREETING = "hello"
Record = Callable[[str, object], None]


def _variables(environment: Mapping[str, str]) -> dict[str, str]:
    accounts = "\n".join(f"{jid}:{password}" for jid, password in ACCOUNTS.items())
    return {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts, **_UNLIMITED, **environment}


@pytest.fixture(scope="module", params=[*storages.FILES, *storages.SERVERS])
def stored(
    request: pytest.FixtureRequest, client: docker.DockerClient, image: LoadedImage, databases: Databases
) -> Iterator[Server]:
    """A server on each storage in turn."""
    options = {"mem_limit": _MEMORY, "memswap_limit": _MEMORY, **databases.network.member(4)}
    with servers.serving(client, image, options, **_UNLIMITED, **databases.environment(request.param)) as started:
        yield started


# ---- Processes that end


def _kill(server: Server) -> None:
    server.running.kill()
    assert server.running.wait()["StatusCode"] == 128 + 9


def _use_up_memory(server: Server) -> None:
    """Have the server itself use more memory than its container may: the kernel kills it (cgroups(7))."""
    server.execute("prosodyctl", "shell", f"> #('x'):rep({2 * _MEMORY})")
    server.running.wait()
    server.running.reload()
    assert server.running.attrs["State"]["OOMKilled"], server.log()


@pytest.mark.parametrize("end", [_kill, _use_up_memory])
def test_a_server_that_is_killed_has_what_it_acknowledged(
    end: Callable[[Server], None], stored: Server, tmp_path: Path, record_property: Record
) -> None:
    certificate = stored.certificate(tmp_path)

    async def scenario() -> None:
        async with flooding(stored, certificate) as flood:
            await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
            await asyncio.to_thread(end, stored)
            await flood.until(flood.lost.is_set)
        await asyncio.to_thread(stored.restart)
        tally = flood.tally(await delivery.kept(stored, certificate, flood))
        tally.report(end.__name__, record_property)
        assert tally.tried > tally.acknowledged >= _ENOUGH
        assert (tally.lost, tally.doubled) == (0, 0)

    asyncio.run(scenario())


def _handled(server: Server, certificate: Path, flood: Flood) -> int:
    """What a server that was started again says to a client that wants to resume: the stanzas that were handled."""
    with Stream(server.port(), DOMAIN) as stream:
        stream.open()
        stream.start_tls(streams.trusting(certificate))
        stream.open()
        stream.log_in(slixmpp.JID(SENDER).local, ACCOUNTS[SENDER])
        stream.send(f"<resume xmlns='{MANAGEMENT}' previd='{flood.stream}' h='0'/>")
        return int(stream.expect(f"{{{MANAGEMENT}}}failed").get("h", "-1"))


def test_a_server_that_is_stopped_says_what_it_has_handled(
    stored: Server, tmp_path: Path, record_property: Record
) -> None:
    """So a client sends the rest again, and nothing twice (XEP-0198, 5)."""
    certificate = stored.certificate(tmp_path)

    async def scenario() -> None:
        async with (
            # Not by a published port: the engine ends its proxy with the container, whatever that has still to pass on.
            connected(5222, SENDER, ACCOUNTS[SENDER], certificate, address=stored.address) as other,
            flooding(stored, certificate) as flood,
        ):
            farewell: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
            other.add_event_handler("stream_error", farewell.set_result)
            await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
            began = time.monotonic()
            await asyncio.to_thread(stored.running.stop, timeout=30)
            assert time.monotonic() - began < 10, "Docker kills after 10 s"
            assert stored.running.wait()["StatusCode"] == 0, stored.log()
            assert (await asyncio.wait_for(farewell, PATIENCE))["condition"] == "system-shutdown"
            await flood.until(flood.lost.is_set)
        await asyncio.to_thread(stored.restart)
        flood.note_handled(await asyncio.to_thread(_handled, stored, certificate, flood))

        async with flooding(stored, certificate) as again:
            rest = [body for body in flood.tried if body not in flood.acknowledged]
            for body in rest:
                again.sender.say(RECEIVER, body)
            await again.until(lambda: again.acknowledged.issuperset(rest))
        flood.acknowledged.update(rest)
        tally = flood.tally(await delivery.kept(stored, certificate, flood))
        tally.report("SIGTERM", record_property)
        assert rest
        assert tally.found == tally.tried
        assert (tally.lost, tally.doubled) == (0, 0)

    asyncio.run(scenario())


# ---- Power cuts


@contextmanager
def _on_disk(
    client: docker.DockerClient, image: LoadedImage, folder: Path, environment: Mapping[str, str], options: str
) -> Iterator[tuple[Server, Disk]]:
    """A server whose volume is a disk, mounted with `options`; all that the start wrote is on it."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can make disks")
    with disks.disk(client, folder, options) as disk:
        server = Server(client, image, _variables(environment), volume=disk.volume)
        try:
            server.start()
            disk.sync(server.running)
            yield server, disk
        finally:
            server.remove()


def _cut_power(server: Server, disk: Disk, flood: Flood) -> None:
    """Stop the server in the midst of its work, and lose what is not on the disk."""
    server.pause()
    disk.cut_power(server.running)
    flood.sender.abort()  # what the server would say now, it would not have said
    server.remove_container()
    disk.wait_until_unmounted()


@pytest.mark.parametrize(
    ("environment", "options"),
    [({"PROSODY_SQL_DRIVER": "SQLite3"}, ""), ({}, "sync,dirsync")],
    ids=["sqlite", "internal-sync"],
)
def test_a_power_cut_loses_nothing_that_was_acknowledged(
    environment: dict[str, str],
    options: str,
    client: docker.DockerClient,
    image: LoadedImage,
    tmp_path: Path,
    record_property: Record,
) -> None:
    with _on_disk(client, image, tmp_path, environment, options) as (server, disk):
        certificate = server.certificate(tmp_path)

        async def scenario() -> None:
            async with flooding(server, certificate) as flood:
                await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
                await asyncio.to_thread(_cut_power, server, disk, flood)
            await asyncio.to_thread(server.start)
            tally = flood.tally(await delivery.kept(server, certificate, flood))
            tally.report("power cut", record_property)
            assert tally.tried > tally.acknowledged >= _ENOUGH
            assert (tally.lost, tally.doubled) == (0, 0)

        asyncio.run(scenario())


def test_a_power_cut_keeps_the_message_that_was_acknowledged_last(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    """Nothing comes after it that has the system write more: SQLite's own default loses it each time."""
    with _on_disk(client, image, tmp_path, {"PROSODY_SQL_DRIVER": "SQLite3"}, "") as (server, disk):
        certificate = server.certificate(tmp_path)

        async def scenario() -> None:
            async with connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate, plugins=["xep_0198"]) as sender:
                flood = Flood(sender)
                await flood.burst(1)
                await asyncio.to_thread(_cut_power, server, disk, flood)
            await asyncio.to_thread(server.start)
            tally = flood.tally(await delivery.kept(server, certificate, flood))
            tally.report("power cut", record_property)
            assert (tally.lost, tally.doubled) == (0, 0)

        asyncio.run(scenario())


def test_files_are_mended_after_a_power_cut(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    """Prosody does not wait for the disk: what the system had not written is lost, but nothing else, then or later."""
    with _on_disk(client, image, tmp_path, {}, "") as (server, disk):
        certificate = server.certificate(tmp_path)

        async def scenario() -> None:
            async with flooding(server, certificate) as flood:
                await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
                written = set(flood.acknowledged)
                await asyncio.to_thread(disk.sync, server.running)
                await flood.until(lambda: len(flood.acknowledged) >= len(written) + _ENOUGH)
                await asyncio.to_thread(_cut_power, server, disk, flood)
            await asyncio.to_thread(server.start)
            places = await delivery.kept(server, certificate, flood)
            tally = flood.tally(places)
            tally.report("power cut", record_property)
            assert tally.doubled == 0
            for place in places.values():
                assert written <= set(place), server.log()

            async with flooding(server, certificate) as later:
                await later.until(lambda: len(later.acknowledged) >= _ENOUGH)
            tally = later.tally(await delivery.kept(server, certificate, later))
            assert (tally.lost, tally.doubled) == (0, 0)
            earlier = await delivery.kept(server, certificate, flood)
            assert earlier["receiver's archive"] == places["receiver's archive"]

        asyncio.run(scenario())


# ---- What the server needs from outside


_FILL = """
local file = assert(io.open("/var/lib/prosody/fill", "wb"))
file:setvbuf("no")
while file:write(("x"):rep(4096)) do end
"""


@pytest.mark.parametrize("storage", storages.FILES)
def test_what_a_full_disk_cannot_take_is_refused(
    storage: str, client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    server = Server(client, image, _variables(storages.environment(storage)))
    server.volume = client.volumes.create(
        f"prosody-test-{uuid.uuid4().hex[:8]}",
        driver="local",
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=8m,uid=5222,gid=5222,mode=0750"},
    )

    def run_lua(program: str) -> None:
        outcome = server.execute("/usr/bin/lua5.4", "-e", program)
        assert outcome.status == 0, outcome.text

    async def scenario() -> None:
        certificate = server.certificate(tmp_path)
        async with flooding(server, certificate) as flood:
            await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
            await asyncio.to_thread(run_lua, _FILL)
            await flood.until(lambda: len(flood.refused) >= _ENOUGH)
        async with connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate):
            pass  # the server is there as before, and lets people in
        await asyncio.to_thread(run_lua, 'assert(os.remove("/var/lib/prosody/fill"))')
        places = await delivery.kept(server, certificate, flood)
        # At the moment when the disk is full, one of these may have it and the other not.
        tally = flood.tally({"receiver": places["offline"] | places["receiver's archive"]})
        tally.report("full disk", record_property)
        assert (tally.lost, tally.doubled) == (0, 0)

        async with flooding(server, certificate) as later:
            await later.until(lambda: len(later.acknowledged) >= _ENOUGH)
        places = await delivery.kept(server, certificate, later)
        tally = later.tally({"receiver": places["offline"] | places["receiver's archive"]})
        assert (tally.lost, tally.doubled) == (0, 0)
        # LuaDBI tells once more, at the next use of a statement, that it failed before.
        everywhere = later.tally(places)
        assert everywhere.refused + everywhere.lost <= (1 if storage == "SQLite3" else 0)
        assert everywhere.doubled == 0

    try:
        server.start()
        asyncio.run(scenario())
    finally:
        server.remove()


# A name server that is there, and says nothing; and one that knows no name (NXDOMAIN; RFC 1035, 4.1).
_SILENCE = """
local listener = require "socket".udp()
assert(listener:setsockname("127.0.0.1", 53))
for _ = 1, math.huge do listener:receivefrom() end
"""
_IGNORANCE = """
local listener = require "socket".udp()
assert(listener:setsockname("127.0.0.1", 53))
while true do
	local query, address, port = listener:receivefrom()
	local position = 13
	while query:byte(position) ~= 0 do position = position + 1 + query:byte(position) end
	local question = query:sub(13, position + 4)
	listener:sendto(query:sub(1, 2) .. "\\x81\\x83\\0\\1\\0\\0\\0\\0\\0\\0" .. question, address, port)
end
"""


def test_without_names_only_other_servers_are_out_of_reach(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    """Messages to them come back soon, nobody else waits or loses one, and it is noticed when the names are back."""

    @contextmanager
    def name_server(server: Server, program: str) -> Iterator[None]:
        """In the place of the server's own loopback."""
        container = client.containers.run(
            image.name, ["-e", program], entrypoint=["/usr/bin/lua5.4"], platform=image.platform.name, detach=True,
            network_mode=f"container:{server.running.id}", **CONFINED,
        )  # fmt: skip
        try:
            yield
        finally:
            container.remove(force=True, v=True)

    async def write(client: Client) -> Any:
        """What comes back of a message to another server."""
        returned = client.upcoming("message_error")
        client.say(f"somebody@{uuid.uuid4().hex}.example", _GREETING)
        return await returned

    async def scenario(server: Server) -> None:
        certificate = server.certificate(tmp_path)
        async with (
            connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate) as sender,
            connected(server.port(), RECEIVER, ACCOUNTS[RECEIVER], certificate) as receiver,
        ):
            with name_server(server, _SILENCE):
                began = time.monotonic()
                returned = asyncio.create_task(write(sender))
                receiver.say(SENDER, _GREETING)
                await sender.next_message()
                assert not returned.done()
                assert (await returned)["error"]["condition"] == "remote-server-not-found"
                assert time.monotonic() - began < 10
        async with flooding(server, certificate) as flood:
            with name_server(server, _SILENCE):
                await write(flood.sender)
                await flood.until(lambda: len(flood.acknowledged) >= _ENOUGH)
            assert flood.refused == {_GREETING}
        tally = flood.tally(await delivery.kept(server, certificate, flood))
        tally.report("no names", record_property)
        assert (tally.lost, tally.doubled) == (0, 0)
        async with connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate) as sender:
            with name_server(server, _IGNORANCE):
                began = time.monotonic()
                while "NXDomain" not in server.log():
                    await write(sender)
                    assert time.monotonic() - began < 20, server.log()

    resolver = tmp_path / "resolv.conf"
    resolver.write_text("nameserver 127.0.0.1\n")
    resolver.chmod(0o644)
    server = Server(client, image, _variables({"PROSODY_LOGLEVEL": "debug"}))
    server.mounts[str(resolver)] = {"bind": "/etc/resolv.conf", "mode": "ro"}
    try:
        server.start()
        asyncio.run(scenario(server))
    finally:
        server.remove()


def test_messages_go_on_while_a_certificate_expires(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    """Nobody new gets in until it is renewed, and who is there does not notice."""
    authority, folder, root = Authority(), tmp_path / "certificates", tmp_path / "root.pem"
    folder.mkdir()
    root.write_bytes(authority.root)
    server = Server(client, image, _variables({}))
    server.mounts[str(folder)] = {"bind": "/etc/prosody/certs", "mode": "ro"}

    def serve(valid_for: timedelta, status: int) -> None:
        """Have a certificate served that is valid since an hour ago, and wait for the status of the health check."""
        authority.issue([DOMAIN], valid_for=valid_for).put(folder, DOMAIN)
        server.running.kill(signal="HUP")
        server.wait_for(lambda: server.health().status == status, f"the status of the health check is {status}")

    async def scenario() -> None:
        async with connected(server.port(), SENDER, ACCOUNTS[SENDER], root, plugins=["xep_0198"]) as sender:
            flood = Flood(sender)
            await flood.burst(_ENOUGH)
            await asyncio.to_thread(serve, timedelta(hours=1, seconds=5), 1)
            await flood.burst(_ENOUGH)
            with pytest.raises(RefusedError, match="certificate"):
                async with connected(server.port(), RECEIVER, ACCOUNTS[RECEIVER], root):
                    pass
            await asyncio.to_thread(serve, timedelta(days=1), 0)
            await flood.burst(_ENOUGH)
        tally = flood.tally(await delivery.kept(server, root, flood))
        tally.report("an expired certificate", record_property)
        assert (tally.lost, tally.doubled) == (0, 0)

    authority.issue([DOMAIN]).put(folder, DOMAIN)
    try:
        server.start()
        asyncio.run(scenario())
    finally:
        server.remove()


# ---- Starts


def test_starts_that_are_killed_leave_nothing_half_done(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    server = Server(client, image, _variables({}))
    accepts_clients = server.accepts_clients
    fingerprints = set()
    try:
        for moment in ("SHA-256 fingerprint", "Certificates loaded", "User account created", "file_share"):
            server.accepts_clients = lambda moment=moment: moment in server.log()  # type: ignore[method-assign,misc]
            server.start()
            _kill(server)
            fingerprints.update(re.findall("SHA-256 fingerprint (.*)", server.log()))
            server.remove_container()
        server.accepts_clients = accepts_clients  # type: ignore[method-assign]
        server.start()
        assert len(fingerprints) == 1, "another certificate was made"
        assert " error" not in server.log()
        certificate = server.certificate(tmp_path)
        for jid, password in ACCOUNTS.items():
            log_in(server.port(), jid, password, certificate)
    finally:
        server.remove()


# ---- Clocks


class Clock:
    """The time in a container, which can be set while it runs (libfaketime)."""

    def __init__(self, folder: Path) -> None:
        library = next(toolset.unpack("faketime").root.glob("usr/lib/*/faketime/libfaketime.so.1"))
        folder.mkdir(mode=0o755)
        self._file = folder / "offset"
        self.set(0)
        self.mounts = {
            str(library): {"bind": "/libfaketime.so", "mode": "ro"},
            str(folder): {"bind": "/clock", "mode": "ro"},
        }
        self.environment = {
            "LD_PRELOAD": "/libfaketime.so",
            "FAKETIME_TIMESTAMP_FILE": "/clock/offset",
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, days: int) -> None:
        """Go to so many days after the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{days:+d}d\n")
        new.chmod(0o644)
        new.rename(self._file)  # at once: the library ends a process that finds half a line


@pytest.mark.parametrize("storage", storages.FILES)
def test_clocks_that_jump_neither_lose_nor_move_messages(
    storage: str, client: docker.DockerClient, image: LoadedImage, tmp_path: Path, record_property: Record
) -> None:
    clock = Clock(tmp_path / "clock")
    # Else what is a month old is deleted by the next periodic task.
    variables = {"PROSODY_ARCHIVE_EXPIRES_AFTER": "never"} | storages.environment(storage) | clock.environment
    server = Server(client, image, _variables(variables), mounts=clock.mounts)

    async def scenario() -> None:
        certificate = server.certificate(tmp_path)
        async with (
            connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate) as sender,
            connected(server.port(), RECEIVER, ACCOUNTS[RECEIVER], certificate) as receiver,
        ):
            jumps = {"now": 0, "a year later": 365, "a month ago": -30, "now again": 0}
            for text, days in jumps.items():
                clock.set(days)
                sender.say(RECEIVER, text)
                assert await receiver.next_message() == text
            for someone, other in ((sender, RECEIVER), (receiver, SENDER)):
                found = [
                    (result["mam_result"]["forwarded"]["stanza"]["body"], result["mam_result"]["forwarded"]["delay"])
                    async for result in someone.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(other))
                ]
                assert [text for text, _ in found] == list(jumps)
                for text, delay in found:
                    away = delay["stamp"] - datetime.now(UTC)
                    assert abs(away - timedelta(days=jumps[text])) < timedelta(hours=1), "the clock was another one"
        async with flooding(server, certificate) as flood:
            flood.began -= timedelta(days=366)
            for days in jumps.values():
                clock.set(days)
                before = len(flood.acknowledged)
                await flood.until(lambda before=before: len(flood.acknowledged) >= before + _ENOUGH)  # type: ignore[misc]
        tally = flood.tally(await delivery.kept(server, certificate, flood))
        tally.report("jumps of the clock", record_property)
        assert (tally.lost, tally.doubled) == (0, 0)
        clock.set(365)
        async with connected(server.port(), SENDER, ACCOUNTS[SENDER], certificate):
            pass
        assert " error" not in server.log()

    try:
        server.start()
        asyncio.run(scenario())
    finally:
        server.remove()
