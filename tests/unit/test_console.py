from __future__ import annotations

import subprocess
import sys

import pytest

from scripts import console, paths


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0.00 MiB"), (1048576, "1.00 MiB"), (27_262_976, "26.00 MiB"), (5243, "0.01 MiB")]
)
def test_sizes(size: int, text: str) -> None:
    assert console.mebibytes(size) == text


def test_tables_keep_a_digest_on_one_line_where_there_is_no_terminal() -> None:
    script = (
        "from scripts.console import console, table\n"
        "rows = table('A title', 'platform', 'size', 'digest', numeric=frozenset({'size'}))\n"
        "rows.add_row('linux/arm/v7', '26.00 MiB', 'sha256:' + 'f' * 64)\nconsole.print(rows)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=paths.ROOT, capture_output=True, text=True, check=True)
    assert "sha256:" + "f" * 64 in done.stderr
    assert done.stdout == "", "all that people read goes to standard error"
