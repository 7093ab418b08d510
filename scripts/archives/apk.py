"""The second format of apk's packages and indexes: gzip streams, one after the other, that together are one tar.

The format is that of apk-v2(5): the first stream has signatures, the second what the package is, the third its files.
An index has signatures, and then all the rest.
"""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from scripts.errors import LockError

_LIMIT = 512 << 20  # bytes, unpacked; Alpine's largest index is below 16 MiB
_DIGESTS = {"Q1": "sha1", "Q2": "sha256"}  # how apk writes the hash of a control stream


class FormatError(Exception):
    """A file is not what its format says; the text says why."""


@dataclass(frozen=True)
class Stream:
    """One gzip stream (RFC 1952): as it is in the file, and unpacked."""

    packed: bytes
    content: bytes

    @property
    def members(self) -> Mapping[str, bytes]:
        """Regular files of the tar in it, which may lack the blocks that end an archive."""
        found = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(self.content), mode="r:") as archive:
                for member in archive:
                    stream = archive.extractfile(member)
                    if stream is not None:
                        found[member.name] = stream.read()
        except tarfile.TarError as error:
            raise FormatError(f"it is not a tar archive: {error}") from error
        return found


def refuse_third_format(content: bytes, source: str) -> None:
    """Raise LockError if `content` is in the third format (apk-v3(5)), which begins with the letters ADB."""
    if content.startswith(b"ADB"):
        raise LockError(
            f"{source} is in the third format of apk (ADB), and only the second one (gzip streams) is known here."
            " Name a branch of Alpine that publishes the second, under `suites` in the variant."
        )


def streams(content: bytes, most: int) -> list[Stream]:
    """The first `most` gzip streams of a file; the last of them may be followed by others.

    Raises FormatError if one is damaged or ends early.
    """
    found: list[Stream] = []
    rest = content
    while rest and len(found) < most:
        unpacker = zlib.decompressobj(wbits=31)
        try:
            unpacked = unpacker.decompress(rest, _LIMIT)
        except zlib.error as error:
            raise FormatError(f"its gzip stream {len(found) + 1} is damaged: {error}") from error
        if unpacker.unconsumed_tail:
            raise FormatError(f"its gzip stream {len(found) + 1} unpacks to more than {_LIMIT >> 20} MiB")
        if not unpacker.eof:
            raise FormatError(f"it ends within gzip stream {len(found) + 1}")
        found.append(Stream(rest[: len(rest) - len(unpacker.unused_data)], unpacked))
        rest = unpacker.unused_data
    if not found:
        raise FormatError("it is empty")
    return found


def fields(info: bytes) -> dict[str, list[str]]:
    """What a `.PKGINFO` says: each key with all its values (apk-v2(5), "The control section")."""
    found: dict[str, list[str]] = {}
    for line in info.decode(errors="replace").splitlines():
        name, sign, value = line.partition(" = ")
        if sign and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def package_fault(content: bytes, identity: str) -> str:
    """Why a file is not the package with this `identity` (`C:` of an index); empty if it is.

    The identity is the hash of the control stream, and that states the hash of the files. So nothing but the
    signatures, which the signed index makes needless, is believed without proof.
    """
    if content.startswith(b"ADB"):
        return "it is in the third format of apk (ADB)"
    try:
        first, *others = streams(content, 2)
        control = others[0] if others and all(name.startswith(".SIGN.") for name in first.members) else first
        digest = hashlib.new(_DIGESTS[identity[:2]], control.packed, usedforsecurity=False).digest()
        if digest != base64.b64decode(identity[2:]):
            return "its control stream does not have the hash that the index states"
        data = content[len(first.packed) + (len(control.packed) if control is not first else 0) :]
        stated = fields(control.members.get(".PKGINFO", b"")).get("datahash", [])
    except FormatError as error:
        return str(error)
    if stated != [hashlib.sha256(data).hexdigest()]:
        return "its files do not have the hash that its control stream states (datahash)"
    return ""
