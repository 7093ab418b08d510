"""A package that is not what Debian published by one bit, and a lock that believes in it.

Signatures and hashes cannot notice it any more, so only a comparison of what was built can.
"""

from __future__ import annotations

import io
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import replace

from scripts import fetch
from scripts.lock import Lock
from scripts.platforms import Platform

_MAGIC, _HEADER = b"!<arch>\n", 60  # deb(5), ar(5)
_SIZE = slice(48, 58)  # of a header: decimal, padded with blanks


def tamper(locked: Lock, platform: Platform, package: str, file: str) -> Lock:
    """The lock with another `package` for `platform`, which is put into the cache: one bit of its `file` is flipped.

    The package must be in the cache. On other platforms it is another one, too, if they share it.
    """
    (good,) = (found for found in locked.platforms[platform.name] if found.package == package)
    content = flip_bit(fetch.blob(good.sha256).read_bytes(), file)
    bad = replace(good, sha256=fetch.keep(content), size=len(content))
    return replace(
        locked,
        platforms={
            name: tuple(bad if found == good else found for found in packages)
            for name, packages in locked.platforms.items()
        },
    )


def flip_bit(package: bytes, file: str) -> bytes:
    """A Debian package (deb(5), packed with xz as all of Debian are) with one bit flipped in the middle of `file`."""
    flipped = _MAGIC
    for header, content in members(package):
        if header.startswith(b"data.tar.xz"):
            unpacked = bytearray(lzma.decompress(content))
            with tarfile.open(fileobj=io.BytesIO(unpacked)) as archive:
                entry = archive.getmember(f"./{file}")
            assert entry.size, f"{file} has no content"
            unpacked[entry.offset_data + entry.size // 2] ^= 1
            content = lzma.compress(unpacked)
            header = header[: _SIZE.start] + f"{len(content):<10}".encode() + header[_SIZE.stop :]
        flipped += header + content + b"\n" * (len(content) % 2)
    assert flipped != package, "there is no data.tar.xz in it"
    return flipped


def members(package: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Header and content of each file in an archive of ar(5)."""
    position = len(_MAGIC)
    while position < len(package):
        header = package[position : position + _HEADER]
        start, size = position + _HEADER, int(header[_SIZE])
        yield header, package[start : start + size]
        position = start + size + size % 2
