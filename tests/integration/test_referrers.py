"""Documents beside an image in a real registry, which does not know referrers: by the tag that stands in for them."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from scripts import build, oci, provenance, referrers, registry, sbom
from scripts.errors import RegistryError
from scripts.oci import Layout
from scripts.referrers import Document, Referrer
from tests.integration.conftest import Guarded
from tests.peers.registry import Registry

_EPOCH = 1793347681
DOCUMENT = Document("a.json", "application/vnd.example+json", b'{"a": 1}\n')


@pytest.fixture(scope="module")
def layout(small: Layout) -> Layout:
    """What documents are about."""
    return small


def pushed(layout: Layout, repository: str) -> str:
    """Push the image; returns `repository`."""
    registry.push_image(layout, f"{repository}:1")
    return repository


def test_an_image_of_several_platforms_goes_there_and_back(
    on_loopback: Registry, layout: Layout, tmp_path: Path
) -> None:
    repository = pushed(layout, f"{on_loopback.host}/prosody/image")
    for number, reference in enumerate((f"{repository}:1", f"{repository}@{layout.index}")):
        assert registry.digest(reference) == layout.index
        pulled = registry.pull_image(reference, tmp_path / str(number))
        assert (pulled.index, pulled.images) == (layout.index, layout.images)
    uploads = on_loopback.requests("POST", "/prosody/image/")
    pushed(layout, repository)
    assert on_loopback.requests("POST", "/prosody/image/") == uploads, "what is there is not sent again"


def test_documents_come_back_as_they_were(on_loopback: Registry, layout: Layout) -> None:
    repository = pushed(layout, f"{on_loopback.host}/prosody/debian")
    recipe = build.recipe("debian")
    statement = provenance.statement(recipe, layout, provenance.LOCAL)
    bills = [
        Document("image.cdx.json", sbom.CYCLONEDX, b"a bill"),
        Document("image.spdx.json", sbom.SPDX, b"the same in another form"),
    ]
    manifest = layout.images[0].manifest
    digests = {referrers.attach(repository, manifest, document, _EPOCH): document for document in bills}
    of_the_index = referrers.attach(repository, layout.index, statement, _EPOCH)
    found = referrers.attached(repository, manifest)
    assert {referrer.digest: referrers.document(repository, referrer) for referrer in found} == digests
    assert {referrer.kind for referrer in found} == {sbom.CYCLONEDX, sbom.SPDX}
    (referrer,) = referrers.attached(repository, layout.index)
    assert referrer == Referrer(of_the_index, provenance.STATEMENT)
    assert referrers.document(repository, referrer) == statement
    assert referrers.attached(repository, layout.images[1].manifest) == ()
    assert registry.digest(f"{repository}:1") == layout.index, "the image is what it was"


def test_the_tag_that_stands_in_is_an_index_as_the_specification_says(on_loopback: Registry, layout: Layout) -> None:
    """Written here, because this registry answers 404 where others list referrers."""
    repository = pushed(layout, f"{on_loopback.host}/tagged")
    digest = referrers.attach(repository, layout.index, DOCUMENT, _EPOCH)
    host, _, name = repository.partition("/")
    tag = layout.index.replace(":", "-")
    kind = "application/vnd.oci.image.index.v1+json"
    index = httpx.get(f"http://{host}/v2/{name}/manifests/{tag}", headers={"Accept": kind}).raise_for_status().json()
    assert index["mediaType"] == kind
    (entry,) = index["manifests"]
    assert (entry["digest"], entry["artifactType"]) == (digest, DOCUMENT.media_type)
    manifest = httpx.get(f"http://{host}/v2/{name}/manifests/{digest}", headers={"Accept": oci.MANIFEST}).json()
    assert manifest["subject"]["digest"] == layout.index
    assert manifest["artifactType"] == manifest["layers"][0]["mediaType"] == DOCUMENT.media_type
    assert manifest["annotations"] == {"org.opencontainers.image.created": "2026-10-30T08:08:01Z"}, "it has no clock"
    assert httpx.get(f"http://{host}/v2/{name}/referrers/{layout.index}").status_code == httpx.codes.NOT_FOUND


def test_what_is_attached_already_is_not_sent_again(on_loopback: Registry, layout: Layout) -> None:
    repository = pushed(layout, f"{on_loopback.host}/twice")
    first = referrers.attach(repository, layout.index, DOCUMENT, _EPOCH)
    other = referrers.attach(repository, layout.index, Document("b.json", "application/b", b"other"), _EPOCH)

    def sent() -> int:
        return on_loopback.requests("PUT", "/twice/")

    before = sent()
    assert referrers.attach(repository, layout.index, DOCUMENT, _EPOCH) == first
    assert {referrer.digest for referrer in referrers.attached(repository, layout.index)} == {first, other}
    assert sent() == before


def test_an_altered_document_is_refused(on_loopback: Registry, layout: Layout) -> None:
    repository = pushed(layout, f"{on_loopback.host}/altered")
    document = Document("a.json", "application/a", b"to be altered")
    referrers.attach(repository, layout.index, document, _EPOCH)
    on_loopback.spoil(oci.digest_of(document.content).removeprefix("sha256:"))
    (referrer,) = referrers.attached(repository, layout.index)
    with pytest.raises(RegistryError, match="other bytes than its digest says"):
        referrers.document(repository, referrer)


def test_nothing_is_attached_to_what_is_not_there(on_loopback: Registry, layout: Layout) -> None:
    with pytest.raises(RegistryError, match="is not there"):
        referrers.attach(f"{on_loopback.host}/nothing", layout.index, DOCUMENT, _EPOCH)
    with pytest.raises(RegistryError, match="cannot be reached"):
        referrers.attached("127.0.0.1:9/nothing", layout.index)


def test_a_registry_with_tls_wants_a_name_and_a_password(guarded: Guarded, layout: Layout) -> None:
    repository = f"{guarded.registry.host}/prosody"
    guarded.admit(lambda: referrers.attach(repository, layout.index, DOCUMENT, _EPOCH))
    digest = referrers.attach(pushed(layout, repository), layout.index, DOCUMENT, _EPOCH)
    assert referrers.attached(repository, layout.index) == (Referrer(digest, DOCUMENT.media_type),)
