"""Write what is made from the catalogues of variables and of modules.

    python -m scripts.catalogue [--check]

With --check nothing is written; it fails with a diff if a file is stale.
"""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from scripts import catalogue, errors, modules, paths
from scripts.catalogue import editor, example, page, table
from scripts.console import console
from scripts.errors import StaleError

_LONGEST_DIFF = 200  # lines


def outputs() -> dict[Path, str]:
    """Path and text of every generated file."""
    variables = catalogue.load()
    return {module.PATH: module.text(variables) for module in (table, page, example, editor)} | modules.outputs()


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s generate --", description="Write what the catalogues generate.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff if a file is stale")
    options = parser.parse_args(arguments)
    # Everything is made before the first file is touched: a catalogue with a mistake changes nothing.
    (_check if options.check else _write)(outputs())


def _write(texts: Mapping[Path, str]) -> None:
    for path, text in texts.items():
        is_new = paths.write_text(path, text)
        console.print(f"{path.relative_to(paths.ROOT)}: {'written' if is_new else 'up to date'}")


def _check(texts: Mapping[Path, str]) -> None:
    lines = [line for path, text in texts.items() for line in _difference(path, text)]
    if lines:
        shown = "\n".join(lines[:_LONGEST_DIFF])
        rest = f"\n… and {len(lines) - _LONGEST_DIFF} lines more" if len(lines) > _LONGEST_DIFF else ""
        raise StaleError(
            f"Generated files are not what their sources generate:\n{shown}{rest}\n"
            "Write them again with: scripts/nox -s generate"
        )


def _difference(path: Path, text: str) -> Iterator[str]:
    committed = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
    name = path.relative_to(paths.ROOT)
    if committed != text:
        yield from difflib.unified_diff(
            committed.split("\n"), text.split("\n"), f"{name} (committed)", f"{name} (generated)", lineterm=""
        )


if __name__ == "__main__":
    errors.run(main)
