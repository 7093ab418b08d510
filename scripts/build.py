"""Dockerfile + packages -> canonical OCI layout, loaded into the engine.

    python -m scripts.build [--platform PLATFORM|all] [--no-cache] [--update-digests] [--relock-gone] [--peers]
        [--builder NAME] [NAME ...]

Builds the named variants for this machine's platform; without any name, all that are locked, for all their platforms.
A variant that is named and has no lock yet is locked first.
"""

from __future__ import annotations

import argparse
import collections
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import docker
import psutil
from docker.models.images import Image as EngineImage
from filelock import FileLock, Timeout
from python_on_whales.exceptions import DockerException
from rich.status import Status

from scripts import (
    builders,
    contents,
    digests,
    dockerfile,
    engine,
    errors,
    fetch,
    lock,
    oci,
    paths,
    platforms,
    relock,
    toolset,
    variants,
)
from scripts.console import console, mebibytes, step_progress, table
from scripts.documents import nearest
from scripts.engine import Engine
from scripts.errors import BuildError, GoneError, StaleError, UsageError
from scripts.lock import Lock
from scripts.oci import Image, Layout
from scripts.platforms import PLATFORMS, Platform
from scripts.variants import Variant

_LOG_LINES = 25  # of the build log, shown when it fails


@dataclass(frozen=True)
class Recipe:
    """What to build: a variant with its lock and Dockerfile; `committed` unless it was locked again just now.

    `folder` is where its YAML file is.
    """

    variant: Variant
    lock: Lock
    dockerfile: Path
    committed: bool = True
    folder: Path = paths.VARIANTS

    @property
    def version(self) -> str:
        """The image's version."""
        return self.lock.version(self.variant)

    @property
    def version_tag(self) -> str:
        """The same as a part of tags, in which no tilde may be."""
        return self.version.replace("~", "-")

    @property
    def tags(self) -> tuple[str, str]:
        """Names under which the image is loaded."""
        repository = "prosody" if self.folder == paths.VARIANTS else "prosody-peer"
        return f"{repository}:{self.variant.name}", f"{repository}:{self.version_tag}-{self.variant.name}"


@dataclass(frozen=True)
class Built:
    """A finished build: its layout, and the seconds it took."""

    recipe: Recipe
    layout: Layout
    seconds: float
    loaded: Image | None = None


def recipe(name: str, folder: Path = paths.VARIANTS) -> Recipe:
    """The committed recipe of a variant; of a peer, whose Dockerfile nobody else needs, that is written just now.

    Raises StaleError if the committed Dockerfile is not the one that variant and lock give.
    """
    variant = variants.load(name, folder)
    locked = lock.load(variant, lock.path_of(name, folder))
    path = dockerfile.path_of(name)
    if folder != paths.VARIANTS:
        path = paths.SCRATCH / "expanded" / name / "Dockerfile"
        paths.write_text(path, dockerfile.expand(variant, locked))
    elif not path.is_file() or path.read_text() != dockerfile.expand(variant, locked):
        raise StaleError(
            f"{path.relative_to(paths.ROOT)} is not up to date. Write it again with: scripts/nox -s expand"
        )
    return Recipe(variant, locked, path, folder=folder)


def relocked(name: str, folder: Path = paths.VARIANTS) -> Recipe:
    """A recipe made from the archives as they are now, in the scratch folder; nothing committed is touched."""
    target = paths.SCRATCH / "relocked" / name
    variant = variants.load(name, folder)
    locked = relock.relock([variant], {name: target / "lock.json"}, folder).locks[name]
    paths.write_text(target / "Dockerfile", dockerfile.expand(variant, locked))
    return Recipe(variant, locked, target / "Dockerfile", committed=False, folder=folder)


def prepare(
    name: str, targets: Sequence[Platform], *, relock_gone: bool = False, folder: Path = paths.VARIANTS
) -> Recipe:
    """The recipe of a variant, with the packages for `targets` in the cache.

    If the archive has dropped a package for good, the variant is locked again for this build only if `relock_gone`;
    else GoneError is raised. A variant that was never locked is locked first.
    """
    if folder == paths.VARIANTS and not lock.path_of(name).is_file():
        console.print(f"{name} has no lock yet: it is locked first, against its archives as they are now.")
        relock.relock([variants.load(name)], {name: lock.path_of(name)})
        dockerfile.write(name)
    found = recipe(name, folder)
    try:
        found.lock.fetch(targets, label=f"packages of {name}")
    except GoneError as error:
        if not relock_gone:
            raise
        console.print(f"[yellow]warning:[/] {error}\nLocking again, only for this build.", highlight=False)
        found = relocked(name, folder)
        found.lock.fetch(targets, label=f"packages of {name}")
    return found


