"""Linters of files that are not Python: shell scripts, Dockerfiles, Lua, and what GitHub reads.

    python -m scripts.lint

luacheck comes as a locked Debian package, the others as wheels.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from scripts import errors, paths, toolset
from scripts.console import console
from scripts.errors import UserError

_PROGRAMS = Path(sys.prefix) / "bin"
_GITHUB = paths.ROOT / ".github"
# check-jsonschema's name of a schema, and the files that it is for
_SCHEMATA = {
    "vendor.github-workflows": "workflows/*.yml",
    "custom.github-workflows-require-timeout": "workflows/*.yml",
    "vendor.dependabot": "dependabot.yml",
    "vendor.github-issue-forms": "ISSUE_TEMPLATE/[!c]*.yml",
    "vendor.github-issue-config": "ISSUE_TEMPLATE/config.yml",
}


class LintError(UserError):
    """A linter found something; it has printed what."""


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    del arguments
    failed = [name for name, command, environment in _linters() if not _passes(name, command, environment)]
    if failed:
        raise LintError(f"Found something: {', '.join(failed)}")


def _linters() -> list[tuple[str, list[str], dict[str, str]]]:
    """Name, command line and additional environment of each linter."""
    shell = [*_scripts(), *sorted(paths.IMAGES.glob("*.sh"))]
    dockerfiles = sorted(paths.IMAGES.glob("*/Dockerfile"))
    lua = toolset.unpack("lua")
    modules = lua.root / "usr/share/lua/5.1/?.lua"
    libraries = next(lua.root.glob("usr/lib/*/lua/5.1")) / "?.so"
    luacheck = [
        *lua.command("usr/bin/lua5.1"), str(lua.root / "usr/bin/luacheck"), "--quiet", "images/rootfs", "tests/lua",
    ]  # fmt: skip
    return [
        ("shellcheck", [str(_PROGRAMS / "shellcheck"), *map(str, shell)], {}),
        ("hadolint", [str(_PROGRAMS / "hadolint"), *map(str, dockerfiles)], {}),
        ("luacheck", luacheck, {"LUA_PATH": f"{modules};{modules.parent}/?/init.lua", "LUA_CPATH": str(libraries)}),
        *((name, command, {}) for name, command in _of_github()),
    ]


def _of_github() -> Iterator[tuple[str, list[str]]]:
    """Name and command line of each linter of what GitHub reads."""
    options = ["--offline", "--quiet", "--pedantic", "--strict-collection"]
    yield "zizmor", [str(_PROGRAMS / "zizmor"), *options, str(_GITHUB)]
    for schema, pattern in _SCHEMATA.items():
        files = sorted(map(str, _GITHUB.glob(pattern)))
        yield schema, [str(_PROGRAMS / "check-jsonschema"), "--quiet", "--builtin-schema", schema, *files]


def _scripts() -> list[Path]:
    """Executable files with a shell's first line."""
    candidates = [*(paths.ROOT / "scripts").iterdir(), *(paths.ROOT / ".ci").iterdir()]
    return sorted(path for path in candidates if path.is_file() and path.read_bytes().startswith(b"#!/bin/sh"))


def _passes(name: str, command: Sequence[str], environment: dict[str, str]) -> bool:
    console.print(name)
    return subprocess.run(command, cwd=paths.ROOT, env=os.environ | environment, check=False).returncode == 0


if __name__ == "__main__":
    errors.run(main)
