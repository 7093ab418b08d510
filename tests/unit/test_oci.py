from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import zstandard

from scripts import digests, oci, paths
from scripts.errors import BuildError, DigestError
from scripts.oci import Layout

SHARED, AMD64, ARM64 = b"shared layer" * 1000, b"amd64 layer" * 1000, b"arm64 layer" * 1000
NAMES = ("base", "top")


def add(folder: Path, content: bytes) -> dict[str, Any]:
    digest = hashlib.sha256(content).hexdigest()
    (folder / "blobs" / "sha256" / digest).write_bytes(content)
    return {"digest": f"sha256:{digest}", "size": len(content)}


def exported(
    folder: Path, *, wording: str = "COPY", order: Sequence[int] = (0, 1), media_type: str = oci._LAYER
) -> Path:
    """A layout as BuildKit would write it, for two platforms that share a layer."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    entries = []
    for architecture, layer in (("amd64", AMD64), ("arm64", ARM64)):
        layers = [add(folder, content) | {"mediaType": media_type} for content in (SHARED, layer)]
        config = {
            "created": "2026-01-01T00:00:00Z", "architecture": architecture, "os": "linux", "config": {"User": "1:1"},
            "rootfs": {"type": "layers", "diff_ids": [found["digest"] for found in layers]},
            "history": [{"created_by": wording}], "moby.something": 1,
        }  # fmt: skip
        manifest = {
            "schemaVersion": 2, "layers": layers, "annotations": {"some": "thing"},
            "config": add(folder, json.dumps(config, indent=len(wording)).encode()) | {"mediaType": "any"},
        }  # fmt: skip
        described = {"os": "linux", "architecture": architecture}
        entries.append(add(folder, json.dumps(manifest).encode()) | {"platform": described, "mediaType": oci._MANIFEST})
    index = add(folder, json.dumps({"manifests": [entries[number] for number in order]}).encode())
    (folder / "index.json").write_text(json.dumps({"manifests": [index | {"mediaType": oci._INDEX}]}))
    return folder


@pytest.fixture(autouse=True)
def own_cache(cache: Path) -> None:
    """Pack into a cache of the test's own."""
    del cache


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_content_gives_the_same_layout(tmp_path: Path) -> None:
    """Whatever the engine's wording, white space, annotations, and order of platforms."""
    first = oci.canonicalise(exported(tmp_path / "one"), tmp_path / "first", NAMES)
    other = exported(tmp_path / "two", wording="COPY --link of another engine", order=(1, 0))
    second = oci.canonicalise(other, tmp_path / "second", NAMES)
    assert files(first.folder) == files(second.folder)
    assert first.images == second.images


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
    assert entry["annotations"]["io.containerd.image.name"] == "docker.io/library/prosody:test"


# The committed digests, which come from a layout.


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return oci.canonicalise(exported(tmp_path / "one"), tmp_path / "target", NAMES)


@pytest.fixture
def committed(layout: Layout, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The digests of the layout, as if committed."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "IMAGES", tmp_path / "images")
    path = digests.path_of("test")
    path.parent.mkdir(parents=True)
    path.write_text(digests.dump(layout))
    return path


def test_a_build_is_compared_with_what_is_committed(layout: Layout, committed: Path) -> None:
    found = digests.load("test")
    assert found is not None
    digests.compare("test", found, layout, everything=True)
    assert list(json.loads(committed.read_text())) == ["index", "platforms"]


@pytest.mark.parametrize(
    ("field", "expected"),
    [("config", "linux/arm64: config sha256:x committed"), ("manifest", "same content, but packed differently")],
)
def test_a_difference_is_named(layout: Layout, committed: Path, field: str, expected: str) -> None:
    value = json.loads(committed.read_text())
    value["platforms"]["linux/arm64"][field] = "sha256:x"
    committed.write_text(json.dumps(value))
    found = digests.load("test")
    assert found is not None
    with pytest.raises(DigestError) as caught:
        digests.compare("test", found, layout, everything=True)
    assert expected in str(caught.value)
    assert "linux/amd64" not in str(caught.value)
    assert "scripts/nox -s digests -- test" in str(caught.value)


def test_a_broken_file_of_digests_is_refused(committed: Path) -> None:
    committed.write_text('{"index": 1}')
    with pytest.raises(DigestError, match="is not a file of digests"):
        digests.load("test")
