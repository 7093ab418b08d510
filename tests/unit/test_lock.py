from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import dockerfile, lock, mirrors, paths, variants
from scripts.errors import LockError, StaleError, UsageError
from scripts.lock import Lock, LockedPackage
from scripts.platforms import PLATFORMS

DEBIAN = variants.load("debian")
COMMITTED = lock.load(DEBIAN, lock.path_of("debian"))


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    """Function that writes a lock file and returns its path."""

    def write(text: str) -> Path:
        path = tmp_path / "lock.json"
        path.write_text(text)
        return path

    return write


def test_a_lock_survives_writing_and_reading(written: Callable[[str], Path]) -> None:
    assert lock.load(DEBIAN, written(lock.dump(COMMITTED))) == COMMITTED


def spoil(**fields: object) -> str:
    return json.dumps(json.loads(lock.dump(COMMITTED)) | fields)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (lock.dump(COMMITTED)[:5000], "is not a complete lock"),
        ("", "is not a complete lock"),
        ("[]", "is not of type 'object'"),
        (lock.dump(COMMITTED).replace(COMMITTED.platforms["linux/amd64"][0].sha256, "0" * 64), "was edited by hand"),
        (spoil(epoch=1), "was edited by hand"),
        (spoil(epoch="now"), "epoch: 'now' is not of type 'integer'"),
        (lock.dump(replace(COMMITTED, variant="alpine")), "is the lock of variant 'alpine'"),
        (lock.dump(replace(COMMITTED, inputs="0" * 64)), "was made for another state of debian.yaml"),
        (spoil(colour="blue"), "Additional properties are not allowed ('colour' was unexpected)"),
    ],
    ids=[
        "truncated",
        "empty",
        "a list",
        "hash changed",
        "epoch changed",
        "wrong type",
        "other variant",
        "stale",
        "key",
    ],
)
def test_a_bad_lock_is_refused(written: Callable[[str], Path], text: str, expected: str) -> None:
    with pytest.raises(LockError) as caught:
        lock.load(DEBIAN, written(text))
    assert expected in str(caught.value)
    assert "scripts/nox -s lock -- debian" in str(caught.value)


def test_a_missing_lock_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(LockError, match="has no lock"):
        lock.load(DEBIAN, tmp_path / "lock.json")


def test_a_changed_variant_makes_its_lock_stale(written: Callable[[str], Path]) -> None:
    changed = replace(DEBIAN, exclude=DEBIAN.exclude | {"tini"})
    with pytest.raises(LockError, match="another state"):
        lock.load(changed, written(lock.dump(COMMITTED)))


def test_changes_are_told_by_package() -> None:
    def with_versions(versions: dict[str, str]) -> Lock:
        package = COMMITTED.platforms["linux/amd64"][0]
        platforms = {
            platform: tuple(replace(package, package=name, version=version) for name, version in versions.items())
            for platform in ("linux/amd64", "linux/arm64")
        }
        return replace(COMMITTED, platforms=platforms)

    before, after = (
        with_versions({"kept": "1", "newer": "1", "gone": "1"}),
        with_versions({"kept": "1", "newer": "2", "new": "3"}),
    )
    assert lock.changes(before, after) == [
        ("gone", "all", "1", "-"), ("new", "all", "-", "3"), ("newer", "all", "1", "2"),
    ]  # fmt: skip


def test_the_version_is_the_upstream_one() -> None:
    assert COMMITTED.version(DEBIAN) == "13.0.6"


def test_a_platform_that_is_not_locked_is_refused() -> None:
    with pytest.raises(UsageError, match="is not locked for linux/amd64"):
        replace(COMMITTED, platforms={}).packages([PLATFORMS["linux/amd64"]])


def test_no_package_is_excluded_and_locked() -> None:
    locked = {package.package for packages in COMMITTED.platforms.values() for package in packages}
    assert not locked & DEBIAN.exclude


# The Dockerfile, which is made from the lock.


def test_the_committed_dockerfile_is_what_the_lock_gives() -> None:
    assert dockerfile.difference("debian") == ""


def test_every_package_is_added_once_to_its_stage_with_its_own_url_and_checksum() -> None:
    """BuildKit does not look at the URL when it knows the checksum: a wrong one would go unnoticed."""
    stages = {}
    for stage in dockerfile.expand(DEBIAN, COMMITTED).split("FROM scratch AS packages-")[1:]:
        tag, _, text = stage.partition("\n")
        stages[tag] = [line.split()[2:] for line in text.splitlines() if line.startswith("ADD ")]
    for platform in DEBIAN.platforms:
        expected = [_added(package) for package in COMMITTED.platforms[platform.name]]
        assert stages[platform.tag] == expected


def _added(package: LockedPackage) -> list[str]:
    url = f"${{{mirrors.variable(package.archive)}}}/{package.path}"
    return [f"--checksum=sha256:{package.sha256}", url, f"/{package.layer}/"]


def test_a_stale_dockerfile_is_shown_as_a_difference(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM something-else\n")
    monkeypatch.setattr(dockerfile, "path_of", lambda _name: tmp_path / "Dockerfile")
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    with pytest.raises(StaleError, match=r"-FROM something-else[\s\S]*scripts/nox -s expand"):
        dockerfile.main(["--check", "debian"])


def test_an_unknown_variant_exits_without_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "scripts.dockerfile", "debain"],
        cwd=paths.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == UsageError.exit_status
    assert "did you mean 'debian'" in done.stderr
    assert "Traceback" not in done.stderr
