"""`Variant` -> `Lock`: every package of every platform, by version, path and SHA-256; and the file that keeps it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema

from scripts import documents, fetch, mirrors, paths, resolve, variants
from scripts.archives import alpine, debian, tarballs
from scripts.archives.packages import Indexes, Package, Release, fulfils
from scripts.console import console, step_progress
from scripts.errors import LockError, UsageError
from scripts.fetch import Item
from scripts.platforms import Platform
from scripts.variants import Tarball, Variant

_OPTIONAL = ("integrity", "key", "key_sha256")  # not all packages and suites have these


@dataclass(frozen=True)
class LockedPackage:
    """One package of one platform; `path` is relative to the archive, `size` in bytes."""

    layer: str
    package: str
    version: str
    architecture: str
    archive: str
    path: str
    size: int
    sha256: str
    source: str
    source_version: str
    integrity: str = ""

    @property
    def file_name(self) -> str:
        """Name of the package's file."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def item(self) -> Item:
        """The package as something to fetch."""
        return Item(
            f"{self.package} {self.version} ({self.architecture})", self.archive, (self.path,), self.sha256, self.size
        )


@dataclass(frozen=True)
class LockedSuite:
    """A signed index that a lock was made from; `date` is its own, in ISO 8601. The key is recorded of Alpine's."""

    archive: str
    suite: str
    date: str
    sha256: str
    key: str = ""
    key_sha256: str = ""


@dataclass(frozen=True)
class Lock:
    """All that decides about the bytes of a variant's packages."""

    variant: str
    inputs: str
    snapshot: str
    epoch: int
    suites: tuple[LockedSuite, ...]
    platforms: Mapping[str, tuple[LockedPackage, ...]]

    def packages(self, platforms: Sequence[Platform]) -> tuple[LockedPackage, ...]:
        """Packages of several platforms, each file once.

        Raises UsageError for a platform that is not in the lock.
        """
        found: dict[str, LockedPackage] = {}
        for platform in platforms:
            if platform.name not in self.platforms:
                raise UsageError(
                    f"Variant {self.variant!r} is not locked for {platform}; it is for: {', '.join(self.platforms)}"
                    f"{documents.nearest(platform.name, self.platforms)}"
                )
            found |= {package.sha256: package for package in self.platforms[platform.name]}
        return tuple(found.values())

    def url(self, package: LockedPackage) -> str:
        """Where anybody finds one of its packages."""
        base = package.archive if "://" in package.archive else mirrors.public_url(package.archive, self.snapshot)
        return f"{base}/{package.path}"

    def version(self, variant: Variant) -> str:
        """Upstream version of the package that gives the image its version: `13.0.6-1~bpo13+1` -> `13.0.6`.

        What a distribution adds after a plus (`2.6.10+dfsg-1`) could not be part of a tag either.
        """
        for packages in self.platforms.values():
            for package in packages:
                if package.package == variant.version_package:
                    upstream = package.version.partition(":")[2] or package.version
                    return (upstream.rpartition("-")[0] or upstream).partition("+")[0]
        raise LockError(f"Variant {self.variant!r} names no package under `version` that is in its lock.")

    def fetch(self, platforms: Sequence[Platform], label: str = "packages") -> fetch.Report:
        """Bring the packages of `platforms` into the cache."""
        return fetch.fetch((package.item for package in self.packages(platforms)), self.snapshot, label=label)


def path_of(name: str, folder: Path = paths.VARIANTS) -> Path:
    """Where the lock of a variant, a set of tools or a peer is kept."""
    return paths.belonging(name, folder, "lock.json")


def locked_names(folder: Path = paths.VARIANTS) -> list[str]:
    """Names of the variants of `folder` that have a lock, sorted."""
    return [name for name in variants.names(folder) if path_of(name, folder).is_file()]


def load(variant: Variant, path: Path, *, stale: bool = False) -> Lock:
    """Read the lock of `variant`.

    Raises LockError if it is missing, not a lock, edited by hand, of another variant, or (unless `stale` is allowed)
    made for another state of the variant.
    """
    shown = path.relative_to(paths.ROOT) if path.is_relative_to(paths.ROOT) else path
    if not path.is_file():
        raise LockError(
            f"Variant {variant.name!r} has no lock ({shown}). Make one with: scripts/nox -s lock -- {variant.name}"
        )
    found = parse(path.read_bytes(), variant.name, str(shown))
    if found.inputs != inputs(variant) and not stale:
        raise LockError(
            f"{shown} was made for another state of {variant.document.position().path.name}. {_again(variant.name)}"
        )
    return found


