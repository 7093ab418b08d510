from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scripts import documents
from scripts.documents import Document, Problem
from scripts.paths import SCHEMA

VARIANT_SCHEMA = SCHEMA / "variant.schema.json"


def problems(path: Path, content: str | bytes) -> list[str]:
    """All problems of a file called x.yaml, without its folder."""
    path = path / "x.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    document, found = documents.read(path)
    return [
        str(problem).removeprefix(f"{path.parent}/")
        for problem in found or documents.validate(document, VARIANT_SCHEMA)
    ]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("layers: [", "x.yaml:1:10: not valid YAML: expected the node content", id="unfinished list"),
        pytest.param("a: b: c\n", "x.yaml:1:5: not valid YAML: mapping values are not allowed here", id="two colons"),
        pytest.param("a: 1\n\tb: 2\n", "x.yaml:2:1: not valid YAML: found character '\\t'", id="tab"),
        pytest.param("a: 'b\n", "x.yaml:2:1: not valid YAML: found unexpected end of stream", id="unfinished string"),
        pytest.param("a: *b\n", "x.yaml:1:4: not valid YAML: found undefined alias 'b'", id="undefined alias"),
        pytest.param("a: b\n---\nc: d\n", "x.yaml:2:1: not valid YAML: but found another document", id="two documents"),
        pytest.param("a: \x00\n", "x.yaml:1:1: not valid YAML: unacceptable character #x0000", id="null byte"),
        pytest.param(b"a: \xff\n", "x.yaml:1:1: not UTF-8 text (byte 3)", id="not UTF-8"),
        pytest.param("a: b".encode("utf-16"), "x.yaml:1:1: not UTF-8 text (byte 0)", id="UTF-16"),
        pytest.param(b"\x7fELF\x02\x01\x01\x00", "x.yaml:1:1: not valid YAML: unacceptable character", id="program"),
        pytest.param("a: 1\nb: 2\na: 3\n", "x.yaml:3:1: a: this key stands here twice", id="duplicate key"),
        pytest.param("a:\n  b: 1\n  b: 1\n", "x.yaml:3:3: a.b: this key stands here twice", id="nested duplicate"),
        pytest.param("1: a\n'1': b\n", "x.yaml:2:1: 1: this key stands here twice", id="same key as number and text"),
        pytest.param("a: &x [*x]\n", "x.yaml:1:4: a[0]: an alias that contains itself", id="alias cycle in a list"),
        pytest.param("a: &x {b: {c: *x}}\n", "x.yaml:1:4: a.b.c: an alias that contains itself", id="alias cycle"),
        pytest.param("? [1, 2]\n: x\n", "x.yaml:1:3: a key must be a string", id="list as key"),
        pytest.param("a: !!python/object:os.system x\n", "x.yaml:1:4: a: not a plain value", id="Python object"),
        pytest.param("a: !!float x\n", "x.yaml:1:4: a: not a plain value", id="no float"),
        pytest.param("a: !!binary x\n", "x.yaml:1:4: a: not a plain value", id="no base64"),
        pytest.param("a: 2026-13-45\n", "x.yaml:1:4: a: not a plain value: month must be in 1..12", id="no date"),
    ],
)
def test_what_is_not_yaml_is_explained(tmp_path: Path, content: str | bytes, expected: str) -> None:
    (problem,) = problems(tmp_path, content)
    assert problem.startswith(expected)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("description: !!bool maybe\n", id="no boolean"),
        pytest.param("description: !!int ''\n", id="no number"),
        pytest.param("description: !!timestamp x\n", id="no time"),
        pytest.param("[" * 3000, id="3000 levels"),
        pytest.param(f"version: 0x{'f' * 5000}\n", id="number of 5000 digits"),
    ],
)
def test_strange_values_are_explained_and_do_not_crash(tmp_path: Path, content: str) -> None:
    (problem,) = problems(tmp_path, content)
    assert problem.startswith("x.yaml:1:")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param("- one\n- two\n", ["x.yaml:1:1: must be a mapping, not ['one', 'two']"], id="list"),
        pytest.param("---\n", ["x.yaml:2:1: must be a mapping, not None"], id="null"),
        pytest.param("text\n", ["x.yaml:1:1: must be a mapping, not 'text'"], id="text"),
        pytest.param(
            "platfroms: []\n",
            [
                (
                    "x.yaml:1:1: platfroms: unknown key; allowed: description, distribution, exclude, extends, image,"
                    " layers, platforms, suites, tags, tarballs, title, version; did you mean 'platforms'?"
                )
            ],
            id="unknown key",
        ),
        pytest.param(
            "image:\n  user:\n    nmae: prosody\n    id: 1\n    home: /\n",
            [
                "x.yaml:2:3: image.user: missing: name",
                "x.yaml:3:5: image.user.nmae: unknown key; allowed: home, id, name; did you mean 'name'?",
            ],
            id="unknown nested key, and what is missing for it",
        ),
        pytest.param("zzz: 1\n", ["x.yaml:1:1: zzz: unknown key; allowed: "], id="unlike any key"),
        pytest.param(
            "suites:\n  - suite: 3\n", ["x.yaml:2:5: suites[0].suite: must be a string, not 3"], id="number for text"
        ),
        pytest.param(
            "layers:\n  base: libc6\n",
            ["x.yaml:2:3: layers.base: must be a list or null, not 'libc6'"],
            id="text for list",
        ),
        pytest.param(
            "image: {user: {name: x, id: one, home: /}}\n",
            ["x.yaml:1:25: image.user.id: must be a whole number, not 'one'"],
            id="text for number",
        ),
        pytest.param(
            "image: {user: {name: x, id: 0, home: /}}\n",
            ["x.yaml:1:25: image.user.id: 0 is less than the minimum of 1"],
            id="too small",
        ),
        pytest.param(
            "platforms: [linux/amd64, linux/arm46]\n",
            ["x.yaml:1:26: platforms[1]: 'linux/arm46' is not known; allowed: linux/amd64, linux/arm64"],
            id="platform nobody has",
        ),
        pytest.param(
            "platforms: [linux/386, linux/386]\n",
            ["x.yaml:1:1: platforms: more than once: linux/386"],
            id="platform twice",
        ),
        pytest.param(
            "layers:\n  base: [tini, libc6, tini]\n",
            ["x.yaml:2:3: layers.base: more than once: tini"],
            id="package twice",
        ),
        pytest.param(
            "layers:\n  base:\n    - tini\n    - Libc6\n",
            ["x.yaml:4:7: layers.base[1]: 'Libc6' does not match"],
            id="no package name",
        ),
        pytest.param(
            "layers:\n  bill: [tini]\n",
            ["x.yaml:2:3: layers.bill: 'bill' is taken; choose another name"],
            id="layer of the build's own",
        ),
        pytest.param(
            "image: {health: {interval: soon, command: [x], timeout: 1s, start-period: 1s, retries: 1}}\n",
            ["x.yaml:1:18: image.health.interval: 'soon' does not match ^[0-9]+(ms|s|m|h)$, for example '30s'"],
            id="no duration",
        ),
        pytest.param("description: short\n", ["x.yaml:1:1: description: 'short' is too short"], id="too short"),
        pytest.param("suites: []\n", ["x.yaml:1:1: suites: [] should be non-empty"], id="empty list"),
        pytest.param(
            "description: &same [1]\nversion: *same\n",
            ["x.yaml:1:1: description: must be a string, not [1]", "x.yaml:2:1: version: must be a string, not [1]"],
            id="alias counts where it stands",
        ),
        pytest.param(
            "suites: [{suite: TRIXIE}]\nplatforms: [windows]\ncolour: blue\nversion: 1\n",
            [
                "x.yaml:1:11: suites[0].suite: 'TRIXIE' does not match",
                "x.yaml:2:13: platforms[0]: 'windows' is not known",
                "x.yaml:3:1: colour: unknown key",
                "x.yaml:4:1: version: must be a string, not 1",
            ],
            id="all at once, in the order of the file",
        ),
    ],
)
def test_what_the_schema_refuses_is_explained(tmp_path: Path, content: str, expected: list[str]) -> None:
    found = problems(tmp_path, content)
    assert len(found) == len(expected), found
    for problem, beginning in zip(found, expected, strict=True):
        assert problem.startswith(beginning)


