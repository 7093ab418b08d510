"""Runs workflows of .github/ on this machine: jobs in the order of `needs`, each in a checkout of its own.

Of GitHub's language ("Workflow syntax", "Contexts", "Expressions" in its manual) it knows what the workflows here say,
and refuses the rest. Steps with `run` are run as they are; the four actions of GitHub have stand-ins that do the same.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

from scripts import paths

FOLDER = paths.ROOT / ".github" / "workflows"
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_TOKEN = re.compile(r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<name>[\w.-]+)|(?P<sign>==|!=|[(),]))")


class WorkflowError(Exception):
    """A step failed, or a workflow says something that is not known here."""


def load(name: str) -> dict[str, Any]:
    """A workflow by its file's name; its triggers are under `on`, which is a truth value to YAML 1.1."""
    workflow = yaml.safe_load((FOLDER / name).read_text())
    return {"on" if key is True else key: value for key, value in workflow.items()}


@dataclass(frozen=True)
class Contexts:
    """What expressions can name, and the folder whose files they can hash."""

    values: Mapping[str, Any]
    workspace: Path

    def evaluate(self, expression: str) -> Any:
        """Value of an expression: a name, a text, a call, or two of these compared."""
        tokens: list[tuple[str, str]] = []
        place = 0
        while place < len(expression.rstrip()):
            found = _TOKEN.match(expression, place)
            if found is None:
                raise WorkflowError(f"Not known here: {expression}")
            tokens.append((str(found.lastgroup), found[found.lastgroup or 0]))
            place = found.end()
        value = self._operand(tokens)
        if tokens:
            sign, other = tokens.pop(0)[1], self._operand(tokens)
            if tokens or sign not in ("==", "!="):
                raise WorkflowError(f"Not known here: {expression}")
            return (value == other) is (sign == "==")
        return value

    def _operand(self, tokens: list[tuple[str, str]]) -> Any:
        kind, text = tokens.pop(0)
        if kind == "text":
            return text[1:-1].replace("''", "'")
        if kind != "name":
            raise WorkflowError(f"Not known here: {text}")
        if tokens and tokens[0][1] == "(":
            arguments = []
            while tokens.pop(0)[1] != ")":
                if tokens[0][1] != ")":
                    arguments.append(self._operand(tokens))
            return self._call(text, arguments)
        first, *rest = text.split(".")
        if first not in self.values:
            raise WorkflowError(f"There is no context {first!r} here.")
        value = self.values[first]
        for name in rest:
            value = value.get(name, "")
        return value

    def _call(self, name: str, arguments: list[Any]) -> Any:
        if name == "fromJSON":
            return json.loads(arguments[0])
        if name == "always":
            return True
        if name == "hashFiles":
            files = sorted({path for pattern in arguments for path in self.workspace.glob(pattern)})
            return hashlib.sha256(b"".join(hashlib.sha256(path.read_bytes()).digest() for path in files)).hexdigest()
        raise WorkflowError(f"There is no function {name!r} here.")

    def fill(self, value: Any) -> Any:
        """A value of a workflow with its expressions evaluated; one that is nothing else may become any value."""
        if not isinstance(value, str):
            return value
        whole = _EXPRESSION.fullmatch(value)
        return self.evaluate(whole[1]) if whole else _EXPRESSION.sub(lambda one: str(self.evaluate(one[1])), value)


@dataclass
class Runner:
    """Runs workflows; `variables` are the environment that all its machines have."""

    folder: Path
    variables: Mapping[str, str]
    done: list[str] = field(default_factory=list)  # commands, with their variables put in, in the order they ended
    cached: list[str] = field(default_factory=list)  # keys that were restored
    results: dict[str, int] = field(default_factory=dict)  # how many jobs each job became

    def run(self, name: str, inputs: Mapping[str, Any]) -> None:
        """Run the workflow `name`. Raises WorkflowError with the output of the step that failed."""
        workflow = load(name)
        offered = next(on["inputs"] for on in workflow["on"].values() if on and "inputs" in on)
        if unknown := inputs.keys() - offered.keys():
            raise WorkflowError(f"{name} has no input {unknown}")
        given = {key: inputs.get(key, "") for key in offered}
        jobs = workflow["jobs"]
        needs = {key: [job["needs"]] if isinstance(job.get("needs"), str) else job.get("needs", [])
                 for key, job in jobs.items()}  # fmt: skip
        outputs: dict[str, Any] = {}
        for key in TopologicalSorter(needs).static_order():
            known = {"inputs": given, "needs": {one: {"outputs": outputs[one]} for one in needs[key]}}
            outputs[key] = self._job(key, jobs[key], known | {"vars": {}, "matrix": {}, "steps": {}})

    def _job(self, key: str, job: dict[str, Any], known: dict[str, Any]) -> Mapping[str, Any]:
        contexts = Contexts(known, self.folder)
        if "if" in job and not contexts.evaluate(job["if"]):
            return {}
        if "uses" in job:
            called = job["uses"].removeprefix("./.github/workflows/")
            self.run(called, {name: contexts.fill(value) for name, value in job["with"].items()})
            return {}
        matrix = contexts.fill(job["strategy"]["matrix"])["include"] if "strategy" in job else [{}]
        self.results[key] = len(matrix)
        outputs: Mapping[str, Any] = {}
        for number, values in enumerate(matrix):
            machine = Machine(self, self.folder / f"{key}-{number}", job, known | {"matrix": values})
            outputs = machine.run()
        return outputs


