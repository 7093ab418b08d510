"""images/icu.awk and its caller in images/assemble.sh, on libraries made here; the real ones are in test_unicode.py."""

from __future__ import annotations

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import paths, toolset

ITEMS = {
    "brkitr/root.res": b"a resource bundle",
    "cnvalias.icu": b"names",
    "confusables.cfu": b"look alike" * 3,
    "nfkc.nrm": b"n" * 33,
    "rfc3491.spp": b"nameprep",
    "zone/zu.res": b"last, and long " * 9000,
}
KEEP = "*.cfu *.spp cnvalias.icu"
KEPT = {name: content for name, content in ITEMS.items() if name.endswith((".cfu", ".spp")) or name == "cnvalias.icu"}

PAGE = 0x1000
WRITABLE = b"relocated data of the library"


def align(value: int, to: int) -> int:
    return -(-value // to) * to


def icu_data(items: dict[str, bytes], order: str) -> bytes:
    """ICU's common data (format CmnD); `order` is a byte order of struct."""
    big = order == ">"
    info = struct.pack(f"{order}HHBBBB4s4s4s", 20, 0, big, 0, 2, 0, b"CmnD", b"\1\0\0\0", b"\3\0\0\0")
    header = struct.pack(f"{order}H", 48) + b"\xda\x27" + info
    header += b"a comment".ljust(48 - len(header), b"\0")
    names = b"".join(f"icudt76{'b' if big else 'l'}/{name}\0".encode() for name in items)
    entries, content = b"", b""
    at_name = 4 + 8 * len(items)
    start = align(at_name + len(names), 16)
    for name, item in items.items():
        content = content.ljust(align(len(content), 16), b"\0")
        entries += struct.pack(f"{order}II", at_name, start + len(content))
        at_name += len(f"icudt76l/{name}") + 1
        content += item
    table = struct.pack(f"{order}I", len(items)) + entries + names
    return header + table.ljust(start, b"\0") + content


@dataclass(frozen=True)
class Kind:
    """A kind of ELF file."""

    word: int
    order: str

    def header(self, headers: int) -> bytes:
        """File header of a shared library with `headers` program headers; it claims to have sections."""
        identity = b"\x7fELF" + bytes([self.word // 4, 2 if self.order == ">" else 1, 1]) + bytes(9)
        size, program = (64, 56) if self.word == 8 else (52, 32)
        pointer = "Q" if self.word == 8 else "I"
        return identity + struct.pack(
            f"{self.order}HHI3{pointer}I6H", 3, 0, 1, 0, size, 9999, 0, size, program, headers, 40, 7, 6
        )

    def program_header(self, kind: int, flags: int, offset: int, address: int, size: int, alignment: int) -> bytes:
        if self.word == 8:
            values = (kind, flags, offset, address, address, size, size, alignment)
            return struct.pack(f"{self.order}II6Q", *values)
        return struct.pack(f"{self.order}8I", kind, offset, address, address, size, size, flags, alignment)

    def read(self, content: bytes) -> list[tuple[int, int, int, int, int]]:
        """Kind, offset, address, file size and alignment of all program headers."""
        found = []
        if self.word == 8:
            (start,), (size, count) = (
                struct.unpack_from(f"{self.order}Q", content, 32),
                struct.unpack_from(f"{self.order}HH", content, 54),
            )
            for number in range(count):
                values = struct.unpack_from(f"{self.order}II6Q", content, start + size * number)
                found.append((values[0], values[2], values[3], values[5], values[7]))
        else:
            (start,), (size, count) = (
                struct.unpack_from(f"{self.order}I", content, 28),
                struct.unpack_from(f"{self.order}HH", content, 42),
            )
            for number in range(count):
                values = struct.unpack_from(f"{self.order}8I", content, start + size * number)
                found.append((values[0], values[1], values[2], values[4], values[7]))
        return found

    def library(self, data: bytes) -> bytes:
        """A library with one read-only segment that holds `data` and a table behind it, and a writable one."""
        before = (self.word == 8 and 64 + 56 * 5) or 52 + 32 * 5
        data_at = align(before + 100, 16)
        read_only = data_at + len(data) + 24
        offset = align(read_only, 64) + 0x123
        address = offset + 3 * PAGE
        headers = [
            self.program_header(1, 4, 0, 0, read_only, PAGE),
            self.program_header(1, 6, offset, address, len(WRITABLE), PAGE),
            self.program_header(2, 6, offset + 4, address + 4, 8, 4),
            self.program_header(0x6474E550, 4, read_only - 24, read_only - 24, 24, 4),
            self.program_header(0x6474E551, 6, 0, 0, 0, 16),
        ]
        content = self.header(len(headers)) + b"".join(headers)
        content = (content + b"text " * 20).ljust(data_at, b"\0") + data + b"frames".ljust(24, b"!")
        return content.ljust(offset, b"\0") + WRITABLE + b"sections"


KINDS = [Kind(word, order) for word in (4, 8) for order in "<>"]


def read_data(content: bytes, order: str) -> dict[str, bytes]:
    """Items of ICU's data; the last one ends with `content`."""
    table = struct.unpack_from(f"{order}H", content)[0]
    count = struct.unpack_from(f"{order}I", content, table)[0]
    places = [struct.unpack_from(f"{order}II", content, table + 4 + 8 * number) for number in range(count)]
    ends = [table + start for _, start in places[1:]] + [len(content)]
    found = {}
    for (name, start), end in zip(places, ends, strict=True):
        assert start % 16 == 0
        text = content[table + name : content.index(b"\0", table + name)].decode()
        found[text.partition("/")[2]] = content[table + start : end]
    return found


def trim(folder: Path, content: bytes, *, name: str = "usr/lib/any/libicudata.so.76.1", keep: str = KEEP) -> bytes:
    """What the build makes of a file; raises CalledProcessError with its message."""
    file = folder / "layers/base" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    script = (paths.IMAGES / "assemble.sh").read_text().replace("/icu.", f"{folder}/icu.")
    script = script.replace("layers=/layers", f"layers={folder}/layers").partition("# shellcheck source=/dev/null")[0]
    shutil.copyfile(paths.IMAGES / "icu.awk", folder / "icu.awk")
    busybox = toolset.unpack("busybox").root / "usr/bin/busybox"
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    subprocess.run([busybox, "--install", "-s", programs], check=True)
    subprocess.run(
        [busybox, "sh", "-c", f"{script}\nicu '{keep}'"],
        check=True, capture_output=True, text=True, env={"PATH": str(programs)},
    )  # fmt: skip
    return file.read_bytes()


def starts_with(found: dict[str, bytes]) -> bool:
    """Whether exactly the kept items are there; what follows an item up to the next is padding."""
    return list(found) == list(KEPT) and all(
        found[name][: len(item)] == item and not found[name][len(item) :].strip(b"\0") for name, item in KEPT.items()
    )


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_library_keeps_its_addresses_and_the_items(tmp_path: Path, kind: Kind) -> None:
    before = kind.library(icu_data(ITEMS, kind.order))
    after = trim(tmp_path, before)
    assert len(after) < len(before) - 100_000
    old, new = kind.read(before), kind.read(after)
    read_only, writable, dynamic, frames, stack = new
    assert [found[2] for found in new] == [found[2] for found in old], "every address stays"
    assert writable[1] % PAGE == writable[2] % PAGE
    assert after[writable[1] : writable[1] + writable[3]] == WRITABLE
    assert len(after) == writable[1] + writable[3]
    assert dynamic[1] == writable[1] + 4
    assert (frames[0], stack) == (0, old[4])
    data_at = before.index(icu_data(ITEMS, kind.order)[:48])
    assert after[data_at : data_at + 48] == before[data_at : data_at + 48]
    assert starts_with(read_data(after[data_at : read_only[3]], kind.order))
    assert trim(tmp_path, before) == after
    assert trim(tmp_path, after) == after, "nothing more to do"


@pytest.mark.parametrize("order", ["<", ">"])
def test_plain_data_keeps_the_items(tmp_path: Path, order: str) -> None:
    name = "usr/share/icu/76.1/icudt76l.dat"
    assert starts_with(read_data(trim(tmp_path, icu_data(ITEMS, order), name=name), order))


def test_the_last_item_can_stay(tmp_path: Path) -> None:
    after = trim(tmp_path, icu_data(ITEMS, "<"), name="usr/share/icu/1/icudt1l.dat", keep="zone/zu.res")
    assert read_data(after, "<") == {"zone/zu.res": ITEMS["zone/zu.res"]}


@pytest.mark.parametrize(
    ("content", "keep", "expected"),
    [
        pytest.param(b"nothing like it" * 99, KEEP, "no ICU data within the first", id="not ICU's"),
        pytest.param(b"", KEEP, "no ICU data within the first 0 bytes", id="empty"),
        pytest.param(icu_data(ITEMS, "<"), "*.spp *.xyz", "no item matches *.xyz", id="no such item"),
        pytest.param(icu_data(ITEMS, "<")[:300], KEEP, "does not lie within the file", id="truncated"),
        pytest.param(KINDS[3].library(icu_data(ITEMS, ">"))[:70000], KEEP, "not lie within the file", id="cut library"),
        pytest.param(icu_data(ITEMS, "<"), " ", "nothing to keep", id="nothing wanted"),
    ],
)
def test_another_file_is_refused_and_stays(tmp_path: Path, content: bytes, keep: str, expected: str) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        trim(tmp_path, content, keep=keep)
    assert expected in caught.value.stderr
    assert (tmp_path / "layers/base/usr/lib/any/libicudata.so.76.1").read_bytes() == content


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        trim(tmp_path, icu_data(ITEMS, "<"), name="usr/lib/other")
    assert "no file with ICU's data in any layer" in caught.value.stderr