@pytest.mark.parametrize(
    ("content", "place"),
    [
        pytest.param("layers:\n  base: [tini]\n  Top Layer: [libc6]\n", "x.yaml:3:3: layers.Top Layer: ", id="layer"),
        pytest.param("image:\n  ports:\n    http: the web\n", "x.yaml:3:5: image.ports.http: ", id="port"),
    ],
)
def test_a_bad_key_is_told_where_it_stands(tmp_path: Path, content: str, place: str) -> None:
    (problem,) = problems(tmp_path, content)
    assert problem.startswith(place)


def test_a_fraction_is_no_whole_number(tmp_path: Path) -> None:
    assert problems(tmp_path, "image: {user: {name: x, id: 5222.0, home: /x}}\n")


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    for content in ("", "\n", "# only a comment\n"):
        assert problems(tmp_path, content) == []


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    assert problems(tmp_path, b"\xef\xbb\xbfdescription: A variant for tests.\n") == []


def test_every_value_knows_its_position(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text("one:\n  two: [a,\n    b]\n  three:\n    - x: 1\n")
    document, found = documents.read(path)
    assert found == []
    places = {
        documents.show(pointer): (position.line, position.column) for pointer, position in document.positions.items()
    }
    assert places == {
        "": (1, 1), "one": (1, 1), "one.two": (2, 3), "one.two[0]": (2, 9), "one.two[1]": (3, 5),
        "one.three": (4, 3), "one.three[0]": (5, 7), "one.three[0].x": (5, 7),
    }  # fmt: skip
    # What is not there is found at what would hold it.
    assert document.position("one", "three", 7, "y") == document.position("one", "three")


@pytest.mark.parametrize(
    ("pointer", "text"),
    [((), ""), (("a",), "a"), (("a", 0), "a[0]"), (("a", 0, "b", "c"), "a[0].b.c"), ((1, 2), "[1][2]")],
)
def test_pointers_read_like_paths(pointer: documents.Pointer, text: str) -> None:
    assert documents.show(pointer) == text


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("platfroms", "platforms"), ("exlude", "exclude"), ("layer", "layers"), ("colour", None), ("", None)],
)
def test_the_nearest_name_is_suggested(name: str, suggested: str | None) -> None:
    known = ["platforms", "layers", "exclude", "image"]
    assert documents.nearest(name, known) == (f"; did you mean {suggested!r}?" if suggested else "")


