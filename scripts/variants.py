"""Variant files -> validated, merged `Variant`.

A variant says which packages an image is made of and how the container behaves. The same files, without the `image`
part, also describe the sets of tools that the build system itself uses (scripts/tools/).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scripts import documents
from scripts.documents import Document, Problem
from scripts.errors import UsageError, VariantError
from scripts.paths import SCHEMA, VARIANTS
from scripts.platforms import PLATFORMS, Platform

NPM = "npm"  # the archive of packages of the npm registry
# What each distribution has, for the suites of a variant; the first archive is where a suite is unless it says else.
_ARCHIVES = {"debian": ("debian", "debian-security"), "alpine": ("alpine",)}
_COMPONENTS = {"debian": ("main", "contrib", "non-free", "non-free-firmware"), "alpine": ("main", "community")}
_SCHEMA = SCHEMA / "variant.schema.json"
# The image looks for its own defaults under names that begin like this (container/environment.lua).
DEFAULT_PREFIX = "DEFAULT_"


@dataclass(frozen=True)
class Suite:
    """One suite of an archive; `packages` limits what may come from it (None: anything)."""

    archive: str
    suite: str
    components: tuple[str, ...]
    packages: frozenset[str] | None


@dataclass(frozen=True)
class Tarball:
    """A tarball as a variant names it.

    `strip` is how many leading folders of its members are dropped; of the rest, what matches one of the patterns `only`
    (a folder with all that it has) goes below `to`.
    """

    name: str
    layer: str
    npm: str | None
    url: str | None
    sha256: str | None
    version: str | None
    to: str
    only: tuple[str, ...]
    strip: int

    @property
    def file_name(self) -> str:
        """Name of the file within its layer's folder."""
        return self.path.rpartition("/")[2]

    @property
    def archive(self) -> str:
        """Where it comes from: `npm`, or the scheme and host of its address."""
        if self.url is None:
            return NPM
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    @property
    def path(self) -> str:
        """Its path there."""
        if self.url is None:
            return f"{self.name}/-/{self.name.rpartition('/')[2]}-{self.npm}.tgz"
        return self.url.removeprefix(self.archive).lstrip("/")


@dataclass(frozen=True)
class User:
    """The account the container runs as; `id` is both uid and gid."""

    name: str
    id: int
    home: str


@dataclass(frozen=True)
class Health:
    """Health check in Docker's terms; durations as Dockerfiles write them (`30s`)."""

    command: tuple[str, ...]
    interval: str
    timeout: str
    start_period: str
    retries: int


@dataclass(frozen=True)
class Image:
    """What maintainer scripts would have done, and how the container runs; `files`, if any, is a folder of images/."""

    user: User | None
    directories: Mapping[str, str]
    links: Mapping[str, str]
    remove: tuple[str, ...]
    icu: tuple[str, ...]
    files: str
    environment: Mapping[str, str]
    entrypoint: tuple[str, ...]
    health: Health | None
    ports: tuple[int, ...]
    volumes: tuple[str, ...]


@dataclass(frozen=True)
class Variant:
    """A validated variant with everything it inherits; `tags` are templates, and whether each is fixed or moves."""

    name: str
    title: str
    description: str
    distribution: str
    suites: tuple[Suite, ...]
    platforms: tuple[Platform, ...]
    layers: Mapping[str, tuple[str, ...]]
    tarballs: tuple[Tarball, ...]
    exclude: frozenset[str]
    version_package: str | None
    tags: Mapping[str, str]
    image: Image
    document: Document = field(repr=False, compare=False)

    @property
    def full_title(self) -> str:
        """What people read as the image's name: `Prosody (debian)`."""
        return f"{self.title} ({self.name})" if self.title else self.name

    @property
    def architectures(self) -> tuple[str, ...]:
        """What its distribution calls its platforms."""
        return tuple(platform.named_by(self.distribution) for platform in self.platforms)

    @property
    def packages(self) -> dict[str, str]:
        """Package name -> layer, for the packages that the file asks for by name."""
        return {package: layer for layer, packages in self.layers.items() for package in packages}


