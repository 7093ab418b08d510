"""-> a Docker engine with BuildKit that works: the user's own, or the embedded one.

python -m scripts.engine status|stop|remove
python -m scripts.engine docker ...    (what scripts/docker runs)
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import docker
from python_on_whales import DockerClient

from scripts import errors
from scripts.console import console, mebibytes, table
from scripts.embedded import Embedded
from scripts.errors import EngineError

OLDEST_ENGINE = (23, 0)  # the first with buildx as its builder
# From this version on, and with containerd's image store, the engine's own BuildKit (>= 0.13) exports OCI layouts that
# are the same everywhere. Older engines get a BuildKit of their own, in a container.
_OLDEST_BUILDER = (26, 0)
_BUILDKIT_IMAGE = "moby/buildkit:v0.25.2"
_CONTAINER_BUILDER = "prosody-images"
_EMBEDDED = ("engine", "engine-next")  # sets of tools in scripts/tools/ that make an engine


@dataclass(frozen=True)
class Engine:
    """A working engine: the client program to call, and where and how that client finds the engine.

    `elsewhere` is whether `builder` is one that was asked for by name, whose nodes may be other machines.
    """

    client: Path
    version: str
    host: str | None = None
    config: Path | None = None
    builder: str = "default"
    elsewhere: bool = False

    @property
    def embedded(self) -> bool:
        """Whether this is the embedded engine."""
        return self.host is not None

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that make any Docker client use this engine."""
        variables = {"DOCKER_HOST": self.host, "DOCKER_CONFIG": str(self.config) if self.config else None}
        return {name: value for name, value in variables.items() if value}

    @property
    def builders(self) -> dict[str, str]:
        """Environment variable that makes the client of another engine know the builders that this one's knows."""
        config = self.config or Path(os.environ.get("DOCKER_CONFIG") or "~/.docker").expanduser()
        return {"BUILDX_CONFIG": os.environ.get("BUILDX_CONFIG") or str(config / "buildx")}

    def whales(self) -> DockerClient:
        """Client for builds; the user's wish for labels that tell the commit must not reach images."""
        call = ["env", "BUILDX_GIT_LABELS=false", str(self.client)]
        return DockerClient(client_call=call, host=self.host, config=self.config)

    def sdk(self, timeout: int = 60) -> docker.DockerClient:
        """Client for images and containers; `timeout` in seconds."""
        if self.host:
            return docker.DockerClient(base_url=self.host, timeout=timeout)
        return docker.from_env(timeout=timeout)


def find() -> Engine:
    """The engine to use.

    One that this machine has is used as it is; else, on Linux and as root, the embedded one is started. The choice can
    be forced: PROSODY_ENGINE=embedded (or a name in scripts/tools/), PROSODY_ENGINE=docker.
    Raises EngineError if Docker is too old or incomplete, or if there is none and none can be started.
    """
    wish = os.environ.get("PROSODY_ENGINE", "")
    if wish in ("", "docker"):
        own = _own()
        if own is not None:
            return own
        if wish == "docker":
            raise EngineError("No Docker engine answers, and PROSODY_ENGINE=docker forbids to start one.")
    return _embedded("engine" if wish in ("", "embedded") else wish)


def _own() -> Engine | None:
    """The machine's own engine, or None if there is none that answers."""
    client = shutil.which("docker")
    if client is None:
        return None
    version = _ask(client, "version", "--format", "{{json .Server}}")
    if not version or "Version" not in version:
        return None
    number = str(version["Version"])
    if _numbers(number) < OLDEST_ENGINE:
        raise EngineError(
            f"Docker {number} is too old: version {OLDEST_ENGINE[0]} or newer is needed."
            " Update it, or let the embedded engine do the work: PROSODY_ENGINE=embedded (Linux, root)."
        )
    if subprocess.run([client, "buildx", "version"], capture_output=True, check=False).returncode != 0:
        raise EngineError(
            "Docker is here, but its buildx plugin is not. Install it (Debian: docker-buildx; Docker's own packages:"
            " docker-buildx-plugin), or let the embedded engine do the work: PROSODY_ENGINE=embedded (Linux, root)."
        )
    store = json.dumps((_ask(client, "info", "--format", "{{json .}}") or {}).get("DriverStatus"))
    if _numbers(number) >= _OLDEST_BUILDER and "io.containerd.snapshotter.v1" in store:
        return Engine(Path(client), number)
    return Engine(Path(client), number, builder=_container_builder(client))


