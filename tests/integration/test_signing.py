"""Images and documents that are signed in a real registry, by the real cosign, with a key."""

from __future__ import annotations

import httpx
import pytest

from scripts import oci, referrers, registry, signing
from scripts.errors import RegistryError, SigningError
from scripts.oci import Layout
from scripts.referrers import Document
from scripts.signing import Key
from tests import keys
from tests.integration.conftest import Guarded
from tests.peers.registry import Registry

_EPOCH = 1793347681
PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Key, Key]:
    """A key, and somebody else's."""
    one, other = (keys.make(tmp_path_factory.mktemp("keys")) for _ in range(2))
    return one, other


@pytest.fixture
def key(made: tuple[Key, Key], monkeypatch: pytest.MonkeyPatch) -> Key:
    """The key, whose password the environment has."""
    keys.use(made[0], monkeypatch)
    return made[0]


def pushed(small: Layout, repository: str) -> str:
    """Push the image; returns the reference of its index."""
    registry.push_image(small, f"{repository}:1")
    return f"{repository}@{small.index}"


def manifest_of(reference: str) -> tuple[str, httpx.Response]:
    """Where the signatures of `reference` are in a registry without TLS, and the manifest that is there."""
    repository, _, digest = reference.partition("@")
    host, _, name = repository.partition("/")
    address = f"http://{host}/v2/{name}/manifests/{digest.replace(':', '-')}.sig"
    return address, httpx.get(address, headers={"Accept": oci.MANIFEST}).raise_for_status()


def test_what_is_signed_is_not_signed_again(on_loopback: Registry, small: Layout, key: Key) -> None:
    reference = pushed(small, f"{on_loopback.host}/prosody/once")
    with pytest.raises(SigningError, match="no signatures found"):
        signing.check(reference, key)

    def sent() -> int:
        return sum(on_loopback.requests(method, "/prosody/once/") for method in ("POST", "PATCH", "PUT"))

    before = sent()
    assert signing.sign(reference, key)
    signing.check(reference, key)
    after = sent()
    assert after > before
    assert not signing.sign(reference, key)
    assert sent() == after
    assert registry.digest(f"{on_loopback.host}/prosody/once:1") == small.index, "the image is what it was"


def test_all_kinds_of_manifests_are_signed(on_loopback: Registry, small: Layout, key: Key) -> None:
    """An index, the image of a platform, and a document."""
    repository = f"{on_loopback.host}/kinds"
    pushed(small, repository)
    attached = referrers.attach(repository, small.index, Document("a.json", "application/a", b"a"), _EPOCH)
    references = [f"{repository}@{digest}" for digest in (small.index, small.images[0].manifest, attached)]
    for reference in references:
        assert signing.sign(reference, key)
        signing.check(reference, key)
    with pytest.raises(SigningError, match="no signatures found"):
        signing.check(f"{repository}@{small.images[1].manifest}", key)
    assert len(referrers.attached(repository, small.index)) == 1, "signatures are no referrers"


def test_each_signer_has_a_signature_of_its_own(
    on_loopback: Registry, small: Layout, key: Key, made: tuple[Key, Key]
) -> None:
    reference = pushed(small, f"{on_loopback.host}/several")
    other = made[1]
    assert signing.sign(reference, other)
    with pytest.raises(SigningError, match=f"no valid signature of the key {key.path}"):
        signing.check(reference, key)
    assert signing.sign(reference, key)
    for by in made:
        signing.check(reference, by)
        assert not signing.sign(reference, by)
    _, manifest = manifest_of(reference)
    assert [layer["mediaType"] for layer in manifest.json()["layers"]] == [PAYLOAD] * 2


def test_a_signature_of_another_image_is_none(on_loopback: Registry, small: Layout, key: Key) -> None:
    """Though it is a valid one of this signer."""
    repository = f"{on_loopback.host}/moved"
    signed = pushed(small, repository)
    other = f"{repository}@{small.images[0].manifest}"
    signing.sign(signed, key)
    signing.sign(other, key)
    _, manifest = manifest_of(signed)
    address, _ = manifest_of(other)
    httpx.put(address, content=manifest.content, headers={"Content-Type": oci.MANIFEST}).raise_for_status()
    with pytest.raises(SigningError, match="no matching signatures"):
        signing.check(other, key)
    assert signing.sign(other, key)
    signing.check(other, key)


def test_an_altered_signature_is_none_and_is_told_when_signing_does_not_mend_it(
    on_loopback: Registry, small: Layout, key: Key
) -> None:
    reference = pushed(small, f"{on_loopback.host}/altered")
    signing.sign(reference, key)
    _, manifest = manifest_of(reference)
    (layer,) = manifest.json()["layers"]
    on_loopback.spoil(layer["digest"].removeprefix("sha256:"))
    for call in (signing.check, signing.sign):  # the registry has a blob of this name, and takes no other
        with pytest.raises(SigningError, match="error verifying sha256 checksum"):
            call(reference, key)


def test_what_cannot_be_had_is_told_as_ever(on_loopback: Registry, small: Layout, key: Key) -> None:
    for call in (signing.check, signing.sign):
        with pytest.raises(RegistryError, match="is not there"):
            call(f"{on_loopback.host}/nothing@{small.index}", key)
        with pytest.raises(RegistryError, match="cannot be reached"):
            call(f"127.0.0.1:9/nothing@{small.index}", key)
        # cosign itself would do without TLS in a private network.
        with pytest.raises(RegistryError, match="TLS"):
            call(f"{on_loopback.peer.address}:5000/nothing@{small.index}", key)


def test_a_key_that_cannot_be_used_signs_nothing(
    on_loopback: Registry, small: Layout, key: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = pushed(small, f"{on_loopback.host}/locked")
    monkeypatch.setenv("COSIGN_PASSWORD", "wrong")
    with pytest.raises(SigningError, match="Is its password in COSIGN_PASSWORD"):
        signing.sign(reference, key)
    with pytest.raises(httpx.HTTPStatusError):
        manifest_of(reference)


def test_a_registry_with_tls_wants_a_name_and_a_password(guarded: Guarded, small: Layout, key: Key) -> None:
    repository = f"{guarded.registry.host}/prosody"
    reference = f"{repository}@{small.index}"
    guarded.admit(lambda: signing.sign(reference, key))
    pushed(small, repository)
    assert signing.sign(reference, key)
    assert not signing.sign(reference, key)
    # An authority of this registry alone, as Docker has it.
    guarded.patch.delenv("SSL_CERT_FILE")
    folder = guarded.folder / "certs.d" / guarded.registry.host
    folder.mkdir(parents=True)
    (folder / "ca.crt").write_bytes(guarded.authority.root)
    guarded.patch.setattr(registry, "digest", lambda _reference: small.index)  # skopeo looks in /etc/docker only
    with pytest.raises(RegistryError, match="HTTP request to an HTTPS server"):
        signing.check(reference, key)
    guarded.patch.setattr(registry, "_AUTHORITIES", guarded.folder / "certs.d")
    signing.check(reference, key)
