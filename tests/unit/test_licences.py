"""Licences as packages state them; and that nothing is guessed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts import fetch, licences
from scripts.licences import Licence
from scripts.lock import LockedPackage
from tests.unit import apk, deb, locks
from tests.unit.test_tarballs import tarball

_FORMAT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
_EXPAT = f"{_FORMAT}\nFiles: *\nCopyright: nobody\nLicense: Expat\n"


def package(files: Mapping[str, bytes | str], name: str = "tool") -> LockedPackage:
    """A Debian package in the cache."""
    return locks.package(name, sha256=fetch.keep(deb.deb(files, name=name)))


def stated(*synopses: str, rest: str = "") -> Licence:
    """What a copyright file with a paragraph for each licence is understood as."""
    text = _FORMAT
    for number, synopsis in enumerate(synopses):
        text += f"\nFiles: {number}/*\nCopyright: nobody\nLicense: {synopsis}\n"
    found = package({"usr/share/doc/tool/copyright": (text + rest).encode()})
    return licences.of(found, [found])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Expat", "MIT"),
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("LGPL-2.1+", "LGPL-2.1-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("Apache-2", "Apache-2.0"),
        ("Apache-2.0", "Apache-2.0"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("Zlib", "Zlib"),
        ("MIT", None),  # many licences have this name
        ("X11", None),
        ("GPL", None),  # of which version?
        ("BSD", None),
        ("Artistic", None),
        ("Apache-2+", None),
        ("GPL-2+ with OpenSSL exception", None),
        ("public-domain", None),
    ],
)
def test_a_name_is_spdx_only_if_it_surely_means_the_same(name: str, expected: str | None) -> None:
    assert licences.identifier(name) == expected


@pytest.mark.parametrize(
    ("synopsis", "expected"),
    [
        ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        ("ISC or Zlib and Expat", "ISC OR (Zlib AND MIT)"),
        ("ISC or Zlib, and Expat", "(ISC OR Zlib) AND MIT"),
        ("ISC, or Zlib and Expat", "ISC OR (Zlib AND MIT)"),
    ],
)
def test_and_or_and_commas_bind_as_the_format_says(cache: Path, synopsis: str, expected: str) -> None:
    assert stated(synopsis).expression == expected


def test_all_paragraphs_are_joined_each_once(cache: Path) -> None:
    assert stated("Expat", "GPL-2+ or ISC", "Expat").expression == "MIT AND (GPL-2.0-or-later OR ISC)"


def test_what_spdx_has_no_name_for_is_a_reference_with_its_text(cache: Path) -> None:
    found = stated("Expat", "own words", rest="\nLicense: own words\n Do what you like.\n")
    reference = f"LicenseRef-own-words-{hashlib.sha256(b'Do what you like.').hexdigest()[:8]}"
    assert found.expression == f"MIT AND {reference}"
    assert found.texts == {reference: "Do what you like."}
    other = stated("own words\n Do nothing.")
    assert [*other.texts.values()] == ["Do nothing."]
    assert other.expression != reference, "another text is another licence, whatever its name"
    assert "/usr/share/doc/tool/copyright" in "".join(stated("nowhere").texts.values())


@pytest.mark.parametrize(
    "content",
    [
        b"This package is free. GPL-2 or later.\n",
        _FORMAT.encode() + b"\nFiles: *\nLicense: Expat\n",  # of nobody
        _FORMAT.encode(),
        _FORMAT.encode() + b"\nFiles: *\nCopyright: nobody\nLicense:\n no name, but a text\n",
        b"\xff\xfe",
        b"",
    ],
)
def test_a_file_for_people_is_named_and_not_interpreted(cache: Path, content: bytes) -> None:
    found = package({"usr/share/doc/tool/copyright": content})
    sha256 = hashlib.sha256(content).hexdigest()
    assert licences.of(found, [found]) == Licence(file="/usr/share/doc/tool/copyright", sha256=sha256)


def test_a_package_may_leave_it_to_another_of_the_same_source(cache: Path) -> None:
    other = package({"usr/share/doc/tool/copyright": _EXPAT.encode()})
    folder = package({"usr/share/doc/library": "tool"}, "library")
    file = package({"usr/share/doc/words/copyright": "../tool/copyright"}, "words")
    expected = Licence("MIT", {}, "/usr/share/doc/tool/copyright", hashlib.sha256(_EXPAT.encode()).hexdigest())
    assert [licences.of(found, [other, folder, file]) for found in (other, folder, file)] == [expected] * 3
    assert licences.of(folder, [folder]) == Licence(), "that other one is not in the image"


def test_a_package_without_a_statement_states_nothing(cache: Path) -> None:
    found = package({"usr/bin/tool": b""})
    assert licences.of(found, [found]) == Licence()


@pytest.mark.parametrize(
    ("licence", "expected"),
    [("MPL-2.0", "MPL-2.0"), ("(MIT OR Apache-2.0)", "(MIT OR Apache-2.0)"), ("SEE LICENSE IN x", ""), (None, "")],
)
def test_an_npm_package_states_an_expression_or_nothing(cache: Path, licence: str | None, expected: str) -> None:
    content = tarball({"package/package.json": json.dumps({"license": licence}).encode()})
    found = locks.package("client", archive="npm", sha256=fetch.keep(content))
    assert licences.of(found, [found]).expression == expected


def test_a_package_of_alpine_states_it_in_its_control_stream(cache: Path, signer: apk.Signer) -> None:
    for content in (apk.apk("tool").content, apk.apk("tool", signer=signer).content):
        found = locks.package("tool", archive="alpine", sha256=fetch.keep(content))
        assert licences.of(found, [found]).expression == "MIT AND GPL-2.0-only"


def test_a_tarball_at_an_address_states_nothing(cache: Path) -> None:
    found = locks.package("plugins", archive="https://example.org", sha256=fetch.keep(tarball({"a": b"GPL-2"})))
    assert licences.of(found, [found]) == Licence()
