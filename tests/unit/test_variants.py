from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts import documents, paths, variants
from scripts.documents import Document
from scripts.errors import UsageError, VariantError
from scripts.paths import SCHEMA, TOOLS, VARIANTS

GOOD = """\
description: A variant for tests.
distribution: debian
suites:
  - suite: trixie
platforms: [linux/amd64]
layers:
  base: [libc6, tini]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Function that writes variant files (name=text) and returns their folder."""

    def write(**texts: str) -> Path:
        for name, text in texts.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path

    return write


def refusal(name: str, folder: Path) -> str:
    with pytest.raises(VariantError) as caught:
        variants.load(name, folder)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("layers: [", "bad.yaml:1:10: not valid YAML"),
        ("a: b: c\n", "bad.yaml:1:5: not valid YAML"),
        ("", "missing: description (neither here nor in a parent)"),
        ("- one\n- two\n", "bad.yaml:1:1: must be a mapping, not ['one', 'two']"),
        (GOOD + "platfroms: [linux/amd64]\n", "bad.yaml:8:1: platfroms: unknown key"),
        (GOOD + "platfroms: [linux/amd64]\n", "did you mean 'platforms'?"),
        (GOOD.replace("[libc6, tini]", "libc6"), "bad.yaml:7:3: layers.base: must be a list"),
        (GOOD.replace("trixie", "3"), "bad.yaml:4:5: suites[0].suite: must be a string, not 3"),
        (GOOD.replace("linux/amd64", "linux/arm46"), "bad.yaml:5:13: platforms[0]: 'linux/arm46' is not known"),
        (GOOD.replace("linux/amd64", "linux/arm46"), "did you mean 'linux/arm64'?"),
        (GOOD.replace("linux/amd64", "linux/amd64, linux/amd64"), "bad.yaml:5:1: platforms: more than once: linux"),
        (GOOD.replace("tini", "Tini"), "layers.base[1]: 'Tini' does not match"),
        (GOOD.replace("tini", "libc6"), "layers.base: more than once: libc6"),
        (GOOD + "  more: [libc6]\n", "bad.yaml:8:10: layers.more[0]: 'libc6' is in layer 'base' already"),
        (GOOD + "exclude:\n  tini: not wanted\n", "layers.base[1]: 'tini' is also under `exclude`"),
        (GOOD.replace("suite: trixie", "suite: trixie\n    packages: [tinny]"), "'tinny' is in no layer"),
        (GOOD + "version: libc\n", "bad.yaml:8:1: version: 'libc' is in no layer; did you mean 'libc6'?"),
        (GOOD.replace("distribution: debian\n", ""), "missing: distribution"),
        (GOOD + "description: again\n", "bad.yaml:8:1: description: this key stands here twice"),
        (GOOD + "image:\n  user: {name: x, id: 0, home: /}\n", "bad.yaml:9:19: image.user.id: 0 is less"),
        (GOOD + "image:\n  ports: {http: web}\n", "'http' does not match"),
        ("a: &a [*a]\n", "an alias that contains itself"),
        ("? [1, 2]\n: x\n", "a key must be a string"),
        (GOOD.replace("trixie", "!!python/object:os.system x"), "not a plain value"),
    ],
)  # fmt: skip
def test_bad_files_are_explained(folder: Callable[..., Path], text: str, expected: str) -> None:
    assert expected in refusal("bad", folder(bad=text))


def test_a_file_that_is_not_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_bytes(b"description: \xff\n")
    assert "bad.yaml:1:1: not UTF-8 text (byte 13)" in refusal("bad", tmp_path)


def test_all_problems_are_told_at_once(folder: Callable[..., Path]) -> None:
    text = GOOD.replace("trixie", "TRIXIE").replace("linux/amd64", "windows") + "colour: blue\n"
    message = refusal("bad", folder(bad=text))
    assert message.startswith("3 problems in variant 'bad':")
    assert [line.split(": ")[1] for line in message.splitlines()[1:]] == ["suites[0].suite", "platforms[0]", "colour"]


def test_an_unknown_variant_is_suggested(folder: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="did you mean 'debian'"):
        variants.load("debain", folder(debian=GOOD))


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"one": "extends: one\n"}, "one.yaml:1:1: extends: extends itself: one -> one"),
        ({"one": "extends: two\n", "two": "extends: three\n", "three": "extends: one\n"}, "one -> two -> three -> one"),
        (
            {"one": "extends: tow\n", "two": GOOD},
            "one.yaml:1:1: extends: there is no variant 'tow'; there are: two; did",
        ),
        ({"one": "extends: two\n", "two": GOOD + "x: 1\n"}, "two.yaml:8:1: x: unknown key"),
        ({"one": "extends: two\nlayers: {base: null}\n", "two": GOOD}, "one.yaml:1:1: missing: layers (neither here"),
    ],
    ids=["itself", "cycle of three", "missing parent", "problem in the parent", "incomplete"],
)
def test_bad_inheritance_is_explained(folder: Callable[..., Path], texts: dict[str, str], expected: str) -> None:
    assert expected in refusal("one", folder(**texts))


def test_a_child_is_merged_over_its_parent(folder: Callable[..., Path]) -> None:
    child = "extends: parent\nlayers:\n  base: null\n  tools: [dash]\nplatforms: [linux/arm64]\n"
    found = variants.load("child", folder(parent=GOOD, child=child))
    assert found.layers == {"tools": ("dash",)}
    assert [platform.name for platform in found.platforms] == ["linux/arm64"]
    assert found.description == "A variant for tests."
    assert found.document.position("layers", "tools", 0).path.name == "child.yaml"
    assert found.document.position("description").path.name == "parent.yaml"
    assert found.document.position("suites", 0, "suite").line == 4


# The table of RFC 7396, appendix A, for documents that are mappings.
@pytest.mark.parametrize(
    ("original", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_merge_patch(original: Any, patch: Any, result: Any, tmp_path: Path) -> None:
    def document(value: Any, name: str) -> Document:
        (tmp_path / name).write_text(yaml.safe_dump(value))
        found, problems = documents.read(tmp_path / name)
        assert problems == []
        return found

    assert documents.merge(document(original, "original"), document(patch, "patch")).value == result


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@given(value=values)
def test_any_yaml_is_read_or_explained(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("yaml") / "any.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True))
    document, problems = documents.read(path)
    for problem in problems or documents.validate(document, SCHEMA / "variant.schema.json"):
        assert str(problem).count("any.yaml:") == 1


def test_the_shipped_files_are_valid() -> None:
    for folder in (VARIANTS, TOOLS):
        for name in variants.names(folder):
            assert variants.load(name, folder).name == name


@pytest.mark.parametrize("name", ["variant", "lock"])
def test_the_schemas_are_valid_and_explained(name: str) -> None:
    schema = json.loads((paths.SCHEMA / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    if name == "variant":
        assert all({"title", "description"} & value.keys() for value in schema["properties"].values())
