"""Documents about images, beside them in registries: OCI referrers, by oras (locked in scripts/tools/).

A referrer is a manifest that names another as its `subject` (image-spec 1.1), so the image stays as it is. Registries
that do not know referrers get what the distribution specification has for them ("Pushing Manifests with Subject"): a
tag `sha256-<digest>` of an index that lists them.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scripts import paths, registry
from scripts.errors import RegistryError


@dataclass(frozen=True)
class Document:
    """A document about an image; `media_type` is also what kind of artifact it is as a referrer (RFC 6838)."""

    file_name: str
    media_type: str
    content: bytes


@dataclass(frozen=True)
class Referrer:
    """A manifest in a registry that refers to another one: its digest, and the kind of artifact it is."""

    digest: str
    kind: str


def attach(repository: str, subject: str, document: Document, epoch: int) -> str:
    """Push `document` as a referrer of the manifest with the digest `subject`; returns the digest of the referrer.

    The manifest must be there (`repository` is HOST[:PORT]/NAME). The same document with the same `epoch` (in seconds
    since 1970) is the same referrer, and is not sent again. Raises RegistryError.
    """
    created = datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    paths.SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="attach-", dir=paths.SCRATCH) as folder:
        (Path(folder) / document.file_name).write_bytes(document.content)
        said = registry.oras(
            f"{repository}@{subject}",
            ["attach", "--format=json", f"--artifact-type={document.media_type}",
             f"--annotation=org.opencontainers.image.created={created}"],
            [f"{document.file_name}:{document.media_type}"],
            folder=Path(folder),
        )  # fmt: skip
    return str(json.loads(said)["digest"])


def attached(repository: str, subject: str) -> tuple[Referrer, ...]:
    """The referrers of a manifest, in the order of their digests. Raises RegistryError."""
    found = json.loads(registry.oras(f"{repository}@{subject}", ["discover", "--format=json"]))["manifests"]
    return tuple(
        sorted((Referrer(each["digest"], each["artifactType"]) for each in found), key=lambda each: each.digest)
    )


def document(repository: str, referrer: Referrer) -> Document:
    """What a referrer carries, if it is one document, as all are that `attach` pushes.

    Raises RegistryError, also if a registry gives something else than what has this digest: oras looks at that.
    """
    manifest = registry.oras(f"{repository}@{referrer.digest}", ["manifest", "fetch"])
    layers = json.loads(manifest)["layers"]
    if len(layers) != 1:
        raise RegistryError(f"{repository}@{referrer.digest} is not one document: it has {len(layers)} of them.")
    name = layers[0].get("annotations", {}).get("org.opencontainers.image.title", "")
    content = registry.oras(f"{repository}@{layers[0]['digest']}", ["blob", "fetch", "--output=-"])
    return Document(name, layers[0]["mediaType"], content)