class Machine:
    """One job on a machine of its own, with a workspace and a home."""

    def __init__(self, runner: Runner, folder: Path, job: dict[str, Any], known: dict[str, Any]) -> None:
        """`known` are the contexts of the job."""
        self.workspace, self.home = folder / "workspace", folder / "home"
        for path in (self.workspace, self.home):
            path.mkdir(parents=True)
        self._runner, self._job, self._steps = runner, job, dict[str, Any]()
        self._contexts = Contexts(known | {"steps": self._steps}, self.workspace)
        self._after: list[Callable[[], None]] = []

    def run(self) -> dict[str, Any]:
        """Run the steps; returns the outputs of the job."""
        failure: WorkflowError | None = None
        for step in self._job["steps"]:
            condition = step.get("if", "")
            if (failure and condition != "always()") or (condition and not self._contexts.evaluate(condition)):
                continue
            try:
                self._step(step)
            except WorkflowError as error:
                failure = error
        if failure:
            raise failure
        for action in self._after:
            action()
        return {name: self._contexts.fill(value) for name, value in self._job.get("outputs", {}).items()}

    def _step(self, step: dict[str, Any]) -> None:
        if "uses" in step:
            name = step["uses"].partition("@")[0]
            inputs = {key: self._contexts.fill(value) for key, value in step.get("with", {}).items()}
            actions = {
                "actions/checkout": self._checkout,
                "actions/cache": self._cache,
                "actions/upload-artifact": self._upload,
                "actions/download-artifact": self._download,
            }
            if name not in actions:
                raise WorkflowError(f"There is no stand-in for {name}.")
            actions[name](inputs)
        else:
            self._command(step)

    def _command(self, step: dict[str, Any]) -> None:
        output = self.home / "output"
        output.write_text("")
        declared = {**self._job.get("env", {}), **step.get("env", {})}
        variables = {name: str(self._contexts.fill(value)) for name, value in declared.items()}
        environment = {
            **self._runner.variables, **variables,
            "CI": "true", "HOME": str(self.home), "GITHUB_OUTPUT": str(output),
        }  # fmt: skip
        # As GitHub does it for steps that name no shell.
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]], cwd=self.workspace, env=environment, check=False,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        shown = re.sub(r"\$(\w+)", lambda one: variables.get(one[1], one[0]), step["run"])
        if done.returncode != 0:
            raise WorkflowError(f"{shown}: status {done.returncode}\n{done.stdout[-6000:]}")
        self._runner.done.append(shown)
        if "id" in step:
            self._steps[step["id"]] = {"outputs": dict(line.split("=", 1) for line in output.read_text().splitlines())}

    def _checkout(self, inputs: Mapping[str, Any]) -> None:
        if inputs != {"persist-credentials": False}:
            raise WorkflowError(f"The checkout is asked for something else: {inputs}")
        paths.copy_checkout(self.workspace)
        # Made once: it would be the same, and take a minute in each job.
        (self.workspace / ".venv").symlink_to(paths.ROOT / ".venv")

    def _cache(self, inputs: Mapping[str, Any]) -> None:
        store = self._runner.folder / "cache"
        folders = [Path(line.replace("~", str(self.home), 1)) for line in inputs["path"].split()]
        others = [key for prefix in inputs["restore-keys"].split() for key in _names(store) if key.startswith(prefix)]
        found = next((key for key in [inputs["key"], *others] if (store / key).is_dir()), None)
        if found:
            self._runner.cached.append(found)
            for number, path in enumerate(folders):
                if (store / found / str(number)).is_dir():
                    shutil.copytree(store / found / str(number), path, copy_function=os.link, dirs_exist_ok=True)
        if found == inputs["key"]:
            return

        def save() -> None:
            for number, path in enumerate(folders):
                if path.is_dir():
                    target = store / inputs["key"] / str(number)
                    shutil.copytree(path, target, copy_function=os.link, symlinks=True, dirs_exist_ok=True)

        self._after.append(save)

    def _upload(self, inputs: Mapping[str, Any]) -> None:
        source, target = self.workspace / inputs["path"], self._runner.folder / "artifacts" / inputs["name"]
        if "\n" in inputs["path"] or glob.has_magic(inputs["path"]):
            raise WorkflowError("Only one folder can be uploaded here.")
        if not source.is_dir() and inputs.get("if-no-files-found") == "error":
            raise WorkflowError(f"{inputs['path']} is not there.")
        if target.exists():
            raise WorkflowError(f"There is an artifact {inputs['name']} already.")
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns(".*"))

    def _download(self, inputs: Mapping[str, Any]) -> None:
        source = self._runner.folder / "artifacts" / inputs["name"]
        if not source.is_dir():
            raise WorkflowError(f"There is no artifact {inputs['name']}.")
        shutil.copytree(source, self.workspace / inputs.get("path", "."), dirs_exist_ok=True)


def _names(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (path.name for path in folder.iterdir())
