"""The environment catalogue: images/environment.yaml -> everything that is made from it.

    python -m scripts.catalogue [--check]

writes the table that the image reads, the reference page, the example file and the schema for editors, and likewise
what scripts/modules.py makes; with --check it writes nothing and fails with a diff if one is stale.
"""

from __future__ import annotations

import argparse
import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import documents, errors, modules, paths
from scripts.console import console
from scripts.documents import Document, Pointer, Problem
from scripts.errors import CatalogueError, StaleError

SOURCE = paths.IMAGES / "environment.yaml"
_SCHEMA = paths.ROOT / "schema" / "environment.schema.json"
_TABLE = paths.IMAGES / "rootfs/usr/local/lib/prosody-container/container/catalogue.lua"
_PAGE = paths.ROOT / "docs" / "environment.md"
_EXAMPLE = paths.ROOT / "deploy" / "environment.env"
_EDITOR_SCHEMA = paths.ROOT / "schema" / "container-environment.schema.json"

# Keys of an entry that the image's Lua needs; everything else is for people.
_LUA_KEYS = (
    "type", "of", "keys", "separator", "optional", "words", "none", "minimum", "maximum", "base", "default", "fallback",
    "secret", "module", "enables", "risk",
)  # fmt: skip

_TYPES: Mapping[str, str] = {
    "accounts": "accounts",
    "address": "address or domain",
    "boolean": "boolean",
    "burst": "seconds",
    "cidr": "network",
    "days": "number of days",
    "duration": "duration",
    "gibibytes": "number of GiB",
    "host": "domain",
    "integer": "whole number",
    "interface": "IP address or `*`",
    "ip": "IP address",
    "jid": "address",
    "json": "JSON",
    "mebibytes": "number of MiB",
    "mechanism": "SASL mechanism",
    "module": "module",
    "network": "IP address or network",
    "node": "name",
    "number": "number",
    "path": "path",
    "pattern": "Lua pattern",
    "port": "port",
    "provider": "provider",
    "rate": "rate",
    "role": "role",
    "script": "firewall script",
    "seconds": "duration",
    "size": "size",
    "string": "text",
    "text": "text, any",
    "timezone": "time zone",
    "umask": "octal number",
    "uri": "URI",
    "url": "web address",
}


@dataclass(frozen=True)
class Variable:
    """One entry of the catalogue; `entry` holds the keys as they are written (schema/environment.schema.json)."""

    name: str
    section: str
    since: str
    entry: Mapping[str, Any]

    @property
    def is_family(self) -> bool:
        """Whether the name stands for many: PROSODY_OPTION_<NAME>."""
        return "<" in self.name

    @property
    def instance(self) -> str:
        """A name that can be set: the variable's own, or one of the family's."""
        return str(self.entry.get("instance", self.name))

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names of other images with the same meaning, without its own."""
        return tuple(dict.fromkeys(name for name in self.entry.get("peers", {}).values() if name != self.name))

    @property
    def names(self) -> tuple[str, ...]:
        """All names, its own first."""
        return (self.name, *self.aliases)

    @property
    def options(self) -> tuple[str, ...]:
        """Paths of the options of Prosody that it drives."""
        option = self.entry.get("option", [])
        return (option,) if isinstance(option, str) else tuple(option)

    @property
    def is_secret(self) -> bool:
        """Whether its value must never be shown."""
        return bool(self.entry.get("secret", False))

    @property
    def allowed(self) -> tuple[str, ...]:
        """Texts that an enumeration admits."""
        return tuple(map(str, self.entry.get("allowed", [])))


@dataclass(frozen=True)
class Section:
    """Variables that belong together."""

    title: str
    about: str
    variables: tuple[Variable, ...]


@dataclass(frozen=True)
class Catalogue:
    """All sections, in the order of the file; peers by their key."""

    sections: tuple[Section, ...]
    peers: Mapping[str, Mapping[str, str]]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All variables, in the order in which the image reads them."""
        return tuple(variable for section in self.sections for variable in section.variables)


