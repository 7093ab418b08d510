from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from scripts import lock, mirrors, paths, variants
from scripts.errors import FetchError, GoneError, LockError, UsageError
from scripts.lock import Lock, LockedSuite
from scripts.platforms import PLATFORMS
from scripts.variants import Variant
from tests.unit import signed, web
from tests.unit.conftest import Checkout
from tests.unit.locks import made_up, package
from tests.unit.signed import NOW, stanza

AMD64, ARM64 = PLATFORMS["linux/amd64"], PLATFORMS["linux/arm64"]


def test_a_lock_survives_writing_and_reading(variant: Callable[..., Variant], tmp_path: Path) -> None:
    odd = package("lib+c++.odd", "1:2.0~rc1+dfsg-1~bpo13+1", layer="top", source="ünusual", size=2**40)
    written = made_up(variant(), package("tool"), odd)
    path = tmp_path / "lock.json"
    path.write_text(lock.dump(written))
    assert lock.load(variant(), path) == written
    assert lock.dump(lock.load(variant(), path)) == path.read_text()


def test_a_lock_is_one_line_a_package(variant: Callable[..., Variant]) -> None:
    lines = lock.dump(made_up(variant(), package("tool", "1"))).splitlines()
    changed = lock.dump(made_up(variant(), package("tool", "2"))).splitlines()
    assert len(lines) == len(changed)
    different = [line for line, other in zip(lines, changed, strict=True) if line != other]
    assert len(different) == 3, "one a platform, and the checksum"


Spoil = Callable[[Lock], str]


def with_fields(**fields: object) -> Spoil:
    return lambda found: json.dumps(json.loads(lock.dump(found)) | fields)


def without(field: str) -> Spoil:
    return lambda found: json.dumps({key: value for key, value in json.loads(lock.dump(found)).items() if key != field})


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(lambda found: lock.dump(found)[:-40], "is not a complete lock", id="truncated at the end"),
        pytest.param(lambda found: lock.dump(found)[:100], "is not a complete lock", id="truncated"),
        pytest.param(lambda _found: "", "is not a complete lock", id="empty"),
        pytest.param(lambda _found: "\udcff", "is not a complete lock", id="not UTF-8"),
        pytest.param(lambda found: "<<<<<<< HEAD\n" + lock.dump(found), "is not a complete lock", id="merge conflict"),
        pytest.param(lambda _found: "[]", "is not of type 'object'", id="a list"),
        pytest.param(lambda found: lock.dump(found).replace("a", "b", 1), "'variant' is a required", id="key misspelt"),
        pytest.param(
            lambda found: lock.dump(found).replace(package("tool").sha256, "0" * 64, 1), "was edited by hand", id="hash"
        ),
        pytest.param(lambda found: lock.dump(found).replace('"size": 10', '"size": 11'), "edited by hand", id="size"),
        pytest.param(lambda found: lock.dump(found).replace("tool_1", "tool_2"), "was edited by hand", id="path"),
        pytest.param(with_fields(epoch=1), "was edited by hand", id="epoch"),
        pytest.param(with_fields(checksum="0" * 64), "was edited by hand", id="checksum"),
        pytest.param(with_fields(inputs="0" * 64), "was edited by hand", id="inputs"),
        pytest.param(with_fields(epoch="now"), ": epoch: 'now' is not of type 'integer'", id="wrong type"),
        pytest.param(with_fields(epoch=-1), ": epoch: -1 is less than the minimum", id="negative"),
        pytest.param(with_fields(snapshot="yesterday"), ": snapshot: 'yesterday' does not match", id="no instant"),
        pytest.param(with_fields(colour="blue"), "('colour' was unexpected)", id="unknown key"),
        pytest.param(with_fields(platforms={}), ": platforms: ", id="no platforms"),
        pytest.param(without("suites"), "'suites' is a required property", id="key missing"),
        pytest.param(lambda found: lock.dump(found).replace("pool/", "../pool/"), "].path: '../pool/", id="escapes"),
        pytest.param(
            lambda found: lock.dump(replace(found, variant="alpine")), "is the lock of variant 'alpine'", id="another"
        ),
        pytest.param(
            lambda found: lock.dump(replace(found, inputs="0" * 64)),
            "was made for another state of test.yaml",
            id="stale",
        ),
    ],
)
def test_a_bad_lock_is_refused(variant: Callable[..., Variant], tmp_path: Path, spoil: Spoil, expected: str) -> None:
    found = made_up(variant())
    path = tmp_path / "lock.json"
    path.write_bytes(spoil(found).encode(errors="surrogateescape"))
    with pytest.raises(LockError) as caught:
        lock.load(variant(), path)
    assert str(caught.value).startswith(str(path))
    assert expected in str(caught.value)
    assert "scripts/nox -s lock -- test" in str(caught.value)


