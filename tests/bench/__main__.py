"""python -m tests.bench [builds|starts|sizes|load ...]: measure, print, write docs/benchmarks.md, sizes.md, load.md."""

from __future__ import annotations

import argparse
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from scripts import engine, errors, paths
from scripts.console import console, table
from tests.bench import builds, load, sizes, starts
from tests.bench.rows import Row

_SECTIONS = {"builds": builds.rows, "starts": starts.rows}
_COLUMNS = ("what", "measured", "reference in the same run", "ratio", "goal", "met")


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s bench --", description="Measure, against references in the same run.")
    parser.add_argument(
        "sections", nargs="*", choices=[*_SECTIONS, "sizes", "load", []], help="what to measure (default: everything)"
    )
    parser.add_argument("--clients", type=int, default=load.CLIENTS, help="of the load test (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=load.ROUNDS, help="of the load test, at least 5 (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    sections = options.sections or [*_SECTIONS, "sizes", "load"]
    if "sizes" in sections:
        sizes.write()
        sections.remove("sizes")
    if not sections:
        return
    tool = engine.find()
    if "load" in sections:
        load.write(tool, options.clients, options.rounds)
        sections.remove("load")
    if not sections:
        return
    found: list[Row] = []
    for section in sections:
        for row in _SECTIONS[section](tool):
            console.print(" | ".join(row.cells))
            found.append(row)
    report = table("Benchmarks", *_COLUMNS)
    for row in found:
        report.add_row(*row.cells)
    console.print(report)
    if set(sections) == set(_SECTIONS):
        paths.write_text(paths.ROOT / "docs" / "benchmarks.md", _page(found, tool.version))


def _page(found: Sequence[Row], version: str) -> str:
    machine = f"{os.cpu_count()} processors ({platform.machine()}), Docker {version}"
    lines = [
        "# Benchmarks",
        "",
        "Written by `scripts/nox -s bench`. Timings are noisy: look at the ratios, both sides of which were measured",
        "in one run on one machine. What a server takes under load is on a page of its own: [load](load.md).",
        "",
        f"Measured on {datetime.now(UTC):%Y-%m-%d}, {machine}.",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|{'---|' * len(_COLUMNS)}",
        *(f"| {' | '.join(row.cells)} |" for row in found),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    errors.run(main)