def build(
    found: Recipe, targets: Sequence[Platform], tool: Engine, *, cache: bool = True, folder: Path | None = None
) -> Layout:
    """Build `found` for `targets` into the canonical layout `folder` (default: dist/<variant>).

    The packages must be in the cache already. Raises BuildError with the end of BuildKit's log.
    """
    name = found.variant.name
    folder = folder or paths.DIST / name
    folder.parent.mkdir(parents=True, exist_ok=True)
    paths.SCRATCH.mkdir(exist_ok=True)
    with _alone(f"build-{name}"), tempfile.TemporaryDirectory(prefix="build-", dir=paths.SCRATCH) as scratch:
        # buildx writes no layout of several nodes, so each platform is asked for by itself, and goes to its node.
        parts = [(target,) for target in targets] if tool.elsewhere else [tuple(targets)]
        folders = [Path(scratch) / part[0].tag for part in parts]
        with console.status(f"Building {name}") as status, ThreadPoolExecutor(len(parts)) as executor, _none_outlives():
            solved = executor.map(lambda part, own: _solve(found, part, tool, own, status, cache=cache), parts, folders)
            layouts = list(solved)
        layout = layouts[0] if len(parts) == 1 else oci.merge(layouts, Path(scratch) / "merged")
        layers = dockerfile.layers(found.variant)
        with step_progress() as progress:
            task = progress.add_task(f"Packing {name}", total=len(targets) * len(layers))
            level = oci.SMALLEST if found.folder == paths.VARIANTS else oci.FASTEST
            return oci.canonicalise(layout, folder, layers, level=level, advance=lambda: progress.advance(task))


def _solve(
    found: Recipe, targets: Sequence[Platform], tool: Engine, scratch: Path, status: Status, *, cache: bool
) -> Path:
    """Have BuildKit build `targets`; returns the layout that it writes, in the new folder `scratch`."""
    name = found.variant.name
    scratch.mkdir()
    contexts = {f"packages-{target.tag}": packages_folder(found.lock, target, scratch) for target in targets}
    contexts["tools"] = tools_folder(scratch, builders.runs_on(tool, targets[0]) if tool.elsewhere else None)
    files = files_folder(found.variant, scratch)
    recent: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
    try:
        for line in _buildx(found, targets, tool, files, contexts, scratch / "layout", cache=cache):
            recent.append(line.rstrip())
            if line.startswith("#") and " [" in line:
                status.update(f"Building {name}: {line.rstrip()[:100]}")
    except DockerException as error:
        raise BuildError(f"BuildKit could not build {name}. The end of its log:\n" + "\n".join(recent)) from error
    return scratch / "layout"


@contextmanager
def _none_outlives() -> Iterator[None]:
    """End the processes that were started within and still run.

    An interrupt leaves Docker's client alone, which goes on to write where the layout was to be.
    """
    this = psutil.Process()
    # Only of children that are new: all containers descend from the engine, which this very process may have started.
    before = set(this.children())
    try:
        yield
    finally:
        started = [child for child in this.children() if child not in before]
        for child in started:
            with suppress(psutil.NoSuchProcess):
                for process in [*child.children(recursive=True), child]:
                    process.terminate()
        psutil.wait_procs(started)


def _buildx(
    found: Recipe,
    targets: Sequence[Platform],
    tool: Engine,
    files: Path,
    contexts: Mapping[str, Path],
    layout: Path,
    *,
    cache: bool,
) -> Iterator[str]:
    """Run buildx; yields the lines of its log, raises DockerException if it fails."""
    lines = tool.whales().buildx.build(
        files,
        file=found.dockerfile,
        builder=tool.builder,
        platforms=[target.name for target in targets],
        build_contexts={key: str(value) for key, value in contexts.items()},
        build_args={"SOURCE_DATE_EPOCH": str(found.lock.epoch), "BUILDKIT_MULTI_PLATFORM": "1"},
        # The exporter never packs: how it would do so depends on the engine's version (see oci).
        output={
            "type": "oci",
            "tar": "false",
            # buildx reads these as a line of CSV (RFC 4180): a path may have commas and quotes, if its field is quoted.
            '"dest': str(layout).replace('"', '""') + '"',
            "oci-mediatypes": "true",
            "compression": "uncompressed",
            "force-compression": "true",
        },
        provenance=False,
        sbom=False,
        cache=cache,
        progress="plain",
        stream_logs=True,
    )
    yield from cast("Iterator[str]", lines)


