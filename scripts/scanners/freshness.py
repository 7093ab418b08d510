"""Locked versions against what their archives have now, by signed indexes; with what the changelogs say was mended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from debian.debian_support import NativeVersion

from scripts import fetch
from scripts.archives import changelogs, debian
from scripts.archives.debian import Index, Package
from scripts.lock import Lock, LockedPackage
from scripts.platforms import Platform
from scripts.scanners.findings import CHECKS, Finding
from scripts.variants import Variant

_SECURITY = "debian-security"


def scan(variant: Variant, lock: Lock, platforms: Sequence[Platform], at: datetime) -> dict[Platform, list[Finding]]:
    """Every package of which there is a newer one, for each platform. Raises what `debian.read` raises."""
    architectures = [platform.debian for platform in platforms]
    indexes = debian.read(variant.suites, architectures, at)
    instant = debian.instant(at)
    return {platform: list(_newer(lock, platform, indexes.index(platform.debian), instant)) for platform in platforms}


def _newer(lock: Lock, platform: Platform, index: Index, instant: str) -> Iterator[Finding]:
    outdated: dict[str, list[tuple[LockedPackage, Package]]] = {}
    for package in lock.platforms[platform.name]:
        if package.file_name.endswith(".deb"):
            found = index.packages(package.package)
            if found and found[0].order > NativeVersion(package.version):
                outdated.setdefault(package.source, []).append((package, found[0]))
    for source, pairs in sorted(outdated.items()):
        # A fix that a point release has taken over is not in the security archive alone.
        mended = _mended(pairs, instant)
        (old, new) = pairs[0]
        check = "security-update" if mended or any(new.archive == _SECURITY for _, new in pairs) else "update"
        advisory = f", which mends {', '.join(mended)}" if mended else ""
        yield Finding(
            check, source, f"{old.source_version} is locked, {new.suite} has {new.source_version}{advisory}",
            CHECKS[check].severity, source, old.source_version, new.source_version,
            tuple(package.package for package, _ in pairs),
        )  # fmt: skip


def _mended(pairs: Sequence[tuple[LockedPackage, Package]], instant: str) -> tuple[str, ...]:
    """CVE identifiers in the changelog of the new version, from the smallest package that has it."""
    for old, new in sorted(pairs, key=lambda pair: pair[1].size):
        fetch.fetch([new.item], instant, label="package for its changelog")
        if changelog := changelogs.read(fetch.blob(new.sha256)):
            return changelogs.vulnerabilities(changelog, old.source_version, new.source_version)
    return ()