def test_a_missing_lock_says_how_to_make_one(variant: Callable[..., Variant], tmp_path: Path) -> None:
    with pytest.raises(
        LockError, match=r"'test' has no lock \(.*lock\.json\)\. Make one with: scripts/nox -s lock -- test"
    ):
        lock.load(variant(), tmp_path / "lock.json")


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(("{helper: not in this archive}", "{helper: x y z, other: not needed}"), id="exclusion"),
        pytest.param(("[library]", "[library, more]"), id="package"),
        pytest.param(("  base: [library]\n  top: [tool]", "  top: [tool]\n  base: [library]"), id="order of layers"),
        pytest.param(("linux/arm64", "linux/386"), id="platform"),
        pytest.param(("{suite: trixie}", "{suite: trixie, packages: [tool]}"), id="limit of a suite"),
        pytest.param(("{suite: trixie}", "{suite: trixie, archive: debian-security}"), id="archive"),
        pytest.param(("{suite: trixie}", "{suite: trixie, components: [main, contrib]}"), id="components"),
    ],
)
def test_what_decides_about_packages_makes_a_lock_stale(
    variant: Callable[..., Variant], tmp_path: Path, changes: tuple[str, str]
) -> None:
    path = tmp_path / "lock.json"
    path.write_text(lock.dump(made_up(variant())))
    with pytest.raises(LockError, match=r"was made for another state of test\.yaml"):
        lock.load(variant(*changes), path)
    assert lock.load(variant(*changes), path, stale=True).variant == "test"


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param(("A variant", "Another variant"), id="description"),
        pytest.param(("not in this archive", "for another reason"), id="reason"),
        pytest.param(("version: tool", "image: {environment: {A: b}}"), id="image"),
    ],
)
def test_what_decides_about_nothing_keeps_a_lock(
    variant: Callable[..., Variant], tmp_path: Path, changes: tuple[str, str]
) -> None:
    path = tmp_path / "lock.json"
    path.write_text(lock.dump(made_up(variant())))
    assert lock.load(variant(*changes), path)


@pytest.mark.parametrize(
    ("version", "upstream"),
    [
        ("13.0.6-1~bpo13+1", "13.0.6"),
        ("1:2.0-1", "2.0"),
        ("0.12", "0.12"),
        ("1.0-rc1-2", "1.0-rc1"),
        ("2:7", "7"),
        ("1:11.8.9+ds-0+deb13u1", "11.8.9"),
    ],
)
def test_the_version_is_the_upstream_one(variant: Callable[..., Variant], version: str, upstream: str) -> None:
    assert made_up(variant(), package("library"), package("tool", version)).version(variant()) == upstream


def test_a_version_of_no_package_is_refused(variant: Callable[..., Variant]) -> None:
    with pytest.raises(LockError, match="'test' names no package under `version` that is in its lock"):
        made_up(variant()).version(variant("version: tool\n", ""))


def test_a_platform_that_is_not_locked_is_refused(variant: Callable[..., Variant]) -> None:
    with pytest.raises(UsageError, match="'test' is not locked for linux/s390x; it is for: linux/amd64, linux/arm64"):
        made_up(variant()).packages([PLATFORMS["linux/s390x"]])


def test_packages_of_several_platforms_are_each_named_once(variant: Callable[..., Variant]) -> None:
    shared, one, two = package("shared"), package("x", "1"), package("x", "1+b1")
    found = replace(made_up(variant()), platforms={"linux/amd64": (shared, one), "linux/arm64": (shared, two)})
    assert found.packages([AMD64, ARM64]) == (shared, one, two)
    assert found.packages([ARM64]) == (shared, two)
    assert found.packages([]) == ()


