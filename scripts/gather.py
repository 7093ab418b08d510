"""Images of single platforms, built by several machines -> the image of all platforms, in dist/.

    python -m scripts.gather FOLDER [NAME ...]

Nothing is built: what was built is put together, and is what one build of all platforms would be.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from scripts import digests, errors, lock, oci, paths, variants
from scripts.console import console, mebibytes, table
from scripts.errors import BuildError, UsageError
from scripts.oci import Layout


def gather(name: str, built: Sequence[Layout]) -> Layout:
    """Put the image of a variant together in dist/<variant>.

    What `built` has of it is known by the committed digests. Raises BuildError if a platform is missing, DigestError if
    no digests are committed.
    """
    committed = digests.committed(name)
    there = {image.manifest: found for found in built for image in found.images}
    missing = [image.platform.name for image in committed.images if image.manifest not in there]
    if missing:
        raise BuildError(f"Of {name} there is no image with the committed digest for: {', '.join(missing)}.")
    united = oci.unite([(there[image.manifest], image) for image in committed.images], paths.DIST / name)
    digests.compare(name, committed, united, everything=True)
    return united


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s gather --", description="Put images of single platforms together.")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="where their layouts are, at any depth")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant (default: all that are locked)")
    options = parser.parse_args(arguments)
    if not options.folder.is_dir():
        raise UsageError(f"{options.folder} is not a folder.")
    names = options.names or lock.chosen_by_default(paths.VARIANTS)
    for name in names:
        variants.folder_of(name, paths.VARIANTS)
    built = [oci.load(index.parent) for index in sorted(options.folder.rglob("index.json"))]
    rows = table("Gathered", "variant", "platforms", "size", "index digest", numeric=frozenset({"platforms", "size"}))
    for name in names:
        found = gather(name, built)
        size = sum(image.size for image in found.images)
        rows.add_row(name, str(len(found.images)), mebibytes(size), found.index)
    console.print(rows)


if __name__ == "__main__":
    errors.run(main)
