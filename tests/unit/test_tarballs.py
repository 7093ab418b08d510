"""Packages that are tarballs: in a variant, fetched or refused, in the lock, in the image."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts import dockerfile, fetch, lock, mirrors, paths, toolset, variants
from scripts.archives import tarballs
from scripts.errors import FetchError, GoneError, LockError, VariantError
from scripts.variants import Tarball, Variant
from tests.unit import signed, web
from tests.unit.signed import NOW

FILES = {
    "package/package.json": b"{}",
    "package/LICENSE": b"free",
    "package/dist/client.js": b"run()",
    "package/dist/client.js.map": b"for debuggers",
    "package/dist/words/de.js": b"ja",
    "package/src/secret.js": b"not wanted",
}


def tarball(files: dict[str, bytes], *special: tarfile.TarInfo) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o777
            archive.addfile(member, io.BytesIO(content))
        for member in special:
            archive.addfile(member)
    return stream.getvalue()


def link(name: str, target: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = tarfile.SYMTYPE, target
    return member


def integrity(content: bytes) -> str:
    return f"sha512-{base64.b64encode(hashlib.sha512(content).digest()).decode()}"


def statement(content: bytes, **fields: object) -> bytes:
    value = {"name": "client", "version": "1.2.3", "dist": {"integrity": integrity(content), "tarball": "http://x/"}}
    return json.dumps(value | fields).encode()


CLIENT = Tarball("client", "web", "1.2.3", None, None, None, "/srv/client", ("dist", "LICENSE", "package.json"), 1)
CONTENT = tarball(FILES)


@pytest.fixture
def registry(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[web.Web]:
    """An npm registry with one package, as the only one."""
    del cache
    with web.serving() as server:
        publish(server, CONTENT)
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: (mirrors.Mirror(server.url),))
        yield server


def publish(server: web.Web, content: bytes, **fields: object) -> None:
    server.behaviours["/client/1.2.3"] = web.content(statement(content, **fields))
    server.behaviours["/client/-/client-1.2.3.tgz"] = web.content(content)


def test_a_package_of_the_registry_is_found_and_cached(registry: web.Web) -> None:
    found = tarballs.find(CLIENT)
    assert found == tarballs.Found(hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), integrity(CONTENT))
    assert fetch.blob(found.sha256).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            lambda server: server.behaviours.update({"/client/-/client-1.2.3.tgz": web.content(tarball({}))}),
            "client/-/client-1.2.3.tgz is not what the npm registry says it is", id="another tarball",
        ),
        pytest.param(
            lambda server: server.behaviours.update({"/client/-/client-1.2.3.tgz": web.content(CONTENT[:-9])}),
            "is not what the npm registry says it is", id="cut",
        ),
        pytest.param(lambda server: publish(server, b"text"), "client-1.2.3.tgz is not a tarball", id="no tarball"),
        pytest.param(
            lambda server: publish(server, CONTENT, version="1.2.4"),
            "was asked for client 1.2.3, and answered about client 1.2.4", id="another version",
        ),
        pytest.param(
            lambda server: publish(server, CONTENT, dist={"integrity": "sha1-abc"}),
            "has no SHA-512 of client 1.2.3, only 'sha1-abc'", id="weak hash",
        ),
        pytest.param(
            lambda server: publish(server, CONTENT, dist={"integrity": "sha512-!"}), "'sha512-!' is not an integrity",
            id="broken hash",
        ),
        pytest.param(
            lambda server: publish(server, CONTENT, dist={}), "answer about client 1.2.3 cannot be read", id="no hash"
        ),
        pytest.param(
            lambda server: server.behaviours.update({"/client/1.2.3": web.content(b"<html>")}),
            "answer about client 1.2.3 cannot be read", id="no JSON",
        ),
        pytest.param(
            lambda server: publish(server, tarball({**FILES, "package/../../etc/passwd": b""})),
            "has a file outside of its folder: 'package/../../etc/passwd'", id="traversal",
        ),
        pytest.param(
            lambda server: publish(server, tarball({**FILES, "/etc/passwd": b""})),
            "has a file outside of its folder: '/etc/passwd'", id="absolute",
        ),
        pytest.param(
            lambda server: publish(server, tarball(FILES, link("package/dist/etc", "/etc"))),
            "'package/dist/etc' in client-1.2.3.tgz is neither a file nor a folder; 'dist' under `only` takes it",
            id="link",
        ),
        pytest.param(
            lambda server: publish(server, tarball({"package/dist/client.js": b""})),
            "nothing in client-1.2.3.tgz matches: LICENSE, package.json", id="files are missing",
        ),
    ],
)  # fmt: skip
def test_what_is_not_as_it_should_be_is_refused(
    registry: web.Web, change: Callable[[web.Web], None], expected: str
) -> None:
    change(registry)
    with pytest.raises(LockError) as caught:
        tarballs.find(CLIENT)
    assert expected in str(caught.value)


def test_a_link_that_nobody_takes_does_no_harm(registry: web.Web) -> None:
    publish(registry, tarball(FILES, link("package/src/etc", "/etc")))
    assert tarballs.find(CLIENT).size


def test_a_version_that_is_not_there_is_an_error(registry: web.Web) -> None:
    del registry.behaviours["/client/1.2.3"]
    with pytest.raises(FetchError, match=r"client/1\.2\.3 could not be fetched"):
        tarballs.find(CLIENT)


def test_a_deprecated_version_is_told(registry: web.Web, capsys: pytest.CaptureFixture[str]) -> None:
    publish(registry, CONTENT, deprecated="use another")
    tarballs.find(CLIENT)
    assert "client 1.2.3 is deprecated: use another" in capsys.readouterr().err


def test_a_scope_is_no_part_of_the_file_name() -> None:
    scoped = Tarball("@scope/name", "web", "2.0.0", None, None, None, "/srv", ("x",), 1)
    assert (scoped.path, scoped.file_name) == ("@scope/name/-/name-2.0.0.tgz", "name-2.0.0.tgz")


def test_an_address_is_its_own_archive(cache: Path) -> None:
    del cache
    with web.serving() as server:
        server.behaviours["/files/plugins.tar.gz"] = web.content(CONTENT)
        address, sha256 = f"{server.url}/files/plugins.tar.gz", hashlib.sha256(CONTENT).hexdigest()
        found = Tarball("plugins", "web", None, address, sha256, "7", "/srv", ("*/words",), 1)
        assert (found.archive, found.path) == (server.url, "files/plugins.tar.gz")
        assert tarballs.find(found) == tarballs.Found(sha256, len(CONTENT), "")
        server.behaviours["/files/plugins.tar.gz"] = web.content(CONTENT + b" ")
        with pytest.raises(LockError, match=r"plugins\.tar\.gz is not the file that the variant names: SHA-256"):
            tarballs.find(found)


# In a variant, a lock, a Dockerfile.

TEXT = """\
description: A variant for tests.
distribution: debian
suites: [{suite: trixie}]
platforms: [linux/amd64, linux/arm64]
layers: {base: [library], web: []}
exclude: {helper: not in this archive}
version: library
tarballs:
  client: {npm: 1.2.3, layer: web, to: /srv/client, only: [dist, LICENSE, package.json]}