def test_packages_are_fetched_by_hash(
    variant: Callable[..., Variant], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = b"a package"
    found = package("tool", sha256=hashlib.sha256(content).hexdigest(), size=len(content))
    with web.serving() as server:
        monkeypatch.setenv("DEBIAN_MIRROR", server.url)
        server.behaviours[f"/{found.path}"] = web.content(content)
        assert made_up(variant(), found).fetch([AMD64]).downloaded_files == 1
        server.behaviours.clear()
        monkeypatch.setattr(mirrors, "SNAPSHOT", f"{server.url}/snapshot")
        with pytest.raises(GoneError, match=r"No mirror has tool 2 \(all\) any more") as caught:
            made_up(variant(), package("tool", "2")).fetch([AMD64])
        # What a user needs to know: which file, where it was looked for, and what to do.
        for part in (
            f"{server.url}/pool/main/t/tool/tool_2_all.deb",
            "/snapshot/debian/20261120T210000Z/pool/",
            "-s lock",
        ):
            assert part in str(caught.value)
    assert [path.name for path in cache.rglob("*") if len(path.name) == 64] == [found.sha256]


# Made from an archive.


def test_a_lock_is_made_from_the_archive(archive: signed.Archive, variant: Callable[..., Variant]) -> None:
    content = archive.publish()
    made = lock.make(variant(), NOW)
    for platform in ("linux/amd64", "linux/arm64"):
        rows = [(found.layer, found.package, found.version, found.source) for found in made.platforms[platform]]
        assert rows == [("base", "library", "1.0", "library"), ("top", "tool", "1:2.0-1", "tools")]
    assert made.epoch == int((NOW - timedelta(hours=3)).timestamp())
    assert made.snapshot == "20261120T210000Z"
    assert made.suites == (
        LockedSuite("debian", "trixie", "2026-11-20T09:00:00+00:00", hashlib.sha256(content).hexdigest()),
    )
    assert made.inputs == lock.inputs(variant())


def test_a_dependency_goes_into_the_first_layer_that_needs_it(
    archive: signed.Archive, variant: Callable[..., Variant]
) -> None:
    archive.publish(
        "\n".join(
            [
                stanza("library", Depends="shared, virtual"), stanza("tool", Depends="shared, own, library"),
                stanza("shared", Depends="deep"), stanza("deep"), stanza("own", Depends="tool, named | x"),
                stanza("provider", Provides="virtual"), stanza("named"),
            ]
        ).encode()
    )  # fmt: skip
    made = lock.make(variant("[tool]", "[tool]\n  last: [named]"), NOW)
    assert [(found.layer, found.package) for found in made.platforms["linux/amd64"]] == [
        ("base", "deep"), ("base", "library"), ("base", "provider"), ("base", "shared"),
        ("top", "own"), ("top", "tool"), ("last", "named"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            ("[library]", "[library, libary]"),
            (
                "test.yaml:6:19: layers.base[1]: no package 'libary' for linux/amd64 in trixie;"
                " did you mean 'library'?"
            ),
            id="misspelt",
        ),
        pytest.param(
            ("[library]", "[xyzzy]"),
            "test.yaml:6:10: layers.base[0]: no package 'xyzzy' for linux/amd64 in trixie",
            id="unlike any",
        ),
        pytest.param(
            ("{suite: trixie}", "{suite: trixie, packages: [library]}"),
            "test.yaml:7:9: layers.top[0]: no package 'tool' for linux/amd64 in trixie",
            id="not from this suite",
        ),
        pytest.param(
            ("{helper: not in this archive}", "{another: one}"),
            "tool 1:2.0-1 needs helper | other; there is: no such package",
            id="a dependency is missing",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_locked_is_explained(
    archive: signed.Archive, variant: Callable[..., Variant], changes: tuple[str, str], expected: str
) -> None:
    del archive
    with pytest.raises(LockError) as caught:
        lock.make(variant(*changes), NOW)
    assert expected in str(caught.value)


# As committed, and as a command.


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        pytest.param(folder, name, id=name)
        for folder in (paths.VARIANTS, paths.TOOLS, paths.PEERS)
        for name in lock.locked_names(folder)
    ],
)
def test_the_committed_locks_are_current(folder: Path, name: str) -> None:
    variant = variants.load(name, folder)
    found = lock.load(variant, lock.path_of(name, folder))
    assert list(found.platforms) == [platform.name for platform in variant.platforms]
    assert lock.dump(found) == lock.path_of(name, folder).read_text()
    for platform in variant.platforms:
        packages = found.platforms[platform.name]
        names = [locked.package for locked in packages]
        assert len(set(names)) == len(names)
        assert variant.packages.keys() <= set(names)
        assert not set(names) & variant.exclude
        assert {locked.layer for locked in packages} <= variant.layers.keys()
        assert {locked.architecture for locked in packages} <= {
            "all",
            "noarch",
            platform.named_by(variant.distribution),
        }
    assert datetime.strptime(found.snapshot, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp() >= found.epoch


@pytest.mark.parametrize("module", ["dockerfile", "build"])
@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:9000]), "is not a complete lock", id="truncated"),
        pytest.param(
            lambda path: path.write_text(path.read_text().replace('"epoch": 1', '"epoch": 2')),
            "was edited by hand",
            id="edited",
        ),
    ],
)
def test_commands_refuse_a_bad_lock_without_traceback(
    checkout: Checkout, module: str, spoil: Callable[[Path], object], expected: str
) -> None:
    spoil(checkout.root / "images/debian/lock.json")
    done = checkout.run(module, "debian")
    assert done.returncode == LockError.exit_status == 11
    assert expected in done.stderr
    assert "images/debian/lock.json" in done.stderr
    assert "scripts/nox -s lock -- debian" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_lock_is_made_by_build_only(checkout: Checkout) -> None:
    """There is no network here, so the build ends when it locks."""
    (checkout.root / "images/debian/lock.json").unlink()
    checkout.edit("scripts/mirrors.py", 'SNAPSHOT = "https://', 'SNAPSHOT = "http://127.0.0.1:9/')
    checkout.edit("scripts/mirrors.py", 'Path("/etc/apt")', 'Path("/nowhere")')
    done = checkout.run("dockerfile", "debian")
    assert done.returncode == LockError.exit_status == 11
    assert "'debian' has no lock (images/debian/lock.json). Make one with: scripts/nox -s lock -- debian" in done.stderr
    done = checkout.run("build", "debian")
    assert done.returncode == FetchError.exit_status == 13
    assert "debian has no lock yet: it is locked first, against its archives as they are now." in done.stderr
    assert "dists/trixie/InRelease could not be fetched." in done.stderr
    assert not (checkout.root / "images/debian/lock.json").exists()
