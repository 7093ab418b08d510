"""images/apk.sh: packages in apk's second format become layers and apk's database; run by the locked busybox."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import tarfile
from pathlib import Path

import pytest

from scripts import paths, toolset
from tests.unit import apk
from tests.unit.apk import Entry, Installed


class Assembly:
    """A folder that stands in for the root of the build's stage."""

    def __init__(self, folder: Path) -> None:
        self.root = folder
        busybox = toolset.unpack("busybox").root / "usr/bin/busybox"
        (folder / "programs").mkdir()
        subprocess.run([busybox, "--install", "-s", folder / "programs"], check=True)
        self._busybox = busybox
        (folder / "layers").mkdir()

    def put(self, layer: str, *packages: apk.Apk) -> None:
        for package in packages:
            path = self.root / "packages" / layer / f"{package.name}-{package.version}.apk"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(package.content)

    def run(self, *lines: str) -> subprocess.CompletedProcess[str]:
        """Run declarations; the paths that belong to the build's stage are moved below the folder."""
        text = (paths.IMAGES / "apk.sh").read_text()
        text = re.sub(r"(?<![\w$}/*.])/(apk|packages)(?=[-/\" ]|$)", rf"{self.root}/\1", text, flags=re.MULTILINE)
        script = "\n".join(["set -eu", "umask 022", f"layers={self.root}/layers", text, *lines])
        return subprocess.run(
            [self._busybox, "sh", "-c", script],
            check=False, capture_output=True, text=True, env={"PATH": str(self.root / "programs"), "LC_ALL": "C"},
        )  # fmt: skip

    def database(self, folder: str = "lib") -> dict[str, Installed]:
        text = (self.root / "layers/configuration" / folder / "apk/db/installed").read_text()
        assert text.endswith("\n\n")
        return apk.installed(text)


@pytest.fixture
def assembly(tmp_path: Path) -> Assembly:
    return Assembly(tmp_path)


def sha1(content: bytes) -> str:
    return hashlib.sha1(content, usedforsecurity=False).hexdigest()


NOISE = random.Random(0).randbytes(30_000)  # noqa: S311 - only does not get smaller in a package