def names(folder: Path = VARIANTS) -> list[str]:
    """Names of all variants in `folder`, sorted."""
    return sorted(path.stem for path in folder.glob("*.yaml"))


def folder_of(name: str, *folders: Path) -> Path:
    """Which of `folders` has the variant `name`. Raises UsageError, with the most similar name, if none has it."""
    known = {known: folder for folder in folders for known in names(folder)}
    if name not in known:
        raise UsageError(f"There is no variant {name!r}; there are: {', '.join(known)}{documents.nearest(name, known)}")
    return known[name]


def load(name: str, folder: Path = VARIANTS) -> Variant:
    """Read, merge and check the variant `name` of `folder`.

    Raises UsageError if there is no such file, VariantError with every problem of every file involved otherwise.
    """
    folder_of(name, folder)
    problems: list[Problem] = []
    document = _merged(name, folder, problems, ())
    if not problems:
        problems = documents.validate(document, _SCHEMA) or _semantic_problems(document)
    if problems:
        lines = "\n".join(f"  {problem}" for problem in sorted(problems))
        raise VariantError(f"{len(problems)} problem{'s'[: len(problems) > 1]} in variant {name!r}:\n{lines}")
    return _variant(name, document)


def _merged(name: str, folder: Path, problems: list[Problem], children: tuple[str, ...]) -> Document:
    """Document of `name` over all it extends; each file is checked on its own, so problems point into it."""
    document, syntax = documents.read(folder / f"{name}.yaml")
    problems += syntax or documents.validate(document, _SCHEMA, complete=False)
    parent = document.value.get("extends") if isinstance(document.value, dict) else None
    if not isinstance(document.value, dict) or not isinstance(parent, str):
        return documents.merge(Document({}, {}), document) if isinstance(document.value, dict) else document
    pointer = ("extends",)
    chain = (*children, name)
    if parent in chain:
        problems.append(document.problem(pointer, f"extends itself: {' -> '.join([*chain, parent])}"))
        return document
    if not (folder / f"{parent}.yaml").is_file():
        known = [other for other in names(folder) if other not in chain]
        text = f"there is no variant {parent!r}; there are: {', '.join(known)}{documents.nearest(parent, known)}"
        problems.append(document.problem(pointer, text))
        return document
    return documents.merge(_merged(parent, folder, problems, chain), document)


def _semantic_problems(document: Document) -> list[Problem]:
    """What no schema can say: what a complete variant needs, and that each package has one place."""
    value = document.value
    problems = [
        document.problem((), f"missing: {key} (neither here nor in a parent)")
        for key in ("description", "distribution", "suites", "platforms", "layers")
        if not value.get(key)
    ]
    seen: dict[str, str] = {}
    for layer, packages in value.get("layers", {}).items():
        for index, package in enumerate(packages):
            pointer = ("layers", layer, index)
            if package in seen:
                problems.append(document.problem(pointer, f"{package!r} is in layer {seen[package]!r} already"))
            if package in value.get("exclude", {}):
                problems.append(document.problem(pointer, f"{package!r} is also under `exclude`"))
            seen[package] = layer
    for index, suite in enumerate(value.get("suites", [])):
        for place, package in enumerate(suite.get("packages", [])):
            listed: documents.Pointer = ("suites", index, "packages", place)
            # A parent's suites may be wider than what its child takes.
            if package not in seen and document.position(*listed).path == document.position().path:
                text = f"{package!r} is in no layer, so nothing would come from here{documents.nearest(package, seen)}"
                problems.append(document.problem(listed, text))
    for name, tarball in value.get("tarballs", {}).items():
        if tarball["layer"] not in value.get("layers", {}):
            known = value.get("layers", {})
            text = f"there is no layer {tarball['layer']!r}; there are: {', '.join(known)}"
            nearest = documents.nearest(tarball["layer"], known)
            problems.append(document.problem(("tarballs", name, "layer"), text + nearest))
    problems += _foreign(document, value["distribution"]) if value.get("distribution") else []
    version = value.get("version")
    if version is not None and version not in seen:
        problems.append(document.problem(("version",), f"{version!r} is in no layer{documents.nearest(version, seen)}"))
    return problems


