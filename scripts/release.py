"""Release images: exactly the bytes in dist/ that were verified, scanned and tested, to any number of registries.

    python -m scripts.release --registry REPOSITORY [--registry ...] [--dry-run] [NAME ...]

Nothing is built. What a release is called is the Git tag of this commit: a date, such as 2026.11.26. Whatever ended a
release before its end: the same command again finishes it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts import (
    build,
    digests,
    errors,
    lock,
    notes,
    oci,
    paths,
    provenance,
    publish,
    records,
    registry,
    sbom,
    scan,
    signing,
)
from scripts.build import Recipe
from scripts.console import console, mebibytes, step_progress, table
from scripts.errors import BuildError, RecordError, UsageError
from scripts.oci import Layout
from scripts.publish import Attachment, Edition, Plan
from scripts.referrers import Document
from scripts.scanners import vex
from scripts.signing import Key, Signer

FOLDER = paths.DIST / "release"


@dataclass(frozen=True)
class Tags:
    """What an image is called in a repository: tags that never name another, and tags that move."""

    fixed: tuple[str, ...]
    moving: tuple[str, ...]


def tags(recipe: Recipe, name: str) -> Tags:
    """The tags of a variant in the release `name`. Raises UsageError if it names none."""
    words = {
        "variant": recipe.variant.name,
        "version": recipe.version_tag,
        "series": ".".join(recipe.version_tag.split(".")[:2]),
        "release": name,
    }
    found: dict[str, list[str]] = {"fixed": [], "moves": []}
    for template, kind in recipe.variant.tags.items():
        found[kind].append(template.format_map(words))
    if not recipe.variant.tags:
        raise UsageError(f"Variant {recipe.variant.name!r} has no `tags`, so nobody could find it in a registry.")
    return Tags(tuple(found["fixed"]), tuple(found["moves"]))


def built(name: str) -> Layout:
    """What was built of a variant: all platforms, as committed. Raises BuildError and DigestError."""
    folder = paths.DIST / name
    if not (folder / "index.json").is_file():
        raise BuildError(
            f"{folder} is not there. Build all platforms with: scripts/nox -s build -- {name} --platform all"
        )
    found = oci.load(folder)
    digests.compare(name, digests.committed(name), found, everything=True)
    return found


def attachments(recipe: Recipe, found: Layout, vouching: Sequence[Path]) -> tuple[Attachment, ...]:
    """The documents about an image: bills of materials, provenance, what scans do not hold against it, and records."""
    variant = recipe.variant
    recipe.lock.fetch([image.platform for image in found.images], label=f"packages of {variant.name}")
    attached = []
    with step_progress() as progress:
        task = progress.add_task(f"Describing {variant.name}", total=len(found.images))
        for image in found.images:
            bills = sbom.documents(sbom.bill(variant, recipe.lock, image.platform))
            attached += [Attachment(image.manifest, document) for document in bills]
            progress.advance(task)
    whole = [provenance.statement(recipe, found, provenance.builder())]
    exceptions = scan.FOLDER / f"{variant.name}.openvex.json"
    if exceptions.is_file():
        whole.append(Document(exceptions.name, vex.MEDIA_TYPE, exceptions.read_bytes()))
    whole += [Document(path.name, provenance.STATEMENT, path.read_bytes()) for path in vouching]
    return (*attached, *(Attachment(found.index, document) for document in whole))


def edition(recipe: Recipe, found: Layout, named: Tags, vouching: Sequence[Path], last: bool) -> Edition:
    """An image as it is released, with the records that vouch for it; `last` if no later release is known."""
    documents = attachments(recipe, found, vouching)
    return Edition(recipe.variant.name, found, recipe.lock.epoch, documents, named.fixed, named.moving, last)


def vouchers(layouts: Mapping[str, Layout], by: Signer) -> dict[str, Sequence[Path]]:
    """The records of each variant. Raises RecordError with all that was not verified, scanned and tested."""
    found: dict[str, Sequence[Path]] = {}
    missing = []
    for name, layout in layouts.items():
        try:
            found[name] = records.require(name, layout, by, datetime.now(UTC))
        except RecordError as error:
            missing.append(str(error))
    if missing:
        raise RecordError("\n".join(missing))
    return found


def distinct(named: Mapping[str, Tags]) -> None:
    """Raise UsageError if two variants would have the same tag."""
    owners: dict[str, str] = {}
    for name, found in named.items():
        for tag in (*found.fixed, *found.moving):
            if tag in owners:
                raise UsageError(
                    f"{owners[tag]} and {name} would both be tagged {tag!r}. Take it from one of them, under `tags` in"
                    f" its variant file: null removes what a parent has."
                )
            owners[tag] = name


def send(plans: Sequence[Plan], by: Signer) -> None:
    """Send everything everywhere, have it back, and try it out; only then have tags name it.

    Raises RegistryError, SigningError and ReleaseError; unless it was setting tags that failed, all are what they were.
    """
    for repository in dict.fromkeys(found.repository for found in plans):
        _send_to(repository, [found for found in plans if found.repository == repository], by)
    for found in plans:
        publish.finish(found)


def _send_to(repository: str, plans: Sequence[Plan], by: Signer) -> None:
    paths.SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="release-", dir=paths.SCRATCH) as scratch:
        with step_progress() as progress:
            task = progress.add_task(repository, total=sum(publish.steps(found) for found in plans))

            def advance(what: str) -> None:
                progress.update(task, advance=1, description=f"{repository}: {what}")

            for found in plans:
                publish.send(found, by, advance)
                publish.check(found, by, Path(scratch) / found.edition.name, advance)
        publish.try_out([found.edition.name for found in plans], Path(scratch))


def report(plans: Sequence[Plan], seconds: float) -> None:
    """Print where everything is, a tag a line."""
    rows = table("Release", "repository", "tag", "size", "index digest", numeric=frozenset({"size"}))
    for found in plans:
        size = mebibytes(sum(image.size for image in found.edition.layout.images))
        cells = [found.repository, size, found.edition.layout.index]
        for tag in (*found.edition.fixed, *found.edition.moving):
            rows.add_row(cells[0], f"{tag} (left alone)" if tag in found.kept else tag, *cells[1:])
            cells = [""] * 3
    console.print(rows)
    if any(found.kept for found in plans):
        console.print("Tags are left alone where they name a newer image.")
    documents = sum(len(found.edition.attachments) for found in plans)
    console.print(f"{len(plans)} images and {documents} documents in {seconds:.0f} s")


def main(arguments: Sequence[str]) -> None:
    """Command line of this module."""
    parser = argparse.ArgumentParser(prog="nox -s release --", description="Release images that were built and tested.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="variant (default: all that are locked)")
    parser.add_argument(
        "--registry", action="append", required=True, metavar="REPOSITORY",
        help="where to: HOST[:PORT]/NAME; may be repeated, or be one text with blanks",
    )  # fmt: skip
    parser.add_argument("--dry-run", action="store_true", help="send nothing, but say what would be done")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    targets = repositories(options.registry)
    by = signing.signer()
    if isinstance(by, Key):
        signing.public_key(by)  # or each record would be told to be no good
    name = notes.current()
    if name is None and not options.dry_run:
        raise UsageError(
            "This commit is not tagged as a release. A release is called by its date, so tag it with:"
            f" git tag {notes.by_date()}"
        )
    called = name or notes.by_date()
    recipes = [build.recipe(name) for name in options.names or lock.chosen_by_default(paths.VARIANTS)]
    named = {recipe.variant.name: tags(recipe, called) for recipe in recipes}
    distinct(named)
    layouts = {recipe.variant.name: built(recipe.variant.name) for recipe in recipes}
    vouching = vouchers(layouts, by)
    last = notes.is_last(called)
    editions = [
        edition(recipe, layouts[variant], named[variant], vouching[variant], last)
        for recipe in recipes
        for variant in [recipe.variant.name]
    ]
    plans = [publish.plan(found, repository) for repository in targets for found in editions]
    write_notes(recipes, plans, by)  # first, as it can fail
    if not options.dry_run:
        send(plans, by)
    report(plans, time.monotonic() - start)
    if options.dry_run:
        console.print("Nothing was sent.")


def repositories(texts: Sequence[str]) -> list[str]:
    """The repositories that the command line names. Raises UsageError if one is none.

    On GitHub names may have capitals, in registries they have none.
    """
    found = list(dict.fromkeys(" ".join(texts).lower().split()))
    for repository in found:
        name = repository.partition("/")[2]
        if not registry.is_reference(repository) or ":" in name or "@" in name:
            raise UsageError(f"{repository} is no repository: HOST[:PORT]/NAME, without a tag.")
    if not found:
        raise UsageError("--registry REPOSITORY is empty: HOST[:PORT]/NAME, such as ghcr.io/you/prosody.")
    return found


def write_notes(recipes: Sequence[Recipe], plans: Sequence[Plan], by: Signer) -> None:
    """Write dist/release/notes.md."""
    first = [found for found in plans if found.repository == plans[0].repository]
    named = {
        found.edition.name: [tag for tag in (*found.edition.fixed, *found.edition.moving) if tag not in found.kept]
        for found in first
    }
    layouts = {found.edition.name: found.edition.layout for found in first}
    commands = "\n".join(signing.commands(found.reference, by) for found in first)
    verification = f"These verify their signatures:\n\n```sh\n{commands}\n```"
    text = notes.notes(recipes, layouts, named, notes.previous(), verification)
    paths.write_text(FOLDER / "notes.md", text)
    console.print(f"{(FOLDER / 'notes.md').relative_to(paths.ROOT)}: written")


if __name__ == "__main__":
    errors.run(main)