def load(layout: Layout, image: Image, tags: Sequence[str], tool: Engine) -> None:
    """Load one platform of `layout` into the engine, unless it is there under these names.

    What they named before is removed from the embedded engine, where else nobody would; not if a container has it.
    """
    client = tool.sdk(timeout=300)
    try:
        if all(_is_loaded(client, tag, image) for tag in tags):
            return
        before = {str(found.id) for tag in tags if (found := _named(client, tag))} if tool.embedded else set()
        with tempfile.TemporaryFile(dir=paths.SCRATCH) as stream:
            oci.archive(layout, image, tags, stream)
            stream.seek(0)
            client.images.load(stream)
        for identifier in before:
            with suppress(docker.errors.APIError):
                if not client.images.get(identifier).tags:
                    client.images.remove(identifier)
    except docker.errors.DockerException as error:
        raise BuildError(f"The engine did not take the image: {error}") from error
    finally:
        client.close()


def _is_loaded(client: docker.DockerClient, tag: str, image: Image) -> bool:
    found = _named(client, tag)
    return found is not None and found.id in (image.manifest, image.config)


def _named(client: docker.DockerClient, tag: str) -> EngineImage | None:
    try:
        return client.images.get(tag)
    except docker.errors.ImageNotFound:
        return None


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Let one process at a time do this in this checkout; the others wait."""
    guard = FileLock(paths.SCRATCH / f"{name}.lock")
    try:
        guard.acquire(timeout=0)
    except Timeout:
        console.print("Another build of this checkout is running; waiting for it to end.")
        guard.acquire()
    try:
        yield
    finally:
        guard.release()


def packages_folder(locked: Lock, platform: Platform, scratch: Path) -> Path:
    """Folder that stands in for the Dockerfile's stage of the same name: exactly the locked files, by layer."""
    folder = scratch / f"packages-{platform.tag}"
    for package in locked.platforms[platform.name]:
        target = folder / package.layer / package.file_name
        target.parent.mkdir(parents=True, exist_ok=True)
        paths.link(fetch.blob(package.sha256), target)
    return folder


def files_folder(variant: Variant, scratch: Path) -> Path:
    """Folder that stands in for the repository: the files that the Dockerfile copies, all of them new.

    Of a folder that BuildKit has seen before, it asks for files with another size or time only (moby/moby#51518), also
    without cache. So an edit that changes neither would not be seen.
    """
    folder = scratch / "files"
    folder.mkdir()
    shutil.copyfile(paths.ROOT / ".dockerignore", folder / ".dockerignore")
    if variant.image.files:
        source = paths.IMAGES / variant.image.files
        shutil.copytree(source, folder / "images" / source.name, copy_function=shutil.copyfile, symlinks=True)
    return folder


def tools_folder(scratch: Path, platform: Platform | None = None) -> Path:
    """Folder that stands in for the Dockerfile's stage of the same name: the locked busybox, which unpacks the rest.

    It runs on `platform`, that of the machine that builds (default: this one's).
    """
    target = scratch / "tools" / "bin" / "busybox"
    target.parent.mkdir(parents=True)
    unpacked = toolset.unpack_anew("busybox", scratch / "busybox", platform)
    shutil.copyfile(unpacked.root / "usr/bin/busybox", target)
    target.chmod(0o755)
    return scratch / "tools"


def build_and_load(name: str, targets: Sequence[str], options: argparse.Namespace) -> Built:
    """Fetch, build, compare with the committed digests, and load this machine's platform."""
    start = time.monotonic()
    folder = variants.folder_of(name, paths.VARIANTS, paths.PEERS)
    variant = variants.load(name, folder)
    wanted = chosen_platforms(variant, targets)
    everything = wanted == variant.platforms
    if options.update_digests and not everything:
        raise UsageError("Digests are recorded for all platforms at once: --platform all")
    found = prepare(name, wanted, relock_gone=options.relock_gone, folder=folder)
    tool = builders.named(engine.find(), options.builder) if options.builder else engine.find()
    layout = build(found, wanted, tool, cache=not options.no_cache)
    if options.update_digests:
        record(name, layout, folder)
    elif found.committed:
        compare(found, layout, everything)
    native = platforms.native()
    loaded = next((image for image in layout.images if image.platform == native), None)
    if loaded is not None:
        with console.status("Loading the image"):
            load(layout, loaded, found.tags, tool)
    return Built(found, layout, time.monotonic() - start, loaded)


