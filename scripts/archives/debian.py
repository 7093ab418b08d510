"""Debian archives: `InRelease` and `Packages` -> packages.

The formats are those of the Debian Policy Manual, chapter 7 (relationships) and the Debian repository format
(https://wiki.debian.org/DebianRepository/Format).
"""

from __future__ import annotations

import hashlib
import lzma
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cached_property

from debian.deb822 import Deb822, PkgRelation
from debian.debian_support import NativeVersion

from scripts import fetch, mirrors
from scripts.archives import signatures
from scripts.archives.packages import Relation as AnyRelation
from scripts.errors import LockError, SignatureError
from scripts.fetch import Item
from scripts.variants import Suite

_RELEASE_LIMIT = 4 << 20  # bytes; Debian's are below 0.2 MiB
_CLOCK_TOLERANCE = timedelta(minutes=10)


@dataclass(frozen=True, order=True)
class Relation:
    """A wish for a package: `name`, or `name (operator version)` with dpkg's operators (<<, <=, =, >=, >>)."""

    name: str
    operator: str = ""
    version: str = ""

    def admits(self, version: str) -> bool:
        """Whether `version` fulfils this relation."""
        if not self.operator:
            return True
        left, right = NativeVersion(version), NativeVersion(self.version)
        match self.operator:
            case "<<":
                return bool(left < right)
            case "<=" | "<":
                return bool(left <= right)
            case "=":
                return bool(left == right)
            case ">=" | ">":
                return bool(left >= right)
            case ">>":
                return bool(left > right)
        raise LockError(f"Unknown relation operator {self.operator!r} in {self}")

    def __str__(self) -> str:
        return f"{self.name} ({self.operator} {self.version})" if self.operator else self.name


@dataclass(frozen=True)
class Package:
    """One binary package of an archive, as its index describes it."""

    name: str
    version: str
    architecture: str
    archive: str
    suite: str
    path: str
    sha256: str
    size: int
    source: str
    source_version: str
    priority: str
    depends: tuple[tuple[Relation, ...], ...]
    conflicts: tuple[Relation, ...]
    provides: tuple[Relation, ...]

    @property
    def item(self) -> Item:
        """The package as something to fetch."""
        return Item(str(self), self.archive, (self.path,), self.sha256, self.size)

    @property
    def owns(self) -> Set[str]:
        """None: packages that exclude each other say so."""
        return frozenset()

    @property
    def install_if(self) -> tuple[Relation, ...]:
        """Debian has no such thing."""
        return ()

    @cached_property
    def order(self) -> NativeVersion:
        """Key that sorts by Debian's version order."""
        return NativeVersion(self.version)

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


@dataclass(frozen=True)
class Release:
    """A verified `InRelease`: when it was made, and the SHA-256 and size of every index it covers."""

    suite: Suite
    date: datetime
    sha256: str
    files: Mapping[str, tuple[str, int]] = field(repr=False)

    @property
    def name(self) -> str:
        """What the lock calls it."""
        return self.suite.suite

    @property
    def key(self) -> signatures.Key | None:
        """Debian's keyring is one."""
        return None


@dataclass(frozen=True)
class Indexes:
    """Verified releases whose package indexes are in the cache."""

    releases: tuple[Release, ...]
    # snapshot.debian.org takes a snapshot every six hours. This long after an index was made, every package that it
    # names is in the newest snapshot, and none has been removed yet (Debian keeps replaced files for more than a day).
    delay: timedelta = timedelta(hours=12)

    def index(self, architecture: str) -> Index:
        """The packages of one architecture."""
        return Index.of(self.releases, architecture)


def read(suites: Sequence[Suite], architectures: Sequence[str], at: datetime) -> Indexes:
    """Fetch and verify the indexes that were current at `at`; raises what `release` and `fetch.fetch` raise."""
    releases = tuple(release(suite, at) for suite in suites)
    items = [item for architecture in architectures for found in releases for item in index_items(found, architecture)]
    fetch.fetch(items, instant(at), label="package indexes")
    return Indexes(releases)


