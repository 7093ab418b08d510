"""The audit of Python packages by pip-audit, which asks a server on the loopback; licences of made-up packages."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import pytest

from scripts import audit, dependencies, paths
from scripts.dependencies import Dependency
from scripts.errors import FindingsError, ScannerError, StaleError
from scripts.scanners import policy
from scripts.scanners.findings import Finding
from tests.unit import web
from tests.unit.conftest import REFUSING, Checkout

PLACE = "/v1/query"
CONDEMNED = "PYSEC-2026-1"
HASH = f"--hash=sha256:{'ab' * 32}"
REQUIREMENTS = f"""\
# with hashes
tool==1.0 \\
    {HASH} \\
    {HASH}
library==2.0 ; python_full_version < '3.12' \\
    {HASH}
library==3.0 ; python_full_version >= '3.12' \\
    {HASH}
"""


def advisory(name: str, fixed: str = "") -> dict[str, object]:
    """What OSV says of one vulnerability (its schema, 1.7)."""
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    affected = {"package": {"name": name, "ecosystem": "PyPI"}, "ranges": [{"type": "ECOSYSTEM", "events": events}]}
    return {"id": CONDEMNED, "aliases": ["CVE-2026-11111"], "summary": "a fault", "affected": [affected]}


def answering(told: Mapping[tuple[str, str], dict[str, object]]) -> web.Answer:
    """OSV as it answers queries for one version of one package."""

    def behave(handler: web.Handler) -> None:
        query = json.loads(handler.server.posted[-1])
        found = told.get((query["package"]["name"], query["version"]))
        handler.give(200, json.dumps({"vulns": [found]} if found else {}).encode())

    return behave


@pytest.fixture
def service() -> Iterator[web.Web]:
    with web.serving() as server:
        server.behaviours[PLACE] = answering({("library", "3.0"): advisory("library", "3.1")})
        yield server


# Vulnerabilities


def test_pip_audit_condemns_one_version_of_one_package(service: web.Web) -> None:
    """It is asked about every version, also of those for other versions of Python than this one."""
    (found,) = audit.vulnerabilities(REQUIREMENTS, f"{service.url}{PLACE}")
    assert (found.subject, found.package, found.version, found.fixed) == (CONDEMNED, "library", "3.0", "3.1")
    assert found.message == "3.0, mended in 3.1: a fault"
    asked = {(query["package"]["name"], query["version"]) for query in map(json.loads, service.posted)}
    assert asked == {("tool", "1.0"), ("library", "2.0"), ("library", "3.0")}


def test_where_nothing_is_known_nothing_is_found(service: web.Web) -> None:
    service.behaviours[PLACE] = answering({})
    assert audit.vulnerabilities(REQUIREMENTS, f"{service.url}{PLACE}") == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (web.missing, "404"),
        (web.status(503), "503"),
        (web.content(b"<html>"), "JSONDecodeError"),
        (web.in_turn(web.content(b"{}"), web.status(429)), "429"),
        (web.not_http, "220 mail.example"),
    ],
    ids=["not there", "away", "something else", "away in the middle", "not HTTP"],
)
def test_an_answer_that_is_none_is_not_taken_for_no_vulnerability(
    service: web.Web, answer: web.Answer, expected: str
) -> None:
    service.behaviours[PLACE] = answer
    with pytest.raises(ScannerError) as raised:
        audit.vulnerabilities(REQUIREMENTS, f"{service.url}{PLACE}")
    assert "No vulnerability of a Python package is known, nor that there is none" in str(raised.value)
    assert expected in str(raised.value)


def test_what_is_not_pinned_is_refused(service: web.Web) -> None:
    with pytest.raises(ScannerError, match="not pinned"):
        audit.vulnerabilities("tool>=1\n", f"{service.url}{PLACE}")


IGNORE = f"""\
ignore:
  - vulnerability: {CONDEMNED}
    package: library
    status: affected
    reason: the function is never called with text of others
    decided: 2026-11-01
    until: 2999-01-01
