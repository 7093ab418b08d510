"""Locks -> software bills of materials: what is in the image of each platform, for people and scanners.

    python -m scripts.sbom [NAME ...]

writes dist/sbom/<variant>/*.cdx.json (CycloneDX 1.6) and *.spdx.json (SPDX 2.3), one of each for each platform, for the
named variants (default: all that are locked). The same lock gives the same bytes: the time in them is the lock's epoch,
and their identifiers are derived from its checksum.

Packages are named as in the bill inside the image, which is `scripts.inventory`'s.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.bom_ref import BomRef
from cyclonedx.model.component import Component, ComponentType, Pedigree
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.license import LicenseExpression
from cyclonedx.model.tool import ToolRepository
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from spdx_tools.spdx.jsonschema.document_converter import DocumentConverter
from spdx_tools.spdx.model import (
    Actor,
    ActorType,
    Checksum,
    ChecksumAlgorithm,
    CreationInfo,
    ExternalPackageRef,
    ExternalPackageRefCategory,
    ExtractedLicensingInfo,
    Package,
    PackagePurpose,
    Relationship,
    RelationshipType,
    SpdxNoAssertion,
)
from spdx_tools.spdx.model import Document as SpdxDocument

from scripts import errors, inventory, licences, lock, oci, paths, variants
from scripts.console import console, step_progress, table
from scripts.licences import Licence
from scripts.lock import Lock, LockedPackage
from scripts.platforms import PLATFORMS, Platform
from scripts.referrers import Document
from scripts.variants import Variant

CYCLONEDX = "application/vnd.cyclonedx+json"
SPDX = "application/spdx+json"
_TOOL = "prosody-images"
_NAMESPACE = uuid.UUID("6f0f5f0b-6a0e-4b8c-9d0a-3a1c6f2f7c11")  # of the identifiers that are derived here


@dataclass(frozen=True)
class Part:
    """A package in an image: its names as purl, also that of its source, what it may be used for, where it is found."""

    package: LockedPackage
    licence: Licence
    purl: str
    source: str
    url: str

    @property
    def supplier(self) -> str:
        """Who distributes it; empty if nobody is known to."""
        return inventory.SUPPLIERS.get(self.package.archive, "")


@dataclass(frozen=True)
class Bill:
    """What both formats say of one platform of a variant."""

    variant: str
    platform: Platform
    version: str
    distribution: str
    release: str
    created: datetime
    identity: str
    parts: tuple[Part, ...]

    @property
    def name(self) -> str:
        """Name of the image, by which its file is found as well."""
        return f"prosody-{self.variant}-{self.platform.tag}"

    def identifier(self, kind: str) -> uuid.UUID:
        """Identifier of one of the bill's forms."""
        return uuid.uuid5(_NAMESPACE, f"{self.identity} {self.platform} {kind}")


def bill(variant: Variant, locked: Lock, platform: Platform) -> Bill:
    """The bill of one platform, whose packages must be in the cache."""
    packages = locked.platforms[platform.name]
    release = inventory.release(variant, locked, platform)
    parts = tuple(
        Part(package, licences.of(package, packages), *inventory.purls(package, f"{variant.distribution}-{release}"),
             locked.url(package))
        for package in packages
    )  # fmt: skip
    return Bill(
        variant.name, platform, locked.version(variant), variant.distribution, release,
        datetime.fromtimestamp(locked.epoch, UTC), lock.checksum(locked), parts,
    )  # fmt: skip


def documents(found: Bill) -> tuple[Document, Document]:
    """The bill in both formats, CycloneDX first."""
    return (
        Document(f"{found.name}.cdx.json", CYCLONEDX, cyclonedx(found)),
        Document(f"{found.name}.spdx.json", SPDX, spdx(found)),
    )


def cyclonedx(found: Bill) -> bytes:
    """The bill in CycloneDX 1.6, as JSON."""
    image = Component(
        type=ComponentType.CONTAINER, name=found.name, version=found.version, bom_ref=BomRef(found.name),
        description=f"For {found.platform}.",
    )  # fmt: skip
    system = Component(
        type=ComponentType.OPERATING_SYSTEM, name=found.distribution, version=found.release,
        bom_ref=BomRef(found.distribution),
    )  # fmt: skip
    tools = ToolRepository(components=[Component(type=ComponentType.APPLICATION, name=_TOOL, bom_ref=BomRef(_TOOL))])
    components = [system, *map(_component, found.parts)]
    bom = Bom(
        serial_number=found.identifier("CycloneDX"), components=components,
        metadata=BomMetaData(timestamp=found.created, component=image, tools=tools),
    )  # fmt: skip
    bom.register_dependency(image, components)
    return (JsonV1Dot6(bom).output_as_string(indent=1) + "\n").encode()


def _component(part: Part) -> Component:
    references = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(part.url))]
    if part.licence.file:
        stated = [HashType(alg=HashAlgorithm.SHA_256, content=part.licence.sha256)]
        references.append(
            ExternalReference(type=ExternalReferenceType.LICENSE, url=XsUri(f"file://{part.licence.file}"),
                              comment="A file in the image.", hashes=stated)
        )  # fmt: skip
    pedigree = None
    if part.source:
        source = Component(
            type=ComponentType.LIBRARY, name=part.package.source, version=part.package.source_version,
            purl=PackageURL.from_string(part.source), bom_ref=BomRef(f"source of {part.purl}"),
        )  # fmt: skip
        pedigree = Pedigree(ancestors=[source])
    return Component(
        type=ComponentType.LIBRARY, name=part.package.package, version=part.package.version, bom_ref=BomRef(part.purl),
        purl=PackageURL.from_string(part.purl),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=part.package.sha256)],
        licenses=[LicenseExpression(part.licence.expression)] if part.licence.expression else [],
        supplier=OrganizationalEntity(name=part.supplier) if part.supplier else None,
        external_references=references, pedigree=pedigree,
    )  # fmt: skip


