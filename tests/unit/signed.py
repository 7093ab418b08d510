"""A small Debian archive: package indexes, an `InRelease` that covers them, and a real OpenPGP signature."""

from __future__ import annotations

import hashlib
import lzma
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pysequoia

from scripts.variants import Suite
from tests.unit import web
from tests.unit.deb import deb

Files = Mapping[str, bytes | str]
Keys = tuple[pysequoia.Tsk, pysequoia.Tsk]

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SUITE = Suite("debian", "trixie", ("main",), None)
IN_RELEASE = "dists/trixie/InRelease"
ARCHITECTURES = ("amd64", "arm64")


def path(name: str, version: str) -> str:
    """Where the archive has a package."""
    return f"pool/main/{name[0]}/{name}/{name}_{version.rpartition(':')[2]}_all.deb"


def stanza(name: str, version: str = "1", **fields: str) -> str:
    """A package in an index; underscores in the names of fields become hyphens."""
    lines = {
        "Package": name, "Version": version, "Architecture": "all",
        "Filename": path(name, version),
        "SHA256": hashlib.sha256(f"{name} {version}".encode()).hexdigest(), "Size": "10",
    } | {key.replace("_", "-"): value for key, value in fields.items()}  # fmt: skip
    return "".join(f"{key}: {value}\n" for key, value in lines.items())


@dataclass(frozen=True)
class Binary:
    """A package that can be fetched: what the index says of it, and its file."""

    stanza: str
    path: str
    content: bytes

    @property
    def sha256(self) -> str:
        """What a lock and the cache know it by."""
        return hashlib.sha256(self.content).hexdigest()


def binary(name: str, version: str = "1", files: Files | None = None, **fields: str) -> Binary:
    """A package with these files, and with more fields in the index."""
    content = deb(files or {}, name=name, version=version)
    said = {"SHA256": hashlib.sha256(content).hexdigest(), "Size": str(len(content))} | fields
    return Binary(stanza(name, version, **said), path(name, version), content)


# The last stanza ends without a blank line, and even without a newline.
PACKAGES = "\n".join(
    [
        stanza("tool", "1:2.0-1", Source="tools (1:2.0)", Priority="optional", Provides="instrument (= 3)",
               Depends="library (>= 1), helper:any | other"),
        stanza("library", "1.0"),
    ]
).encode().rstrip()  # fmt: skip


def index_name(architecture: str) -> str:
    return f"main/binary-{architecture}/Packages.xz"


def date(moment: datetime) -> str:
    """A point in time as `InRelease` files write it."""
    return format_datetime(moment, usegmt=True)


def release_text(packages: bytes = PACKAGES, **fields: str) -> str:
    """Text of a `Release` file; a field that is given as empty is left out, `Valid_Until` is `Valid-Until`."""
    index = lzma.compress(packages)
    covered = "".join(
        f"\n {hashlib.sha256(index).hexdigest()} {len(index)} {index_name(architecture)}"
        for architecture in ARCHITECTURES
    )
    values = {
        "Codename": "trixie",
        "Date": date(NOW - timedelta(hours=3)),
        "Valid-Until": date(NOW + timedelta(days=7)),
        "SHA256": covered,
    } | {key.replace("_", "-"): value for key, value in fields.items()}
    return "".join(f"{key}: {value}\n" for key, value in values.items() if value)


def sign(text: str, key: pysequoia.Tsk) -> bytes:
    """Cleartext-signed message."""
    return bytes(pysequoia.sign(key.signer(), text.encode(), mode=pysequoia.SignatureMode.CLEAR))


@dataclass
class Archive:
    """The archive on a server; `key` signs it."""

    server: web.Web
    key: pysequoia.Tsk
    requests: list[tuple[str, str]] = field(init=False)

    def __post_init__(self) -> None:
        self.requests = self.server.requests

    def publish(self, packages: bytes = PACKAGES, **fields: str) -> bytes:
        """Put index and `InRelease` on the server, in place of earlier ones; returns the latter."""
        signed_text = sign(release_text(packages, **fields), self.key)
        self.server.behaviours[f"/{IN_RELEASE}"] = web.without_ranges(signed_text)
        self.put_index(packages)
        return signed_text

    def offer(self, *packages: Binary, **fields: str) -> None:
        """Publish these packages, and have their files, beside those of before."""
        self.publish("\n".join(package.stanza for package in packages).encode(), **fields)
        self.server.behaviours |= {f"/{package.path}": web.content(package.content) for package in packages}

    def put_index(self, packages: bytes) -> None:
        """Put an index on the server, whether or not it is the signed one."""
        for architecture in ARCHITECTURES:
            self.server.behaviours[f"/dists/trixie/{index_name(architecture)}"] = web.content(lzma.compress(packages))