def load(path: Path = SOURCE) -> Catalogue:
    """Read and validate the catalogue.

    Raises CatalogueError with every problem and its place.
    """
    document, problems = documents.read(path)
    _refuse(problems or documents.validate(document, _SCHEMA))
    value = document.value
    sections = tuple(
        Section(
            section["title"],
            section["about"],
            tuple(
                Variable(name, section["title"], str(entry.get("since", value["since"])), entry)
                for name, entry in section["variables"].items()
            ),
        )
        for section in value["sections"]
    )
    catalogue = Catalogue(sections, value["peers"])
    _refuse(_inconsistencies(document, catalogue))
    return catalogue


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        lines = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise CatalogueError(
            f"{len(problems)} problem{'s'[: len(problems) > 1]} in the environment catalogue:\n{lines}"
        )


def _inconsistencies(document: Document, catalogue: Catalogue) -> list[Problem]:
    """What no schema can say: names once, references only to variables further up, peers that exist."""
    problems = []
    seen: dict[str, str] = {}
    defined: set[str] = set()
    for number, section in enumerate(catalogue.sections):
        for variable in section.variables:
            pointer: Pointer = ("sections", number, "variables", variable.name)
            for name in variable.names:
                if name in seen:
                    problems.append(document.problem(pointer, f"{name} is a name of {seen[name]} already"))
                seen[name] = variable.name
            wanted = set(re.findall(r"\$\{([A-Z0-9_]+)\}", str(variable.entry.get("default", ""))))
            wanted |= {variable.entry["fallback"]} if "fallback" in variable.entry else set()
            problems += [
                document.problem(pointer, f"refers to {name}, which is not a variable further up")
                for name in sorted(wanted - defined)
            ]
            problems += [
                document.problem((*pointer, "peers", peer), f"{peer} is not among the peers at the top of the file")
                for peer in variable.entry.get("peers", {})
                if peer not in catalogue.peers
            ]
            defined.add(variable.name)
    return problems


