"""The few items of ICU's data in the image give the same answers as all of them, for every character of Unicode."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from scripts import fetch, paths, platforms, toolset
from scripts.platforms import PLATFORMS, Platform
from tests.integration import foreign, servers
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage, Outcome

HERE = Path(__file__).parent
# Emulated, all characters would take minutes. There the question is only whether the file was made well, and every 8th
# character is in every block of ICU's tables, which hold 16 or more.
STEPS = {platforms.native().name: 1, "linux/s390x": 8}
FUNCTIONS = ["nameprep", "nodeprep", "resourceprep", "saslprep", "idna", "skeleton"]


@pytest.fixture(scope="module", params=STEPS)
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """Platforms in turn: that of this machine, and one with the other order of bytes."""
    found = PLATFORMS[request.param]
    with foreign.runnable(found):
        yield found


@pytest.fixture(scope="module")
def unicode_image(platform: Platform, images: Images) -> LoadedImage:
    """The debian variant for `platform`."""
    return images.load("debian", platform)


def packaged(platform: Platform, images: Images, folder: Path) -> Path:
    """ICU's data as Debian packages it, for `platform`."""
    locked = images.recipe("debian", platform).lock
    package = next(found for found in locked.platforms[platform.name] if found.package == "libicu76")
    toolset.unpack_package(fetch.blob(package.sha256), folder)
    return next(folder.glob("usr/lib/*/libicudata.so.*.*"))


@pytest.fixture(scope="module")
def library(images: Images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The untouched library for this machine's platform."""
    return packaged(platforms.native(), images, tmp_path_factory.mktemp("icu"))


def place(library: Path) -> str:
    """Where `library` stands in the image."""
    return str(library)[str(library).index("/usr/lib/") :]


def answers(
    client: docker.DockerClient, image: LoadedImage, where: str, mounted: dict[str, str], step: int = 1
) -> Outcome:
    """Run unicode.lua in `image`, with files of this machine mounted (path here -> path there)."""
    mounts = mounted | {str(HERE / "unicode.lua"): "/unicode.lua"}
    return servers.run(
        client,
        image,
        "/unicode.lua",
        where,
        str(step),
        entrypoint=["/usr/bin/lua5.4"],
        environment={"LUA_PATH": "/usr/lib/?.lua;;", "LUA_CPATH": "/usr/lib/?.so;;"},
        volumes={here: {"bind": there, "mode": "ro"} for here, there in mounts.items()},
        patience=900,  # all characters take 11 s, on a busy machine more than a minute
    )


@pytest.fixture(scope="module")
def expected(client: docker.DockerClient, platform: Platform, images: Images, library: Path) -> dict[str, str]:
    """The answers with all data, which are the same on every platform: for characters alone, and within a word."""
    mounted, step = {str(library): place(library)}, STEPS[platform.name]
    found = {where: answers(client, images.load("debian"), where, mounted, step) for where in ("alone", "within")}
    for outcome in found.values():
        assert outcome.status == 0, outcome.errors
        lines = [line.split("\t") for line in outcome.output.splitlines()]
        assert [line[0] for line in lines] == FUNCTIONS
        assert all(int(answered) > 100_000 // step for _, answered, _ in lines), outcome.output
    return {where: outcome.output for where, outcome in found.items()}


def trimmed(library: Path, target: Path, keep: str) -> Path:
    """The library with other items, made as the image's is."""
    function = (paths.IMAGES / "assemble.sh").read_text().partition("\nicu() {")[2].partition("\n}\n")[0]
    folder = target / "layers/base/usr/lib/any"
    folder.mkdir(parents=True)
    copy = folder / library.name
    shutil.copyfile(library, copy)
    script = f"layers={target / 'layers'}\nicu() {{{function}\n}}\nicu '{keep}'\n"
    script = script.replace("/icu.", f"{target}/icu.")
    shutil.copyfile(paths.IMAGES / "icu.awk", target / "icu.awk")
    subprocess.run([toolset.unpack("busybox").root / "usr/bin/busybox", "sh", "-euc", script], check=True)
    copy.chmod(0o644)
    return copy


def test_every_character_is_treated_as_with_all_data(
    client: docker.DockerClient, platform: Platform, unicode_image: LoadedImage, expected: dict[str, str]
) -> None:
    for where, wanted in expected.items():
        outcome = answers(client, unicode_image, where, {}, STEPS[platform.name])
        assert outcome.status == 0, outcome.errors
        assert outcome.output == wanted


def test_without_the_data_it_fails(client: docker.DockerClient, images: Images, library: Path, tmp_path: Path) -> None:
    """The control: the items are needed, and the test above looks at what the image has."""
    poor = trimmed(library, tmp_path, "cnvalias.icu")
    outcome = answers(client, images.load("debian"), "alone", {str(poor): place(library)})
    assert outcome.status != 0
    assert "encodings" in outcome.errors
