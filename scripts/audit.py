"""Audit the Python packages that the build system uses: known vulnerabilities, and licences.

    python -m scripts.audit [--only vulnerabilities|licences] [--service ADDRESS] [--policy FILE]

What was found is judged by scripts/audit-policy.yaml, which is a policy as that of the scan. docs/dependencies.md is
written on the way.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from license_expression import AND, OR, LicenseExpression, get_spdx_licensing

from scripts import dependencies, errors, paths
from scripts.console import console, table
from scripts.dependencies import Dependency
from scripts.errors import FindingsError, ScannerError
from scripts.scanners import policy
from scripts.scanners.findings import VULNERABILITY, Finding, Severity
from scripts.scanners.policy import Judged, Result

POLICY = paths.ROOT / "scripts" / "audit-policy.yaml"
SERVICE = "https://api.osv.dev/v1/query"  # OSV's; it has what PyPI tells, too
AREAS = ("vulnerabilities", "licences")
_LICENCE = "licence"


def vulnerabilities(requirements: str, service: str) -> list[Finding]:
    """What pip-audit finds in the text of a requirements file, for all platforms and versions of Python.

    Raises ScannerError if it cannot ask the service about every package.
    """
    with tempfile.TemporaryDirectory() as folder, console.status(f"Asking {service}"):
        audited = [
            package
            for path in _files(requirements, Path(folder))
            for package in _audited(path, service, Path(folder) / "cache")
        ]
    return [_finding(package, found) for package in audited for found in package["vulns"]]


def _audited(requirements: Path, service: str, cache: Path) -> list[dict[str, Any]]:
    """The packages of a file, as pip-audit reports them."""
    command = [
        str(Path(sys.prefix) / "bin" / "pip-audit"), "--requirement", str(requirements), "--no-deps", "--disable-pip",
        "--strict", "--vulnerability-service", "osv", "--osv-url", service, "--format", "json",
        "--progress-spinner", "off", "--cache-dir", str(cache),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError) as error:
        # Its status is 1 for findings as well. Of a traceback, these lines say what happened.
        lines = [line for line in done.stderr.splitlines() if re.match(r"\S+(Error|Exception|Timeout)\b|ERROR:", line)]
        said = "\n".join(f"  {line}" for line in lines[-2:])
        raise ScannerError(
            f"No vulnerability of a Python package is known, nor that there is none: pip-audit, which asks {service},"
            f" ended with status {done.returncode} and said:\n{said}\nName another service of OSV's kind with"
            " --service, or leave this out: --only licences"
        ) from error
    return found


def _finding(package: Mapping[str, Any], found: Mapping[str, Any]) -> Finding:
    fixed = ", ".join(found["fix_versions"])
    mended = f"mended in {fixed}" if fixed else "not mended yet"
    text = f"{package['version']}, {mended}: {found['description']}"
    return Finding(
        VULNERABILITY, found["id"], text, Severity.UNKNOWN, package["name"], package["version"], fixed,
        scanners=("pip-audit",),
    )  # fmt: skip


def _files(requirements: str, folder: Path) -> Iterator[Path]:
    """The same without markers, by which pip-audit leaves out what is not for this machine; each name once a file.

    It takes no name twice, and two versions of one are for different versions of Python.
    """
    files: list[dict[str, str]] = []
    for one in dependencies.locked(requirements):
        found = next((file for file in files if one.name not in file), None)
        if found is None:
            files.append(found := {})
        found[one.name] = f"{one.name}{one.specifier}"
    for number, file in enumerate(files):
        path = folder / f"requirements-{number}.txt"
        path.write_text("\n".join([*file.values(), ""]))
        yield path


def licences(found: Iterable[Dependency], allowed: Set[str]) -> list[Finding]:
    """Packages whose licence is not made of those that are allowed."""
    licensing = get_spdx_licensing()
    return [
        Finding.of(_LICENCE, one.name, f"{one.version} is under {one.licence or f'“{one.words}”'}")
        for one in found
        if not one.licence or not _permitted(licensing.parse(one.licence), allowed)
    ]


def _permitted(expression: LicenseExpression, allowed: Set[str]) -> bool:
    if isinstance(expression, OR):
        return any(_permitted(one, allowed) for one in expression.args)
    if isinstance(expression, AND):
        return all(_permitted(one, allowed) for one in expression.args)
    return str(expression) in allowed


def report(judged: Sequence[Judged], packages: int, areas: Sequence[str]) -> None:
    """Print what fails, what does not and why, and the numbers."""
    rows = table("Findings", "result", "check", "package", "what", "reason")
    rows.columns[3].no_wrap = rows.columns[4].no_wrap = False
    for one in sorted(judged, key=lambda one: (one.result != Result.FAILS, one.finding.check, one.finding.subject)):
        finding = one.finding
        name, what = (finding.package, f"{finding.subject}: ") if finding.package else (finding.subject, "")
        rows.add_row(one.result, finding.check, name, f"{what}{finding.message}", one.reason)
    if judged:
        console.print(rows)
    numbers = table("Audited", "for", "packages", *Result, numeric=frozenset(("packages", *Result)))
    results = [str(sum(one.result == result for one in judged)) for result in Result]
    numbers.add_row(", ".join(areas), str(packages), *results)
    console.print(numbers)


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s audit --", description="Audit the Python packages used here.")
    parser.add_argument("--only", choices=AREAS, metavar="AREA", help=" or ".join(AREAS))
    parser.add_argument(
        "--service", metavar="ADDRESS", default=SERVICE, help="who is asked, in OSV's manner (default: %(default)s)"
    )
    parser.add_argument("--policy", type=Path, metavar="FILE", default=POLICY, help="what fails")
    options = parser.parse_args(arguments)
    areas = [options.only] if options.only else AREAS
    judging = policy.load(options.policy)
    text = dependencies.REQUIREMENTS.read_text()
    found: list[Finding] = []
    if "licences" in areas:
        found += licences(dependencies.write(), judging.licences)
    if "vulnerabilities" in areas:
        found += vulnerabilities(text, options.service)
    judged = policy.judge(judging, "", found, datetime.now(UTC).date())
    report(judged, len(list(dependencies.locked(text))), areas)
    failing = sum(one.result == Result.FAILS for one in judged)
    if failing:
        raise FindingsError(f"{failing} findings that {options.policy.name} does not let pass; the table says which.")


if __name__ == "__main__":
    errors.run(main)
