"""The reports of a run: all that is needed to understand a failure, and nothing about what went well."""

from __future__ import annotations

import html
import subprocess
import sys
from dataclasses import dataclass
from xml.etree import ElementTree as ET

import pytest

from scripts import paths

# A run of two tests, with the fixtures and hooks of this folder.
_CONFIGURATION = "from tests.integration.conftest import *\n"
_TESTS = """
from tests.integration import servers, streams

def opened(server):
    with streams.Stream(server.port(), server.domain) as stream:
        stream.open()

def test_that_passes(client, image):
    with servers.serving(client, image, PROSODY_DOMAIN="passes.example", PROSODY_ACCOUNTS="") as server:
        opened(server)

def test_that_fails(client, image):
    with servers.serving(client, image, PROSODY_DOMAIN="fails.example", PROSODY_ACCOUNTS="") as server:
        opened(server)
        assert server.domain == "other.example"
"""


@dataclass(frozen=True)
class Reports:
    """Texts of the two reports, and the elements of JUnit's."""

    html: str
    junit: ET.Element

    def case(self, name: str) -> str:
        """Everything that JUnit's report says about a test."""
        (found,) = (case for case in self.junit.iter("testcase") if case.get("name") == name)
        return ET.tostring(found, encoding="unicode", method="text")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, image: object) -> Reports:
    del image  # built before
    folder = tmp_path_factory.mktemp("run")
    (folder / "conftest.py").write_text(_CONFIGURATION)
    (folder / "test_two.py").write_text(_TESTS)
    written = folder / "report.html", folder / "report.xml"
    done = subprocess.run(
        [sys.executable, "-m", "pytest", folder, f"--rootdir={paths.ROOT}", "-c", paths.ROOT / "pyproject.toml",
         f"--html={written[0]}", "--self-contained-html", f"--junitxml={written[1]}"],
        cwd=paths.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1, done.stdout + done.stderr
    # The page holds escaped texts within escaped JSON.
    page = html.unescape(html.unescape(written[0].read_text()))
    return Reports(page, ET.parse(written[1]).getroot())  # noqa: S314  (made just now)


def test_a_failure_comes_with_the_log_of_its_server(reports: Reports) -> None:
    """The container is gone when the report is made: the test's own context has removed it."""
    for text in (reports.html, reports.case("test_that_fails")):
        assert "Serving 'file_share' at https://upload.fails.example" in text


def test_a_failure_comes_with_its_stanzas(reports: Reports) -> None:
    for text in (reports.html, reports.case("test_that_fails")):
        assert "SEND: " in text
        assert "to='fails.example'" in text
        assert "RECV: " in text


def test_what_passes_is_named_and_says_no_more(reports: Reports) -> None:
    assert "test_that_passes" in reports.html
    assert "passes.example" not in reports.html
    assert reports.case("test_that_passes").strip() == ""