def parse(content: str | bytes, name: str, shown: str) -> Lock:
    """The lock of the variant `name` from the content of a file, which messages call `shown`. Raises LockError."""
    again = _again(name)
    try:
        value = json.loads(content)
    except ValueError as error:
        raise LockError(f"{shown} is not a complete lock: {error}. {again}") from error
    schema = json.loads((paths.SCHEMA / "lock.schema.json").read_text())
    problem = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema).iter_errors(value))
    if problem is not None:
        raise LockError(f"{shown}: {documents.show(tuple(problem.absolute_path))}: {problem.message}. {again}")
    if value["variant"] != name:
        raise LockError(f"{shown} is the lock of variant {value['variant']!r}. {again}")
    checksum = value.pop("checksum")
    if checksum != _checksum(value):
        raise LockError(f"{shown} was edited by hand: its checksum does not match. {again}")
    return Lock(
        **{key: value[key] for key in ("variant", "inputs", "snapshot", "epoch")},
        suites=tuple(LockedSuite(**_names(suite)) for suite in value["suites"]),
        platforms={
            platform: tuple(LockedPackage(**_names(package)) for package in packages)
            for platform, packages in value["platforms"].items()
        },
    )


def _again(name: str) -> str:
    return f"Make it again with: scripts/nox -s lock -- {name}"


def dump(lock: Lock) -> str:
    """Text of a lock file: JSON with one package per line, so that a difference reads as a list of packages."""
    value = _plain(lock)
    lines = ["{"]
    for key in ("variant", "inputs", "snapshot", "epoch"):
        lines.append(f" {json.dumps(key)}: {json.dumps(value[key])},")
    suites = ",\n".join(f"  {json.dumps(suite)}" for suite in value["suites"])
    lines.append(f' "suites": [\n{suites}\n ],')
    platforms = []
    for platform, packages in value["platforms"].items():
        rows = ",\n".join(f"   {json.dumps(package)}" for package in packages)
        platforms.append(f"  {json.dumps(platform)}: [\n{rows}\n  ]")
    lines.append(' "platforms": {\n' + ",\n".join(platforms) + "\n },")
    lines.append(f' "checksum": {json.dumps(_checksum(value))}')
    return "\n".join([*lines, "}", ""])


def checksum(lock: Lock) -> str:
    """SHA-256 of what a lock says, as its file has it."""
    return _checksum(_plain(lock))


def inputs(variant: Variant) -> str:
    """SHA-256 of what decides about packages: suites, platforms, layers, exclusions."""
    value: dict[str, Any] = {
        "distribution": variant.distribution,
        "suites": [
            [suite.archive, suite.suite, suite.components, sorted(suite.packages) if suite.packages else None]
            for suite in variant.suites
        ],
        "platforms": [platform.name for platform in variant.platforms],
        "layers": list(map(list, variant.layers.items())),
        "exclude": sorted(variant.exclude),
    }
    if variant.tarballs:
        value["tarballs"] = [asdict(tarball) for tarball in variant.tarballs]
    return hashlib.sha256(_canonical(value)).hexdigest()


def _names(value: Mapping[str, Any]) -> dict[str, Any]:
    """Names of fields, from those in the file."""
    return {key.replace("-", "_"): field for key, field in value.items()}


def _plain(lock: Lock) -> dict[str, Any]:
    value = asdict(lock)
    value["suites"] = list(map(_given, value["suites"]))
    value["platforms"] = {platform: list(map(_given, packages)) for platform, packages in value["platforms"].items()}
    return value


