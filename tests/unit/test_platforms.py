from __future__ import annotations

import json

import pytest

from scripts import paths, platforms
from scripts.errors import UsageError
from scripts.platforms import PLATFORMS

# Name, TARGETARCH, TARGETVARIANT as BuildKit sets them, and the names of Debian and Alpine.
TABLE = [
    ("linux/amd64", "amd64", "", "amd64", "x86_64"),
    ("linux/arm64", "arm64", "", "arm64", "aarch64"),
    ("linux/arm/v7", "arm", "v7", "armhf", "armv7"),
    ("linux/arm/v6", "arm", "v6", "", "armhf"),
    ("linux/arm/v5", "arm", "v5", "armel", ""),
    ("linux/386", "386", "", "i386", "x86"),
    ("linux/riscv64", "riscv64", "", "riscv64", "riscv64"),
    ("linux/ppc64le", "ppc64le", "", "ppc64el", "ppc64le"),
    ("linux/s390x", "s390x", "", "s390x", "s390x"),
]


@pytest.mark.parametrize(("name", "architecture", "variant", "debian", "alpine"), TABLE, ids=[row[0] for row in TABLE])
def test_names_are_what_buildkit_and_distributions_call_them(
    name: str, architecture: str, variant: str, debian: str, alpine: str
) -> None:
    found = PLATFORMS[name]
    assert (found.architecture, found.variant) == (architecture, variant)
    assert (found.named_by("debian"), found.named_by("alpine")) == (debian, alpine)
    assert found.tag == architecture + variant
    assert str(found) == name


def test_every_platform_is_in_the_table_and_in_the_schema() -> None:
    schema = json.loads((paths.SCHEMA / "variant.schema.json").read_text())
    assert list(PLATFORMS) == [row[0] for row in TABLE] == schema["properties"]["platforms"]["items"]["enum"]


def test_tags_and_names_are_unique() -> None:
    assert len({found.tag for found in PLATFORMS.values()}) == len(PLATFORMS)
    for distribution in ("debian", "alpine"):
        there = [name for found in PLATFORMS.values() if (name := found.named_by(distribution))]
        assert len(set(there)) == len(there) == 8


@pytest.mark.parametrize(
    ("machine", "expected"),
    [("x86_64", "linux/amd64"), ("AMD64", "linux/amd64"), ("aarch64", "linux/arm64"), ("arm64", "linux/arm64"),
     ("armv7l", "linux/arm/v7"), ("armv6l", "linux/arm/v6"),
     ("i686", "linux/386"), ("riscv64", "linux/riscv64"), ("ppc64le", "linux/ppc64le"),
     ("s390x", "linux/s390x")],
)  # fmt: skip
def test_a_machine_is_recognised(monkeypatch: pytest.MonkeyPatch, machine: str, expected: str) -> None:
    monkeypatch.setattr("platform.machine", lambda: machine)
    assert platforms.native().name == expected


def test_an_unknown_machine_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "vax")
    with pytest.raises(UsageError, match=r"'vax', for which no image is built\. Name a platform: --platform linux/amd"):
        platforms.native()
