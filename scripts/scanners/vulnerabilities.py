"""What scanners know of locked packages: debsbom with the data of Debian's security tracker, Trivy, Grype.

Each says it in its own way; here it becomes one finding for each vulnerability of each source package.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from packageurl import PackageURL

from scripts import engine, paths, registry
from scripts.errors import FetchError, ScannerError
from scripts.lock import LockedPackage
from scripts.scanners.findings import VULNERABILITY, Finding, Severity, worst

TRACKER = "https://security-tracker.debian.org/tracker/data/json"
_LIMIT = 512 << 20  # bytes; the tracker's data has some 70 MB
# The tracker has no data of backports, which are packages of testing, built again: sid's tell what is mended there.
_BACKPORT, _UNSTABLE = "~bpo", "sid"
# Urgencies of the tracker (https://security-team.debian.org/security_tracker.html) and Grype's words.
_SEVERITIES = {
    "unimportant": Severity.NEGLIGIBLE,
    "end-of-life": Severity.HIGH,  # nobody will mend it
    "not-yet-assigned": Severity.UNKNOWN,
}
_ARGUMENTS = {
    "trivy": ("image", "--input", "{image}", "--format", "json", "--scanners", "vuln", "--quiet"),
    "grype": ("oci-dir:{image}", "--output", "json", "--quiet"),
}
PROGRAMS = tuple(_ARGUMENTS)
_MOUNTED = "/image"
_CACHES = {"trivy": "TRIVY_CACHE_DIR", "grype": "GRYPE_DB_CACHE_DIR"}


@dataclass(frozen=True)
class Report:
    """What one scanner says: a vulnerability of a package, source or binary; `fixed` is empty if nothing mends it."""

    scanner: str
    vulnerability: str
    package: str
    severity: Severity
    fixed: str
    title: str


def database(place: str) -> Path:
    """The file of the tracker's data, from a path or an address. Raises FetchError or ScannerError."""
    if "://" not in place:
        if not Path(place).is_file():
            raise ScannerError(f"{place} is not a file. --tracker wants the tracker's data, or the address of it.")
        return Path(place)
    target = paths.user_cache() / "tracker" / "data.json"
    try:
        with (
            httpx.stream("GET", place, follow_redirects=True, timeout=httpx.Timeout(30.0)) as response,
            paths.replacing(target) as temporary,
            temporary.open("wb") as file,
        ):
            response.raise_for_status()
            for chunk in response.iter_bytes():
                if file.tell() > _LIMIT:
                    raise FetchError(f"{place} has more than {_LIMIT >> 20} MiB; that cannot be the tracker's data.")
                file.write(chunk)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise FetchError(
            f"{place} could not be fetched: {error}.\nName a copy of the tracker's data with --tracker FILE, or scan"
            " without it: --only image"
        ) from error
    return target


def tracker(packages: Sequence[LockedPackage], release: str, data: Path) -> list[Report]:
    """What debsbom finds in the tracker's data. Raises ScannerError."""
    sources = {(package.source, package.source_version) for package in packages if package.file_name.endswith(".deb")}
    purls = [
        PackageURL("deb", "debian", name, version, {
            "arch": "source", "distro": _UNSTABLE if _BACKPORT in version else release,
        }).to_string()
        for name, version in sorted(sources)
    ]  # fmt: skip
    program = Path(sys.prefix) / "bin" / "debsbom"
    command = [str(program), "sec-scan", "--db", str(data), "--distro", release, "--format", "json"]
    output = _output("debsbom", command, "\n".join([*purls, ""]))
    return [_of_debsbom(found) for found in _parsed("debsbom", f"[{','.join(output.splitlines())}]")]


def _of_debsbom(found: Mapping[str, Any]) -> Report:
    said = found["vulnerability"]
    package = PackageURL.from_string(found["purl"])
    return Report("debsbom", said["id"], package.name, _severity(said["urgency"]), said.get("fixed-in", ""),
                  said.get("desc") or "")  # fmt: skip


