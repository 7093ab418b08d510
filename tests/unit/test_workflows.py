"""The workflows of .github/ call what is there, and promise no more than they hold."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

import noxfile
from scripts import paths
from tests.integration import workflows
from tests.integration.workflows import Contexts, WorkflowError

NAMES = sorted(path.name for path in workflows.FOLDER.iterdir())


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name in NAMES:
        for key, job in workflows.load(name)["jobs"].items():
            yield name, key, job


def steps(kind: str) -> Iterator[tuple[str, str]]:
    for name, key, job in jobs():
        for step in job.get("steps", []):
            if kind in step:
                yield f"{name}: {key}", step[kind]


class Recording:
    """A session that records which programs it would run."""

    def __init__(self, arguments: Sequence[str]) -> None:
        """`arguments` are those after `--`."""
        self.posargs = list(arguments)
        self.ran: list[list[str]] = []

    def run(self, *command: str, **_options: Any) -> None:
        self.ran.append(list(command))


class Understood(Exception):
    """A command line was parsed; nothing of it is to be done."""


@pytest.fixture
def parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Command lines are parsed by the code that they are for, which then stops."""
    parse = argparse.ArgumentParser.parse_args

    def only(self: argparse.ArgumentParser, arguments: Sequence[str]) -> None:
        parse(self, arguments)
        raise Understood

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", only)


def calls(command: str) -> list[Recording]:
    """What a step would run. Variables stand for one word each, as they do in quotes."""
    words = shlex.split(command)
    assert words[:2] == ["scripts/nox", "-s"], command
    end = words.index("--") if "--" in words else len(words)
    found = []
    for name in words[2:end]:
        session = getattr(noxfile, name)
        recording = Recording(words[end + 1 :])
        session.func(recording)
        found.append(recording)
    assert found, command
    return found


def main_of(module: str) -> Callable[[Sequence[str]], None]:
    """What `python -m module` calls."""
    spec = importlib.util.find_spec(module)
    package = spec is not None and spec.submodule_search_locations is not None
    found: Callable[[Sequence[str]], None] = importlib.import_module(f"{module}.__main__" if package else module).main
    return found


def understood(command: str) -> int:
    """How many command lines of this project `command` leads to that take arguments. Fails if one is not taken."""
    count = 0
    for recording in calls(command):
        modules = [words[2:] for words in recording.ran if words[1:2] == ["-m"]]
        assert modules or not recording.posargs or words_for_pytest(recording), command
        for module, *arguments in modules:
            if recording.posargs:
                with pytest.raises(Understood):
                    main_of(module)(arguments)
                count += 1
    return count


def words_for_pytest(recording: Recording) -> bool:
    return any(Path(words[0]).name == "pytest" for words in recording.ran)


@pytest.mark.parametrize(("where", "command"), list(steps("run")))
@pytest.mark.usefixtures("parsing")
def test_steps_call_sessions_that_exist_with_arguments_that_they_take(where: str, command: str) -> None:
    assert re.fullmatch(r"scripts/nox -s [\w -]+( -- [^;&|<>`()]+)?", command), where
    # Unquoted, a variable would be split and expanded; an expression would be put in before the shell reads it.
    assert not re.search(r"(?<![\"\w:])\$|\$\{\{", command), where
    understood(command)


@pytest.mark.usefixtures("parsing")
def test_a_step_that_asks_for_too_much_would_be_noticed(capsys: pytest.CaptureFixture[str]) -> None:
    assert understood('scripts/nox -s verify -- "$VARIANT" --against dist/first') == 1
    for command in ("scripts/nox -s verify -- --agianst x", "scripts/nox -s lock -- --markdown"):
        with pytest.raises(SystemExit):
            understood(command)
    assert "unrecognized arguments: --agianst" in capsys.readouterr().err
    with pytest.raises(AttributeError):
        understood("scripts/nox -s realese")


def test_actions_are_pinned_and_one_has_one_version() -> None:
    text = "\n".join((workflows.FOLDER / name).read_text() for name in NAMES)
    pinned = set(re.findall(r"uses: ([\w./-]+@[0-9a-f]{40}  # v[\d.]+)$", text, re.MULTILINE))
    used = {use.partition("@")[0] for _, use in steps("uses")}
    assert {one.partition("@")[0] for one in pinned} == used
    assert len(pinned) == len(used)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_permitted_that_is_not_named(name: str) -> None:
    workflow = workflows.load(name)
    assert "secrets" not in (workflows.FOLDER / name).read_text()
    if name == "images.yml":  # what it signs in a release it may sign, as its caller names
        assert "permissions" not in workflow
        assert {key for key, job in workflow["jobs"].items() if "permissions" not in job} == {"second", "integration"}
    else:
        assert workflow["permissions"] == {}
        assert all(job["permissions"]["contents"] for job in workflow["jobs"].values())


