"""What differs between two images: layer, member and attribute, not merely that they do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scripts.contents import Member, Members

ABSENT = "-"
_ATTRIBUTES = ("kind", "mode", "owner", "size", "content", "modified", "headers")


@dataclass(frozen=True)
class Difference:
    """One attribute of one member of a layer (`path`), or of the image's configuration, whose `layer` is empty."""

    layer: str
    path: str
    attribute: str
    expected: str
    found: str


def between(expected: Members, found: Members) -> Iterator[Difference]:
    """All differences between the layers of two images; of members that only stand in another order, the first one."""
    for layer in dict.fromkeys([*expected, *found]):
        if layer not in expected or layer not in found:
            yield Difference(layer, "", "layer", *(_presence(layer in side) for side in (expected, found)))
        else:
            yield from _of_layer(layer, expected[layer], found[layer])


def _of_layer(layer: str, expected: Sequence[Member], found: Sequence[Member]) -> Iterator[Difference]:
    before, after = ({member.path: member for member in side} for side in (expected, found))
    for path in sorted({*before, *after}):
        if path not in before or path not in after:
            kind = (before.get(path) or after[path]).kind
            yield Difference(layer, path, kind, *(_presence(path in side) for side in (before, after)))
        else:
            yield from _of_member(layer, before[path], after[path])
    if before.keys() == after.keys():
        places = enumerate(zip(before, after, strict=True))
        moved = next(((number, path) for number, (path, other) in places if path != other), None)
        if moved:
            number, path = moved
            yield Difference(layer, path, "place", str(number), str(list(after).index(path)))


def _of_member(layer: str, before: Member, after: Member) -> Iterator[Difference]:
    for attribute in _ATTRIBUTES:
        values = [getattr(member, attribute) for member in (before, after)]
        if values[0] != values[1]:
            shown = [_time(value) if attribute == "modified" else str(value) or ABSENT for value in values]
            yield Difference(layer, before.path, attribute, *shown)


def of_configurations(expected: Any, found: Any, path: str = "") -> Iterator[Difference]:
    """Differences between two values of JSON, by the place in them, such as `config.Env[3]`."""
    if isinstance(expected, Mapping) and isinstance(found, Mapping):
        for key in sorted({*expected, *found}):
            place = f"{path}.{key}".lstrip(".")
            yield from of_configurations(expected.get(key, ABSENT), found.get(key, ABSENT), place)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from of_configurations(one, other, f"{path}[{number}]")
    elif expected != found:
        yield Difference("", path, "configuration", str(expected), str(found))


def _presence(there: bool) -> str:
    return "there" if there else ABSENT


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
