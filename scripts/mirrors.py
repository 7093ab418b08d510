"""Where archives can be reached from this machine, in the order they are tried.

The host never decides what is accepted: signatures and hashes do. So any mirror is as good as another, and the
names of those this machine is configured with are read from it and never written down.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from debian.deb822 import Deb822

ARCHIVES = ("debian", "debian-security", "alpine")
SNAPSHOT = "https://snapshot.debian.org/archive"
ALPINE = "https://dl-cdn.alpinelinux.org/alpine"
NPM = "https://registry.yarnpkg.com"  # the packages of npm's registry, byte for byte; the hash is checked anyway

_NO = ("no", "false", "without", "off", "disable", "0")  # what apt takes for no (apt-pkg, StringToBool)
_ONE_LINE = re.compile(r"^\s*deb(?:\s+\[[^\]]*\])?\s+(?P<uri>\S+)\s+\S+")  # sources.list(5)


@dataclass(frozen=True)
class Mirror:
    """A place that holds one archive: its base URL and how many connections it likes to see at once."""

    url: str
    connections: int = 8

    def __str__(self) -> str:
        return self.url


def variable(archive: str) -> str:
    """Environment variable (and build argument) that names a mirror: `debian-security` -> DEBIAN_SECURITY_MIRROR."""
    return f"{archive.upper().replace('-', '_')}_MIRROR"


def public_url(archive: str, instant: str) -> str:
    """Base URL at which anybody finds `archive`; of Debian's, as it was at `instant` (`20261125T000000Z`)."""
    if archive == "npm":
        return NPM
    if archive == "alpine":
        return ALPINE
    return f"{SNAPSHOT}/{archive}/{instant}"


def mirrors(archive: str, instant: str, apt: Path = Path("/etc/apt")) -> tuple[Mirror, ...]:
    """Mirrors of `archive`: the one named by environment variable, the machine's own, the public one.

    An archive that is an address has no mirrors.

    A host that has one of Debian's archives often has the other beside it, so that place is tried as well.
    The snapshot service limits rates, so it sees few connections and comes last.
    """
    if "://" in archive:
        return (Mirror(archive),)
    if archive == "npm":
        named = os.environ.get(variable(archive))
        return tuple(dict.fromkeys(Mirror(url.rstrip("/")) for url in (named, _npm_registry(), NPM) if url))
    if archive == "alpine":
        named = os.environ.get(variable(archive))
        return tuple(dict.fromkeys(Mirror(url.rstrip("/")) for url in (named, ALPINE) if url))
    configured = list(_configured(apt))
    beside = [url.rpartition("/")[0] for url in configured if urlsplit(url).path.rsplit("/", 1)[-1] in ARCHIVES]
    found = []
    if named := os.environ.get(variable(archive)):
        found.append(Mirror(named.rstrip("/")))
    found += [Mirror(url) for url in configured if urlsplit(url).path.rsplit("/", 1)[-1] == archive]
    found += [Mirror(f"{url}/{archive}") for url in beside]
    found.append(Mirror(public_url(archive, instant), connections=2))
    return tuple(dict.fromkeys(found))


def vaults() -> tuple[Path, ...]:
    """Folders that hold blobs by hash (OCI image layouts), named in PROSODY_VAULT, separated like PATH."""
    return tuple(Path(folder) for folder in os.environ.get("PROSODY_VAULT", "").split(os.pathsep) if folder)


def _configured(apt: Path) -> Iterator[str]:
    """Base URLs that apt on this machine uses (sources.list(5), both formats)."""
    lists = [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]
    for path in lists:
        if path.is_file():
            for line in path.read_text(errors="replace").splitlines():
                if match := _ONE_LINE.match(line):
                    yield from _http(match["uri"])
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        for paragraph in Deb822.iter_paragraphs(path.read_text(errors="replace")):
            enabled = paragraph.get("Enabled", "yes").lower() not in _NO
            if enabled and "deb" in paragraph.get("Types", "").split():
                for uri in paragraph.get("URIs", "").split():
                    yield from _http(uri)


def _http(uri: str) -> Iterator[str]:
    if uri.startswith(("http://", "https://")):
        yield uri.rstrip("/")


def _npm_registry() -> str | None:
    """The registry that npm on this machine uses (npm's manual, "config" and "npmrc"), if it is told of one."""
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if url := os.environ.get(name):
            return url
    for path in (
        Path("~/.npmrc").expanduser(),
        Path("/usr/local/etc/npmrc"),
        Path("/usr/etc/npmrc"),
        Path("/etc/npmrc"),
    ):
        settings = configparser.ConfigParser(interpolation=None, strict=False, allow_no_value=True)
        try:
            settings.read_string("[npm]\n" + path.read_text(errors="replace"))
        except (OSError, configparser.Error):
            continue
        if url := settings.get("npm", "registry", fallback=None):
            return url
    return None
