"""The alpine variant, from a signed archive to clients that are logged in, by the code that production runs.

Alpine's own mirrors may be out of reach, so the archive is made here, on the loopback: its packages, indexes and
signatures are in Alpine's formats, and their content runs (see alpine_archive).
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from scripts import build, dockerfile, fetch, lock, mirrors, paths, platforms, relock, variants
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.errors import GoneError
from scripts.mirrors import Mirror
from scripts.oci import Layout
from scripts.platforms import PLATFORMS
from tests.integration import servers
from tests.integration.alpine_archive import VERSION, RunnableArchive
from tests.integration.clients import connected
from tests.integration.containers import LoadedImage
from tests.integration.servers import ACCOUNTS, Server
from tests.unit import apk, web

(ALICE, ALICE_PASSWORD), (BOB, BOB_PASSWORD) = ACCOUNTS.items()
TARGETS = tuple(dict.fromkeys((platforms.native(), PLATFORMS["linux/arm/v6"], PLATFORMS["linux/s390x"])))
SCRATCH = paths.SCRATCH / "test" / "alpine"


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    """What this module changes: where the variant's lock is, so that nothing committed is touched."""
    with pytest.MonkeyPatch.context() as found:
        shutil.rmtree(SCRATCH, ignore_errors=True)
        for module, name in ((lock, "lock.json"), (dockerfile, "Dockerfile")):
            real, own = module.path_of, SCRATCH / name
            found.setattr(
                module,
                "path_of",
                lambda variant, *rest, own=own, real=real: own if variant == "alpine" else real(variant, *rest),
            )
        yield found
        shutil.rmtree(SCRATCH)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunnableArchive]:
    """The archive, named as anybody would name one of his own: by address and folder of keys."""
    signer = apk.Signer()
    keys = tmp_path_factory.mktemp("keys")
    (keys / signer.name).write_bytes(signer.public)
    with web.serving() as server, pytest.MonkeyPatch.context() as environment:
        environment.setenv("ALPINE_MIRROR", server.url)
        environment.setenv("ALPINE_KEYS", str(keys))
        yield RunnableArchive(server, signer)


@pytest.fixture(scope="module")
def recipe(archive: RunnableArchive, patch: pytest.MonkeyPatch) -> Iterator[Recipe]:
    """The variant, which has no lock: it is locked and expanded first, as `build -- alpine` does."""
    found = build.prepare("alpine", TARGETS)
    yield found
    for package in found.lock.packages([PLATFORMS[name] for name in found.lock.platforms]):
        fetch.blob(package.sha256).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def layout(recipe: Recipe, tool: Engine) -> Layout:
    return build.build(recipe, TARGETS, tool, folder=SCRATCH / "layout")


@pytest.fixture(scope="module")
def alpine_image(layout: Layout, tool: Engine) -> LoadedImage:
    native = platforms.native()
    found = next(image for image in layout.images if image.platform == native)
    build.load(layout, found, ["prosody-test:alpine"], tool)
    return LoadedImage("prosody-test:alpine", native)


@pytest.fixture(scope="module")
def alpine_server(client: docker.DockerClient, alpine_image: LoadedImage) -> Iterator[Server]:
    with servers.serving(client, alpine_image) as started:
        yield started


@pytest.fixture(scope="module")
def content(client: docker.DockerClient, alpine_image: LoadedImage) -> Iterator[tarfile.TarFile]:
    """The image's file system as a container sees it."""
    container = client.containers.create(alpine_image.name)
    try:
        chunks: Any = container.export()
        exported = io.BytesIO(b"".join(chunks))
    finally:
        container.remove(v=True)
    with tarfile.open(fileobj=exported) as found:
        yield found


def read(content: tarfile.TarFile, path: str) -> bytes:
    stream = content.extractfile(path)
    assert stream is not None, path
    return stream.read()


def test_the_lock_has_every_platform_of_the_variant(recipe: Recipe) -> None:
    text = json.loads(lock.path_of("alpine").read_text())
    assert list(text["platforms"]) == [platform.name for platform in recipe.variant.platforms]
    assert len(text["suites"]) == 2 * len(text["platforms"])
    assert {suite["key"] for suite in text["suites"]} == {apk.Signer.name}
    for platform, packages in text["platforms"].items():
        names = {package["package"]: package for package in packages}
        architecture = PLATFORMS[platform].alpine
        assert recipe.variant.packages.keys() <= names.keys()
        assert names["prosody"]["path"] == f"v3.24/community/{architecture}/prosody-{VERSION}.apk"
        assert names["prosody"]["layer"] == names["prosody-zones"]["layer"] == "prosody", "install_if"
        assert names["libexpat1"]["layer"] == "prosody", "by so: name"
        assert not {"busybox", "busybox-binsh", "openrc", "prosody-openrc", "icu-data-en"} & names.keys()
    assert recipe.version == "13.0.6"


