"""Traces of strace -> what was seen: system calls, files by what was done with them, sockets.

strace(1) says how a line reads. Only what succeeded counts: a call that was refused, or a file that was not there, is
nothing that a profile must admit.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

_CALL = re.compile(r"^(?P<name>\w+)\((?P<arguments>.*)\)\s+= (?P<result>-?\w+|\?)(?:<(?P<path>[^>]*)>)?(?P<rest>.*)$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"')
_DESCRIPTOR = re.compile(r"^(?:AT_FDCWD|\d+)<(?P<path>/[^>]*)>")

# Calls with a path, and what they need of it in AppArmor's letters (apparmor.d(5), "Access modes").
_PATHS = {
    "access": "r", "chdir": "r", "chmod": "w", "execve": "x", "fchmodat": "w", "faccessat": "r", "faccessat2": "r",
    "link": "l", "linkat": "l", "lstat": "r", "mkdir": "w", "mkdirat": "w", "newfstatat": "r", "readlink": "r",
    "readlinkat": "r", "rename": "rw", "renameat": "rw", "renameat2": "rw", "rmdir": "w", "stat": "r", "statfs": "r",
    "statx": "r", "symlink": "w", "symlinkat": "w", "truncate": "w", "unlink": "w", "unlinkat": "w", "utime": "w",
    "utimensat": "w",
}  # fmt: skip


@dataclass
class Observation:
    """What programs did. `files` maps paths to AppArmor's letters, `sockets` are (family, type)."""

    calls: set[str] = field(default_factory=set)
    files: dict[str, set[str]] = field(default_factory=dict)
    sockets: set[tuple[str, str]] = field(default_factory=set)

    def add(self, line: str) -> None:
        """Take in one line of a trace."""
        match = _CALL.match(line)
        if match is None:
            return
        name, arguments = match["name"], match["arguments"]
        failed = match["result"].startswith("-") or match["result"] == "?"
        # That a call exists and fails for its arguments is use of it; what the kernel does not have is none.
        if "ENOSYS" not in match["rest"]:
            self.calls.add(name)
        if failed:
            return
        if name in ("open", "openat", "openat2", "creat"):
            self._file(match["path"] or "", _opened(arguments))
        elif name == "mmap" and "PROT_EXEC" in arguments and (mapped := re.search(r"\d+<(/[^>]*)>", arguments)):
            self._file(mapped[1], "m")
        elif name in ("flock", "fcntl") and ("LOCK" in arguments or "F_SETLK" in arguments):
            if locked := _DESCRIPTOR.match(arguments):
                self._file(locked["path"], "k")
        elif name in _PATHS:
            self._paths(name, arguments)
        elif name in ("socket", "socketpair"):
            family, kind = arguments.split(", ")[:2]
            self.sockets.add((family.removeprefix("AF_").lower(), kind.split("|")[0].removeprefix("SOCK_").lower()))

    def _paths(self, name: str, arguments: str) -> None:
        folder = _DESCRIPTOR.match(arguments)
        # The second path of a symbolic link is where it is made; the first is only its text.
        strings = _STRING.findall(arguments)
        strings = strings[-1:] if name.startswith("symlink") else strings[:1] if name == "execve" else strings
        if name in ("readlink", "readlinkat"):
            strings = strings[:1]
        for text in strings:
            path = text if text.startswith("/") else f"{folder['path'] if folder else ''}/{text}" if text else ""
            if path.startswith("/"):
                self._file(path, _PATHS[name])

    def _file(self, path: str, access: str) -> None:
        # Deleted files, pipes and sockets have names that are no paths.
        if path.startswith("/") and "(deleted)" not in path:
            self.files.setdefault(path, set()).update(access)


def _opened(arguments: str) -> str:
    return "rw" if "O_RDWR" in arguments else "w" if "O_WRONLY" in arguments else "r"


def read(traces: Iterable[Path]) -> Observation:
    """Everything in the files of strace."""
    found = Observation()
    for trace in traces:
        with trace.open(errors="replace") as stream:
            for line in stream:
                found.add(line.rstrip("\n"))
    return found


def merge(one: Observation, other: Observation) -> Observation:
    """What either saw."""
    files = {path: set(access) for path, access in one.files.items()}
    for path, access in other.files.items():
        files.setdefault(path, set()).update(access)
    return Observation(one.calls | other.calls, files, one.sockets | other.sockets)


def dump(found: Observation) -> str:
    """Text of a file of observations, one thing a line."""
    files = [
        f"  {json.dumps(path)}: {json.dumps(''.join(sorted(access)))}" for path, access in sorted(found.files.items())
    ]
    return (
        '{\n "calls": [\n'
        + ",\n".join(f"  {json.dumps(call)}" for call in sorted(found.calls))
        + '\n ],\n "sockets": [\n'
        + ",\n".join(f"  {json.dumps(list(kind))}" for kind in sorted(found.sockets))
        + '\n ],\n "files": {\n'
        + ",\n".join(files)
        + "\n }\n}\n"
    )


def load(path: Path) -> Observation:
    """What `dump` wrote; nothing if there is no such file."""
    if not path.is_file():
        return Observation()
    value = json.loads(path.read_text())
    return Observation(
        set(value["calls"]),
        {name: set(access) for name, access in value["files"].items()},
        {(family, kind) for family, kind in value["sockets"]},
    )
