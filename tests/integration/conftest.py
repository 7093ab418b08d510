"""Images and servers that tests ask for by name."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from _pytest.mark.structures import ParameterSet

from scripts import build, emulation, engine, lock, paths, platforms
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.oci import Layout
from scripts.platforms import PLATFORMS, Platform
from tests.integration import servers
from tests.integration.containers import LoadedImage
from tests.integration.servers import Server


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


class Images:
    """The variants' images: each is built and loaded when a test first asks for it."""

    def __init__(self, tool: Engine) -> None:
        """`tool` builds and keeps them."""
        self._tool = tool
        self._layouts: dict[Path, Layout] = {}

    @functools.cached_property
    def targets(self) -> tuple[Platform, ...]:
        """Platforms whose images are made at once: this machine's, and one that needs emulation to run."""
        return tuple(dict.fromkeys((platforms.native(), PLATFORMS["linux/arm64"])))

    def recipe(self, variant: str, *targets: Platform) -> Recipe:
        """The variant with its packages fetched; in CI locked again if the archive dropped one of them."""
        return build.prepare(variant, targets or self.targets, relock_gone=bool(os.environ.get("CI")))

    def layout(self, variant: str, platform: Platform | None = None) -> Layout:
        """The variant for all `targets`, or for one `platform` that is not among them."""
        targets = self.targets if platform is None or platform in self.targets else (platform,)
        folder = paths.SCRATCH / "test" / "-".join([variant, *(target.tag for target in targets)])
        if folder not in self._layouts:
            recipe = self.recipe(variant, *targets)
            self._layouts[folder] = build.build(recipe, targets, self._tool, folder=folder)
        return self._layouts[folder]

    def load(self, variant: str, platform: Platform | None = None) -> LoadedImage:
        """The variant in the engine, for `platform` (default: this machine's)."""
        platform = platform or platforms.native()
        layout = self.layout(variant, platform)
        found = next(image for image in layout.images if image.platform == platform)
        name = f"prosody-test:{variant}-{platform.tag}"
        build.load(layout, found, [name], self._tool)
        return LoadedImage(name, platform)

    @functools.cache  # noqa: B019  (lives as long as the tests do)
    def peer(self, name: str) -> LoadedImage:
        """The peer `name` (tests/peers/) in the engine, compared with its committed digests."""
        native = platforms.native()
        found = build.prepare(name, [native], relock_gone=bool(os.environ.get("CI")), folder=paths.PEERS)
        folder = paths.SCRATCH / "test" / f"peer-{name}"
        layout = build.build(found, [native], self._tool, folder=folder)
        if found.committed:
            build.compare(found, layout, everything=False)
        tag = f"prosody-test:peer-{name}"
        build.load(layout, layout.images[0], [tag], self._tool)
        return LoadedImage(tag, native)


@pytest.fixture(scope="session")
def images(tool: Engine) -> Images:
    """All variants."""
    return Images(tool)


@pytest.fixture(scope="session")
def recipe(images: Images) -> Recipe:
    """The debian variant."""
    return images.recipe("debian")


@pytest.fixture(scope="session")
def layout(images: Images) -> Layout:
    """The debian variant for this machine's platform and arm64."""
    return images.layout("debian")


@pytest.fixture(scope="session")
def image(images: Images) -> LoadedImage:
    """The debian variant, loaded, for this machine's platform."""
    return images.load("debian")


@pytest.fixture(scope="session")
def hardened(images: Images) -> LoadedImage:
    """The hardened variant, loaded, for this machine's platform."""
    return images.load("hardened")


def _cases() -> Iterator[ParameterSet]:
    """What the tests of `any_image` run against: every locked variant natively, and debian under emulation."""
    for name in lock.locked_names():
        yield pytest.param((name, platforms.native()), id=name)
    foreign = PLATFORMS["linux/arm64"]
    yield pytest.param(("debian", foreign), id=f"debian-{foreign.tag}")


@pytest.fixture(scope="session", params=_cases())
def any_image(request: pytest.FixtureRequest, images: Images) -> Iterator[LoadedImage]:
    """Every variant's image in turn."""
    name, platform = request.param
    if platform == platforms.native():
        yield images.load(name)
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root on Linux can tell the kernel about QEMU")
    with emulation.emulated(platform):
        yield images.load(name, platform)


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, any_image: LoadedImage) -> Iterator[Server]:
    """A server with two accounts, once for each platform; shared by the tests of a module."""
    # One variant is open on purpose; asked to, it keeps to what the others promise.
    closed = {"PROSODY_C2S_REQUIRE_ENCRYPTION": "true"} if ":dev-" in any_image.name else {}
    with servers.serving(client, any_image, **closed) as started:
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