def test_the_dockerfile_names_every_package_and_is_clean(recipe: Recipe) -> None:
    text = recipe.dockerfile.read_text()
    for packages in recipe.lock.platforms.values():
        for package in packages:
            line = f"ADD --link --checksum=sha256:{package.sha256} ${{ALPINE_MIRROR}}/{package.path} /{package.layer}/"
            assert text.count(f"{line}\n") == 1
    assert "\nARG ALPINE_MIRROR=https://dl-cdn.alpinelinux.org/alpine\n" in text
    hadolint = Path(sys.prefix) / "bin" / "hadolint"
    done = subprocess.run([hadolint, recipe.dockerfile], cwd=paths.ROOT, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_what_is_locked_stays_locked(recipe: Recipe) -> None:
    before = lock.path_of("alpine").read_text()
    relock.relock([variants.load("alpine")], {"alpine": lock.path_of("alpine")})
    assert lock.path_of("alpine").read_text() == before


def test_two_builds_give_the_same_digest(recipe: Recipe, layout: Layout, tool: Engine) -> None:
    again = build.build(recipe, TARGETS, tool, cache=False, folder=SCRATCH / "again")
    assert [image.platform for image in again.images] == [image.platform for image in layout.images]
    assert again.index == layout.index


def test_clients_talk(alpine_server: Server, tmp_path: Path) -> None:
    certificate = alpine_server.certificate(tmp_path)

    async def scenario() -> None:
        async with (
            connected(alpine_server.port(), ALICE, ALICE_PASSWORD, certificate) as alice,
            connected(alpine_server.port(), BOB, BOB_PASSWORD, certificate) as bob,
        ):
            alice.say(BOB, "hello bob <&> ünïcode 🙂")
            assert await bob.next_message() == "hello bob <&> ünïcode 🙂"

    asyncio.run(scenario())
    bad = [line for line in alpine_server.log().splitlines() if {"error", "warn"} & set(line.split())]
    assert not bad, bad


def test_the_health_check_says_healthy(alpine_server: Server) -> None:
    outcome = alpine_server.health()
    assert outcome.status == 0, outcome.text


def test_the_database_tells_what_is_in_the_image(recipe: Recipe, content: tarfile.TarFile) -> None:
    """Read as apk reads it; what the variant removes, or shortens on purpose, is the only difference."""
    database = apk.installed(read(content, "lib/apk/db/installed").decode())
    locked = recipe.lock.platforms[platforms.native().name]
    assert {(name, entry.fields["V"]) for name, entry in database.items()} == {
        (package.package, package.version) for package in locked
    }
    assert all(entry.fields["o"] for entry in database.values()), "vulnerabilities are looked up by origin"
    members = {member.name: member for member in content}
    changed, missing, seen = set(), set(), 0
    for entry in database.values():
        for path, (mode, digest) in entry.files.items():
            member = members.get(path)
            if member is None:
                missing.add(path)
                continue
            seen += 1
            actual = member.linkname.encode() if member.issym() else read(content, path)
            assert (member.uid, member.gid) == (0, 0)
            if not member.issym():
                assert member.mode == mode, path
            if hashlib.sha1(actual, usedforsecurity=False).hexdigest() != digest:
                changed.add(path)
        for path, mode in entry.folders.items():
            if path in members and path != "var/lib/prosody":
                assert members[path].mode == mode, path
    assert seen > 400
    assert {path for path in changed if not re.search(r"libicudata\.so\.|icudt76l\.dat$", path)} == set()
    assert len(changed) == 2, "ICU's data, in both of its forms"
    removed = [pattern.lstrip("/").replace("*", ".*") for pattern in recipe.variant.image.remove]
    assert [path for path in missing if not any(re.match(pattern, path) for pattern in removed)] == []


def test_apk_finds_the_rest_that_it_reads(recipe: Recipe, content: tarfile.TarFile) -> None:
    assert read(content, "etc/apk/world").decode().split() == sorted(recipe.variant.packages)
    assert read(content, "etc/apk/arch").decode() == f"{platforms.native().alpine}\n"
    assert read(content, "etc/apk/repositories").decode().splitlines() == [
        "https://dl-cdn.alpinelinux.org/alpine/v3.24/main",
        "https://dl-cdn.alpinelinux.org/alpine/v3.24/community",
    ]
    with tarfile.open(fileobj=io.BytesIO(read(content, "lib/apk/db/scripts.tar"))) as scripts:
        assert scripts.getnames() == []
    assert read(content, "etc/alpine-release") == b"3.24.2\n"


def test_neither_shell_nor_signature_is_in_the_image(content: tarfile.TarFile) -> None:
    names = content.getnames()
    assert not [name for name in names if re.search(r"(^|/)(sh|busybox|apk)$|/\.(SIGN|PKGINFO|pre-install)", f"/{name}")
                and not name.startswith(("etc/apk", "lib/apk"))]  # fmt: skip


def test_a_deleted_package_is_locked_again_if_wished(
    recipe: Recipe, archive: RunnableArchive, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Last, because it changes the archive. Alpine deletes what it replaces, from all mirrors."""
    monkeypatch.setattr(
        mirrors, "mirrors", lambda _archive, _instant: (Mirror(archive.url), Mirror(f"{archive.url}/2"))
    )
    native = [platforms.native()]
    (old,) = {found for found in recipe.lock.packages(native) if found.package == "prosody-zones"}
    archive.replace("prosody-zones", "1-r1", install_if=f"prosody={VERSION} tzdata")
    fetch.blob(old.sha256).unlink()
    with pytest.raises(GoneError, match=r"No mirror has prosody-zones 1-r0 .* any more") as caught:
        build.prepare("alpine", native)
    assert "scripts/nox -s lock" in str(caught.value)
    found = build.prepare("alpine", native, relock_gone=True)
    assert not found.committed
    assert "prosody-zones 1-r1" in {f"{package.package} {package.version}" for package in found.lock.packages(native)}
