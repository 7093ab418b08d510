"""Python packages that the build system uses, with the licence that each states -> docs/dependencies.md.

    python -m scripts.dependencies [--check]

The page has all that requirements.txt locks for Linux. With --check nothing is written and nothing fetched: it is an
error if a package is missing or too much, or if one that is installed here states something else.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from cyclonedx import spdx
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import errors, paths
from scripts.console import console
from scripts.errors import FetchError, StaleError

REQUIREMENTS = paths.ROOT / "requirements.txt"
PAGE = paths.ROOT / "docs" / "dependencies.md"
_PYTHONS = ("3.11", "3.13")  # the oldest and the newest that the project is used with; versions may differ between them
_LINUX = {
    "os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64",
    "implementation_name": "cpython", "platform_python_implementation": "CPython",
}  # fmt: skip
# Classifiers that mean one licence only; those of Apache, BSD and the GNU project mean several (PEP 639, appendix
# "Mapping License Classifiers to SPDX Identifiers").
_CLASSIFIERS = {
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
}


@dataclass(frozen=True, order=True)
class Dependency:
    """A Python package. `licence` is an SPDX expression, empty if it says what it says in `words` of its own."""

    name: str
    version: str
    licence: str
    words: str

    @property
    def row(self) -> str:
        """Its line in the page."""
        return f"| {self.name} | {self.version} | {self.licence or f'“{self.words}”'} |"


def locked(text: str) -> Iterator[Requirement]:
    """What a requirements file locks, without the hashes."""
    for line in text.replace("\\\n", "").splitlines():
        if line and not line.startswith("#"):
            yield Requirement(re.sub(r"--hash=\S+", "", line))


def everything() -> list[Dependency]:
    """All that is locked for Linux. Raises FetchError if a package cannot be had."""
    found: set[Dependency] = set()
    for python in _PYTHONS:
        with console.status(f"Reading the packages for Python {python}"), tempfile.TemporaryDirectory() as folder:
            command = [
                str(Path(sys.prefix) / "bin" / "uv"), "pip", "install", "--quiet", "--target", folder,
                "--python-version", python, "--python-platform", "x86_64-unknown-linux-gnu", "--no-deps",
                "--only-binary", ":all:", "--require-hashes", "--requirements", str(REQUIREMENTS),
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise FetchError(f"The Python packages could not be had:\n{done.stderr.strip()}")
            found.update(installed([folder]))
    return sorted(found)


def installed(folders: Sequence[str]) -> Iterator[Dependency]:
    """What is installed in some folders, and what it states."""
    for distribution in importlib.metadata.distributions(path=list(folders)):
        metadata = distribution.metadata
        licence, words = _licence(metadata)
        yield Dependency(canonicalize_name(metadata["Name"]), distribution.version, licence, words)


def _licence(metadata: importlib.metadata.PackageMetadata) -> tuple[str, str]:
    """An SPDX expression, or the package's own words ("Core metadata specifications" of PyPA)."""
    fields = metadata.json
    text = str(fields.get("license_expression") or fields.get("license") or "").strip()
    text = "" if text.upper() == "UNKNOWN" else text.partition("\n")[0]
    kinds = [
        str(one).rpartition(" :: ")[2] for one in fields.get("classifier", []) if str(one).startswith("License :: ")
    ]
    known = spdx.fixup_id(re.sub(" license$", "", text, flags=re.IGNORECASE))
    if known or (text and spdx.is_expression(text)):
        return known or text, ""
    if len(kinds) == 1 and kinds[0] in _CLASSIFIERS:
        return _CLASSIFIERS[kinds[0]], ""
    return "", " / ".join(kinds) or text


def page(found: Iterable[Dependency]) -> str:
    """Text of docs/dependencies.md."""
    lines = [
        "# Dependencies",
        "",
        "Written by `scripts/nox -s audit`: the Python packages that the build system and its tests use, as",
        "`requirements.txt` locks them for Linux. None of them is in an image. The licence is an expression of SPDX,",
        "from the package's metadata; in quotes are words of its own, which may mean several licences.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
    ]
    return "\n".join([*lines, *(one.row for one in sorted(found)), ""])


def write() -> list[Dependency]:
    """Write the page; returns what is in it."""
    found = everything()
    paths.write_text(PAGE, page(found))
    return found


def check() -> None:
    """Raise StaleError unless the page is of what is locked, as far as that can be seen without fetching anything."""
    rows = set(re.findall(r"^\| \S+ \| \d.*$", PAGE.read_text() if PAGE.is_file() else "", re.MULTILINE))
    shown = {tuple(row.split(" | ", 2)[:2]) for row in rows}
    wanted = {
        (f"| {canonicalize_name(one.name)}", str(one.specifier).removeprefix("=="))
        for one in locked(REQUIREMENTS.read_text())
        if one.marker is None
        or any(one.marker.evaluate(_LINUX | {"python_version": python, "python_full_version": f"{python}.0"})
               for python in _PYTHONS)
    }  # fmt: skip
    stale = [name.removeprefix("| ") for name, _ in shown ^ wanted]
    stale += [
        one.name for one in installed(sys.path) if (f"| {one.name}", one.version) in wanted and one.row not in rows
    ]
    if stale:
        raise StaleError(
            f"{PAGE.relative_to(paths.ROOT)} is not what is locked: {', '.join(sorted(set(stale)))}."
            " Write it again with: scripts/nox -s audit -- --only licences"
        )


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m scripts.dependencies", description=f"Write docs/{PAGE.name}.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is stale")
    if parser.parse_args(arguments).check:
        check()
    else:
        write()


if __name__ == "__main__":
    errors.run(main)
