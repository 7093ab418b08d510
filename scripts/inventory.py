"""Locks -> what is in an image, by names that everybody knows: package URLs, and the bill of materials inside it.

Names are of the package-url specification (types deb, apk, npm and generic). The bill inside is CycloneDX 1.6 with what
the lock alone says, so a Dockerfile can have it; what the packages say of their licences is in their copyright files
beside it, and in the bills that `scripts.sbom` writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from packageurl import PackageURL

from scripts.lock import Lock, LockedPackage
from scripts.platforms import Platform
from scripts.variants import Variant

SUPPLIERS = {"debian": "Debian", "debian-security": "Debian", "alpine": "Alpine Linux"}
# Where apko, and the scanners that know it, have such files.
_FOLDER = "var/lib/db/sbom"


def path_of_bill(variant: Variant) -> str:
    """Where an image has its bill, below its root."""
    return f"{_FOLDER}/{variant.name}.cdx.json"


def release(variant: Variant, locked: Lock, platform: Platform) -> str:
    """Version of the distribution, as /etc/os-release has it: base-files has the version of Debian."""
    if variant.distribution == "alpine":
        return locked.suites[0].suite.removeprefix("v")
    packages = locked.platforms[platform.name]
    return next((package.version.partition(".")[0] for package in packages if package.package == "base-files"), "")


def purls(package: LockedPackage, distro: str) -> tuple[str, str]:
    """Names of a package and of its source, which is empty where the distribution has none.

    `distro` is a distribution with its release (`debian-13`). `upstream` is what scanners take the source from, which
    vulnerabilities of distributions are told of.
    """
    name, version = package.package, package.version
    if package.archive == "npm":
        namespace, _, name = name.rpartition("/")
        return PackageURL("npm", namespace or None, name, version).to_string(), ""
    if package.archive == "alpine":
        qualifiers = {"arch": package.architecture, "distro": distro, "upstream": package.source}
        return PackageURL("apk", "alpine", name, version, qualifiers).to_string(), ""
    if package.archive not in SUPPLIERS:
        qualifiers = {"download_url": f"{package.archive}/{package.path}", "checksum": f"sha256:{package.sha256}"}
        return PackageURL("generic", None, name, version, qualifiers).to_string(), ""
    qualifiers = {"arch": package.architecture, "distro": distro}
    if (package.source, package.source_version) != (name, version):
        qualifiers["upstream"] = f"{package.source}@{package.source_version}"
    source = PackageURL("deb", "debian", package.source, package.source_version, {"arch": "source", "distro": distro})
    return PackageURL("deb", "debian", name, version, qualifiers).to_string(), source.to_string()


def bill(variant: Variant, locked: Lock, platform: Platform) -> str:
    """The bill inside the image of one platform: JSON with a package a line, as in the lock."""
    value = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "metadata": {
            "timestamp": datetime.fromtimestamp(locked.epoch, UTC).isoformat(),
            "component": {
                "type": "container",
                "name": variant.full_title,
                "version": locked.version(variant),
                "description": f"For {platform}.",
            },
        },
    }
    fields = "".join(f" {json.dumps(key)}: {json.dumps(part)},\n" for key, part in value.items())
    rows = ",\n".join(f"  {json.dumps(component)}" for component in _components(variant, locked, platform))
    return f'{{\n{fields} "components": [\n{rows}\n ]\n}}'


def _components(variant: Variant, locked: Lock, platform: Platform) -> Iterator[Mapping[str, Any]]:
    version = release(variant, locked, platform)
    yield {"type": "operating-system", "name": variant.distribution, "version": version}
    for package in locked.platforms[platform.name]:
        purl, _ = purls(package, f"{variant.distribution}-{version}")
        yield {
            "type": "library",
            "name": package.package,
            "version": package.version,
            "hashes": [{"alg": "SHA-256", "content": package.sha256}],
            "purl": purl,
        }
