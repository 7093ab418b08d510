"""What must not matter: where a checkout is and how it came there, who builds, in which language, on which system.

Each case builds a copy of this checkout anew, without BuildKit's cache, and has to give the same bytes. That it could
fail is shown with mistakes in `assemble.sh`, which let through what must not matter.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts import engine, paths, platforms, toolset
from scripts.build import Recipe
from scripts.embedded import Embedded
from scripts.engine import Engine
from scripts.errors import DigestError
from scripts.oci import Layout
from scripts.toolset import Toolset
from tests.integration import checkouts
from tests.integration.checkouts import Checkout
from tests.integration.containers import PATIENCE

NATIVE = platforms.native()
GIT = shutil.which("git")
NEEDS_ROOT = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="mounting file systems needs root on Linux"
)


@pytest.fixture
def scratch() -> Iterator[Path]:
    with checkouts.scratch("surroundings") as folder:
        yield folder


@pytest.fixture
def checkout(scratch: Path, recipe: Recipe, tool: Engine) -> Checkout:
    return checkouts.copy(scratch / "checkout", recipe, tool)


def test_the_place(scratch: Path, recipe: Recipe, layout: Layout, tool: Engine) -> None:
    """A path with all that shells, addresses, and the options of Docker give a meaning to."""
    checkout = checkouts.copy(scratch / "ein Ordner, 'dessen' \"Name\" = $x; #1 ü%20:" / "b", recipe, tool)
    assert checkout.has_built(checkout.build(), layout, NATIVE)


def change_modes(checkout: Checkout) -> None:
    """As after a clone with umask 077 by another user, in a folder that hands down its group."""
    for path in checkout.root.rglob("*"):
        os.chown(path, 1234, 5678)
        path.chmod(path.stat().st_mode & 0o700 | (0o2000 if path.is_dir() else 0))


@NEEDS_ROOT
def test_modes_owners_and_times_of_files(checkout: Checkout, layout: Layout) -> None:
    """Times long ago and far ahead, in turn."""
    change_modes(checkout)
    for index, path in enumerate(sorted(checkout.root.rglob("*"))):
        os.utime(path, (index, 4e9 + index if index % 2 else 1e6 + index))
    assert checkout.has_built(checkout.build(umask=0o077), layout, NATIVE)


def test_what_git_does_not_keep(checkout: Checkout, layout: Layout) -> None:
    """Folders without files, what editors and file managers leave, and extended attributes."""
    files = checkout.root / "images" / "rootfs"
    (files / "usr" / "nothing" / "in it").mkdir(parents=True)
    for name in (".DS_Store", "lua~", "lua.orig", ".lua.swp"):
        (files / "usr" / name).write_text("not of the image")
    for path in files.rglob("*.lua"):
        os.setxattr(path, "user.origin", b"elsewhere")
    assert checkout.has_built(checkout.build(), layout, NATIVE)


def commit(checkout: Checkout, *settings: str) -> None:
    """Make it a repository of Git with everything in one commit."""
    git = ["git", "-c", "user.name=Tester", "-c", "user.email=tester@example.org", *settings]
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "All"]):
        subprocess.run([*git, *command], cwd=checkout.root, check=True, capture_output=True)


@pytest.mark.skipif(GIT is None, reason="there is no git whose settings could matter")
def test_settings_of_git(checkout: Checkout, scratch: Path) -> None:
    """Who has Git end lines as other systems do gets the same files."""
    settings = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf")
    commit(checkout, *settings)
    clone = scratch / "clone"
    subprocess.run(["git", *settings, "clone", "--quiet", str(checkout.root), str(clone)], check=True)
    for path in (path for path in (checkout.root / "images").rglob("*") if path.is_file()):
        assert (clone / path.relative_to(checkout.root)).read_bytes() == path.read_bytes(), path


def test_language_and_time_zone(checkout: Checkout, scratch: Path, layout: Layout) -> None:
    """Turkish, in an encoding that is not UTF-8, 14 hours from Greenwich; also with text that is not ASCII."""
    debian = toolset.unpack("debian-13")
    subprocess.run(
        [*debian.command("usr/bin/localedef"), "--no-archive", "--inputfile=tr_TR", "--charmap=ISO-8859-9",
         str(scratch / "tr_TR.ISO-8859-9")],
        env=os.environ | {"I18NPATH": str(debian.root / "usr" / "share" / "i18n")}, check=True, capture_output=True,
    )  # fmt: skip
    turkish = {"LOCPATH": str(scratch), "LC_ALL": "tr_TR.ISO-8859-9", "LANGUAGE": "tr", "TZ": "<+14>-14"}
    asked = checkout.run(
        *(sys.executable, "-c", "import locale, time; print(locale.getencoding(), time.timezone)"), environment=turkish
    )
    assert asked.stdout.split() == ["ISO-8859-9", "-50400"]
    # As people run it: the session, not the module, makes Python read files as UTF-8.
    (checkout.root / ".venv").symlink_to(paths.ROOT / ".venv")
    done = checkout.run("scripts/nox", "-s", "build", "--", "debian", "--no-cache", environment=turkish)
    assert checkout.has_built(done, layout, NATIVE)
    variant = checkout.root / "variants" / "debian.yaml"
    text = "Prosody in Kütahya → 愛媛"
    changed = re.sub(r"(?m)^description:.*$", f"description: {text}", variant.read_text(encoding="utf-8"))
    variant.write_text(changed, encoding="utf-8")
    done = checkout.run("scripts/nox", "-s", "expand", environment=turkish)
    assert done.returncode == 0, done.stdout
    assert text in (checkout.root / "images" / "debian" / "Dockerfile").read_text(encoding="utf-8")


def test_the_environment(checkout: Checkout, layout: Layout) -> None:
    """Variables that Docker's client, buildx and other tools for reproducible builds follow."""
    if GIT is not None:
        commit(checkout)  # which buildx, by the first of these, would tell of in labels
    environment = {
        "BUILDX_GIT_LABELS": "full",
        "BUILDX_NO_DEFAULT_ATTESTATIONS": "0",
        "BUILDX_METADATA_PROVENANCE": "max",
        "BUILDX_EXPERIMENTAL": "1",
        "BUILDKIT_PROGRESS": "rawjson",
        "COLUMNS": "20",
        "DOCKER_BUILDKIT": "0",
        "DOCKER_DEFAULT_PLATFORM": "linux/s390x",
        "POSIXLY_CORRECT": "1",
        "PYTHONHASHSEED": "7",
        "SOURCE_DATE_EPOCH": "1",
    }
    assert checkout.has_built(checkout.build(environment), layout, NATIVE)


