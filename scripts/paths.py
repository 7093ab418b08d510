"""Where things are: in the repository, in its scratch folder, and in the user's cache."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANTS = ROOT / "variants"
SCHEMA = ROOT / "schema"
IMAGES = ROOT / "images"
TOOLS = ROOT / "scripts" / "tools"
PEERS = ROOT / "tests" / "peers"
DIST = ROOT / "dist"
SCRATCH = ROOT / ".cache"


def user_cache() -> Path:
    """Folder for content-addressed files, shared by all checkouts (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "prosody-images"


def copy_checkout(target: Path) -> None:
    """Copy this checkout to `target`, without what Git does not keep: environments, caches, builds."""
    ignored = shutil.ignore_patterns(".git", ".venv", ".cache", ".*_cache", "__pycache__", "dist")
    shutil.copytree(ROOT, target, symlinks=True, ignore=ignored, dirs_exist_ok=True)


def belonging(name: str, folder: Path, file_name: str) -> Path:
    """A file made of the variant `name` of `folder`. Only images have a folder for it; the rest, by their YAML."""
    return IMAGES / name / file_name if folder == VARIANTS else folder / f"{name}.{file_name}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary file beside `path` that replaces it only when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes private files; committed and shared ones follow the user's umask instead.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link(source: Path, target: Path) -> None:
    """Have `source` at `target` as well, unless something is there: a hard link, or a copy across file systems."""
    if target.exists():
        return
    try:
        target.hardlink_to(source)
    except OSError:
        shutil.copyfile(source, target)


def write_text(path: Path, text: str) -> bool:
    """Write `text` to `path` at once or not at all; False if it was there already."""
    if path.exists() and path.read_text() == text:
        return False
    with replacing(path) as temporary:
        temporary.write_text(text)
    return True
