"""Images that are scanned: faults that are planted into one are found by name, and a clean one has none."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from scripts import contents, dockerfile, oci, paths, platforms, registry, scan
from scripts.embedded import Embedded
from scripts.errors import EngineError, ScannerError
from scripts.oci import Layer, Layout
from scripts.scanners import dockerfiles, image
from scripts.scanners.findings import CHECKS, EXPIRED, VULNERABILITY, Finding
from scripts.scanners.image import Subject
from tests.integration.conftest import Images
from tests.peers.registry import Registry

NATIVE = platforms.native()
VARIANT = "hardened"  # which has the fewest files
PROGRAM = "usr/bin/tini"
# Checks of what is not the image
ELSEWHERE = {VULNERABILITY, EXPIRED, "security-update", "update", "dockerfile", "licence"}


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """An empty folder on the same file system as the builds."""
    folder = paths.SCRATCH / "test" / "scan"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def clean(images: Images) -> Subject:
    """The image as it is built for this machine's platform."""
    recipe, layout = images.recipe(VARIANT), images.layout(VARIANT)
    found = next(one for one in layout.images if one.platform == NATIVE)
    return Subject(recipe.variant, recipe.lock, layout, found)


def file_of(subject: Subject, path: str) -> bytes:
    """A file of an image."""
    return next(
        content
        for layer in subject.image.layers
        for member, content in contents.walk(subject.layout.blob(layer.digest))
        if member.path == path
    )


def weakened(content: bytes) -> bytes:
    """A program of 64 bits with an executable stack, at a fixed address, without RELRO, and with none of its names.

    Fields and constants are those of elf(5).
    """
    changed = bytearray(content)
    struct.pack_into("<H", changed, 16, 2)  # e_type: ET_EXEC
    (start,) = struct.unpack_from("<Q", changed, 32)
    size, count = struct.unpack_from("<HH", changed, 54)
    for place in range(start, start + size * count, size):
        (kind,) = struct.unpack_from("<I", changed, place)
        if kind == 0x6474E551:  # PT_GNU_STACK
            struct.pack_into("<I", changed, place + 4, 7)  # readable, writable, executable
        elif kind == 0x6474E552:  # PT_GNU_RELRO
            struct.pack_into("<I", changed, place, 0)  # PT_NULL
    return bytes(changed).replace(b"__stack_chk_fail", b"__never_has_been").replace(b"_chk\0", b"_abc\0")


def retagged(content: bytes, old: Sequence[int], new: Sequence[int]) -> bytes:
    """A program of which entries of the dynamic section have another tag or value."""
    packed = content.replace(struct.pack("<QQ", *old), struct.pack("<QQ", *new), 1)
    assert packed != content
    return packed


def member(name: str, mode: int = 0o644, kind: bytes = tarfile.REGTYPE, **fields: Any) -> tarfile.TarInfo:
    found = tarfile.TarInfo(name)
    found.mode, found.type = mode, kind
    for field, value in fields.items():
        setattr(found, field, value)
    return found


