"""Real Debian packages, made on the fly (deb(5): an ar archive of two tars)."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

MODES: dict[str, Literal["w:xz", "w:gz", "w:bz2", "w:"]] = {"xz": "w:xz", "gz": "w:gz", "bz2": "w:bz2", "": "w:"}


def tar(files: Mapping[str, bytes | str], compression: str) -> bytes:
    """A tar of files (bytes, executable if they are in a bin folder) and symbolic links (text), with their folders."""
    stream = io.BytesIO()
    folders: set[PurePosixPath] = set()
    with tarfile.open(fileobj=stream, mode=MODES[compression]) as archive:
        for name, content in files.items():
            for folder in reversed(PurePosixPath(name).parents[:-1]):
                if folder not in folders and not {"..", "/"} & set(folder.parts):
                    member = tarfile.TarInfo(f"./{folder}")
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                    archive.addfile(member)
                    folders.add(folder)
            member = tarfile.TarInfo(f"./{name}")
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size, member.mode = len(content), 0o755 if "/bin/" in name else 0o644
                archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def changelog(name: str, versions: Mapping[str, str]) -> bytes:
    """A changelog with a line for each version, the newest first, as packages carry it (Debian Policy, 4.4)."""
    entries = [
        f"{name} ({version}) unstable; urgency=medium\n\n  * {line}\n\n"
        " -- Nobody <nobody@example.org>  Fri, 20 Nov 2026 12:00:00 +0000\n"
        for version, line in versions.items()
    ]
    return gzip.compress("\n".join(entries).encode(), mtime=0)


def deb(files: Mapping[str, bytes | str], *, name: str = "tool", version: str = "1", compression: str = "xz") -> bytes:
    """A package with these files, and a script that must never run."""
    control = (
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nMaintainer: nobody\nDescription: test\n".encode()
    )
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