def available(chosen: Mapping[str, str | None]) -> dict[str, str]:
    """The programs to run, by name: what was chosen, else what is on this machine. Raises ScannerError."""
    found = {}
    for name in PROGRAMS:
        place = chosen.get(name)
        if place and registry.is_reference(place):
            found[name] = place
        elif place or shutil.which(name):
            path = shutil.which(place or name)
            if path is None:
                raise ScannerError(f"{place} is neither a program nor a reference HOST/NAME:TAG; --{name} wants one.")
            found[name] = path
    return found


def program(name: str, place: str, layout: Path) -> list[Report]:
    """What Trivy or Grype, a path or a container's reference, finds in a layout of one image. Raises ScannerError.

    Their own environment variables configure them, such as TRIVY_SKIP_DB_UPDATE; in a container, these and the folder
    of their data are handed in.
    """
    if registry.is_reference(place):
        tool = engine.find()
        prefix = str(name).upper()
        settings = [f"--env={key}" for key in sorted(os.environ) if key.startswith(f"{prefix}_")]
        cache = os.environ.get(_CACHES[name])
        volumes = [f"--volume={layout}:{_MOUNTED}:ro", *([f"--volume={cache}:{cache}"] if cache else [])]
        start = [str(tool.client), "run", "--rm", *volumes, *settings, place]
        environment, image = tool.environment, _MOUNTED
    else:
        start, environment, image = [place], {}, str(layout)
    command = [*start, *(argument.format(image=image) for argument in _ARGUMENTS[name])]
    parsed = _parsed(name, _output(name, command, "", environment))
    return list(_of_trivy(parsed) if name == "trivy" else _of_grype(parsed))


def _of_trivy(report: Mapping[str, Any]) -> Iterator[Report]:
    for result in report.get("Results") or []:
        for found in result.get("Vulnerabilities") or []:
            yield Report("trivy", found["VulnerabilityID"], found["PkgName"], _severity(found.get("Severity", "")),
                         found.get("FixedVersion", ""), found.get("Title", ""))  # fmt: skip


def _of_grype(report: Mapping[str, Any]) -> Iterator[Report]:
    for match in report.get("matches") or []:
        found = match["vulnerability"]
        fixed = (found.get("fix") or {}).get("versions") or [""]
        yield Report("grype", found["id"], match["artifact"]["name"], _severity(found.get("severity", "")), fixed[0],
                     found.get("description", ""))  # fmt: skip


def merged(reports: Iterable[Report], packages: Sequence[LockedPackage]) -> list[Finding]:
    """One finding for each vulnerability of each source package, with all who know it and the worst that they say."""
    sources = {package.package: package for package in packages}
    versions = {package.source: package.source_version for package in packages}
    grouped: dict[tuple[str, str], list[Report]] = {}
    for report in reports:
        package = sources.get(report.package)
        grouped.setdefault((report.vulnerability, package.source if package else report.package), []).append(report)
    found = []
    for (vulnerability, source), said in sorted(grouped.items()):
        fixed = next((report.fixed for report in said if report.fixed), "")
        title = next((f": {report.title}" for report in said if report.title), "")
        mended = f"mended in {fixed}" if fixed else "not mended yet"
        version = versions.get(source, "")
        found.append(
            Finding(
                VULNERABILITY, vulnerability,
                f"{source} {version}, {mended}{title}",
                worst(report.severity for report in said), source, version, fixed,
                tuple(sorted({package.package for package in packages if package.source == source})),
                tuple(sorted({report.scanner for report in said})),
            )
        )  # fmt: skip
    return found


def _severity(word: str) -> Severity:
    word = word.lower()
    if word in _SEVERITIES:
        return _SEVERITIES[word]
    return Severity(word) if word in list(Severity) else Severity.UNKNOWN


def _output(name: str, command: Sequence[str], given: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        command, input=given, env=os.environ | dict(environment or {}), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        end = "\n".join(f"  {line}" for line in (done.stderr or done.stdout).splitlines()[-10:])
        raise ScannerError(f"{name} ended with status {done.returncode}:\n{end}")
    return done.stdout


def _parsed(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ScannerError(f"{name} printed something else than its report: {error}") from error
