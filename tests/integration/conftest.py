"""Images and servers that tests ask for by name."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest
from _pytest.mark.structures import ParameterSet
from filelock import FileLock

from scripts import build, digests, engine, lock, oci, paths, platforms, variants
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.errors import RegistryError
from scripts.oci import Layout
from scripts.platforms import PLATFORMS, Platform
from tests.integration import foreign, networks, reports, scheduling, servers, storages, vouching
from tests.integration.authority import Authority
from tests.integration.containers import LoadedImage
from tests.integration.networks import Network
from tests.integration.scenes import Stage
from tests.integration.servers import Server
from tests.integration.storages import Databases
from tests.peers import registry
from tests.peers.registry import Registry
from tests.unit import test_oci


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--variant NAME` runs only the tests of that variant's image, `--layouts FOLDER` tests images that are there."""
    parser.addoption("--variant", action="append", choices=variants.names(), help="only the tests of this variant")
    parser.addoption("--layouts", type=Path, help="build no image, but take that of each variant from this folder")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Have failures tell their stanzas, runs without any recorded, and modules in the order of `scheduling`."""
    config.addinivalue_line("markers", "variant(*names): the test is of these variants' images")
    config.option.loadscopereorder = False
    config.pluginmanager.register(vouching.Recorder())
    reports.record_traffic()


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> scheduling.ByServer:
    """Share the tests out by the servers that they use."""
    return scheduling.ByServer(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Long modules first; with `--variant`, what is of other variants is left out."""
    scheduling.in_order(items)
    chosen = set(config.getoption("variant") or ())
    if chosen:
        wanted = [bool(chosen & scheduling.variants_of(item)) for item in items]
        config.hook.pytest_deselected(items=[item for item, kept in zip(items, wanted, strict=True) if not kept])
        items[:] = itertools.compress(items, wanted)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failure tells what its containers printed."""
    report = yield
    reports.add_logs(report)
    return report


@pytest.hookimpl(optionalhook=True)
def pytest_html_results_table_html(report: pytest.TestReport, data: list[str]) -> None:
    """The HTML report has the output of failures only."""
    reports.forget_logs(report, data)


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


# Names a run that several processes share (pytest-xdist); empty if this is the only one.
_RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", "")


class Images:
    """The variants' images: each is built and loaded when a test first asks for it."""

    def __init__(self, tool: Engine, given: Path | None = None) -> None:
        """`tool` builds and keeps them; it does not build what is `given`, a folder of layouts by their variants."""
        self._tool, self._given = tool, given
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
        if self._given is not None:
            return oci.load(self._given / variant)
        targets = self.targets if platform is None or platform in self.targets else (platform,)
        folder = paths.SCRATCH / "test" / "-".join([variant, *(target.tag for target in targets)])
        if folder not in self._layouts:
            self._layouts[folder] = self._built(self.recipe(variant, *targets), targets, folder)
        return self._layouts[folder]

    def _built(self, found: Recipe, targets: tuple[Platform, ...], folder: Path) -> Layout:
        """Build, in one process of a run; the others read what it has built, which may not change while they do."""
        folder.parent.mkdir(parents=True, exist_ok=True)
        record = folder.with_name(f"{folder.name}.{_RUN}.json")
        with FileLock(folder.with_name(f"{folder.name}.lock")):
            if _RUN and record.is_file():
                built = digests.parse(record.read_text())
                return Layout(folder, built.index, built.images)
            for old in folder.parent.glob(f"{folder.name}.*.json"):
                old.unlink()
            layout = build.build(found, targets, self._tool, folder=folder)
            record.write_text(digests.dump(layout))
            return layout

    def load(self, variant: str, platform: Platform | None = None) -> LoadedImage:
        """The variant in the engine, for `platform` (default: this machine's)."""
        platform = platform or platforms.native()
        layout = self.layout(variant, platform)
        found = next(image for image in layout.images if image.platform == platform)
        # What is given has a name of its own, lest tests that run meanwhile get it.
        name = f"{'prosody-test' if self._given is None else 'prosody-given'}:{variant}-{platform.tag}"
        build.load(layout, found, [name], self._tool)
        vouching.note(variant, found)
        return LoadedImage(name, platform)

    @functools.cache  # noqa: B019  (lives as long as the tests do)
    def peer(self, name: str) -> LoadedImage:
        """The peer `name` (tests/peers/) in the engine, compared with its committed digests."""
        native = platforms.native()
        found = build.prepare(name, [native], relock_gone=bool(os.environ.get("CI")), folder=paths.PEERS)
        folder = paths.SCRATCH / "test" / f"peer-{name}"
        layout = self._built(found, (native,), folder)
        if found.committed:
            build.compare(found, layout, everything=False)
        tag = f"prosody-test:peer-{name}"
        build.load(layout, layout.images[0], [tag], self._tool)
        return LoadedImage(tag, native)


