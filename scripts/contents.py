"""What is in an image, member by member of its layers; and the committed list of that.

`images/<variant>/files.tsv` has a line for each file, folder and link of all platforms. So a build that is not the
committed one can be told where it differs without having the other, and a change of an image can be read.
"""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import zstandard

from scripts import paths
from scripts.errors import BuildError, StaleError
from scripts.oci import Layout
from scripts.platforms import Platform

_KINDS = {
    tarfile.REGTYPE: "file",
    tarfile.DIRTYPE: "directory",
    tarfile.SYMTYPE: "link",
    tarfile.LNKTYPE: "hard link",
    tarfile.CHRTYPE: "character device",
    tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "pipe",
}
_COLUMNS = ("layer", "path", "kind", "mode", "owner", "size", "content", "platforms")
_EVERYWHERE = "all"
# Extended headers that only carry what does not fit into the others (POSIX pax, "Extended Header Keywords").
_CARRIED = {"path", "linkpath", "size", "uid", "gid", "mtime"}


@dataclass(frozen=True)
class Member:
    """One member of a layer: `mode` as four octal digits, `owner` as UID:GID, `size` in bytes.

    `content` is what identifies a file's bytes (the first 16 digits of their SHA-256), a link's target, or the numbers
    of a device. `modified` is in seconds since 1970; `headers` are extended ones (pax) that say more than the rest.
    """

    path: str
    kind: str
    mode: str
    owner: str
    size: int
    content: str
    modified: float
    headers: str = ""


Members = Mapping[str, tuple[Member, ...]]  # of one platform, by the name of the layer, in the order of the archive


def members(layout: Layout, platform: Platform) -> Members:
    """All members of one platform's layers, lowest layer first. Raises BuildError if a layer cannot be read."""
    image = next(image for image in layout.images if image.platform == platform)
    return {layer.name: read(layout.blob(layer.digest)) for layer in image.layers}


@cache
def read(layer: Path) -> tuple[Member, ...]:
    """The members of a layer: a tar archive, packed with zstd. Raises BuildError if it is something else."""
    return tuple(member for member, _ in walk(layer))


def walk(layer: Path) -> Iterator[tuple[Member, bytes]]:
    """The members of a layer, each with the bytes of a file. Raises what `read` raises."""
    try:
        with (
            layer.open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as stream,
            tarfile.open(fileobj=stream, mode="r|") as archive,
        ):
            yield from unpacked(archive)
    except (tarfile.TarError, zstandard.ZstdError) as error:
        raise BuildError(f"{layer} is not a layer: {error}") from error


def unpacked(archive: tarfile.TarFile) -> Iterator[tuple[Member, bytes]]:
    """The members of any tar archive, each with the bytes of a file."""
    for entry in archive:
        stream = archive.extractfile(entry) if entry.isreg() else None
        content = stream.read() if stream else b""
        yield _member(entry, content), content


def identity(content: bytes) -> str:
    """What a list tells a file's bytes by."""
    return hashlib.sha256(content).hexdigest()[:16]


def _member(entry: tarfile.TarInfo, content: bytes) -> Member:
    said = entry.linkname
    if entry.isreg():
        said = identity(content)
    elif entry.isdev():
        said = f"{entry.devmajor},{entry.devminor}"
    headers = {name: value for name, value in sorted(entry.pax_headers.items()) if name not in _CARRIED}
    return Member(
        entry.name.removeprefix("./").rstrip("/"), _KINDS.get(entry.type, repr(entry.type)), f"{entry.mode:04o}",
        f"{entry.uid}:{entry.gid}", entry.size, said, float(entry.mtime), str(headers or ""),
    )  # fmt: skip


def path_of(name: str) -> Path:
    """Where the list of a variant is kept."""
    return paths.IMAGES / name / "files.tsv"


def dump(layout: Layout) -> str:
    """The list of a layout of all platforms: a line for each member that is the same on some of them."""
    found: dict[tuple[str, str], dict[Member, list[str]]] = {}
    order: dict[str, None] = {}
    for image in layout.images:
        for layer, inside in members(layout, image.platform).items():
            order[layer] = None
            for member in inside:
                places = found.setdefault((layer, member.path), {})
                places.setdefault(replace(member, modified=0.0), []).append(image.platform.name)
    text = io.StringIO()
    writer = csv.writer(text, "excel-tab", lineterminator="\n")
    writer.writerow(_COLUMNS)
    for layer, path in sorted(found, key=lambda key: (list(order).index(key[0]), key[1])):
        for member, platforms in found[layer, path].items():
            everywhere = len(platforms) == len(layout.images)
            cells = (member.path, member.kind, member.mode, member.owner, member.size, member.content)
            writer.writerow([layer, *cells, _EVERYWHERE if everywhere else " ".join(platforms)])
    return text.getvalue()


def load(name: str, platform: Platform, epoch: int) -> Members:
    """What is committed of one platform; all members have the modification time `epoch`, and no other headers.

    Raises StaleError if there is no list, or what is there is something else.
    """
    path = path_of(name)
    again = f"Write it again with: scripts/nox -s digests -- {name}"
    found: dict[str, list[Member]] = {}
    try:
        with path.open(newline="") as stream:
            rows = csv.DictReader(stream, dialect="excel-tab")
            for row in rows:
                if row["platforms"] == _EVERYWHERE or platform.name in row["platforms"].split():
                    member = Member(row["path"], row["kind"], row["mode"], row["owner"], int(row["size"]),
                                    row["content"], float(epoch))  # fmt: skip
                    found.setdefault(row["layer"], []).append(member)
    except FileNotFoundError as error:
        raise StaleError(f"{path.relative_to(paths.ROOT)} is missing. {again}") from error
    except (KeyError, ValueError, TypeError, AttributeError, csv.Error) as error:
        raise StaleError(f"{path.relative_to(paths.ROOT)} is not a list of files ({error!r}). {again}") from error
    if not found:
        raise StaleError(f"{path.relative_to(paths.ROOT)} lists nothing for {platform}. {again}")
    return {layer: tuple(inside) for layer, inside in found.items()}