def spdx(found: Bill) -> bytes:
    """The bill in SPDX 2.3, as JSON."""
    name = f"SPDXRef-{found.name}"
    packages = [
        Package(name, found.name, SpdxNoAssertion(), found.version, files_analyzed=False,
                primary_package_purpose=PackagePurpose.CONTAINER, comment=f"For {found.platform}."),
        Package(f"SPDXRef-{found.distribution}", found.distribution, SpdxNoAssertion(), found.release,
                files_analyzed=False, primary_package_purpose=PackagePurpose.OPERATING_SYSTEM),
    ]  # fmt: skip
    relationships = [
        Relationship("SPDXRef-DOCUMENT", RelationshipType.DESCRIBES, name),
        Relationship(name, RelationshipType.CONTAINS, f"SPDXRef-{found.distribution}"),
    ]
    sources = {}
    texts: dict[str, str] = {}
    for part in found.parts:
        inside = _package(part)
        packages.append(inside)
        relationships.append(Relationship(name, RelationshipType.CONTAINS, inside.spdx_id))
        if part.source:
            source = _source(part)
            sources[source.spdx_id] = source
            relationships.append(Relationship(inside.spdx_id, RelationshipType.GENERATED_FROM, source.spdx_id))
        texts |= part.licence.texts
    identifier = found.identifier("SPDX")
    document = SpdxDocument(
        CreationInfo("SPDX-2.3", "SPDXRef-DOCUMENT", found.name,
                     f"https://spdx.org/spdxdocs/{found.name}-{identifier}", [Actor(ActorType.TOOL, _TOOL)],
                     found.created.replace(tzinfo=None)),
        packages=[*packages, *sources.values()],
        relationships=relationships,
        extracted_licensing_info=[ExtractedLicensingInfo(key, text) for key, text in sorted(texts.items())],
    )  # fmt: skip
    value = DocumentConverter().convert(document)
    for package in value["packages"]:
        for reference in package.get("externalRefs", ()):
            # The library writes an underscore, as SPDX 2.2 does; in 2.3's schema and text it is a hyphen.
            reference["referenceCategory"] = reference["referenceCategory"].replace("_", "-")
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _package(part: Part) -> Package:
    package, licence = part.package, part.licence
    comment = None
    if licence.file:
        comment = (
            f"From {licence.file} in the image, with the SHA-256 {licence.sha256}, which tells of the whole source."
        )
        if not licence.expression:
            comment = f"See {licence.file} in the image, with the SHA-256 {licence.sha256}: it is for people to read."
    return Package(
        _identifier("Package", package.package),
        package.package,
        part.url,
        package.version,
        supplier=Actor(ActorType.ORGANIZATION, part.supplier) if part.supplier else SpdxNoAssertion(),
        files_analyzed=False,
        checksums=[Checksum(ChecksumAlgorithm.SHA256, package.sha256)],
        source_info=f"built package from: {package.source} {package.source_version}" if part.source else None,
        license_concluded=SpdxNoAssertion(),
        license_declared=licences.licensing().parse(licence.expression) if licence.expression else SpdxNoAssertion(),
        license_comment=comment,
        copyright_text=SpdxNoAssertion(),
        external_references=[_reference(part.purl)],
    )


def _source(part: Part) -> Package:
    package = part.package
    return Package(
        _identifier("Source", f"{package.source}-{package.source_version}"),
        package.source,
        SpdxNoAssertion(),
        package.source_version,
        files_analyzed=False,
        external_references=[_reference(part.source)],
        primary_package_purpose=PackagePurpose.SOURCE,
    )


def _reference(purl: str) -> ExternalPackageRef:
    return ExternalPackageRef(ExternalPackageRefCategory.PACKAGE_MANAGER, "purl", purl)


def _identifier(kind: str, name: str) -> str:
    """An identifier within a document; letters that none may have become their number (SPDX 2.3, 7.2)."""
    return f"SPDXRef-{kind}-" + re.sub(r"[^A-Za-z0-9.-]", lambda match: f"-{ord(match[0]):x}-", name)


def _made(name: str, platform: str) -> tuple[Bill, tuple[Document, Document]]:
    variant = variants.load(name)
    found = bill(variant, lock.load(variant, lock.path_of(name)), PLATFORMS[platform])
    return found, documents(found)


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s sbom --", description="Write software bills of materials.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant (default: all that are locked)")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    jobs = []
    for name in options.names or lock.chosen_by_default(paths.VARIANTS):
        variant = variants.load(name)
        lock.load(variant, lock.path_of(name)).fetch(variant.platforms, label=f"packages of {name}")
        jobs += [(name, platform.name) for platform in variant.platforms]
    numbers = ("packages", "licences", "KiB")
    rows = table("Bills of materials", "file", *numbers, "digest", numeric=frozenset(numbers))
    with ProcessPoolExecutor() as executor, step_progress() as progress:
        made = executor.map(_made, *zip(*jobs, strict=True))
        for found, written in progress.track(made, total=len(jobs), description="Writing bills of materials"):
            stated = sum(bool(part.licence.expression) for part in found.parts)
            for document in written:
                path = paths.DIST / "sbom" / found.variant / document.file_name
                paths.write_text(path, document.content.decode())
                rows.add_row(str(path.relative_to(paths.ROOT)), f"{len(found.parts)}", f"{stated}",
                             f"{len(document.content) / 1024:.0f}", oci.digest_of(document.content))  # fmt: skip
    console.print(rows)
    console.print(f"{2 * len(jobs)} files in {time.monotonic() - start:.1f} s")


if __name__ == "__main__":
    errors.run(main)
