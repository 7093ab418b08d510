"""Health of a running container: over HTTP and by the image's own check, through outages and back."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration.authority import Authority
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, DOMAIN, Server
from tests.integration.streams import Stream

_PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5223, 5280)}
_FILL = """
local file = assert(io.open("/var/lib/prosody/fill", "wb"))
file:setvbuf("no")
while file:write(("x"):rep(4096)) do end
"""


@contextmanager
def serving(client: docker.DockerClient, image: LoadedImage, **environment: str) -> Iterator[Server]:
    """A started server whose port for HTTP is published."""
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN} | environment, {"ports": _PORTS})
    try:
        server.start()
        yield server
    finally:
        server.remove()


@pytest.fixture(scope="module")
def healthy_server(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that stays well."""
    with serving(client, image) as started:
        yield started


def get(server: Server, path: str, host: str = "anything.example") -> tuple[int, str]:
    """Status and body of a page of the server, asked for from outside of the container."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port(5280), timeout=20)
    try:
        connection.request("GET", path, headers={"Host": host})
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


def check(server: Server) -> tuple[int, str]:
    """Exit status and line of the image's own health check."""
    outcome = server.health()
    return outcome.status, outcome.text.strip()


def run_lua(server: Server, program: str) -> None:
    """Run a Lua program in the container."""
    outcome = server.execute("/usr/bin/lua5.4", "-e", program)
    assert outcome.status == 0, outcome.text


def failing(server: Server) -> dict[str, Any]:
    """The checks that /ready reports as failed."""
    status, body = get(server, "/ready")
    report = json.loads(body)
    failed = {name: result for name, result in report["checks"].items() if not result["ok"]}
    assert status == (200 if report["ready"] else 503)
    assert report["ready"] == (not failed), report
    return failed


def test_a_healthy_server_says_so(healthy_server: Server) -> None:
    status, line = check(healthy_server)
    assert (status, line) == (0, f"healthy: {DOMAIN} answers on port 5222, ready")


@pytest.mark.parametrize("host", [DOMAIN, "anything.example", "127.0.0.1:5280"])
def test_probes_answer_whatever_the_host(healthy_server: Server, host: str) -> None:
    assert get(healthy_server, "/health", host) == (200, "ok\n")
    status, body = get(healthy_server, "/ready", host)
    assert status == 200
    assert json.loads(body) == {
        "ready": True,
        "checks": {"c2s": {"ok": True}, "storage": {"ok": True}, "certificates": {"ok": True}},
    }


def test_frequent_probes_do_not_write(healthy_server: Server) -> None:
    """Of many probes in a row one at most asks the storage."""
    stamps = set()
    path = f"/var/lib/prosody/{DOMAIN.replace('.', '%2e')}/container_health.dat"
    started = time.monotonic()
    for _ in range(50):
        assert get(healthy_server, "/ready")[0] == 200
        stamps.add(healthy_server.read(path))
    assert len(stamps) <= 1 + (time.monotonic() - started) // 10 + 1, stamps


def test_the_module_can_be_reloaded(client: docker.DockerClient, image: LoadedImage) -> None:
    with serving(client, image) as server:
        for command in ("module:reload('container_health')", "config:reload()", "module:reload('container_health')"):
            outcome = server.execute("prosodyctl", "shell", command)
            assert outcome.status == 0, outcome.text
            assert get(server, "/ready")[0] == 200
            assert check(server)[0] == 0
        assert " error" not in server.log()
        assert " warn" not in server.log()


def test_others_are_refused(client: docker.DockerClient, image: LoadedImage) -> None:
    """The test's requests come from a network that is not listed, the container's own check from the loopback."""
    with serving(client, image, PROSODY_HEALTH_NETWORKS="192.0.2.0/24,2001:db8::/32") as server:
        assert get(server, "/health")[0] == 403
        status, body = get(server, "/ready")
        assert status == 403
        assert "storage" not in body
        assert check(server)[0] == 0


def test_without_a_port_for_starttls_direct_tls_is_asked(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    drop_in = tmp_path / "ports.cfg.lua"
    drop_in.write_text("c2s_ports = {}\n")
    drop_in.chmod(0o644)
    tmp_path.chmod(0o755)
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN}, {"ports": _PORTS})
    server.mounts[str(drop_in)] = {"bind": "/etc/prosody/conf.d/ports.cfg.lua", "mode": "ro"}
    server.accepts_clients = lambda: check(server)[0] == 0  # type: ignore[method-assign]
    try:
        server.start()
        assert check(server)[1] == f"healthy: {DOMAIN} answers on port 5223, ready"
    finally:
        server.remove()


