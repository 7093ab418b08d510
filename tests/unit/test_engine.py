"""Engines that cannot be had here are stood in for by a client that answers as theirs does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import engine, paths
from scripts.engine import Engine
from scripts.errors import EngineError, UsageError


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder for a stand-in client, the only place where programs are looked for besides a few of the system's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in ("sh", "sleep"):
        found = shutil.which(program)
        assert found
        (folder / program).symlink_to(found)
    monkeypatch.setenv("PATH", str(folder))
    for name in ("PROSODY_ENGINE", "DOCKER_HOST", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    return folder


def program(folder: Path, text: str) -> None:
    (folder / "docker").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "docker").chmod(0o755)


def stand_in(folder: Path, version: str, *, buildx: bool = True, containerd: bool = True, builder: int = 1) -> None:
    """A client that is asked for its version, image store and builders; `builder` is the status of `buildx inspect`."""
    store = json.dumps([["driver-type", "io.containerd.snapshotter.v1"]] if containerd else [["Backing", "extfs"]])
    program(
        folder,
        f"""echo "$@" >> "{folder}/asked"
case "$1 $2" in
"version --format") echo '{{"Version": "{version}"}}' ;;
"info --format") echo '{{"DriverStatus": {store}}}' ;;
"buildx version") exit {0 if buildx else 1} ;;
"buildx inspect") exit {builder} ;;
"buildx create") ;;
*) exit 64 ;;
esac""",
    )


def asked(folder: Path) -> list[str]:
    return (folder / "asked").read_text().splitlines()


def not_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


@pytest.mark.parametrize("version", ["26.0.0", "26.1.5+dfsg1", "28.5.2+dfsg4", "29.0.0-rc.1", "100.1"])
@pytest.mark.parametrize("wish", ["", "docker"])
def test_a_new_enough_docker_is_used(clients: Path, monkeypatch: pytest.MonkeyPatch, version: str, wish: str) -> None:
    stand_in(clients, version)
    monkeypatch.setenv("PROSODY_ENGINE", wish)
    assert engine.find() == Engine(clients / "docker", version)
    assert not engine.find().embedded
    assert engine.find().environment == {}


@pytest.mark.parametrize(("version", "containerd"), [("23.0.0", True), ("25.0.9", True), ("28.0.0", False)])
def test_an_older_docker_gets_a_buildkit_of_its_own(clients: Path, version: str, containerd: bool) -> None:
    stand_in(clients, version, containerd=containerd)
    assert engine.find().builder == "prosody-images"
    (created,) = [line for line in asked(clients) if line.startswith("buildx create")]
    assert created.startswith("buildx create --name prosody-images --driver docker-container --driver-opt image=moby/")


def test_the_builder_is_made_once(clients: Path) -> None:
    stand_in(clients, "25.0.0", builder=0)
    assert engine.find().builder == "prosody-images"
    assert not [line for line in asked(clients) if line.startswith("buildx create")]


def test_a_builder_that_cannot_be_made_is_explained(clients: Path) -> None:
    stand_in(clients, "25.0.0")
    text = (clients / "docker").read_text()
    (clients / "docker").write_text(text.replace('"buildx create") ;;', '"buildx create") echo no room >&2; exit 1 ;;'))
    with pytest.raises(EngineError, match=r"No builder could be made: no room"):
        engine.find()


@pytest.mark.parametrize("version", ["20.10.24+dfsg1", "22.99", "1.13.1", "19"])
@pytest.mark.parametrize("wish", ["", "docker"])
def test_too_old_a_docker_is_refused(clients: Path, monkeypatch: pytest.MonkeyPatch, version: str, wish: str) -> None:
    stand_in(clients, version)
    monkeypatch.setenv("PROSODY_ENGINE", wish)
    with pytest.raises(EngineError) as caught:
        engine.find()
    assert f"Docker {version} is too old: version 23 or newer is needed." in str(caught.value)
    assert "PROSODY_ENGINE=embedded" in str(caught.value)


def test_docker_without_buildx_is_refused(clients: Path) -> None:
    stand_in(clients, "26.1.0", buildx=False)
    with pytest.raises(EngineError, match=r"buildx plugin is not\. Install it \(Debian: docker-buildx;"):
        engine.find()


@pytest.mark.parametrize(
    "client",
    [
        pytest.param(None, id="none"),
        pytest.param("echo 'Cannot connect to the Docker daemon' >&2; exit 1", id="no daemon"),
        pytest.param("echo null", id="no server"),
        pytest.param("", id="silent"),
        pytest.param("echo '[]'", id="a list"),
    ],
)
def test_no_docker_and_not_root_is_explained(
    clients: Path, monkeypatch: pytest.MonkeyPatch, client: str | None
) -> None:
    if client is not None:
        program(clients, client)
    not_root(monkeypatch)
    with pytest.raises(
        EngineError, match=r"No Docker engine answers\. Start or install Docker \(version 23.*as root on"
    ):
        engine.find()
    monkeypatch.setenv("PROSODY_ENGINE", "embedded")
    with pytest.raises(EngineError, match="No Docker engine answers"):
        engine.find()


def test_no_docker_and_not_linux_is_explained(clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del clients
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(EngineError, match="No Docker engine answers"):
        engine.find()


@pytest.mark.parametrize(
    "client",
    [pytest.param("echo hello", id="not JSON"), pytest.param("echo '{\"Client\": 1}'", id="without a version")],
)
def test_a_client_that_says_something_else_is_no_docker(
    clients: Path, monkeypatch: pytest.MonkeyPatch, client: str
) -> None:
    program(clients, client)
    not_root(monkeypatch)
    with pytest.raises(EngineError):
        engine.find()


def test_a_file_that_is_no_program_is_no_docker(clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (clients / "docker").write_bytes(b"\x00not a program")
    (clients / "docker").chmod(0o755)
    not_root(monkeypatch)
    with pytest.raises(EngineError, match="No Docker engine answers"):
        engine.find()


def test_docker_that_must_be_used_must_be_there(clients: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del clients
    monkeypatch.setenv("PROSODY_ENGINE", "docker")
    with pytest.raises(EngineError, match="PROSODY_ENGINE=docker forbids to start one"):
        engine.find()


def test_an_engine_that_does_not_exist_is_told(
    clients: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, tmp_path: Path
) -> None:
    del clients, cache
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PROSODY_ENGINE", "enginee")
    with pytest.raises(UsageError, match=r"'enginee'; there are: .*did you mean 'engine'"):
        engine.find()


@pytest.mark.parametrize(
    ("version", "numbers"),
    [("26.1.5+dfsg1", (26, 1)), ("28.0.0-rc.1", (28, 0)), ("20.10", (20, 10)), ("23", (23,)), ("v24.0.7", (24, 0)),
     ("dev", (0,)), ("", (0,))],
)  # fmt: skip
def test_versions_are_read(version: str, numbers: tuple[int, ...]) -> None:
    assert engine._numbers(version) == numbers


def test_clients_of_the_embedded_engine_are_led_to_it() -> None:
    found = Engine(Path("/x/docker"), "26.1.5", "unix:///x/docker.sock", Path("/x/client"))
    assert found.embedded
    assert found.environment == {"DOCKER_HOST": "unix:///x/docker.sock", "DOCKER_CONFIG": "/x/client"}


@pytest.mark.parametrize("arguments", [("enigne",), (), ("status", "more")], ids=["unknown", "none", "too many"])
def test_the_command_knows_three_words(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.engine", *arguments],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "{status,stop,remove}" in done.stderr
    assert "Traceback" not in done.stderr


def test_stopping_and_removing_nothing_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    engine.main(["stop"])
    engine.main(["remove"])
    assert capsys.readouterr().err == ""
    assert not (tmp_path / "scratch").exists()


def test_the_status_of_no_engine(
    clients: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    engine.main(["status"])
    assert "No engine runs; a build starts the embedded one." in capsys.readouterr().err
    stand_in(clients, "28.5.2")
    (tmp_path / "scratch" / "engine" / "data").mkdir(parents=True)
    engine.main(["status"])
    output = capsys.readouterr().err
    assert "28.5.2" in output
    assert "embedded (engine)" in output
    assert "stopped" in output
