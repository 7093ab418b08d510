"""Rebuild images from nothing, and compare them with what is committed or published.

    python -m scripts.verify [--platform PLATFORM|all] [--against REFERENCE] [--image-only [--locked-tools]]
        [--builder NAME] [NAME ...]

The rebuild is made of a copy of this checkout in another folder, with empty caches, by an engine that is started for it
and removed afterwards. With --image-only it is made by `docker buildx build` of the committed Dockerfile instead.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import zstandard

from scripts import (
    build,
    contents,
    differences,
    digests,
    dockerfile,
    engine,
    errors,
    lock,
    mirrors,
    oci,
    paths,
    records,
    registry,
)
from scripts.build import Recipe
from scripts.console import console, mebibytes, table
from scripts.contents import Members
from scripts.differences import Difference
from scripts.digests import Digests
from scripts.errors import BuildError, DigestError, UsageError
from scripts.oci import Image, Layout
from scripts.platforms import Platform

_KEPT = paths.DIST / "verify"
_SHOWN = 40  # differences in the table


@dataclass(frozen=True)
class Expected:
    """What a rebuild must be; `layout` is None where only its digests and its list of files are known."""

    digests: Digests
    layout: Layout | None = None


@dataclass(frozen=True)
class Verdict:
    """What was found of one platform: no `differences` if it is as it must be."""

    recipe: Recipe
    image: Image
    differences: tuple[Difference, ...]


def verdict(recipe: Recipe, rebuilt: Layout, image: Image, expected: Expected) -> Verdict:
    """Compare one platform of a rebuild with what it must be."""
    before = expected.digests.image(image.platform)
    if before is None:
        return Verdict(recipe, image, (Difference("", "", "platform", differences.ABSENT, image.manifest),))
    return Verdict(recipe, image, tuple(_compared(recipe, rebuilt, image, before, expected.layout)))


def _compared(
    recipe: Recipe, rebuilt: Layout, image: Image, before: Image, published: Layout | None
) -> Iterator[Difference]:
    if image.manifest == before.manifest:
        return
    digest_of = {layer.name: layer.digest for layer in before.layers}
    differing = {
        layer.name: (digest_of[layer.name], layer.digest)
        for layer in image.layers
        if digest_of.get(layer.name, layer.digest) != layer.digest
    }
    found = contents.members(rebuilt, image.platform)
    if published:
        expected: Members = contents.members(published, image.platform)
        one, other = (
            json.loads(layout.blob(digest).read_bytes())
            for layout, digest in ((published, before.config), (rebuilt, image.config))
        )
        del one["rootfs"], other["rootfs"]  # digests of the layers, which are looked at one by one
        yield from differences.of_configurations(one, other)
    else:
        expected = contents.load(recipe.variant.name, image.platform, recipe.lock.epoch)
        found = {name: tuple(sorted(inside, key=lambda member: member.path)) for name, inside in found.items()}
    named = list(differences.between(expected, found))
    yield from named
    if not published and not differing and not named and image.config != before.config:
        yield Difference("", "", "configuration", before.config, image.config)
    # What no attribute of a member tells: their order, unknown here without the other image, or the packing.
    for name in differing.keys() - {difference.layer for difference in named}:
        what = "order or packing" if image.config != before.config else "packing"
        yield Difference(name, "", what, *differing[name])


@contextmanager
def elsewhere(scratch: Path) -> Iterator[Path]:
    """A copy of this checkout in `scratch`, for builds from nothing; the engine that they start is removed again."""
    copy = scratch / "checkout"
    paths.copy_checkout(copy)
    try:
        yield copy
    finally:
        _run(copy, "engine", "remove")


def rebuild(copy: Path, name: str, targets: Sequence[str], builder: str | None = None) -> Layout:
    """Build a variant in a copy of the checkout, by this checkout's `builder` if one is named.

    Raises BuildError if that fails.
    """
    named = [f"--builder={builder}"] if builder else []
    known = engine.find().builders if builder else {}
    platforms = [f"--platform={target}" for target in targets]
    status = _run(copy, "build", name, "--no-cache", *named, *platforms, **known)
    # That it is not what is committed is for the comparison to say.
    if status not in (0, DigestError.exit_status):
        raise BuildError(f"{name} could not be built again: that ended with status {status}, for the reason above.")
    return oci.load(copy / "dist" / name)


def _run(copy: Path, verb: str, *arguments: str, **variables: str) -> int:
    """Exit status of a command of this build system in a copy of the checkout, with caches of its own."""
    environment = os.environ | {"XDG_CACHE_HOME": str(copy.parent / "cache")} | variables
    if sys.platform == "linux" and os.geteuid() == 0:
        environment.setdefault("PROSODY_ENGINE", "embedded")  # a fresh one
    command = [sys.executable, "-m", f"scripts.{verb}", *arguments]
    return subprocess.run(command, cwd=copy, env=environment, check=False).returncode


def plain(recipe: Recipe, targets: Sequence[Platform], checkout: Path, folder: Path, *, locked_tools: bool) -> Layout:
    """Build the Dockerfile of a checkout by `docker buildx build` alone, without anything of this build system.

    BuildKit fetches all packages itself. The stage `tools` is an image of a registry, or the locked busybox.
    `folder` is where the layout is written, packed as all are. Raises BuildError with the end of BuildKit's log.
    """
    tool = engine.find()
    path = recipe.dockerfile.relative_to(paths.ROOT)
    destination = '"dest=' + str(folder / "plain").replace('"', '""') + '"'  # a field of CSV (RFC 4180)
    folder.mkdir(parents=True)
    contexts = [f"--build-context=tools={build.tools_folder(folder)}"] if locked_tools else []
    archives = sorted({package.archive for package in recipe.lock.packages(targets)} & set(mirrors.ARCHIVES))
    first = {name: mirrors.mirrors(name, recipe.lock.snapshot)[0] for name in archives}
    done = subprocess.run(
        [
            *(str(tool.client), "buildx", "build", "--builder", tool.builder, "--no-cache", "--progress", "plain"),
            *("--file", str(checkout / path), "--platform", ",".join(target.name for target in targets)),
            *("--provenance", "false", "--sbom", "false", *contexts),
            *("--build-arg", f"SOURCE_DATE_EPOCH={recipe.lock.epoch}", "--build-arg", "BUILDKIT_MULTI_PLATFORM=1"),
            *(f"--build-arg={mirrors.variable(name)}={mirror}" for name, mirror in first.items()),
            "--output", f"type=oci,{destination},tar=false,compression=uncompressed,oci-mediatypes=true",
            str(checkout),
        ],
        env=os.environ | tool.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        end = "\n".join(done.stderr.splitlines()[-25:])
        raise BuildError(f"docker buildx build of {path} failed. The end of its log:\n{end}")
    return oci.canonicalise(folder / "plain", folder / "canonical", dockerfile.layers(recipe.variant))


def expectation(recipe: Recipe, against: str | None, folder: Path) -> Expected:
    """What a rebuild must be: the image `against`, brought to `folder`, or what is committed."""
    name = recipe.variant.name
    if against:
        if not Path(against).is_dir() and not registry.is_reference(against):
            raise UsageError(f"{against} is neither a folder nor a reference: HOST[:PORT]/NAME[:TAG|@DIGEST].")
        published = oci.load(Path(against)) if Path(against).is_dir() else registry.pull_image(against, folder)
        return Expected(Digests(published.index, published.images), published)
    return Expected(digests.committed(name))


def keep(verdict: Verdict, rebuilt: Layout, expected: Expected) -> None:
    """Keep the layers that differ, as files that can be looked into, and say how."""
    place = _KEPT / verdict.recipe.variant.name / verdict.image.platform.tag
    before = expected.digests.image(verdict.image.platform)
    for layer in verdict.image.layers:
        if layer.name not in {difference.layer for difference in verdict.differences}:
            continue
        files = [_unpacked(rebuilt.blob(layer.digest), place / "rebuilt" / f"{layer.name}.tar")]
        if expected.layout and before:
            files[:0] = [
                _unpacked(expected.layout.blob(other.digest), place / "expected" / f"{layer.name}.tar")
                for other in before.layers
                if other.name == layer.name
            ]
        program = "diffoscope" if len(files) == 2 else "tar tvf"
        shown = " ".join(str(file.relative_to(paths.ROOT)) for file in files)
        console.print(f"Look into the layer {layer.name} with: {program} {shown}", highlight=False, soft_wrap=True)


def _unpacked(layer: Path, target: Path) -> Path:
    with paths.replacing(target) as temporary, layer.open("rb") as reader, temporary.open("wb") as writer:
        zstandard.ZstdDecompressor().copy_stream(reader, writer)
    return target


def report(verdicts: Sequence[Verdict], seconds: float) -> None:
    """Print what was verified, and each difference once, with the platforms that have it."""
    rows = table("Verified", "image", "platform", "size", "manifest digest", "result", numeric=frozenset({"size"}))
    grouped: dict[tuple[str, Difference], list[str]] = {}
    for found in verdicts:
        result = f"{len(found.differences)} differences" if found.differences else "the same"
        rows.add_row(found.recipe.tags[1], found.image.platform.name, mebibytes(found.image.size),
                     found.image.manifest, result)  # fmt: skip
        for difference in found.differences:
            grouped.setdefault((found.recipe.variant.name, difference), []).append(found.image.platform.name)
    if grouped:
        told = table("Differences", "variant", "platforms", "layer", "path", "attribute", "expected", "rebuilt")
        for (name, difference), platforms in list(grouped.items())[:_SHOWN]:
            shown = platforms[0] if len(platforms) == 1 else f"{platforms[0]} and {len(platforms) - 1} more"
            told.add_row(name, shown, difference.layer, difference.path, difference.attribute, difference.expected,
                         difference.found)  # fmt: skip
        if len(grouped) > _SHOWN:
            told.caption = f"... and {len(grouped) - _SHOWN} more"
        console.print(told)
    console.print(rows)
    console.print(f"{len(verdicts)} images in {seconds:.0f} s")


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s verify --", description="Rebuild variants, and compare them.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant (default: all that are locked)")
    parser.add_argument(
        "--platform", action="append", metavar="PLATFORM", help="platform such as linux/arm64; may be repeated"
    )
    parser.add_argument(
        "--against", metavar="REFERENCE", help="compare with this image of a registry, or with an OCI layout (a folder)"
    )
    parser.add_argument(
        "--image-only", action="store_true", help="build the Dockerfiles by docker buildx build alone, by any engine"
    )
    parser.add_argument(
        "--locked-tools", action="store_true", help="with --image-only: no image of a registry, but the locked busybox"
    )
    parser.add_argument(
        "--builder", metavar="NAME", help="build with this builder of buildx, whose nodes may be other machines"
    )
    options = parser.parse_args(arguments)
    names = options.names or lock.chosen_by_default(paths.VARIANTS)
    if options.against and len(names) != 1:
        raise UsageError("--against REFERENCE is one image: name the variant that it is of.")
    if options.locked_tools and not options.image_only:
        raise UsageError("--locked-tools goes with --image-only; other rebuilds use nothing else.")
    if options.builder and options.image_only:
        raise UsageError("--builder is for rebuilds by this build system: buildx writes no image of several nodes.")
    start = time.monotonic()
    verdicts = list(_verified(names, options))
    report(verdicts, time.monotonic() - start)
    if any(found.differences for found in verdicts):
        raise DigestError("The rebuild is not what it must be; the table says where.")


def _verified(names: Sequence[str], options: argparse.Namespace) -> Iterator[Verdict]:
    shutil.rmtree(_KEPT, ignore_errors=True)
    paths.SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="verify-", dir=paths.SCRATCH) as folder:
        scratch = Path(folder)
        recipes = [build.recipe(name) for name in names]
        expected = [expectation(recipe, options.against, scratch / "published") for recipe in recipes]
        chosen = [build.chosen_platforms(recipe.variant, options.platform or ["all"]) for recipe in recipes]
        with elsewhere(scratch) as copy:
            for recipe, before, targets in zip(recipes, expected, chosen, strict=True):
                name = recipe.variant.name
                run = records.begin("verify", name, targets)
                if options.image_only:
                    rebuilt = plain(recipe, targets, copy, scratch / name, locked_tools=options.locked_tools)
                else:
                    rebuilt = rebuild(copy, name, [target.name for target in targets], options.builder)
                verdicts = [verdict(recipe, rebuilt, image, before) for image in rebuilt.images]
                for found in verdicts:
                    if found.differences:
                        keep(found, rebuilt, before)
                yield from verdicts
                # That the Dockerfile gives the image by itself is a promise of its own.
                if not options.image_only and not any(found.differences for found in verdicts):
                    run.passed({image.platform: image.manifest for image in rebuilt.images}, images=len(verdicts))


if __name__ == "__main__":
    errors.run(main)
