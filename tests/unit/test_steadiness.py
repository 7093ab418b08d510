from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.integration import steadiness
from tests.integration.steadiness import Run

RUN = Run(datetime(2026, 1, 2, 3, 4, tzinfo=UTC), tests=3000, skipped=0, failed=(), seconds=390.0)


def rows(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.startswith("| 20")]


def test_a_run_is_added_to_the_record(tmp_path: Path) -> None:
    path = tmp_path / "record.md"
    steadiness.record(RUN, path)
    steadiness.record(replace(RUN, failed=("test_roster: test_it[a|b]",)), path)
    first, second = rows(path)
    assert first.startswith("| 2026-01-02 03:04 | ")
    assert first.endswith(" | 3000 | 0 | none | 6.5 |")
    assert "test_roster: test_it[a/b]" in second


def test_the_record_keeps_the_last_ten_runs(tmp_path: Path) -> None:
    path = tmp_path / "record.md"
    for number in range(12):
        steadiness.record(replace(RUN, started=RUN.started + timedelta(hours=number)), path)
    assert len(rows(path)) == 10
    assert rows(path)[0].startswith("| 2026-01-02 05:04 | ")
