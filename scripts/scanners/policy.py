"""images/scan-policy.yaml -> which findings fail, which are notes, and which somebody has answered for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from scripts import documents, paths, variants
from scripts.documents import Document, Pointer, Problem
from scripts.errors import CatalogueError
from scripts.scanners.findings import EXPIRED, VULNERABILITY, Finding

DEFAULT = paths.IMAGES / "scan-policy.yaml"
_SCHEMA = paths.SCHEMA / "scan-policy.schema.json"


@dataclass(frozen=True)
class Ignored:
    """A judgement of one vulnerability of one source package; `place` is where the policy has it."""

    vulnerability: str
    package: str
    variants: frozenset[str] | None
    status: str
    justification: str
    reason: str
    decided: date
    until: date
    place: str


@dataclass(frozen=True)
class Accepted:
    """Findings of one check that are meant to be so."""

    check: str
    subjects: tuple[str, ...]
    variants: frozenset[str] | None
    reason: str


@dataclass(frozen=True)
class Policy:
    """What fails, and what does not, with the reason.

    Severities of vulnerabilities that fail; reasons of checks that do not; findings that are meant to be so; judgements
    of single vulnerabilities; and licences that Python packages may have.
    """

    with_fix: frozenset[str]
    without_fix: frozenset[str]
    notes: dict[str, str]
    accepted: tuple[Accepted, ...]
    ignored: tuple[Ignored, ...]
    licences: frozenset[str]


class Result(StrEnum):
    """What becomes of a finding."""

    FAILS = "fails"
    NOTE = "note"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Judged:
    """A finding, what becomes of it, and why if it does not fail."""

    finding: Finding
    result: Result
    reason: str = ""
    ignored: Ignored | None = None


def load(path: Path = DEFAULT) -> Policy:
    """Read and check a policy. Raises CatalogueError with every problem of the file."""
    document, problems = documents.read(path)
    problems = problems or documents.validate(document, _SCHEMA) or list(_problems(document))
    if problems:
        lines = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise CatalogueError(f"{len(problems)} problem{'s'[: len(problems) > 1]} in the policy of the scan:\n{lines}")
    value = document.value
    return Policy(
        with_fix=frozenset(value["vulnerabilities"]["with-fix"]),
        without_fix=frozenset(value["vulnerabilities"]["without-fix"]),
        notes=value.get("notes", {}),
        accepted=tuple(
            Accepted(found["check"], tuple(found["subjects"]), _variants(found), found["reason"])
            for found in value.get("accept", [])
        ),
        ignored=tuple(
            Ignored(
                found["vulnerability"], found["package"], _variants(found), found["status"],
                found.get("justification", ""), found["reason"], date.fromisoformat(found["decided"]),
                date.fromisoformat(found["until"]), str(document.position("ignore", index)),
            )
            for index, found in enumerate(value.get("ignore", []))
        ),
        licences=frozenset(value.get("licences", [])),
    )  # fmt: skip


def _variants(value: dict[str, Any]) -> frozenset[str] | None:
    return frozenset(value["variants"]) if "variants" in value else None


def _problems(document: Document) -> Iterator[Problem]:
    """What no schema can say."""
    known = variants.names()
    for part in ("accept", "ignore"):
        for index, found in enumerate(document.value.get(part, [])):
            for place, name in enumerate(found.get("variants", [])):
                if name not in known:
                    text = (
                        f"there is no variant {name!r}; there are: {', '.join(known)}{documents.nearest(name, known)}"
                    )
                    yield document.problem((part, index, "variants", place), text)
    for index, found in enumerate(document.value.get("ignore", [])):
        pointer: Pointer = ("ignore", index)
        days = {}
        for key in ("decided", "until"):
            try:
                days[key] = date.fromisoformat(found[key])
            except ValueError as error:
                yield document.problem((*pointer, key), f"{found[key]!r} is no day: {error}")
        if len(days) == 2 and days["until"] < days["decided"]:
            yield document.problem((*pointer, "until"), "is before the day on which that was decided")
        if (found["status"] == "not_affected") != ("justification" in found):
            yield document.problem(pointer, "`justification` goes with the status not_affected, and only with that")


def judge(policy: Policy, variant: str, findings: Iterable[Finding], today: date) -> list[Judged]:
    """What becomes of the findings of a variant. A judgement that has expired is a finding itself."""
    current = [ignored for ignored in policy.ignored if ignored.variants is None or variant in ignored.variants]
    found = [_judged(policy, variant, finding, current, today) for finding in findings]
    for ignored in current:
        if ignored.until < today:
            text = (
                f"{ignored.place} ignored it in {ignored.package} until {ignored.until}: judge it again, or drop that"
            )
            found.append(Judged(Finding.of(EXPIRED, ignored.vulnerability, text), Result.FAILS))
    return found


def _judged(policy: Policy, variant: str, finding: Finding, ignored: list[Ignored], today: date) -> Judged:
    if finding.check == VULNERABILITY:
        for found in ignored:
            if (found.vulnerability, found.package) == (finding.subject, finding.package) and today <= found.until:
                return Judged(finding, Result.IGNORED, f"{found.reason} (until {found.until})", found)
        failing = policy.with_fix if finding.fixed else policy.without_fix
        if finding.severity in failing:
            return Judged(finding, Result.FAILS)
        fix = "with" if finding.fixed else "without"
        return Judged(finding, Result.NOTE, f"{finding.severity}, {fix} a fix")
    for accepted in policy.accepted:
        here = accepted.variants is None or variant in accepted.variants
        meant = any(fnmatchcase(finding.subject, pattern) for pattern in accepted.subjects)
        if here and meant and accepted.check == finding.check:
            return Judged(finding, Result.IGNORED, accepted.reason)
    if finding.check in policy.notes:
        return Judged(finding, Result.NOTE, policy.notes[finding.check])
    return Judged(finding, Result.FAILS)
