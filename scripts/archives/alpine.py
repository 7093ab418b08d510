"""Alpine's archive: signed `APKINDEX.tar.gz` -> packages.

The fields of an index are those of apk-package(5). An index has no date and no hash that another file states, so each
is verified by its own signature, and what it is for by what it says of itself.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from scripts import fetch, mirrors
from scripts.archives import apk, apk_versions, signatures
from scripts.archives.packages import Relation as AnyRelation
from scripts.errors import LockError, SignatureError
from scripts.fetch import Item
from scripts.paths import user_cache
from scripts.variants import Suite

_INDEX_LIMIT = 64 << 20  # bytes; Alpine's are below 4 MiB
_RELATION = re.compile(r"(?P<not>!?)(?P<name>[^\s<>=~!]+)(?:(?P<operator>[<>=~]+)(?P<version>\S+))?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, order=True)
class Relation:
    """A wish for a package, or what one provides: a name alone, or with apk's operators (`name>=1.2`)."""

    name: str
    operator: str = ""
    version: str = ""

    def admits(self, version: str) -> bool:
        """Whether `version` fulfils this relation."""
        return not self.operator or apk_versions.matches(version, self.operator, self.version)

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.version}"


@dataclass(frozen=True)
class Package:
    """One package of an index; `identity` is the hash of its control stream, `size` is in bytes."""

    name: str
    version: str
    architecture: str
    archive: str
    suite: str
    path: str
    identity: str
    size: int
    source: str
    priority: int
    depends: tuple[tuple[Relation, ...], ...]
    conflicts: tuple[Relation, ...]
    provides: tuple[Relation, ...]
    install_if: tuple[Relation, ...]

    @property
    def source_version(self) -> str:
        """All packages of one source have its version."""
        return self.version

    @cached_property
    def owns(self) -> Set[str]:
        """Its own name, and what it provides with a version (apk-package(5), "provides")."""
        return {self.name, *(offer.name for offer in self.provides if offer.version)}

    @property
    def sha256(self) -> str:
        """An index does not state it."""
        return ""

    @property
    def item(self) -> Item:
        """The package as something to fetch."""
        return _PackageFile(str(self), self.archive, (self.path,), self.identity, self.size)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class _PackageFile(Item):
    """A package whose SHA-256 nobody has stated yet: what stands under that name is its identity in the index."""

    @property
    def place(self) -> Path:
        """Beside the files with a SHA-256, since it is addressed by another hash."""
        return user_cache() / "apk" / hashlib.sha256(self.sha256.encode()).hexdigest()

    @property
    def hash(self) -> str:
        """For messages."""
        return f"control stream {self.sha256}"

    def fault(self, file: Path) -> str:
        """Why `file` is not this package; empty if it is."""
        return apk.package_fault(file.read_bytes(), self.sha256)


@dataclass(frozen=True)
class Release:
    """A verified index of one repository and architecture; `date` is that of the newest package in it."""

    suite: Suite
    repository: str
    architecture: str
    date: datetime
    sha256: str
    key: signatures.Key

    @property
    def name(self) -> str:
        """Where it stands: `v3.24/main/x86_64`."""
        return f"{self.suite.suite}/{self.repository}/{self.architecture}"


@dataclass(frozen=True)
class Indexes:
    """Verified indexes, which are in the cache."""

    releases: tuple[Release, ...]
    delay: timedelta = timedelta()  # there are no snapshots

    def index(self, architecture: str) -> Index:
        """The packages of one architecture."""
        return Index.of(self.releases, architecture)


def read(suites: Sequence[Suite], architectures: Sequence[str]) -> Indexes:
    """Fetch and verify the indexes as they are now.

    Raises SignatureError if one is not signed by a known key, altered, or for something else; LockError if it is in
    the third format; FetchError if no mirror has it.
    """
    return Indexes(
        tuple(
            _release(suite, repository, architecture)
            for suite in suites
            for repository in suite.components
            for architecture in architectures
        )
    )


