"""The embedded engine's life: it starts, survives what killed runs leave, and a stop leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from scripts import build, embedded, oci, paths, toolset
from scripts.embedded import Embedded
from scripts.engine import Engine
from scripts.errors import EngineError
from tests.integration import test_release
from tests.integration.conftest import Images

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="the embedded engine needs root on Linux"
)


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Embedded]:
    """An engine of its own, as if in another checkout; it can run beside the one that builds."""
    folder = paths.SCRATCH / "test" / "other checkout"  # with a blank, as people's folders have
    shutil.rmtree(folder, ignore_errors=True)
    monkeypatch.setattr(paths, "SCRATCH", folder)
    engine = Embedded()
    yield engine
    engine.remove()
    shutil.rmtree(folder, ignore_errors=True)


def processes_of(engine: Embedded) -> list[str]:
    """Command lines of all processes that name the engine's folder, or belong to its process namespace."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(engine.folder) in command:
            found.append(command)
    return found


def traces_of(engine: Embedded) -> list[str]:
    """Everything that a stopped engine must not leave: processes, mounts, interfaces, control groups, socket."""
    mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(engine.folder) in line]
    interfaces = [path.name for path in Path("/sys/class/net").iterdir() if path.name == engine.identity]
    groups = [
        str(path) for pattern in ("*", "*/*") for path in Path("/sys/fs/cgroup").glob(f"{pattern}{engine.identity}")
    ]
    sockets = [str(engine.socket)] if engine.socket.exists() else []
    return [*processes_of(engine), *mounts, *interfaces, *groups, *sockets]


def run_something(engine: Embedded) -> str:
    """Id of a running container, made without any image of a registry."""
    client = docker.DockerClient(base_url=engine.host, timeout=60)
    busybox = toolset.unpack("busybox").root / "usr/bin/busybox"
    try:
        folder = engine.folder / "context"
        folder.mkdir()
        shutil.copy(busybox, folder / "busybox")
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY busybox /busybox\n")
        image, _ = client.images.build(path=str(folder), tag="test:busybox")
        container = client.containers.run("test:busybox", ["/busybox", "sleep", "600"], detach=True)
        assert image.id
        return str(container.id)
    finally:
        client.close()


def test_a_stop_leaves_nothing_behind(engine: Embedded) -> None:
    outside = [Path("/tmp"), Path("/run"), Path("/var/lib"), Path("/var/run")]  # noqa: S108 - looked at, not used
    before = {path for folder in outside for path in folder.iterdir()}
    engine.start()
    assert engine.responds()
    run_something(engine)
    written = {path for folder in outside for path in folder.iterdir()} - before
    assert not [path for path in written if "docker" in path.name or "containerd" in path.name]
    assert engine.stop()
    assert not engine.running()
    assert traces_of(engine) == []
    assert not engine.stop(), "there was nothing to stop any more"


def test_the_bridge_keeps_its_address(engine: Embedded) -> None:
    """Whatever containers join it or leave: packets to another address than its own are lost."""
    engine.start()
    assert Path(f"/sys/class/net/{engine.identity}/addr_assign_type").read_text().strip() == "3", "NET_ADDR_SET"


def network_of(engine: Embedded) -> str:
    """The network of the engine's bridge, as the engine tells it."""
    client = docker.DockerClient(base_url=engine.host, timeout=60)
    try:
        (told,) = client.networks.get("bridge").attrs["IPAM"]["Config"]
        return str(told["Subnet"])
    finally:
        client.close()


def test_a_network_that_was_taken_meanwhile_is_not_taken_back(engine: Embedded) -> None:
    """Published ports of both engines would lead nowhere."""
    other = Embedded(parent=engine.parent / "a third checkout")
    engine.start()
    engine.stop()
    try:
        other.start()
        engine.start()
        assert network_of(engine) != network_of(other)
    finally:
        other.remove()


def test_the_build_cache_is_bounded(engine: Embedded) -> None:
    """By itself it grows to a tenth of the disk."""
    engine.start()
    told = subprocess.run(
        [toolset.unpack("engine").root / "usr/bin/docker", "buildx", "inspect"],
        env=os.environ | {"DOCKER_HOST": engine.host, "DOCKER_CONFIG": str(engine.folder / "client")},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r"All: +true\n.*8GiB", told), told


def test_an_image_without_a_name_is_not_kept(
    client: docker.DockerClient, tool: Engine, images: Images, tmp_path: Path
) -> None:
    """Each change of an image would leave one behind."""
    if not tool.embedded:
        pytest.skip("another engine is somebody's own, who may want what is in it")
    layout = images.layout("hardened")
    own = oci.unite([(layout, layout.images[0])], tmp_path / "own")
    first, second = (test_release.with_another_program(own, own.images[0], option) for option in ("-W", "-i"))
    name = "prosody-test:replaced"
    build.load(own, first, [name], tool)
    build.load(own, second, [name], tool)
    assert client.images.get(name).id in (second.manifest, second.config)
    for digest in (first.manifest, first.config):
        with pytest.raises(docker.errors.ImageNotFound):
            client.images.get(digest)
    client.images.remove(name)


def test_starting_twice_keeps_the_running_one(engine: Embedded) -> None:
    engine.start()
    first = engine.running()
    engine.start()
    assert engine.running() == first


def test_a_killed_engine_is_recognised_and_replaced(engine: Embedded) -> None:
    """Its socket, state file, interface and overlay folders are still there."""
    engine.start()
    first = engine.running()
    assert first is not None
    run_something(engine)
    os.kill(first.pid, signal.SIGKILL)
    os.waitpid(first.pid, 0)
    deadline = time.monotonic() + 20
    while len(processes_of(engine)) > 0 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert processes_of(engine) == [], "the kernel ends a process namespace with its first process"
    assert engine.socket.exists()
    assert engine.running() is None
    engine.start()
    assert engine.responds()
    assert engine.running() != first
    assert engine.stop()
    assert traces_of(engine) == []


def test_a_stale_state_file_is_not_believed(engine: Embedded) -> None:
    """The process id in it belongs to another program by now: this test's."""
    engine.folder.mkdir(parents=True)
    state = {"pid": os.getpid(), "started": "1"}
    (engine.folder / "running.json").write_text(json.dumps(state))
    engine.socket.write_text("not even a socket")
    assert engine.running() is None
    engine.start()
    assert engine.responds()


def test_a_deaf_engine_is_replaced(engine: Embedded) -> None:
    """It runs but does not answer: its socket was deleted."""
    engine.start()
    first = engine.running()
    engine.socket.unlink()
    engine.start()
    assert engine.running() != first
    assert engine.responds()


def test_an_engine_that_cannot_start_says_why(engine: Embedded, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_LAUNCH", "echo the reason is here >&2; exit 1")
    with pytest.raises(EngineError, match="the reason is here"):
        engine.start()
    assert traces_of(engine) == []


def test_remove_deletes_everything(engine: Embedded) -> None:
    engine.start()
    assert engine.remove()
    assert not engine.folder.exists()
    assert traces_of(engine) == []
