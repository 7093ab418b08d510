"""Changelogs in Debian packages -> the vulnerabilities that they mention (Debian Policy, 4.4 and 12.7)."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from debian.changelog import Changelog
from debian.debfile import DebFile
from debian.debian_support import NativeVersion

_CVE = re.compile(r"\bCVE-(\d{4})-(\d{4,})\b")


def read(package: Path) -> Changelog | None:
    """The changelog in a package, or None: in many, the folder of documentation is a link to that of another one."""
    with DebFile(str(package)) as opened:
        folder = f"usr/share/doc/{opened.debcontrol()['Package']}"
        for name in ("changelog.Debian.gz", "changelog.gz"):  # the second is that of packages without an upstream
            if opened.data.has_file(f"{folder}/{name}", follow_symlinks=True):
                with opened.data.get_file(f"{folder}/{name}", follow_symlinks=True) as packed:
                    return Changelog(gzip.decompress(packed.read()).decode(errors="replace"))
    return None


def vulnerabilities(changelog: Changelog, since: str, until: str) -> tuple[str, ...]:
    """CVE identifiers in the entries of versions after `since`, up to `until`, oldest first."""
    found: set[tuple[int, int]] = set()
    for entry in changelog:
        if NativeVersion(since) < NativeVersion(str(entry.version)) <= NativeVersion(until):
            for line in entry.changes():
                found |= {(int(year), int(number)) for year, number in _CVE.findall(line)}
    return tuple(f"CVE-{year}-{number:04}" for year, number in sorted(found))
