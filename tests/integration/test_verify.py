"""Images that are rebuilt and compared: what is the same is said to be, and what is not is named."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from scripts import build, contents, digests, dockerfile, inventory, lock, oci, paths, platforms, registry, verify
from scripts.build import Recipe
from scripts.differences import Difference
from scripts.engine import Engine
from scripts.errors import BuildError
from scripts.oci import Layout
from scripts.verify import Expected
from tests.integration import tampering
from tests.integration.conftest import Images
from tests.peers.registry import Registry

NATIVE = platforms.native()
PACKAGE, FILE = "prosody", "usr/lib/prosody/util/jid.lua"


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """An empty folder on the same file system as the builds."""
    folder = paths.SCRATCH / "test" / "verify"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def tampered(recipe: Recipe, layout: Layout, tool: Engine, scratch: Path) -> Layout:
    """An image for this machine's platform that differs by one bit of one file."""
    del layout  # its packages are fetched
    locked = tampering.tamper(recipe.lock, NATIVE, PACKAGE, FILE)
    path = scratch / "Dockerfile"
    path.write_text(dockerfile.expand(recipe.variant, locked))
    changed = dataclasses.replace(recipe, lock=locked, dockerfile=path)
    return build.build(changed, [NATIVE], tool, folder=scratch / "tampered")


def committed(recipe: Recipe) -> Expected:
    found = digests.load(recipe.variant.name)
    assert found is not None
    return Expected(found)


@pytest.mark.parametrize("variant", lock.locked_names())
def test_the_list_of_files_is_of_the_image(variant: str, images: Images) -> None:
    """As the digests are: it is written with them."""
    recipe, layout = images.recipe(variant), images.layout(variant)
    for image in layout.images:
        found = contents.members(layout, image.platform)
        listed = contents.load(variant, image.platform, recipe.lock.epoch)
        assert {name: sorted(inside, key=lambda one: one.path) for name, inside in found.items()} == {
            name: list(inside) for name, inside in listed.items()
        }
        assert verify.verdict(recipe, layout, image, committed(recipe)).differences == ()


def places(differences: Iterable[Difference]) -> list[tuple[str, str, str]]:
    return [(difference.layer, difference.path, difference.attribute) for difference in differences]


def tampered_places(recipe: Recipe) -> list[tuple[str, str, str]]:
    """The file, and the bill inside the image, which has the hash of the file's package."""
    return [("prosody", FILE, "content"), ("bill", inventory.path_of_bill(recipe.variant), "content")]


def test_one_bit_of_one_file_is_named(recipe: Recipe, tampered: Layout) -> None:
    """Though every hash in the lock was changed with it, and the published image is not at hand."""
    differences = verify.verdict(recipe, tampered, tampered.images[0], committed(recipe)).differences
    assert places(differences) == tampered_places(recipe)
    assert all(difference.expected != difference.found for difference in differences)


