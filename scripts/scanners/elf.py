"""How programs and libraries were hardened by who built them, as their ELF files tell (pyelftools).

What is looked for is what Debian's hardening-check(1) looks for, and what the loader is told that makes it unsafe.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

MAGIC = b"\x7fELF"
# Constants of elf.h, which pyelftools has no names for.
_PF_X = 1
_DF_TEXTREL, _DF_BIND_NOW = 4, 8
_DF_1_NOW, _DF_1_PIE = 1, 0x8000000
_GUARD = re.compile(r"__stack_chk_(fail|guard)(_local)?$")
_CHECKED = re.compile(r"__\w+_chk$")
# Functions that have a checked form (glibc, debug/). Of more of them the compiler can often prove that no check is
# needed, so their plain form says nothing.
_CHECKABLE = frozenset(("memcpy", "memmove", "memset", "strcpy", "strcat", "sprintf", "vsprintf", "snprintf",
                        "vsnprintf", "read", "recv", "fgets", "realpath"))  # fmt: skip


def weaknesses(content: bytes) -> Iterator[tuple[str, str]]:
    """Check and explanation of each protection that an ELF file lacks; nothing of object files."""
    try:
        file = ELFFile(io.BytesIO(content))
        if file.header.e_type in ("ET_EXEC", "ET_DYN"):
            yield from _of_program(file)
    except (ELFError, ValueError, LookupError, TypeError, AttributeError) as error:
        # pyelftools lets Python's own errors through for what is damaged.
        yield "elf-unreadable", repr(error)


def _of_program(file: ELFFile) -> Iterator[tuple[str, str]]:
    segments = {segment.header.p_type: segment.header.p_flags for segment in file.iter_segments()}
    tags: dict[str, object] = {}
    names: set[str] = set()
    for section in file.iter_sections():
        if isinstance(section, DynamicSection):
            for tag in section.iter_tags():
                tags[tag.entry.d_tag] = (
                    getattr(tag, "runpath", "") or getattr(tag, "rpath", "")
                    if tag.entry.d_tag in ("DT_RPATH", "DT_RUNPATH") else tag.entry.d_val
                )  # fmt: skip
        elif isinstance(section, SymbolTableSection):
            names |= {symbol.name for symbol in section.iter_symbols()}
    flags, flags_1 = (int(str(tags.get(name, 0))) for name in ("DT_FLAGS", "DT_FLAGS_1"))
    if file.header.e_type == "ET_EXEC":
        yield "elf-pie", "linked to a fixed address"
    if segments.get("PT_GNU_STACK", _PF_X) & _PF_X:
        yield "elf-executable-stack", "PT_GNU_STACK is missing or allows it"
    if not tags:
        return  # static: there is no loader whose tables could be written to, and often no name of a function
    if "PT_GNU_RELRO" not in segments:
        yield "elf-relro", "PT_GNU_RELRO is missing"
    if not (flags & _DF_BIND_NOW or flags_1 & _DF_1_NOW or "DT_BIND_NOW" in tags):
        yield "elf-bind-now", "neither DF_BIND_NOW nor DF_1_NOW"
    if flags & _DF_TEXTREL or "DT_TEXTREL" in tags:
        yield "elf-text-relocation", "DF_TEXTREL is set"
    for name in ("DT_RPATH", "DT_RUNPATH"):
        if name in tags:
            yield "elf-run-path", f"{name} {tags[name]}"
    if any(section.name == ".text" and section.header.sh_size for section in file.iter_sections()):
        if not any(_GUARD.match(name) for name in names):
            yield "elf-stack-protector", "calls no __stack_chk_fail"
        if names & _CHECKABLE and not any(_CHECKED.match(name) for name in names):
            yield "elf-fortify", f"calls {', '.join(sorted(names & _CHECKABLE))} unchecked"
