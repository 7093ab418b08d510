"""Builders beyond this machine: nodes of one buildx builder, each of which builds for platforms of its own."""

from __future__ import annotations

import os
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from python_on_whales.exceptions import DockerException

from scripts import paths, variants
from scripts.engine import Engine
from scripts.errors import BuildError, EngineError
from scripts.platforms import PLATFORMS, Platform

# BuildKit sets BUILDPLATFORM to that of the machine it runs on (Dockerfile reference, "Automatic platform ARGs").
_QUESTION = """FROM scratch
ARG BUILDPLATFORM
COPY <<platform /
$BUILDPLATFORM
platform
"""


def named(tool: Engine, name: str) -> Engine:
    """`tool`, but building with the builder `name` that its client knows. Raises EngineError if it knows none."""
    known = subprocess.run(
        [tool.client, "buildx", "inspect", name],
        env=os.environ | tool.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if known.returncode != 0:
        client = "scripts/docker" if tool.embedded else "docker"
        raise EngineError(
            f"There is no builder {name!r} that can be used: {known.stderr.strip()}\n"
            f"These are known: {client} buildx ls; docs/architecture.md says how to make one."
        )
    return replace(tool, builder=name, elsewhere=True)


def runs_on(tool: Engine, target: Platform) -> Platform:
    """Platform of the machine that builds for `target`, which BuildKit alone knows: buildx lists what a node accepts.

    Raises BuildError if that machine cannot be asked, or if there is no locked program for it to unpack packages with.
    """
    with tempfile.TemporaryDirectory(prefix="prosody-node-") as folder:
        (Path(folder) / "Dockerfile").write_text(_QUESTION)
        try:
            tool.whales().buildx.build(
                folder,
                builder=tool.builder,
                platforms=[target.name],
                output={"type": "local", "dest": f"{folder}/answer"},
                provenance=False,
                sbom=False,
                progress=False,
            )
        except DockerException as error:
            raise BuildError(
                f"The node of the builder {tool.builder!r} that builds for {target} does not answer:\n{error.stderr}"
            ) from error
        name = Path(folder, "answer", "platform").read_text().strip()
    locked = variants.load("busybox", paths.TOOLS).platforms
    if name not in map(str, locked):
        raise BuildError(
            f"The builder {tool.builder!r} builds for {target} on a machine of {name}, for which no busybox is locked."
            f" Let a node of {' or '.join(map(str, locked))} do that: nothing is emulated."
        )
    return PLATFORMS[name]
