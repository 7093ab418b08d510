"""Bills of materials of the real variants: valid, and the same packages and licences as in the images."""

from __future__ import annotations

import pytest

from scripts import contents, platforms, sbom
from scripts.sbom import Bill
from tests.integration.conftest import Images
from tests.unit.test_sbom import assert_valid

_RECORDS = "var/lib/dpkg/status.d/"


@pytest.fixture(scope="module", params=["debian", "dev"])
def bill(request: pytest.FixtureRequest, images: Images) -> Bill:
    native = platforms.native()
    recipe = images.recipe(request.param, native)
    return sbom.bill(recipe.variant, recipe.lock, native)


def test_they_are_valid(bill: Bill) -> None:
    assert_valid(sbom.cyclonedx(bill), sbom.spdx(bill))


def test_they_have_what_the_image_has(bill: Bill) -> None:
    """By the committed list of its files: the records of packages, and the very files that licences are read from."""
    layers = contents.load(bill.variant, bill.platform, 0).values()
    files = {member.path: member.content for layer in layers for member in layer}
    recorded = {path.removeprefix(_RECORDS) for path in files if path.startswith(_RECORDS)}
    packages = {part.package.package for part in bill.parts if part.package.archive != "npm"}
    assert packages == {name for name in recorded if not name.endswith(".md5sums")}
    for part in bill.parts:
        if part.package.archive != "npm":
            assert part.licence.sha256.startswith(files[part.licence.file.removeprefix("/")]), part.purl


def test_most_packages_say_what_may_be_done_with_them(bill: Bill) -> None:
    silent = {part.package.source for part in bill.parts if not part.licence.expression}
    assert silent == {"gcc-14", "krb5"}, "their copyright files are for people"
