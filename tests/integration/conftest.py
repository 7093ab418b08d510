"""Images and servers that tests ask for by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from scripts import build, emulation, engine, paths, platforms
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.oci import Image, Layout
from scripts.platforms import PLATFORMS
from tests.integration import servers
from tests.integration.servers import LoadedImage, Server


@pytest.fixture(scope="session")
def tool() -> Engine:
    """The engine that builds and runs everything."""
    return engine.find()


@pytest.fixture(scope="session")
def client(tool: Engine) -> Iterator[docker.DockerClient]:
    """Docker SDK client of the engine."""
    found = tool.sdk(timeout=120)
    yield found
    found.close()


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    """The debian variant with its packages fetched; in CI locked again if the archive dropped one of them."""
    targets = (platforms.native(), PLATFORMS["linux/arm64"])
    return build.prepare("debian", targets, relock_gone=bool(os.environ.get("CI")))


@pytest.fixture(scope="session")
def layout(recipe: Recipe, tool: Engine) -> Layout:
    """The debian variant for this machine's platform and arm64."""
    targets = tuple(dict.fromkeys((platforms.native(), PLATFORMS["linux/arm64"])))
    return build.build(recipe, targets, tool, folder=paths.SCRATCH / "test" / "debian")


@pytest.fixture(scope="session")
def image(layout: Layout, tool: Engine) -> LoadedImage:
    """The loaded image for this machine's platform."""
    return _loaded(layout, next(found for found in layout.images if found.platform == platforms.native()), tool)


@pytest.fixture(scope="session", params=["native", "linux/arm64"])
def any_image(request: pytest.FixtureRequest, layout: Layout, tool: Engine) -> Iterator[LoadedImage]:
    """The loaded image: once for this machine's platform, once for arm64 under emulation."""
    if request.param == "native":
        yield request.getfixturevalue("image")
        return
    platform = PLATFORMS[request.param]
    if platform == platforms.native():
        pytest.skip("this machine's own platform is tested already")
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can tell the kernel about QEMU")
    with emulation.emulated(platform):
        yield _loaded(layout, next(found for found in layout.images if found.platform == platform), tool)


def _loaded(layout: Layout, image: Image, tool: Engine) -> LoadedImage:
    name = f"prosody-test:debian-{image.platform.tag}"
    build.load(layout, image, [name], tool)
    return LoadedImage(name, image.platform)


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, any_image: LoadedImage) -> Iterator[Server]:
    """A server with two accounts, once for each platform; shared by the tests of a module."""
    with servers.serving(client, any_image) as started:
        yield started


@pytest.fixture
def own_server(client: docker.DockerClient, image: LoadedImage) -> Iterator[Server]:
    """A server that one test has for itself, on this machine's platform."""
    with servers.serving(client, image) as started:
        yield started


@pytest.fixture
def certificate(server: Server, tmp_path: Path) -> Path:
    """The certificate of `server`, for clients to verify it."""
    return server.certificate(tmp_path)
