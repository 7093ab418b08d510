"""The environment catalogue: images/environment.yaml -> Catalogue, from which the modules beside this one make files.

The keys of an entry are explained in schema/environment.schema.json.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import documents, paths
from scripts.documents import Document, Pointer, Problem, nearest
from scripts.errors import CatalogueError

SOURCE = paths.IMAGES / "environment.yaml"

_SCHEMA = paths.SCHEMA / "environment.schema.json"

# Texts that stand in one cell of a table, or in one line of a file
_LINES = ("example", "meaning", "note", "risk", "unset")
# Up to here a whole number is the same in every reader of Lua and JSON.
_GREATEST_NUMBER = 2**53


@dataclass(frozen=True)
class Variable:
    """One entry of the catalogue; `entry` holds its keys as they are written."""

    name: str
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
    def peers(self) -> Mapping[str, str]:
        """Its name in other images."""
        found: Mapping[str, str] = self.entry.get("peers", {})
        return found

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names of other images with the same meaning, without its own."""
        return tuple(dict.fromkeys(name for name in self.peers.values() if name != self.name))

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

    @property
    def usual(self) -> str | None:
        """What holds when it is not set, if that is one value."""
        value = self.entry.get("default", self.entry.get("unset"))
        return None if value is None else str(value)

    @property
    def risky(self) -> bool:
        """The value that has the risk, where there is one: the opposite of what holds by itself."""
        return self.usual != "true"


@dataclass(frozen=True)
class Section:
    """Variables that belong together."""

    title: str
    about: str
    variables: tuple[Variable, ...]


@dataclass(frozen=True)
class Peer:
    """Another image, whose variables work under their own names."""

    title: str
    about: str


