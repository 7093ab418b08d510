"""Users, groups, capabilities and mounts: who may run the container, what it writes, and what it says if it cannot."""

from __future__ import annotations

import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import servers
from tests.integration.clients import log_in
from tests.integration.containers import CONFINED, LoadedImage, Outcome
from tests.integration.servers import DOMAIN, Server

DATA = "/var/lib/prosody"
JULIET = f"juliet@{DOMAIN}"
PASSWORD = "wherefore"
# As root, with what Docker gives it by default
ROOT: Mapping[str, Any] = {"user": "0:0", "cap_drop": []}
FEWEST = ("SETUID", "SETGID", "KILL")
# Prints "PID NAME Uid Gid Groups CapEff" of each process but itself, IDs separated by commas.
_PROCESSES = """
local lfs = require "lfs"
for pid in lfs.dir("/proc") do
    local file = pid:find("^%d+$") and io.open("/proc/" .. pid .. "/status")
    local status = file and file:read("a") or ""
    local function field(name) return (status:match("\\n" .. name .. ":%s*([^\\n]-)%s*\\n"):gsub("%s+", ",")) end
    if status ~= "" and pid ~= lfs.symlinkattributes("/proc/self", "target") then
        print(pid, status:match("^Name:%s*(%S+)"), field("Uid"), field("Gid"), field("Groups"), field("CapEff"))
    end
end
"""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")


@contextmanager
def serving(
    client: docker.DockerClient,
    image: LoadedImage,
    mounts: Mapping[str, str] | None = None,
    options: Mapping[str, Any] | None = None,
    **environment: str,
) -> Iterator[Server]:
    """A started server with one account; `mounts` are folders of this machine, or volumes, by path in the container."""
    variables = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"{JULIET}:{PASSWORD}"} | environment
    server = Server(client, image, variables, dict(options or {}))
    for path, source in (mounts or {}).items():
        server.mounts[source] = {"bind": path, "mode": "rw"}
    if DATA in (mounts or {}):
        server.options = {**server.options, "volumes": server.mounts}
    try:
        server.start()
        yield server
    finally:
        server.remove()


def refused(client: docker.DockerClient, image: LoadedImage, data: Path | str, **options: Any) -> Outcome:
    """What is said where a start with this folder or volume of data ends by itself."""
    return servers.run(
        client,
        image,
        environment={"PROSODY_DOMAIN": DOMAIN},
        volumes={str(data): {"bind": DATA, "mode": "rw"}},
        **options,
    )


def works(server: Server, folder: Path) -> None:
    """Somebody can log in, and the server calls itself healthy."""
    log_in(server.port(), JULIET, PASSWORD, server.certificate(folder))
    health = server.execute("prosodyctl", "status")
    assert health.status == 0, health.text


def folder_of(tmp_path: Path, name: str, uid: int, gid: int, mode: int = 0o755) -> Path:
    """A new folder that belongs to somebody."""
    folder = tmp_path / name
    folder.mkdir()
    os.chown(folder, uid, gid)
    folder.chmod(mode)
    return folder


def members(server: Server) -> dict[str, tarfile.TarInfo]:
    """Everything in the data, by path."""
    chunks, _ = server.running.get_archive(DATA)
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        return {member.name.removeprefix("prosody/"): member for member in archive.getmembers()}


def accounts(server: Server) -> dict[str, tarfile.TarInfo]:
    """Files of accounts, by name."""
    found = {
        Path(name).stem: member for name, member in members(server).items() if re.search(r"/accounts/.*\.dat", name)
    }
    assert found, "there is no account"
    return found


def processes(server: Server) -> dict[str, list[str]]:
    """What the kernel says of each process: Uid, Gid, Groups, CapEff by process and name."""
    outcome = server.execute("/usr/bin/lua5.4", "-e", _PROCESSES)
    assert outcome.status == 0, outcome.text
    lines = [line.split("\t") for line in outcome.output.splitlines()]
    return {f"{pid} {name}": facts for pid, name, *facts in lines}


# ---- Any user


@pytest.mark.parametrize("user", ["5222:5222", "12345:54321", "1000700000:0", "1", "65534"])
def test_any_user_id_works(client: docker.DockerClient, image: LoadedImage, user: str, tmp_path: Path) -> None:
    """1000700000:0 is what OpenShift does: a random uid in group 0."""
    with serving(client, image, options={"user": user}) as server:
        works(server, tmp_path)
        uid = int(user.split(":")[0])
        assert {member.uid for name, member in members(server).items() if "/" in name} == {uid}
        server.restart()
        works(server, tmp_path)