def test_packages_become_a_layer_and_entries_of_the_database(assembly: Assembly) -> None:
    tool = apk.apk(
        "tool", "1.0-r3",
        {
            "etc": Entry(None, 0o755), "etc/a file": Entry(b"x"), "tmp": Entry(None, 0o1777),
            "usr": Entry(None, 0o755), "usr/bin": Entry(None, 0o755), "usr/bin/tool": Entry(NOISE, 0o755),
            "usr/bin/again": Entry("tool"), "top": Entry(b"", 0o600),
        },
        signer=apk.Signer(), depend="so:libc.musl-x86_64.so.1 !other>2", provides="cmd:tool=1.0-r3", replaces="x y",
        install_if="a=1 b", provider_priority="7", origin="tools", scripts={".post-install": NOISE},
    )  # fmt: skip
    assembly.put("base", tool)
    assembly.put("top", apk.apk("empty", architecture="noarch"))
    done = assembly.run("apk_layer base", "apk_layer top", "apk_database 'tool empty' 'https://one https://two'")
    assert (done.returncode, done.stderr) == (0, "")

    base = assembly.root / "layers/base"
    assert (base / "usr/bin/tool").read_bytes() == NOISE
    assert (base / "usr/bin/again").readlink() == Path("tool")
    assert (base / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert not list(base.glob(".*")), "neither signatures nor what the package says of itself"

    database = assembly.database()
    assert list(database) == ["tool", "empty"]
    record = dict(line.split(":", 1) for line in tool.record.splitlines())
    assert database["tool"].fields == record | {"r": "x y"}
    assert database["tool"].folders == {"": 0o755, "etc": 0o755, "tmp": 0o1777, "usr": 0o755, "usr/bin": 0o755}
    assert database["tool"].files == {
        "top": (0o600, sha1(b"")), "etc/a file": (0o644, sha1(b"x")), "usr/bin/tool": (0o755, sha1(NOISE)),
        "usr/bin/again": (0o777, sha1(b"tool")),
    }  # fmt: skip
    assert database["empty"].fields["A"] == "noarch"
    assert (database["empty"].folders, database["empty"].files) == ({}, {})

    configuration = assembly.root / "layers/configuration"
    assert (configuration / "etc/apk/world").read_text() == "empty\ntool\n"
    assert (configuration / "etc/apk/arch").read_text() == "x86_64\n"
    assert (configuration / "etc/apk/repositories").read_text() == "https://one\nhttps://two\n"
    assert (configuration / "lib/apk/db/triggers").read_bytes() == b""
    with tarfile.open(configuration / "lib/apk/db/scripts.tar") as archive:
        assert archive.getnames() == []


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("script", [b"", NOISE, NOISE + b"\x1f\x8b\x08" * 40 + NOISE], ids=["none", "long", "decoys"])
@pytest.mark.parametrize("content", [b"", b"small", NOISE * 9], ids=["empty", "small", "large"])
def test_streams_are_found(assembly: Assembly, signed: bool, script: bytes, content: bytes) -> None:
    """The bytes that begin a gzip stream are in some of the streams as well, stored as they are."""
    found = apk.apk(
        "tool", files={"file": Entry(content)}, signer=apk.Signer() if signed else None,
        scripts={".post-install": script} if script else {},
    )  # fmt: skip
    assembly.put("base", found)
    done = assembly.run("apk_layer base", "apk_database tool https://one")
    assert (done.returncode, done.stderr) == (0, "")
    (entry,) = assembly.database().values()
    assert f"C:{entry.fields['C']}\n" in found.record
    assert entry.files == {"file": (0o644, sha1(content))}


def test_rights_that_the_image_takes_are_not_recorded(assembly: Assembly) -> None:
    assembly.put("base", apk.apk("tool", files={"su": Entry(b"x", 0o4755, owner=5), "mail": Entry(None, 0o2775)}))
    assert assembly.run("apk_layer base", "apk_database tool https://one").returncode == 0
    (entry,) = assembly.database().values()
    assert entry.files["su"][0] == 0o755
    assert entry.folders["mail"] == 0o775
    assert (assembly.root / "layers/base/su").stat().st_mode & 0o7777 == 0o755


def test_the_database_is_where_no_link_is_hidden(assembly: Assembly) -> None:
    """On an Alpine whose /lib is a link to /usr/lib."""
    assembly.put("base", apk.apk("layout", files={"usr": Entry(None, 0o755), "lib": Entry("usr/lib")}))
    assert assembly.run("apk_layer base", "apk_database layout https://one").returncode == 0
    assert list(assembly.database("usr/lib")) == ["layout"]
    assert not (assembly.root / "layers/configuration/lib").exists()


@pytest.mark.parametrize(
    "content",
    [b"", b"!<arch>\n", b"\x1f\x8b\x08" * 99, b"ADB.", b"a text"],
    ids=["empty", "deb", "starts only", "third format", "text"],
)
def test_what_is_no_package_ends_the_build(assembly: Assembly, content: bytes) -> None:
    assembly.put("base", apk.Apk("tool", "1", content, ""))
    done = assembly.run("apk_layer base", "echo went on")
    assert done.returncode != 0
    assert done.stdout == ""
    assert "tool-1.apk is not a package in the second format of apk" in done.stderr


@pytest.mark.parametrize(
    "files",
    [{f"folder/{'x' * 93}": Entry(b"")}, {"link": Entry("y" * 101)}],
    ids=["file", "target of a link"],
)
def test_names_are_never_cut(assembly: Assembly, files: apk.Files) -> None:
    assembly.put("base", apk.apk("tool", files=files))
    done = assembly.run("apk_layer base", "echo went on")
    assert done.returncode != 0
    assert "went on" not in done.stdout
    assert "tool-1.0-r0.apk has a path of 100 bytes or more, which cannot be unpacked here" in done.stderr


def test_names_that_just_fit_are_taken(assembly: Assembly) -> None:
    name = f"folder/{'x' * 92}"
    assembly.put("base", apk.apk("tool", files={"folder": Entry(None, 0o755), name: Entry(b"")}))
    assert assembly.run("apk_layer base", "apk_database tool https://one").returncode == 0
    (entry,) = assembly.database().values()
    assert list(entry.files) == [name]
