"""What may be in an image: the files of its locked packages, and what the build declares beside them.

The packages themselves are asked, because dpkg's lists of MD5 sums, which are in the image, leave out links and
configuration files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path

from debian.debfile import DebFile

from scripts import contents, fetch, inventory, paths
from scripts.contents import Member
from scripts.lock import Lock
from scripts.platforms import Platform
from scripts.variants import Variant

ANY = ""  # the content of what is declared by its path alone
_MERGED = ("bin/", "lib/", "lib32/", "lib64/", "libx32/", "sbin/")  # merge_usr of images/assemble.sh
_RECORDS = "var/lib/dpkg/status.d"
# What images/assemble.sh writes, and cuts down (image.icu).
_WRITTEN = ("etc/passwd", "etc/group", "etc/ssl/certs/ca-certificates.crt")
_ICU = ("usr/lib/*/libicudata.so.*.*", "usr/share/icu/*/icudt*.dat")

Known = Mapping[str, frozenset[str]]  # path -> what may be there: beginnings of SHA-256, targets of links, or ANY


def known(variant: Variant, lock: Lock, platform: Platform) -> Known:
    """Every file and link that an image may have. The packages must be in the cache."""
    found: dict[str, set[str]] = {}
    for path, content in (*_of_packages(lock, platform), *_declared(variant), _bill(variant, lock, platform)):
        found.setdefault(path, set()).add(content)
    for path, contents_of_it in found.items():
        if variant.image.icu and any(fnmatch(path, pattern) for pattern in _ICU):
            contents_of_it.add(ANY)
    return {path: frozenset(contents_of_it) for path, contents_of_it in found.items()}


def _of_packages(lock: Lock, platform: Platform) -> Iterator[tuple[str, str]]:
    for package in lock.platforms[platform.name]:
        if package.file_name.endswith(".deb"):
            yield f"{_RECORDS}/{package.package}", ANY
            yield f"{_RECORDS}/{package.package}.md5sums", ANY
            yield from _of_package(fetch.blob(package.sha256))


def _of_package(file: Path) -> Iterator[tuple[str, str]]:
    """Paths in a package and what is there; hard links are files of their own in an image."""
    content: dict[str, str] = {}
    with DebFile(str(file)) as package, package.data.tgz() as archive:
        for member, _ in contents.unpacked(archive):
            if member.kind != "directory":
                linked = member.kind == "hard link"
                content[member.path] = content[member.content.removeprefix("./")] if linked else member.content
    for path, found in content.items():
        yield f"usr/{path}" if path.startswith(_MERGED) else path, found


def _declared(variant: Variant) -> Iterator[tuple[str, str]]:
    """What the variant declares; of tarballs only where they go, as no list says what of them is taken."""
    for path, target in variant.image.links.items():
        yield path.lstrip("/"), target
    if variant.image.files:
        root = paths.IMAGES / variant.image.files
        for file in root.rglob("*"):
            if file.is_file():
                yield str(file.relative_to(root)), contents.identity(file.read_bytes())
    for path in _WRITTEN:
        yield path, ANY


def _bill(variant: Variant, lock: Lock, platform: Platform) -> tuple[str, str]:
    """The Dockerfile has it as a heredoc, whose last line ends as well."""
    text = f"{inventory.bill(variant, lock, platform)}\n"
    return inventory.path_of_bill(variant), contents.identity(text.encode())


def allowed(member: Member, found: Known, variant: Variant) -> bool:
    """Whether a member is at a place where something may be."""
    below = [tarball.to.strip("/") for tarball in variant.tarballs]
    return member.path in found or any(member.path.startswith(f"{folder}/") for folder in below)


def genuine(member: Member, found: Known) -> bool:
    """Whether a member is byte for byte what a package or the repository has there."""
    return member.content in found.get(member.path, ())