def _release(suite: Suite, repository: str, architecture: str) -> Release:
    path = f"{suite.suite}/{repository}/{architecture}/APKINDEX.tar.gz"
    accepted: dict[bytes, Release] = {}

    def accept(content: bytes) -> bytes:
        accepted[content] = read_release(suite, repository, architecture, content)
        return content

    content = fetch.fetch_unhashed(path, mirrors.mirrors(suite.archive, ""), accept, limit=_INDEX_LIMIT)
    fetch.keep(content)
    return accepted[content]


def read_release(suite: Suite, repository: str, architecture: str, content: bytes) -> Release:
    """Verify and read an index; raises what `read` raises."""
    source = f"{suite.archive}/{suite.suite}/{repository}/{architecture}/APKINDEX.tar.gz"
    apk.refuse_third_format(content, source)
    key, text, description = _verified(content, source)
    # A mirror could give the validly signed index of another branch: the same key signs all of an architecture.
    if re.fullmatch(r"v[0-9.]+", suite.suite) and not description.startswith(f"{suite.suite}."):
        raise SignatureError(f"{source} is signed, but it is of {description!r}, not of {suite.suite!r}.")
    others = set(re.findall(r"^A:(.*)$", text, re.MULTILINE)) - {architecture, "noarch"}
    if others:
        raise SignatureError(f"{source} is signed, but has packages for {', '.join(sorted(others))}.")
    built = max((int(seconds) for seconds in re.findall(r"^t:([0-9]+)$", text, re.MULTILINE)), default=0)
    date = datetime.fromtimestamp(built, UTC)
    return Release(suite, repository, architecture, date, hashlib.sha256(content).hexdigest(), key)


def _verified(content: bytes, source: str) -> tuple[signatures.Key, str, str]:
    """Key that signed an index, the text of the index, and what it is called."""
    try:
        (first,) = apk.streams(content, 1)
        signed = content[len(first.packed) :]
        key = signatures.rsa_key(first.members, signed, source)
        members: dict[str, bytes] = {}
        for stream in apk.streams(signed, 8):
            members |= stream.members
    except apk.FormatError as error:
        raise SignatureError(f"{source} is damaged: {error}. Try another mirror (ALPINE_MIRROR=http://...).") from error
    if "APKINDEX" not in members:
        raise SignatureError(f"{source} is signed, but is no index: there is no APKINDEX in it.")
    return key, members["APKINDEX"].decode(), members.get("DESCRIPTION", b"").decode().strip()


