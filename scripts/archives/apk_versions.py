"""Versions of Alpine's packages: their order, and the operators of relations.

The rules are those of apk-package(5), section "name and version", and of apk-world(5) for the operators.
"""

from __future__ import annotations

import re
from functools import lru_cache

# Suffixes in their order; those before None make a version older than the same one without a suffix.
_SUFFIXES = ("alpha", "beta", "pre", "rc", None, "cvs", "svn", "git", "hg", "p")
_TOKEN = re.compile(
    r"""(?P<number>\.?[0-9]+)
      | (?P<letter>[a-z])
      | _(?P<suffix>alpha|beta|pre|rc|cvs|svn|git|hg|p)(?![a-z])
      | ~(?P<commit>[0-9a-f]+)
      | -r(?P<revision>[0-9]+)""",
    re.VERBOSE,
)

# Where two versions part, the one that goes on with the higher kind is newer.
_OLDER, _INVALID, _END, _REVISION, _COMMIT, _SUFFIX_NUMBER, _SUFFIX, _LETTER, _NUMBER = range(9)
# What may follow what, by kind.
_AFTER: dict[int, set[int | None]] = {
    _INVALID: set(),
    _NUMBER: {None, _NUMBER},
    _LETTER: {_NUMBER},
    _SUFFIX: {_NUMBER, _LETTER, _SUFFIX, _SUFFIX_NUMBER},
    _SUFFIX_NUMBER: {_SUFFIX},
    _COMMIT: {_NUMBER, _LETTER, _SUFFIX, _SUFFIX_NUMBER},
    _REVISION: {_NUMBER, _LETTER, _SUFFIX, _SUFFIX_NUMBER, _COMMIT},
}

Token = tuple[int, int, int | str]  # kind, form of the value, value
_LAST: Token = (_END, 0, 0)


@lru_cache(maxsize=65536)
def key(version: str) -> tuple[Token, ...]:
    """Key that sorts by Alpine's version order; what is no version is older than all that begins like it."""
    found: list[Token] = []
    place, last = 0, None
    while match := _TOKEN.match(version, place):
        token = _read(match, last)
        kind = _SUFFIX if token[0] == _OLDER else token[0]
        if last not in _AFTER[kind]:
            break
        found.append(token)
        place, last = match.end(), kind
    return (*found, _LAST if found and place == len(version) else (_INVALID, 0, 0))


def is_version(text: str) -> bool:
    """Whether `text` is a version at all."""
    return key(text)[-1] == _LAST


def matches(version: str, operator: str, other: str) -> bool:
    """Whether `version` stands in the relation `operator` (any of `<`, `=`, `>`, `~` together) to `other`."""
    left, right = key(version), key(other)
    # `~`: all that `other` says is also said by `version` (1.6.3 for ~1.6).
    if "~" in operator and right[-1] == _LAST and left[: len(right) - 1] == right[:-1]:
        return True
    signs = {-1: "<", 0: "=~", 1: ">"}[(left > right) - (left < right)]
    return any(sign in operator for sign in signs)


def _read(match: re.Match[str], last: int | None) -> Token:
    """A part of a version as something to compare."""
    kind, value = match.lastgroup, match[match.lastgroup or ""]
    match kind:
        case "number" if last == _SUFFIX and value[0] != ".":
            return _SUFFIX_NUMBER, 1, int(value)
        case "number" if last is None:
            return (_INVALID, 0, 0) if value[0] == "." else (_NUMBER, 1, int(value))
        case "number":
            digits = value.lstrip(".")
            # One with leading zeros is compared as text, as in Gentoo: 1.05 < 1.1 < 1.10.
            return (_NUMBER, 0, digits) if digits[0] == "0" else (_NUMBER, 1, int(digits))
        case "letter":
            return _LETTER, 0, value
        case "suffix":
            rank = _SUFFIXES.index(value)
            return _SUFFIX if rank > _SUFFIXES.index(None) else _OLDER, 1, rank
        case "commit":
            return _COMMIT, 0, value
        case _:
            return _REVISION, 1, int(value)
