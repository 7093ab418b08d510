"""The same bytes from every build: with and without cache, from another engine, without Python, offline, two at once.

What surrounds a build, and where packages come from, is in `test_surroundings` and `test_sources`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

import scripts
from scripts import build, dockerfile, engine, paths, platforms, verify
from scripts.build import Recipe
from scripts.embedded import Embedded
from scripts.engine import Engine
from scripts.errors import FetchError
from scripts.oci import Layout
from scripts.platforms import PLATFORMS

TARGETS = tuple(dict.fromkeys((platforms.native(), PLATFORMS["linux/arm64"])))
BUILD = [sys.executable, "-m", "scripts.build", "debian"]


def tree(folder: Path) -> Mapping[str, str]:
    """Relative path -> SHA-256 of every file."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def scratch() -> Iterator[Path]:
    """An empty folder on the same file system as the builds."""
    folder = paths.SCRATCH / "test" / "reproducible"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def next_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """A second embedded engine, of a newer version, beside the one that builds everything else."""
    monkeypatch.setenv("PROSODY_ENGINE", "engine-next")
    yield engine.find()
    Embedded("engine-next").remove()


def test_two_builds_without_cache_give_the_same_bytes(
    recipe: Recipe, layout: Layout, tool: Engine, scratch: Path
) -> None:
    first = build.build(recipe, TARGETS, tool, cache=False, folder=scratch / "first")
    second = build.build(recipe, TARGETS, tool, cache=False, folder=scratch / "second")
    assert tree(first.folder) == tree(second.folder) == tree(layout.folder)


def test_one_platform_is_built_as_among_others(recipe: Recipe, layout: Layout, tool: Engine, scratch: Path) -> None:
    """The foreign one; this machine's own is built alone by all tests of `test_surroundings`."""
    image = layout.images[-1]
    alone = build.build(recipe, [image.platform], tool, cache=False, folder=scratch / "alone")
    assert alone.images == (image,)
    index = alone.index.removeprefix("sha256:")
    assert tree(alone.folder / "blobs").items() - tree(layout.folder / "blobs").items() == {(f"sha256/{index}", index)}


def test_layers_of_another_lock_in_the_cache_do_no_harm(
    recipe: Recipe, layout: Layout, tool: Engine, scratch: Path
) -> None:
    """Only their times differ, which BuildKit does not look at: it could take one for the other."""
    locked = replace(recipe.lock, epoch=int(time.time()))
    path = scratch / "Dockerfile"
    path.write_text(dockerfile.expand(recipe.variant, locked))
    other = replace(recipe, lock=locked, dockerfile=path, folder=scratch)  # not one of the variants: packed quickly
    cached = build.build(other, TARGETS[:1], tool, folder=scratch / "cached")
    anew = build.build(other, TARGETS[:1], tool, cache=False, folder=scratch / "anew")
    assert tree(cached.folder) == tree(anew.folder)
    again = build.build(recipe, TARGETS, tool, folder=scratch / "again")
    assert tree(again.folder) == tree(layout.folder)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="the embedded engine needs root on Linux")
def test_another_engine_version_gives_the_same_bytes(
    recipe: Recipe, layout: Layout, tool: Engine, next_engine: Engine, scratch: Path
) -> None:
    assert next_engine.version != tool.version
    other = build.build(recipe, TARGETS, next_engine, cache=False, folder=scratch / "other")
    assert tree(other.folder) == tree(layout.folder)


def test_plain_buildx_gives_the_same_image(recipe: Recipe, layout: Layout, scratch: Path) -> None:
    """No Python in between: BuildKit itself fetches every package, by URL and checksum.

    Only the `tools` stage is replaced, because its default is an image of a registry.
    """
    native = platforms.native()
    plain = verify.plain(recipe, [native], paths.ROOT, scratch / "plain", locked_tools=True)
    assert plain.images == tuple(image for image in layout.images if image.platform == native)


def test_two_builds_at_once_both_end_well(layout: Layout) -> None:
    del layout  # fetched and built before
    running = [
        subprocess.Popen(BUILD, cwd=paths.ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], "\n".join(outputs)


@pytest.mark.parametrize("seconds", [0.0, 0.9, 1.8, 2.7])
def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(layout: Layout, seconds: float) -> None:
    """Interrupted while modules load, while BuildKit works, while layers are packed, whatever the moment hits."""
    del layout
    before = set(paths.SCRATCH.iterdir())
    process = subprocess.Popen(
        [BUILD[0], "-X", "importtime", *BUILD[1:], "--no-cache"],
        cwd=paths.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    # An interruption before the first line of the build meets Python, which has its own words for it.
    for line in process.stdout or ():
        if line.split("|")[-1].strip() == scripts.__name__:
            break
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=60)[0]
    # A build that was quicker than the signal has ended well; what counts is what it leaves.
    assert process.returncode in (130, -signal.SIGINT, 0), output
    assert "Traceback" not in output
    # What is new may belong to a build of other tests, which takes it away when it ends; only its lock stays.
    new = {path for path in set(paths.SCRATCH.iterdir()) - before if path.suffix != ".lock"}
    deadline = time.monotonic() + 120
    while left := [path for path in new if path.exists()]:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
    done = subprocess.run(BUILD, cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root and unshare(1)")
def test_a_warm_cache_needs_no_network(layout: Layout) -> None:
    """In a network namespace where not even the loopback is up; the engine is reached through its socket."""
    del layout
    done = subprocess.run(["unshare", "--net", *BUILD], cwd=paths.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("unshare") is None or os.geteuid() != 0, reason="needs root and unshare(1)")
def test_a_cold_cache_without_network_is_a_clear_error(layout: Layout, tmp_path: Path) -> None:
    del layout
    done = subprocess.run(
        ["unshare", "--net", *BUILD],
        cwd=paths.ROOT,
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == FetchError.exit_status, done.stderr
    assert "could not be fetched" in done.stderr
    assert "Check the network" in done.stderr
    assert "Traceback" not in done.stderr
