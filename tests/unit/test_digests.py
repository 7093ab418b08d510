from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import digests, dockerfile, lock, paths, variants
from scripts.digests import Digests
from scripts.errors import DigestError
from scripts.oci import Image, Layer, Layout
from scripts.platforms import PLATFORMS, Platform

BASE, TOP = Layer("base", "sha256:base", 3), Layer("top", "sha256:top", 2)
AMD64 = Image(PLATFORMS["linux/amd64"], "sha256:config-amd64", "sha256:manifest-amd64", (BASE, TOP))
ARM64 = Image(PLATFORMS["linux/arm64"], "sha256:config-arm64", "sha256:manifest-arm64", (BASE,))
ON_DEBIAN = [name for name in lock.locked_names() if variants.load(name).distribution == "debian"]
LAYOUT = Layout(Path("/nowhere"), "sha256:index", (AMD64, ARM64))


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The digests of the layout, as if committed."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "IMAGES", tmp_path / "images")
    path = digests.path_of("test")
    path.parent.mkdir(parents=True)
    path.write_text(digests.dump(LAYOUT))
    return path


def loaded() -> Digests:
    found = digests.load("test")
    assert found is not None
    return found


def test_digests_survive_writing_and_reading(committed: Path) -> None:
    assert json.loads(committed.read_text()) == {
        "index": "sha256:index",
        "platforms": {
            "linux/amd64": {
                "config": "sha256:config-amd64",
                "manifest": "sha256:manifest-amd64",
                "layers": {"base": {"digest": "sha256:base", "size": 3}, "top": {"digest": "sha256:top", "size": 2}},
            },
            "linux/arm64": {
                "config": "sha256:config-arm64",
                "manifest": "sha256:manifest-arm64",
                "layers": {"base": {"digest": "sha256:base", "size": 3}},
            },
        },
    }
    assert committed.read_text().endswith("}\n")
    digests.compare("test", loaded(), LAYOUT, everything=True)


@pytest.mark.parametrize(
    ("built", "everything", "expected"),
    [
        pytest.param(
            replace(LAYOUT, images=(AMD64, replace(ARM64, config="sha256:new"))), True,
            ["  linux/arm64: config sha256:config-arm64 committed, sha256:new built"], id="content",
        ),
        pytest.param(
            replace(
                LAYOUT,
                images=(replace(AMD64, config="sha256:new", layers=(BASE, replace(TOP, digest="sha256:x"))),),
            ),
            False,
            ["  linux/amd64: config sha256:config-amd64 committed, sha256:new built",
             "    layer top: sha256:top committed, sha256:x built"], id="content of a layer",
        ),
        pytest.param(
            replace(LAYOUT, images=(AMD64, replace(ARM64, manifest="sha256:new"))), True,
            [("  linux/arm64: same content, but packed differently: manifest sha256:manifest-arm64 committed,"
             " sha256:new built")], id="packing",
        ),
        pytest.param(
            replace(LAYOUT, images=(replace(AMD64, config="sha256:x"), replace(ARM64, config="sha256:y"))), True,
            ["  linux/amd64: config sha256:config-amd64 committed, sha256:x built",
             "  linux/arm64: config sha256:config-arm64 committed, sha256:y built"], id="both",
        ),
        pytest.param(
            replace(LAYOUT, images=(replace(AMD64, platform=PLATFORMS["linux/s390x"]),)), False,
            ["  linux/s390x: not committed, sha256:config-amd64 built"], id="platform that is not committed",
        ),
        pytest.param(
            replace(LAYOUT, index="sha256:new"), True,
            ["  index: sha256:index committed, sha256:new built"], id="index",
        ),
        pytest.param(
            replace(LAYOUT, index="sha256:new", images=(AMD64,)), True,
            ["  index: sha256:index committed, sha256:new built"], id="platform that is committed is not built",
        ),
    ],
)  # fmt: skip
def test_a_difference_is_named(committed: Path, built: Layout, everything: bool, expected: list[str]) -> None:
    del committed
    with pytest.raises(DigestError) as caught:
        digests.compare("test", loaded(), built, everything)
    title, *differences, advice = str(caught.value).splitlines()
    assert title == "The build of test is not the one whose digests are committed (images/test/digests.json):"
    assert differences == expected
    assert advice.endswith("scripts/nox -s digests -- test")


