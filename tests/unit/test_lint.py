from __future__ import annotations

from pathlib import Path

import pytest

from scripts import lint, paths
from scripts.lint import LintError


def test_every_shell_script_is_checked() -> None:
    found = lint._scripts()
    for name in ("scripts/nox", "scripts/environment", "scripts/docker"):
        assert paths.ROOT / name in found
    assert not [path for path in found if path.suffix == ".py"]


@pytest.mark.parametrize(
    ("program", "name", "good", "bad"),
    [
        ("shellcheck", "x.sh", "#!/bin/sh\nset -eu\necho \"$HOME\"\n", "#!/bin/sh\nrm -rf $1/*\n[ $x == 1 ]\n"),
        ("hadolint", "Dockerfile", "FROM scratch\nCOPY a /\n", "FROM debian\nRUN cd / && apt-get install x\n"),
    ],
)  # fmt: skip
def test_linters_tell_good_from_bad(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], program: str, name: str, good: str, bad: str
) -> None:
    path = tmp_path / name
    command = [str(lint._PROGRAMS / program), str(path)]
    path.write_text(good)
    assert lint._passes(program, command, {})
    path.write_text(bad)
    assert not lint._passes(program, command, {})
    assert name in capfd.readouterr().out


def test_all_linters_run_and_those_that_found_something_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [
        ("first", ["false"], {}),
        ("second", ["true"], {}),
        ("third", ["sh", "-c", "exit $STATUS"], {"STATUS": "3"}),
    ]
    monkeypatch.setattr(lint, "_linters", lambda: commands)
    with pytest.raises(LintError, match=r"^Found something: first, third$"):
        lint.main([])
    monkeypatch.setattr(lint, "_linters", lambda: commands[1:2])
    lint.main([])
