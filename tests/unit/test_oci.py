from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from scripts import oci, paths
from scripts.errors import BuildError

SHARED, AMD64, ARM64 = b"shared layer" * 1000, b"amd64 layer" * 1000, b"arm64 layer" * 1000
NAMES = ("base", "top")


def add(folder: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def exported(
    folder: Path,
    *,
    wording: str = "COPY",
    order: Sequence[int] = (0, 1),
    media_type: str = oci._LAYER,
    created: str = "2026-01-01T00:00:00Z",
) -> Path:
    """A layout as BuildKit would write it, for two platforms that share a layer, or one of them."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    entries = []
    for architecture, layer in (("amd64", AMD64), ("arm64", ARM64)):
        layers = [add(folder, content) | {"mediaType": media_type} for content in (SHARED, layer)]
        config = {
            "created": created, "architecture": architecture, "os": "linux", "config": {"User": "1:1"},
            "rootfs": {"type": "layers", "diff_ids": [found["digest"] for found in layers]},
            "history": [{"created_by": wording}], "moby.something": 1,
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "layers": layers, "annotations": {"some": "thing"},
            "config": add(folder, json.dumps(config, indent=len(wording)).encode()) | {"mediaType": "any"},
        }  # fmt: skip
        described = {"os": "linux", "architecture": architecture}
        entries.append(add(folder, json.dumps(manifest).encode()) | {"platform": described, "mediaType": oci.MANIFEST})
    index = add(folder, json.dumps({"manifests": [entries[number] for number in order]}).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [index | {"mediaType": oci._INDEX}]}))
    return folder


pytestmark = pytest.mark.usefixtures("cache")


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_content_gives_the_same_layout(tmp_path: Path) -> None:
    """Whatever the engine's wording, white space, annotations, and order of platforms."""
    first = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "first", NAMES)
    other = exported(tmp_path / "two", wording="COPY --link of another engine", order=(1, 0))
    second = oci.canonicalise(other, tmp_path / "second", NAMES)
    assert files(first.folder) == files(second.folder)
    assert first.images == second.images


def test_parts_of_canonical_layouts_are_united(tmp_path: Path) -> None:
    whole = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "whole", NAMES)
    parts = [
        oci.canonicalise(exported(tmp_path / f"only {number}", order=[number]), tmp_path / f"part {number}", NAMES)
        for number in (1, 0)
    ]
    united = oci.unite([(part, image) for part in parts for image in part.images], tmp_path / "dist" / "united")
    assert (united.index, united.images) == (whole.index, whole.images)
    assert files(united.folder) == files(whole.folder)
    assert oci.unite([(whole, whole.images[0])], united.folder).images == parts[1].images, "in place of the other"


def test_layouts_of_one_platform_each_are_one_of_all(tmp_path: Path) -> None:
    """As nodes of a builder give them; the first may be any of them."""
    whole = oci.canonicalise(exported(tmp_path / "whole"), tmp_path / "expected", NAMES)
    parts = [exported(tmp_path / f"part{number}", order=(number,)) for number in (1, 0)]
    merged = oci.canonicalise(oci.merge(parts, tmp_path / "merged"), tmp_path / "result", NAMES)
    assert files(merged.folder) == files(whole.folder)
    assert merged.images == whole.images


