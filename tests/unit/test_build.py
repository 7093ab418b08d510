"""What a build does before and after BuildKit; BuildKit itself is in tests/integration."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import build, dockerfile, fetch, lock, paths, variants
from scripts.build import Recipe
from scripts.errors import FetchError, GoneError, StaleError, UsageError
from scripts.lock import LockedPackage
from scripts.platforms import PLATFORMS
from tests.unit import web
from tests.unit.conftest import Checkout

DEBIAN = variants.load("debian")
AMD64, ARM64, S390X = (PLATFORMS[f"linux/{name}"] for name in ("amd64", "arm64", "s390x"))


def test_the_committed_recipe_is_what_is_built() -> None:
    found = build.recipe("debian")
    assert found.variant == DEBIAN
    assert found.dockerfile == dockerfile.path_of("debian")
    assert found.committed
    assert found.tags == ("prosody:debian", f"prosody:{found.version}-debian")


def test_a_version_becomes_a_tag() -> None:
    found = build.recipe("rbldnsd", paths.PEERS)
    assert found.version == "1.0~20210120"
    assert found.tags == ("prosody-peer:rbldnsd", "prosody-peer:1.0-20210120-rbldnsd")


def test_a_stale_dockerfile_is_not_built(checkout: Checkout) -> None:
    checkout.edit("images/debian/Dockerfile", "USER 5222:5222", "USER 0:0")
    done = checkout.run("build", "debian")
    assert done.returncode == StaleError.exit_status
    assert "images/debian/Dockerfile is not up to date. Write it again with: scripts/nox -s expand" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["debain"],
            "There is no variant 'debain'; there are: alpine, debian, dev, hardened, jitsi; did you mean 'debian'?",
        ),
        (["debian", "--platform", "linux/arm46"], "There is no platform 'linux/arm46'; there are: all, linux/amd64"),
        (["debian", "--platform", "linux/arm46"], "did you mean 'linux/arm64'?"),
        (["--platfrom", "all"], "unrecognized arguments: --platfrom"),
    ],
    ids=["variant", "platform", "platform suggested", "option"],
)
def test_what_does_not_exist_is_explained(checkout: Checkout, arguments: list[str], expected: str) -> None:
    done = checkout.run("build", *arguments)
    assert done.returncode == UsageError.exit_status == 2
    assert expected in done.stderr
    assert "Traceback" not in done.stderr


def test_with_peers_all_that_has_digests_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(build, "build_and_load", lambda name, _targets, _options: asked.append(name))
    monkeypatch.setattr(build, "report", lambda _built, _tool: None)
    monkeypatch.setattr("scripts.engine.find", lambda: None)
    build.main(["--update-digests"])
    assert asked == lock.locked_names()
    asked.clear()
    build.main(["--update-digests", "--peers"])
    peers = sorted(path.name.removesuffix(".digests.json") for path in paths.PEERS.glob("*.digests.json"))
    assert asked == [*lock.locked_names(), *peers]
    assert len(peers) > 10


EVERY = [name for name, found in PLATFORMS.items() if found.named_by("debian")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (["all"], EVERY),
        (["linux/arm64"], ["linux/arm64"]),
        (["linux/arm64", "linux/amd64"], ["linux/amd64", "linux/arm64"]),
        (["linux/arm64", "all"], EVERY),
        (["linux/arm64", "linux/arm64"], ["linux/arm64"]),
    ],
    ids=["all", "one", "two in the variant's order", "one and all", "twice"],
)
def test_platforms_are_chosen(wanted: list[str], expected: list[str]) -> None:
    assert [platform.name for platform in build.chosen_platforms(DEBIAN, wanted)] == expected


def test_a_platform_that_a_variant_is_not_made_for_is_explained() -> None:
    with pytest.raises(UsageError, match="'debian' is not made for linux/s390x; it is for: linux/amd64, linux/arm64"):
        build.chosen_platforms(replace(DEBIAN, platforms=(AMD64, ARM64)), ["linux/s390x"])


@pytest.fixture
def recipe(cache: Path) -> Recipe:
    """The debian variant with two packages, which are in the cache."""
    del cache
    locked = lock.load(DEBIAN, lock.path_of("debian"))
    one, two = (
        replace(package, sha256=fetch.keep(package.package.encode()), size=len(package.package))
        for package in locked.platforms["linux/amd64"][:2]
    )
    two = replace(two, layer="modules")
    locked = replace(locked, platforms={"linux/amd64": (one, two), "linux/arm64": (two,)})
    return Recipe(DEBIAN, locked, dockerfile.path_of("debian"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def file_of(package: LockedPackage) -> str:
    return f"{package.layer}/{package.path.rsplit('/', 1)[-1]}"


def test_a_folder_of_packages_is_what_the_stage_in_the_dockerfile_is(recipe: Recipe, tmp_path: Path) -> None:
    """ADD puts each file, under the last part of its URL, into the folder of its layer."""
    for platform in (AMD64, ARM64):
        folder = build.packages_folder(recipe.lock, platform, tmp_path)
        assert folder.name == f"packages-{platform.tag}"
        packages = recipe.lock.platforms[platform.name]
        assert files(folder) == {file_of(package): package.package.encode() for package in packages}


def test_a_cache_on_another_file_system_is_copied(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = files(build.packages_folder(recipe.lock, AMD64, tmp_path / "linked"))

    def refuse(_self: Path, _target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert files(build.packages_folder(recipe.lock, AMD64, tmp_path / "copied")) == linked


@pytest.fixture
def committed(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    """The recipe with one more package, which is in no cache, as the one that is committed."""
    gone = replace(recipe.lock.platforms["linux/amd64"][0], sha256="0" * 64, version="9", path="pool/gone.deb", size=3)
    locked = replace(recipe.lock, platforms={"linux/amd64": (*recipe.lock.platforms["linux/amd64"], gone)})
    found = replace(recipe, lock=locked)
    monkeypatch.setattr(build, "recipe", lambda _name, _folder: found)
    return found


def test_a_package_that_is_gone_is_told(committed: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    del committed
    with web.serving() as server:
        monkeypatch.setattr("scripts.mirrors.SNAPSHOT", server.url)
        with pytest.raises(GoneError, match="scripts/nox -s lock"):
            build.prepare("debian", [AMD64])


def test_a_package_that_is_gone_is_locked_again_where_that_is_wanted(
    committed: Recipe, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    del committed
    again = replace(recipe, committed=False)
    monkeypatch.setattr(build, "relocked", lambda _name, _folder: again)
    with web.serving() as server:
        monkeypatch.setattr("scripts.mirrors.SNAPSHOT", server.url)
        assert build.prepare("debian", [AMD64], relock_gone=True) == again
    assert "Locking again, only for this build." in capsys.readouterr().err


def test_a_mirror_that_fails_is_no_reason_to_lock_again(committed: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    del committed
    monkeypatch.setattr(build, "relocked", lambda _name, _folder: pytest.fail("locked again"))
    with pytest.raises(FetchError) as caught:
        build.prepare("debian", [AMD64], relock_gone=True)
    assert not isinstance(caught.value, GoneError)


def test_locking_again_touches_nothing_committed(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = files(paths.IMAGES)
    monkeypatch.setattr(paths, "SCRATCH", tmp_path / "scratch")
    full = lock.load(DEBIAN, lock.path_of("debian"))
    fewer = {name: packages[1:] for name, packages in full.platforms.items()}
    newer = replace(full, epoch=full.epoch + 1, platforms=fewer)
    monkeypatch.setattr(lock, "make", lambda _variant, _at: newer)
    found = build.relocked("debian")
    assert not found.committed
    assert found.dockerfile.is_relative_to(tmp_path)
    assert f"finish {full.epoch + 1}" in found.dockerfile.read_text()
    assert files(paths.IMAGES) == before
    del recipe


WAITING = """
import sys, time
from pathlib import Path
from scripts import build, paths
paths.SCRATCH = Path(sys.argv[1])
with build._alone("build-x"):
    print("in", flush=True)
    sys.stdin.readline()
