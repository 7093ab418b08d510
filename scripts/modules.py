"""The catalogue of Prosody's modules: images/modules.yaml -> the table that the image reads, and a page for people.

scripts/catalogue/ writes and checks what is generated here, together with its own files.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from scripts import documents, paths
from scripts.documents import Document, Problem
from scripts.errors import CatalogueError

SOURCE = paths.IMAGES / "modules.yaml"
TABLE = paths.IMAGES / "rootfs/usr/local/lib/prosody-container/container/modules.lua"
PAGE = paths.ROOT / "docs" / "modules.md"

_SCHEMA = paths.SCHEMA / "modules.schema.json"

# Key of an origin or a scope in the file -> how the page calls it, in the order of the page.
_ORIGINS = {
    "prosody": "Part of Prosody",
    "prosody-modules": "Community modules, from Debian's package prosody-modules",
    "image": "Made for this image",
}
_SCOPES = {
    "host": "virtual host",
    "component": "component of its own",
    "muc": "component for rooms",
    "global": "whole server",
}

# What the image needs to know; everything else is for people.
_TABLE_KEYS = ("name", "summary", "origin", "scope", "broken", "obsolete")


@dataclass(frozen=True)
class Module:
    """One module of Prosody that the image contains; the texts are explained in schema/modules.schema.json."""

    name: str
    summary: str
    origin: str
    scope: str
    broken: str | None = None
    obsolete: str | None = None
    caution: str | None = None
    service: str | None = None
    options: tuple[str, ...] = ()


def load(path: Path = SOURCE) -> tuple[Module, ...]:
    """Read and check the catalogue; raises CatalogueError with every problem."""
    if not path.is_file():
        raise CatalogueError(f"There is no catalogue of modules at {path}. Restore it: git checkout -- {path}")
    document, problems = documents.read(path)
    problems = problems or documents.validate(document, _SCHEMA) or _misplaced(document)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in problems)
        raise CatalogueError(f"{len(problems)} problem{'s'[: len(problems) > 1]} in the catalogue of modules:\n{lines}")
    return tuple(
        Module(**{"name": name, **entry, "options": tuple(entry.get("options", ()))})
        for name, entry in document.value.items()
    )


def _misplaced(document: Document) -> list[Problem]:
    """Where the order of the names is broken, in which people look them up."""
    return [
        document.problem((name,), f"must stand before {previous!r}: the names are sorted")
        for previous, name in pairwise(document.value)
        if name < previous
    ]


def lua_string(text: str) -> str:
    """A string of Lua that stands for exactly `text`, whatever is in it (Lua 5.4 Reference Manual, 3.1)."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    # Always three digits for each byte: a digit that follows would belong to a shorter number.
    return "".join(f"\\{byte:03d}" for byte in character.encode())


def lua_table(modules: Iterable[Module]) -> str:
    """Text of a Lua file that returns the modules as a list."""
    lines = [
        "-- The modules of Prosody in this image.",
        "--",
        "-- Generated from images/modules.yaml. Do not edit: change that file and run scripts/nox -s generate",
        "",
        "return {",
    ]
    for module in modules:
        values = {key: getattr(module, key) for key in _TABLE_KEYS}
        lines.append("\t{")
        lines += [f"\t\t{key} = {lua_string(value)};" for key, value in values.items() if value is not None]
        lines.append("\t};")
    return "\n".join([*lines, "}", ""])


def page(modules: Sequence[Module]) -> str:
    """Text of the page for people."""
    broken = [module for module in modules if module.broken]
    obsolete = [module for module in modules if module.obsolete]
    parts = [
        "<!-- Generated from images/modules.yaml. Do not edit: change that file and run scripts/nox -s generate -->",
        "# Modules",
        _introduction(len(modules), len(broken)),
    ]
    for origin, title in _ORIGINS.items():
        members = [module for module in modules if module.origin == origin]
        if members:
            rows = [[f"`{each.name}`", each.summary, _SCOPES[each.scope], _state(each)] for each in members]
            parts += [f"## {title}", _markdown(["module", "what it does", "loaded on", "state"], rows)]
    if broken or obsolete:
        parts.append("## Broken and obsolete")
    if broken:
        parts += [
            "These do not do their work in this image:",
            _markdown(["module", "why"], [[f"`{each.name}`", str(each.broken)] for each in broken]),
        ]
    if obsolete:
        parts += [
            "For these there is something better:",
            _markdown(["module", "instead"], [[f"`{each.name}`", str(each.obsolete)] for each in obsolete]),
        ]
    return "\n\n".join(parts) + "\n"


def _introduction(total: int, broken: int) -> str:
    return f"""\
The image contains {total} modules of Prosody. `PROSODY_ENABLE_MODULES` loads some in addition to what is loaded by
default, `PROSODY_DISABLE_MODULES` keeps some from being loaded; a module of your own goes into `/etc/prosody/modules`.

Each of them is loaded by the tests in a running server, without a warning or an error unless its state says `broken`
({broken} of them) or that it needs something. Options go into a file in `/etc/prosody/conf.d`, and so does a module
that is loaded on something else than the virtual host: *whole server* modules can be enabled anywhere and are loaded
once, the others belong to a component of their own or to one for rooms."""


def _state(module: Module) -> str:
    """What to know before enabling a module, in a few words; the reasons are further down on the page."""
    words = [word for word, applies in (("broken", module.broken), ("obsolete", module.obsolete)) if applies]
    needed = [*(f"`{option}`" for option in module.options), *([module.service] if module.service else [])]
    if needed and not module.broken:
        words.append(f"needs {' and '.join(needed)}")
    if not words:
        words = ["loads"]
    return ", ".join(words) + (f". {module.caution}" if module.caution else "")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [head, ["---"] * len(head), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    lines = [" | ".join(row).join(("| ", " |")) for row in cells]
    lines[1] = "|" + "---|" * len(head)
    return "\n".join(lines)


def outputs() -> dict[Path, str]:
    """The text of every file that is generated from the catalogue, by its path."""
    modules = load()
    return {TABLE: lua_table(modules), PAGE: page(modules)}
