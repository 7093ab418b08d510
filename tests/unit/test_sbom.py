"""Bills of materials: valid by the official schemas, complete, and the same bytes every time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from jsonschema import Draft7Validator
from rfc3986_validator import validate_rfc3986
from spdx_tools.spdx.parser.jsonlikedict.json_like_dict_parser import JsonLikeDictParser
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document

from scripts import fetch, inventory, lock, mirrors, paths, sbom
from scripts.lock import Lock
from scripts.platforms import PLATFORMS
from scripts.sbom import Bill
from scripts.variants import Variant
from tests.unit import deb, locks
from tests.unit.test_tarballs import tarball

_COPYRIGHT = b"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
Copyright: nobody
License: Expat and own words

License: own words
 Do what you like.
"""


def is_reference(value: object) -> bool:
    """Stricter than RFC 3987: ASCII alone. What jsonschema has for it takes 0.7 s to import, for every command."""
    return not isinstance(value, str) or validate_rfc3986(value, "URI_reference") is not None


Draft7Validator.FORMAT_CHECKER.checks("iri-reference")(is_reference)


def spdx_schema() -> dict[str, Any]:
    """The official schema of SPDX 2.3, as the Python package lib4sbom brings it."""
    text = (resources.files("lib4sbom") / "schemas" / "spdx" / "2.3-schema.json").read_text()
    schema: dict[str, Any] = json.loads(text)
    assert schema["$id"] == "http://spdx.org/rdf/terms/2.3"
    return schema


def assert_valid(cyclonedx: bytes, spdx: bytes) -> None:
    """By the schemas; and by what SPDX's own tool knows beyond that, such as references that lead nowhere."""
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(cyclonedx.decode()) is None
    jsonschema.validate(json.loads(spdx), spdx_schema())
    found = validate_full_spdx_document(JsonLikeDictParser().parse(json.loads(spdx)))
    assert [message.validation_message for message in found] == []


@pytest.fixture
def locked(cache: Path, variant: Callable[..., Variant], monkeypatch: pytest.MonkeyPatch) -> Lock:
    """Packages of all kinds, in the cache; their public addresses are only written down."""
    monkeypatch.setattr(mirrors, "SNAPSHOT", "https://snapshot.debian.org/archive")

    def package(name: str, version: str, copyright_: bytes, **fields: str) -> lock.LockedPackage:
        content = deb.deb({f"usr/share/doc/{name}/copyright": copyright_}, name=name, version=version)
        return locks.package(name, version, sha256=fetch.keep(content), **fields)

    client = tarball({"package/package.json": b'{"license": "MPL-2.0"}'})
    return locks.made_up(
        variant(),
        package("base-files", "13.8+deb13u7", b"Free, says somebody."),
        package("library++", "1:2.0-1+b3", _COPYRIGHT, source="sources", source_version="1:2.0-1"),
        package("library--", "1:2.0-1", _COPYRIGHT, source="sources", source_version="1:2.0-1"),
        package("tool", "1", _COPYRIGHT),
        locks.package("@scope/client", "1.2.3", archive="npm", sha256=fetch.keep(client)),
        locks.package("plugins", "7", archive="https://example.org", path="x/plugins.tar.gz",
                      sha256=fetch.keep(tarball({}))),
    )  # fmt: skip


@pytest.fixture
def bill(locked: Lock, variant: Callable[..., Variant]) -> Bill:
    return sbom.bill(variant(), locked, PLATFORMS["linux/arm64"])


def test_both_formats_are_valid(bill: Bill) -> None:
    assert_valid(sbom.cyclonedx(bill), sbom.spdx(bill))


def test_the_validation_finds_faults(bill: Bill) -> None:
    good = sbom.cyclonedx(bill), sbom.spdx(bill)
    for cyclonedx, spdx in (
        (good[0].replace(b'"type": "library"', b'"type": "book"'), good[1]),
        (good[0].replace(b'"url": "https://', b'"url": "https:// '), good[1]),
        (good[0], good[1].replace(b'"SPDXRef-DOCUMENT"', b'"DOCUMENT"')),
        (good[0], good[1].replace(b'"extractedText"', b'"text"')),
        (good[0], good[1].replace(b"AND LicenseRef", b"AND LicenseReference")),
    ):
        assert (cyclonedx, spdx) != good
        with pytest.raises(Exception, match=r"."):
            assert_valid(cyclonedx, spdx)