def test_the_server_has_no_capability_and_gets_none(own_server: Server) -> None:
    found = processes(own_server)
    assert len(found) == 2, found
    assert all(facts == ["5222,5222,5222,5222"] * 2 + ["5222", "0" * 16] for facts in found.values()), found


def test_nothing_but_the_data_is_written(client: docker.DockerClient, image: LoadedImage) -> None:
    """Started with a writable root, so that a write would show."""
    with serving(client, image, options={"read_only": False}) as server:
        changed = {entry["Path"] for entry in server.running.diff() or []}
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


# ---- Data that cannot be written


@needs_root
def test_data_of_root_are_explained(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "data", 0, 0)
    outcome = refused(client, image, folder)
    assert outcome.status == 73, outcome.text
    assert f"{DATA} cannot be written by uid 5222, gid 5222" in outcome.errors
    assert "chown -R 5222:5222" in outcome.errors
    assert "--user" in outcome.errors
    assert "--user 0" not in outcome.errors

    os.chown(folder, 5222, 5222)
    with serving(client, image, {DATA: str(folder)}) as server:
        works(server, tmp_path)


@needs_root
def test_data_of_somebody_else_are_explained(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "data", 1234, 2345, 0o700)
    outcome = refused(client, image, folder, user="54321:12345")
    assert outcome.status == 73, outcome.text
    assert "chown -R 54321:12345" in outcome.errors
    assert "--user 1234:2345" in outcome.errors

    with serving(client, image, {DATA: str(folder)}, {"user": "1234:2345"}) as server:
        works(server, tmp_path)


@needs_root
def test_content_of_somebody_else_is_explained(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    """The folder itself may be writable while what lies in it is another image's."""
    folder = folder_of(tmp_path, "data", 5222, 5222)
    folder_of(folder, "chat%2eexample", 101, 102, 0o750)
    outcome = refused(client, image, folder)
    assert outcome.status == 73, outcome.text
    assert f"{DATA}/chat%2eexample cannot be written" in outcome.errors
    assert "chown -R 5222:5222" in outcome.errors
    assert "--user 101:102" in outcome.errors


def test_a_named_volume_of_root_is_explained(client: docker.DockerClient, image: LoadedImage) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "mode=0755"}
    volume = client.volumes.create(driver="local", driver_opts=options)
    try:
        outcome = refused(client, image, volume.name)
    finally:
        volume.remove(force=True)
    assert outcome.status == 73, outcome.text
    assert re.search(r"docker run .*-v VOLUME:/data .*chown -R 5222:5222 /data", outcome.errors)


def test_data_that_cannot_be_written_at_all_are_explained(client: docker.DockerClient, image: LoadedImage) -> None:
    outcome = servers.run(client, image, tmpfs={DATA: "ro"})
    assert outcome.status == 73, outcome.text
    assert "ead-only file system" in outcome.errors


# ---- Empty folders over those of the image


@needs_root
@pytest.mark.parametrize(
    "path", ["/etc/prosody", "/etc/prosody/conf.d", "/etc/prosody/certs", "/etc/prosody/modules", DATA]
)
def test_an_empty_folder_may_be_mounted(
    client: docker.DockerClient, image: LoadedImage, path: str, tmp_path: Path
) -> None:
    owner = 5222 if path == DATA else 0
    folder = folder_of(tmp_path, "empty", owner, owner)
    with serving(client, image, {path: str(folder)}) as server:
        works(server, tmp_path)
        assert not re.search(r"\b(warn|error)\t", server.log()), server.log()
    if path != DATA:
        assert not list(folder.iterdir())


