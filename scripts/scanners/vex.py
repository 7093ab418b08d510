"""What the policy says of single vulnerabilities -> OpenVEX 0.2.0, for scanners of those who use the image.

https://github.com/openvex/spec/blob/main/OPENVEX-SPEC.md. The document depends on the policy, the lock and the image
alone: its times are the days of the judgements.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from packageurl import PackageURL

from scripts import oci
from scripts.scanners.policy import Judged

MEDIA_TYPE = "application/vnd.openvex+json"
_CONTEXT = "https://openvex.dev/ns/v0.2.0"
_PLACE = "https://prosody-images.example/vex"


def document(variant: str, index: str, judged: Iterable[Judged]) -> dict[str, Any] | None:
    """Statements about the image `index` (a digest) for all that is ignored; None if nothing is."""
    statements: dict[tuple[str, str], dict[str, Any]] = {}
    days = []
    for found in judged:
        ignored, finding = found.ignored, found.finding
        if ignored is None:
            continue
        days.append(ignored.decided)
        binaries = [PackageURL("deb", "debian", name).to_string() for name in finding.binaries]
        source = PackageURL("deb", "debian", finding.package, finding.version, {"arch": "source"}).to_string()
        key = "action_statement" if ignored.status == "affected" else "status_notes"
        statement = {
            "vulnerability": {"name": ignored.vulnerability},
            "timestamp": _instant(ignored.decided),
            "products": [
                {
                    "@id": PackageURL("oci", None, "prosody", index, {"tag": variant}).to_string(),
                    "subcomponents": [{"@id": purl} for purl in (source, *binaries)],
                }
            ],
            "status": ignored.status,
            key: f"{ignored.reason} (holds until {ignored.until})",
        }
        if ignored.justification:
            statement["justification"] = ignored.justification
        statements[ignored.vulnerability, ignored.package] = statement
    if not statements:
        return None
    content: dict[str, Any] = {
        "@context": _CONTEXT,
        "author": "prosody-images",
        "timestamp": _instant(max(days)),
        "version": 1,
        "statements": [statements[key] for key in sorted(statements)],
    }
    return content | {"@id": f"{_PLACE}/{variant}-{oci.digest_of(oci.canonical(content)).removeprefix('sha256:')}"}


def _instant(day: date) -> str:
    return f"{day.isoformat()}T00:00:00Z"
