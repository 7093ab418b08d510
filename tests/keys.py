"""Keys that sign in tests, made as people make them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts import paths
from scripts.signing import Key

PASSWORD = "not told to anybody"


def make(folder: Path) -> Key:
    """A new key in a folder, which is made; cosign.pub beside it is its public half. Its password is PASSWORD."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(paths.ROOT / "scripts" / "cosign"), "generate-key-pair"]
    subprocess.run(command, cwd=folder, env=os.environ | {"COSIGN_PASSWORD": PASSWORD}, capture_output=True, check=True)
    return Key(folder / "cosign.key")


def use(key: Key, patch: pytest.MonkeyPatch) -> None:
    """Let `key` be who signs."""
    patch.setenv("COSIGN_KEY", str(key.path))
    patch.setenv("COSIGN_PASSWORD", PASSWORD)