def _foreign(document: Document, distribution: str) -> Iterator[Problem]:
    """What the variant's distribution does not have."""
    for index, platform in enumerate(document.value.get("platforms", [])):
        if not PLATFORMS[platform].named_by(distribution):
            there = ", ".join(name for name, found in PLATFORMS.items() if found.named_by(distribution))
            yield document.problem(
                ("platforms", index), f"{distribution} has no packages for {platform}; it has them for: {there}"
            )
    for index, suite in enumerate(document.value.get("suites", [])):
        archive = suite.get("archive")
        if archive is not None and archive not in _ARCHIVES[distribution]:
            text = f"{archive!r} is no archive of {distribution}; there are: {', '.join(_ARCHIVES[distribution])}"
            yield document.problem(("suites", index, "archive"), text)
        for place, component in enumerate(suite.get("components", [])):
            if component not in _COMPONENTS[distribution]:
                text = f"{component!r} is no component of {distribution}; there are: "
                yield document.problem(
                    ("suites", index, "components", place), text + ", ".join(_COMPONENTS[distribution])
                )


def _variant(name: str, document: Document) -> Variant:
    value: dict[str, Any] = document.value
    return Variant(
        name=name,
        title=value.get("title", ""),
        description=value["description"],
        distribution=value["distribution"],
        suites=tuple(
            Suite(
                archive=suite.get("archive", _ARCHIVES[value["distribution"]][0]),
                suite=suite["suite"],
                components=tuple(suite.get("components", ["main"])),
                packages=frozenset(suite["packages"]) if "packages" in suite else None,
            )
            for suite in value["suites"]
        ),
        platforms=tuple(PLATFORMS[platform] for platform in value["platforms"]),
        layers={layer: tuple(packages) for layer, packages in value["layers"].items()},
        tarballs=tuple(_tarball(name, tarball) for name, tarball in value.get("tarballs", {}).items()),
        exclude=frozenset(value.get("exclude", {})),
        version_package=value.get("version"),
        tags=value.get("tags", {}),
        image=_image(value.get("image", {})),
        document=document,
    )


def _tarball(name: str, value: dict[str, Any]) -> Tarball:
    return Tarball(
        name=name,
        layer=value["layer"],
        npm=value.get("npm"),
        url=value.get("url"),
        sha256=value.get("sha256"),
        version=value.get("version"),
        to=value["to"],
        only=tuple(value["only"]),
        strip=value.get("strip", 1),
    )


def _image(value: dict[str, Any]) -> Image:
    health = value.get("health")
    defaults = {f"{DEFAULT_PREFIX}{name}": text for name, text in value.get("defaults", {}).items()}
    return Image(
        user=User(**value["user"]) if "user" in value else None,
        directories=value.get("directories", {}),
        links=value.get("links", {}),
        remove=tuple(value.get("remove", {})),
        icu=tuple(value.get("icu", {})),
        files=value.get("files", ""),
        environment={**value.get("environment", {}), **defaults},
        entrypoint=tuple(value.get("entrypoint", [])),
        health=Health(
            command=tuple(health["command"]),
            interval=health["interval"],
            timeout=health["timeout"],
            start_period=health["start-period"],
            retries=health["retries"],
        )
        if health
        else None,
        ports=tuple(sorted(int(port) for port in value.get("ports", {}))),
        volumes=tuple(value.get("volumes", [])),
    )
