from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from scripts import errors, paths
from scripts.errors import EngineError, FetchError, GoneError, UserError, VariantError


def kinds(base: type[UserError] = UserError) -> Iterator[type[UserError]]:
    """All kinds of user errors that scripts.errors defines."""
    for kind in base.__subclasses__():
        if kind.__module__ == errors.__name__:
            yield kind
        yield from kinds(kind)


def test_every_error_has_an_exit_status_of_its_own() -> None:
    statuses = [kind.exit_status for kind in kinds()]
    assert len(statuses) > 10
    assert len({*statuses, 0, UserError.exit_status, errors.INTERRUPTED}) == len(statuses) + 3
    assert all("exit_status" in vars(kind) for kind in kinds()), "inherited"
    assert all(2 <= status < 126 for status in statuses), "shells use the others themselves"


def test_every_exit_status_is_documented() -> None:
    page = (paths.ROOT / "docs" / "architecture.md").read_text()
    for status in (*(kind.exit_status for kind in kinds()), errors.INTERRUPTED):
        assert f"\n| {status} |" in page


@pytest.mark.parametrize(
    ("error", "status", "expected"),
    [
        pytest.param(EngineError("no engine"), 15, "error: no engine", id="user error"),
        pytest.param(GoneError("gone"), 14, "error: gone", id="kind of a kind"),
        pytest.param(FetchError("one\n  two"), 13, "error: one\n  two\n", id="lines stay lines"),
        pytest.param(VariantError("[bold]layers[0][/] x"), 10, "error: [bold]layers[0][/] x", id="no markup"),
        pytest.param(VariantError("word " * 60), 10, "word " * 60, id="long lines are not broken"),
        pytest.param(KeyboardInterrupt(), 130, "run the same command again", id="interrupt"),
        pytest.param(OSError(errno.ENOSPC, "x", "/cache/x"), 19, "disk is full while writing /cache/x", id="full"),
        pytest.param(OSError(errno.ENOSPC, "x"), 19, "disk is full. Free some space", id="full, somewhere"),
        pytest.param(OSError(errno.EDQUOT, "x"), 19, "disk is full", id="quota"),
        pytest.param(
            PermissionError(errno.EACCES, "Permission denied", "/cache/x"),
            *(28, "error: /cache/x: Permission denied. Run the command as a user who may"),
            id="denied",
        ),
        pytest.param(OSError(errno.EROFS, "Read-only", "/cache/x"), 28, "/cache/x: Read-only. ", id="read-only"),
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
    output = capsys.readouterr()
    assert expected in output.err
    assert output.out == ""


def test_a_programming_error_keeps_its_traceback() -> None:
    def command(_arguments: object) -> None:
        raise PermissionError(errno.EACCES, "not ours to explain")

    with pytest.raises(PermissionError):
        errors.run(command)


def test_a_command_that_ends_well_exits_with_0() -> None:
    errors.run(lambda _arguments: None)


def interrupted(script: str) -> subprocess.CompletedProcess[str]:
    """A process that is interrupted once it has said that it is ready."""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_an_interrupted_command_says_so_and_nothing_else() -> None:
    done = interrupted(
        "import time\nfrom scripts import errors\n"
        "def command(_arguments):\n    print('ready', flush=True)\n    time.sleep(60)\nerrors.run(command)"
    )
    assert done.returncode == errors.INTERRUPTED
    assert done.stderr.splitlines() == [
        "error: Interrupted. Nothing half-written is left behind; run the same command again."
    ]


def test_an_interrupt_during_imports_is_quiet() -> None:
    done = interrupted("import scripts, time\nprint('ready', flush=True)\ntime.sleep(60)")
    assert done.returncode in (errors.INTERRUPTED, -signal.SIGINT)
    assert done.stderr == ""


def test_other_errors_of_a_command_are_shown() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import scripts\n1 / 0"],
        cwd=paths.ROOT, env=os.environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
