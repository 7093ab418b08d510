"""What the container itself promises: configured by environment, any user, read-only, healthy, stops well."""

from __future__ import annotations

import asyncio
import io
import tarfile
import time
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import servers
from tests.integration.clients import connected
from tests.integration.servers import ACCOUNTS, CONFINED, DOMAIN, LoadedImage, Server

ALICE, ALICE_PASSWORD = next(iter(ACCOUNTS.items()))


def run(client: docker.DockerClient, image: LoadedImage, *command: str, **options: Any) -> tuple[int, str]:
    """Exit status and output of a container that is expected to end by itself."""
    container = client.containers.create(image.name, list(command), **CONFINED | options)
    try:
        container.start()
        status = int(container.wait(timeout=60)["StatusCode"])
        return status, container.logs().decode(errors="replace")
    finally:
        container.remove(force=True, v=True)


def log_in(server: Server, certificate: Path) -> None:
    """Alice logs in over verified TLS; raises RefusedError if she is not let in."""

    async def scenario() -> None:
        async with connected(server.port(), ALICE, ALICE_PASSWORD, certificate):
            pass

    asyncio.run(scenario())


def test_every_wrong_variable_is_named_at_once(client: docker.DockerClient, image: LoadedImage) -> None:
    secret = "do-not-print-me"
    status, output = run(
        client,
        image,
        environment={
            "PROSODY_LOGLEVEL": "loud",
            "PROSODY_STORAGE": "cloud",
            "PROSODY_DOMIAN": "typo.example",
            "PROSODY_ACCOUNTS": f"no-domain:{secret}",
        },
    )
    assert status == 78, output
    for expected in ("PROSODY_LOGLEVEL", "loud", "PROSODY_STORAGE", "cloud", "PROSODY_DOMIAN", "PROSODY_DOMAIN"):
        assert expected in output
    assert "PROSODY_ACCOUNTS" in output
    assert secret not in output


def test_an_unknown_command_is_explained(client: docker.DockerClient, image: LoadedImage) -> None:
    status, output = run(client, image, "bash")
    assert status == 64
    assert "usage" in output


def test_there_is_no_shell(client: docker.DockerClient, image: LoadedImage) -> None:
    for shell in ("/bin/sh", "/bin/bash", "/bin/busybox"):
        with pytest.raises(docker.errors.APIError, match="no such file"):
            run(client, image, "-c", "true", entrypoint=[shell])


def test_root_is_refused(client: docker.DockerClient, image: LoadedImage) -> None:
    status, output = run(client, image, user="0:0")
    assert status == 77
    assert "--user" in output


def test_a_volume_of_someone_else_is_explained(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    status, output = run(client, image, volumes={str(tmp_path): {"bind": "/var/lib/prosody", "mode": "rw"}})
    assert status == 73
    assert "chown" in output
    assert "5222" in output


@pytest.mark.parametrize("user", ["5222:5222", "12345:54321", "1000700000:0"])
def test_any_user_id_works(client: docker.DockerClient, image: LoadedImage, user: str, tmp_path: Path) -> None:
    """The last one is what OpenShift does: a random uid in group 0."""
    accounts = f"{ALICE}:{ALICE_PASSWORD}"
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts}, {"user": user})

    try:
        server.start()
        log_in(server, server.certificate(tmp_path))
    finally:
        server.remove()


def test_data_is_private_to_the_server(own_server: Server) -> None:
    """Umask 027 is really in force: Prosody itself ignores the option of that name."""
    chunks, _ = own_server.running.get_archive("/var/lib/prosody")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        members = {member.name: member for member in archive.getmembers()}
    accounts = [member for name, member in members.items() if "/accounts/" in name and member.isfile()]
    assert accounts, sorted(members)
    assert all(member.mode & 0o007 == 0 for member in accounts)
    keys = [member for name, member in members.items() if name.endswith(".key")]
    assert keys
    assert all(member.mode & 0o077 == 0 for member in keys)


def test_nothing_but_the_data_is_written(client: docker.DockerClient, image: LoadedImage) -> None:
    """Started with a writable root, so that a write would show."""
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN}, {"read_only": False})
    try:
        server.start()
        changed = {entry["Path"] for entry in server.running.diff() or []}
    finally:
        server.remove()
    # The engine itself makes these three, and the folder they are in.
    assert changed <= {
        "/etc",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/var",
        "/var/lib",
        "/var/lib/prosody",
    }


def test_the_health_check_says_healthy(own_server: Server) -> None:
    """Runs the image's own check: docker repeats it every 30 s, which is too long to wait for here."""
    own_server.running.reload()
    check = own_server.running.attrs["Config"]["Healthcheck"]["Test"]
    assert check[0] == "CMD"
    status, output = own_server.running.exec_run(check[1:])
    assert status == 0, output


def test_the_health_check_notices_a_deaf_server(client: docker.DockerClient, image: LoadedImage) -> None:
    """The same check where no server listens."""
    health = client.images.get(image.name).attrs["Config"]["Healthcheck"]["Test"]
    status, output = run(client, image, *health[2:], entrypoint=[health[1]])
    assert status == 1, output


def test_prosodyctl_works_in_a_running_container(own_server: Server) -> None:
    status, output = own_server.running.exec_run(["prosodyctl", "shell", "server:uptime()"])
    assert status == 0, output
    status, output = own_server.running.exec_run(["prosodyctl", "check", "config"])
    assert status == 0, output


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
    bad = [line for line in own_server.log().splitlines() if " error " in f" {line} " or " warn " in f" {line} "]
    assert not bad, bad


def test_a_given_certificate_is_used(
    client: docker.DockerClient, image: LoadedImage, own_server: Server, tmp_path: Path
) -> None:
    folder = tmp_path / "certificates"
    folder.mkdir(mode=0o755)
    for name in (f"{DOMAIN}.crt", f"{DOMAIN}.key"):
        (folder / name).write_bytes(own_server.read(f"/var/lib/prosody/certificates/{name}"))
        (folder / name).chmod(0o644)
    accounts = f"{ALICE}:{ALICE_PASSWORD}"
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": accounts})
    server.mounts[str(folder)] = {"bind": "/etc/prosody/certs", "mode": "ro"}

    try:
        server.start()
        log_in(server, folder / f"{DOMAIN}.crt")
        assert "self-signed" not in server.log()
    finally:
        server.remove()


def test_secrets_come_from_files(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    folder.mkdir(mode=0o755)
    (folder / "accounts").write_text(f"{ALICE}:{ALICE_PASSWORD}\n")
    (folder / "accounts").chmod(0o644)
    server = Server(client, image, {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS_FILE": "/run/secrets/accounts"})
    server.mounts[str(folder)] = {"bind": "/run/secrets", "mode": "ro"}

    try:
        server.start()
        log_in(server, server.certificate(tmp_path))
        assert ALICE_PASSWORD not in server.log()
    finally:
        server.remove()


def test_the_environment_of_a_server_can_be_checked(client: docker.DockerClient, image: LoadedImage) -> None:
    status, output = run(client, image, "check", environment={"PROSODY_SQL_PASSWORD": "hidden-value"})
    assert status == 0, output
    assert "PROSODY_DOMAIN" in output
    assert "hidden-value" not in output


def test_storage_in_sqlite_keeps_accounts(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    with servers.serving(client, image, PROSODY_STORAGE="sql", PROSODY_SQL_DRIVER="SQLite3") as server:
        certificate = server.certificate(tmp_path)

        log_in(server, certificate)
        assert server.read("/var/lib/prosody/prosody.sqlite").startswith(b"SQLite format 3\0")
        server.restart()
        log_in(server, certificate)
