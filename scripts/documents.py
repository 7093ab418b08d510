"""YAML files whose every value knows where it stands, and their validation against a JSON Schema.

All problems of a file are found in one go; each is told with file, line, column, path in the document, what is
allowed, and the nearest valid name.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from scripts.paths import ROOT

Pointer = tuple[str | int, ...]

_TYPES = {"object": "a mapping", "array": "a list", "string": "a string", "integer": "a whole number", "null": "null"}


@dataclass(frozen=True, order=True)
class Position:
    """A place in a file; line and column count from 1."""

    path: Path
    line: int = 1
    column: int = 1

    def __str__(self) -> str:
        path = self.path.relative_to(ROOT) if self.path.is_relative_to(ROOT) else self.path
        return f"{path}:{self.line}:{self.column}"


@dataclass(frozen=True, order=True)
class Problem:
    """One thing that is wrong, and where."""

    position: Position
    pointer: str
    text: str

    def __str__(self) -> str:
        return f"{self.position}: {self.pointer + ': ' if self.pointer else ''}{self.text}"


@dataclass(frozen=True)
class Document:
    """A parsed file: plain data, and the position of every value in it (by its pointer)."""

    value: Any
    positions: Mapping[Pointer, Position] = field(repr=False)

    def position(self, *pointer: str | int) -> Position:
        """Position of the value at `pointer`, or of the nearest value above it."""
        while pointer not in self.positions:
            pointer = pointer[:-1]
        return self.positions[pointer]

    def problem(self, pointer: Pointer, text: str) -> Problem:
        """Problem with the value at `pointer`."""
        return Problem(self.position(*pointer), show(pointer), text)


def show(pointer: Pointer) -> str:
    """Pointer as people write it: `layers.base[2]`."""
    text = ""
    for part in pointer:
        text += f"[{part}]" if isinstance(part, int) else f"{'.' if text else ''}{part}"
    return text


def nearest(name: str, allowed: Iterable[str]) -> str:
    """Half sentence that suggests the valid name that `name` was probably meant to be, or nothing."""
    close = difflib.get_close_matches(name, list(allowed), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def read(path: Path) -> tuple[Document, list[Problem]]:
    """Parse a YAML file (1.1, the safe subset) and keep the position of each value.

    The problems are those of YAML itself: syntax, encoding, duplicate keys, keys that are not strings.
    """
    whole = Document({}, {(): Position(path)})
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        return whole, [Problem(Position(path), "", f"not UTF-8 text (byte {error.start})")]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        position = Position(path, mark.line + 1, mark.column + 1) if mark else Position(path)
        context = f" ({error.context})" if error.context else ""
        return whole, [Problem(position, "", f"not valid YAML: {error.problem}{context}")]
    except yaml.YAMLError as error:
        return whole, [Problem(Position(path), "", f"not valid YAML: {error}")]
    except RecursionError:
        return whole, [Problem(Position(path), "", "not valid YAML: nested too deeply")]
    if node is None:
        return whole, []
    positions: dict[Pointer, Position] = {}
    problems: list[Problem] = []
    value = _construct(node, (), path, positions, problems, ())
    return Document(value, positions), problems


def _construct(
    node: yaml.Node,
    pointer: Pointer,
    path: Path,
    positions: dict[Pointer, Position],
    problems: list[Problem],
    ancestors: tuple[yaml.Node, ...],
) -> Any:
    """Plain data of a YAML node; fills `positions` and `problems` on the way."""
    positions.setdefault(pointer, _mark(path, node))
    if any(node is ancestor for ancestor in ancestors):
        problems.append(Problem(_mark(path, node), show(pointer), "an alias that contains itself"))
        return None
    ancestors = (*ancestors, node)
    if isinstance(node, yaml.SequenceNode):
        return [
            _construct(item, (*pointer, index), path, positions, problems, ancestors)
            for index, item in enumerate(node.value)
        ]
    if isinstance(node, yaml.MappingNode):
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem(_mark(path, key_node), show(pointer), "a key must be a string"))
                continue
            key = str(key_node.value)
            if key in result:
                problems.append(Problem(_mark(path, key_node), show((*pointer, key)), "this key stands here twice"))
            # A mapping's entry is found at its key: that is what an editor should jump to.
            positions[(*pointer, key)] = _mark(path, key_node)
            result[key] = _construct(value_node, (*pointer, key), path, positions, problems, ancestors)
        return result
    loader = yaml.SafeLoader("")
    try:
        return _plain(loader.construct_object(node), node)
    except (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError) as error:
        # PyYAML's constructors let Python's own errors through for scalars such as `!!bool maybe`.
        problem = error.problem if isinstance(error, yaml.MarkedYAMLError) else error
        problems.append(Problem(_mark(path, node), show(pointer), f"not a plain value: {problem}"))
        return None
    finally:
        loader.dispose()


def _plain(value: Any, node: yaml.Node) -> Any:
    """The value itself, a date as it is written; raises ValueError for a number that could not even be shown."""
    if isinstance(value, date):
        return str(node.value)
    if isinstance(value, int) and value.bit_length() > 64:
        raise ValueError("a number of more than 64 bits")
    return value


def _mark(path: Path, node: yaml.Node) -> Position:
    return Position(path, node.start_mark.line + 1, node.start_mark.column + 1)


def _is_integer(_checker: jsonschema.TypeChecker, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# JSON Schema counts 1.0 as an integer; YAML tells the two apart, and so does what is generated from it.
_Validator: type[jsonschema.Draft202012Validator] = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def validate(document: Document, schema: Path, *, complete: bool = True) -> list[Problem]:
    """Problems of `document` by a JSON Schema (2020-12), in the order of the file.

    A document that is not `complete` is a patch: required keys may be missing, and null stands for removal.
    """
    validator = _Validator(json.loads(schema.read_text()))
    value = document.value if complete else _without_nulls(document.value)
    found = [error for error in validator.iter_errors(value) if complete or error.validator != "required"]
    return sorted({problem for error in found for problem in _explain(document, error)})


def _without_nulls(value: Any) -> Any:
    """What a patch says, without what it removes."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _explain(document: Document, error: jsonschema.ValidationError) -> Iterator[Problem]:
    """Say in words what a schema violation means."""
    pointer: Pointer = tuple(error.absolute_path)
    value: Any = error.instance
    expected: Any = error.validator_value
    schema: Any = error.schema
    if "propertyNames" in error.absolute_schema_path:
        pointer = (*pointer, value)  # the key itself is wrong, not what it holds
    match error.validator:
        case "additionalProperties":
            known = sorted(schema.get("properties", {}))
            for key in sorted(set(value) - set(known)):
                yield document.problem(
                    (*pointer, key), f"unknown key; allowed: {', '.join(known)}{nearest(key, known)}"
                )
        case "required":
            missing = [key for key in expected if key not in value]
            yield document.problem(pointer, f"missing: {', '.join(missing)}")
        case "enum":
            text = f"{value!r} is not known; allowed: {', '.join(map(str, expected))}"
            yield document.problem(pointer, text + nearest(str(value), map(str, expected)))
        case "type":
            names = [expected] if isinstance(expected, str) else expected
            yield document.problem(pointer, f"must be {' or '.join(_TYPES[name] for name in names)}, not {value!r}")
        case "pattern":
            examples = schema.get("examples", [])
            hint = f", for example {examples[0]!r}" if examples else ""
            yield document.problem(pointer, f"{value!r} does not match {expected}{hint}")
        case "oneOf":
            choices = " or ".join(", ".join(choice["required"]) for choice in expected)
            yield document.problem(pointer, f"needs either {choices}, and not both")
        case "not" if "enum" in expected:
            yield document.problem(pointer, f"{value!r} is taken; choose another name")
        case "uniqueItems":
            twice = sorted({str(item) for item in value if value.count(item) > 1})
            yield document.problem(pointer, f"more than once: {', '.join(twice)}")
        case _:
            yield document.problem(pointer, error.message)


def merge(parent: Document, child: Document) -> Document:
    """Child over parent by JSON Merge Patch (RFC 7396); positions follow their values."""
    positions: dict[Pointer, Position] = {(): child.position()}

    def keep(source: Document, pointer: Pointer) -> None:
        for key, position in source.positions.items():
            if key[: len(pointer)] == pointer:
                positions[key] = position

    def patch(below: Any, above: Any, pointer: Pointer) -> Any:
        if not isinstance(above, dict):
            keep(child, pointer)
            return above
        below = below if isinstance(below, dict) else {}
        result: dict[str, Any] = {}
        for key, value in below.items():
            if key not in above:
                keep(parent, (*pointer, key))
                result[key] = value
        for key, value in above.items():
            if value is not None:
                positions[(*pointer, key)] = child.positions[(*pointer, key)]
                result[key] = patch(below.get(key), value, (*pointer, key))
        return result

    return Document(patch(parent.value, child.value, ()), positions)