WRITING = {
    ("lock.yml", "propose"): {"contents": "write", "pull-requests": "write"},
    ("nightly.yml", "report"): {"contents": "read", "security-events": "write"},
    ("release.yml", "announce"): {"contents": "write"},
}
SIGNING = {("release.yml", "publish"): {"contents": "read", "id-token": "write", "packages": "write"}}


def test_only_jobs_that_run_nothing_may_write() -> None:
    """What one calls has its own, or what the caller names. Signing and publishing write nothing to the repository."""
    for name, key, job in jobs():
        if "uses" not in job and "permissions" in job:
            expected = (WRITING | SIGNING).get((name, key), {"contents": "read"})
            assert job["permissions"] == expected, f"{name}: {key}"
            assert (name, key) not in WRITING or not [step for step in job["steps"] if "run" in step]


def test_who_calls_a_workflow_gives_what_it_needs_and_no_more() -> None:
    """Inputs, and permissions; those of the caller are the most that the called may have."""
    count = 0
    for name, key, job in jobs():
        if "uses" in job:
            called = workflows.load(job["uses"].removeprefix("./.github/workflows/"))
            needed: dict[str, str] = {"contents": "read"}
            for one in called["jobs"].values():
                permissions = one.get("permissions", {})
                needed |= {what: max(how, needed.get(what, "")) for what, how in permissions.items()}
            if job.get("with", {}).get("release") is True:
                needed["id-token"] = "write"
            assert job["permissions"] == needed, f"{name}: {key}"
            inputs = (called["on"]["workflow_call"] or {}).get("inputs", {})
            given = set(job.get("with", {}))
            assert {one for one, about in inputs.items() if about.get("required")} <= given <= set(inputs)
            count += 1
    assert count >= 3


def test_checkouts_leave_no_token() -> None:
    for _, _, job in jobs():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


def test_the_workflows_for_changes_and_for_forks_have_the_same_inputs() -> None:
    inputs = workflows.load("images.yml")["on"]["workflow_call"]["inputs"]
    assert inputs.pop("release")["type"] == "boolean"
    assert inputs == workflows.load("ci.yml")["on"]["workflow_dispatch"]["inputs"]
    assert set(workflows.load("ci.yml")["jobs"]["images"]["with"]) == set(inputs)


def test_the_example_for_forks_calls_what_is_there() -> None:
    text = (paths.ROOT / "docs" / "ci.md").read_text()
    (example,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert yaml.safe_load(example)["permissions"] == {"contents": "read"}
    job = yaml.safe_load(example)["jobs"]["images"]
    assert job["uses"].partition("@")[0].endswith("/.github/workflows/images.yml")
    assert set(job["with"]) <= set(workflows.load("images.yml")["on"]["workflow_call"]["inputs"])
    assert len(example.splitlines()) == 5


VALUES = {"inputs": {"a": "x"}, "needs": {"one": {"outputs": {"all": '{"include": []}'}}}, "vars": {}}


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("plain", "plain"),
        ("${{ inputs.a }}", "x"),
        ("a ${{ inputs.a }}-${{inputs.none}}.", "a x-."),
        ("${{ fromJSON(needs.one.outputs.all) }}", {"include": []}),
        ("${{ vars.PUBLISHED != '' }}", False),
        ("${{ inputs.a == 'x' }}", True),
        ("${{ 'it''s' }}", "it's"),
        ("${{ always() }}", True),
        (False, False),
    ],
)
def test_expressions_are_evaluated(template: Any, expected: Any, tmp_path: Path) -> None:
    assert Contexts(VALUES, tmp_path).fill(template) == expected


@pytest.mark.parametrize("expression", ["inputs.a && inputs.a", "secrets.a", "toJSON(inputs)", "a == ", "== a", "!x"])
def test_expressions_that_are_not_known_are_refused(expression: str, tmp_path: Path) -> None:
    with pytest.raises((WorkflowError, IndexError)):
        Contexts(VALUES, tmp_path).evaluate(expression)


def test_files_are_hashed(tmp_path: Path) -> None:
    (tmp_path / "images" / "a").mkdir(parents=True)
    (tmp_path / "images" / "a" / "lock.json").write_text("1")
    (tmp_path / "requirements.txt").write_text("1")
    contexts = Contexts(VALUES, tmp_path)
    found = contexts.fill("${{ hashFiles('requirements.txt', '**/*lock.json') }}")
    assert len(found) == 64
    (tmp_path / "images" / "a" / "lock.json").write_text("2")
    assert contexts.fill("${{ hashFiles('requirements.txt', '**/*lock.json') }}") != found
