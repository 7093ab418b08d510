from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from scripts import fetch, lock, oci, registry, vault
from scripts.errors import FetchError, RegistryError
from scripts.lock import Lock, LockedPackage

FILES = {"b_1_all.deb": b"bees", "a_1_amd64.deb": b"ants", "c-1.tgz": b"cats"}


def package(file_name: str) -> LockedPackage:
    content = FILES[file_name]
    return LockedPackage(
        layer="base", package=file_name[0], version="1", architecture="all", archive="debian", path=f"pool/{file_name}",
        size=len(content), sha256=hashlib.sha256(content).hexdigest(), source=file_name[0], source_version="1",
    )  # fmt: skip


def locked(name: str, *platforms: tuple[str, ...]) -> Lock:
    names = ("linux/amd64", "linux/arm64")
    chosen = {platform: tuple(map(package, files)) for platform, files in zip(names, platforms, strict=False)}
    return Lock(name, "", "20261101T000000Z", 0, (), chosen)


LOCKS = (locked("one", ("b_1_all.deb", "a_1_amd64.deb"), ("b_1_all.deb",)), locked("two", ("c-1.tgz", "b_1_all.deb")))


@pytest.fixture
def filled(cache: Path) -> Path:
    """A cache that has all packages."""
    for content in FILES.values():
        fetch.keep(content)
    return cache


def blob(folder: Path, content: bytes) -> Path:
    return folder / "blobs" / "sha256" / hashlib.sha256(content).hexdigest()


def test_a_package_is_in_it_once_with_its_own_hash_and_name() -> None:
    value = json.loads(vault.manifest(vault.packages(LOCKS)))
    layers = [(each["annotations"]["org.opencontainers.image.title"], each["digest"]) for each in value["layers"]]
    assert layers == [(name, oci.digest_of(FILES[name])) for name in sorted(FILES)]
    assert [each["mediaType"] for each in value["layers"]] == [
        "application/vnd.debian.binary-package", "application/vnd.debian.binary-package", "application/gzip",
    ]  # fmt: skip
    assert [each["size"] for each in value["layers"]] == [4, 4, 4]
    assert value["artifactType"] == vault.TYPE


def test_the_order_of_locks_does_not_matter() -> None:
    assert vault.manifest(vault.packages(LOCKS)) == vault.manifest(vault.packages(LOCKS[::-1]))


def test_everything_that_is_locked_and_the_tools_of_a_build_are_in_it() -> None:
    names = [found.variant for found in vault.locks()]
    assert names == [*lock.locked_names(), *vault.TOOLS]


