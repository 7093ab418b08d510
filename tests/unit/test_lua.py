"""The image's own Lua, tested by its own specifications with the locked Lua."""

from __future__ import annotations

import os
import subprocess

from scripts import paths, toolset


def test_lua_specifications() -> None:
    tools = toolset.unpack("lua")
    modules = paths.IMAGES / "rootfs/usr/local/lib/prosody-container/?.lua"
    done = subprocess.run(
        [*tools.command("usr/bin/lua5.4"), "tests/lua/run.lua"],
        cwd=paths.ROOT,
        env=os.environ | {"LUA_PATH": f"{modules};{paths.ROOT / 'tests/lua/?.lua'};;"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed, 0 failed" in done.stdout
