"""How long builds take, against the conventional way, and against the budgets."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar

from scripts import build, emulation, lock, mirrors, paths, platforms, variants
from scripts.build import Recipe
from scripts.console import console
from scripts.engine import Engine
from scripts.platforms import PLATFORMS, Platform
from tests.bench.rows import Row

HERE = Path(__file__).parent
Result = TypeVar("Result")


def rows(tool: Engine) -> Iterator[Row]:
    """Measure; each row is printed and kept by the caller."""
    other = PLATFORMS["linux/arm64" if platforms.native().name == "linux/amd64" else "linux/amd64"]
    targets = (platforms.native(), other)
    found = build.prepare("debian", variants.load("debian").platforms)
    with _scratch() as scratch, _empty_packing_cache():
        ours = _timed(lambda: build.build(found, targets, tool, cache=False, folder=scratch / "ours"))[1]
    conventional = sum(_conventional(found, platform, tool) for platform in targets)
    yield Row(f"build {targets[0]} + {targets[1]}, packages cached", ours, "s", conventional,
              "apt in a base image, the second platform emulated", at_least=10.0)  # fmt: skip
    yield Row("expand", _command("scripts.dockerfile", "--check"), "s", budget=1.0)
    _command("scripts.build", "debian")
    yield Row("build again, nothing changed", _command("scripts.build", "debian"), "s", budget=3.0)
    with _scratch() as scratch, _empty_packing_cache():
        everything = found.variant.platforms
        seconds = _timed(lambda: build.build(found, everything, tool, cache=False, folder=scratch / "all"))[1]
    yield Row(f"build all {len(everything)} platforms, no cache but packages", seconds, "s", budget=300.0)


def _conventional(found: Recipe, platform: Platform, tool: Engine) -> float:
    """Seconds that a conventional build takes; making its base image does not count."""
    name = f"prosody-bench:base-{platform.tag}"
    tools = lock.load(base := variants.load("base", paths.TOOLS), lock.path_of("base", paths.TOOLS))
    tools.fetch([platform], label="packages of base")
    with _scratch() as scratch, emulation.emulated(platform) if platform != platforms.native() else nullcontext():
        packages = build.packages_folder(tools, platform, scratch)
        console.print(f"Making a conventional base image for {platform} ({base.name})")
        _buildx(
            tool, HERE / "base.Dockerfile", platform, scratch, "--tag", name, "--load",
            "--build-context", f"packages={packages}", "--build-context", f"tools={build.tools_folder(scratch)}",
        )  # fmt: skip
        console.print(f"Building the conventional image for {platform}")
        wanted = [package for package in found.variant.packages if package not in ("prosody", "prosody-modules")]
        arguments = [f"PACKAGES={' '.join(wanted)}"]
        for archive in ("debian", "debian-security"):
            arguments.append(f"{mirrors.variable(archive)}={mirrors.mirrors(archive, found.lock.snapshot)[0]}")
        seconds = _timed(
            lambda: _buildx(
                tool,
                HERE / "conventional.Dockerfile",
                platform,
                paths.ROOT,
                "--network",
                "host",
                "--no-cache",
                "--build-context",
                f"base=docker-image://{name}",
                *(part for argument in arguments for part in ("--build-arg", argument)),
                "--output",
                f"type=oci,dest={scratch / 'conventional.tar'}",
            )
        )[1]
    client = tool.sdk()
    client.images.remove(name, force=True)
    client.close()
    return seconds


def _buildx(tool: Engine, file: Path, platform: Platform, context: Path, *arguments: str) -> None:
    done = subprocess.run(
        [str(tool.client), "buildx", "build", "--builder", tool.builder, "--progress", "plain", "--provenance",
         "false", "--platform", platform.name, "--file", str(file), *arguments, str(context)],
        env=os.environ | tool.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        console.print(done.stderr[-3000:])
        done.check_returncode()


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Result of `work` and the seconds it took."""
    start = time.monotonic()
    result = work()
    return result, time.monotonic() - start


def _command(module: str, *arguments: str) -> float:
    """Seconds that a command of the build system takes, from the shell's point of view."""
    start = time.monotonic()
    subprocess.run([sys.executable, "-m", module, *arguments], cwd=paths.ROOT, check=True, capture_output=True)
    return time.monotonic() - start


@contextmanager
def _scratch() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="bench-", dir=paths.SCRATCH) as folder:
        yield Path(folder)


@contextmanager
def _empty_packing_cache() -> Iterator[None]:
    """Pack every layer anew: the time of packing belongs to the time of a build."""
    cache = paths.user_cache() / "layers"
    aside = cache.with_name("layers.aside")
    if cache.is_dir():
        cache.rename(aside)
    try:
        yield
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        if aside.is_dir():
            aside.rename(cache)