"""


def waiting(scratch: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WAITING, str(scratch)], cwd=paths.ROOT,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_two_builds_of_one_checkout_wait_for_each_other(tmp_path: Path) -> None:
    with waiting(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        with waiting(tmp_path) as second:
            assert second.stderr is not None
            assert second.stderr.readline().startswith("Another build of this checkout is running; waiting")
            first.communicate("\n")
            assert second.stdout is not None
            assert second.stdout.readline() == "in\n"
            second.communicate("\n")
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_killed_build_does_not_keep_others_waiting(tmp_path: Path) -> None:
    with waiting(tmp_path) as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "in\n"
        first.kill()
    with waiting(tmp_path) as second:
        out, err = second.communicate("\n", timeout=30)
    assert (out, err) == ("in\n", "")


def test_digests_of_some_platforms_are_refused_before_anything_is_built(checkout: Checkout) -> None:
    checkout.edit("scripts/mirrors.py", 'SNAPSHOT = "https://', 'SNAPSHOT = "http://127.0.0.1:9/')
    checkout.edit("scripts/mirrors.py", 'Path("/etc/apt")', 'Path("/nowhere")')
    done = checkout.run("build", "debian", "--update-digests", "--platform", "linux/arm64")
    assert done.returncode == UsageError.exit_status
    assert "--platform all" in done.stderr
