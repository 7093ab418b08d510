"""Real Debian packages, made on the fly (deb(5): an ar archive of two tars)."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from typing import Literal

MODES: dict[str, Literal["w:xz", "w:gz", "w:bz2", "w:"]] = {"xz": "w:xz", "gz": "w:gz", "bz2": "w:bz2", "": "w:"}


def tar(files: Mapping[str, bytes | str], compression: str) -> bytes:
    """A tar of files (bytes, executable if they are in a bin folder) and symbolic links (text)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=MODES[compression]) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"./{name}")
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), 0o755 if "/bin/" in name else 0o644
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def deb(files: Mapping[str, bytes | str], *, name: str = "tool", compression: str = "xz") -> bytes:
    """A package with these files, and a script that must never run."""
    control = f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: test\n".encode()
    members = {
        "debian-binary": b"2.0\n",
        "control.tar.xz": tar({"control": control, "postinst": b"#!/bin/sh\ntouch /never\n"}, "xz"),
        f"data.tar.{compression}": tar(files, compression),
    }
    content = b"!<arch>\n"
    for member, data in members.items():
        content += f"{member:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(data):<10}`\n".encode() + data
        content += b"\n" * (len(data) % 2)
    return content
