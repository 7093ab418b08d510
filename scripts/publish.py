"""An image with all that belongs to it -> a registry, where it is looked at again before any tag names it.

Everything goes there by digest. What is there already is not sent, signed or moved again, so a publication that was
interrupted is finished by doing it again; until its end all tags name what they named before.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from scripts import paths, referrers, registry, signing
from scripts.errors import AbsentError, ReleaseError
from scripts.oci import Layout
from scripts.referrers import Document
from scripts.signing import Signer

_AT_ONCE = 4
_Thing = TypeVar("_Thing")
# The image works, seen by clients: they log in over verified TLS, and talk.
_SMOKE = "tests/integration/test_messages.py"


@dataclass(frozen=True)
class Attachment:
    """A document about the manifest, or the index, that has the digest `subject`."""

    subject: str
    document: Document


@dataclass(frozen=True)
class Edition:
    """An image as it is released: `layout` of all platforms, documents about it, and what it is called.

    `fixed` tags never come to name something else, `moving` ones go to each newer image. `epoch` (seconds since 1970)
    tells which of two is newer; where it is the same, as of images with the same packages, one of the `last` release
    is.
    """

    name: str
    layout: Layout
    epoch: int
    attachments: tuple[Attachment, ...]
    fixed: tuple[str, ...]
    moving: tuple[str, ...]
    last: bool = True


@dataclass(frozen=True)
class Plan:
    """What is to be done in a repository (`HOST[:PORT]/NAME`): tags to be set, and tags that are left alone."""

    edition: Edition
    repository: str
    tags: tuple[str, ...]
    kept: tuple[str, ...]

    @property
    def reference(self) -> str:
        """The image there, by digest."""
        return f"{self.repository}@{self.edition.layout.index}"


def plan(edition: Edition, repository: str) -> Plan:
    """What is to be done; nothing is done yet.

    A moving tag stays where it names a newer image, as when an old release is published again. Raises ReleaseError if
    a fixed tag names another image, RegistryError if the repository cannot be asked.
    """
    wrong, wanted, kept = [], [], []
    for tag in (*edition.fixed, *edition.moving):
        there = _digest(f"{repository}:{tag}")
        if there == edition.layout.index:
            continue
        if there is not None and tag in edition.fixed:
            wrong.append(f"  {repository}:{tag} is {there}, not {edition.layout.index}")
        elif there is not None and _is_newer(f"{repository}@{there}", edition):
            kept.append(tag)
        else:
            wanted.append(tag)
    if wrong:
        lines = "\n".join(wrong)
        raise ReleaseError(
            f"A fixed tag names another image already, and will go on to do so:\n{lines}\n"
            "Give this release another name, with a number behind the date: git tag 2026.11.26.1"
        )
    return Plan(edition, repository, tuple(wanted), tuple(kept))


def _is_newer(reference: str, edition: Edition) -> bool:
    created = registry.created(reference)
    return created > edition.epoch or (created == edition.epoch and not edition.last)


def steps(found: Plan) -> int:
    """How often `send` and `check` tell that a step is done."""
    return 3 + 3 * len(found.edition.attachments)


def send(found: Plan, by: Signer, advance: Callable[[str], None] = lambda _what: None) -> None:
    """Push, attach and sign; `advance` is told each step that is done. Raises RegistryError and SigningError."""
    edition = found.edition
    named = [edition.layout.index, *(image.manifest for image in edition.layout.images)]
    if any(_digest(f"{found.repository}@{digest}") is None for digest in named):
        registry.push_image(edition.layout, found.reference)
    advance(f"{edition.name} pushed")
    references = [found.reference]
    for attachment in edition.attachments:  # one after another: they have a blob in common, and a tag by subject
        digest = referrers.attach(found.repository, attachment.subject, attachment.document, edition.epoch)
        references.append(f"{found.repository}@{digest}")
        advance(f"{attachment.document.file_name} attached")

    def sign(reference: str) -> None:
        signing.sign(reference, by)
        advance(f"{reference} signed")

    _each(sign, references)


def check(found: Plan, by: Signer, folder: Path, advance: Callable[[str], None] = lambda _what: None) -> None:
    """Have everything back, by digest, and compare it; the image is in `folder` then.

    Raises ReleaseError if something else comes back, RegistryError and SigningError.
    """
    edition = found.edition
    signing.check(found.reference, by)
    back = registry.pull_image(found.reference, folder)
    if (back.index, back.images) != (edition.layout.index, edition.layout.images):
        raise ReleaseError(f"{found.reference} came back as something else: {back.index}.")
    advance(f"{edition.name} came back")

    def compare(subject: str, documents: Sequence[Document]) -> None:
        kinds = {document.media_type for document in documents}
        there = {
            referrers.document(found.repository, referrer): referrer.digest
            for referrer in referrers.attached(found.repository, subject)
            if referrer.kind in kinds
        }
        for document in documents:
            if document not in there:
                raise ReleaseError(f"{found.repository}@{subject} came back without {document.file_name}.")
            signing.check(f"{found.repository}@{there[document]}", by)
            advance(f"{document.file_name} checked")

    documents: dict[str, list[Document]] = {}
    for attachment in edition.attachments:
        documents.setdefault(attachment.subject, []).append(attachment.document)
    _each(lambda one: compare(*one), documents.items())


def _each(work: Callable[[_Thing], None], things: Iterable[_Thing]) -> None:
    """Call `work` with each of `things`, with several at once: registries take their time. Raises what it raises."""
    with ThreadPoolExecutor(_AT_ONCE) as executor:
        running = [executor.submit(work, one) for one in things]
        try:
            for one in running:
                one.result()
        except BaseException:
            executor.shutdown(cancel_futures=True)
            raise


def try_out(names: Sequence[str], layouts: Path) -> None:
    """Run servers of images that came back, on this machine's platform, with clients.

    `layouts` has a folder for each of `names`. Raises ReleaseError if a test fails.
    """
    command = [
        sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", _SMOKE,
        f"--layouts={layouts}", *(f"--variant={name}" for name in names),
    ]  # fmt: skip
    if subprocess.run(command, cwd=paths.ROOT, check=False).returncode != 0:
        raise ReleaseError("What came back does not work, for the reason above. No tag names it.")


def finish(found: Plan) -> None:
    """Have the tags name the image. Raises RegistryError, and ReleaseError if a fixed one was taken meanwhile."""
    tags = plan(found.edition, found.repository).tags
    if tags:
        registry.tag(found.reference, tags)


def _digest(reference: str) -> str | None:
    try:
        return registry.digest(reference)
    except AbsentError:
        return None