def test_a_folder_is_a_layout_and_nothing_is_written_twice(filled: Path, tmp_path: Path) -> None:
    folder = tmp_path / "vault"
    first = vault.push(LOCKS, str(folder))
    assert first.new == first.packages
    index: dict[str, Any] = json.loads((folder / "index.json").read_text())
    assert [each["digest"] for each in index["manifests"]] == [first.digest]
    assert json.loads((folder / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    for path in (folder / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    second = vault.push(LOCKS, str(folder))
    assert (second.digest, second.new) == (first.digest, ())


def test_packages_of_other_locks_stay(filled: Path, tmp_path: Path) -> None:
    vault.push(LOCKS[:1], str(tmp_path))
    assert [each.file_name for each in vault.push(LOCKS[1:], str(tmp_path)).new] == ["c-1.tgz"]
    assert blob(tmp_path, b"ants").is_file()


def test_a_push_mends_what_was_altered(filled: Path, tmp_path: Path) -> None:
    vault.push(LOCKS, str(tmp_path))
    blob(tmp_path, b"ants").write_bytes(b"bats")
    assert [each.package for each in vault.push(LOCKS, str(tmp_path)).new] == ["a"]
    assert blob(tmp_path, b"ants").read_bytes() == b"ants"


def test_an_interrupted_push_leaves_no_index_and_goes_on(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = vault._copy

    def interrupted(source: Path, target: Path) -> None:
        if source == fetch.blob(hashlib.sha256(b"bees").hexdigest()):
            raise KeyboardInterrupt
        copy(source, target)

    monkeypatch.setattr(vault, "_copy", interrupted)
    with pytest.raises(KeyboardInterrupt):
        vault.push(LOCKS, str(tmp_path / "vault"))
    assert [path.name for path in (tmp_path / "vault").iterdir()] == ["blobs"]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(filled.parent))
    assert [each.package for each in vault.push(LOCKS, str(tmp_path / "vault")).new] == ["b", "c"]


def emptied(cache: Path) -> None:
    for path in (cache / "sha256").rglob("*"):
        if path.is_file():
            path.unlink()


def test_a_folder_fills_the_cache(filled: Path, tmp_path: Path) -> None:
    vault.push(LOCKS, str(tmp_path / "vault"))
    emptied(filled)
    fetch.keep(b"ants")
    assert [each.package for each in vault.pull(LOCKS, str(tmp_path / "vault")).new] == ["b", "c"]
    assert all(fetch.blob(hashlib.sha256(content).hexdigest()).read_bytes() == content for content in FILES.values())


def test_a_build_can_fetch_from_a_folder(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without `pull`: no mirror is reachable here."""
    vault.push(LOCKS, str(tmp_path / "vault"))
    emptied(filled)
    monkeypatch.setenv("PROSODY_VAULT", str(tmp_path / "vault"))
    fetch.fetch([each.item for each in vault.packages(LOCKS)], "20261101T000000Z")
    assert fetch.blob(hashlib.sha256(b"cats").hexdigest()).is_file()


def test_an_altered_package_is_refused_by_name_and_the_others_are_kept(filled: Path, tmp_path: Path) -> None:
    vault.push(LOCKS, str(tmp_path / "vault"))
    emptied(filled)
    blob(tmp_path / "vault", b"ants").write_bytes(b"bats")
    with pytest.raises(
        FetchError, match=r"1 of 3 packages are not what their names say\.\n  a 1 \(all\): SHA-256 "
    ) as e:
        vault.pull(LOCKS, str(tmp_path / "vault"))
    assert "vault -- push" in str(e.value)
    assert not package("a_1_amd64.deb").item.place.exists()
    assert package("c-1.tgz").item.place.read_bytes() == b"cats"


def test_a_lacking_package_is_named_and_the_others_are_kept(filled: Path, tmp_path: Path) -> None:
    vault.push(LOCKS[:1], str(tmp_path / "vault"))
    emptied(filled)
    with pytest.raises(FetchError, match=r"1 of 3 packages are not in it\.\n  c 1 \(all\), SHA-256 "):
        vault.pull(LOCKS, str(tmp_path / "vault"))
    assert package("a_1_amd64.deb").item.place.read_bytes() == b"ants"


def test_what_is_no_vault_is_told(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(FetchError, match="is not a vault"):
        vault.pull(LOCKS, str(tmp_path / "nothing"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("registry.example.org/prosody/vault:1", True),
        ("localhost/vault", True),
        ("127.0.0.1:5000/vault", True),
        ("[::1]:5000/vault", True),
        ("machine:5000/a/b@sha256:00", True),
        ("vault", False),
        ("folder/vault", False),
        ("./registry.example.org/vault", False),
        ("../vault", False),
        ("/srv/vault", False),
        ("registry.example.org", False),
    ],
)
def test_references_are_told_from_folders(text: str, expected: bool) -> None:
    assert registry.is_reference(text) is expected


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("127.0.0.1:5000/a", True),
        ("127.1.2.3/a", True),
        ("localhost:5000/a@sha256:00", True),
        ("[::1]:5000/a", True),
        ("[::2]:5000/a", False),
        ("localhost.example.org/a", False),
        ("10.0.0.1:5000/a", False),
        ("[broken/a", False),
    ],
)
def test_only_the_loopback_needs_no_tls(reference: str, expected: bool) -> None:
    assert registry.is_loopback(reference) is expected


# As skopeo's log has them.
@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (r'Get "http://r.example/v2/": dial tcp: lookup r.example: no such host', "cannot be reached"),
        (r'Get "https://r.example/v2/": dial tcp 10.0.0.1:443: i/o timeout', "cannot be reached"),
        (r'Get "https://r.example/v2/": tls: failed to verify certificate', "TLS"),
        (r'Get "https://r.example/v2/": http: server gave HTTP response to HTTPS client', "TLS"),
        ("reading manifest 1 in r.example/a: manifest unknown", "is not there"),
        ("reading manifest 1 in r.example/a: name unknown: repository name not known to registry", "is not there"),
        ("reading manifest 1 in r.example/a: unauthorized: authentication required", "login r.example"),
        ("reading manifest 1 in r.example/a: requested access to the resource is denied", "login r.example"),
        ("invalid reference format: repository name (library/A) must be lowercase", "is not a reference"),
        (r'Patch "http://r.example/EOF": happened during read: Digest did not match, expected a', "other bytes"),
        (r'Patch "http://r.example/EOF": something else', "could not be copied"),
    ],
)
def test_what_went_wrong_at_a_registry_is_told(said: str, expected: str) -> None:
    lines = ['time="2026-11-26T02:20:11Z" level=debug msg="unauthorized"', f"level=fatal msg={json.dumps(said)}"]
    error = registry._error("r.example/a:1", lines)
    assert isinstance(error, RegistryError)
    assert str(error).startswith("r.example/a:1 ")
    assert expected in str(error).splitlines()[0]
    assert said in str(error)


def test_a_full_disk_is_no_fault_of_the_registry() -> None:
    error = registry._error("r.example/a", [r'level=fatal msg="writing blob: write /x: no space left on device"'])
    assert isinstance(error, OSError)
