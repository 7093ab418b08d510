"""What BuildKit's own checks say of a Dockerfile (`docker buildx build --check`, since buildx 0.15)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from scripts import build, engine, paths
from scripts.errors import EngineError, ScannerError
from scripts.scanners.findings import Finding


def scan(dockerfile: Path) -> list[Finding]:
    """Every warning, by the name of its rule. Raises EngineError if the engine is too old, ScannerError if it fails."""
    tool = engine.find()
    paths.SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scan-", dir=paths.SCRATCH) as folder:
        done = subprocess.run(
            [
                *(str(tool.client), "buildx", "build", "--builder", tool.builder, "--call=check,format=json"),
                # No check needs the image that the stage is made of, and no registry is asked for it.
                *(f"--build-context=tools={build.tools_folder(Path(folder))}", f"--file={dockerfile}", str(paths.ROOT)),
            ],
            env=os.environ | tool.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
    if "unknown flag" in done.stderr:
        raise EngineError("This engine's buildx is older than 0.15. One that checks is: PROSODY_ENGINE=engine-next")
    try:
        warnings = json.loads(done.stdout)["warnings"] or []
    except (ValueError, LookupError) as error:
        end = "\n".join(f"  {line}" for line in done.stderr.splitlines()[-10:])
        raise ScannerError(f"BuildKit could not check {dockerfile}:\n{end}") from error
    return [
        Finding.of("dockerfile", warning["ruleName"], f"line {_line(warning)}: {warning['detail']}")
        for warning in warnings
    ]


def _line(warning: Any) -> int:
    return next((int(found["start"]["line"]) for found in warning.get("location", {}).get("ranges", [])), 1)