@pytest.fixture(scope="session")
def images(tool: Engine, request: pytest.FixtureRequest) -> Images:
    """All variants."""
    return Images(tool, request.config.getoption("layouts"))


@pytest.fixture(scope="module")
def network(client: docker.DockerClient) -> Iterator[Network]:
    """A network for the containers of one module."""
    with networks.network(client) as made:
        yield made


@pytest.fixture(scope="module")
def databases(client: docker.DockerClient, images: Images, network: Network) -> Iterator[Databases]:
    """PostgreSQL and MariaDB, both empty; members 2 and 3 of `network`."""
    with storages.serving(client, images.peer("postgresql"), images.peer("mariadb"), network) as found:
        yield found


@pytest.fixture(scope="module")
def on_loopback(client: docker.DockerClient, images: Images, network: Network) -> Iterator[Registry]:
    """A registry on the loopback, for everybody; member 2 of `network`."""
    with registry.serving(client, images.peer("registry"), network, 2) as started:
        yield started


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Layout:
    """A small image for two platforms, which nobody runs."""
    folder = tmp_path_factory.mktemp("small")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        return oci.canonicalise(test_oci.exported(folder / "exported"), folder / "layout", test_oci.NAMES)


@dataclass(frozen=True)
class Guarded:
    """A registry with TLS, which only who has logged in may use; nobody here trusts it yet, or has."""

    registry: Registry
    authority: Authority
    folder: Path
    patch: pytest.MonkeyPatch

    def admit(self, attempt: Callable[[], object]) -> None:
        """Trust it and log in, each when `attempt` has been refused for want of that."""
        with pytest.raises(RegistryError, match="TLS"):
            attempt()
        (self.folder / "root.pem").write_bytes(self.authority.root)
        self.patch.setenv("SSL_CERT_FILE", str(self.folder / "root.pem"))
        with pytest.raises(RegistryError, match=f"Log in with: .* login {self.registry.host}"):
            attempt()
        (self.folder / "config.json").write_text(registry.docker_configuration(self.registry))


@pytest.fixture
def guarded(
    client: docker.DockerClient, images: Images, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Guarded]:
    """A registry of one test; member 4 of `network`."""
    authority = Authority()
    address = network.address(4)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_PROXY", address)
    with registry.serving(client, images.peer("registry"), network, 4, authority.issue([address])) as started:
        yield Guarded(started, authority, tmp_path, monkeypatch)


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
    other = PLATFORMS["linux/arm64"]
    yield pytest.param(("debian", other), id=f"debian-{other.tag}")


@pytest.fixture(scope="session", params=_cases())
def any_image(request: pytest.FixtureRequest, images: Images) -> Iterator[LoadedImage]:
    """Every variant's image in turn."""
    name, platform = request.param
    with foreign.runnable(platform):
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


@pytest.fixture(scope="module", params=["debian", "hardened"])
def stage(
    request: pytest.FixtureRequest,
    client: docker.DockerClient,
    images: Images,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Stage]:
    """A server for scenes: once with all that the image has, and once with nothing that can be left out."""
    with servers.serving(client, images.load(request.param), PROSODY_ITERATION_COUNT="4096") as started:
        yield Stage(started, started.certificate(tmp_path_factory.mktemp("stage")))