def test_a_closed_port_is_noticed(client: docker.DockerClient, image: LoadedImage) -> None:
    with serving(client, image) as server:
        assert failing(server) == {}
        outcome = server.execute("prosodyctl", "shell", "port:close(5223)")
        assert outcome.status == 0, outcome.text
        assert failing(server) == {"c2s": {"ok": False, "port": 5223, "reason": "not listening"}}
        assert get(server, "/health") == (200, "ok\n")
        assert check(server)[0] == 1


@pytest.mark.parametrize("storage", [{}, {"PROSODY_STORAGE": "sql", "PROSODY_SQL_DRIVER": "SQLite3"}])
def test_a_full_disk_is_noticed_and_forgotten(
    client: docker.DockerClient, image: LoadedImage, storage: dict[str, str]
) -> None:
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN} | storage, {"ports": _PORTS})
    server.volume = client.volumes.create(
        f"prosody-test-{uuid.uuid4().hex[:8]}",
        driver="local",
        driver_opts={"type": "tmpfs", "device": "tmpfs", "o": "size=8m,uid=5222,gid=5222,mode=0750"},
    )
    expected = {"storage": {"ok": False, "host": DOMAIN, "reason": "cannot be written and read"}}
    try:
        server.start()
        assert failing(server) == {}
        run_lua(server, _FILL)
        server.wait_for(lambda: failing(server) == expected, "the full disk is noticed")
        status, line = check(server)
        assert status == 1
        assert "storage" in line
        assert get(server, "/health") == (200, "ok\n")

        run_lua(server, 'assert(os.remove("/var/lib/prosody/fill"))')
        server.wait_for(lambda: failing(server) == {}, "the server is ready again")
        assert check(server)[0] == 0
        assert server.log().count("Not ready: storage") == 1
        assert server.log().count("Ready again: storage") == 1
    finally:
        server.remove()


def test_the_engine_finds_it_healthy(client: docker.DockerClient, image: LoadedImage) -> None:
    """By itself, with what the image declares."""
    with serving(client, image) as server:

        def status() -> str:
            server.running.reload()
            return str(server.running.attrs["State"]["Health"]["Status"])

        server.wait_for(lambda: status() != "starting", "the engine has looked", patience=60)
        assert status() == "healthy", server.running.attrs["State"]["Health"]


def test_a_certificate_that_expires_is_noticed(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir()
    authority = Authority()
    trust = ssl.create_default_context(cadata=authority.root.decode())
    jid, password = next(iter(ACCOUNTS.items()))

    def put(valid_for: timedelta) -> None:
        authority.issue([DOMAIN], valid_for=valid_for).put(folder, DOMAIN)

    def connect(stream: Stream) -> None:
        stream.open()
        stream.start_tls(trust)
        stream.open()

    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{jid}:{password}"}
    server = Server(client, image, variables, {"ports": _PORTS})
    server.mounts[str(folder)] = {"bind": "/etc/prosody/certs", "mode": "ro"}
    put(timedelta(days=1))
    try:
        server.start()
        assert failing(server) == {}
        with Stream(server.port(), DOMAIN) as earlier:
            connect(earlier)
            put(timedelta(hours=1, seconds=5))  # valid since an hour ago
            server.running.kill(signal="HUP")
            expected = {"certificates": {"ok": False, "host": DOMAIN, "reason": "expired"}}
            server.wait_for(lambda: failing(server) == expected, "the certificate has expired")
            status, line = check(server)
            assert status == 1
            assert "expired" in line
            assert server.says("Not ready: certificates")
            with Stream(server.port(), DOMAIN) as later, pytest.raises(ssl.SSLCertVerificationError, match="expired"):
                connect(later)
            earlier.log_in(jid.partition("@")[0], password)

        put(timedelta(days=1))
        server.running.kill(signal="HUP")
        server.wait_for(lambda: failing(server) == {}, "the renewed certificate is served")
        assert check(server)[0] == 0
        with Stream(server.port(), DOMAIN) as later:
            connect(later)
    finally:
        server.remove()