def test_an_empty_memory_file_system_may_be_mounted(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    """Over the configuration as a whole; what Kubernetes calls emptyDir is nothing else."""
    with serving(client, image, options={"tmpfs": {"/etc/prosody": "", "/run": "", "/tmp": ""}}) as server:  # noqa: S108
        works(server, tmp_path)


# ---- Rights of new files


@pytest.mark.parametrize(("umask", "mode"), [(None, 0o640), ("077", 0o600), ("022", 0o644)])
def test_the_umask_is_in_force(client: docker.DockerClient, image: LoadedImage, umask: str | None, mode: int) -> None:
    """Prosody itself ignores the option of that name."""
    variables: dict[str, Any] = {} if umask is None else {"PROSODY_UMASK": umask}
    with serving(client, image, **variables) as server:
        assert server.execute("prosodyctl", "register", "romeo", DOMAIN, "b").status == 0
        assert {name: oct(member.mode & 0o777) for name, member in accounts(server).items()} == {
            "juliet": oct(mode),
            "romeo": oct(mode),
        }
        keys = [member for name, member in members(server).items() if name.endswith(".key")]
        assert keys
        assert all(member.mode & 0o077 == 0 for member in keys)


# ---- Started as root


def assert_unprivileged(server: Server, uid: int, gid: int) -> None:
    """Nothing but the program that passes signals on is still root."""
    found = processes(server)
    server_process = [facts for name, facts in found.items() if name.endswith("lua5.4")]
    assert server_process == [[",".join([str(uid)] * 4), ",".join([str(gid)] * 4), str(gid), "0" * 16]], found
    assert [name for name in found if not name.endswith("lua5.4")] == ["1 tini"], found


def test_root_becomes_the_user_of_the_image(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    with serving(client, image, options=ROOT) as server:
        works(server, tmp_path)
        assert_unprivileged(server, 5222, 5222)
        assert {member.uid for name, member in members(server).items() if "/" in name} == {5222}
        server.restart()
        works(server, tmp_path)
        assert_unprivileged(server, 5222, 5222)


@needs_root
def test_root_becomes_the_owner_of_the_data(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "data", 1234, 2345, 0o700)
    with serving(client, image, {DATA: str(folder)}, ROOT) as server:
        works(server, tmp_path)
        assert_unprivileged(server, 1234, 2345)
        # Whoever looks after the server with docker exec is root there as well.
        assert server.execute("prosodyctl", "register", "romeo", DOMAIN, "b").status == 0
        assert {(member.uid, member.gid) for member in accounts(server).values()} == {(1234, 2345)}


@needs_root
def test_root_does_not_keep_the_group_of_root(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    folder = folder_of(tmp_path, "data", 1234, 0)
    with serving(client, image, {DATA: str(folder)}, ROOT) as server:
        works(server, tmp_path)
        assert_unprivileged(server, 1234, 5222)


def test_root_becomes_whoever_ran_the_server_before(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    """A new volume is everybody's; then what lies in it tells."""
    with serving(client, image, options={"user": "12345:54321"}) as server:
        server.options = ROOT
        server.restart()
        works(server, tmp_path)
        assert_unprivileged(server, 12345, 54321)


@needs_root
def test_root_does_not_write_data_of_root(client: docker.DockerClient, image: LoadedImage, tmp_path: Path) -> None:
    outcome = refused(client, image, folder_of(tmp_path, "data", 0, 0), **ROOT)
    assert outcome.status == 73, outcome.text
    assert "chown -R 5222:5222" in outcome.errors


def test_root_without_capabilities_is_refused(client: docker.DockerClient, image: LoadedImage) -> None:
    for command in ((), ("prosodyctl", "about"), ("check",)):
        outcome = servers.run(client, image, *command, user="0:0")
        assert outcome.status == 77, outcome.text
        assert "started as root" in outcome.errors
        assert "--user 5222:5222" in outcome.errors
        assert all(capability in outcome.errors for capability in FEWEST)


def test_the_fewest_capabilities_for_root_are_enough(
    client: docker.DockerClient, image: LoadedImage, tmp_path: Path
) -> None:
    with serving(client, image, options={"user": "0:0", "cap_add": list(FEWEST)}) as server:
        works(server, tmp_path)
        assert_unprivileged(server, 5222, 5222)
        server.running.stop(timeout=30)
        assert server.running.wait()["StatusCode"] == 0, server.log()
        assert server.says("Shutdown complete")


def test_root_can_look_after_the_server(client: docker.DockerClient, image: LoadedImage) -> None:
    """With docker exec --user 0: what it writes must be the server's."""
    with serving(client, image, options={"user": "12345:54321", "cap_drop": []}) as server:
        assert "juliet" in server.shell(f"user:list('{DOMAIN}')", user="0")
        assert server.execute("prosodyctl", "register", "romeo", DOMAIN, "b", user="0").status == 0
        assert {member.uid for member in accounts(server).values()} == {12345}
        health = server.execute("prosodyctl", "status", user="0")
        assert health.status == 0, health.text


def test_the_health_check_works_for_root(client: docker.DockerClient, image: LoadedImage) -> None:
    """The engine runs it as the user of the container."""
    with serving(client, image, options=ROOT) as server:
        health = server.health()
        assert health.status == 0, health.text


def test_these_tests_confine_the_container() -> None:
    """What they say of a read-only root and of capabilities is true only while this is so."""
    assert CONFINED == {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
