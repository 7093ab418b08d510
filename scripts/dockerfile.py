"""`Variant` + `Lock` -> Dockerfile.

    python -m scripts.dockerfile [--check] [NAME ...]

writes images/<name>/Dockerfile for the named variants (default: all); with --check it writes nothing and fails with a
diff if one is not what it would write.
"""

from __future__ import annotations

import argparse
import difflib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from scripts import errors, inventory, lock, mirrors, paths, variants
from scripts.console import console
from scripts.errors import StaleError
from scripts.lock import Lock
from scripts.variants import Variant

# Only used where the build system is not: it puts the locked busybox-static in this image's place.
_BUSYBOX = "busybox:1.37.0-musl@sha256:222ad6d973c0d198014546a65cd02c5fdedcc172123c5b4c2bf0af636550bd94"

# Above the layers that a variant has packages in: the bill of materials, which changes with the lock alone; and topmost
# what a variant declares, and the repository's own files.
BILL = "bill"
CONFIGURATION = "configuration"


@dataclass(frozen=True)
class _Archive:
    variable: str
    url: str


def expand(variant: Variant, locked: Lock) -> str:
    """Text of the Dockerfile; the same input always gives the same text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(paths.IMAGES),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - a Dockerfile, not HTML; the schema admits no quotes in paths
        keep_trailing_newline=True,
    )
    environment.filters |= {"json": _json, "quoted": _quoted}
    names = sorted({package.archive for packages in locked.platforms.values() for package in packages})
    mirrored = [name for name in names if "://" not in name]
    return environment.get_template("Dockerfile.j2").render(
        variant=variant,
        image=variant.image,
        lock=locked,
        layers=layers(variant),
        version=locked.version(variant),
        busybox=_BUSYBOX,
        archives=[_Archive(mirrors.variable(name), mirrors.public_url(name, locked.snapshot)) for name in mirrored],
        bases={name: f"${{{mirrors.variable(name)}}}" if name in mirrored else name for name in names},
        bill=inventory.path_of_bill(variant),
        platforms=[
            (platform, locked.platforms[platform.name], inventory.bill(variant, locked, platform))
            for platform in variant.platforms
        ],
        assemble=(paths.IMAGES / "assemble.sh").read_text().rstrip("\n"),
        icu=(paths.IMAGES / "icu.awk").read_text().rstrip("\n"),
        apk=(paths.IMAGES / "apk.sh").read_text().rstrip("\n"),
        repositories=[
            f"{mirrors.public_url(suite.archive, locked.snapshot)}/{suite.suite}/{component}"
            for suite in variant.suites
            for component in suite.components
        ],
    )


def _json(value: Sequence[str]) -> str:
    """Exec form of a Dockerfile instruction; Jinja's own filter would escape for HTML."""
    return json.dumps(list(value), ensure_ascii=False)


def _quoted(value: str) -> str:
    """Quoted word in which nothing is expanded (Dockerfile reference, "Environment replacement")."""
    return json.dumps(value, ensure_ascii=False).replace("$", r"\$")


def layers(variant: Variant) -> tuple[str, ...]:
    """Names of the image's layers, lowest first."""
    return (*variant.layers, BILL, CONFIGURATION)


def path_of(name: str) -> Path:
    """Where the Dockerfile of a variant is kept."""
    return paths.IMAGES / name / "Dockerfile"


def difference(name: str) -> str:
    """Unified diff between the committed Dockerfile and what it should be; empty if there is none."""
    variant = variants.load(name)
    path = path_of(name)
    before = path.read_text() if path.is_file() else ""
    after = expand(variant, lock.load(variant, lock.path_of(name)))
    shown = str(path.relative_to(paths.ROOT))
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"{shown} (committed)", f"{shown} (expanded)"
    )
    return "".join(lines)


def write(name: str) -> None:
    """Write the Dockerfile of a variant, which must have a lock, and tell."""
    variant = variants.load(name)
    written = paths.write_text(path_of(name), expand(variant, lock.load(variant, lock.path_of(name))))
    console.print(f"{path_of(name).relative_to(paths.ROOT)}: {'written' if written else 'up to date'}")


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s expand --", description="Write the Dockerfiles of variants.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff if a file is stale")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant (default: all)")
    options = parser.parse_args(arguments)
    stale = []
    for name in options.names or lock.chosen_by_default(paths.VARIANTS):
        if options.check:
            stale += [diff for diff in [difference(name)] if diff]
        else:
            write(name)
    if stale:
        raise StaleError(
            "Generated files are not what their sources generate:\n"
            + "\n".join(stale)
            + "\nWrite them again with: scripts/nox -s expand"
        )


if __name__ == "__main__":
    errors.run(main)
