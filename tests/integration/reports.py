"""What the reports of a run say about a test that failed: what every container printed, and every stanza."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from tests.integration import containers

# Who tells, at level DEBUG, what is sent and received.
TRAFFIC = ("slixmpp.xmlstream.xmlstream", "tests.integration.streams", "tests.integration.web")


def record_traffic() -> None:
    """Have pytest's log of each test contain its stanzas; it is shown only if the test fails."""
    for name in TRAFFIC:
        logging.getLogger(name).setLevel(logging.DEBUG)


def add_logs(report: pytest.TestReport) -> None:
    """Add the logs of all containers to the report of a failure, in a section that also goes into JUnit's report."""
    if report.failed:
        report.sections += [(f"Captured log of {name} ({report.when})", log) for name, log in containers.logs()]


def forget_logs(report: pytest.TestReport, data: list[Any]) -> None:
    """Leave what a test printed out of the HTML report, unless it failed."""
    if not report.failed:
        data.clear()
