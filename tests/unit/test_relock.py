from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from scripts import changes, lock, relock, variants
from scripts.errors import SignatureError, UsageError
from scripts.lock import Lock
from scripts.relock import keep_instant
from scripts.variants import Variant
from tests.unit import signed
from tests.unit.conftest import Checkout
from tests.unit.deb import changelog
from tests.unit.locks import TEXT, made_up, package
from tests.unit.signed import NOW, PACKAGES, binary, date


def test_a_new_index_without_new_packages_changes_nothing(
    archive: signed.Archive, variant: Callable[..., Variant]
) -> None:
    """Neither snapshot nor epoch, and so no digest."""
    made = lock.make(variant(), NOW)
    archive.publish(Date=date(NOW - timedelta(hours=1)))
    assert keep_instant({"test": made}, {"test": lock.make(variant(), NOW)}) == {"test": made}
    # More is excluded, but the packages are the same.
    more = lock.make(variant("{helper:", "{other: not needed, helper:"), NOW)
    more = keep_instant({"test": made}, {"test": more})["test"]
    assert (more.epoch, more.snapshot, more.suites, more.platforms) == (
        made.epoch, made.snapshot, made.suites, made.platforms,
    )  # fmt: skip
    assert more.inputs != made.inputs


def test_a_new_package_changes_snapshot_and_epoch(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    made = lock.make(variant(), NOW)
    archive.publish(PACKAGES.replace(b"Version: 1.0", b"Version: 1.1"), Date=date(NOW - timedelta(hours=1)))
    newer = keep_instant({"test": made}, {"test": lock.make(variant(), NOW)})["test"]
    assert newer.epoch == int((NOW - timedelta(hours=1)).timestamp())
    assert newer.snapshot == "20261120T230000Z"
    (change,) = changes.between({"test": made}, {"test": newer})
    assert (change.package, change.platforms, change.old, change.new) == ("library", "all", "1.0", "1.1")


def test_variants_of_the_same_suites_keep_one_instant(variant: Callable[..., Variant]) -> None:
    """A layer is only shared if its files have the same modification time."""
    one, two = made_up(variant()), replace(made_up(variant()), variant="two")
    newer = {"one": replace(one, epoch=one.epoch + 1), "two": replace(two, epoch=two.epoch + 1)}
    before = {"one": one, "two": two}
    assert keep_instant(before, newer) == before
    changed = newer | {"two": replace(newer["two"], platforms=made_up(variant(), package("tool", "2")).platforms)}
    assert keep_instant(before, changed) == changed, "one package changed, so both move"
    assert keep_instant({"one": one}, newer) == newer, "one is new, so both move"
    apart = before | {"two": replace(two, epoch=two.epoch - 1)}
    assert keep_instant(apart, newer) == newer, "they were apart, and come together"


def test_the_same_file_at_another_place_keeps_the_epoch(variant: Callable[..., Variant]) -> None:
    """As when a security update becomes part of a point release: every digest stays."""
    tool = package("tool", archive="debian-security", path="pool/updates/main/t/tool/tool_1_all.deb")
    old = made_up(variant(), package("library"), tool)
    moved = replace(made_up(variant()), epoch=old.epoch + 1, snapshot="20261121T090000Z", suites=())
    (found,) = keep_instant({"test": old}, {"test": moved}).values()
    assert found == replace(moved, epoch=old.epoch)
    top = made_up(variant(), package("library"), package("tool", layer="top"))
    assert keep_instant({"test": old}, {"test": replace(top, epoch=7)})["test"].epoch == 7, "another layer is a change"


def test_variants_of_the_same_suites_are_one_family(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(TEXT)
    (tmp_path / "two.yaml").write_text("extends: one\nlayers: {more: [other]}\n")
    (tmp_path / "three.yaml").write_text(TEXT.replace("trixie", "forky"))
    families = [[found.name for found in family] for family in relock.families(["two", "one", "three"], tmp_path)]
    assert families == [["one", "two"], ["three"]]


def relocked(archive: signed.Archive, folder: Path) -> tuple[Lock, str]:
    """Lock the variant in `folder` again; the archive is as old as it needs to be today."""
    del archive
    target = folder / "lock.json"
    found = relock.relock([variants.load("test", folder)], {"test": target}, folder, at=NOW).locks["test"]
    return found, target.read_text()


def test_locking_again_writes_the_lock_and_tells_what_changed(
    archive: signed.Archive,
    variant: Callable[..., Variant],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(lock, "path_of", lambda _name, _folder: tmp_path / "lock.json")
    variant()
    found, text = relocked(archive, tmp_path)
    assert text == lock.dump(found)
    assert "2 platforms, 2 package files, 0.0 MiB, 2 changes" in capsys.readouterr().err
    archive.publish(PACKAGES.replace(b"Version: 1.0", b"Version: 1.1"))
    relocked(archive, tmp_path)
    output = capsys.readouterr().err
    assert "0.0 MiB, 1 changes, written" in output
    assert "library" in output
    assert "1:2.0-1" not in output, "what did not change is not told"
    # A spoilt lock is no hindrance to making it again.
    (tmp_path / "lock.json").write_text("{")
    assert relocked(archive, tmp_path)[0].platforms


def test_a_failure_leaves_the_old_lock(
    archive: signed.Archive, variant: Callable[..., Variant], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "path_of", lambda _name, _folder: tmp_path / "lock.json")
    variant()
    _, text = relocked(archive, tmp_path)
    archive.put_index(b"something else")
    archive.publish(Valid_Until=date(NOW - timedelta(days=1)))
    with pytest.raises(SignatureError):
        relocked(archive, tmp_path)
    assert (tmp_path / "lock.json").read_text() == text


# As a command.


@dataclass(frozen=True)
class Families:
    """A checkout with two variants of the same suites, one of others, and the archive of all."""

    checkout: Checkout
    archive: signed.Archive

    def relock(self, *names: str, **packages: str) -> list[str]:
        """Lock again while the archive has these versions; returns the folders of locks that were written."""
        self.archive.offer(
            *(
                binary(name, version, {f"usr/share/doc/{name}/changelog.gz": changelog(name, HISTORY)})
                for name, version in packages.items()
            ),
            Date=date(datetime.now(UTC)), Valid_Until="",
        )  # fmt: skip
        before = self._state()
        arguments = ("--markdown", "changes/all.md", *(names or ("one", "three")))
        done = self.checkout.run("relock", *arguments, DEBIAN_MIRROR=self.archive.server.url)
        assert done.returncode == 0, done.stderr
        return [name for name, state in self._state().items() if before.get(name) != state]

    def lock(self, name: str) -> dict[str, Any]:
        """A lock as it is in its file."""
        found: dict[str, Any] = json.loads(self._path(name).read_text())
        return found

    @property
    def markdown(self) -> str:
        return (self.checkout.root / "changes/all.md").read_text()

    def _path(self, name: str) -> Path:
        return self.checkout.root / "images" / name / "lock.json"

    def _state(self) -> dict[str, tuple[bytes, int, int]]:
        """Content of the locks, and what a file that is written again has anew."""
        paths = {name: self._path(name) for name in ("one", "three", "two")}
        return {
            name: (path.read_bytes(), path.stat().st_mtime_ns, path.stat().st_ino)
            for name, path in paths.items()
            if path.is_file()
        }


HISTORY = {"3": "Fix CVE-2026-3333.", "2": "Fix CVE-2026-2222.", "1": "First."}


@pytest.fixture
def some_families(checkout: Checkout, archive: signed.Archive, keyring: Path) -> Families:
    (checkout.root / "scripts/archives/debian-archive-keyring.pgp").write_bytes(keyring.read_bytes())
    checkout.edit("scripts/mirrors.py", 'SNAPSHOT = "https://', 'SNAPSHOT = "http://127.0.0.1:9/')
    checkout.edit("scripts/mirrors.py", 'Path("/etc/apt")', 'Path("/nowhere")')
    variants_folder = checkout.root / "variants"
    (variants_folder / "one.yaml").write_text(TEXT)
    (variants_folder / "two.yaml").write_text("extends: one\nlayers: {more: [more]}\n")
    (variants_folder / "three.yaml").write_text(
        TEXT.replace("{suite: trixie}", "{suite: trixie, packages: [library, other]}").replace("tool]", "other]")
        .replace("version: tool", "version: other")
    )  # fmt: skip
    return Families(checkout, archive)


def test_only_what_changed_is_touched(some_families: Families) -> None:
    relock = some_families.relock
    before = {"library": "1", "tool": "1", "more": "1", "other": "1", "another": "1"}
    assert relock(**before) == ["one", "three", "two"], "each is new"
    first = {name: some_families.lock(name) for name in ("one", "two", "three")}
    assert relock(**before) == [], "the archive has a newer index, and nothing new in it"
    assert some_families.markdown == "No package changed.\n"
    assert relock(**before | {"another": "2"}) == [], "no variant has that"
    # Of one family: that one alone.
    assert relock(**before | {"other": "2"}) == ["three"]
    (line,) = some_families.markdown.splitlines()[2:]
    assert line == (
        "| other | three | all | `1` | `2` | [CVE-2026-2222]"
        "(https://security-tracker.debian.org/tracker/CVE-2026-2222) |"
    )
    # Of one variant: its relative takes the new epoch with it, and nothing else.
    assert relock(**before | {"other": "2", "more": "2"}) == ["one", "two"]
    assert some_families.lock("one")["platforms"] == first["one"]["platforms"]
    assert some_families.lock("one")["epoch"] == some_families.lock("two")["epoch"] > first["one"]["epoch"]
    assert [line.split(" |")[:2] for line in some_families.markdown.splitlines()[2:]] == [["| more", " two"]]
    # Of both families, of which only one is asked for.
    assert relock("three", **before | {"other": "2", "more": "2", "library": "3"}) == ["three"]
    assert relock(**before | {"other": "2", "more": "2", "library": "3"}) == ["one", "two"]
    assert some_families.markdown.splitlines()[2].startswith("| library | one, two | all | `1` | `3` | [CVE-2026-2222]")


def test_alpine_cannot_be_locked_as_it_was(checkout: Checkout) -> None:
    done = checkout.run("relock", "--at", "20261101T000000Z", "alpine")
    assert done.returncode == UsageError.exit_status == 2
    assert "Alpine's archive keeps no past, so 'alpine' cannot be locked with --at." in done.stderr


@pytest.mark.parametrize(
    ("arguments", "status", "expected"),
    [
        (
            ("debain",),
            2,
            "There is no variant 'debain'; there are: alpine, debian, dev, hardened, jitsi, base, busybox",
        ),
        (("debain",), 2, "did you mean 'debian'?"),
        (("--at", "yesterday", "debian"), 2, "--at: invalid"),
        (("--markdown", "images", "debian"), 2, "images is a folder; --markdown wants the name of a file."),
        (("debian",), 13, "dists/trixie/InRelease could not be fetched. Tried:"),
    ],
    ids=["unknown", "suggested", "no instant", "no file", "no network"],
)
def test_the_command_explains_itself(
    checkout: Checkout, arguments: tuple[str, ...], status: int, expected: str
) -> None:
    """The snapshot is put out of reach; that no other mirror is asked, is the machine's configuration's matter."""
    checkout.edit("scripts/mirrors.py", 'SNAPSHOT = "https://', 'SNAPSHOT = "http://127.0.0.1:9/')
    checkout.edit("scripts/mirrors.py", 'Path("/etc/apt")', 'Path("/nowhere")')
    done = checkout.run("relock", *arguments)
    assert done.returncode == status
    assert expected in done.stderr
    assert "Traceback" not in done.stderr