def release(suite: Suite, at: datetime) -> Release:
    """Fetch and verify the `InRelease` that was current at `at`.

    Raises SignatureError if it is not signed, altered, for another suite, expired at `at`, or newer than `at`;
    FetchError if no mirror has it.
    """
    path = f"dists/{suite.suite}/InRelease"
    source = f"{suite.archive}/{path}"
    accepted: dict[bytes, Release] = {}

    def accept(content: bytes) -> bytes:
        accepted[content] = read_release(suite, source, content, at)
        return content

    sources = mirrors.mirrors(suite.archive, instant(at))
    content = fetch.fetch_unhashed(path, sources, accept, limit=_RELEASE_LIMIT)
    return accepted[content]


def instant(at: datetime) -> str:
    """A point in time as snapshot.debian.org writes it: `20261125T000000Z`."""
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def read_release(suite: Suite, source: str, content: bytes, at: datetime) -> Release:
    """Verify and read an `InRelease` that came from `source`; raises SignatureError as `release` does."""
    fields = Deb822(signatures.signed_text(content, source))
    # A mirror could give the validly signed index of another suite, or an old one.
    if suite.suite not in (fields.get("Codename"), fields.get("Suite")):
        raise SignatureError(f"{source} is signed, but for {fields.get('Codename')!r}, not for {suite.suite!r}.")
    date = parsedate_to_datetime(fields["Date"])
    if date > at + _CLOCK_TOLERANCE:
        raise SignatureError(f"{source} is of {date:%Y-%m-%d %H:%M} UTC, which is after {at:%Y-%m-%d %H:%M} UTC.")
    expiry = fields.get("Valid-Until")
    if expiry and parsedate_to_datetime(expiry) < at:
        raise SignatureError(
            f"{source} expired on {expiry}: the mirror is stale, or the clock of this machine is wrong"
            f" ({at:%Y-%m-%d %H:%M} UTC). Try another mirror (DEBIAN_MIRROR=http://...)."
        )
    files: dict[str, tuple[str, int]] = {}
    for line in fields.get("SHA256", "").splitlines():
        if line.strip():
            sha256, size, name = line.split()
            files[name] = (sha256, int(size))
    return Release(suite, date, hashlib.sha256(content).hexdigest(), files)


def index_items(found: Release, architecture: str) -> list[Item]:
    """The `Packages` indexes of a suite for one architecture, as files to fetch.

    Raises LockError if the suite does not carry the architecture.
    """
    items = []
    for component in found.suite.components:
        folder = f"{component}/binary-{architecture}"
        name = f"{folder}/Packages.xz"
        if name not in found.files:
            raise LockError(f"{found.suite.archive}/{found.suite.suite} has no {component} for {architecture}.")
        sha256, size = found.files[name]
        dists = f"dists/{found.suite.suite}"
        # By hash first: that file stays when the mirror is updated between two requests.
        paths = (f"{dists}/{folder}/by-hash/SHA256/{sha256}", f"{dists}/{name}")
        items.append(Item(f"{found.suite.suite}/{name}", found.suite.archive, paths, sha256, size))
    return items


