"""The committed digests of a variant, and the comparison of a build with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import paths
from scripts.errors import DigestError
from scripts.oci import Image, Layer, Layout
from scripts.platforms import PLATFORMS, Platform


@dataclass(frozen=True)
class Digests:
    """Digests (`sha256:...`) of a variant: its index, and what that holds."""

    index: str
    images: tuple[Image, ...]

    def image(self, platform: Platform) -> Image | None:
        """The image for `platform`, if there is one."""
        return next((image for image in self.images if image.platform == platform), None)


def path_of(name: str, folder: Path = paths.VARIANTS) -> Path:
    """Where the digests of a variant, or of a peer, are kept."""
    return paths.belonging(name, folder, "digests.json")


def load(name: str, folder: Path = paths.VARIANTS) -> Digests | None:
    """The committed digests, None if there are none yet. Raises DigestError if the file is broken."""
    path = path_of(name, folder)
    if not path.is_file():
        return None
    try:
        return parse(path.read_text())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DigestError(
            f"{path.relative_to(paths.ROOT)} is not a file of digests ({error!r})."
            f" Write it again with: scripts/nox -s digests -- {name}"
        ) from error


def committed(name: str, folder: Path = paths.VARIANTS) -> Digests:
    """The committed digests. Raises DigestError if there are none, or the file is broken."""
    found = load(name, folder)
    if found is None:
        raise DigestError(f"{name} has no committed digests. Record them with: scripts/nox -s digests -- {name}")
    return found


def parse(text: str) -> Digests:
    """What `dump` wrote. Raises ValueError, KeyError, TypeError or AttributeError if the text is something else."""
    value: dict[str, Any] = json.loads(text)
    return Digests(
        value["index"],
        tuple(
            Image(
                PLATFORMS[platform],
                found["config"],
                found["manifest"],
                tuple(Layer(name, layer["digest"], layer["size"]) for name, layer in found["layers"].items()),
            )
            for platform, found in value["platforms"].items()
        ),
    )


def dump(layout: Layout) -> str:
    """Text of a digests file for a layout of all platforms."""
    value = {
        "index": layout.index,
        "platforms": {
            image.platform.name: {
                "config": image.config,
                "manifest": image.manifest,
                "layers": {layer.name: {"digest": layer.digest, "size": layer.size} for layer in image.layers},
            }
            for image in layout.images
        },
    }
    return json.dumps(value, indent=2) + "\n"


def compare(name: str, committed: Digests, layout: Layout, everything: bool, folder: Path = paths.VARIANTS) -> None:
    """Raise DigestError, which says what differs, unless `layout` is what is committed.

    The index is compared only if the layout holds `everything`: all platforms of the variant.
    """
    differences: list[str] = []
    for image in layout.images:
        differences += _differences(image, committed.image(image.platform))
    if everything and not differences and committed.index != layout.index:
        differences.append(f"  index: {committed.index} committed, {layout.index} built")
    if differences:
        where = path_of(name, folder).relative_to(paths.ROOT)
        raise DigestError(
            f"The build of {name} is not the one whose digests are committed ({where}):\n"
            + "\n".join(differences)
            + "\nIf a file of the image or the lock was changed on purpose, record the new digests with:"
            f" scripts/nox -s digests -- {name}"
        )


def _differences(image: Image, expected: Image | None) -> Iterator[str]:
    if expected is None:
        yield f"  {image.platform}: not committed, {image.config} built"
    elif image.config != expected.config:
        yield f"  {image.platform}: config {expected.config} committed, {image.config} built"
        for layer, before in zip(image.layers, expected.layers, strict=False):
            if layer != before:
                yield f"    layer {layer.name}: {before.digest} committed, {layer.digest} built"
    elif image.manifest != expected.manifest:
        what = "same content, but packed differently"
        yield f"  {image.platform}: {what}: manifest {expected.manifest} committed, {image.manifest} built"
