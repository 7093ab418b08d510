"""Every schema in schema/, which people read in their editors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts import paths

ALL = sorted(paths.SCHEMA.glob("*.json"))
DIALECT = "https://json-schema.org/draft/2020-12/schema"

every_schema = pytest.mark.parametrize("path", ALL, ids=lambda path: path.name.removesuffix(".schema.json"))


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def subschemas(value: object, pointer: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every schema within a schema, by JSON Schema Core 10.2 and 10.3; conditions, which explain nothing, apart."""
    if not isinstance(value, dict):
        return
    yield pointer, value
    for keyword in ("properties", "patternProperties", "$defs"):
        for name, inner in value.get(keyword, {}).items():
            yield from subschemas(inner, f"{pointer}/{keyword}/{name}")
    for keyword in ("items", "additionalProperties", "propertyNames"):
        yield from subschemas(value.get(keyword), f"{pointer}/{keyword}")
    for keyword in ("anyOf", "oneOf"):
        for index, inner in enumerate(value.get(keyword, [])):
            yield from subschemas(inner, f"{pointer}/{keyword}/{index}")


def properties(schema: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every property that can be written in a file, with all that its references say."""
    for pointer, value in subschemas(schema):
        for keyword in ("properties", "patternProperties"):
            for name, found in value.get(keyword, {}).items():
                yield f"{pointer}/{keyword}/{name}", resolved(schema, found)


def resolved(schema: Mapping[str, Any], value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The subschema with the keys of what it refers to; its own keys win."""
    if "$ref" not in value:
        return value
    target: Any = schema
    for part in value["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**resolved(schema, target), **{key: inner for key, inner in value.items() if key != "$ref"}}


def test_there_are_all_schemas() -> None:
    assert [path.name.removesuffix(".schema.json") for path in ALL] == [
        "container-environment", "environment", "lock", "modules", "scan-policy", "variant",
    ]  # fmt: skip


@every_schema
def test_a_schema_is_valid_and_says_what_it_is(path: Path) -> None:
    schema = read(path)
    assert schema["$schema"] == DIALECT
    assert schema["$id"] == f"https://prosody-images.example/schema/{path.name}"
    assert {"title", "description"} <= schema.keys()
    jsonschema.Draft202012Validator.check_schema(schema)
    for _, value in subschemas(schema):
        resolved(schema, value)  # fails for a reference to nothing


@every_schema
def test_every_property_is_explained(path: Path) -> None:
    found = dict(properties(read(path)))
    assert len(found) >= 8
    assert [name for name, value in found.items() if not {"title", "description"} <= value.keys()] == []


@every_schema
def test_every_property_that_its_words_do_not_show_has_an_example(path: Path) -> None:
    """A choice and a default show enough; a structure has examples in its parts."""
    shown = {"examples", "enum", "default", "items", "additionalProperties", "properties"}
    without = [
        name
        for name, value in properties(read(path))
        if value.get("type") != "boolean" and not shown & value.keys()
    ]  # fmt: skip
    assert without == []


@every_schema
def test_every_example_and_default_is_valid(path: Path) -> None:
    schema = read(path)
    validator = jsonschema.Draft202012Validator(schema)
    count = 0
    for pointer, value in subschemas(schema):
        for text in [*value.get("examples", []), *([value["default"]] if "default" in value else [])]:
            assert [error.message for error in validator.evolve(schema=value).iter_errors(text)] == [], pointer
            count += 1
    assert count > 5