class Index:
    """All packages of one architecture in several suites.

    An index holds some 68,000 packages (60 MB of text) of which a resolver looks at a few dozen. So only names and
    `Provides` are indexed; a stanza is parsed when somebody asks for it.
    """

    def __init__(self, sources: Sequence[tuple[Suite, bytes]]) -> None:
        """Index `Packages` texts; the order of `sources` does not matter."""
        self._sources = sources
        self._places: dict[str, list[tuple[int, int]]] = {}
        self._providers: dict[str, set[str]] = {}
        self._parsed: dict[str, tuple[Package, ...]] = {}
        pattern = re.compile(rb"^(Package|Provides): (.*)$", re.MULTILINE)
        for number, (suite, text) in enumerate(sources):
            name = ""
            for match in pattern.finditer(text):
                value = match[2].decode()
                if match[1] == b"Package":
                    name = value
                    if suite.packages is None or name in suite.packages:
                        self._places.setdefault(name, []).append((number, match.start()))
                elif suite.packages is None or name in suite.packages:
                    for provided in value.split(","):
                        self._providers.setdefault(provided.split("(")[0].strip(), set()).add(name)

    @classmethod
    def of(cls, releases: Sequence[Release], architecture: str) -> Index:
        """Index the fetched `Packages` files of `releases` (index_items, already in the cache)."""
        sources = []
        for found in releases:
            for item in index_items(found, architecture):
                sources.append((found.suite, lzma.decompress(fetch.blob(item.sha256).read_bytes())))
        return cls(sources)

    @property
    def names(self) -> set[str]:
        """Names of all packages, real and virtual."""
        return self._places.keys() | self._providers.keys()

    def packages(self, name: str) -> tuple[Package, ...]:
        """Real packages of this name, highest version first."""
        if name not in self._parsed:
            found = {
                (package.version, package.sha256): package
                for number, start in reversed(self._places.get(name, []))
                for package in [self._parse(number, start)]
            }
            self._parsed[name] = tuple(sorted(found.values(), key=lambda package: package.order, reverse=True))
        return self._parsed[name]

    def choices(self, relation: AnyRelation, wanted: Set[str]) -> Iterator[Package]:
        """Packages that fulfil `relation`: real ones, then those that provide it."""
        del wanted
        yield from (package for package in self.packages(relation.name) if relation.admits(package.version))
        yield from self.providers(relation)

    def passive(self, relation: AnyRelation, wanted: Set[str]) -> bool:
        """Never: whatever can fulfil a relation may be chosen for it."""
        del relation, wanted
        return False

    def triggered(self, chosen: Set[str]) -> Iterator[Package]:
        """Nothing."""
        del chosen
        yield from ()

    def wish(self, name: str, version: str = "") -> Relation:
        """The wish for a package, in any version or in exactly one."""
        return Relation(name, "=" if version else "", version)

    def providers(self, relation: AnyRelation) -> Iterator[Package]:
        """Other packages that provide `relation` (Policy 7.5), sorted by priority and name.

        A versioned relation is only fulfilled by a versioned `Provides`.
        """
        found = []
        for name in self._providers.get(relation.name, ()):
            for package in self.packages(name):
                for provided in package.provides:
                    fits = not relation.operator or (provided.version and relation.admits(provided.version))
                    if provided.name == relation.name and fits:
                        found.append(package)
                        break
        order = {"required": 0, "important": 1, "standard": 2, "optional": 3}
        yield from sorted(found, key=lambda package: (order.get(package.priority, 4), package.name))

    def provided(self, name: str) -> bool:
        """Whether a package of another name provides `name`."""
        return bool(self._providers.get(name, set()) - {name})

    def _parse(self, number: int, start: int) -> Package:
        suite, text = self._sources[number]
        end = text.find(b"\n\n", start)
        fields = Deb822(text[start : end if end >= 0 else len(text)])
        source, _, source_version = fields.get("Source", fields["Package"]).partition(" ")
        return Package(
            name=fields["Package"],
            version=fields["Version"],
            architecture=fields["Architecture"],
            archive=suite.archive,
            suite=suite.suite,
            path=fields["Filename"],
            sha256=fields["SHA256"],
            size=int(fields["Size"]),
            source=source,
            source_version=source_version.strip("()") or fields["Version"],
            priority=fields.get("Priority", ""),
            depends=(*_groups(fields.get("Pre-Depends", "")), *_groups(fields.get("Depends", ""))),
            conflicts=tuple(
                relation
                for name in ("Conflicts", "Breaks")
                for group in _groups(fields.get(name, ""))
                for relation in group
            ),
            provides=tuple(relation for group in _groups(fields.get("Provides", "")) for relation in group),
        )


def _groups(text: str) -> Iterator[tuple[Relation, ...]]:
    """Relations of a control field: each group is fulfilled by one of its alternatives.

    Qualifiers such as `:any` are dropped: one image holds packages of one architecture only.
    """
    if text:
        for group in PkgRelation.parse_relations(text):
            yield tuple(Relation(found["name"], *(found["version"] or ("", ""))) for found in group)
