"""What jobs CI becomes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from scripts import lock, matrix, paths, variants
from scripts.errors import LockError, UsageError
from scripts.platforms import PLATFORMS
from tests.unit.conftest import Checkout

EXAMPLE = {
    "name": "debian-armv7",
    "variant": "debian",
    "platform": "linux/arm/v7",
    "runner": "ubuntu-24.04",
    "second": "ubuntu-24.04-arm",
}


def printed(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "scripts.matrix", *arguments],
        cwd=paths.ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_all_locked_variants_are_built_for_all_their_platforms() -> None:
    found = [(job["variant"], job["platform"]) for job in matrix.matrix([], [])["include"]]
    expected = [(name, target.name) for name in lock.locked_names() for target in variants.load(name).platforms]
    assert found == expected
    assert len(set(found)) == len(found) > 30


def test_a_platform_without_a_runner_of_its_own_is_built_on_any() -> None:
    assert matrix.matrix(["debian"], ["linux/arm/v7"]) == {"include": [EXAMPLE]}


def test_the_second_build_is_on_another_processor() -> None:
    runners = {name: matrix.entry("debian", platform) for name, platform in PLATFORMS.items()}
    assert {name for name, job in runners.items() if job["runner"].endswith("-arm")} == {"linux/arm64"}
    assert all({job["runner"], job["second"]} == {"ubuntu-24.04", "ubuntu-24.04-arm"} for job in runners.values())


def test_names_are_those_of_one_artifact_each() -> None:
    names = [job["name"] for job in matrix.matrix([], [])["include"]]
    assert len(set(names)) == len(names)
    # https://github.com/actions/upload-artifact, "Limitations": what no name may have
    assert not [name for name in names if set(name) & set('":<>|*?\r\n\\/')]


def test_only_what_a_runner_can_execute() -> None:
    found = matrix.matrix(["debian", "jitsi"], [], native=True)["include"]
    assert [(job["variant"], job["platform"]) for job in found] == [
        (name, platform) for name in ("debian", "jitsi") for platform in ("linux/amd64", "linux/arm64")
    ]
    assert matrix.matrix(["debian"], ["linux/s390x"], native=True) == {"include": []}


def test_standard_output_has_the_json_alone(tmp_path: Path) -> None:
    """Not even what says that a variant is left out; and a workflow's inputs are texts, which may be empty."""
    done = printed("", "--platform", "", "--output", str(tmp_path / "output"))
    assert json.loads(done.stdout) == matrix.matrix([], [])
    assert ("Left out" in done.stderr) is (set(variants.names()) > set(lock.locked_names()))
    done = printed("debian jitsi", "--platform", "linux/arm64 linux/386", "--output", str(tmp_path / "output"))
    value = json.loads(done.stdout)
    assert value == matrix.matrix(["debian", "jitsi"], ["linux/arm64", "linux/386"])
    lines = (tmp_path / "output").read_text().splitlines()
    assert [json.loads(line.removeprefix("matrix=")) for line in lines] == [matrix.matrix([], []), value]


def test_the_session_prints_it_as_well() -> None:
    done = subprocess.run(
        [paths.ROOT / "scripts" / "nox", "-s", "matrix", "--", "debian", "--platform", "linux/arm/v7"],
        cwd=paths.ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == {"include": [EXAMPLE]}


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (["debain"], UsageError.exit_status, "did you mean 'debian'?"),
        (["debian", "--platform", "linux/arm46"], UsageError.exit_status, "did you mean 'linux/arm64'?"),
        (["debian", "--platform", "linux/arm/v6"], UsageError.exit_status, "'debian' is not made for linux/arm/v6"),
    ],
    ids=["variant", "platform", "platform of others"],
)
def test_what_does_not_exist_is_explained(arguments: list[str], status: int, expected: str) -> None:
    done = printed(*arguments)
    assert done.returncode == status
    assert expected in done.stderr
    assert done.stdout == ""


def test_a_variant_without_a_lock_is_not_built_by_everybody_for_himself(checkout: Checkout) -> None:
    (checkout.root / "images" / "jitsi" / "lock.json").unlink()
    done = checkout.run("matrix", "jitsi")
    assert done.returncode == LockError.exit_status
    assert (
        "'jitsi' has no lock, so every runner would make another one. Make one with: scripts/nox -s lock -- jitsi"
        in done.stderr
    )
    assert '"jitsi"' not in checkout.run("matrix").stdout
