"""Which tests run one after another in the same process, and which processes take first (pytest-xdist)."""

from __future__ import annotations

from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from scripts import variants

_VARIANTS = variants.names()
# Modules whose tests take long: whoever took one last would keep all others waiting. The longest are first, and those
# that compute take turns with those that wait.
LONG = (
    *("test_surroundings", "test_foreign_platforms", "test_certificates", "test_modules", "test_reproducible"),
    *("test_unicode", "test_release", "test_tokens", "test_environment", "test_storage", "test_health", "test_vault"),
    *("test_verify", "test_accounts", "test_builders", "test_acme", "test_alpine", "test_commands", "test_workflows"),
    *("test_faults", "test_tor"),
)
# Modules whose tests have no server in common: each function may run anywhere.
INDEPENDENT = ("test_modules",)


class ByServer(LoadScopeScheduling):  # type: ignore[misc]  # the package has no types
    """Tests that share a server run in one process: those of a module, and within it those of one variant."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def scope(nodeid: str) -> str:
    """What a test's process is chosen by: `path/test_messages.py[alpine]`."""
    module, _, rest = nodeid.partition("::")
    function, _, parameters = rest.partition("[")
    if module.rpartition("/")[2].removesuffix(".py") in INDEPENDENT:
        return f"{module}::{function}"
    first = parameters.rstrip("]").partition("-")[0]
    return f"{module}[{first}]" if first in _VARIANTS else module


def variants_of(item: pytest.Item) -> set[str]:
    """Names of the variants whose images a test is of: by its marks, or by its fixtures; debian if nothing says else.

    Much of what is promised of all images is tested with the debian one alone, as they have the same code.
    """
    marked = {name for mark in item.iter_markers("variant") for name in mark.args}
    chosen = getattr(item, "callspec", None)
    parameters = chosen.params.values() if chosen else ()
    for parameter in parameters:
        name = parameter[0] if isinstance(parameter, tuple) and parameter else parameter
        if name in _VARIANTS:
            marked.add(name)
    if "hardened" in getattr(item, "fixturenames", ()):
        marked.add("hardened")
    return marked or {"debian"}


def in_order(items: list[pytest.Item]) -> None:
    """Put the long modules first; the others stay in the order that they were found in."""

    def place(item: Any) -> int:
        name = item.path.stem
        return LONG.index(name) if name in LONG else len(LONG)

    items.sort(key=place)
