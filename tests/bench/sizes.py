"""python -m tests.bench.sizes [--check]: the committed digests -> docs/sizes.md and its picture.

Sizes stand in the digests files, so they are the same on every machine; with --check nothing is written, and a page
that is not what the digests give is an error.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from scripts import digests, dockerfile, errors, lock, paths, variants
from scripts.console import console, table
from scripts.digests import Digests
from scripts.errors import StaleError
from scripts.oci import Image
from scripts.platforms import PLATFORMS

PAGE = paths.ROOT / "docs" / "sizes.md"
PICTURE = PAGE.with_suffix(".svg")
MEGABYTE = 1_000_000  # bytes; as registries count

_FIRST = "debian"  # the variant that somebody has already, where a second one is pulled


@dataclass(frozen=True)
class Sizes:
    """The images of one variant."""

    name: str
    distribution: str
    digests: Digests

    @property
    def images(self) -> tuple[Image, ...]:
        """One image a platform."""
        return self.digests.images


def gather() -> list[Sizes]:
    """All variants whose digests are committed."""
    found = []
    for name in lock.locked_names():
        committed = digests.load(name)
        if committed is not None:
            found.append(Sizes(name, variants.load(name).distribution, committed))
    return sorted(found, key=lambda sizes: (sizes.name != _FIRST, sizes.name))


def page(found: Sequence[Sizes]) -> str:
    """Text of docs/sizes.md."""
    platforms = [name for name in PLATFORMS if any(image.platform.name == name for s in found for image in s.images)]
    lines = [
        "# Sizes",
        "",
        "Written by `scripts/nox -s bench -- sizes` from the committed digests. All sizes are of packed layers, which",
        "is what a pull transfers, in MB (10⁶ bytes).",
        "",
        f"![Sizes by variant, platform and layer]({PICTURE.name})",
        "",
        "## Variants and platforms",
        "",
        f"| platform | {' | '.join(sizes.name for sizes in found)} |",
        f"|---|{'--:|' * len(found)}",
    ]
    for platform in platforms:
        cells = [_megabytes(image.size if (image := _image(sizes, platform)) else None) for sizes in found]
        lines.append(f"| {platform} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Layers on linux/amd64",
        "",
        f"| layer | {' | '.join(sizes.name for sizes in found)} |",
        f"|---|{'--:|' * len(found)}",
    ]
    for layer in _layers(found):
        lines.append(f"| {layer} | {' | '.join(_megabytes(_layer_size(sizes, layer)) for sizes in found)} |")
    lines += [
        "",
        f"## A second variant, where `{_FIRST}` is there already",
        "",
        "Layers with the same digest are transferred once.",
        "",
        "| variant | transferred on linux/amd64 | of its size |",
        "|---|--:|--:|",
    ]
    there = {layer.digest for layer in _amd64(found[0]).layers}
    for sizes in found[1:]:
        image = _amd64(sizes)
        new = sum(layer.size for layer in image.layers if layer.digest not in there)
        lines.append(f"| {sizes.name} | {_megabytes(new)} | {new / image.size:.0%} |")
    largest = max(image.layers[-1].size for sizes in found for image in sizes.images) / 1000
    lines += [
        "",
        f"A release that changes only configuration is a pull of `{dockerfile.CONFIGURATION}`: {largest:.0f} kB.",
        "",
    ]
    return "\n".join(lines)


def picture(found: Sequence[Sizes]) -> str:
    """Text of docs/sizes.svg: a bar for each variant and platform, made of its layers."""
    rows = [(sizes, image) for sizes in found for image in sizes.images]
    layers = _layers(found)
    # Without these, identifiers and the date would differ each time.
    with mpl.rc_context({"svg.hashsalt": "sizes", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9, 1.2 + 0.24 * len(rows)), layout="constrained")
        axes = figure.subplots()
        colours = mpl.colormaps["tab20"]
        for number, layer in enumerate(layers):
            widths = [_size(image, layer) / MEGABYTE for _, image in rows]
            lefts = [sum(_size(image, below) for below in layers[:number]) / MEGABYTE for _, image in rows]
            axes.barh(range(len(rows)), widths, left=lefts, label=layer, color=colours(number))
        axes.set_yticks(range(len(rows)), [f"{sizes.name} {image.platform}" for sizes, image in rows], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("MB, packed")
        axes.legend(loc="lower right", fontsize=8)
        axes.grid(visible=True, axis="x", linewidth=0.5)
        axes.set_axisbelow(True)
        axes.margins(y=0.01)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def _layers(found: Sequence[Sizes]) -> list[str]:
    """Names of all layers, lowest first; the configuration, which all have, last."""
    names = dict.fromkeys(layer.name for sizes in found for image in sizes.images for layer in image.layers)
    return [*(name for name in names if name != dockerfile.CONFIGURATION), dockerfile.CONFIGURATION]


def _size(image: Image, name: str) -> int:
    return sum(layer.size for layer in image.layers if layer.name == name)


def _image(sizes: Sizes, platform: str) -> Image | None:
    return sizes.digests.image(PLATFORMS[platform])


def _amd64(sizes: Sizes) -> Image:
    return sizes.images[0] if (image := _image(sizes, "linux/amd64")) is None else image


def _layer_size(sizes: Sizes, layer: str) -> int | None:
    return _size(_amd64(sizes), layer) or None


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / MEGABYTE:.2f}"


def write(*, check: bool = False) -> None:
    """Write page and picture; with `check` raise StaleError if one is not up to date."""
    found = gather()
    stale = []
    for path, text in ((PAGE, page(found)), (PICTURE, picture(found))):
        if not check:
            paths.write_text(path, text)
        elif not path.is_file() or path.read_text() != text:
            stale.append(str(path.relative_to(paths.ROOT)))
    if stale:
        raise StaleError(f"Not what the digests give: {', '.join(stale)}. Write again: scripts/nox -s bench -- sizes")
    report = table("Sizes on linux/amd64", "variant", "MB", numeric=frozenset({"MB"}))
    for sizes in found:
        report.add_row(sizes.name, _megabytes(_amd64(sizes).size))
    if not check:
        console.print(report)


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s bench -- sizes", description=f"Write {Path('docs') / PAGE.name}.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if a file is stale")
    write(check=parser.parse_args(arguments).check)


if __name__ == "__main__":
    errors.run(main)
