"""An archive in Alpine's format whose packages run: their files are those of the locked Debian packages.

Names, dependencies and places of files are as on Alpine (no /usr merge, no folders of architectures for Lua, tini in
/sbin); the C library, which Debian's programs need, is in the package `musl`.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from debian.debfile import DebFile

from scripts import fetch, lock, variants
from scripts.platforms import PLATFORMS, Platform
from tests.unit import apk, web
from tests.unit.apk import SUITE, Apk, Entry, Files

VERSION = "13.0.6-r0"

# Debian's package -> Alpine's; those that are not here stay out, but for libraries, which keep their names.
_NAMES = {
    "ca-certificates": "ca-certificates-bundle", "dns-root-data": "dnssec-root", "libc6": "musl",
    "libevent-2.1-7t64": "libevent", "libgcc-s1": "libgcc", "libicu76": "icu-libs", "libldap2": "libldap",
    "libmariadb3": "mariadb-connector-c", "libpq5": "libpq", "libreadline8t64": "readline",
    "libsqlite3-0": "sqlite-libs",
    "libssl3t64": "libssl3", "libstdc++6": "libstdc++", "libunbound8": "unbound-libs", "lua-dbi-common": "lua5.4-dbi",
    "lua-dbi-mysql": "lua5.4-dbi-mysql", "lua-dbi-postgresql": "lua5.4-dbi-postgresql",
    "lua-dbi-sqlite3": "lua5.4-dbi-sqlite3", "lua-expat": "lua5.4-expat", "lua-filesystem": "lua5.4-filesystem",
    "lua-ldap": "lua5.4-ldap", "lua-luaossl": "lua5.4-ossl", "lua-sec": "lua5.4-sec", "lua-socket": "lua5.4-socket",
    "lua-unbound": "lua5.4-unbound", "lua5.4": "lua5.4", "prosody": "prosody", "tini": "tini", "tzdata": "tzdata",
    "zlib1g": "zlib",
}  # fmt: skip
_COMMUNITY = re.compile(r"prosody.*|lua5\.4-.+")
_LEFT_OUT = re.compile(
    r"usr/share/(man|locale|lintian|doc|doc-base|info|bug)/.*|.*/gconv/.*|.*lua/5\.[123]/.*|.*/liblua5\.[123]-.*"
    r"|usr/bin/tini-static|etc/init\.d/.*|usr/lib/systemd/.*"
)
_DEPENDS = {
    "alpine-release": "alpine-keys",
    "icu-libs": "icu-data",
    "lua5.4-dbi-mysql": "lua5.4-dbi lua5.4",
    "lua5.4-dbi-postgresql": "lua5.4-dbi lua5.4",
    "lua5.4-dbi-sqlite3": "lua5.4-dbi lua5.4",
    "lua5.4-sec": "lua5.4-socket",
    "prosody": "cmd:lua5.4 lua5.4-expat lua5.4-filesystem lua5.4-sec>=1.3 lua5.4-socket~3 /bin/sh !prosody-nightly",
}
_SHARED_LIBRARY = re.compile(r"(lib|ld)[\w+.-]*\.so\.[0-9]+")
_NEEDED = re.compile(rb"\0((?:lib|ld)[\w+.-]*\.so\.[0-9]+)(?=\0)")


def debian_platform(platform: Platform) -> Platform:
    """Whose packages of Debian run on a platform: Debian has none of its own for arm/v6."""
    return PLATFORMS["linux/arm/v5"] if platform.name == "linux/arm/v6" else platform


@dataclass
class _Parts:
    """What becomes a package."""

    version: str
    files: dict[str, Entry] = field(default_factory=dict)


class RunnableArchive:
    """The archive on a server, for the platforms of the alpine variant."""

    def __init__(self, server: web.Web, signer: apk.Signer) -> None:
        """Fetch Debian's packages, make Alpine's of them, and publish these."""
        self.url = server.url
        self._archive = apk.Archive(server, signer)
        self._debian = lock.load(variants.load("debian"), lock.path_of("debian"))
        self._packages: dict[str, dict[str, Apk]] = {}
        for platform in variants.load("alpine").platforms:
            self._debian.fetch([debian_platform(platform)])
            self._packages[platform.alpine] = {package.name: package for package in self._make(platform)}
            self._publish(platform.alpine)

    def replace(self, name: str, version: str, **relations: str) -> None:
        """Publish another version of a package, with another file, and delete the one of before."""
        for architecture, packages in self._packages.items():
            before = packages[name]
            repository = _repository(name)
            path = f"/{SUITE.suite}/{repository}/{architecture}/{name}-{before.version}.apk"
            del self._archive.server.behaviours[path]
            files = {"etc": Entry(None, 0o755), f"etc/{name}": Entry(f"{version}\n".encode())}
            packages[name] = apk.apk(
                name, version, files, architecture=architecture, signer=self._archive.signer, **relations  # type: ignore[arg-type]
            )  # fmt: skip
            self._publish(architecture)

    def _publish(self, architecture: str) -> None:
        for repository in SUITE.components:
            there = [
                package for name, package in self._packages[architecture].items() if _repository(name) == repository
            ]
            self._archive.publish(*there, architecture=architecture, repository=repository)

    def _make(self, platform: Platform) -> Iterator[Apk]:
        parts = self._parts(debian_platform(platform))
        offered = {
            posixpath.basename(path): name
            for name, part in parts.items()
            for path in part.files
            if _SHARED_LIBRARY.fullmatch(posixpath.basename(path))
        }
        for name, part in sorted(parts.items()):
            needed = {
                library.decode()
                for entry in part.files.values()
                if isinstance(entry.content, bytes) and entry.content.startswith(b"\x7fELF")
                for library in _NEEDED.findall(entry.content)
                if offered.get(library.decode(), name) != name
            }
            depend = [_DEPENDS.get(name, ""), *(f"so:{library}" for library in sorted(needed))]
            provides = [f"so:{library}={library.rpartition('.')[2]}" for library in offered if offered[library] == name]
            provides += [f"cmd:{posixpath.basename(path)}={part.version}" for path in part.files if _is_command(path)]
            provides += ["icu-data"] if name == "icu-data-full" else []
            yield apk.apk(
                name, part.version, _with_folders(part.files), architecture=platform.alpine,
                signer=self._archive.signer, depend=" ".join(depend), provides=" ".join(provides),
                scripts={".pre-install": b"#!/bin/sh\nadduser -S prosody\n"} if name == "prosody" else None,
            )  # fmt: skip
        yield from self._others(platform.alpine)

    def _others(self, architecture: str) -> Iterator[Apk]:
        """Packages that Debian has not: of the distribution, to be left out, and to be chosen among."""
        release = {
            "etc": Entry(None, 0o755), "etc/alpine-release": Entry(b"3.24.2\n"),
            "etc/os-release": Entry(b'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.24.2\n'),
        }  # fmt: skip
        note = {"etc": Entry(None, 0o755), "etc/prosody-zones": Entry(b"both are there\n")}
        for name, files, relations in (
            ("alpine-release", release, {"depend": "alpine-keys"}),
            ("alpine-keys", {}, {}),
            ("busybox", {}, {"provides": "cmd:ls=1.37.0-r30"}),
            ("busybox-binsh", {}, {"provides": "/bin/sh cmd:sh=1.37.0-r30", "provider_priority": "100"}),
            ("icu-data-en", {}, {"provides": "icu-data", "provider_priority": "10"}),
            ("prosody-openrc", {}, {"install_if": f"prosody={VERSION} openrc"}),
            ("prosody-zones", note, {"install_if": f"prosody={VERSION} tzdata"}),
            ("prosody-nightly", {}, {"provides": f"prosody={VERSION}"}),
            ("openrc", {}, {}),
        ):
            version = "3.24.2-r0" if name.startswith("alpine") else "1-r0"
            yield apk.apk(
                name, version, files, architecture=architecture, signer=self._archive.signer,
                **relations,  # type: ignore[arg-type]
            )  # fmt: skip

    def _parts(self, platform: Platform) -> dict[str, _Parts]:
        parts: dict[str, _Parts] = {}
        for package in self._debian.platforms[platform.name]:
            library = package.package.startswith("lib") and not package.package.startswith("libjs-")
            name = _NAMES.get(package.package, package.package if library else "")
            if name:
                upstream = re.match(r"[0-9]+(\.[0-9]+)*", package.version.rpartition(":")[2])
                assert upstream is not None
                files = dict(_moved(_unpacked(fetch.blob(package.sha256))))
                parts[name] = _Parts(f"{upstream[0]}-r0", files)
        bundle = b"".join(
            parts["ca-certificates-bundle"].files[path].content  # type: ignore[misc]
            for path in sorted(parts["ca-certificates-bundle"].files)
            if path.endswith(".crt")
        )
        parts["ca-certificates-bundle"].files = {
            "etc/ssl/certs/ca-certificates.crt": Entry(bundle), "etc/ssl/cert.pem": Entry("certs/ca-certificates.crt")
        }  # fmt: skip
        # OpenSSL's two libraries are two packages; and ICU's data is a file of its own besides.
        openssl = parts["libssl3"]
        parts["libcrypto3"] = _Parts(
            openssl.version, {path: openssl.files.pop(path) for path in list(openssl.files) if "libcrypto" in path}
        )
        (data,) = (
            entry.content
            for path, entry in parts["icu-libs"].files.items()
            if re.search(r"libicudata\.so\.\d+\.", path)
        )
        assert isinstance(data, bytes)
        endian = "b" if data[5] == 2 else "l"
        parts["icu-data-full"] = _Parts(
            "76.1-r0", {f"usr/share/icu/76.1/icudt76{endian}.dat": Entry(data[data.index(b"CmnD") - 12 :])}
        )
        parts["prosody"].version = VERSION
        return parts


def _repository(name: str) -> str:
    return "community" if _COMMUNITY.fullmatch(name) else "main"


def _is_command(path: str) -> bool:
    return posixpath.dirname(path) in ("bin", "sbin", "usr/bin", "usr/sbin")


def _unpacked(file: Path) -> dict[str, Entry]:
    found = {}
    with DebFile(str(file)) as package, package.data.tgz() as archive:
        for member in archive:
            path = member.name.removeprefix("./")
            if member.issym():
                found[path] = Entry(member.linkname, 0o777)
            elif stream := archive.extractfile(member):
                found[path] = Entry(stream.read(), member.mode & 0o777)
    return found


def _moved(files: Mapping[str, Entry]) -> Iterator[tuple[str, Entry]]:
    """Files where Alpine has them."""
    for path, entry in files.items():
        if _LEFT_OUT.fullmatch(path):
            continue
        if "/lua/5.4/" in path:
            # Of these, Debian has one file for all Lua versions, elsewhere.
            yield re.sub(r"^usr/lib/[^/]+/lua/", "usr/lib/lua/", path), _resolved(files, path)
        elif match := re.fullmatch(r"usr/(lib(?:64)?/ld[^/]*\.so\.[0-9]+)", path):
            target = posixpath.normpath(posixpath.join("/", posixpath.dirname(path), str(entry.content)))
            yield match[1], Entry(target, 0o777) if isinstance(entry.content, str) else entry
        elif path == "usr/bin/tini":
            yield "sbin/tini", entry
        elif path == "usr/share/dns/root.key":
            yield "usr/share/dnssec-root/trusted-key.key", entry
        else:
            yield path, entry


def _resolved(files: Mapping[str, Entry], path: str) -> Entry:
    entry = files[path]
    while isinstance(entry.content, str):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(path), entry.content))
        entry = files[path]
    return entry


def _with_folders(files: Files) -> Files:
    """Every file after the folders it lies in, as abuild packs them."""
    folders = {str(folder) for path in files for folder in list(Path(path).parents)[:-1]}
    return dict(sorted([*((folder, Entry(None, 0o755)) for folder in folders), *files.items()]))