def test_a_layout_is_what_it_says(tmp_path: Path) -> None:
    layout = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "first", NAMES)
    for path in (layout.folder / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    manifest = json.loads(layout.blob(layout.images[0].manifest).read_text())
    raw = [zstandard.decompress(layout.blob(layer["digest"]).read_bytes()) for layer in manifest["layers"]]
    assert raw == [SHARED, AMD64]
    config = json.loads(layout.blob(manifest["config"]["digest"]).read_text())
    assert [entry["created_by"] for entry in config["history"]] == ["COPY /layers/base/ /", "COPY /layers/top/ /"]
    assert config["config"] == {"User": "1:1"}
    assert layout.images[0].size == sum(layer["size"] for layer in manifest["layers"])
    assert json.loads((layout.folder / "index.json").read_text())["manifests"][0]["digest"] == layout.index


@pytest.mark.parametrize("what", ["layer", "manifest"])
def test_a_blob_that_lies_is_refused(tmp_path: Path, what: str) -> None:
    source = exported(tmp_path / "one")
    target = hashlib.sha256(AMD64).hexdigest()
    if what == "manifest":
        index = json.loads((source / "index.json").read_text())["manifests"][0]["digest"].removeprefix("sha256:")
        target = json.loads((source / "blobs/sha256" / index).read_text())["manifests"][0]["digest"].removeprefix(
            "sha256:"
        )
    path = source / "blobs" / "sha256" / target
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BuildError, match="is not what its name says"):
        oci.canonicalise(source, tmp_path / "target", NAMES)
    assert not (tmp_path / "target").exists()


def test_packing_again_takes_nothing_anew(tmp_path: Path) -> None:
    first = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES)
    before = files(first.folder)
    # A layer that is in the cache is not even read.
    for layer in (SHARED, AMD64, ARM64):
        (tmp_path / "one" / "blobs" / "sha256" / hashlib.sha256(layer).hexdigest()).unlink()
    assert oci.canonicalise(tmp_path / "one", tmp_path / "target", NAMES) == first
    assert files(first.folder) == before


def test_a_shared_layer_is_packed_and_kept_once(tmp_path: Path) -> None:
    done: list[None] = []
    layout = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES, advance=lambda: done.append(None))
    assert len(done) == 3
    # Three layers, and for each platform a configuration and a manifest, and the index.
    assert len(list((layout.folder / "blobs" / "sha256").iterdir())) == 3 + 2 * 2 + 1


def test_platforms_come_in_the_order_of_the_table_with_their_variant(tmp_path: Path) -> None:
    source = exported(tmp_path / "one", order=(1, 0))
    index = nested_index(source)
    value = json.loads(index.read_text())
    value["manifests"][0]["platform"] = {"os": "linux", "architecture": "arm", "variant": "v7"}
    (source / "index.json").write_text(json.dumps(value))  # without an index in between, as other tools write it
    layout = oci.canonicalise(source, tmp_path / "target", NAMES)
    assert [image.platform.name for image in layout.images] == ["linux/amd64", "linux/arm/v7"]
    written = json.loads(layout.blob(layout.index).read_text())["manifests"]
    assert [entry["platform"] for entry in written] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm", "os": "linux", "variant": "v7"},
    ]


def nested_index(source: Path) -> Path:
    digest = json.loads((source / "index.json").read_text())["manifests"][0]["digest"]
    return source / "blobs" / "sha256" / str(digest).removeprefix("sha256:")


def test_everything_written_is_canonical_json(tmp_path: Path) -> None:
    layout = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES)
    texts = [layout.folder / "index.json", layout.folder / "oci-layout", layout.blob(layout.index)]
    texts += [layout.blob(digest) for image in layout.images for digest in (image.config, image.manifest)]
    for path in texts:
        value = json.loads(path.read_text())
        assert path.read_bytes() == json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("size", [0, 1, 3_000_000], ids=["empty", "one byte", "three megabytes"])
