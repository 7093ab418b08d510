"""What the resolver and the lock need to know of packages, whatever the distribution they come from.

One module for each distribution has classes that fit these protocols, and a function `read` that gives Indexes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from datetime import datetime, timedelta
from typing import Protocol

from scripts.archives.signatures import Key
from scripts.fetch import Item
from scripts.variants import Suite


class Relation(Protocol):
    """A wish for a package, or what a package offers: a name, with or without a version."""

    @property
    def name(self) -> str:
        """Name of a package, real or virtual."""

    @property
    def operator(self) -> str:
        """How versions are compared; empty if any will do."""

    @property
    def version(self) -> str:
        """What they are compared with."""

    def admits(self, version: str) -> bool:
        """Whether `version` fulfils this relation."""


Group = tuple[Relation, ...]  # alternatives, in order of preference


class Package(Protocol):
    """One binary package of an archive, as its index describes it."""

    @property
    def name(self) -> str:
        """Name of the package."""

    @property
    def version(self) -> str:
        """Its version, in the distribution's notation."""

    @property
    def architecture(self) -> str:
        """The distribution's name of it."""

    @property
    def archive(self) -> str:
        """Which archive of the distribution has it."""

    @property
    def suite(self) -> str:
        """Which suite of the archive."""

    @property
    def path(self) -> str:
        """Relative to the archive."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def sha256(self) -> str:
        """Of the file; empty if the index does not state it."""

    @property
    def item(self) -> Item:
        """The package as something to fetch."""

    @property
    def source(self) -> str:
        """Source package it was built from."""

    @property
    def source_version(self) -> str:
        """Version of that."""

    @property
    def depends(self) -> tuple[Group, ...]:
        """All of these must be fulfilled, each by one of its alternatives."""

    @property
    def conflicts(self) -> tuple[Relation, ...]:
        """What must not be there beside it."""

    @property
    def provides(self) -> tuple[Relation, ...]:
        """Names that it stands in for."""

    @property
    def owns(self) -> Set[str]:
        """Names that no other package beside it may own."""

    @property
    def install_if(self) -> tuple[Relation, ...]:
        """If all of these are there, the package is wanted as well; never, if there are none."""


class Index(Protocol):
    """All packages of one architecture in several suites."""

    @property
    def names(self) -> Set[str]:
        """Names of all packages, real and virtual."""

    def packages(self, name: str) -> tuple[Package, ...]:
        """Real packages of this name, best first."""

    def provided(self, name: str) -> bool:
        """Whether a package of another name provides `name`."""

    def choices(self, relation: Relation, wanted: Set[str]) -> Iterator[Package]:
        """Packages that may be chosen to fulfil `relation`, best first; `wanted` are named by the variant."""

    def passive(self, relation: Relation, wanted: Set[str]) -> bool:
        """Whether `relation` chooses nothing by itself: it is for packages that are there for another reason."""

    def triggered(self, chosen: Set[str]) -> Iterator[Package]:
        """Packages whose `install_if` names nothing but packages among `chosen`, by real names or provided ones."""

    def wish(self, name: str, version: str = "") -> Relation:
        """The wish for a package, in any version or in exactly one."""


class Release(Protocol):
    """A verified index."""

    @property
    def suite(self) -> Suite:
        """The suite that it is of."""

    @property
    def name(self) -> str:
        """What the lock calls it."""

    @property
    def date(self) -> datetime:
        """When it was made."""

    @property
    def sha256(self) -> str:
        """Of its file."""

    @property
    def key(self) -> Key | None:
        """The key that signed it, if that is one of several."""


class Indexes(Protocol):
    """All verified indexes that a lock is made from; they are in the cache."""

    @property
    def releases(self) -> Sequence[Release]:
        """The indexes, in the order of the variant's suites."""

    @property
    def delay(self) -> timedelta:
        """How long after the newest of them all of its packages are in a snapshot."""

    def index(self, architecture: str) -> Index:
        """The packages of one architecture."""


def fulfils(package: Package, relation: Relation) -> bool:
    """Whether `package`, once it is there, fulfils `relation`: by itself, or by what it provides.

    A relation with a version is only fulfilled by something with a version (Debian Policy 7.5; apk-package(5)).
    """
    if package.name == relation.name and relation.admits(package.version):
        return True
    offers = [offer for offer in package.provides if offer.name == relation.name]
    return any(not relation.operator or (offer.version != "" and relation.admits(offer.version)) for offer in offers)
