"""Signed records of checks: which images were verified, scanned or tested, and in which state of this checkout.

A record is a statement about images of one variant, in dist/records/, with its signature beside it. Only a run that has
passed, and that has left nothing out, makes one; every run removes those of before. A release asks for all of them.

Formats: in-toto Attestation Framework, Statement v1; predicate "Test Result" 0.1, with one more field.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from scripts import git, matrix, oci, paths, provenance, signing
from scripts.console import console
from scripts.errors import RecordError, SigningError, UsageError
from scripts.oci import Layout
from scripts.platforms import Platform
from scripts.signing import Key, Signer

FOLDER = paths.DIST / "records"
CHECKS = ("verify", "scan", "integration")
TYPE = "https://in-toto.io/attestation/test-result/v0.1"
_PASSED = "PASSED"
_EXTENSION = "prosodyImages"  # in-toto, "Parsing rules": a name that is unlikely to be somebody else's
_SUFFIX = ".intoto.json"
SCAN_AGE = timedelta(hours=24)  # no scan counts for longer: more becomes known of the same packages
_SHOWN = 5  # changed files in a message


@dataclass(frozen=True)
class State:
    """What is checked out: a commit, and the files that are not as they are in it."""

    commit: str
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Record:
    """That a check has passed: of which images (digests of manifests by name), in which state, and how much it was."""

    check: str
    images: Mapping[str, str]
    commit: str
    clean: bool
    finished: datetime
    counts: Mapping[str, int]


@dataclass(frozen=True)
class Run:
    """A run of a check of one variant: the state in which it has begun, and who is to sign for it."""

    check: str
    variant: str
    state: State | None
    by: Signer | None

    def passed(self, manifests: Mapping[Platform, str], **counts: int) -> Path | None:
        """Write the record that images have passed, which are named by the digests of their manifests.

        None if nobody signs it, or nobody knows of which state it is. `counts` say how much it was. Raises
        SigningError.
        """
        if self.by is None:
            self._left_out("nobody is named who signs it")
            return None
        if self.state is None or state() != self.state:
            self._left_out("this is no checkout of Git, or has changed meanwhile")
            return None
        images = {provenance.name(self.variant, platform): digest for platform, digest in manifests.items()}
        finished = datetime.now(UTC).replace(microsecond=0)
        record = Record(self.check, images, self.state.commit, not self.state.changed, finished, counts)
        tag = f".{next(iter(manifests)).tag}" if len(manifests) == 1 else ""
        path = FOLDER / f"{self.variant}.{self.check}{tag}{_SUFFIX}"
        paths.write_text(path, dump(record))
        signing.sign_file(path, self.by)
        console.print(f"{path.name}, signed by {self.by}", highlight=False, soft_wrap=True)
        return path

    def _left_out(self, reason: str) -> None:
        console.print(f"[dim]No record of this {self.check}: {reason} (docs/architecture.md).[/]", highlight=False)


def state() -> State | None:
    """The state of this checkout, None if Git does not know it."""
    try:
        commit = git.output("rev-parse", "HEAD")
        changed = git.output("status", "--porcelain", "--no-renames", "--untracked-files=normal", "-z")
    except UsageError:
        return None
    return State(commit.strip(), tuple(entry[3:] for entry in changed.split("\0") if entry))


def begin(check: str, variant: str, targets: Sequence[Platform]) -> Run:
    """Begin a run of a check: what earlier ones have recorded of one of its platforms is removed.

    Raises SigningError if there is a key that cannot sign, which is better told now than after the run.
    """
    by = signing.found()
    if isinstance(by, Key):
        signing.public_key(by)
    names = {provenance.name(variant, target) for target in targets}
    for path in _files(check, variant):
        record = load(path)
        if record is None or names & record.images.keys():
            path.unlink()
            signing.bundle_of(path).unlink(missing_ok=True)
    return Run(check, variant, state(), by)


def require(variant: str, layout: Layout, by: Signer, at: datetime) -> tuple[Path, ...]:
    """The records that vouch for a layout of a variant, at an instant, in the state of this checkout.

    Every platform has to be verified and scanned, and tested where CI has machines of it. Raises RecordError with all
    that is missing.
    """
    now = state()
    if now is None:
        raise RecordError("This is not a checkout of Git, so no record can be of its state.")
    problems = []
    if now.changed:
        shown = ", ".join(now.changed[:_SHOWN]) + (", ..." if len(now.changed) > _SHOWN else "")
        problems.append(f"The checkout is not as in its commit: {shown}\n  Commit or undo that, and check again.")
    vouching: list[Path] = []
    for check in CHECKS:
        judged = [_judged(path, check, now.commit, by, at) for path in _files(check, variant)]
        lacking: dict[str, list[Platform]] = {}
        for image in layout.images:
            if check == "integration" and image.platform.name not in matrix.RUNNERS:
                continue
            reason = _lacks(provenance.name(variant, image.platform), image.manifest, judged)
            if reason:
                lacking.setdefault(reason, []).append(image.platform)
        problems += [
            f"{check}, {', '.join(map(str, targets))}: {reason}\n  {_command(check, variant, targets, layout)}"
            for reason, targets in lacking.items()
        ]
        vouching += [one.path for one in judged if not one.problem and one.is_about(layout)]
    if problems:
        raise RecordError(
            f"There are no records by which {variant} may be released from this commit:\n" + "\n".join(problems)
        )
    return tuple(vouching)


@dataclass(frozen=True)
class _Judged:
    """A file that was looked at: the record, if it is one, and the first thing that is wrong, if anything is."""

    path: Path
    record: Record | None
    problem: str

    def is_about(self, layout: Layout) -> bool:
        """Whether it is about an image of a layout."""
        manifests = {image.manifest for image in layout.images}
        return self.record is not None and not manifests.isdisjoint(self.record.images.values())


def _judged(path: Path, check: str, commit: str, by: Signer, at: datetime) -> _Judged:
    record = load(path)
    if record is None:
        return _Judged(path, None, "is not a record")
    try:
        signing.check_file(path, by)
    except SigningError as error:
        return _Judged(path, record, f"is not accepted: {error}")
    problem = ""
    if record.check != check:
        problem = f"is of another check: {record.check}"
    elif record.commit != commit:
        problem = f"is of another commit: {record.commit}"
    elif not record.clean:
        problem = "is of a checkout that was not as in its commit"
    elif check == "scan" and at - record.finished > SCAN_AGE:
        problem = (
            f"is of {record.finished:%Y-%m-%d %H:%M} UTC, and a scan counts for {SCAN_AGE // timedelta(hours=1)} hours"
        )
    return _Judged(path, record, problem)


def _lacks(name: str, manifest: str, judged: Sequence[_Judged]) -> str:
    """Why nothing vouches for the image of this name; empty if something does."""
    reason = "there is no record"
    for one in judged:
        if one.record is not None and name not in one.record.images:
            continue
        if one.record is not None and not one.problem and one.record.images[name] == manifest:
            return ""
        reason = f"{one.path.name} {one.problem or f'is of another image than {manifest}'}"
    return reason


def _command(check: str, variant: str, targets: Sequence[Platform], layout: Layout) -> str:
    """What makes the record that is lacking."""
    command = f"scripts/nox -s {check} -- {variant}"
    if check == "integration":
        return command
    named = ["all"] if len(targets) == len(layout.images) else map(str, targets)
    return " ".join((command, *(f"--platform {name}" for name in named)))


def _files(check: str, variant: str) -> list[Path]:
    """Records of a check of a variant, or what looks like one; those of other machines are in folders of their own."""
    return sorted(FOLDER.rglob(f"{variant}.{check}*{_SUFFIX}"))


def dump(record: Record) -> str:
    """The statement that is the record."""
    checkout = {"name": "checkout", "digest": {"gitCommit": record.commit}, "annotations": {"clean": record.clean}}
    own = {
        "check": record.check,
        "finished": record.finished.strftime("%Y-%m-%dT%H:%M:%SZ"),  # RFC 3339
        "counts": dict(record.counts),
    }
    value = {
        "_type": provenance.TYPE,
        "subject": [provenance.subject(name, digest) for name, digest in record.images.items()],
        "predicateType": TYPE,
        "predicate": {"result": _PASSED, "configuration": [checkout], _EXTENSION: own},
    }
    return oci.canonical(value).decode()


def load(path: Path) -> Record | None:
    """The record in a file, None if it is something else."""
    try:
        value: Any = json.loads(path.read_text())
        predicate = value["predicate"]
        (checkout,), own = predicate["configuration"], predicate[_EXTENSION]
        if (value["_type"], value["predicateType"], predicate["result"]) != (provenance.TYPE, TYPE, _PASSED):
            return None
        return Record(
            own["check"],
            {subject["name"]: f"sha256:{subject['digest']['sha256']}" for subject in value["subject"]},
            checkout["digest"]["gitCommit"],
            checkout["annotations"]["clean"] is True,
            datetime.fromisoformat(own["finished"]),
            own["counts"],
        )
    except (ValueError, LookupError, TypeError):
        return None