def _given(value: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as they are in the file."""
    return {key.replace("_", "-"): field for key, field in value.items() if field != "" or key not in _OPTIONAL}


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(_canonical(value)).hexdigest()


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def make(variant: Variant, at: datetime) -> Lock:
    """Lock `variant` against its archives as they were at `at`; Alpine's are always as they are now.

    Raises what `read` of the distribution's module, `fetch.fetch` and `resolve.resolve` raise.
    """
    with console.status(f"Reading the archives of {variant.name}"):
        indexes = _read(variant, at)
    locked_tarballs = tuple(_locked_tarball(variant, tarball) for tarball in variant.tarballs)
    newest = max(found.date for found in indexes.releases)
    resolved = dict(_resolve_platforms(variant, indexes))
    # What an index does not state must be seen.
    unhashed = [package.item for placed in resolved.values() for package, _ in placed if not package.sha256]
    fetch.fetch(unhashed, debian.instant(newest), label=f"packages of {variant.name}")
    return Lock(
        variant=variant.name,
        inputs=inputs(variant),
        snapshot=debian.instant(newest + indexes.delay),
        epoch=int(newest.timestamp()),
        suites=tuple(map(_locked_suite, indexes.releases)),
        platforms={
            platform: _in_order(variant, (*(_locked(package, layer) for package, layer in placed), *locked_tarballs))
            for platform, placed in resolved.items()
        },
    )


def _read(variant: Variant, at: datetime) -> Indexes:
    if variant.distribution == "alpine":
        return alpine.read(variant.suites, variant.architectures)
    return debian.read(variant.suites, variant.architectures, at)


def _locked_suite(found: Release) -> LockedSuite:
    key = (found.key.name, found.key.sha256) if found.key else ()
    return LockedSuite(found.suite.archive, found.name, found.date.isoformat(), found.sha256, *key)


Placed = tuple[Package, str]  # a package, and the layer that it goes into


def _resolve_platforms(variant: Variant, indexes: Indexes) -> Iterator[tuple[str, tuple[Placed, ...]]]:
    """Resolve each platform on its own, in as many processes as there are processors."""
    with step_progress() as progress, ProcessPoolExecutor(os.cpu_count()) as executor:
        task = progress.add_task(f"Locking {variant.name}", total=len(variant.platforms))
        futures = [
            executor.submit(_resolve_platform, replace(variant, document=_NO_DOCUMENT), indexes, platform)
            for platform in variant.platforms
        ]
        for platform, future in zip(variant.platforms, futures, strict=True):
            try:
                packages = future.result()
            except UnknownPackageError as error:
                position = variant.document.position(*error.pointer)
                raise LockError(f"{position}: {documents.show(error.pointer)}: {error}") from error
            progress.advance(task)
            yield platform.name, packages


_NO_DOCUMENT = documents.Document({}, {})


class UnknownPackageError(Exception):
    """A package named in a variant is in none of its suites; `pointer` is where the variant names it."""

    def __init__(self, text: str, pointer: documents.Pointer) -> None:
        super().__init__(text, pointer)
        self.pointer = pointer

    def __str__(self) -> str:
        return str(self.args[0])


def _resolve_platform(variant: Variant, indexes: Indexes, platform: Platform) -> tuple[Placed, ...]:
    index = indexes.index(platform.named_by(variant.distribution))
    for layer, names in variant.layers.items():
        for place, name in enumerate(names):
            if not index.packages(name):
                known = index.names
                raise UnknownPackageError(
                    f"no package {name!r} for {platform} in {', '.join(suite.suite for suite in variant.suites)}"
                    f"{documents.nearest(name, known)}",
                    ("layers", layer, place),
                )
    present = resolve.fulfilled(index, variant.exclude)
    packages = resolve.resolve(index, variant.packages, present)
    layers = _assign_layers(variant, packages, present)
    return tuple((package, layers[package.name]) for package in packages)


def _in_order(variant: Variant, packages: Sequence[LockedPackage]) -> tuple[LockedPackage, ...]:
    """Packages as they are unpacked: by layer, then by name."""
    order = list(variant.layers)
    return tuple(sorted(packages, key=lambda package: (order.index(package.layer), package.package)))


def _locked_tarball(variant: Variant, tarball: Tarball) -> LockedPackage:
    try:
        found = tarballs.find(tarball)
    except LockError as error:
        raise LockError(f"{variant.document.position('tarballs', tarball.name)}: {error}") from error
    version = tarball.npm or tarball.version or ""
    return LockedPackage(
        layer=tarball.layer,
        package=tarball.name,
        version=version,
        architecture="all",
        archive=tarball.archive,
        path=tarball.path,
        size=found.size,
        sha256=found.sha256,
        source=tarball.name,
        source_version=version,
        integrity=found.integrity,
    )


def _assign_layers(variant: Variant, packages: Sequence[Package], present: Set[str]) -> dict[str, str]:
    """Layer of each package: its own if the variant names it, else the first layer that needs it."""
    layers = dict(variant.packages)
    providers: dict[str, list[Package]] = {}
    for package in packages:
        for name in (package.name, *(relation.name for relation in package.provides)):
            providers.setdefault(name, []).append(package)
    below: list[Package] = []  # what is in this layer or under it
    for layer in variant.layers:
        waiting = [package for package in packages if layers.get(package.name) == layer]
        while waiting:
            package = waiting.pop()
            below.append(package)
            needed = [relation for group in resolve.needed(package, present) for relation in group]
            found = [found for relation in needed for found in providers.get(relation.name, [])]
            if not waiting:
                # What is there because others are goes into the layer of the last of them.
                found += [package for package in packages if _follows(package, [*below, *found])]
            for package in found:
                if package.name not in layers:
                    layers[package.name] = layer
                    waiting.append(package)
    return layers


def _follows(package: Package, others: Sequence[Package]) -> bool:
    """Whether all that the package's `install_if` names is among `others`."""
    return bool(package.install_if) and all(
        any(fulfils(other, condition) for other in others) for condition in package.install_if
    )


def _locked(package: Package, layer: str) -> LockedPackage:
    return LockedPackage(
        layer=layer,
        package=package.name,
        version=package.version,
        architecture=package.architecture,
        archive=package.archive,
        path=package.path,
        size=package.size,
        sha256=package.sha256 or fetch.adopt(package.item),
        source=package.source,
        source_version=package.source_version,
    )


def chosen_by_default(folder: Path, at: datetime | None = None) -> list[str]:
    """Names of what a command without names works on: all that has a lock, and with `at` only what has a past."""
    chosen = locked_names(folder)
    unlocked = sorted(set(variants.names(folder)) - set(chosen))
    if unlocked:
        console.print(
            f"Left out, because there is no lock yet: {', '.join(unlocked)}. Make one by name: scripts/nox -s lock --"
            f" {' '.join(unlocked)}",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    if at is not None:
        chosen = [name for name in chosen if variants.load(name, folder).distribution != "alpine"]
    return chosen
