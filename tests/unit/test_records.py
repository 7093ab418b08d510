"""Records of checks: who makes them, and what a release does not take for one."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from google.protobuf import json_format
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1.statement import Statement
from in_toto_attestation.v1.statement_pb2 import Statement as StatementMessage

from scripts import digests, paths, platforms, records, scan, signing, verify
from scripts.differences import Difference
from scripts.errors import DigestError, FindingsError, RecordError, SigningError
from scripts.oci import Layout
from scripts.platforms import PLATFORMS, Platform
from scripts.records import State
from scripts.scan import Scanned
from scripts.scanners import policy
from scripts.scanners.findings import Finding, Severity
from scripts.scanners.policy import Judged, Result
from scripts.signing import Key
from tests import keys

COMMIT = "0" * 40
AMD64, ARM64 = PLATFORMS["linux/amd64"], PLATFORMS["linux/arm64"]
NATIVE = platforms.native()


@pytest.fixture
def key(made: tuple[Key, Key], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key, of which the environment tells; the checkout is as in its commit, and has no records."""
    keys.use(made[0], monkeypatch)
    monkeypatch.setattr(records, "FOLDER", tmp_path / "records")
    monkeypatch.setattr(records, "state", lambda: State(COMMIT, ()))
    return made[0]


@pytest.fixture(scope="module")
def layout() -> Layout:
    """Three platforms of the committed layout, as far as its digests tell; CI has no machines of one."""
    committed = digests.load("debian")
    assert committed is not None
    images = tuple(image for image in committed.images if image.platform in (AMD64, ARM64, PLATFORMS["linux/386"]))
    return Layout(paths.DIST / "debian", committed.index, images)


def manifests(layout: Layout, *targets: Platform) -> Mapping[Platform, str]:
    return {image.platform: image.manifest for image in layout.images if not targets or image.platform in targets}


def record(check: str, layout: Layout, *targets: Platform) -> Path:
    """A run of a check of some platforms, by default all, that passes."""
    found = manifests(layout, *targets)
    written = records.begin(check, "debian", list(found)).passed(found, images=len(found))
    assert written is not None
    return written


def record_all(layout: Layout) -> tuple[Path, ...]:
    return (record("verify", layout), record("scan", layout), record("integration", layout, AMD64, ARM64))


def refusal(layout: Layout, by: Key, at: datetime | None = None) -> str:
    with pytest.raises(RecordError) as raised:
        records.require("debian", layout, by, at or datetime.now(UTC))
    assert raised.value.exit_status == 25
    return str(raised.value)


# What is written


def test_a_record_is_what_the_formats_say(key: Key, layout: Layout, tmp_path: Path) -> None:
    """By the definitions of the formats (protobuf); the field that these do not have is the only one."""
    before = datetime.now(UTC).replace(microsecond=0)
    path = record("verify", layout)
    assert path == tmp_path / "records" / "debian.verify.intoto.json"
    signing.check_file(path, key)
    value = json.loads(path.read_text())
    Statement.copy_from_pb(json_format.ParseDict(value, StatementMessage())).validate()
    own = value["predicate"].pop("prosodyImages")
    parsed = json_format.ParseDict(value["predicate"], test_result_pb2.TestResult())
    assert parsed.result == "PASSED"
    (checkout,) = parsed.configuration
    assert (checkout.digest["gitCommit"], checkout.annotations["clean"]) == (COMMIT, True)
    found = [f"sha256:{subject['digest']['sha256']}" for subject in value["subject"]]
    assert found == [image.manifest for image in layout.images]
    assert value["subject"][0]["name"] == "debian, linux/amd64", "as in statements of provenance"
    assert (own["check"], own["counts"]) == ("verify", {"images": len(layout.images)})
    assert before <= datetime.fromisoformat(own["finished"]) <= datetime.now(UTC)
    assert own["finished"].endswith("Z")


def test_a_run_removes_the_records_of_its_platforms(key: Key, layout: Layout) -> None:
    everything = record("verify", layout)
    scanned = record("scan", layout)
    one = record("verify", layout, AMD64)
    assert one.name == "debian.verify.amd64.intoto.json"
    assert not everything.exists()
    other = record("verify", layout, ARM64)
    assert one.exists()
    records.begin("verify", "debian", [ARM64])
    assert sorted(path.name for path in records.FOLDER.iterdir()) == sorted(
        path.name for kept in (scanned, one) for path in (kept, signing.bundle_of(kept))
    )
    other.write_text("not a record")
    records.begin("verify", "debian", [ARM64])
    assert not other.exists()