def test_problems_sort_by_place_in_the_file(tmp_path: Path) -> None:
    places = [documents.Position(tmp_path, line, column) for line, column in ((10, 1), (9, 5), (9, 12), (100, 1))]
    found = sorted(Problem(place, "", "x") for place in places)
    assert [(problem.position.line, problem.position.column) for problem in found] == [
        (9, 5), (9, 12), (10, 1), (100, 1),
    ]  # fmt: skip


# The table of RFC 7396, appendix A, for documents that are mappings (a variant is nothing else), and more nesting.
MERGES = [
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
    ({"a": "b"}, {}, {"a": "b"}),
    ({"a": "b"}, {"a": {"c": None, "d": 1}}, {"a": {"d": 1}}),
    ({"a": {"b": {"c": 1, "d": 2}}}, {"a": {"b": {"c": None}}}, {"a": {"b": {"d": 2}}}),
    ({"a": {"b": 1}}, {"a": [None]}, {"a": [None]}),
]


@pytest.mark.parametrize(("original", "patch", "result"), MERGES, ids=[str(number) for number in range(len(MERGES))])
def test_merging_is_merge_patch(original: Any, patch: Any, result: Any, tmp_path: Path) -> None:
    parent, child = parsed(tmp_path / "parent.yaml", original), parsed(tmp_path / "child.yaml", patch)
    merged = documents.merge(parent, child)
    assert merged.value == result
    # Every value that is left has a position, in the file that it came from.
    for pointer in pointers(merged.value):
        from_child = lookup(child.value, pointer) is not MISSING
        assert merged.positions[pointer].path.name == ("child.yaml" if from_child else "parent.yaml"), pointer


MISSING = object()


def parsed(path: Path, value: Any) -> Document:
    path.write_text(yaml.safe_dump(value))
    document, found = documents.read(path)
    assert found == []
    return document


def pointers(value: Any, above: documents.Pointer = ()) -> list[documents.Pointer]:
    """Pointers of all values below the root."""
    items: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value))
    return [
        pointer
        for key, inner in items
        for pointer in [(*above, key), *pointers(inner, (*above, key))]
    ]  # fmt: skip


def lookup(value: Any, pointer: documents.Pointer) -> Any:
    for part in pointer:
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return MISSING
    return value


mappings = st.recursive(
    st.none() | st.integers(0, 3) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
).filter(lambda value: isinstance(value, dict))


def reference_merge(target: Any, patch: Any) -> Any:
    """The pseudo-code of RFC 7396, section 2, word for word."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = reference_merge(result.get(name), value)
    return result


@given(original=mappings, patch=mappings)
def test_merging_follows_the_standard(original: Any, patch: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("merge")
    merged = documents.merge(parsed(folder / "parent.yaml", original), parsed(folder / "child.yaml", patch))
    assert merged.value == reference_merge(original, patch)
    assert set(pointers(merged.value)) <= merged.positions.keys()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
SHAPED = st.dictionaries(
    st.sampled_from(["extends", "description", "suites", "platforms", "layers", "exclude", "version", "image"]), values
)


@given(value=values | SHAPED)
def test_any_yaml_is_read_or_explained(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("yaml") / "any.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True))
    document, found = documents.read(path)
    for problem in found or documents.validate(document, VARIANT_SCHEMA):
        assert str(problem).startswith(f"{path}:")
        assert problem.position.line >= 1


@given(text=st.text(max_size=40))
def test_any_text_is_read_or_explained(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("text") / "any.yaml"
    path.write_text(text, encoding="utf-8")
    document, found = documents.read(path)
    assert all(problem.position.path == path for problem in found)
    assert documents.validate(document, VARIANT_SCHEMA) is not None


@given(content=st.binary(max_size=40))
def test_any_bytes_are_read_or_explained(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("bytes") / "any.yaml"
    path.write_bytes(content)
    document, found = documents.read(path)
    assert all(problem.position.path == path for problem in found)
    assert documents.validate(document, VARIANT_SCHEMA) is not None
