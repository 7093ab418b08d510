"""What is wrong with an image by itself: members of its layers, and its configuration."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts import contents
from scripts.contents import Member
from scripts.lock import Lock
from scripts.oci import Image, Layout
from scripts.platforms import Platform
from scripts.scanners import elf, ownership, secrets
from scripts.scanners.findings import Finding
from scripts.scanners.ownership import ANY, Known
from scripts.variants import Variant

_SETUID, _SETGID, _WRITABLE = 0o4000, 0o2000, 0o0002
_CAPABILITY = "SCHILY.xattr.security.capability"  # how tar archives carry them (star(5))
_AT_RUN_TIME = ("dev", "proc", "run", "sys")  # which an engine mounts, or a program fills
_LINKS = 40  # followed in one path, as Linux does (path_resolution(7))
_LABELS = "org.opencontainers.image"


@dataclass(frozen=True)
class Subject:
    """An image, and what it should be made of."""

    variant: Variant
    lock: Lock
    layout: Layout
    image: Image

    @property
    def platform(self) -> Platform:
        """Of the image."""
        return self.image.platform


def scan(subject: Subject) -> Iterator[Finding]:
    """All findings of one image. The locked packages must be in the cache; raises BuildError for a broken layer."""
    known = ownership.known(subject.variant, subject.lock, subject.platform)
    tree: dict[str, tuple[str, Member]] = {}
    for layer in subject.image.layers:
        # A layer by itself: what a higher one hides can still be had.
        for member, content in contents.walk(subject.layout.blob(layer.digest)):
            tree[member.path] = layer.name, member
            yield from _of_member(layer.name, member)
            if member.kind not in ("directory", "hard link"):
                yield from _of_owner(layer.name, member, known, subject.variant)
            if member.kind == "file":
                # What everybody can have from Debian is no secret.
                if not ownership.genuine(member, known):
                    for kind in secrets.kinds(content):
                        yield Finding.of("secret", member.path, kind, layer.name)
                if content.startswith(elf.MAGIC):
                    for check, explanation in elf.weaknesses(content):
                        yield Finding.of(check, member.path, explanation, layer.name)
    yield from _of_links(tree)
    yield from _of_licences(tree, [package.package for package in subject.lock.platforms[subject.platform.name]
                                   if package.file_name.endswith(".deb")])  # fmt: skip
    configuration = json.loads(subject.layout.blob(subject.image.config).read_bytes())
    yield from _of_configuration(subject, configuration.get("config", {}), tree)


def _of_member(layer: str, member: Member) -> Iterator[Finding]:
    mode = int(member.mode, 8)
    if member.kind not in ("file", "directory", "link"):
        yield Finding.of("device", member.path, f"a {member.kind}", layer)
    if mode & (_SETUID | _SETGID) and member.kind != "link":
        yield Finding.of("setuid", member.path, f"mode {member.mode}, owner {member.owner}", layer)
    if mode & _WRITABLE and member.kind != "link":
        yield Finding.of("world-writable", member.path, f"mode {member.mode}", layer)
    if _CAPABILITY in member.headers:
        yield Finding.of("file-capability", member.path, "has security.capability", layer)
    elif member.headers:
        yield Finding.of("extended-attribute", member.path, member.headers, layer)


def _of_owner(layer: str, member: Member, known: Known, variant: Variant) -> Iterator[Finding]:
    if not ownership.allowed(member, known, variant):
        yield Finding.of("unowned-file", member.path, f"a {member.kind} of no package", layer)
    elif member.path in known and not ownership.genuine(member, known) and ANY not in known[member.path]:
        yield Finding.of("altered-file", member.path, f"is {member.content}, not {min(known[member.path])}", layer)


Tree = Mapping[str, tuple[str, Member]]


def _resolved(tree: Tree, path: str) -> str | None:
    """Where `path` leads, links followed; None if to nothing. What is there at run time only leads to itself."""
    for _ in range(_LINKS):
        parts = path.split("/")
        if parts[0] in (*_AT_RUN_TIME, ""):
            return path
        for depth in range(1, len(parts) + 1):
            place = "/".join(parts[:depth])
            if place not in tree:
                return None
            member = tree[place][1]
            if member.kind == "link":
                target = posixpath.join("/", posixpath.dirname(place), member.content, *parts[depth:])
                path = posixpath.normpath(target).lstrip("/")
                break
        else:
            return path
    return None


def _of_links(tree: Tree) -> Iterator[Finding]:
    for path, (layer, member) in tree.items():
        if member.kind == "link" and _resolved(tree, path) is None:
            yield Finding.of("dangling-link", path, f"-> {member.content}", layer)


def _of_licences(tree: Tree, packages: Sequence[str]) -> Iterator[Finding]:
    for package in packages:
        path = f"usr/share/doc/{package}/copyright"
        if _resolved(tree, path) is None:
            yield Finding.of("missing-licence", package, f"there is no {path}")


def _of_configuration(subject: Subject, configuration: Mapping[str, Any], tree: Tree) -> Iterator[Finding]:
    declared = subject.variant.image
    user = f"{declared.user.id}:{declared.user.id}" if declared.user else ""
    if configuration.get("User", "") != user:
        yield Finding.of("user", configuration.get("User", "") or "root", f"the variant declares {user or 'none'}")
    ports = {f"{port}/tcp" for port in declared.ports}
    for port in sorted(ports ^ configuration.get("ExposedPorts", {}).keys()):
        yield Finding.of("ports", port, "not exposed" if port in ports else "exposed, and not declared")
    expected = {"title": None, "description": subject.variant.description,
                "version": subject.lock.version(subject.variant)}  # fmt: skip
    labels = configuration.get("Labels") or {}
    for name, value in expected.items():
        label = f"{_LABELS}.{name}"
        if not labels.get(label) or value not in (None, labels[label]):
            yield Finding.of("labels", label, f"is {labels.get(label)!r}" + (f", not {value!r}" if value else ""))
    for program in (configuration.get("Entrypoint") or [])[:1]:
        place = _resolved(tree, program.lstrip("/"))
        if place is None or not int(tree[place][1].mode, 8) & 0o001:
            yield Finding.of("entrypoint", program, "not a program in the image")
    settings = [*(configuration.get("Env") or []), *(f"{name}={value}" for name, value in labels.items())]
    for setting in settings:
        for kind in secrets.kinds(setting.encode()):
            yield Finding.of("secret", setting.partition("=")[0], f"{kind}, in the configuration")