def test_packages_have_names_that_scanners_know(bill: Bill) -> None:
    names = {part.package.package: (part.purl, part.source) for part in bill.parts}
    assert names["library++"] == (
        "pkg:deb/debian/library%2B%2B@1:2.0-1%2Bb3?arch=all&distro=debian-13&upstream=sources%401:2.0-1",
        "pkg:deb/debian/sources@1:2.0-1?arch=source&distro=debian-13",
    )
    assert names["tool"][0] == "pkg:deb/debian/tool@1?arch=all&distro=debian-13"
    assert names["@scope/client"] == ("pkg:npm/%40scope/client@1.2.3", "")
    assert names["plugins"][0].startswith("pkg:generic/plugins@7?checksum=sha256:")
    assert "download_url=https:" in names["plugins"][0]


def test_both_formats_have_all_packages_with_their_hashes(bill: Bill, locked: Lock) -> None:
    expected = {(package.package, package.version, package.sha256) for package in locked.platforms["linux/arm64"]}
    components = json.loads(sbom.cyclonedx(bill))["components"]
    found = {(each["name"], each["version"], each["hashes"][0]["content"]) for each in components if "hashes" in each}
    assert found == expected
    packages = json.loads(sbom.spdx(bill))["packages"]
    listed = {
        (each["name"], each["versionInfo"], each["checksums"][0]["checksumValue"])
        for each in packages
        if "checksums" in each
    }
    assert listed == expected
    sources = [each for each in packages if each.get("primaryPackagePurpose") == "SOURCE"]
    assert [(each["name"], each["versionInfo"]) for each in sources] == [
        ("base-files", "13.8+deb13u7"), ("sources", "1:2.0-1"), ("tool", "1"),
    ]  # fmt: skip


def test_the_bill_inside_the_image_is_valid_and_names_the_same(
    bill: Bill, locked: Lock, variant: Callable[..., Variant]
) -> None:
    inside = inventory.bill(variant(), locked, PLATFORMS["linux/arm64"])
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(inside) is None
    fields = ("type", "name", "version", "purl", "hashes")
    components = [
        [{field: each.get(field) for field in fields} for each in json.loads(text)["components"]]
        for text in (inside, sbom.cyclonedx(bill))
    ]
    key = lambda each: (each["type"], each["name"])  # noqa: E731
    assert sorted(components[0], key=key) == sorted(components[1], key=key)
    assert len(components[0]) == 1 + len(locked.platforms["linux/arm64"])


def test_licences_are_stated_or_not_asserted(bill: Bill) -> None:
    declared = {each["name"]: each for each in json.loads(sbom.spdx(bill))["packages"] if "licenseDeclared" in each}
    assert declared["tool"]["licenseDeclared"].startswith("MIT AND LicenseRef-own-words-")
    assert declared["@scope/client"]["licenseDeclared"] == "MPL-2.0"
    for name in ("base-files", "plugins"):
        assert declared[name]["licenseDeclared"] == "NOASSERTION"
    assert "/usr/share/doc/base-files/copyright" in declared["base-files"]["licenseComments"]
    components = {each["name"]: each for each in json.loads(sbom.cyclonedx(bill))["components"]}
    assert "licenses" not in components["base-files"]
    assert components["tool"]["licenses"][0]["expression"] == declared["tool"]["licenseDeclared"]


def test_another_process_writes_the_same_bytes(bill: Bill, locked: Lock, tmp_path: Path) -> None:
    """Neither a clock nor chance, nor the order that Python happens to hash in, is in them."""
    (tmp_path / "lock.json").write_text(lock.dump(locked))
    program = (
        "import sys; from pathlib import Path; from scripts import lock, sbom, variants;"
        "from scripts.platforms import PLATFORMS; folder = Path(sys.argv[1]);"
        "variant = variants.load('test', folder); locked = lock.load(variant, folder / 'lock.json');"
        "found = sbom.bill(variant, locked, PLATFORMS['linux/arm64']);"
        "sys.stdout.buffer.write(sbom.cyclonedx(found) + sbom.spdx(found))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=paths.ROOT, env=os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout == sbom.cyclonedx(bill) + sbom.spdx(bill)


def test_another_lock_or_platform_has_another_identifier(
    bill: Bill, locked: Lock, variant: Callable[..., Variant]
) -> None:
    others = [
        sbom.bill(variant(), locked, PLATFORMS["linux/amd64"]),
        sbom.bill(variant(), locks.made_up(variant(), *locked.platforms["linux/arm64"][:4]), PLATFORMS["linux/arm64"]),
    ]
    identifiers = {each.identifier(kind) for each in (bill, *others) for kind in ("CycloneDX", "SPDX")}
    assert len(identifiers) == 6
