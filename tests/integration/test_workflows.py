"""The workflow that checks images, run on this machine: what GitHub would run, step by step, in its order."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts import oci, paths, platforms
from scripts.engine import Engine
from scripts.oci import Layout
from tests.integration.workflows import Runner

NATIVE = platforms.native()
TEST = "messages_go_both_ways and not arm64"


def vault(folder: Path) -> Path:
    """The user's cache as a vault, so that nothing is downloaded again."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for path in (paths.user_cache() / "sha256").glob("??/*"):
        (blobs / path.name).symlink_to(path)
    return folder


def remember(runner: Runner, *jobs: str) -> None:
    """Have these jobs find layers that were packed before, as if they had run for an earlier lock."""
    for job in jobs:
        target = runner.folder / "cache" / f"{job}-debian-{NATIVE.tag}-earlier" / "1" / "layers"
        shutil.copytree(paths.user_cache() / "layers", target, copy_function=os.link)


@pytest.fixture
def runner(tool: Engine) -> Iterator[Runner]:
    """Its machines have Docker, which is the engine that builds everything, and no cache of their own."""
    folder = paths.SCRATCH / "test" / "workflows"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    programs = folder / "bin"
    programs.mkdir()
    (programs / "docker").symlink_to(tool.client)
    kept = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") or key.startswith("SSL_")}
    yield Runner(
        folder,
        {
            **kept, **tool.environment,
            "PATH": f"{programs}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PROSODY_VAULT": str(vault(folder / "vault")),
        },
    )  # fmt: skip
    shutil.rmtree(folder)


def test_images_are_built_twice_and_tested(runner: Runner, layout: Layout) -> None:
    """One variant for this machine's platform, chosen by the inputs that the workflow has for it."""
    remember(runner, "build", "integration")
    runner.run("images.yml", {"variants": "debian", "platforms": NATIVE.name, "tests": TEST})
    chosen = f"debian --platform {NATIVE.name}".split()
    first, second, *built = [command.replace('"', "").split()[3:] for command in runner.done]
    assert first == ["--", *chosen, "--output", "$GITHUB_OUTPUT"]
    assert second == ["--", *chosen, "--native", "--output", "$GITHUB_OUTPUT"]
    assert built[0] == ["--", *chosen]
    assert sorted(built[1:]) == [["--", *chosen, "--against", "dist/first"], ["--", "debian", "-k", *TEST.split()]]
    assert runner.results == {"matrix": 1, "build": 1, "second": 1, "integration": 1}
    assert runner.cached == [f"{job}-debian-{NATIVE.tag}-earlier" for job in ("build", "integration")]
    # What was kept is what is built here, too.
    kept = oci.load(runner.folder / "artifacts" / f"image-debian-{NATIVE.tag}")
    assert kept.images == tuple(image for image in layout.images if image.platform == NATIVE)
    assert (runner.folder / "artifacts" / f"reports-debian-{NATIVE.tag}" / "integration.xml").is_file()