def test_a_published_image_is_compared_attribute_by_attribute(
    recipe: Recipe, layout: Layout, tampered: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    """With what was published at hand, both can be looked into."""
    expected = Expected(digests.Digests(layout.index, layout.images), layout)
    found = verify.verdict(recipe, tampered, tampered.images[0], expected)
    assert places(found.differences) == tampered_places(recipe)

    verify.keep(found, tampered, expected)
    folder = paths.DIST / "verify" / "debian" / NATIVE.tag
    files = [folder / side / "prosody.tar" for side in ("expected", "rebuilt")]
    assert f"diffoscope {' '.join(str(file.relative_to(paths.ROOT)) for file in files)}" in capfd.readouterr().err
    one, other = (file.read_bytes() for file in files)
    assert sum((a ^ b).bit_count() for a, b in zip(one, other, strict=True)) == 1


def test_a_published_image_is_brought_from_its_registry(
    on_loopback: Registry, recipe: Recipe, layout: Layout, scratch: Path
) -> None:
    reference = f"{on_loopback.host}/prosody:debian"
    registry.push_image(layout, reference)
    expected = verify.expectation(recipe, reference, scratch / "published")
    assert expected.digests == digests.Digests(layout.index, layout.images)
    for image in layout.images:
        assert verify.verdict(recipe, layout, image, expected).differences == ()


def test_a_layer_that_was_not_published_is_named_and_kept(
    recipe: Recipe, layout: Layout, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wherever it stands among the others."""
    image = layout.images[0]
    lowest, *rest = image.layers
    before = dataclasses.replace(image, manifest="sha256:other", layers=tuple(rest))
    published = dataclasses.replace(layout, images=(before, *layout.images[1:]))
    expected = Expected(digests.Digests(layout.index, published.images), published)
    found = verify.verdict(recipe, layout, image, expected)
    assert found.differences == (Difference(lowest.name, "", "layer", "-", "there"),)
    verify.keep(found, layout, expected)
    assert f"tar tvf dist/verify/debian/{NATIVE.tag}/rebuilt/{lowest.name}.tar" in capfd.readouterr().err


def rewritten(layout: Layout, folder: Path, change: Callable[[dict[str, object]], None]) -> Layout:
    """The layout with another configuration of its first image, all digests true."""
    image = layout.images[0]
    configuration = json.loads(layout.blob(image.config).read_bytes())
    change(configuration)
    shutil.copytree(layout.folder, folder)
    content = json.dumps(configuration).encode()
    (folder / "blobs" / "sha256" / oci.digest_of(content).removeprefix("sha256:")).write_bytes(content)
    return dataclasses.replace(
        layout,
        folder=folder,
        images=(dataclasses.replace(image, config=oci.digest_of(content), manifest="sha256:other"),),
    )


def test_a_difference_of_the_configuration_is_named(recipe: Recipe, layout: Layout, scratch: Path) -> None:
    changed = rewritten(layout, scratch / "configured", lambda value: value.update(os="plan9"))
    expected = Expected(digests.Digests(layout.index, layout.images), layout)
    image = changed.images[0]
    assert verify.verdict(recipe, changed, image, expected).differences == (
        Difference("", "os", "configuration", "linux", "plan9"),
    )
    assert verify.verdict(recipe, changed, image, committed(recipe)).differences == (
        Difference("", "", "configuration", layout.images[0].config, image.config),
    )


def test_the_same_content_that_is_packed_differently_is_told(recipe: Recipe, layout: Layout) -> None:
    image = layout.images[0]
    (first, *rest) = image.layers
    packed = dataclasses.replace(first, digest="sha256:other")
    expected = Expected(digests.Digests("", (dataclasses.replace(image, manifest="", layers=(packed, *rest)),)))
    assert verify.verdict(recipe, layout, image, expected).differences == (
        Difference(first.name, "", "packing", "sha256:other", first.digest),
    )


def test_a_platform_that_is_not_published_is_told(recipe: Recipe, layout: Layout) -> None:
    image = layout.images[0]
    assert verify.verdict(recipe, layout, image, Expected(digests.Digests("", ()))).differences == (
        Difference("", "", "platform", "-", image.manifest),
    )


def test_a_layout_that_was_written_is_read_again(layout: Layout, scratch: Path) -> None:
    assert oci.load(layout.folder) == layout
    copy = scratch / "damaged"
    shutil.copytree(layout.folder, copy)
    blob = copy / layout.blob(layout.images[0].layers[0].digest).relative_to(layout.folder)
    blob.unlink()
    blob.write_bytes(b"something else")
    with pytest.raises(BuildError, match="is not what its name says"):
        oci.load(copy)


def test_a_rebuild_from_nothing_is_compared_with_what_was_published(
    recipe: Recipe, tampered: Layout, scratch: Path
) -> None:
    """By the command, with empty caches and an engine of its own: only what was tampered with is another."""
    copy = scratch / "checkout"
    paths.copy_checkout(copy)
    done = subprocess.run(
        [sys.executable, "-m", "scripts.verify", "debian", f"--platform={NATIVE}", f"--against={tampered.folder}"],
        cwd=copy, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 17, done.stderr
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in done.stderr.splitlines()]
    for place in tampered_places(recipe):
        assert ["debian", str(NATIVE), *place] in [row[:5] for row in rows], done.stderr
    assert "2 differences" in done.stderr
    assert "Traceback" not in done.stderr
    assert list((copy / ".cache").glob("verify-*")) == [], "nothing is left"
