"""Variant x platform, as a matrix for GitHub Actions (its documentation: "jobs.<job_id>.strategy.matrix").

    python -m scripts.matrix [--platform PLATFORM ...] [--native] [--output FILE] [NAME ...]

The JSON alone goes to standard output.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from scripts import build, errors, lock, paths, variants
from scripts.errors import LockError
from scripts.platforms import Platform

# Labels of GitHub's own runners. Building needs no emulation, so what has no runner of its own is built on any.
RUNNERS = {"linux/amd64": "ubuntu-24.04", "linux/arm64": "ubuntu-24.04-arm"}
_ANY = RUNNERS["linux/amd64"]
_OTHER = RUNNERS["linux/arm64"]


def entry(name: str, platform: Platform) -> dict[str, str]:
    """One job: what to build, and on which runner; `name` is one that an artifact may have.

    `second` is a runner of another processor, which must get the same digest.
    """
    runner = RUNNERS.get(platform.name, _ANY)
    return {
        "name": f"{name}-{platform.tag}",
        "variant": name,
        "platform": platform.name,
        "runner": runner,
        "second": _OTHER if runner == _ANY else _ANY,
    }


def matrix(names: Sequence[str], wanted: Sequence[str], *, native: bool = False) -> dict[str, list[dict[str, str]]]:
    """The matrix of variants (default: all that are locked) and platforms (default: all that each is made for).

    With `native` it has only what a runner can execute, which may be nothing. Raises LockError if a named variant has
    no lock: every runner would make another one.
    """
    return {
        "include": [
            entry(name, platform)
            for name in names or lock.chosen_by_default(paths.VARIANTS)
            for platform in _platforms(name, wanted)
            if not native or platform.name in RUNNERS
        ]
    }


def _platforms(name: str, wanted: Sequence[str]) -> Sequence[Platform]:
    variant = variants.load(name)
    if not lock.path_of(name).is_file():
        raise LockError(
            f"Variant {name!r} has no lock, so every runner would make another one."
            f" Make one with: scripts/nox -s lock -- {name}, and commit it."
        )
    return build.chosen_platforms(variant, wanted or ["all"])


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s matrix --", description="Print variants x platforms as JSON.")
    # A workflow has its inputs as one text each, which may be empty.
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="variants; may be one text with blanks (default: all that are locked)"
    )
    parser.add_argument(
        "--platform", action="append", default=[], metavar="PLATFORM",
        help="platforms such as linux/arm64, in the same way; may be repeated (default: all)",
    )  # fmt: skip
    parser.add_argument("--native", action="store_true", help="only platforms that a runner can execute")
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="also append it to this file as `matrix=...` (GITHUB_OUTPUT)"
    )
    options = parser.parse_args(arguments)
    names, wanted = (" ".join(words).split() for words in (options.names, options.platform))
    text = json.dumps(matrix(names, wanted, native=options.native), separators=(",", ":"))
    if options.output:
        with options.output.open("a", encoding="utf-8") as stream:
            stream.write(f"matrix={text}\n")
    print(text)


if __name__ == "__main__":
    errors.run(main)
