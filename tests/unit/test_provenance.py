"""Statements of provenance: valid by in-toto's and SLSA's own definitions, complete, and without chance."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from typing import Any

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1.provenance_pb2 import Provenance
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from scripts import build, digests, paths, provenance
from scripts.build import Recipe
from scripts.oci import Layout


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return build.recipe("debian")


@pytest.fixture(scope="module")
def layout() -> Layout:
    """The committed layout, as far as its digests tell."""
    committed = digests.load("debian")
    assert committed is not None
    return Layout(paths.DIST / "debian", committed.index, committed.images)


def statement(recipe: Recipe, layout: Layout, by: str = provenance.LOCAL) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(provenance.statement(recipe, layout, by).content)
    return value


def test_it_is_what_the_formats_say(recipe: Recipe, layout: Layout) -> None:
    """Parsed by the definitions of the formats (protobuf), in which a field that they do not have is an error."""
    value = statement(recipe, layout)
    Statement.copy_from_pb(json_format.ParseDict(value, StatementMessage())).validate()
    assert value["predicateType"] == "https://slsa.dev/provenance/v1"
    parsed = json_format.ParseDict(value["predicate"], Provenance())
    assert parsed.build_definition.build_type == provenance.BUILD_TYPE
    assert parsed.run_details.builder.id == provenance.LOCAL
    with pytest.raises(json_format.ParseError):
        json_format.ParseDict(value["predicate"] | {"clock": "now"}, Provenance())


def test_it_is_about_the_index_and_all_images_in_it(recipe: Recipe, layout: Layout) -> None:
    found = [f"sha256:{subject['digest']['sha256']}" for subject in statement(recipe, layout)["subject"]]
    assert found == [layout.index, *(image.manifest for image in layout.images)]


def test_it_names_every_package_and_file_that_the_image_is_made_of(recipe: Recipe, layout: Layout) -> None:
    resolved = statement(recipe, layout)["predicate"]["buildDefinition"]["resolvedDependencies"]
    found = {each["digest"]["sha256"]: each for each in resolved}
    assert len(found) == len(resolved), "each once"
    packages = recipe.lock.packages(recipe.variant.platforms)
    assert {package.sha256 for package in packages} <= found.keys()
    assert all(found[package.sha256]["uri"] == recipe.lock.url(package) for package in packages)
    for name in (
        "images/debian/lock.json",
        "images/debian/Dockerfile",
        "images/rootfs/usr/local/lib/prosody-container/entrypoint.lua",
    ):
        assert found[hashlib.sha256((paths.ROOT / name).read_bytes()).hexdigest()]["name"] == name


def test_packages_of_other_platforms_took_no_part(recipe: Recipe, layout: Layout) -> None:
    value = statement(recipe, replace(layout, images=layout.images[:1]))
    definition = value["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["platforms"] == ["linux/amd64"]
    names = {each["name"] for each in definition["resolvedDependencies"]}
    assert {name.rpartition("_")[2] for name in names if name.endswith(".deb")} == {"amd64.deb", "all.deb"}


def test_the_same_build_is_the_same_statement(recipe: Recipe, layout: Layout) -> None:
    first = provenance.statement(recipe, layout, provenance.LOCAL)
    assert first == provenance.statement(build.recipe("debian"), layout, provenance.LOCAL)
    assert first != provenance.statement(recipe, layout, "https://example.org/somebody-else")
    assert str(paths.ROOT).encode() not in first.content


def test_the_builder_is_the_workflow_or_nobody_in_particular(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GITHUB_WORKFLOW_REF", raising=False)
    assert provenance.builder() == provenance.LOCAL
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_WORKFLOW_REF", "somebody/images/.github/workflows/release.yml@refs/tags/v1")
    assert provenance.builder() == ("https://github.com/somebody/images/.github/workflows/release.yml@refs/tags/v1")
