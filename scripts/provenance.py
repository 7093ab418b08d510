"""What an image was made from, and by whom, as a statement of SLSA.

The statement is about a layout that is there, and made of the recipe alone: no clock and no name of a machine is in it,
so the same build by the same builder is the same statement. It becomes a referrer of the image's index (see referrers),
never an entry in it.

Formats: in-toto Attestation Framework, Statement v1; SLSA 1.0, "Build: Provenance", predicate type
https://slsa.dev/provenance/v1.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from scripts import lock, oci, paths
from scripts.build import Recipe
from scripts.oci import Layout
from scripts.platforms import Platform
from scripts.referrers import Document

STATEMENT = "application/vnd.in-toto+json"
TYPE = "https://in-toto.io/Statement/v1"
# What "here" is in these: no address is known for this repository, so they are names (RFC 4151), not addresses.
BUILD_TYPE = "tag:prosody-images,2026:build/v1"
LOCAL = "tag:prosody-images,2026:builder/local"
# Locks of what builds, beside the engine, which is any.
_BUILDER_FILES = (lock.path_of("busybox", paths.TOOLS), paths.ROOT / "requirements.txt")


def builder() -> str:
    """Who builds here: the workflow that runs on GitHub, else somebody's machine.

    The variables are GitHub's ("Default environment variables"); the form of the first is the one that its own
    attestations have.
    """
    workflow = os.environ.get("GITHUB_WORKFLOW_REF")
    return f"{os.environ['GITHUB_SERVER_URL']}/{workflow}" if workflow else LOCAL


def name(variant: str, platform: Platform) -> str:
    """Name of a variant's image for one platform, as the subject of a statement."""
    return f"{variant}, {platform}"


def subject(named: str, digest: str) -> dict[str, Any]:
    """What a statement is about (in-toto, "ResourceDescriptor")."""
    algorithm, _, value = digest.partition(":")
    return {"name": named, "digest": {algorithm: value}}


def statement(recipe: Recipe, layout: Layout, by: str) -> Document:
    """The statement about a layout that the builder `by` has made of a recipe."""
    variant, locked = recipe.variant, recipe.lock
    platforms = [image.platform for image in layout.images]
    subjects = [subject(variant.name, layout.index)]
    subjects += [subject(name(variant.name, image.platform), image.manifest) for image in layout.images]
    value = {
        "_type": TYPE,
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "variant": variant.name,
                    "platforms": [platform.name for platform in platforms],
                },
                "internalParameters": {
                    "SOURCE_DATE_EPOCH": str(locked.epoch),
                    "snapshot": locked.snapshot,
                    "packer": f"{oci.PACKER}, level {oci.SMALLEST}",
                },
                "resolvedDependencies": [*_files(recipe), *_packages(recipe, layout)],
            },
            "runDetails": {"builder": {"id": by, "builderDependencies": list(_hashed(_BUILDER_FILES))}},
        },
    }
    return Document(f"prosody-{variant.name}.intoto.json", STATEMENT, oci.canonical(value))


def _files(recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Files of this repository that a build reads: the lock, the Dockerfile made from it, and what is copied."""
    variant = recipe.variant
    read = [lock.path_of(variant.name), recipe.dockerfile]
    if variant.image.files:
        read += (path for path in (paths.IMAGES / variant.image.files).rglob("*") if path.is_file())
    return _hashed(sorted(read))


def _hashed(files: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for path in files:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        yield {"name": str(path.relative_to(paths.ROOT)), "digest": {"sha256": sha256}}


def _packages(recipe: Recipe, layout: Layout) -> Iterator[dict[str, Any]]:
    """Packages of the platforms that were built."""
    for package in recipe.lock.packages([image.platform for image in layout.images]):
        yield {"name": package.file_name, "uri": recipe.lock.url(package), "digest": {"sha256": package.sha256}}
