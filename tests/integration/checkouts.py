"""Copies of this checkout, as others have it: at other places, with other modes and times, built in other ways."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts import paths
from scripts.build import Recipe
from scripts.engine import Engine
from scripts.oci import Layout
from scripts.platforms import PLATFORMS, Platform


@dataclass(frozen=True)
class Checkout:
    """A copy of this checkout in `root`, which builds `variant` with the engine `tool`."""

    root: Path
    variant: str
    tool: Engine

    def run(
        self,
        *command: str,
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        umask: int = -1,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in it, whatever it ends with; what it prints is all in `stdout`.

        `environment` replaces variables, `before` is a command that runs it.
        """
        own = {
            "PATH": os.pathsep.join((str(self.tool.client.parent), os.environ["PATH"])),
            "PROSODY_ENGINE": "docker",
            **self.tool.environment,
        }
        return subprocess.run(
            [*before, *command],
            cwd=self.root,
            env=os.environ | own | dict(environment or {}),
            umask=umask,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )

    def build(
        self, environment: Mapping[str, str] | None = None, before: Sequence[str] = (), umask: int = -1
    ) -> subprocess.CompletedProcess[str]:
        """Build everything anew for this machine's platform, and compare it with the committed digests."""
        command = (sys.executable, "-m", "scripts.build", self.variant, "--no-cache")
        return self.run(*command, environment=environment, before=before, umask=umask)

    def has_built(self, done: subprocess.CompletedProcess[str], layout: Layout, platform: Platform) -> bool:
        """Whether a build ended well, and its image for `platform` is the one in `layout`, byte by byte."""
        assert done.returncode == 0, done.stdout
        image = next(image for image in layout.images if image.platform == platform)
        return manifests(self.root / "dist" / self.variant) == {platform: image.manifest}

    def mistake(self, right: str, wrong: str) -> None:
        """Say something wrong in `assemble.sh`, and so in the Dockerfile."""
        script = self.root / "images" / "assemble.sh"
        text = script.read_text()
        assert text.count(right) == 1, f"assemble.sh does not say {right!r} once"
        script.write_text(text.replace(right, wrong))
        done = self.run(sys.executable, "-m", "scripts.dockerfile", self.variant)
        assert done.returncode == 0, done.stdout


def copy(root: Path, recipe: Recipe, tool: Engine) -> Checkout:
    """Copy this checkout to `root`, with what `recipe` is made of."""
    paths.copy_checkout(root)
    name = recipe.variant.name
    if not recipe.committed:  # the archive has dropped a package: locked again for this run only, without digests
        shutil.copytree(recipe.dockerfile.parent, root / "images" / name, dirs_exist_ok=True)
        (root / "images" / name / "digests.json").unlink()
    return Checkout(root, name, tool)


@contextmanager
def scratch(name: str) -> Iterator[Path]:
    """An empty folder on the file system of this checkout."""
    folder = paths.SCRATCH / "test" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


def cache(folder: Path, *shared: str) -> dict[str, str]:
    """Environment in which the user's cache is a new one in `folder`, except for what is named."""
    for name in shared:
        link = folder / "prosody-images" / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(paths.user_cache() / name)
    return {"XDG_CACHE_HOME": str(folder)}


def manifests(folder: Path) -> Mapping[Platform, str]:
    """Digest of each platform's manifest in a canonical layout that has these images, and nothing else.

    Every blob is read, and is what its name says: with equal digests, all bytes are equal.
    """
    blobs = {f"sha256:{path.name}": path.read_bytes() for path in (folder / "blobs" / "sha256").iterdir()}
    assert all(f"sha256:{hashlib.sha256(content).hexdigest()}" == digest for digest, content in blobs.items())
    (top,) = json.loads((folder / "index.json").read_bytes())["manifests"]
    found, used = {}, {top["digest"]}
    for entry in json.loads(blobs[top["digest"]])["manifests"]:
        manifest = json.loads(blobs[entry["digest"]])
        used |= {entry["digest"], manifest["config"]["digest"], *(layer["digest"] for layer in manifest["layers"])}
        names = [entry["platform"].get(part) for part in ("os", "architecture", "variant")]
        found[PLATFORMS["/".join(filter(None, names))]] = entry["digest"]
    assert used == set(blobs)
    return found
