"""A release from its first command to its last: made of a commit, refused for every reason, and tried out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from scripts import digests, lock, oci, publish, referrers, registry, sbom, signing, variants
from scripts.engine import Engine
from scripts.errors import AbsentError, ReleaseError
from scripts.oci import Image, Layout
from tests import keys
from tests.integration import checkouts
from tests.integration.checkouts import Checkout
from tests.integration.conftest import Images
from tests.peers.registry import Registry

VARIANT = "hardened"  # the smallest
RELEASE = "2026.11.26"
# As the sessions do when they end well.
_RECORD = """
import sys
from scripts import oci, paths, records
layout = oci.load(paths.DIST / sys.argv[1])
manifests = {image.platform: image.manifest for image in layout.images}
for check in records.CHECKS:
    assert records.begin(check, sys.argv[1], list(manifests)).passed(manifests, passed=1)
"""


@dataclass(frozen=True)
class Maintainer:
    """Somebody with a checkout of a commit, a key, and a repository of a registry."""

    checkout: Checkout
    repository: str
    environment: dict[str, str]

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
        subprocess.run(["git", *identity, *arguments], cwd=self.checkout.root, check=True, capture_output=True)

    def python(self, *arguments: str, **more: str) -> tuple[int, str]:
        """Status and output of a command of the build system."""
        done = self.checkout.run(sys.executable, *arguments, environment=self.environment | more)
        return done.returncode, done.stdout

    def release(self, *options: str, **more: str) -> tuple[int, str]:
        """Status and output of the release."""
        return self.python("-m", "scripts.release", "--registry", self.repository, *options, VARIANT, **more)

    def digest(self, tag: str) -> str | None:
        """What a tag names."""
        try:
            return registry.digest(f"{self.repository}:{tag}")
        except AbsentError:
            return None


@pytest.fixture(scope="module")
def layout(images: Images) -> Layout:
    """The variant, for the platforms that the other tests use."""
    return images.layout(VARIANT)


@pytest.fixture
def maintainer(
    tool: Engine, images: Images, layout: Layout, on_loopback: Registry, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Maintainer]:
    """Has committed a variant for these platforms alone, and built nothing yet."""
    with checkouts.scratch("release") as folder:
        recipe = images.recipe(VARIANT)
        checkout = checkouts.copy(folder / "checkout", recipe, tool)
        names = [image.platform.name for image in layout.images]
        with (checkout.root / "variants" / f"{VARIANT}.yaml").open("a") as stream:
            stream.write(f"\nplatforms: [{', '.join(names)}]\n")
        locked = replace(
            recipe.lock,
            platforms={name: recipe.lock.platforms[name] for name in names},
            inputs=lock.inputs(variants.load(VARIANT, checkout.root / "variants")),
        )
        own = checkout.root / "images" / VARIANT
        (own / "lock.json").write_text(lock.dump(locked))
        (own / "digests.json").write_text(digests.dump(layout))
        expanded = checkout.run(sys.executable, "-m", "scripts.dockerfile", VARIANT)
        assert expanded.returncode == 0, expanded.stdout
        key = keys.make(folder / "key")
        keys.use(key, monkeypatch)
        made = Maintainer(checkout, f"{on_loopback.host}/{folder.name}", {"COSIGN_KEY": str(key.path)})
        made.git("init", "-q")
        made.git("add", "--all")
        made.git("commit", "-q", "-m", "all")
        yield made


def test_what_was_verified_scanned_and_tested_is_released(maintainer: Maintainer, layout: Layout) -> None:
    root = maintainer.checkout.root
    assert maintainer.release(COSIGN_KEY="")[0] == 24, "nobody signs"
    assert maintainer.release(COSIGN_PASSWORD="wrong")[0] == 24
    status, said = maintainer.release()
    assert (status, "git tag 20" in said) == (2, True), said
    maintainer.git("tag", RELEASE)
    status, said = maintainer.release()
    assert (status, f"build -- {VARIANT} --platform all" in said) == (16, True), said
    oci.unite([(layout, image) for image in layout.images], root / "dist" / VARIANT)
    released(maintainer, layout)


def released(maintainer: Maintainer, layout: Layout) -> None:
    """What happens once the images are there."""
    status, said = maintainer.release("--dry-run")
    assert status == 25, said
    for check in ("verify", "scan", "integration"):
        assert f"scripts/nox -s {check} -- {VARIANT}" in said
    status, said = maintainer.python("-c", _RECORD, VARIANT)
    assert status == 0, said
    (maintainer.checkout.root / "README.md").open("a").write("changed")
    status, said = maintainer.release()
    assert (status, "README.md" in said) == (25, True), said
    maintainer.git("checkout", "README.md")
    tags = [f"13.0.6-{VARIANT}-{RELEASE}", f"13.0.6-{VARIANT}", f"13.0-{VARIANT}", VARIANT]
    status, said = maintainer.release("--dry-run")
    assert (status, [tag for tag in tags if tag not in said]) == (0, []), said
    assert {maintainer.digest(tag) for tag in tags} == {None}
    status, said = maintainer.release()
    assert status == 0, said
    assert {maintainer.digest(tag) for tag in tags} == {layout.index}
    of_the_index = referrers.attached(maintainer.repository, layout.index)
    documents = [referrers.document(maintainer.repository, referrer) for referrer in of_the_index]
    names = {document.file_name for document in documents}
    assert names >= {f"prosody-{VARIANT}.intoto.json", f"{VARIANT}.scan.intoto.json", f"{VARIANT}.verify.intoto.json"}
    for image in layout.images:
        kinds = {referrer.kind for referrer in referrers.attached(maintainer.repository, image.manifest)}
        assert kinds == {sbom.CYCLONEDX, sbom.SPDX}
    signing.check(f"{maintainer.repository}:{VARIANT}", signing.signer())
    notes = (maintainer.checkout.root / "dist" / "release" / "notes.md").read_text()
    assert layout.index in notes
    assert f"```sh\ncosign verify --key=cosign.pub --insecure-ignore-tlog=true {maintainer.repository}@" in notes
    status, said = maintainer.release("--dry-run")
    assert status == 0, f"a release that is repeated is refused: {said}"


def with_another_program(layout: Layout, image: Image, *arguments: str) -> Image:
    """The image, but for the program that it starts; its blobs are put into `layout`."""

    def add(value: object) -> tuple[str, int]:
        content = oci.canonical(value)
        digest = oci.digest_of(content)
        layout.blob(digest).write_bytes(content)
        return digest, len(content)

    configuration = json.loads(layout.blob(image.config).read_bytes())
    configuration["config"]["Entrypoint"] = ["/usr/bin/lua5.4", *arguments]
    config, size = add(configuration)
    manifest = json.loads(layout.blob(image.manifest).read_bytes())
    manifest["config"] |= {"digest": config, "size": size}
    return replace(image, config=config, manifest=add(manifest)[0])


def test_an_image_that_does_not_work_is_noticed(layout: Layout, images: Images) -> None:
    """The control of trying out."""
    (native,) = (image for image in layout.images if image.platform == images.targets[0])
    with checkouts.scratch("broken") as folder:
        good = oci.unite([(layout, native)], folder / "good" / VARIANT)
        publish.try_out([VARIANT], folder / "good")
        oci.unite([(good, with_another_program(good, native, "-v"))], folder / "bad" / VARIANT)
        with pytest.raises(ReleaseError, match="does not work"):
            publish.try_out([VARIANT], folder / "bad")