def test_layers_of_any_size_are_packed(tmp_path: Path, size: int) -> None:
    source = tmp_path / "source"
    (source / "blobs" / "sha256").mkdir(parents=True)
    content = bytes(number * number % 251 for number in range(1000)) * (size // 1000) + b"x" * (size % 1000)
    layer = add(source, content) | {"mediaType": oci._LAYER}
    packed = oci._packed(source, layer, oci.FASTEST)
    assert zstandard.decompress(packed.read_bytes(), max_output_size=size + 1) == content
    named = packed.with_name(f"{packed.name}.digest").read_text()
    assert named == f"sha256:{hashlib.sha256(packed.read_bytes()).hexdigest()}"


def lose(source: Path) -> None:
    (source / "blobs" / "sha256" / hashlib.sha256(AMD64).hexdigest()).unlink()


def add_attestation(source: Path) -> None:
    value = json.loads(nested_index(source).read_text())
    value["manifests"].append(value["manifests"][0] | {"platform": {"os": "unknown", "architecture": "unknown"}})
    (source / "index.json").write_text(json.dumps(value))


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lose, id="a blob is missing"),
        pytest.param(lambda source: (source / "index.json").unlink(), id="no index"),
        pytest.param(lambda source: (source / "index.json").write_text("{"), id="index is no JSON"),
        pytest.param(add_attestation, id="an attestation, or a platform that nobody knows"),
    ],
)
def test_a_layout_that_is_none_is_refused(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    source = exported(tmp_path / "one")
    spoil(source)
    with pytest.raises(BuildError):
        oci.canonicalise(source, tmp_path / "target", NAMES)


def test_a_spoilt_cache_does_not_spoil_the_layout(tmp_path: Path) -> None:
    oci.canonicalise(exported(tmp_path / "one"), tmp_path / "first", NAMES)
    for path in (paths.user_cache() / "layers").rglob("*"):
        if len(path.name) == 64:
            path.write_bytes(b"spoilt")
    layout = oci.canonicalise(tmp_path / "one", tmp_path / "second", NAMES)
    for path in (layout.folder / "blobs" / "sha256").iterdir():
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name


def test_packed_layers_are_refused(tmp_path: Path) -> None:
    source = exported(tmp_path / "one", media_type=f"{oci._LAYER}+gzip")
    with pytest.raises(BuildError, match="not an uncompressed one"):
        oci.canonicalise(source, tmp_path / "target", NAMES)


def test_an_interruption_keeps_the_old_layout(tmp_path: Path) -> None:
    oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES)
    before = files(tmp_path / "target")

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        oci.canonicalise(exported(tmp_path / "two"), tmp_path / "target", NAMES, advance=interrupt)
    assert files(tmp_path / "target") == before


def test_an_unexpected_layer_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="2 layers instead of 3"):
        oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", ("a", "b", "c"))


def test_the_archive_is_for_docker_and_for_containerd(tmp_path: Path) -> None:
    layout = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES)
    image = layout.images[1]
    stream = io.BytesIO()
    oci.archive(layout, image, ["prosody:test"], stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        members = {}
        for member in archive.getmembers():
            found = archive.extractfile(member)
            assert found is not None
            members[member.name] = found.read()
    (docker,) = json.loads(members["manifest.json"])
    assert docker["RepoTags"] == ["prosody:test"]
    assert f"sha256:{hashlib.sha256(members[docker['Config']]).hexdigest()}" == image.config
    assert [zstandard.decompress(members[layer]) for layer in docker["Layers"]] == [SHARED, ARM64]
    (entry,) = json.loads(members["index.json"])["manifests"]
    assert entry["digest"] == image.manifest
    assert entry["annotations"] == {
        "io.containerd.image.name": "docker.io/library/prosody:test",
        "org.opencontainers.image.ref.name": "test",
    }
    assert json.loads(members["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    named = {f"blobs/sha256/{name.removeprefix('sha256:')}" for name in (image.manifest, image.config)}
    assert members.keys() == {"oci-layout", "index.json", "manifest.json", *named, *docker["Layers"]}


def test_the_archive_has_an_entry_for_every_tag(tmp_path: Path) -> None:
    layout = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES)
    tags = ["prosody:debian", "prosody:13.0.6-debian"]
    stream = io.BytesIO()
    oci.archive(layout, layout.images[0], tags, stream)
    stream.seek(0)
    with tarfile.open(fileobj=stream) as archive:
        index, docker = (json.load(archive.extractfile(name)) for name in ("index.json", "manifest.json"))  # type: ignore[arg-type]
    assert docker[0]["RepoTags"] == tags
    assert [entry["annotations"]["org.opencontainers.image.ref.name"] for entry in index["manifests"]] == [
        "debian", "13.0.6-debian",
    ]  # fmt: skip