class Disordered(Embedded):
    """An embedded engine that keeps its data on a file system without order.

    Overlays cannot be written there, so each layer is a copy of the one below: another snapshotter as well.
    """

    @property
    def folder(self) -> Path:
        return paths.SCRATCH / "test" / "disordered"

    def configuration(self) -> Mapping[str, object]:
        return {**super().configuration(), "storage-driver": "native"}


@contextmanager
def disorder(below: Path, folder: Path) -> Iterator[None]:
    """Show `below` at `folder`, with the entries of each folder in a new random order each time that it is read.

    It takes one request after another, in the order in which they come (`-s` and `max_background`). Else that a file
    has been closed is told to it by the kernel without waiting, and overtaken: libfuse renames a file that it takes for
    open instead of removing it, and `rm -r` finds its folder not empty (in 1 of 500 folders).
    """
    below.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True)
    found = toolset.unpack("disorderfs")
    process = subprocess.Popen(
        [*found.command("usr/bin/disorderfs"), "-f", "--quiet", "--shuffle-dirents=yes", "--reverse-dirents=no",
         "-s", "-o", "suid,dev,max_background=65535", str(below), str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + PATIENCE
        while not folder.is_mount():
            if process.poll() is not None:
                pytest.fail(f"disorderfs needs FUSE (/dev/fuse), and said: {process.communicate()[0]}")
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        process.terminate()  # which unmounts
        process.communicate(timeout=PATIENCE)
        assert not folder.is_mount()


@pytest.fixture(scope="module")
def disordered_engine(layout: Layout) -> Iterator[Engine]:
    """What it has in its cache is for it alone, and goes with it."""
    embedded = Disordered()
    below = embedded.folder.with_name("disordered-data")
    for folder in (embedded.folder, below):
        shutil.rmtree(folder, ignore_errors=True)
    with disorder(below, embedded.folder / "data"):
        yield engine.of(embedded)
        embedded.stop()
    embedded.remove()
    shutil.rmtree(below)


@pytest.fixture
def disordered(scratch: Path, recipe: Recipe, disordered_engine: Engine) -> Iterator[Checkout]:
    """Neither the files of the checkout have an order, nor those that the engine unpacks and assembles."""
    with disorder(scratch / "below", scratch / "above"):
        yield checkouts.copy(scratch / "above" / "checkout", recipe, disordered_engine)


@NEEDS_ROOT
def test_order_of_files(disordered: Checkout, layout: Layout) -> None:
    orders = {tuple((disordered.root / "scripts").iterdir()) for _ in range(10)}
    assert len(orders) > 1
    assert disordered.has_built(disordered.build(), layout, NATIVE)


@NEEDS_ROOT
def test_order_and_time_would_be_seen(disordered: Checkout) -> None:
    """That of a list of files, and that of files with the time of the build; each build is one anew."""
    copying = '    cp -R /rootfs/. "$layers/configuration/"\n'
    disordered.mistake(copying, f'{copying}    find /rootfs > "$layers/configuration/usr/files"\n')
    disordered.mistake('find "$layers" -exec touch', 'find "$layers"/[!m]* -exec touch')
    first, second = disordered.build(), disordered.build()
    assert layers_that_differ(first) == layers_that_differ(second) == {"modules", "configuration"}
    for layer in ("modules", "configuration"):
        found = [re.findall(rf"layer {layer}: .*, (\S+) built", done.stdout) for done in (first, second)]
        assert found[0] != found[1]


def test_an_edit_that_keeps_size_and_time_is_seen(checkout: Checkout, layout: Layout) -> None:
    """By an engine that has built the same folder before."""
    assert checkout.has_built(checkout.build(), layout, NATIVE)
    file = next((checkout.root / "images" / "rootfs").rglob("entrypoint.lua"))
    before = file.stat()
    file.write_bytes(file.read_bytes().replace(b"-- The", b"-- THE", 1))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert layers_that_differ(checkout.build()) == {"configuration"}


def layers_that_differ(done: subprocess.CompletedProcess[str]) -> set[str]:
    """Of a build whose digests are not the committed ones."""
    assert done.returncode == DigestError.exit_status, done.stdout
    return set(re.findall(r"layer (\S+): sha256:", done.stdout))


def test_modes_that_are_kept_would_be_seen(checkout: Checkout, layout: Layout) -> None:
    """A mistake with which the usual umask gives the right modes, and another does not."""
    checkout.mistake('    find "$layers/configuration" -type f -exec chmod 0644 {} +\n', "")
    assert checkout.has_built(checkout.build(umask=0o022), layout, NATIVE)
    assert layers_that_differ(checkout.build(umask=0o077)) == {"configuration"}


# In namespaces of its own. $1: the root, $2: the user's cache; the working folder is the checkout.
_ENTER = """set -e
checkout=$PWD
cd ..
mkdir upper work root
mount -t overlay overlay -o "lowerdir=$1,upperdir=upper,workdir=work" root
mount --rbind /dev root/dev
mount --rbind /sys root/sys
mount -t proc proc root/proc
for folder in "$PWD" "$2"; do
    mkdir -p "root$folder"
    mount --bind "$folder" "root$folder"
done
shift 2
exec chroot root sh -c 'cd "$1" && shift && exec "$@"' sh "$checkout" "$@"
"""


def python_packages(debian: Toolset, folder: Path) -> None:
    """Install what the build system needs of requirements.txt for the Python of `debian`, from wheels."""
    environment = {"python_version": "3.13", "python_full_version": "3.13.5", "extra": ""}
    project = tomllib.loads((paths.ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(line) for line in project["dependencies"]]
    names = set()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name not in names and (wanted.marker is None or wanted.marker.evaluate(environment)):
            names.add(name)
            waiting += map(Requirement, metadata.requires(name) or [])
    pinned = re.findall(r"^\S+==.*\n(?:[ ].*\n)*", (paths.ROOT / "requirements.txt").read_text(), re.MULTILINE)
    chosen = folder.with_suffix(".txt")
    chosen.write_text("".join(text for text in pinned if canonicalize_name(text.partition("==")[0]) in names))
    pip = next(debian.root.glob("usr/share/python-wheels/pip-*.whl"))
    subprocess.run(
        [*debian.command("usr/bin/python3.13"), str(pip / "pip"), "install", "--quiet", "--disable-pip-version-check",
         "--no-deps", "--only-binary=:all:", "--require-hashes", f"--target={folder}", f"--requirement={chosen}"],
        env=os.environ | {"PYTHONHOME": str(debian.root / "usr")}, check=True, capture_output=True,
    )  # fmt: skip


@NEEDS_ROOT
def test_debian_13(scratch: Path, recipe: Recipe, layout: Layout, tool: Engine) -> None:
    """Its C library, its Python 3.13 with other wheels, and an engine that is started in it: only the kernel is ours.

    Layers are packed anew, and there is no network.
    """
    debian = toolset.unpack("debian-13")
    python_packages(debian, scratch / "site")
    toolset.unpack("engine")
    checkout = checkouts.copy(scratch / "checkout", recipe, tool)
    environment = {
        "HOME": "/root",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "PROSODY_ENGINE": "embedded",
        "PYTHONPATH": str(scratch / "site"),
        **checkouts.cache(scratch / "cache", "sha256", "tools"),
    }
    own = ("--mount", "--net", "--pid", "--fork", "--kill-child")
    entered = ("unshare", *own, "sh", "-c", _ENTER, "sh", str(debian.root), str(paths.user_cache()))
    steps = (
        "python3 -c 'import sys, platform; print(sys.version_info[:2], platform.freedesktop_os_release()[\"ID\"])'",
        f"python3 -m scripts.build {checkout.variant} --no-cache; status=$?",
        "python3 -m scripts.engine remove; exit $status",
    )
    done = checkout.run("sh", "-c", "\n".join(steps), environment=environment, before=entered)
    assert done.stdout.startswith("(3, 13) debian"), done.stdout
    assert checkout.has_built(done, layout, NATIVE)
