"""The log of a running container: at once, as text or JSON, with a level for each module, with or without addresses."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import servers
from tests.integration.clients import connected
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
_IPV4 = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\w)")


@pytest.fixture(scope="module")
def json_server(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that logs JSON, with levels that differ by module."""
    levels = "mod_tls=debug,portmanager=warn,c2s=error"
    with servers.serving(client, image, PROSODY_LOG_FORMAT="json", PROSODY_LOG_LEVELS=levels) as started:
        yield started


def log_in(server: Server, folder: Path) -> None:
    """Alice logs in over verified TLS."""

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, server.certificate(folder)):
            pass

    asyncio.run(scenario())


def entries(server: Server) -> list[dict[str, Any]]:
    """Everything printed since the first message of the server; each line must be a JSON object."""
    lines = server.log().rstrip("\n").split("\n")
    start = next((number for number, line in enumerate(lines) if line.startswith("{")), None)
    assert start is not None, lines
    found = [json.loads(line) for line in lines[start:]]
    assert all(isinstance(entry, dict) for entry in found)
    return found


def test_every_line_is_a_json_object(json_server: Server, tmp_path: Path) -> None:
    log_in(json_server, tmp_path)
    found = entries(json_server)
    for entry in found:
        assert {"time", "level", "name", "message"} <= entry.keys() <= {
            "time", "level", "name", "host", "module", "message",
        }, entry  # fmt: skip
        assert _TIME.fullmatch(entry["time"]), entry
    assert [entry["time"] for entry in found] == sorted(entry["time"] for entry in found)
    modules = {(entry.get("host"), entry.get("module")) for entry in found}
    assert (DOMAIN, "tls") in modules
    assert (None, "http") in modules
    assert any(entry["name"] == "startup" and "module" not in entry for entry in found)


def test_levels_follow_the_module(json_server: Server, tmp_path: Path) -> None:
    log_in(json_server, tmp_path)
    found = entries(json_server)
    assert any(entry["level"] == "debug" and entry.get("module") == "tls" for entry in found)
    assert {entry["name"] for entry in found if entry["level"] == "debug" and entry.get("module") != "tls"} == set()
    assert any(entry["level"] == "info" for entry in found)
    # Both say something at info on every start and every login.
    assert {entry["name"] for entry in found if entry["name"].startswith(("portmanager", "c2s"))} == set()


def test_a_reload_keeps_the_format_and_doubles_nothing(json_server: Server) -> None:
    before = len(entries(json_server))
    json_server.running.kill(signal="HUP")

    def reloaded() -> list[dict[str, Any]]:
        return [entry for entry in entries(json_server)[before:] if entry["message"] == "Certificates reloaded"]

    json_server.wait_for(lambda: len(reloaded()) >= 3, "the certificates of three hosts are reloaded")
    assert len(reloaded()) == len({entry["name"] for entry in reloaded()})
    messages = [entry["message"] for entry in entries(json_server)[before:]]
    assert messages.count("Received SIGHUP") == 1, messages


def test_a_message_is_out_at_once(own_server: Server) -> None:
    """One short line, while nothing else happens: in a buffer it would stay."""
    before = own_server.log().count("Client connected")
    with socket.create_connection(("127.0.0.1", own_server.port()), timeout=5) as connection:
        connection.sendall(b"<?xml version='1.0'?>")
        own_server.wait_for(lambda: own_server.log().count("Client connected") > before, "the connection is logged")
        assert own_server.log().endswith("\n")


def test_text_has_the_time_where_asked_for(client: docker.DockerClient, image: LoadedImage) -> None:
    with servers.serving(client, image, PROSODY_LOG_TIMESTAMPS="true") as server:
        lines = [line for line in server.log().splitlines() if not line.startswith("prosody-container:")]
    assert lines
    for line in lines:
        stamp, rest = line.split(" ", 1)
        assert _TIME.fullmatch(stamp), line
        assert re.match(r"\S+ +(debug|info|warn|error)\t", rest), line


def test_text_is_like_prosodys_own_by_default(own_server: Server) -> None:
    lines = [line for line in own_server.log().splitlines() if not line.startswith("prosody-container:")]
    assert lines[0] == "startup             info\tHello and welcome to Prosody version 13.0.6", lines[0]
    assert not any("\x1b" in line for line in lines), "colours without a terminal"


@pytest.mark.parametrize("addresses", ["true", "false"])
def test_addresses_are_left_out_where_asked_for(
    client: docker.DockerClient, image: LoadedImage, addresses: str, tmp_path: Path
) -> None:
    """With every message there is, and a real login. The first half shows that there is something to leave out."""
    with servers.serving(client, image, PROSODY_LOGLEVEL="debug", PROSODY_LOG_ADDRESSES=addresses) as server:
        log_in(server, tmp_path)
        assert server.says("Authenticated as alice"), "the login is not logged"
        lines = [line for line in server.log().splitlines() if not line.startswith("prosody-container:")]
    shown = [line for line in lines if _IPV4.search(line)]
    if addresses == "true":
        assert shown
    else:
        assert not shown
        assert any("[address]" in line for line in lines)
        assert any("13.0.6" in line for line in lines), "a version was taken for an address"
