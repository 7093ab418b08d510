"""Scan images: vulnerabilities and age of their packages, and the images themselves.

    python -m scripts.scan [--platform PLATFORM|all] [--image FOLDER|REFERENCE] [--only AREA] [--tracker FILE|ADDRESS]
                           [--trivy PROGRAM|REFERENCE] [--grype PROGRAM|REFERENCE] [--policy FILE] [NAME ...]

What was found is judged by images/scan-policy.yaml. dist/scan/ then has a SARIF file for each variant, and an OpenVEX
document of what the policy ignores.
"""

from __future__ import annotations

import argparse
import collections
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts import build, dockerfile, errors, lock, oci, paths, platforms, records, registry, variants
from scripts.console import console, table
from scripts.errors import FindingsError, UsageError
from scripts.lock import Lock
from scripts.oci import Image, Layout
from scripts.platforms import Platform
from scripts.scanners import dockerfiles, freshness, image, policy, sarif, vex, vulnerabilities
from scripts.scanners.findings import Finding, Severity
from scripts.scanners.policy import Judged, Policy, Result
from scripts.variants import Variant

FOLDER = paths.DIST / "scan"
DEFAULT_AREAS = ("vulnerabilities", "freshness", "image")
AREAS = (*DEFAULT_AREAS, "dockerfile")  # the last needs an engine
_SHOWN = 60  # findings in the table


@dataclass(frozen=True)
class Scanned:
    """What was found in one platform of a variant, and the seconds that it took."""

    variant: Variant
    platform: Platform
    judged: tuple[Judged, ...]
    seconds: float


@dataclass(frozen=True)
class Order:
    """What to look for, with what: the tracker's data, and programs by name."""

    areas: frozenset[str]
    tracker: Path | None
    programs: Mapping[str, str]
    policy: Policy
    at: datetime


def scan(variant: Variant, locked: Lock, layout: Layout, targets: Sequence[Platform], order: Order) -> list[Scanned]:
    """Scan some platforms of a variant's image. Raises what the scanners raise."""
    images = {found.platform: found for found in layout.images}
    missing = [target.name for target in targets if target not in images]
    if missing:
        raise UsageError(
            f"{layout.folder} has no image for {', '.join(missing)}; it has: {', '.join(map(str, images))}."
            f" Build it with: scripts/nox -s build -- {variant.name} --platform {missing[0]}"
        )
    start = time.monotonic()
    newer: Mapping[Platform, Sequence[Finding]] = {}
    if "freshness" in order.areas:
        newer = freshness.scan(variant, locked, targets, order.at)
    shared = (time.monotonic() - start) / len(targets)
    scanned = []
    for target in targets:
        start = time.monotonic()
        with console.status(f"Scanning {variant.name} for {target}"):
            found = [*newer.get(target, ()), *_found(variant, locked, layout, images[target], order)]
        judged = policy.judge(order.policy, variant.name, found, order.at.date())
        scanned.append(Scanned(variant, target, tuple(judged), shared + time.monotonic() - start))
    return scanned


def _found(variant: Variant, locked: Lock, layout: Layout, found: Image, order: Order) -> list[Finding]:
    packages = locked.platforms[found.platform.name]
    findings: list[Finding] = []
    if "vulnerabilities" in order.areas:
        reports = []
        if order.tracker is not None:
            reports += vulnerabilities.tracker(packages, variant.suites[0].suite, order.tracker)
        if order.programs:
            paths.SCRATCH.mkdir(exist_ok=True)
            with tempfile.TemporaryDirectory(prefix="scan-", dir=paths.SCRATCH) as folder:
                alone = oci.single(layout, found, Path(folder) / "image")
                for name, place in order.programs.items():
                    reports += vulnerabilities.program(name, place, alone)
        findings += vulnerabilities.merged(reports, packages)
    if "dockerfile" in order.areas:
        findings += dockerfiles.scan(dockerfile.path_of(variant.name))
    if "image" in order.areas:
        locked.fetch([found.platform], label=f"packages of {variant.name}")
        findings += image.scan(image.Subject(variant, locked, layout, found))
    return findings


def write(name: str, layout: Layout, scanned: Sequence[Scanned]) -> None:
    """Write SARIF and OpenVEX of a variant, in place of those of before."""
    log = sarif.document(name, {found.platform.name: found.judged for found in scanned})
    paths.write_text(FOLDER / f"{name}.sarif", f"{json.dumps(log, indent=1, sort_keys=True)}\n")
    statements = vex.document(name, layout.index, [judged for found in scanned for judged in found.judged])
    target = FOLDER / f"{name}.openvex.json"
    if statements is None:
        target.unlink(missing_ok=True)
    else:
        paths.write_text(target, f"{json.dumps(statements, indent=1, sort_keys=True)}\n")