"""


@pytest.mark.parametrize(
    ("ignored", "passes"),
    [
        ("", False),
        (IGNORE, True),
        (IGNORE.replace("2999-01-01", "2026-11-02"), False),
        (IGNORE.replace("library", "tool"), False),
    ],
    ids=["judged by nobody", "ignored", "ignored until then", "of another package"],
)
def test_the_command_ends_as_the_policy_says(
    service: web.Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ignored: str, passes: bool
) -> None:
    monkeypatch.setattr(dependencies, "REQUIREMENTS", tmp_path / "requirements.txt")
    dependencies.REQUIREMENTS.write_text(f"library==3.0 {HASH}\n")
    judging = tmp_path / "policy.yaml"
    judging.write_text(audit.POLICY.read_text() + ignored)
    arguments = ["--only", "vulnerabilities", "--service", f"{service.url}{PLACE}", "--policy", str(judging)]
    with contextlib.nullcontext() if passes else pytest.raises(FindingsError, match=r"policy\.yaml does not let pass"):
        audit.main(arguments)


def test_a_service_that_cannot_be_reached_is_an_error_of_its_own(checkout: Checkout) -> None:
    (checkout.root / "requirements.txt").write_text(REQUIREMENTS)
    done = checkout.run("audit", "--only", "vulnerabilities", "--service", f"{REFUSING}{PLACE}")
    assert done.returncode == ScannerError.exit_status
    assert "Connection refused" in done.stderr
    assert "--only licences" in done.stderr
    assert "Traceback" not in done.stderr


# Licences


def put(folder: Path, *fields: str, name: str = "tool") -> Path:
    """A package whose metadata have these fields besides."""
    target = folder / f"{name}-1.0.dist-info"
    target.mkdir(parents=True)
    lines = ["Metadata-Version: 2.4", f"Name: {name}", "Version: 1.0", *fields]
    (target / "METADATA").write_text("\n".join([*lines, "", "A tool.", ""]))
    return folder


@pytest.mark.parametrize(
    ("fields", "licence", "words"),
    [
        (["License-Expression: MIT OR Apache-2.0"], "MIT OR Apache-2.0", ""),
        (["License-Expression: MIT", "License: BSD", "Classifier: License :: OSI Approved :: BSD License"], "MIT", ""),
        (["License: MIT"], "MIT", ""),
        (["License: MIT license"], "MIT", ""),
        (["License: BSD-3-Clause AND MIT"], "BSD-3-Clause AND MIT", ""),
        (["License: UNKNOWN", "Classifier: License :: OSI Approved :: ISC License (ISCL)"], "ISC", ""),
        (["Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)"], "MPL-2.0", ""),
        (["Classifier: License :: OSI Approved :: BSD License"], "", "BSD License"),
        (["License: BSD", "Classifier: Topic :: Software Development"], "", "BSD"),
        (["License: Mine", "Classifier: License :: OSI Approved :: MIT License"], "MIT", ""),
        (
            [
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: BSD License",
            ],
            "", "MIT License / BSD License",
        ),
        (["License: Licence of the tool\n        which goes on"], "", "Licence of the tool"),
        ([], "", ""),
    ],
)  # fmt: skip
def test_a_licence_is_what_the_metadata_state(tmp_path: Path, fields: list[str], licence: str, words: str) -> None:
    """Nothing is guessed where words mean several licences."""
    assert list(dependencies.installed([str(put(tmp_path, *fields))])) == [Dependency("tool", "1.0", licence, words)]


@pytest.mark.parametrize(
    ("expression", "passes"),
    [
        ("MIT", True), ("GPL-3.0-only", False), ("GPL-3.0-only OR MIT", True), ("GPL-3.0-only AND MIT", False),
        ("ISC AND (MIT OR GPL-3.0-only)", True), ("ISC OR (MIT AND GPL-3.0-only)", True), ("mit", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False), ("", False),
    ],
)  # fmt: skip
def test_an_expression_passes_if_it_can_be_fulfilled(expression: str, passes: bool) -> None:
    found = audit.licences([Dependency("tool", "1.0", expression, "")], {"MIT", "ISC"})
    assert found == ([] if passes else [Finding.of("licence", "tool", f"1.0 is under {expression or '“”'}")])


def test_all_that_is_installed_here_passes_the_policy() -> None:
    found = audit.licences(dependencies.installed(sys.path), policy.load(audit.POLICY).licences)
    judged = policy.judge(policy.load(audit.POLICY), "", found, date(2026, 11, 26))
    assert {one.finding.subject for one in judged if one.result == policy.Result.FAILS} == set()
    assert {"jinja2", "yamllint"} <= {one.finding.subject for one in judged}


def test_the_policy_accepts_only_what_is_locked() -> None:
    names = {one.name for one in dependencies.locked(dependencies.REQUIREMENTS.read_text())}
    for accepted in policy.load(audit.POLICY).accepted:
        assert set(accepted.subjects) <= names


# The page


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The page of the made-up requirements, of which tool 1.0 is installed."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(dependencies, "REQUIREMENTS", tmp_path / "requirements.txt")
    monkeypatch.setattr(dependencies, "PAGE", tmp_path / "dependencies.md")
    windows = f"other==1.0 ; sys_platform == 'win32' \\\n    {HASH}\n"
    dependencies.REQUIREMENTS.write_text(REQUIREMENTS + windows)
    monkeypatch.setattr(sys, "path", [str(put(tmp_path / "installed", "License: MIT"))])
    put(tmp_path / "installed", "License: MIT", name="unrelated")
    versions = [("tool", "1.0", "MIT"), ("library", "2.0", "BSD"), ("library", "3.0", "ISC")]
    dependencies.PAGE.write_text(dependencies.page(Dependency(*one, "") for one in versions))
    return dependencies.PAGE


def test_a_page_of_what_is_locked_is_up_to_date(page: Path) -> None:
    """Whichever of two versions this Python has."""
    dependencies.check()
    assert "| library | 2.0 | BSD |\n| library | 3.0 | ISC |\n| tool | 1.0 | MIT |\n" in page.read_text()


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("| library | 3.0 | ISC |\n", "", "library"),
        ("| tool | 1.0 |", "| tool | 1.1 |", "tool"),
        ("| tool | 1.0 | MIT |", "| tool | 1.0 | ISC |", "tool"),
        ("| tool |", "| another | 1.0 | MIT |\n| tool |", "another"),
    ],
)
def test_a_page_of_something_else_is_stale(page: Path, old: str, new: str, expected: str) -> None:
    text = page.read_text()
    assert old in text
    page.write_text(text.replace(old, new))
    with pytest.raises(StaleError, match=rf"is not what is locked: {expected}\. Write it again with:"):
        dependencies.check()


def test_a_page_that_is_missing_is_stale(page: Path) -> None:
    page.unlink()
    with pytest.raises(StaleError, match="library, tool"):
        dependencies.check()