def test_the_index_of_some_platforms_is_not_compared(committed: Path) -> None:
    del committed
    digests.compare("test", loaded(), Layout(Path("/nowhere"), "sha256:of-one", (ARM64,)), everything=False)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"index": "x"}', '{"index": "x", "platforms": []}',
     '{"index": "x", "platforms": {"linux/amd64": {"config": "x"}}}',
     '{"index": "x", "platforms": {"linux/amd64": {"config": "x", "manifest": "y"}}}',
     '{"index": "x", "platforms": {"linux/vax": {"config": "x", "manifest": "y", "layers": {}}}}',
     '{"index": "x", "platforms": {"linux/amd64": 1}}',
     "<<<<<<< HEAD\n{}"],
)  # fmt: skip
def test_a_broken_file_is_refused(committed: Path, text: str) -> None:
    committed.write_text(text)
    with pytest.raises(DigestError, match=r"images/test/digests\.json is not a file of digests") as caught:
        digests.load("test")
    assert "scripts/nox -s digests -- test" in str(caught.value)


def test_a_file_that_is_not_text_is_refused(committed: Path) -> None:
    committed.write_bytes(b"\xff\xfe")
    with pytest.raises(DigestError, match="is not a file of digests"):
        digests.load("test")


def test_no_file_is_no_digests(committed: Path) -> None:
    committed.unlink()
    assert digests.load("test") is None


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        pytest.param(folder, name, id=name)
        for folder in (paths.VARIANTS, paths.PEERS)
        for name in lock.locked_names(folder)
    ],
)
def test_the_committed_digests_are_of_all_platforms(folder: Path, name: str) -> None:
    found = digests.load(name, folder)
    assert found is not None
    variant = variants.load(name, folder)
    assert tuple(image.platform for image in found.images) == variant.platforms
    every = [found.index, *(digest for image in found.images for digest in (image.config, image.manifest))]
    assert len(set(every)) == len(every)
    for image in found.images:
        assert tuple(layer.name for layer in image.layers) == dockerfile.layers(variant)
        every += [layer.digest for layer in image.layers]
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in every)


def committed_image(name: str, platform: Platform = PLATFORMS["linux/amd64"]) -> Image:
    found = digests.load(name)
    assert found is not None
    image = found.image(platform)
    assert image is not None
    return image


@pytest.mark.parametrize("platform", variants.load("debian").platforms, ids=str)
@pytest.mark.parametrize("name", ON_DEBIAN)
def test_a_second_variant_is_a_small_pull(name: str, platform: Platform) -> None:
    """Whoever has debian transfers at most 30 % of another variant of the same distribution."""
    there = {layer.digest for layer in committed_image("debian", platform).layers}
    image = committed_image(name, platform)
    assert sum(layer.size for layer in image.layers if layer.digest not in there) <= 0.3 * image.size


@pytest.mark.parametrize("name", lock.locked_names())
def test_a_release_of_configuration_is_a_tiny_pull(name: str) -> None:
    found = digests.load(name)
    assert found is not None
    for image in found.images:
        assert image.layers[-1].name == dockerfile.CONFIGURATION
        assert image.layers[-1].size <= 100_000


@pytest.mark.parametrize(("name", "most"), [("debian", 15_000_000), ("hardened", 9_000_000)])
def test_an_image_is_small(name: str, most: int) -> None:
    """Compressed, in bytes, on amd64."""
    assert committed_image(name).size <= most
