"""What Git tells of this checkout."""

from __future__ import annotations

import subprocess

from scripts import paths
from scripts.errors import UsageError


def output(*arguments: str) -> str:
    """What Git prints. Raises UsageError if this is no checkout, there is no Git, or it complains, with its words."""
    if not (paths.ROOT / ".git").exists():  # or else a copy within another checkout would be taken for that one
        raise UsageError(f"{paths.ROOT} is no checkout of Git, so nothing is known of its history.")
    command = ["git", *arguments]
    try:
        done = subprocess.run(
            command, cwd=paths.ROOT, capture_output=True, encoding="utf-8", errors="replace", check=False
        )
    except FileNotFoundError as error:
        raise UsageError("Git is needed to know this checkout's history; it is not on this machine.") from error
    if done.returncode != 0:
        raise UsageError(f"{' '.join(command)} says: {done.stderr.strip()}")
    return done.stdout
