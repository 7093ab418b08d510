"""One terminal for all progress, messages and tables; everything here goes to standard error."""

from __future__ import annotations

import os

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

# Logs of CI systems are not 80 columns wide; digests must stay on one line there.
console = Console(stderr=True, width=None if os.isatty(2) else 160)


def transfer_progress() -> Progress:
    """Bar for downloads: bytes done, rate, time left."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def step_progress() -> Progress:
    """Bar for counted steps: done of total, time taken."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:.0f}/{task.total:.0f}"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )


def table(title: str, *columns: str, numeric: frozenset[str] = frozenset()) -> Table:
    """Empty table whose `numeric` columns are right-aligned and whose cells never wrap."""
    result = Table(title=title, title_justify="left")
    for column in columns:
        result.add_column(column, justify="right" if column in numeric else "left", no_wrap=True)
    return result


def mebibytes(size: int) -> str:
    """Bytes as MiB with two decimals, the unit of every table."""
    return f"{size / 1048576:.2f} MiB"
