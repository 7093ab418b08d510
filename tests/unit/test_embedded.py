"""What can be told about the embedded engine without starting one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest

from scripts import embedded, paths
from scripts.embedded import Embedded, Running
from scripts.errors import EngineError


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Embedded:
    """An engine of a checkout that has none."""
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    found = Embedded()
    found.folder.mkdir(parents=True)
    return found


def test_the_socket_is_in_the_engines_folder() -> None:
    engine = Embedded(parent=Path("/short"))
    assert engine.socket == Path("/short/engine/docker.sock")
    assert engine.host == "unix:///short/engine/docker.sock"


@pytest.mark.parametrize(
    ("scratch", "near"),
    [
        pytest.param("/" + "a" * (107 - len("//engine/docker.sock")), True, id="just fits"),
        pytest.param("/" + "a" * (108 - len("//engine/docker.sock")), False, id="one byte too long"),
        pytest.param("/" + "ü" * 53, False, id="bytes, not characters"),
        pytest.param("/" + "long/" * 30, False, id="much too long"),
    ],
)
def test_a_long_path_gets_a_short_socket(monkeypatch: pytest.MonkeyPatch, scratch: str, near: bool) -> None:
    monkeypatch.setattr(paths, "SCRATCH", Path(scratch))
    monkeypatch.setenv("XDG_CACHE_HOME", "/short")
    found = Embedded().socket
    assert found.is_relative_to(scratch) is near
    assert found.is_relative_to("/short/prosody-images") is not near
    assert len(os.fsencode(found)) <= 107


def test_a_checkout_whose_cache_is_far_down_as_well_gets_a_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where `verify` builds again, with a cache in the same folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/" + "long/" * 30)
    monkeypatch.setattr("tempfile.tempdir", "/short")
    engine = Embedded(parent=Path("/" + "long/" * 30))
    assert engine.socket == Path("/short") / f"{engine.identity}.sock"


def test_the_limit_is_the_kernels(tmp_path: Path) -> None:
    longest = tmp_path / ("x" * (embedded._LONGEST_SOCKET_PATH - len(os.fsencode(tmp_path)) - 1))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(longest))
    with socket.socket(socket.AF_UNIX) as listener, pytest.raises(OSError, match="too long"):
        listener.bind(f"{longest}x")


@pytest.mark.parametrize("name", [*embedded._UNUSABLE, "\n", os.fsdecode(b"\xe9")])
def test_a_path_that_means_something_else_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """Before anything is unpacked or written; be it that of the checkout or that of the cache."""
    folder = tmp_path / f"a{name}b"
    monkeypatch.setattr(paths, "SCRATCH", folder)
    with pytest.raises(EngineError, match="cannot work in"):
        Embedded().start()
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    with pytest.raises(EngineError, match="cannot work in"):
        Embedded().start()
    assert not list(tmp_path.iterdir())


def test_checkouts_and_engines_do_not_share_names(monkeypatch: pytest.MonkeyPatch) -> None:
    names = set()
    for checkout in ("/one", "/two"):
        monkeypatch.setattr(paths, "SCRATCH", Path(checkout))
        names |= {Embedded("engine").identity, Embedded("engine-next").identity}
    assert len(names) == 4
    assert all(len(name) <= 15 for name in names), "names of interfaces have 15 characters (netdevice(7))"


@pytest.mark.parametrize(
    "state",
    [
        pytest.param("", id="empty"),
        pytest.param("{", id="truncated"),
        pytest.param("[]", id="a list"),
        pytest.param("7", id="a number"),
        pytest.param('{"pid": 1}', id="incomplete"),
        pytest.param('{"pid": 1, "started": "1", "more": 2}', id="too much"),
        pytest.param('{"pid": "x", "started": "1"}', id="no number"),
        pytest.param('{"pid": 4194305, "started": "1"}', id="no such process"),
        pytest.param(json.dumps({"pid": os.getpid(), "started": "12"}), id="recycled process id"),
        pytest.param(json.dumps({"pid": os.getpid(), "started": ""}), id="ended before it was looked at"),
        pytest.param(json.dumps({"pid": 1, "started": "1e9"}), id="another process, as root"),
    ],
)
def test_a_stale_state_is_not_a_running_engine(engine: Embedded, state: str) -> None:
    (engine.folder / "running.json").write_text(state)
    assert engine.running() is None


def test_a_state_that_is_not_text_is_not_a_running_engine(engine: Embedded) -> None:
    assert engine.running() is None, "no file"
    (engine.folder / "running.json").write_bytes(b"\xff\xfe")
    assert engine.running() is None


def started(pid: int) -> Running:
    return Running(pid, embedded._start_time(pid) or "")


def test_a_process_is_known_by_its_start(engine: Embedded) -> None:
    (engine.folder / "running.json").write_text(json.dumps(asdict(started(os.getpid()))))
    assert engine.running() == started(os.getpid())


def test_an_ended_process_is_not_alive() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        running = started(process.pid)
        assert running.alive
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert not running.alive, "a zombie does nothing any more"
    assert not running.alive


def test_names_of_processes_do_not_confuse() -> None:
    """Field 2 of /proc/<pid>/stat is the name, which may hold blanks and parentheses."""
    script = "printf 'a) R 1 2 (b' > /proc/self/comm; echo ready; read _"
    with subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert b"a) R 1 2 (b" in Path(f"/proc/{process.pid}/stat").read_bytes()
        plain = embedded._start_time(os.getpid())
        found = embedded._start_time(process.pid)
        assert found is not None
        assert plain is not None
        assert int(found) >= int(plain)
        process.communicate()


def test_nothing_answers_at_no_socket(engine: Embedded) -> None:
    assert engine.responds() is False


@pytest.mark.parametrize("left", ["file", "socket"], ids=["a file in its place", "a socket nobody listens at"])
def test_nothing_answers_at_a_stale_socket(engine: Embedded, left: str) -> None:
    engine.socket.parent.mkdir(parents=True, exist_ok=True)
    if left == "file":
        engine.socket.touch()
    else:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(engine.socket))
    assert engine.socket.exists()
    assert engine.responds() is False


def test_stopping_cleans_up_what_a_killed_run_left(engine: Embedded) -> None:
    for name in ("run", "work", "tmp", "data"):
        (engine.folder / name).mkdir()
        (engine.folder / name / "left").touch()
    (engine.folder / "running.json").write_text('{"pid": 4194305, "started": "1"}')
    engine.socket.touch()
    assert engine.stop() is False, "it did not run"
    assert {path.name for path in engine.folder.iterdir()} <= {"data", "lock"}
    assert (engine.folder / "data" / "left").exists(), "images and volumes stay"
    assert engine.remove() is True
    assert not engine.folder.exists()
    assert engine.remove() is False


def test_stopping_ends_only_the_very_process(engine: Embedded) -> None:
    """A process that got the engine's old number is left alone."""
    with subprocess.Popen(["sleep", "60"]) as process:
        (engine.folder / "running.json").write_text(json.dumps({"pid": process.pid, "started": "1"}))
        assert engine.stop() is False
        assert process.poll() is None
        process.kill()


