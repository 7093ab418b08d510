"""Judged findings -> SARIF 2.1.0 (OASIS), which code hosts show beside the files that a finding comes from.

One run for each platform, told apart by `automationDetails` (3.17). What an image has no file in the repository for is
shown at the line of its lock or of its list of files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from scripts import contents, dockerfile, lock, paths
from scripts.scanners.findings import CHECKS, VULNERABILITY, Finding
from scripts.scanners.policy import Judged, Result

_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
_LEVELS = {Result.FAILS: "error", Result.NOTE: "note", Result.IGNORED: "note"}


def document(variant: str, judged: Mapping[str, Sequence[Judged]]) -> dict[str, Any]:
    """The log of a variant's scan, by the name of the platform. The same findings give the same log."""
    lines = {
        path: path.read_text().splitlines() for path in (lock.path_of(variant), contents.path_of(variant))
        if path.is_file()
    }  # fmt: skip
    runs = []
    for platform, found in judged.items():
        results = [_result(variant, one, lines) for one in found]
        rules = sorted({one.finding.check for one in found})
        runs.append(
            {
                "tool": {"driver": {"name": "prosody-images scan", "rules": [
                    {"id": name, "shortDescription": {"text": CHECKS[name].description}} for name in rules
                ]}},
                "automationDetails": {"id": f"{variant}/{platform}/"},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }
        )  # fmt: skip
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": runs}


def _result(variant: str, judged: Judged, lines: Mapping[Any, Sequence[str]]) -> dict[str, Any]:
    finding = judged.finding
    result: dict[str, Any] = {
        "ruleId": finding.check,
        "level": _LEVELS[judged.result],
        "message": {"text": f"{finding.subject}: {finding.message}"},
        "locations": [_location(variant, finding, lines)],
        "partialFingerprints": {"finding/v1": _fingerprint(variant, finding)},
        "properties": {"severity": str(finding.severity), "scanners": list(finding.scanners)},
    }
    if judged.result == Result.IGNORED:
        result["suppressions"] = [{"kind": "external", "justification": judged.reason}]
    return result


def _location(variant: str, finding: Finding, lines: Mapping[Any, Sequence[str]]) -> dict[str, Any]:
    path = contents.path_of(variant) if finding.layer else lock.path_of(variant)
    if finding.check == "dockerfile":
        path = dockerfile.path_of(variant)
    wanted = f"{finding.layer}\t{finding.subject}\t" if finding.layer else f'"source": "{finding.package}"'
    region = next((number for number, line in enumerate(lines.get(path, ()), 1) if wanted in line), 1)
    name = finding.subject if finding.check != VULNERABILITY else finding.package
    return {
        "physicalLocation": {
            "artifactLocation": {"uri": path.relative_to(paths.ROOT).as_posix()},
            "region": {"startLine": region},
        },
        "logicalLocations": [{"fullyQualifiedName": f"{variant}/{name}"}],
    }


def _fingerprint(variant: str, finding: Finding) -> str:
    """What stays the same from one scan to the next, so that a finding is the same one (3.27.17)."""
    said = "\0".join((variant, finding.check, finding.subject, finding.package, finding.layer))
    return hashlib.sha256(said.encode()).hexdigest()[:16]
