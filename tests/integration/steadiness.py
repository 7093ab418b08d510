"""Run the integration tests again and again, and keep the record of the last ten runs in docs/steadiness.md.

    python -m tests.integration.steadiness [RUNS]

A test that fails in one of them is not steady, whatever the reason: the run's reports are kept for looking at.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from scripts import errors, paths
from scripts.console import console, table
from scripts.errors import UserError

_RECORD = paths.ROOT / "docs" / "steadiness.md"
_REPORTS = paths.DIST / "test-artifacts"
_KEPT = 10  # runs in the record
_COLUMNS = ("started", "commit", "processors", "tests", "skipped", "failed", "minutes")
_HEAD = f"""# Steadiness

Written by `scripts/nox -s steadiness`: the last {_KEPT} runs of all integration tests, one after another. The
minutes are those of the whole run, with the building of images that are not in the cache.

| {" | ".join(_COLUMNS)} |
|{"---|" * len(_COLUMNS)}
"""


class UnsteadyError(UserError):
    """A test failed, or a run came to no end."""


@dataclass(frozen=True)
class Run:
    """One run of all tests."""

    started: datetime
    tests: int
    skipped: int
    failed: tuple[str, ...]
    seconds: float

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of the record."""
        return (
            f"{self.started:%Y-%m-%d %H:%M}", _commit(), f"{os.cpu_count()} ({platform.machine()})", str(self.tests),
            str(self.skipped), ", ".join(self.failed) or "none", f"{self.seconds / 60:.1f}",
        )  # fmt: skip


def _commit() -> str:
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=paths.ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def run() -> Run:
    """Run all tests; raises UnsteadyError if that gives no report."""
    started = datetime.now(UTC)
    report = _REPORTS / "integration.xml"
    report.unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "nox", "-s", "integration"], cwd=paths.ROOT, check=False)
    seconds = (datetime.now(UTC) - started).total_seconds()
    if not report.is_file():
        raise UnsteadyError("The run ended without a report; what it printed says why.")
    cases = list(ET.parse(report).getroot().iter("testcase"))  # noqa: S314  (made just now)
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [case for case in cases if case.find("skipped") is not None]
    names = dict.fromkeys(f"{case.get('classname', '').rpartition('.')[2]}: {case.get('name')}" for case in failed)
    if failed:
        kept = _REPORTS / f"failed-{started:%Y%m%dT%H%M%S}"
        kept.mkdir()
        for path in _REPORTS.glob("integration.*"):
            shutil.copy(path, kept)
        console.print(f"Reports kept in {kept.relative_to(paths.ROOT)}")
    return Run(started, len(cases), len(skipped), tuple(names), seconds)


def record(found: Run, path: Path = _RECORD) -> None:
    """Add a run to the record, which keeps the last ones."""
    text = path.read_text() if path.is_file() else _HEAD
    rows = [line for line in text.splitlines() if line.startswith("| 2")]
    rows = [*rows, f"| {' | '.join(cell.replace('|', '/') for cell in found.cells)} |"][-_KEPT:]
    paths.write_text(path, _HEAD + "\n".join(rows) + "\n")


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s steadiness --", description="Run the integration tests repeatedly.")
    parser.add_argument("runs", nargs="?", type=int, default=_KEPT, help=f"how often (default: {_KEPT})")
    options = parser.parse_args(arguments)
    runs = []
    for number in range(1, options.runs + 1):
        console.rule(f"Run {number} of {options.runs}")
        runs.append(run())
        record(runs[-1])
    report = table("Runs of all integration tests", *_COLUMNS)
    for found in runs:
        report.add_row(*found.cells)
    console.print(report)
    unsteady = sorted({name for found in runs for name in found.failed})
    if unsteady:
        raise UnsteadyError("Not steady:\n" + "\n".join(f"  {name}" for name in unsteady))


if __name__ == "__main__":
    errors.run(main)