def report(scanned: Sequence[Scanned]) -> None:
    """Print what fails, one by one; what does not, by check and reason; and the numbers."""
    failing: dict[Finding, list[str]] = {}
    others: dict[tuple[Result, str, str], int] = collections.Counter()
    for found in scanned:
        for judged in found.judged:
            if judged.result == Result.FAILS:
                failing.setdefault(judged.finding, []).append(f"{found.variant.name} {found.platform.tag}")
            else:
                others[judged.result, judged.finding.check, judged.reason] += 1
    if failing:
        rows = table("Findings that fail", "severity", "check", "subject", "what", "by", "images")
        rows.columns[3].no_wrap = False
        ordered = sorted(failing.items(), key=lambda pair: list(Severity).index(pair[0].severity))
        for finding, images in ordered[:_SHOWN]:
            shown = images[0] if len(images) == 1 else f"{images[0]} and {len(images) - 1} more"
            rows.add_row(finding.severity, finding.check, finding.subject, finding.message,
                         ", ".join(finding.scanners), shown)  # fmt: skip
        if len(failing) > _SHOWN:
            rows.caption = f"... and {len(failing) - _SHOWN} more, in {FOLDER.relative_to(paths.ROOT)}"
        console.print(rows)
    if others:
        rows = table(
            "Findings that do not fail", "check", "findings", "result", "reason", numeric=frozenset({"findings"})
        )
        for (result, check, reason), count in sorted(others.items(), key=lambda pair: pair[0][1:]):
            rows.add_row(check, str(count), result, reason)
        console.print(rows)
    numbers = table(
        "Scanned", "variant", "platform", *Severity, *Result, "seconds",
        numeric=frozenset((*Severity, *Result, "seconds")),
    )  # fmt: skip
    for found in scanned:
        severities = collections.Counter(judged.finding.severity for judged in found.judged)
        results = collections.Counter(judged.result for judged in found.judged)
        numbers.add_row(
            found.variant.name, found.platform.name, *(str(severities[severity]) for severity in Severity),
            *(str(results[result]) for result in Result), f"{found.seconds:.1f}",
        )  # fmt: skip
    console.print(numbers)


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s scan --", description="Scan images and their packages.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant (default: all that are locked)")
    parser.add_argument(
        "--platform", action="append", metavar="PLATFORM", help='such as linux/arm64; may be repeated; "all" for all'
    )
    parser.add_argument(
        "--image", metavar="FOLDER|REFERENCE", help="an OCI layout, or an image of a registry (default: dist/NAME)"
    )
    parser.add_argument(
        "--only", action="append", choices=AREAS, metavar="AREA", help=f"{', '.join(AREAS)} (default: all but the last)"
    )
    parser.add_argument(
        "--tracker", metavar="FILE|ADDRESS", default=vulnerabilities.TRACKER,
        help="data of Debian's security tracker (default: %(default)s)",
    )  # fmt: skip
    for name in vulnerabilities.PROGRAMS:
        parser.add_argument(
            f"--{name}", metavar="PROGRAM|REFERENCE", help="where it is (default: on this machine, if it is there)"
        )
    parser.add_argument("--policy", type=Path, metavar="FILE", default=policy.DEFAULT, help="what fails")
    options = parser.parse_args(arguments)
    names = options.names or lock.chosen_by_default(paths.VARIANTS)
    if options.image and len(names) != 1:
        raise UsageError("--image is one image: name the variant that it is of.")
    order = _order(options)
    whole = order.areas.issuperset(DEFAULT_AREAS) and options.policy.resolve() == policy.DEFAULT
    if _is_old(options.tracker):
        whole = False
        console.print(f"[yellow]warning:[/] {options.tracker} is too old for a record of this scan.", highlight=False)
    scanned: list[Scanned] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            variant = variants.load(name)
            locked = lock.load(variant, lock.path_of(name))
            layout = _layout(name, options.image, Path(scratch) / name)
            targets = build.chosen_platforms(variant, options.platform or [platforms.native().name])
            run = records.begin("scan", name, targets)
            found = scan(variant, locked, layout, targets, order)
            write(name, layout, found)
            scanned += found
            if whole and not _failing(found):
                manifests = {image.platform: image.manifest for image in layout.images if image.platform in targets}
                run.passed(manifests, findings=sum(len(one.judged) for one in found))
    report(scanned)
    failing = _failing(scanned)
    if failing:
        shown = policy.DEFAULT if options.policy == policy.DEFAULT else options.policy
        raise FindingsError(
            f"{failing} findings that {_relative(shown)} does not let pass; the table says which."
            f" All are in {_relative(FOLDER)}."
        )


def _is_old(tracker: str) -> bool:
    """Whether a file with the tracker's data is older than a scan that counts may be."""
    path = Path(tracker)
    return path.is_file() and time.time() - path.stat().st_mtime > records.SCAN_AGE.total_seconds()


def _failing(scanned: Sequence[Scanned]) -> int:
    """How many findings fail."""
    return sum(judged.result == Result.FAILS for found in scanned for judged in found.judged)


def _order(options: argparse.Namespace) -> Order:
    """What the command line asks for, with the data and the programs for it."""
    areas = frozenset(options.only or DEFAULT_AREAS)
    judging = policy.load(options.policy)
    tracked = vulnerabilities.database(options.tracker) if "vulnerabilities" in areas else None
    chosen = {name: getattr(options, name) for name in vulnerabilities.PROGRAMS}
    programs = vulnerabilities.available(chosen) if "vulnerabilities" in areas else {}
    if "vulnerabilities" in areas:
        console.print(f"Vulnerabilities by: {', '.join(['debsbom', *programs])}", highlight=False)
    return Order(areas, tracked, programs, judging, datetime.now(UTC))


def _layout(name: str, place: str | None, scratch: Path) -> Layout:
    """The image to scan: what was built last, or what is named."""
    if place is None:
        folder = paths.DIST / name
        if not (folder / "index.json").is_file():
            raise UsageError(f"{name} is not built. Build it with: scripts/nox -s build -- {name}")
        return oci.load(folder)
    if Path(place).is_dir():
        return oci.load(Path(place))
    return registry.pull_image(place, scratch)


def _relative(path: Path) -> Path:
    return path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path


if __name__ == "__main__":
    errors.run(main)