def test_nobody_who_signs_is_no_record_but_old_ones_are_void(
    key: Key, layout: Layout, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = record("verify", layout)
    monkeypatch.delenv("COSIGN_KEY")
    monkeypatch.delenv("ACTIONS_ID_TOKEN_REQUEST_URL", raising=False)
    run = records.begin("verify", "debian", [AMD64])
    assert not path.exists()
    capfd.readouterr()
    assert run.passed(manifests(layout, AMD64)) is None
    assert capfd.readouterr().err.count("\n") == 1
    assert list(records.FOLDER.iterdir()) == []


def test_a_state_that_nobody_knows_is_not_recorded(key: Key, layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    run = records.begin("verify", "debian", [AMD64])
    for state in (None, State("1" * 40, ()), State(COMMIT, ("changed",))):
        monkeypatch.setattr(records, "state", lambda state=state: state)
        assert run.passed(manifests(layout, AMD64)) is None
    monkeypatch.setattr(records, "state", lambda: None)
    assert records.begin("verify", "debian", [AMD64]).passed(manifests(layout, AMD64)) is None


def test_a_key_that_cannot_sign_is_told_before_the_run(
    key: Key, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = record("verify", layout)
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
    with pytest.raises(SigningError, match="Is its password in COSIGN_PASSWORD"):
        records.begin("verify", "debian", [AMD64])
    assert path.exists()


def test_the_state_is_what_git_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert records.state() is None

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        done = subprocess.run(["git", *identity, *arguments], cwd=tmp_path, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "-q")
    assert records.state() is None, "there is no commit yet"
    (tmp_path / ".gitignore").write_text("ignored\n")
    (tmp_path / "a file").write_text("1")
    git("add", ".")
    git("commit", "-q", "-m", "first")
    (tmp_path / "ignored").touch()
    first = State(git("rev-parse", "HEAD"), ())
    assert records.state() == first
    (tmp_path / "a file").rename(tmp_path / "another")
    assert records.state() == replace(first, changed=("a file", "another"))
    git("add", ".")
    assert records.state() == replace(first, changed=("a file", "another"))
    (tmp_path / "copy").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(paths, "ROOT", tmp_path / "copy")
        assert records.state() is None, "a copy within a checkout is none"
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert records.state() is None, "there is no Git"


# What a release takes


def test_records_of_all_checks_vouch_for_a_layout(key: Key, layout: Layout) -> None:
    written = record_all(layout)
    assert records.require("debian", layout, key, datetime.now(UTC)) == written


def test_records_of_single_platforms_vouch_together(key: Key, layout: Layout) -> None:
    written = {record(check, layout, image.platform) for check in ("verify", "scan") for image in layout.images}
    written |= {record("integration", layout, target) for target in (AMD64, ARM64)}
    assert set(records.require("debian", layout, key, datetime.now(UTC))) == written


def test_records_of_other_machines_may_have_the_same_name(key: Key, layout: Layout) -> None:
    record("verify", layout)
    record("scan", layout)
    for target in (AMD64, ARM64):
        folder = records.FOLDER / f"of {target.tag}"
        folder.mkdir()
        path = record("integration", layout, target)
        for file in (path, signing.bundle_of(path)):
            file.rename(folder / file.name.replace(f".{target.tag}.", "."))
    assert len(records.require("debian", layout, key, datetime.now(UTC))) == 4
    records.begin("integration", "debian", [ARM64])
    assert "integration, linux/arm64: there is no record" in refusal(layout, key)


def test_all_that_is_missing_is_told_at_once(key: Key, layout: Layout) -> None:
    rest = [image.platform for image in layout.images if image.platform != ARM64]
    record("verify", layout, *rest)
    record("integration", layout, NATIVE)
    other = ARM64 if NATIVE == AMD64 else AMD64
    assert refusal(layout, key).splitlines()[1:] == [
        "verify, linux/arm64: there is no record",
        "  scripts/nox -s verify -- debian --platform linux/arm64",
        f"scan, {', '.join(image.platform.name for image in layout.images)}: there is no record",
        "  scripts/nox -s scan -- debian --platform all",
        f"integration, {other}: there is no record",
        "  scripts/nox -s integration -- debian",
    ]


def altered(path: Path) -> None:
    """Let a record be of another image."""
    value = json.loads(path.read_text())
    value["subject"][0]["digest"]["sha256"] = "0" * 64
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        pytest.param(altered, "is not accepted: .* has no valid signature of the key", id="altered"),
        pytest.param(lambda path: signing.bundle_of(path).unlink(), "is not accepted: .* has no signature", id="bare"),
        pytest.param(lambda path: path.write_text("{}"), "is not a record", id="something else"),
        pytest.param(lambda path: path.write_text("[]"), "is not a record", id="another type"),
        pytest.param(lambda path: path.write_text("{"), "is not a record", id="not even JSON"),
        pytest.param(lambda path: path.unlink(), "there is no record", id="gone"),
    ],
)
def test_a_record_that_was_altered_is_none(
    key: Key, layout: Layout, spoil: Callable[[Path], object], reason: str
) -> None:
    for path in record_all(layout):
        spoil(path)
    with pytest.raises(RecordError, match=reason):
        records.require("debian", layout, key, datetime.now(UTC))
    said = refusal(layout, key)
    assert all(f"scripts/nox -s {check} -- debian" in said for check in records.CHECKS)


def test_the_record_of_one_check_is_none_of_another(key: Key, layout: Layout) -> None:
    verified, scanned, _ = record_all(layout)
    scanned.unlink()
    signing.bundle_of(verified).rename(signing.bundle_of(scanned))
    verified.rename(scanned)
    said = refusal(layout, key)
    assert "debian.scan.intoto.json is of another check: verify" in said
    assert "verify, linux/amd64" in said


def test_somebody_else_vouches_for_nothing(key: Key, made: tuple[Key, Key], layout: Layout) -> None:
    record_all(layout)
    assert refusal(layout, made[1]).count(f"has no valid signature of the key {made[1].path}") == 3


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State("1" * 40, ()), ["debian.verify.intoto.json is of another commit: " + COMMIT]),
        (State(COMMIT, tuple("abcdef")), ["is not as in its commit: a, b, c, d, e, ...", "Commit or undo that"]),
        (None, ["is not a checkout of Git"]),
    ],
)
def test_another_state_of_the_checkout_is_refused(
    key: Key, layout: Layout, state: State | None, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record_all(layout)
    monkeypatch.setattr(records, "state", lambda: state)
    said = refusal(layout, key)
    assert all(text in said for text in words)


def test_a_check_of_changes_that_are_in_no_commit_vouches_for_nothing(
    key: Key, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(records, "state", lambda: State(COMMIT, ("changed",)))
        record_all(layout)
    assert refusal(layout, key).count("is of a checkout that was not as in its commit") == 3


def test_another_image_is_not_vouched_for(key: Key, layout: Layout) -> None:
    record_all(layout)
    first, *rest = layout.images
    other = replace(layout, images=(replace(first, manifest="sha256:" + "0" * 64), *rest))
    said = refusal(other, key)
    assert said.count("is of another image than sha256:0000") == 3
    assert "linux/arm64" not in said


def test_a_scan_counts_for_a_day(key: Key, layout: Layout) -> None:
    written = record_all(layout)
    now = datetime.now(UTC)
    assert records.require("debian", layout, key, now + timedelta(hours=23)) == written
    said = refusal(layout, key, now + timedelta(hours=25))
    assert "a scan counts for 24 hours" in said
    assert "verify" not in said


# Checks


@pytest.fixture
def written(key: Key) -> Callable[[], set[str]]:
    """Function that names the records that there are."""
    del key
    return lambda: {path.name for path in records.FOLDER.glob("*.intoto.json")}


FINDING = Finding("setuid", "usr/bin/x", "it is setuid", Severity.HIGH)


@pytest.mark.parametrize(
    ("arguments", "result", "recorded"),
    [
        ([], None, True),
        ([], Result.NOTE, True),
        ([], Result.FAILS, False),
        (["--only=image"], None, False),
        (["--only=vulnerabilities", "--only=freshness", "--only=image"], None, True),
        (["--policy=policy.yaml"], None, False),
        (["--tracker=old.json"], None, False),
    ],
)
def test_a_scan_is_recorded_if_nothing_fails_and_nothing_was_left_out(
    written: Callable[[], set[str]],
    layout: Layout,
    arguments: list[str],
    result: Result | None,
    recorded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    judged = (Judged(FINDING, result, ""),) if result else ()
    monkeypatch.setattr(scan, "_layout", lambda *_: layout)
    monkeypatch.setattr(scan, "scan", lambda variant, *_: [Scanned(variant, AMD64, judged, 0.0)])
    monkeypatch.setattr(scan, "FOLDER", tmp_path / "scan")
    monkeypatch.chdir(tmp_path)
    shutil.copy(policy.DEFAULT, "policy.yaml")
    for name in ("tracker.json", "old.json"):
        Path(name).write_text("{}")
    os.utime("old.json", (0, time.time() - 25 * 3600))
    record("scan", layout)
    with pytest.raises(FindingsError) if result == Result.FAILS else nullcontext():
        scan.main(["debian", "--platform=linux/amd64", "--tracker=tracker.json", *arguments])
    assert written() == ({"debian.scan.amd64.intoto.json"} if recorded else set())


@pytest.mark.parametrize(
    ("arguments", "different", "recorded"),
    [([], False, True), ([], True, False), (["--image-only"], False, False)],
)
def test_a_verification_is_recorded_if_nothing_differs(
    written: Callable[[], set[str]],
    layout: Layout,
    arguments: list[str],
    different: bool,
    recorded: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    difference = Difference("prosody", "a", "content", "one", "other")
    changed = replace(layout.images[0], manifest="sha256:" + "0" * 64)
    rebuilt = replace(layout, images=(changed, *layout.images[1:])) if different else layout
    monkeypatch.setattr(verify, "elsewhere", nullcontext)
    monkeypatch.setattr(verify, "rebuild", lambda *_: rebuilt)
    monkeypatch.setattr(verify, "plain", lambda *_, **_options: rebuilt)
    monkeypatch.setattr(verify, "_compared", lambda *_: [difference] if different else [])
    monkeypatch.setattr(verify, "keep", lambda *_: None)
    monkeypatch.setattr(verify, "_KEPT", tmp_path / "kept")
    record("verify", layout)
    with pytest.raises(DigestError) if different else nullcontext():
        verify.main(["debian", *arguments])
    assert written() == ({"debian.verify.intoto.json"} if recorded else set())


# Tests


CONFTEST = """\
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts import records
from scripts.records import State
from tests.integration import vouching

vouching.FOLDER = Path(__file__).parent
records.FOLDER = vouching.FOLDER / "records"
records.state = lambda: State("0" * 40, ())


def pytest_addoption(parser):
    parser.addoption("--variant", action="append")
    parser.addoption("--layouts")


def pytest_configure(config):
    config.pluginmanager.register(vouching.Recorder())


@pytest.fixture
def load():
    return lambda name, platform: vouching.note(name, SimpleNamespace(platform=platform, manifest="sha256:" + name))
"""
TESTS = """\
import os, pytest
from scripts import platforms
from scripts.platforms import PLATFORMS

FOREIGN = next(one for one in PLATFORMS.values() if one != platforms.native())

def test_debian(load):
    load("debian", platforms.native())

def test_elsewhere(load):
    load("hardened", FOREIGN)

def test_skipped():
    pytest.skip("not here")

def test_fails_if_asked_to():
    assert "FAILING" not in os.environ
"""
OTHER_TESTS = """\
from scripts import platforms

def test_jitsi(load):
    load("jitsi", platforms.native())
"""


@pytest.fixture
def tested(key: Key, tmp_path: Path) -> Callable[..., set[str]]:
    """Function that runs tests; returns the names of the records that there are then."""
    folder = tmp_path / "tests"
    folder.mkdir()
    for name, text in {"conftest.py": CONFTEST, "test_one.py": TESTS, "test_two.py": OTHER_TESTS}.items():
        (folder / name).write_text(text)

    def run(*arguments: str, status: int = 0, **variables: str) -> set[str]:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", folder, *arguments],
            cwd=folder, env=os.environ | {"PYTHONPATH": str(paths.ROOT)} | variables, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stdout + done.stderr
        return {path.name for path in (folder / "records").glob("*.intoto.json")}

    return run


FOREIGN = next(one for one in PLATFORMS.values() if one != NATIVE)
ALL = {f"{name}.integration.{NATIVE.tag}.intoto.json" for name in ("debian", "jitsi")} | {
    f"hardened.integration.{FOREIGN.tag}.intoto.json"
}


def test_a_run_of_all_tests_vouches_for_the_images_that_it_ran(
    tested: Callable[..., set[str]], key: Key, tmp_path: Path
) -> None:
    """Also for what was run under emulation."""
    assert tested("-n", "2") == ALL
    path = tmp_path / "tests" / "records" / f"debian.integration.{NATIVE.tag}.intoto.json"
    signing.check_file(path, key)
    found = records.load(path)
    assert found is not None
    assert found.images == {f"debian, {NATIVE}": "sha256:debian"}
    assert found.counts == {"passed": 4, "skipped": 1}


def test_a_run_of_a_part_vouches_for_nothing_and_of_a_variant_for_that(tested: Callable[..., set[str]]) -> None:
    (debian,) = (name for name in ALL if name.startswith("debian"))
    assert tested("--variant=debian") == {debian}
    assert tested("--collect-only") == {debian}, "nothing was run"
    assert tested("--layouts=elsewhere") == {debian}, "what is given is tried out only"
    assert tested("--setup-only") == set()
    assert tested("-k", "debian") == set()
    assert tested("-k", "") == ALL, "as CI calls it"
    assert tested("test_one.py") == set()
    assert tested("--deselect=test_two.py", ".") == set()


def test_a_run_that_fails_vouches_for_nothing(tested: Callable[..., set[str]]) -> None:
    assert tested() == ALL
    assert tested(FAILING="1", status=1) == set()


def test_a_run_that_nobody_could_sign_does_not_begin(tested: Callable[..., set[str]]) -> None:
    assert tested() == ALL
    assert tested(COSIGN_PASSWORD="wrong", status=SigningError.exit_status) == ALL
