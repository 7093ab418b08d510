"""Any OCI image layout -> the canonical one: same content, packed the same way everywhere.

Engines pack layers with the compressor they happen to carry, so they do not pack here: they give uncompressed layers,
and this module packs them with one pinned zstd. Configuration, manifests and indexes are written as canonical JSON. The
build history in the configuration is written anew, a line a layer: its wording differs between versions of BuildKit.

Terms and formats: OCI image specification 1.1 (image-layout, index, manifest, descriptor).
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zstandard
from filelock import FileLock

from scripts import paths
from scripts.errors import BuildError
from scripts.platforms import PLATFORMS, Platform

# Measured on the two lowest layers of the debian image (28.7 MB): level 10 packs to 9.66 MB in 0.5 s, 15 to 9.59 MB in
# 3 s, 19 to 8.66 MB in 8 s. A layer is packed once and pulled often. A change here changes all manifests.
SMALLEST = 19
FASTEST = 1  # for what nobody pulls
PACKER = f"zstd-{'.'.join(map(str, zstandard.ZSTD_VERSION))}"

_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Layer:
    """One packed layer: digest as `sha256:...`, size in bytes."""

    name: str
    digest: str
    size: int


@dataclass(frozen=True)
class Image:
    """One platform of a canonical layout: digests as `sha256:...`, layers lowest first."""

    platform: Platform
    config: str
    manifest: str
    layers: tuple[Layer, ...]

    @property
    def size(self) -> int:
        """Size of the packed layers together, in bytes."""
        return sum(layer.size for layer in self.layers)


@dataclass(frozen=True)
class Layout:
    """A canonical layout on disk."""

    folder: Path
    index: str
    images: tuple[Image, ...]

    def blob(self, digest: str) -> Path:
        """File that holds the blob with this digest."""
        return _blob(self.folder, digest)


def digest_of(content: bytes) -> str:
    """OCI digest of `content`."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def canonicalise(
    source: Path,
    target: Path,
    layer_names: Sequence[str],
    *,
    level: int = SMALLEST,
    advance: Callable[[], None] = lambda: None,
) -> Layout:
    """Write the canonical form of the layout `source` to `target`, which is never half-written.

    What was at `target` stays until the new layout is complete. `layer_names` says what each layer is, lowest first,
    for the history, `level` how hard zstd tries (1 to 22); `advance` is called for each layer that is done.
    Raises BuildError if `source` is not a layout of uncompressed layers, or not what its digests say.
    """
    try:
        manifests = sorted(_manifests(source), key=lambda pair: list(PLATFORMS).index(pair[0].name))
    except (FileNotFoundError, ValueError, LookupError, TypeError) as error:
        raise BuildError(f"{source} is not a layout of images for known platforms: {error!r}") from error
    temporary = _emptied(target)
    layers = {layer["digest"]: layer for _, manifest in manifests for layer in manifest["layers"]}
    with ThreadPoolExecutor(os.cpu_count()) as executor:

        def pack(layer: Mapping[str, Any]) -> tuple[str, int]:
            packed = _packed(source, layer, level)
            content_digest = (packed.parent / f"{packed.name}.digest").read_text()
            paths.link(packed, _blob(temporary, content_digest))
            advance()
            return content_digest, packed.stat().st_size

        packed = dict(zip(layers, executor.map(pack, layers.values()), strict=True))
    images = []
    for platform, manifest in manifests:
        config_content = _configuration(_verified(source, manifest["config"]["digest"]).read_bytes(), layer_names)
        config = digest_of(config_content)
        _blob(temporary, config).write_bytes(config_content)
        descriptors = [
            {"mediaType": f"{_LAYER}+zstd", "digest": packed[layer["digest"]][0], "size": packed[layer["digest"]][1]}
            for layer in manifest["layers"]
        ]
        content = canonical(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "config": {"mediaType": _CONFIG, "digest": config, "size": len(config_content)},
                "layers": descriptors,
            }
        )
        digest = digest_of(content)
        _blob(temporary, digest).write_bytes(content)
        layers_of_image = tuple(
            Layer(name, layer["digest"], layer["size"]) for name, layer in zip(layer_names, descriptors, strict=True)
        )
        images.append(Image(platform, config, digest, layers_of_image))
    return _finished(temporary, target, images)


