"""Locked packages -> the licences that they state themselves, as SPDX expressions; what is not stated is not guessed.

| package | where it is stated |
|---|---|
| Debian | `copyright`, if it is in the machine-readable format ("Machine-readable debian/copyright file", DEP-5) |
| npm | `license` in package.json |
| Alpine | `license` in .PKGINFO |

A copyright file tells of all files of the source package, so the expression joins everything in it by AND. Names that
SPDX does not have, or means otherwise, become references (`LicenseRef-...`) with their text.
"""

from __future__ import annotations

import hashlib
import json
import logging
import posixpath
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, reduce
from typing import cast

from cyclonedx import spdx
from debian.copyright import Copyright, License, MachineReadableFormatError, NotMachineReadableError
from debian.debfile import DebFile
from license_expression import Licensing, combine_expressions, get_spdx_licensing

from scripts import fetch
from scripts.archives import apk
from scripts.lock import LockedPackage

# What it mends silently, such as an old address of the format, concerns nobody here.
logging.getLogger("debian.copyright").setLevel(logging.ERROR)

# Names that SPDX has, but that Debian's packages use for many licences (DEP-5: "many versions of the MIT license").
_AMBIGUOUS = frozenset({"mit", "x11"})
_GNU = re.compile(r"(?P<name>AGPL|GFDL|GFDL-NIV|GPL|LGPL)-(?P<version>\d+(\.\d+)*)(?P<later>\+?)", re.IGNORECASE)


@dataclass(frozen=True)
class Licence:
    """What a package says: an SPDX expression, empty if it says none that a machine can read.

    `texts` are those of references in it; `file` is where the statement is in the image, with its SHA-256, both empty
    if there is none.
    """

    expression: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    file: str = ""
    sha256: str = ""


@cache
def licensing() -> Licensing:
    """The names that SPDX has for licences; each reading of its list takes longer than a whole expression does."""
    return get_spdx_licensing()


def of(package: LockedPackage, others: Sequence[LockedPackage]) -> Licence:
    """The licence of a package, which must be in the cache; `others` are those of the same platform.

    Debian's packages may leave their copyright file to another one that is built from the same source.
    """
    return _of(package.sha256, package.archive, tuple((other.package, other.sha256) for other in others))


@cache
def _of(sha256: str, archive: str, others: tuple[tuple[str, str], ...]) -> Licence:
    if archive.startswith("debian"):
        return _debian(sha256, dict(others))
    if archive == "npm":
        return _npm(sha256)
    return _alpine(sha256) if archive == "alpine" else Licence()


def _debian(sha256: str, others: Mapping[str, str]) -> Licence:
    with DebFile(str(fetch.blob(sha256))) as opened:
        path = f"usr/share/doc/{opened.debcontrol()['Package']}/copyright"
        with opened.data.tgz() as archive:
            members = {}
            for member in archive:
                members[posixpath.normpath(member.name)] = member
                if path in members and members[path].isfile():  # read at once: to come back is to unpack all again
                    break
            path = _followed(path, members)
            if path in members and (stream := archive.extractfile(members[path])):
                return _stated(f"/{path}", stream.read())
    other = path.split("/")[3]
    return _debian(others[other], others) if others.get(other, sha256) != sha256 else Licence()


def _followed(path: str, members: Mapping[str, tarfile.TarInfo]) -> str:
    """Where the links in a package lead to, of which its folder of documentation may be one (Debian Policy, 12.5)."""
    for link in (posixpath.dirname(path), path):
        if link in members and members[link].issym():
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(link), members[link].linkname))
            return (target + path.removeprefix(link)).lstrip("/")
    return path


def _stated(path: str, content: bytes) -> Licence:
    """What a copyright file says."""
    sha256 = hashlib.sha256(content).hexdigest()
    try:
        found = Copyright(content.decode().splitlines(keepends=True), strict=True)
        # Its types know the fields themselves only, not what they give.
        stated = [cast("License", paragraph.license) for paragraph in found.all_files_paragraphs()]
        alone = [cast("License", paragraph.license) for paragraph in found.all_license_paragraphs()]
    except (NotMachineReadableError, MachineReadableFormatError, ValueError):
        return Licence(file=path, sha256=sha256)
    texts = {licence.synopsis: licence.text for licence in (*stated, *alone) if licence.text}
    references: dict[str, str] = {}
    expressions = [_expression(licence, texts, references, path) for licence in stated if licence.synopsis]
    if not expressions or len(expressions) < len(stated):
        return Licence(file=path, sha256=sha256)
    joined = licensing().dedup(combine_expressions(expressions, licensing=licensing()))
    return Licence(str(joined), dict(sorted(references.items())), path, sha256)


def _expression(licence: License, texts: Mapping[str, str], references: dict[str, str], path: str) -> str:
    """SPDX's form of a licence in a copyright file; what SPDX has no name for is added to `references`.

    "and" binds closer than "or", and both closer than those after a comma (DEP-5, "License specification").
    """

    def single(name: str) -> str:
        if known := identifier(name):
            return known
        text = texts.get(name) or licence.text or f"{name}\n\nIts text is in {path}."
        reference = f"LicenseRef-{re.sub(r'[^A-Za-z0-9.]+', '-', name).strip('-')}"
        reference += f"-{hashlib.sha256(text.encode()).hexdigest()[:8]}"
        references[reference] = text
        return reference

    def simple(words: str) -> str:
        parts = re.split(r"\s+(and|or)\s+", words.strip())
        return " ".join(part.upper() if index % 2 else single(part) for index, part in enumerate(parts))

    first, *others = re.split(r",\s+(and|or)\s+", licence.synopsis)
    pairs = zip(others[::2], others[1::2], strict=True)
    return reduce(lambda left, pair: f"({left}) {pair[0].upper()} ({simple(pair[1])})", pairs, simple(first))


def identifier(name: str) -> str | None:
    """SPDX's identifier of a short name of DEP-5, None if there is none that surely means the same."""
    if name == "Expat":
        return "MIT"
    if name.lower() in _AMBIGUOUS:
        return None
    if match := _GNU.fullmatch(name):
        version = match["version"] if "." in match["version"] else f"{match['version']}.0"
        family, _, invariants = match["name"].partition("-")
        middle = "-no-invariants" if invariants else ""
        return spdx.fixup_id(f"{family}-{version}{middle}-{'or-later' if match['later'] else 'only'}")
    # Versions with and without a final ".0" are the same.
    return spdx.fixup_id(name) or (spdx.fixup_id(f"{name}.0") if re.search(r"-\d+$", name) else None)


def _npm(sha256: str) -> Licence:
    with tarfile.open(fetch.blob(sha256)) as archive:
        for member in archive:
            if member.name.count("/") == 1 and member.name.endswith("/package.json"):
                stream = archive.extractfile(member)
                return _checked(json.load(stream).get("license")) if stream else Licence()
    return Licence()


def _alpine(sha256: str) -> Licence:
    streams = apk.streams(fetch.blob(sha256).read_bytes(), 2)
    found = (value for stream in streams for value in _fields(stream))
    return _checked(next(found, None))


def _fields(stream: apk.Stream) -> Iterator[str]:
    yield from apk.fields(stream.members.get(".PKGINFO", b"")).get("license", [])


def _checked(expression: object) -> Licence:
    """An expression that a package states as one, if it is one."""
    if isinstance(expression, str) and spdx.is_expression(expression):
        return Licence(expression)
    return Licence()