def record(name: str, layout: Layout, folder: Path) -> None:
    """Write the digests of a layout of all platforms, and of an image the list of what is in it."""
    texts = {digests.path_of(name, folder): digests.dump(layout)}
    if folder == paths.VARIANTS:
        texts[contents.path_of(name)] = contents.dump(layout)
    for path, text in texts.items():
        written = paths.write_text(path, text)
        console.print(f"{path.relative_to(paths.ROOT)}: {'written' if written else 'up to date'}")


def compare(found: Recipe, layout: Layout, everything: bool) -> None:
    """Compare a build with the committed digests; `everything` if it is of all platforms. Raises DigestError."""
    name = found.variant.name
    committed = digests.load(name, found.folder)
    if committed is None:
        console.print(
            f"[yellow]warning:[/] {name} has no committed digests yet; record them: scripts/nox -s digests -- {name}"
        )
        return
    digests.compare(name, committed, layout, everything, found.folder)


def chosen_platforms(variant: Variant, wanted: Sequence[str]) -> tuple[Platform, ...]:
    """Platforms by name, in the variant's order. Raises UsageError if the variant is not made for one."""
    if "all" in wanted:
        return variant.platforms
    for name in wanted:
        if name not in PLATFORMS:
            raise UsageError(
                f"There is no platform {name!r}; there are: all, {', '.join(PLATFORMS)}{nearest(name, PLATFORMS)}"
            )
        if PLATFORMS[name] not in variant.platforms:
            raise UsageError(
                f"Variant {variant.name!r} is not made for {name}; it is for: {', '.join(map(str, variant.platforms))}"
            )
    return tuple(platform for platform in variant.platforms if platform.name in wanted)


def _peers() -> list[str]:
    return [name for name in variants.names(paths.PEERS) if digests.load(name, paths.PEERS) is not None]


def report(built: Built, tool: Engine) -> None:
    """Print how to run the image, and the table of numbers that ends every build."""
    rows = table(f"{built.recipe.tags[1]}", "platform", "size", "config digest", "seconds",
                 numeric=frozenset({"size", "seconds"}))  # fmt: skip
    images = built.layout.images
    for image in images:
        rows.add_row(image.platform.name, mebibytes(image.size), image.config,
                     f"{built.seconds:.1f}" if len(images) == 1 else "")  # fmt: skip
    if len(images) > 1:
        rows.add_row(
            "all", mebibytes(sum(image.size for image in images)), f"index {built.layout.index}", f"{built.seconds:.1f}"
        )
    if built.loaded is not None and built.recipe.folder == paths.VARIANTS:
        client = "scripts/docker" if tool.embedded else "docker"
        console.print(
            f"Loaded as {' and '.join(built.recipe.tags)}. Run it with:\n\n"
            f"  {client} run --detach --name prosody --publish 5222:5222 --publish 5269:5269"
            f" --volume prosody:/var/lib/prosody --env PROSODY_DOMAIN=localhost"
            f" --env PROSODY_ACCOUNTS=you@localhost:secret {built.recipe.tags[0]}\n",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print(rows)


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s build --", description="Build variants.")
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="variant (default: all that are locked, for all platforms)"
    )
    parser.add_argument(
        "--platform",
        action="append",
        metavar="PLATFORM",
        help="platform such as linux/arm64, or all; may be repeated (default: this machine's)",
    )
    parser.add_argument("--no-cache", action="store_true", help="do not use BuildKit's cache")
    parser.add_argument(
        "--builder", metavar="NAME", help="build with this builder of buildx, whose nodes may be other machines"
    )
    parser.add_argument("--update-digests", action="store_true", help="record the digests instead of comparing them")
    parser.add_argument(
        "--relock-gone",
        action="store_true",
        help="if the archive dropped a locked package, lock again just for this build (its digests are not compared)",
    )
    parser.add_argument(
        "--peers", action="store_true", help="without names, also the servers of tests that have digests"
    )
    options = parser.parse_args(arguments)
    targets = options.platform or (
        [platforms.native().name] if options.names and not options.update_digests else ["all"]
    )
    names = options.names or [*lock.chosen_by_default(paths.VARIANTS), *(_peers() if options.peers else ())]
    finished = [build_and_load(name, targets, options) for name in names]
    tool = engine.find()
    for built in finished:
        report(built, tool)


if __name__ == "__main__":
    errors.run(main)
