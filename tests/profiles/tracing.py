"""A pytest plugin (-p tests.profiles.tracing): every container and command of the tests runs under strace.

strace is a locked Debian package that is mounted into the containers; it writes a file a process into TRACES.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container, ContainerCollection

from scripts import platforms, toolset
from tests.integration import containers
from tests.integration.containers import Outcome

TRACES = "PROSODY_TRACES"  # environment variable: the folder that traces are written to

OWN = _TOOLS, _THERE = "/strace", "/traces"  # what tracing adds to a container


# Programs of the image; what tests bring along, such as a browser, is not of interest.
_PROGRAMS = ("/usr/bin/tini", "/usr/bin/lua5.4", "prosodyctl")


def _command(tools: Path) -> list[str]:
    """Start of a command line that traces what follows it, within a container."""
    loader = next(tools.glob("usr/lib/*/ld-linux*.so*")).relative_to(tools)
    name = uuid.uuid4().hex[:12]
    return [
        f"{_TOOLS}/{loader}", "--library-path", f"{_TOOLS}/{loader.parent}", f"{_TOOLS}/usr/bin/strace",
        # The program stays the first process of its container, which signals go to.
        "--daemonize", "--follow-forks", "--output-separately", "--quiet=all",
        # What descriptors stand for, and whole paths; what is read and written is of no interest.
        "--decode-fds=path,socket", "--string-limit=512",
        f"--output={_THERE}/{name}",
    ]  # fmt: skip


def pytest_configure(config: pytest.Config) -> None:
    """Put strace in front of every program that the Docker SDK starts in a container of the image."""
    del config
    tools = toolset.unpack("confinement").root
    traces = os.environ[TRACES]
    create, execute = ContainerCollection.create, containers.execute

    def traced_create(self: Any, image: str, command: str | list[str] | None = None, **options: Any) -> Container:
        found = self.client.images.get(image).attrs["Config"]
        entry = options.pop("entrypoint", None) or found.get("Entrypoint") or []
        entry = [entry] if isinstance(entry, str) else list(entry)
        foreign = options.get("platform", platforms.native().name) != platforms.native().name
        if foreign or not entry or entry[0] not in _PROGRAMS:
            return create(self, image, command, entrypoint=entry, **options)
        volumes = dict(options.pop("volumes", None) or {})
        volumes |= {str(tools): {"bind": _TOOLS, "mode": "ro"}, traces: {"bind": _THERE, "mode": "rw"}}
        return create(self, image, command, entrypoint=[*_command(tools), *entry], volumes=volumes, **options)

    def traced_execute(container: Container, command: Sequence[str], **options: Any) -> Outcome:
        mounts = {mount["Destination"] for mount in container.attrs["Mounts"]}
        prefix = _command(tools) if _THERE in mounts and command[0] in _PROGRAMS else []
        return execute(container, [*prefix, *command], **options)

    ContainerCollection.create = traced_create  # type: ignore[method-assign, assignment]
    containers.execute = traced_execute