"""


def load(folder: Path, text: str = TEXT) -> Variant:
    (folder / "test.yaml").write_text(text)
    return variants.load("test", folder)


def test_a_tarball_is_locked_like_a_package(archive: signed.Archive, tmp_path: Path) -> None:
    publish(archive.server, CONTENT)
    variant = load(tmp_path)
    made = lock.make(variant, NOW)
    for platform in ("linux/amd64", "linux/arm64"):
        base, client = made.platforms[platform]
        assert base.package == "library"
        assert (client.layer, client.version, client.archive) == ("web", "1.2.3", "npm")
        assert client.integrity == integrity(CONTENT)
    path = tmp_path / "lock.json"
    path.write_text(lock.dump(made))
    assert lock.load(variant, path) == made
    assert archive.server.url not in path.read_text(), "whose registry it was is not recorded"
    assert path.read_text().count('"integrity"') == 2
    text = dockerfile.expand(variant, made)
    address = "${NPM_MIRROR}/client/-/client-1.2.3.tgz"
    assert text.count(f"ADD --link --checksum=sha256:{client.sha256} {address} /web/\n") == 2
    assert f"ARG NPM_MIRROR={mirrors.NPM}\n" in text
    assert "tarball web 'client-1.2.3.tgz' 1 '/srv/client' 'dist LICENSE package.json'\n" in text


def test_a_tarball_at_an_address_needs_no_argument(archive: signed.Archive, tmp_path: Path) -> None:
    archive.server.behaviours["/x/plugins.tar.gz"] = web.content(CONTENT)
    source = f"url: {archive.server.url}/x/plugins.tar.gz, sha256: {hashlib.sha256(CONTENT).hexdigest()}, version: '7'"
    variant = load(tmp_path, TEXT.replace("npm: 1.2.3", source))
    text = dockerfile.expand(variant, lock.make(variant, NOW))
    assert f" {archive.server.url}/x/plugins.tar.gz /web/\n" in text
    assert "NPM" not in text


def test_an_error_says_where_the_variant_names_it(archive: signed.Archive, tmp_path: Path) -> None:
    publish(archive.server, b"text")
    with pytest.raises(LockError, match=r"test\.yaml:9:3: client: client-1\.2\.3\.tgz is not a tarball"):
        lock.make(load(tmp_path), NOW)


def test_a_registry_that_dropped_it_is_told(archive: signed.Archive, tmp_path: Path) -> None:
    publish(archive.server, CONTENT)
    variant = load(tmp_path)
    made = lock.make(variant, NOW)
    client = made.platforms["linux/amd64"][1]
    fetch.blob(client.sha256).unlink()
    del archive.server.behaviours["/client/-/client-1.2.3.tgz"]
    with pytest.raises(GoneError, match=r"No mirror has client 1\.2\.3 \(all\) any more"):
        fetch.fetch([client.item], made.snapshot)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("npm: 1.2.3", "npm: ^1.2.3", "tarballs.client.npm: '^1.2.3' does not match"),
        ("npm: 1.2.3", "npm: latest", "tarballs.client.npm: 'latest' does not match"),
        ("layer: web", "layer: wbe", "tarballs.client.layer: there is no layer 'wbe'; there are: base, web; did you"),
        ("only: [dist,", "only: [../dist,", "tarballs.client.only[0]: '../dist' does not match"),
        ("only: [dist,", "only: [/dist,", "tarballs.client.only[0]: '/dist' does not match"),
        ("to: /srv/client", "to: srv", "tarballs.client.to: 'srv' does not match"),
        ("npm: 1.2.3, ", "", "tarballs.client: needs either npm or url, sha256, version, and not both"),
        (
            "npm: 1.2.3",
            "npm: 1.2.3, url: https://x.example/y.tgz",
            "tarballs.client: needs either npm or url, sha256, version, and not both",
        ),
        (
            "npm: 1.2.3",
            "url: https://x.example/y.tgz",
            "tarballs.client: needs either npm or url, sha256, version, and not both",
        ),
        ("client: {", "../client: {", "tarballs.../client: '../client' does not match"),
    ],
)
def test_a_variant_that_is_wrong_is_refused(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in TEXT
    with pytest.raises(VariantError) as caught:
        load(tmp_path, TEXT.replace(old, new))
    assert expected in str(caught.value)


# In the image.


@pytest.mark.parametrize(
    ("strip", "only", "expected"),
    [
        (1, "dist LICENSE", {"LICENSE", "dist/client.js", "dist/client.js.map", "dist/words/de.js"}),
        (1, "*/*.js", {"dist/client.js", "src/secret.js"}),
        (2, "words *.js", {"words/de.js", "client.js", "secret.js"}),
        (0, "package/LICENSE", {"package/LICENSE"}),
    ],
)
def test_the_chosen_files_arrive(tmp_path: Path, strip: int, only: str, expected: set[str]) -> None:
    (tmp_path / "packages/web").mkdir(parents=True)
    (tmp_path / "packages/web/client.tgz").write_bytes(CONTENT)
    script = (paths.IMAGES / "assemble.sh").read_text().partition("# shellcheck source=/dev/null")[0]
    script = script.replace("layers=/layers", f"layers={tmp_path}/layers").replace("/packages", f"{tmp_path}/packages")
    script = script.replace(" /tarball", f" {tmp_path}/tarball").replace("=/tarball", f"={tmp_path}/tarball")
    script = script.replace("#/tarball", f"#{tmp_path}/tarball")
    busybox = toolset.unpack("busybox").root / "usr/bin/busybox"
    (tmp_path / "programs").mkdir()
    subprocess.run([busybox, "--install", "-s", tmp_path / "programs"], check=True)
    subprocess.run(
        [busybox, "sh", "-c", f"{script}\ntarball web client.tgz {strip} /srv/client '{only}'"],
        check=True, env={"PATH": str(tmp_path / "programs")},
    )  # fmt: skip
    root = tmp_path / "layers/web/srv/client"
    files = {str(path.relative_to(root)): path for path in root.rglob("*") if path.is_file()}
    assert set(files) == expected
    assert {path.stat().st_mode & 0o7777 for path in files.values()} == {0o644}
    assert not (tmp_path / "tarball").exists()
