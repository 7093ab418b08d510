"""What depends on the machine: mirrors, engines, files, exit statuses, platforms."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from scripts import embedded, engine, errors, mirrors, paths, platforms
from scripts.embedded import Embedded
from scripts.errors import EngineError, UserError
from scripts.platforms import PLATFORMS

APT = {
    "sources.list": "# deb http://commented.example/debian trixie main\ndeb http://one.example/debian/ trixie main\n"
    "deb [arch=amd64 signed-by=/x] https://two.example/debian-security trixie-security main\n"
    "deb-src http://source.example/debian trixie main\ndeb cdrom:[Debian]/ trixie main\n",
    "sources.list.d/third.list": "deb http://three.example/other trixie main\n",
    "sources.list.d/four.sources": "Types: deb\nURIs: http://four.example/debian http://five.example/debian\n"
    "Suites: trixie\nComponents: main\n\nTypes: deb\nEnabled: no\nURIs: http://off.example/debian\nSuites: x\n",
}


def test_mirrors_come_from_the_environment_the_machine_and_the_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in APT.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setenv("DEBIAN_MIRROR", "http://named.example/debian/")
    monkeypatch.delenv("DEBIAN_SECURITY_MIRROR", raising=False)
    found = mirrors.mirrors("debian", "20261125T000000Z", tmp_path)
    assert [mirror.url for mirror in found] == [
        "http://named.example/debian",
        "http://one.example/debian",
        "http://four.example/debian",
        "http://five.example/debian",
        "https://two.example/debian",  # beside its debian-security
        "https://snapshot.debian.org/archive/debian/20261125T000000Z",
    ]
    assert found[-1].connections < found[0].connections
    security = mirrors.mirrors("debian-security", "20261125T000000Z", tmp_path)
    assert [mirror.url for mirror in security][:-1] == [
        "https://two.example/debian-security",
        "http://one.example/debian-security",
        "http://four.example/debian-security",
        "http://five.example/debian-security",
    ]


def test_a_machine_without_apt_has_the_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEBIAN_MIRROR", raising=False)
    assert len(mirrors.mirrors("debian", "now", tmp_path)) == 1


def test_every_error_has_an_exit_status_of_its_own() -> None:
    kinds = UserError.__subclasses__() + [
        kind for child in UserError.__subclasses__() for kind in child.__subclasses__()
    ]
    kinds = [kind for kind in kinds if kind.__module__ == "scripts.errors"]
    statuses = [kind.exit_status for kind in kinds]
    assert len(set(statuses)) == len(statuses)
    assert errors.INTERRUPTED not in statuses
    page = (paths.ROOT / "docs" / "architecture.md").read_text()
    assert all(f"\n| {status} |" in page for status in [*statuses, errors.INTERRUPTED]), "not documented"


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        (EngineError("no engine"), 15, "error: no engine"),
        (KeyboardInterrupt(), 130, "Interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "/cache/x"), 19, "The disk is full while writing /cache/x"),
    ],
)
def test_errors_become_exit_statuses(
    error: BaseException, status: int, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(_arguments: object) -> None:
        raise error

    with pytest.raises(SystemExit) as caught:
        errors.run(command)
    assert caught.value.code == status
    assert expected in capsys.readouterr().err


def test_a_programming_error_keeps_its_traceback() -> None:
    def command(_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "not ours to explain")

    with pytest.raises(PermissionError):
        errors.run(command)


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("before")

    def fail_halfway() -> None:
        with paths.replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_halfway()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
    assert paths.write_text(path, "after")
    assert not paths.write_text(path, "after")
    assert path.read_text() == "after"


@pytest.mark.parametrize(
    ("name", "tag"),
    [("linux/amd64", "amd64"), ("linux/arm/v7", "armv7"), ("linux/arm/v5", "armv5"), ("linux/386", "386")],
)
def test_tags_are_what_buildkit_makes_of_a_platform(name: str, tag: str) -> None:
    assert PLATFORMS[name].tag == tag


def test_an_unknown_machine_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(errors.UsageError, match="'vax'"):
        platforms.native()


# Engines that cannot be had here are stood in for by a client that answers as theirs does.


@pytest.fixture
def docker_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder first in PATH, for a stand-in client; no other Docker is found."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.delenv("PROSODY_ENGINE", raising=False)
    return tmp_path


def stand_in(folder: Path, version: str, *, buildx: bool = True, containerd: bool = True) -> None:
    store = json.dumps([["driver-type", "io.containerd.snapshotter.v1"]] if containerd else [["Backing", "extfs"]])
    path = folder / "docker"
    path.write_text(f"""#!/bin/sh
case "$1 $2" in
"version --format") echo '{{"Version": "{version}"}}' ;;
"info --format") echo '{{"DriverStatus": {store}}}' ;;
"buildx version") exit {0 if buildx else 1} ;;
"buildx inspect") exit 1 ;;
"buildx create") echo "$@" > "{folder}/created" ;;
esac
""")
    path.chmod(0o755)


def test_a_new_enough_docker_is_used(docker_answers: Path) -> None:
    stand_in(docker_answers, "28.5.2+dfsg4")
    found = engine.find()
    assert (found.embedded, found.version, found.builder) == (False, "28.5.2+dfsg4", "default")


@pytest.mark.parametrize(("version", "containerd"), [("24.0.7", True), ("28.0.0", False)])
def test_an_older_docker_gets_a_buildkit_of_its_own(docker_answers: Path, version: str, containerd: bool) -> None:
    stand_in(docker_answers, version, containerd=containerd)
    assert engine.find().builder == "prosody-images"
    assert "--driver docker-container" in (docker_answers / "created").read_text()


def test_too_old_a_docker_is_refused(docker_answers: Path) -> None:
    stand_in(docker_answers, "20.10.24")
    with pytest.raises(EngineError, match=r"Docker 20\.10\.24 is too old: version 23"):
        engine.find()


def test_docker_without_buildx_is_refused(docker_answers: Path) -> None:
    stand_in(docker_answers, "26.1.0", buildx=False)
    with pytest.raises(EngineError, match="docker-buildx"):
        engine.find()


def test_no_docker_and_not_root_is_explained(docker_answers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    del docker_answers
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(EngineError, match=r"No Docker engine answers[\s\S]*as root on Linux"):
        engine.find()


def test_a_long_path_gets_a_short_socket(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(paths, "SCRATCH", Path("/" + "long/" * 30))
    monkeypatch.setenv("XDG_CACHE_HOME", "/short")
    del cache
    assert Embedded().socket.parent == Path("/short/prosody-images")
    assert len(os.fsencode(Embedded().socket)) <= embedded._LONGEST_SOCKET_PATH


def test_a_recycled_process_id_is_not_the_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(paths, "SCRATCH", tmp_path)
    folder = Embedded().folder
    folder.mkdir()
    for state in (json.dumps({"pid": os.getpid(), "started": "12"}), '{"pid": 1}', "{", ""):
        (folder / "running.json").write_text(state)
        assert Embedded().running() is None
    (folder / "running.json").write_text(json.dumps({"pid": os.getpid(), "started": embedded._start_time(os.getpid())}))
    assert Embedded().running() is not None