def lua(value: object) -> str:
    """A value as a Lua literal (Lua 5.4 Reference Manual, 3.1)."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        escaped = re.sub(r'[\\"]', lambda match: "\\" + match[0], value)
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda match: f"\\{ord(match[0]):03d}", escaped) + '"'
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"[{lua(str(key))}] = {lua(item)}" for key, item in value.items()) + " }"
    if isinstance(value, Iterable):
        return "{ " + ", ".join(map(lua, value)) + " }"
    raise TypeError(f"no Lua literal for {value!r}")


def _lua_entry(variable: Variable) -> dict[str, object]:
    entry = variable.entry
    keys: dict[str, object] = {"name": variable.name}
    if variable.aliases:
        keys["aliases"] = variable.aliases
    keys |= {key: entry[key] for key in _LUA_KEYS if key in entry}
    if "allowed" in entry:
        keys["allowed"] = variable.allowed
        if isinstance(entry["allowed"], dict):
            keys["values"] = {str(key): value for key, value in entry["allowed"].items()}
    if variable.options:
        keys["option"] = variable.options
    if "scope" in entry:
        keys["scope"] = entry["scope"]
    if "risk" in entry:
        # Dangerous is the opposite of what holds by itself.
        keys["risky"] = str(entry.get("default", entry.get("unset"))) != "true"
    return keys


def table(catalogue: Catalogue) -> str:
    """The Lua table that the image reads; no meanings, as they would be loaded at each start for nothing."""
    lines = [
        "-- The environment variables this image understands. Generated by `nox -s generate` from",
        "-- images/environment.yaml, where everything is explained. Do not edit.",
        "-- luacheck: no max line length",
        "return {",
    ]
    for variable in catalogue.variables:
        fields = ", ".join(f"{key} = {lua(value)}" for key, value in _lua_entry(variable).items())
        lines.append(f"\t{{ {fields} }};")
    return "\n".join([*lines, "}", ""])


def _escape(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _type(variable: Variable) -> str:
    entry = variable.entry
    if entry["type"] == "enum":
        shown = " \\| ".join(f"`{word}`" for word in variable.allowed)
    elif entry["type"] == "list":
        shown = f"list: {_TYPES[entry['of']]}"
    elif entry["type"] == "map":
        separator = entry.get("separator", ":")
        values = " \\| ".join(variable.allowed) if variable.allowed else _TYPES[entry["of"]]
        shown = f"list: {_TYPES[entry['keys']]}`{separator}`{values}"
    else:
        shown = _TYPES[entry["type"]]
    words = [*entry.get("words", []), *(["none"] if entry.get("none") else [])]
    shown += "".join(f", `{word}`" for word in words)
    return shown + (", secret" if variable.is_secret else "")


def _default(variable: Variable) -> str:
    entry = variable.entry
    if "unset" in entry:
        return _escape(str(entry["unset"]))
    if "fallback" in entry and "default" in entry:
        return f"`{entry['fallback']}`, else `{entry['default']}`"
    if "fallback" in entry:
        return f"`{entry['fallback']}`"
    return f"`{entry['default']}`" if entry.get("default") else ""


def _drives(variable: Variable) -> str:
    shown = ", ".join(f"`{option}`" for option in variable.options)
    module = variable.entry.get("enables", variable.entry.get("module"))
    loads = " (loads it)" if "enables" in variable.entry else ""
    return shown + (f" of mod_{module}{loads}" if module else "")


_SCOPES = {None: "server", "host": "server, host, component", "external": "external components"}


def page(catalogue: Catalogue) -> str:
    """docs/environment.md: every variable, by section."""
    count = len(catalogue.variables)
    lines = [
        "<!-- Generated by `nox -s generate` from images/environment.yaml. Do not edit. -->",
        "",
        "# Environment variables",
        "",
        f"All {count} variables of the image. How values are written, secrets from files, and variables for one host only"
        " are explained in [The container](container.md#variables); how to come from another image in"
        " [Migrating](migrating.md).",
        "",
        "Columns: the name, with the names that other images have for it; what is accepted; what holds when it is not"
        " set; where it applies (*host*: also for one host or component alone, as `NAME__HOST`); the option of Prosody"
        " that it drives.",
        "",
        "Contents: "
        + " · ".join(f"[{section.title}](#{section.title.lower().replace(' ', '-')})" for section in catalogue.sections)
        + " · [Names of other images](#names-of-other-images)",
    ]
    for section in catalogue.sections:
        lines += ["", f"## {section.title}", "", section.about, ""]
        lines += ["| variable | accepted | when not set | scope | drives | meaning |", "|---|---|---|---|---|---|"]
        for variable in section.variables:
            entry = variable.entry
            aliases = "".join(f"<br>`{_escape(alias)}`" for alias in variable.aliases)
            scope = _SCOPES.get(entry.get("scope"), f"{entry.get('scope')} components")
            meaning = _escape(entry["meaning"])
            meaning += f" Risk: {entry['risk']}." if "risk" in entry else ""
            meaning += f" *{_escape(entry['note'])}*" if "note" in entry else ""
            meaning += (
                f" Example: `{_escape(entry['example'])}`."
                if variable.is_family is False
                else (f" Example: `{variable.instance}={entry['example']}`.")
            )
            lines.append(
                f"| `{variable.name}`{aliases} | {_type(variable)} | {_default(variable)} | {scope} |"
                f" {_drives(variable)} | {meaning} |"
            )
    lines += ["", "## Names of other images", "", "Every variable of these images works under its own name.", ""]
    for peer, facts in catalogue.peers.items():
        lines += [
            f"### {facts['title']}",
            "",
            f"{facts['about'].capitalize()}.",
            "",
            "| name there | name here |",
            "|---|---|",
        ]
        named = [
            (variable.entry["peers"][peer], variable)
            for variable in catalogue.variables
            if peer in variable.entry.get("peers", {})
        ]
        lines += [f"| `{theirs}` | `{variable.name}` |" for theirs, variable in sorted(named, key=lambda pair: pair[0])]
        lines.append("")
    return "\n".join(lines)


def example(catalogue: Catalogue) -> str:
    """A file for `docker run --env-file` in which everything is commented out."""
    lines = [
        "# Every variable of the image with an example, commented out: take away the # of those you need.",
        "# For docker run --env-file, Compose's env_file and the like. Generated from images/environment.yaml.",
    ]
    for section in catalogue.sections:
        lines += ["", f"# ---- {section.title}: {section.about}"]
        for variable in section.variables:
            lines += ["", f"# {variable.entry['meaning']}", f"#{variable.instance}={variable.entry['example']}"]
    return "\n".join([*lines, ""])


def editor_schema(catalogue: Catalogue) -> str:
    """JSON Schema (draft 2020-12) of a mapping of variables, such as `environment:` of a Compose file."""
    properties: dict[str, object] = {}
    patterns: dict[str, object] = {}
    for variable in catalogue.variables:
        entry = variable.entry
        facts: dict[str, object] = {
            "description": entry["meaning"] + (f" {entry['note']}" if "note" in entry else ""),
            "type": ["string", "number", "boolean", "null"],
            "examples": [entry["example"]],
        }
        if entry["type"] == "enum" and "scope" not in entry:
            facts["enum"] = [*variable.allowed, None]
            del facts["type"]
        if entry.get("default"):
            facts["default"] = entry["default"]
        for name in variable.names:
            if variable.is_family:
                patterns[f"^{name.split('<')[0]}.+$"] = facts
                continue
            properties[name] = facts
            properties[f"{name}_FILE"] = {"description": f"File that holds {name}.", "type": ["string", "null"]}
            if "scope" in entry:
                patterns[f"^{name}__[A-Za-z0-9_]+$"] = facts | {
                    "description": f"{name} for one host or component only."
                }
    return (
        json.dumps(
            {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "$id": "https://prosody-images.example/schema/container-environment.schema.json",
                "title": "Environment of the Prosody container",
                "$comment": "Generated by `nox -s generate` from images/environment.yaml. Do not edit.",
                "type": "object",
                "properties": properties,
                "patternProperties": patterns,
                "propertyNames": {
                    "anyOf": [
                        {"not": {"pattern": "^PROSODY_"}},
                        {"enum": sorted(properties)},
                        *({"pattern": pattern} for pattern in sorted(patterns)),
                    ]
                },
            },
            indent=1,
            ensure_ascii=False,
        )
        + "\n"
    )


def outputs() -> dict[Path, str]:
    """Path and text of every generated file."""
    catalogue = load()
    return {
        _TABLE: table(catalogue),
        _PAGE: page(catalogue),
        _EXAMPLE: example(catalogue),
        _EDITOR_SCHEMA: editor_schema(catalogue),
        **modules.outputs(),
    }


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s generate --", description="Write what the catalogues generate.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail with a diff if a file is stale")
    options = parser.parse_args(arguments)
    stale = []
    for path, text in outputs().items():
        shown = str(path.relative_to(paths.ROOT))
        if options.check:
            before = path.read_text() if path.is_file() else ""
            stale += difflib.unified_diff(
                before.splitlines(keepends=True),
                text.splitlines(keepends=True),
                f"{shown} (committed)",
                f"{shown} (generated)",
            )
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        written = paths.write_text(path, text)
        console.print(f"{shown}: {'written' if written else 'up to date'}")
    if stale:
        raise StaleError(
            "Generated files are not what their sources generate:\n"
            + "".join(stale[:200])
            + "\nWrite them again with: scripts/nox -s generate"
        )


if __name__ == "__main__":
    errors.run(main)