def planted(
    subject: Subject, folder: Path, additions: Sequence[tuple[tarfile.TarInfo, bytes]], **settings: Any
) -> Subject:
    """The image with one more layer, and other settings in its configuration; all digests are true."""
    shutil.copytree(subject.layout.folder, folder)
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for found, content in additions:
            found.size = len(content)
            archive.addfile(found, io.BytesIO(content))

    def add(content: bytes) -> str:
        digest = oci.digest_of(content)
        (folder / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(content)
        return digest

    packed = zstandard.compress(stream.getvalue())
    layer = Layer("planted", add(packed), len(packed))
    configuration = json.loads(subject.layout.blob(subject.image.config).read_bytes())
    configuration["config"] |= settings
    layout = dataclasses.replace(subject.layout, folder=folder)
    changed = dataclasses.replace(
        subject.image, layers=(*subject.image.layers, layer), config=add(oci.canonical(configuration))
    )
    return dataclasses.replace(subject, layout=layout, image=changed)


def labels(subject: Subject, **changes: str) -> Mapping[str, str]:
    configuration = json.loads(subject.layout.blob(subject.image.config).read_bytes())
    there: dict[str, str] = configuration["config"]["Labels"]
    return there | {f"org.opencontainers.image.{name}": value for name, value in changes.items()}


@pytest.fixture(scope="module")
def found(clean: Subject, scratch: Path) -> list[Finding]:
    """What a scan finds in an image with one fault of every kind."""
    tini = file_of(clean, PROGRAM)
    flags, flags_1, runpath = 30, 0x6FFFFFFB, 29  # DT_FLAGS, DT_FLAGS_1, DT_RUNPATH
    faults = [
        (member("usr/bin/su", 0o4755), b""),
        (member("usr/bin/mail", 0o2755), b""),
        (member("usr/bin/ping", pax_headers={"SCHILY.xattr.security.capability": "\x01\0\0\2"}), b""),
        (member("usr/share/noted", pax_headers={"SCHILY.xattr.user.note": "x"}), b""),
        (member("etc/open", 0o666), b""),
        (member("srv", 0o777, tarfile.DIRTYPE), b""),
        (member("usr/share/null", 0o644, tarfile.CHRTYPE, devmajor=1, devminor=3), b""),
        (member("etc/key.pem"), b"-----BEGIN RSA PRIVATE KEY-----\nMIIE\n"),
        (member("usr/lib/loop", 0o777, tarfile.SYMTYPE, linkname="loop"), b""),
        (member("usr/lib/nowhere", 0o777, tarfile.SYMTYPE, linkname="../nothing/at/all"), b""),
        (member("etc/nsswitch.conf"), b"passwd: nothing\n"),
        (member(PROGRAM, 0o755), tini + b"\0"),
        (member("usr/share/doc/tini", 0o777, tarfile.SYMTYPE, linkname="gone"), b""),
        (member("usr/bin/weak", 0o755), weakened(file_of(clean, "usr/bin/lua5.4"))),
        (
            member("usr/bin/lazy", 0o755),
            retagged(retagged(tini, (flags, 8), (flags, 0)), (flags_1, 0x8000001), (flags_1, 0x8000000)),
        ),
        (member("usr/bin/rewritten", 0o755), retagged(tini, (flags, 8), (flags, 4))),
        (member("usr/bin/searching", 0o755), retagged(tini, (flags, 8), (runpath, 1))),
        (member("usr/bin/broken", 0o755), tini[:80]),
    ]
    subject = planted(
        clean, scratch / "planted", faults,
        User="root", ExposedPorts={"22/tcp": {}}, Labels=labels(clean, version="0.1", title=""),
        Entrypoint=["/usr/bin/absent"], Env=["TOKEN=ghp_" + "a1B2" * 9],
    )  # fmt: skip
    return list(image.scan(subject))


def subjects(found: list[Finding], check: str) -> set[str]:
    return {finding.subject for finding in found if finding.check == check}


PLANTED = {
    "setuid": {"usr/bin/su", "usr/bin/mail"},
    "file-capability": {"usr/bin/ping"},
    "extended-attribute": {"usr/share/noted"},
    "world-writable": {"etc/open", "srv"},
    "device": {"usr/share/null"},
    "secret": {"etc/key.pem", "TOKEN"},
    "dangling-link": {"usr/lib/loop", "usr/lib/nowhere", "usr/share/doc/tini"},
    "missing-licence": {"tini"},
    "unowned-file": {"etc/open", "etc/key.pem", "usr/bin/su", "usr/lib/nowhere", "usr/share/null"},
    "altered-file": {"etc/nsswitch.conf", PROGRAM},
    "elf-pie": {"usr/bin/weak"},
    "elf-relro": {"usr/bin/weak"},
    "elf-executable-stack": {"usr/bin/weak"},
    "elf-stack-protector": {"usr/bin/weak"},
    "elf-fortify": {"usr/bin/weak"},
    "elf-bind-now": {"usr/bin/lazy"},
    "elf-text-relocation": {"usr/bin/rewritten"},
    "elf-run-path": {"usr/bin/searching"},
    "elf-unreadable": {"usr/bin/broken"},
    "user": {"root"},
    "ports": {"22/tcp", "5222/tcp"},
    "labels": {"org.opencontainers.image.version", "org.opencontainers.image.title"},
    "entrypoint": {"/usr/bin/absent"},
}


@pytest.mark.parametrize(("check", "expected"), PLANTED.items(), ids=PLANTED)
def test_a_planted_fault_is_found_by_name(found: list[Finding], check: str, expected: set[str]) -> None:
    assert expected <= subjects(found, check)


def test_every_check_of_images_has_a_planted_fault() -> None:
    assert PLANTED.keys() == CHECKS.keys() - ELSEWHERE


def test_what_is_owned_is_not_told(found: list[Finding]) -> None:
    assert not subjects(found, "unowned-file") & {PROGRAM, "etc/nsswitch.conf"}
    assert PROGRAM not in subjects(found, "elf-bind-now")


@pytest.fixture(scope="module")
def scanned(clean: Subject, scratch: Path) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """The command, in a copy of the checkout, with a database that condemns one package."""
    copy = scratch / "checkout"
    paths.copy_checkout(copy)
    (scratch / "tracker.json").write_text(
        json.dumps({"expat": {"CVE-2026-11111": {"releases": {"trixie": {"status": "open", "urgency": "high"}}}}})
    )
    done = subprocess.run(
        [
            *(sys.executable, "-m", "scripts.scan", VARIANT, f"--platform={NATIVE}"),
            *(f"--image={clean.layout.folder}", f"--tracker={scratch / 'tracker.json'}"),
            *("--only=vulnerabilities", "--only=image"),
        ],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done, json.loads((copy / "dist" / "scan" / f"{VARIANT}.sarif").read_text())


def test_a_clean_image_has_no_fault_but_the_condemned_package(
    clean: Subject, scanned: tuple[subprocess.CompletedProcess[str], dict[str, Any]]
) -> None:
    done, log = scanned
    expat = next(found for found in clean.lock.platforms[NATIVE.name] if found.source == "expat")
    assert done.returncode == 22, done.stderr
    errors = [result for result in log["runs"][0]["results"] if result["level"] == "error"]
    assert [result["message"]["text"].partition(",")[0] for result in errors] == [
        f"CVE-2026-11111: expat {expat.source_version}"
    ]
    assert "1 findings that images/scan-policy.yaml does not let pass" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_image_of_a_registry_is_what_was_pushed(on_loopback: Registry, small: Layout, tmp_path: Path) -> None:
    reference = f"{on_loopback.host}/scanned:1"
    registry.push_image(small, reference)
    found = scan._layout("small", reference, tmp_path / "pulled")
    assert (found.index, found.images) == (small.index, small.images)


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="the embedded engine needs root on Linux")
def test_buildkit_checks_the_dockerfile(scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the newer engine; the older one says that it cannot."""
    monkeypatch.setenv("PROSODY_ENGINE", "embedded")
    with pytest.raises(EngineError, match="engine-next"):
        dockerfiles.scan(dockerfile.path_of(VARIANT))
    monkeypatch.setenv("PROSODY_ENGINE", "engine-next")
    monkeypatch.setattr(paths, "SCRATCH", scratch / "next")  # so that it is another one than that of other tests
    faulty = scratch / "Dockerfile"
    faulty.write_text(f"{dockerfile.path_of(VARIANT).read_text()}MAINTAINER nobody\n")
    try:
        assert dockerfiles.scan(dockerfile.path_of(VARIANT)) == []
        assert [finding.subject for finding in dockerfiles.scan(faulty)] == ["MaintainerDeprecated"]
        with pytest.raises(ScannerError, match="could not check"):
            dockerfiles.scan(scratch / "absent")
    finally:
        Embedded("engine-next").remove()
