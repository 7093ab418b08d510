"""Builders beyond this machine: two nodes, which are BuildKit of two engines, each for platforms of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import build, builders, digests, paths, platforms
from scripts.build import Recipe
from scripts.embedded import Embedded
from scripts.engine import Engine
from scripts.errors import BuildError, EngineError
from scripts.oci import Layout
from scripts.platforms import PLATFORMS, Platform
from tests.integration import nodes
from tests.integration.checkouts import Checkout
from tests.integration.nodes import Node

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="the embedded engine needs root on Linux"
)

ONE, OTHER = PLATFORMS["linux/amd64"], PLATFORMS["linux/arm64"]
NAME = "two-nodes"


@dataclass(frozen=True)
class Farm:
    """A builder with two nodes, as the client of `tool` knows it."""

    tool: Engine
    nodes: dict[Platform, Node]


@pytest.fixture(scope="module")
def farm(tool: Engine) -> Iterator[Farm]:
    """One node builds for amd64, the other for arm64; they are engines of different versions, without any cache."""
    with pytest.MonkeyPatch.context() as patch:
        folder = paths.SCRATCH / "test" / "builders"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        patch.setenv("BUILDX_CONFIG", str(folder / "buildx"))
        engines = [Embedded(name, folder) for name in ("engine", "engine-next")]
        try:
            for engine in engines:
                engine.start()
            with nodes.listening(engines[0].socket) as one, nodes.listening(engines[1].socket) as other:
                create(tool, "--driver", "remote", "--platform", ONE.name, one.endpoint)
                create(tool, "--append", "--platform", OTHER.name, other.endpoint)
                yield Farm(builders.named(tool, NAME), {ONE: one, OTHER: other})
        finally:
            for engine in engines:
                engine.remove()
            shutil.rmtree(folder)


def create(tool: Engine, *arguments: str) -> None:
    """Add a node, as docs/architecture.md says it."""
    subprocess.run(
        [tool.client, "buildx", "create", "--name", NAME, *arguments],
        env=os.environ | tool.environment, check=True, capture_output=True,
    )  # fmt: skip


def test_each_platform_is_built_on_its_node_and_the_whole_is_the_same(
    farm: Farm, recipe: Recipe, layout: Layout
) -> None:
    folder = paths.SCRATCH / "test" / "builders" / "layout"
    built = build.build(recipe, (ONE, OTHER), farm.tool, cache=False, folder=folder)
    assert built.images == layout.images
    assert built.index == layout.index
    if recipe.committed:
        committed = digests.load("debian")
        assert committed is not None
        assert built.images == tuple(filter(None, (committed.image(ONE), committed.image(OTHER))))
    # The packages of a platform were sent to its node, and those of the other were not.
    for target, node in farm.nodes.items():
        size = sum(package.size for package in recipe.lock.platforms[target.name])
        assert size < node.received < 1.5 * size


def test_a_node_tells_what_it_runs_on(farm: Farm) -> None:
    """Not what it builds for: this machine's busybox unpacks packages of arm64."""
    assert {builders.runs_on(farm.tool, target) for target in (ONE, OTHER)} == {platforms.native()}


def test_a_rebuild_from_nothing_takes_it_by_name(farm: Farm, tmp_path: Path) -> None:
    """In another checkout, whose own engine knows no builder."""
    paths.copy_checkout(tmp_path)
    found = Checkout(tmp_path, "debian", farm.tool)
    done = found.run(sys.executable, "-m", "scripts.verify", "debian", f"--platform={OTHER}", "--builder", NAME)
    assert done.returncode == 0, done.stdout
    assert "the same" in done.stdout


def test_a_builder_that_does_not_exist_is_told(tool: Engine) -> None:
    with pytest.raises(EngineError, match="There is no builder 'nowhere' that can be used"):
        builders.named(tool, "nowhere")


def test_a_node_that_is_gone_is_told_and_the_other_still_builds(farm: Farm, recipe: Recipe, layout: Layout) -> None:
    with nodes.listening(Path("/nonexistent")) as gone:
        create(farm.tool, "--append", "--node", f"{NAME}0", "--platform", ONE.name, gone.endpoint)
        folder = paths.SCRATCH / "test" / "builders" / "partly"
        with pytest.raises(BuildError, match=f"'{NAME}' that builds for linux/amd64 does not answer"):
            build.build(recipe, (ONE,), farm.tool, folder=folder)
        built = build.build(recipe, (OTHER,), farm.tool, folder=folder)
        assert built.images == tuple(image for image in layout.images if image.platform == OTHER)