@dataclass(frozen=True)
class Catalogue:
    """All sections, in the order of the file; peers by their key."""

    sections: tuple[Section, ...]
    peers: Mapping[str, Peer]

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All variables, in the order in which the image reads them."""
        return tuple(variable for section in self.sections for variable in section.variables)


def load(path: Path = SOURCE) -> Catalogue:
    """Read and check the catalogue; raises CatalogueError with every problem and its place."""
    if not path.is_file():
        raise CatalogueError(f"There is no catalogue of variables at {path}. Restore it: git checkout -- {path}")
    document, problems = documents.read(path)
    _refuse(problems or documents.validate(document, _SCHEMA))
    catalogue = Catalogue(
        sections=tuple(_section(section) for section in document.value["sections"]),
        peers={key: Peer(**facts) for key, facts in document.value["peers"].items()},
    )
    _refuse([problem for check in _CHECKS for problem in check(document, catalogue)])
    return catalogue


def _section(value: Mapping[str, Any]) -> Section:
    variables = tuple(Variable(name, entry) for name, entry in value["variables"].items())
    return Section(value["title"], value["about"], variables)


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        lines = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise CatalogueError(
            f"{len(problems)} problem{'s'[: len(problems) > 1]} in the catalogue of variables:\n{lines}"
        )


# What no schema can say


def _entries(catalogue: Catalogue) -> Iterator[tuple[Pointer, Variable]]:
    """Every variable, with where it stands."""
    for number, section in enumerate(catalogue.sections):
        for variable in section.variables:
            yield ("sections", number, "variables", variable.name), variable


def _repeated_titles(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    """Sections that nobody could tell apart, or link to."""
    seen: set[str] = set()
    for number, section in enumerate(catalogue.sections):
        if section.title in seen:
            yield document.problem(("sections", number, "title"), f"there is another section {section.title!r}")
        seen.add(section.title)


def _repeated_names(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    """Names of two variables."""
    owners: dict[str, str] = {}
    for pointer, variable in _entries(catalogue):
        for name in variable.names:
            if name in owners:
                yield document.problem(_place(pointer, variable, name), f"{name} is a name of {owners[name]} already")
            owners.setdefault(name, variable.name)


def _names_of_files(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    """Names that mean already: the value of another variable is in this file."""
    names = {name for variable in catalogue.variables for name in variable.names}
    for pointer, variable in _entries(catalogue):
        for name in variable.names:
            if name.removesuffix("_FILE") in names - {name}:
                yield document.problem(
                    _place(pointer, variable, name), f"{name} is the file of {name.removesuffix('_FILE')} already"
                )


def _place(pointer: Pointer, variable: Variable, name: str) -> Pointer:
    """Where one of the names of a variable is written."""
    peers = [peer for peer, theirs in variable.peers.items() if theirs == name != variable.name]
    return (*pointer, "peers", peers[0]) if peers else pointer


def _references(variable: Variable) -> Iterator[tuple[str, str]]:
    """Each variable that its value may be made from, with the key that says so."""
    for name in re.findall(r"\$\{([^}]*)\}", variable.entry.get("default", "")):
        yield "default", name
    if "fallback" in variable.entry:
        yield "fallback", variable.entry["fallback"]


def _missing_references(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    """Variables that have no value yet when another one needs it."""
    above: list[str] = []
    for pointer, variable in _entries(catalogue):
        for key, name in _references(variable):
            if name not in above:
                text = f"refers to {name}, which is not a variable further up{nearest(name, above)}"
                yield document.problem((*pointer, key), text)
        above.append(variable.name)


def _unknown_peers(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    for pointer, variable in _entries(catalogue):
        for peer in variable.peers:
            if peer not in catalogue.peers:
                text = f"{peer} is not among the peers at the top of the file{nearest(peer, catalogue.peers)}"
                yield document.problem((*pointer, "peers", peer), text)


def _broken_lines(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    """Texts that would not stay in their cell or line."""
    texts: dict[Pointer, str] = {}
    for number, section in enumerate(catalogue.sections):
        texts |= {("sections", number, "title"): section.title, ("sections", number, "about"): section.about}
    for key, peer in catalogue.peers.items():
        texts |= {("peers", key, "title"): peer.title, ("peers", key, "about"): peer.about}
    for pointer, variable in _entries(catalogue):
        texts |= {(*pointer, key): variable.entry[key] for key in _LINES if key in variable.entry}
    for place, text in texts.items():
        if not text or not text.isprintable() or text.strip() != text:
            yield document.problem(place, "must be one line of printable characters, without blanks around it")


def _incomplete_families(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    for pointer, variable in _entries(catalogue):
        beginning = variable.name.partition("<")[0]
        if not variable.is_family and "instance" in variable.entry:
            yield document.problem((*pointer, "instance"), "is for names with a < only")
        elif variable.is_family and not re.fullmatch(f"{beginning}[A-Za-z0-9_]+", variable.instance):
            yield document.problem((*pointer, "instance"), f"must be a name that begins with {beginning}")


def _risks_of_nothing(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    for pointer, variable in _entries(catalogue):
        is_clear = variable.entry["type"] == "boolean" and variable.usual in ("true", "false")
        if "risk" in variable.entry and not is_clear:
            text = "is for booleans whose default or unset is true or false, and speaks of the opposite"
            yield document.problem((*pointer, "risk"), text)


def _endless_numbers(document: Document, catalogue: Catalogue) -> Iterator[Problem]:
    for pointer, variable in _entries(catalogue):
        for key in ("minimum", "maximum"):
            number = variable.entry.get(key, 0)
            if not math.isfinite(number) or abs(number) > _GREATEST_NUMBER:
                yield document.problem((*pointer, key), f"{number} is too great")


_CHECKS: tuple[Callable[[Document, Catalogue], Iterator[Problem]], ...] = (
    _repeated_titles,
    _repeated_names,
    _names_of_files,
    _missing_references,
    _unknown_peers,
    _broken_lines,
    _incomplete_families,
    _risks_of_nothing,
    _endless_numbers,
)