class Index:
    """All packages of one architecture in several repositories."""

    def __init__(self, sources: Sequence[tuple[Suite, str, str]]) -> None:
        """Index texts with their suites and folders (`v3.24/main/x86_64`); the order of `sources` does not matter."""
        self._packages: dict[str, list[Package]] = {}
        self._providers: dict[str, list[tuple[Package, Relation]]] = {}
        self._conditional: list[Package] = []
        for suite, folder, text in sources:
            for record in text.split("\n\n"):
                values = dict(line.split(":", 1) for line in record.splitlines() if line[1:2] == ":")
                if "P" in values and (suite.packages is None or values["P"] in suite.packages):
                    self._add(_package(suite, folder, values))
        for found in self._packages.values():
            found.sort(key=lambda package: (apk_versions.key(package.version), package.identity), reverse=True)

    def _add(self, package: Package) -> None:
        self._packages.setdefault(package.name, []).append(package)
        for offer in package.provides:
            self._providers.setdefault(offer.name, []).append((package, offer))
        if package.install_if:
            self._conditional.append(package)

    @classmethod
    def of(cls, found: Sequence[Release], architecture: str) -> Index:
        """Index the verified indexes of one architecture (in the cache since `read`)."""
        sources = []
        for release in found:
            if release.architecture == architecture:
                content = fetch.blob(release.sha256).read_bytes()
                _, text, _ = _verified(content, release.name)
                sources.append((release.suite, release.name, text))
        return cls(sources)

    @property
    def names(self) -> Set[str]:
        """Names of all packages, real and virtual."""
        return self._packages.keys() | self._providers.keys()

    def packages(self, name: str) -> tuple[Package, ...]:
        """Real packages of this name, highest version first."""
        return tuple(self._packages.get(name, ()))

    def provided(self, name: str) -> bool:
        """Whether a package of another name provides `name`."""
        return any(package.name != name for package, _ in self._providers.get(name, ()))

    def choices(self, relation: AnyRelation, wanted: Set[str]) -> Iterator[Package]:
        """Packages that may be chosen for `relation`: highest version of that name first, then by priority, then name.

        One that provides the name without a version may be chosen only if it has a priority, or is in `wanted`
        (apk-package(5), "provides").
        """
        offers = [(package, package.version) for package in self.packages(relation.name)]
        offers += [
            (package, offer.version)
            for package, offer in self._providers.get(relation.name, ())
            if offer.version or package.priority or package.name in wanted
        ]
        fitting = [
            (package, version)
            for package, version in offers
            if not relation.operator or (version and relation.admits(version))
        ]
        by_name = sorted(fitting, key=lambda offer: (offer[0].name, offer[0].identity))
        yield from dict.fromkeys(
            package
            for package, _ in sorted(
                by_name,
                key=lambda offer: (bool(offer[1]), apk_versions.key(offer[1] or "0"), offer[0].priority,
                                   apk_versions.key(offer[0].version)),
                reverse=True,
            )
        )  # fmt: skip

    def passive(self, relation: AnyRelation, wanted: Set[str]) -> bool:
        """Whether `relation` is for something that others must bring: it is provided, but by nothing to choose."""
        offered = not relation.operator and relation.name in self._providers
        return offered and next(self.choices(relation, wanted), None) is None

    def triggered(self, chosen: Set[str]) -> Iterator[Package]:
        """Packages whose `install_if` names nothing but packages among `chosen`."""
        for package in self._conditional:
            if all(condition.name in chosen for condition in package.install_if):
                yield package

    def wish(self, name: str, version: str = "") -> Relation:
        """The wish for a package, in any version or in exactly one."""
        return Relation(name, "=" if version else "", version)


def _package(suite: Suite, folder: str, values: Mapping[str, str]) -> Package:
    try:
        name, version, identity, size = values["P"], values["V"], values["C"], int(values["S"])
    except (KeyError, ValueError) as error:
        raise LockError(f"{folder}: a package of the index lacks a field, or has a bad one: {error}") from error
    if not _NAME.fullmatch(name) or not apk_versions.is_version(version) or identity[:2] not in ("Q1", "Q2"):
        raise LockError(f"{folder}: the index has a package that cannot be: {name!r} {version!r} {identity!r}")
    wishes = [_relation(text, folder) for text in values.get("D", "").split()]
    conditions = [_relation(text, folder) for text in values.get("i", "").split()]
    return Package(
        name=name,
        version=version,
        architecture=values.get("A", ""),
        archive=suite.archive,
        suite=suite.suite,
        path=f"{folder}/{name}-{version}.apk",
        identity=identity,
        size=size,
        source=values.get("o", name),
        priority=int(values.get("k", "0")),
        depends=tuple((wish,) for refused, wish in wishes if not refused),
        conflicts=tuple(wish for refused, wish in wishes if refused),
        provides=tuple(_relation(text, folder)[1] for text in values.get("p", "").split()),
        # A condition that something be absent is not described in apk-package(5): never fulfilled.
        install_if=tuple(wish for _, wish in conditions if not any(absent for absent, _ in conditions)),
    )


def _relation(text: str, source: str) -> tuple[bool, Relation]:
    """A relation, and whether it is refused (`!name`)."""
    match = _RELATION.fullmatch(text)
    if match is None or match["operator"] == "><":
        raise LockError(f"{source}: unknown relation {text!r}")
    return bool(match["not"]), Relation(match["name"], match["operator"] or "", match["version"] or "")