def test_stopping_ends_the_process_and_all_its_children(engine: Embedded) -> None:
    """As unshare(1) does: the child is asked, and the parent ends with it."""
    with subprocess.Popen(["sh", "-c", "sleep 60 & wait $!; exit 0"]) as process:
        running = started(process.pid)
        while not list(embedded._children(process.pid)):
            assert process.poll() is None
        (child,) = embedded._children(process.pid)
        (engine.folder / "running.json").write_text(json.dumps(asdict(running)))
        assert engine.running() == running
        embedded._end(running)
        assert not running.alive
        assert embedded._start_time(child) is None
        process.returncode = 0  # collected already


def test_the_environment_does_not_redirect_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_HOST", "LD_PRELOAD", "TMPDIR", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, "/somewhere")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example")
    monkeypatch.setenv("SSL_CERT_FILE", "/bundle")
    found = embedded._environment()
    assert not {"DOCKER_HOST", "LD_PRELOAD", "TMPDIR", "XDG_RUNTIME_DIR"} & found.keys()
    assert (found["HTTPS_PROXY"], found["no_proxy"], found["SSL_CERT_FILE"]) == (
        "http://127.0.0.1:9", "example", "/bundle",
    )  # fmt: skip
    assert found["PATH"].startswith("/usr/sbin:")


def test_nothing_of_the_engine_is_outside_its_folder(engine: Embedded) -> None:
    configuration = engine.configuration()
    assert configuration["data-root"] == str(engine.folder / "data")
    assert configuration["hosts"] == [engine.host]
    assert (configuration["iptables"], configuration["ip6tables"], configuration["ip-forward"]) == (False,) * 3
    assert configuration["bridge"] == engine.identity