def _finished(temporary: Path, target: Path, images: Sequence[Image]) -> Layout:
    """Index the images whose blobs are in `temporary`, which then is in the place of `target`."""
    entries = []
    for image in images:
        described = {"os": "linux", "architecture": image.platform.architecture}
        if image.platform.variant:
            described["variant"] = image.platform.variant
        size = _blob(temporary, image.manifest).stat().st_size
        entries.append({"mediaType": MANIFEST, "digest": image.manifest, "size": size, "platform": described})
    index = canonical({"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries})
    _blob(temporary, digest_of(index)).write_bytes(index)
    write_index(temporary, {"mediaType": _INDEX, "digest": digest_of(index), "size": len(index)})
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    temporary.rename(target)
    shutil.rmtree(old, ignore_errors=True)
    return Layout(target, digest_of(index), tuple(images))


def _emptied(target: Path) -> Path:
    """A new folder of blobs beside `target`, to take its place."""
    temporary = target.with_name(f".{target.name}.new")
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "blobs" / "sha256").mkdir(parents=True)
    return temporary


def unite(parts: Sequence[tuple[Layout, Image]], target: Path) -> Layout:
    """Put images of canonical layouts together in one at `target`, which is what a build of them all would be."""
    temporary = _emptied(target)
    parts = sorted(parts, key=lambda part: list(PLATFORMS.values()).index(part[1].platform))
    for layout, image in parts:
        for digest in (image.manifest, image.config, *(layer.digest for layer in image.layers)):
            paths.link(layout.blob(digest), _blob(temporary, digest))
    return _finished(temporary, target, [image for _, image in parts])


def merge(sources: Sequence[Path], target: Path) -> Path:
    """Put layouts together in `target`, a new folder: the blobs of all, and one index of all images."""
    entries = []
    for source in sources:
        entries += json.loads((source / "index.json").read_text())["manifests"]
        for blob in (source / "blobs" / "sha256").iterdir():
            (target / "blobs" / "sha256").mkdir(parents=True, exist_ok=True)
            paths.link(blob, _blob(target, blob.name))
    paths.write_text(target / "index.json", canonical({"schemaVersion": 2, "manifests": entries}).decode())
    return target


def write_index(folder: Path, descriptor: Mapping[str, Any]) -> None:
    """Make `folder`, which has the blobs, a layout that holds what `descriptor` is of, and nothing else."""
    index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": [descriptor]}
    paths.write_text(folder / "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}).decode())
    paths.write_text(folder / "index.json", canonical(index).decode())


def single(layout: Layout, image: Image, folder: Path) -> Path:
    """Write a layout of one image alone, for programs that choose no platform. Returns `folder`."""
    (folder / "blobs" / "sha256").mkdir(parents=True)
    for digest in (image.manifest, image.config, *dict.fromkeys(layer.digest for layer in image.layers)):
        paths.link(layout.blob(digest), _blob(folder, digest))
    size = layout.blob(image.manifest).stat().st_size
    write_index(folder, {"mediaType": MANIFEST, "digest": image.manifest, "size": size})
    return folder


def load(folder: Path) -> Layout:
    """A canonical layout that was written here, or somewhere else and brought here.

    Raises BuildError if it is not one, or a blob in it is not what its digest says.
    """
    try:
        (top,) = json.loads((folder / "index.json").read_text())["manifests"]
        entries = json.loads(_verified(folder, top["digest"]).read_bytes())["manifests"]
        return Layout(folder, top["digest"], tuple(_image(folder, entry) for entry in entries))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BuildError(f"{folder} holds no image that this build system made: {error!r}") from error


def _image(folder: Path, entry: Mapping[str, Any]) -> Image:
    """One image of a canonical layout; the names of its layers are in its history."""
    manifest = json.loads(_verified(folder, entry["digest"]).read_bytes())
    configuration = json.loads(_verified(folder, manifest["config"]["digest"]).read_bytes())
    names = [line["created_by"].split("/")[2] for line in configuration["history"]]
    layers = [
        Layer(name, layer["digest"], layer["size"]) for name, layer in zip(names, manifest["layers"], strict=True)
    ]
    for layer in layers:
        _verified(folder, layer.digest)
    return Image(_platform(entry), manifest["config"]["digest"], entry["digest"], tuple(layers))


def _configuration(content: bytes, layer_names: Sequence[str]) -> bytes:
    """Canonical form of an image configuration: the fields of the specification, and a history of our own words."""
    value = json.loads(content)
    kept = {key: value[key] for key in ("architecture", "config", "created", "os", "rootfs", "variant") if key in value}
    count = len(value["rootfs"]["diff_ids"])
    if count != len(layer_names):
        raise BuildError(f"The image has {count} layers instead of {len(layer_names)}: {', '.join(layer_names)}.")
    history = [{"created": value["created"], "created_by": f"COPY /layers/{name}/ /"} for name in layer_names]
    return canonical({**kept, "history": history})


def archive(layout: Layout, image: Image, tags: Sequence[str], stream: io.BufferedIOBase) -> None:
    """Write one platform of `layout` as a tar that `docker load` of any engine understands.

    It is an OCI layout and, through manifest.json, Docker's own archive (moby image/spec v1.2) at once.
    """
    manifest = json.loads(layout.blob(image.manifest).read_bytes())
    descriptor = {"mediaType": MANIFEST, "digest": image.manifest, "size": layout.blob(image.manifest).stat().st_size}
    # containerd names images by annotation, Docker by RepoTags.
    entries = [
        {**descriptor, "annotations": {"io.containerd.image.name": f"docker.io/library/{tag}",
                                       "org.opencontainers.image.ref.name": tag.rpartition(":")[2]}}
        for tag in tags
    ]  # fmt: skip
    path = "blobs/sha256/{}".format
    docker = [
        {
            "Config": path(image.config.removeprefix("sha256:")),
            "RepoTags": list(tags),
            "Layers": [path(layer["digest"].removeprefix("sha256:")) for layer in manifest["layers"]],
        }
    ]
    blobs = [image.manifest, image.config, *dict.fromkeys(layer["digest"] for layer in manifest["layers"])]
    with tarfile.open(fileobj=stream, mode="w|") as tar:
        for name, value in (
            ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
            ("index.json", {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}),
            ("manifest.json", docker),
        ):
            content = canonical(value)
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for digest in blobs:
            tar.add(layout.blob(digest), path(digest.removeprefix("sha256:")))


def _manifests(source: Path) -> list[tuple[Platform, dict[str, Any]]]:
    """Platform and manifest of every image in a layout, through nested indexes or none."""
    entries: list[dict[str, Any]] = []
    for entry in json.loads((source / "index.json").read_text())["manifests"]:
        nested = entry["mediaType"] == _INDEX
        entries += json.loads(_verified(source, entry["digest"]).read_bytes())["manifests"] if nested else [entry]
    found = []
    for entry in entries:
        manifest: dict[str, Any] = json.loads(_verified(source, entry["digest"]).read_bytes())
        for layer in manifest["layers"]:
            if layer["mediaType"] != _LAYER:
                raise BuildError(f"{source}: layer {layer['digest']} is {layer['mediaType']}, not an uncompressed one.")
        found.append((_platform(entry), manifest))
    return found


def _platform(entry: Mapping[str, Any]) -> Platform:
    """The platform of an entry in an index. Raises KeyError if it is not a known one."""
    described = entry["platform"]
    names = [described["os"], described["architecture"], described.get("variant", "")]
    return PLATFORMS["/".join(part for part in names if part).replace("arm64/v8", "arm64")]


def _packed(source: Path, layer: Mapping[str, Any], level: int) -> Path:
    """The packed form of a layer, from the user's cache or made now; its digest is in a file beside it."""
    folder = paths.user_cache() / "layers" / f"{PACKER}-{level}"
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / str(layer["digest"]).removeprefix("sha256:")
    with FileLock(target.with_suffix(".lock")):
        if not _is_packed(target):
            compressor = zstandard.ZstdCompressor(level=level, write_content_size=True, write_checksum=False)
            raw = _verified(source, layer["digest"])
            with paths.replacing(target) as temporary:
                with raw.open("rb") as reader, temporary.open("wb") as writer:
                    compressor.copy_stream(reader, writer, size=layer["size"])
                with temporary.open("rb") as stream:
                    content_digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
                # First the digest, then the file that vouches for both.
                paths.write_text(target.with_name(f"{target.name}.digest"), content_digest)
    return target


def _is_packed(path: Path) -> bool:
    """Whether the cache has this packed layer, unspoilt."""
    try:
        with path.open("rb") as stream:
            actual = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
        return path.with_name(f"{path.name}.digest").read_text() == actual
    except FileNotFoundError:
        return False


def _verified(folder: Path, digest: str) -> Path:
    """File of a blob; raises BuildError if its content is not what its name says."""
    path = _blob(folder, digest)
    if not path.is_file():
        raise BuildError(f"{path} is missing.")
    with path.open("rb") as stream:
        actual = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    if actual != digest:
        raise BuildError(f"{path} is not what its name says: {actual}.")
    return path


def _blob(folder: Path, digest: str) -> Path:
    return folder / "blobs" / "sha256" / digest.removeprefix("sha256:")


def canonical(value: Any) -> bytes:
    """Canonical JSON: sorted keys, no blanks (RFC 8785 for the strings and integers that occur here)."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
