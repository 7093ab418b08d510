from __future__ import annotations

import shutil
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


@pytest.mark.parametrize(
    ("linter", "name", "old", "new"),
    [
        ("zizmor", "workflows/ci.yml", "actions/cache@27d5ce7f107fe9357f9df03efb73ab90386fccae", "actions/cache@v5"),
        ("zizmor", "workflows/ci.yml", "persist-credentials: false", "fetch-depth: 1"),
        ("vendor.github-workflows", "workflows/images.yml", "runs-on:", "run-on:"),
        ("custom.github-workflows-require-timeout", "workflows/images.yml", "    timeout-minutes: 30\n", ""),
        ("vendor.dependabot", "dependabot.yml", "interval: weekly", "interval: sometimes"),
        ("vendor.github-issue-forms", "ISSUE_TEMPLATE/bug.yml", "type: textarea", "type: novel"),
        ("vendor.github-issue-config", "ISSUE_TEMPLATE/config.yml", "blank_issues_enabled: true", "blank: true"),
    ],
)
def test_what_github_would_refuse_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, linter: str, name: str, old: str, new: str
) -> None:
    shutil.copytree(lint._GITHUB, tmp_path / ".github")
    monkeypatch.setattr(lint, "_GITHUB", tmp_path / ".github")
    command = dict(lint._of_github())[linter]
    assert lint._passes(linter, command, {})
    text = (tmp_path / ".github" / name).read_text()
    assert old in text
    (tmp_path / ".github" / name).write_text(text.replace(old, new, 1))
    assert not lint._passes(linter, command, {})


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
