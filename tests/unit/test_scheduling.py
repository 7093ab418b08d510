"""Which integration tests a variant has, and which run in the same process; nothing of them is run here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import paths
from tests.integration import scheduling


@pytest.mark.parametrize(
    ("nodeid", "scope"),
    [
        ("tests/integration/test_roster.py::test_it", "tests/integration/test_roster.py"),
        ("tests/integration/test_roster.py::test_it[some-case]", "tests/integration/test_roster.py"),
        ("tests/integration/test_messages.py::test_it[jitsi]", "tests/integration/test_messages.py[jitsi]"),
        ("tests/integration/test_messages.py::test_it[debian-arm64]", "tests/integration/test_messages.py[debian]"),
        ("tests/integration/test_modules.py::test_it[mam]", "tests/integration/test_modules.py::test_it"),
    ],
)
def test_tests_of_one_server_run_in_one_process(nodeid: str, scope: str) -> None:
    assert scheduling.scope(nodeid) == scope


@pytest.mark.parametrize(
    ("arguments", "there", "not_there"),
    [
        (["jitsi", "-k", "moderation"], "test_jitsi.py::test_moderation", "test_room_moderation.py"),
        (["hardened"], "test_hardened_tls.py::", "test_storage.py::"),
        (["dev", "debian", "--ignore", "tests/integration/test_tor.py"], "test_storage.py::", "test_hardened_tls.py::"),
    ],
)
def test_a_variant_has_the_tests_that_are_of_its_image(
    arguments: list[str], there: str, not_there: str, tmp_path: Path
) -> None:
    listing = ["--collect-only", "-q", "-n", "0"]
    reports = [f"--junitxml={tmp_path / 'report.xml'}", f"--html={tmp_path / 'report.html'}"]
    done = subprocess.run(
        [sys.executable, "-m", "nox", "-s", "integration", "--", *arguments, *listing, *reports],
        cwd=paths.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert there in done.stdout
    assert not_there not in done.stdout
    assert "tests/unit" not in done.stdout