def _container_builder(client: str) -> str:
    """Name of a builder that runs its own BuildKit in a container, made on first use."""
    known = subprocess.run([client, "buildx", "inspect", _CONTAINER_BUILDER], capture_output=True, check=False)
    if known.returncode != 0:
        made = subprocess.run(
            [client, "buildx", "create", "--name", _CONTAINER_BUILDER, "--driver", "docker-container",
             "--driver-opt", f"image={_BUILDKIT_IMAGE}"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if made.returncode != 0:
            raise EngineError(f"No builder could be made: {made.stderr.strip()}")
    return _CONTAINER_BUILDER


def _embedded(name: str) -> Engine:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise EngineError(
            "No Docker engine answers. Start or install Docker (version 23 or newer, with buildx), or run this as root"
            " on Linux, where an embedded engine is started from .cache without installing anything."
        )
    return of(Embedded(name))


def of(embedded: Embedded) -> Engine:
    """An embedded engine, started if it does not run."""
    client = embedded.start() / "usr/bin/docker"
    return Engine(client, _embedded_version(embedded), embedded.host, embedded.client_config)


@cache
def _embedded_version(embedded: Embedded) -> str:
    client = docker.DockerClient(base_url=embedded.host)
    try:
        return str(client.version()["Version"])
    finally:
        client.close()


def _ask(client: str, *arguments: str) -> dict[str, Any] | None:
    """Answer of the Docker client as JSON, None if the engine does not answer."""
    try:
        answer = subprocess.run([client, *arguments], capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:
        return None
    try:
        value = json.loads(answer.stdout or "null")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _numbers(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: `26.1.5+dfsg1` -> (26, 1)."""
    parts = version.split(".")[:2]
    return tuple(int("".join(character for character in part if character.isdigit()) or 0) for part in parts)


def status() -> None:
    """Print which engine a build would use, and the state of the embedded ones, without starting any."""
    report = table("Engines", "engine", "state", "version", "where", "disk", numeric=frozenset({"disk"}))
    own = _own()
    if own:
        report.add_row("docker", "running", own.version, os.environ.get("DOCKER_HOST", "default"), "")
    for name in _EMBEDDED:
        embedded = Embedded(name)
        if embedded.running():
            version = _embedded_version(embedded) if embedded.responds() else "does not answer"
            report.add_row(f"embedded ({name})", "running", version, embedded.host, _disk(embedded))
        elif embedded.folder.is_dir():
            report.add_row(f"embedded ({name})", "stopped", "", str(embedded.folder), _disk(embedded))
    console.print(report if report.row_count else "No engine runs; a build starts the embedded one.")


def _disk(embedded: Embedded) -> str:
    total = 0
    for folder, _, names in os.walk(embedded.folder / "data"):
        for name in names:
            total += os.lstat(os.path.join(folder, name)).st_blocks * 512  # noqa: PTH118 - hot loop
    return mebibytes(total)


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    if arguments[:1] == ["docker"]:
        engine = find()
        os.execve(engine.client, ["docker", *arguments[1:]], os.environ | engine.environment)  # noqa: S606
    parser = argparse.ArgumentParser(prog="nox -s engine --", description="Look after the embedded engine.")
    parser.add_argument(
        "action", choices=("status", "stop", "remove"), help="remove also deletes its images and volumes"
    )
    action = parser.parse_args(arguments).action
    if action == "status":
        status()
        return
    for name in _EMBEDDED:
        embedded = Embedded(name)
        if embedded.stop() if action == "stop" else embedded.remove():
            console.print(f"embedded ({name}): {'stopped' if action == 'stop' else 'removed'}")


if __name__ == "__main__":
    errors.run(main)
