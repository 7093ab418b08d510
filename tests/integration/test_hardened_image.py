"""The hardened image as a container: what is not in it, what cannot be written, and what it says when it could do more.

Each promise is tested by trying to break it; the promises are in docs/hardened.md.
"""

from __future__ import annotations

import io
import stat
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import docker
import pytest
import zstandard

from scripts import platforms
from tests.integration import servers
from tests.integration.conftest import Images
from tests.integration.containers import CONFINED, LoadedImage, Outcome
from tests.integration.servers import DOMAIN, Server

pytestmark = pytest.mark.variant("hardened")

DATA = "var/lib/prosody"
LUA = "/usr/bin/lua5.4"
# The only programs for the processor: Lua, the first process, and the C library with its loader, which can be run.
PROGRAMS = {"usr/bin/lua5.4", "usr/bin/tini", "libc.so.6", "ld-linux"}
# What people and programs that broke in ask for first
SHELLS = ("sh", "bash", "dash", "ash", "zsh", "ksh", "csh", "busybox", "toybox", "/bin/sh", "/bin/bash", "env")
TOOLS = (
    "apt", "apt-get", "dpkg", "apk", "rpm", "pip", "luarocks", "npm", "gcc", "cc", "ld", "make", "perl", "python3",
    "awk", "openssl", "curl", "wget", "nc", "ssh", "su", "sudo", "mount", "chmod", "cat", "cp", "ldd", "luac",
)  # fmt: skip
# Prints every path below the root that a file can be made in (folders) or that can be written (files).
WALK = """
local lfs = require "lfs"
local skipped = { ["/proc"] = true, ["/sys"] = true, ["/dev"] = true }
local seen = { directory = 0, file = 0 }
local function walk(path)
    local attributes = lfs.symlinkattributes(path)
    local mode = attributes and attributes.mode
    if seen[mode] then seen[mode] = seen[mode] + 1 end
    if mode == "file" then
        local file = io.open(path, "r+b")
        if file then print("writable", path) file:close() end
    elseif mode == "directory" and not skipped[path] then
        local probe = path .. "/.written-by-a-test"
        local file = io.open(probe, "wb")
        if file then print("writable", path) file:close() os.remove(probe) end
        local listed, iterator, state = pcall(lfs.dir, path)
        if listed then
            for name in iterator, state do
                if name ~= "." and name ~= ".." then walk((path == "/" and "" or path) .. "/" .. name) end
            end
        end
    end
end
walk("/")
print("seen", seen.directory, seen.file)
"""
# Each way by which Lua starts programs
START = """
print(os.execute() and "shell" or "none")
print(os.execute("/usr/bin/tini --version") and "shell" or "none")
local pipe = io.popen("/usr/bin/tini --version")
print((pipe and pipe:read("a") or "") ~= "" and "shell" or "none")
"""


@pytest.fixture(scope="module")
def server(client: docker.DockerClient, hardened: LoadedImage) -> Iterator[Server]:
    """A server as the documentation says to run it."""
    with servers.serving(client, hardened) as started:
        yield started


@dataclass(frozen=True)
class Entry:
    """A file of the image: what its layer's archive says of it, and its content."""

    member: tarfile.TarInfo
    content: bytes


@pytest.fixture(scope="module", params=dict.fromkeys((platforms.native().name, "linux/arm64")))
def entries(request: pytest.FixtureRequest, images: Images) -> Mapping[str, Entry]:
    """Everything in the image of a platform by path, as an engine would lay its layers over each other."""
    layout = images.layout("hardened")
    image = next(image for image in layout.images if image.platform.name == request.param)
    found: dict[str, Entry] = {}
    for layer in image.layers:
        with (
            layout.blob(layer.digest).open("rb") as packed,
            zstandard.ZstdDecompressor().stream_reader(packed) as unpacked,
            tarfile.open(fileobj=io.BytesIO(unpacked.read())) as archive,
        ):
            for member in archive:
                file = archive.extractfile(member) if member.isfile() else None
                found[member.name.strip("./").rstrip("/")] = Entry(member, file.read() if file else b"")
    assert len(found) > 500
    return found


def run_lua(server: Server, program: str, user: str = "") -> Outcome:
    """Outcome of a Lua program in the container, which has no other interpreter."""
    return server.execute(LUA, "-e", program, user=user)


# ---- What is in the image


def test_no_file_gives_rights_to_who_runs_it(entries: Mapping[str, Entry]) -> None:
    """Neither setuid nor setgid, nor a capability in an attribute (capabilities(7)), nor another owner than root."""
    privileged = [path for path, entry in entries.items() if entry.member.mode & (stat.S_ISUID | stat.S_ISGID)]
    attributed = [path for path, entry in entries.items() if any("xattr" in key for key in entry.member.pax_headers)]
    owned = [path for path, entry in entries.items() if (entry.member.uid, entry.member.gid) != (0, 0)]
    assert (privileged, attributed, owned) == ([], [], [])
    special = {path for path, entry in entries.items() if not (entry.member.isfile() or entry.member.isdir())}
    assert all(entries[path].member.issym() for path in special), "devices, pipes, or hard links"


def test_others_may_write_the_data_alone(entries: Mapping[str, Entry]) -> None:
    writable = stat.S_IWGRP | stat.S_IWOTH
    found = {path for path, entry in entries.items() if not entry.member.issym() and entry.member.mode & writable}
    assert found == {DATA}


def test_lua_is_the_only_interpreter(entries: Mapping[str, Entry]) -> None:
    programs = {path for path, entry in entries.items() if _is_program(entry.content)}
    names = {name for name in PROGRAMS if any(name in path for path in programs)}
    assert names == PROGRAMS
    assert len(programs) == len(PROGRAMS), programs
    # A script needs its interpreter: where it is not in the image, nobody can run it.
    for path, entry in entries.items():
        if entry.content.startswith(b"#!"):
            interpreter = entry.content[2:].split(b"\n")[0].split()[0].decode().lstrip("/")
            assert interpreter == "usr/bin/lua5.4" or _resolved(entries, interpreter) is None, path


def _is_program(content: bytes) -> bool:
    """Whether it is an ELF file that the kernel can start: with an entry point (elf(5))."""
    if not content.startswith(b"\x7fELF"):
        return False
    order = "little" if content[5] == 1 else "big"
    size = 8 if content[4] == 2 else 4
    return int.from_bytes(content[24 : 24 + size], order) != 0  # type: ignore[arg-type]  # one of the two literals


def _resolved(entries: Mapping[str, Entry], path: str) -> Entry | None:
    """The file at a path whose folders may be links, as /bin is."""
    head, _, rest = path.partition("/")
    if head in entries and entries[head].member.issym():
        path = f"{entries[head].member.linkname.lstrip('/')}/{rest}"
    return entries.get(path)


def test_the_user_is_fixed_and_not_root(client: docker.DockerClient, hardened: LoadedImage) -> None:
    configuration = client.images.get(hardened.name).attrs["Config"]
    assert configuration["User"] == "5222:5222"
    assert {port.split("/")[0] for port in configuration["ExposedPorts"]} == {"5222", "5223", "5269", "5270", "5281"}


# ---- What cannot be done in the container


@pytest.mark.parametrize("program", [*SHELLS, *TOOLS])
def test_there_is_no_program_to_start(server: Server, program: str) -> None:
    outcome = server.execute(program)
    assert outcome.status in (126, 127), outcome.text
    assert "no such file" in outcome.text or "not found" in outcome.text, outcome.text


def test_lua_starts_no_program(server: Server) -> None:
    """Its ways to do so all go through /bin/sh (system(3), popen(3))."""
    outcome = run_lua(server, START)
    assert outcome.output.split() == ["none"] * 3, outcome.text


@pytest.mark.parametrize(
    ("user", "read_only"),
    [
        pytest.param("", True, id="server"),
        pytest.param("", False, id="server, root not read-only"),
        pytest.param("0:0", True, id="root"),
    ],
)
def test_a_write_is_refused_everywhere_but_in_the_data(
    client: docker.DockerClient, hardened: LoadedImage, user: str, read_only: bool
) -> None:
    """In every folder, and to every file; /dev/shm, which is no part of the image, holds the private folder."""
    accounts = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_ACCOUNTS": f"juliet@{DOMAIN}:wherefore"}
    server = Server(client, hardened, accounts, {"read_only": read_only})
    try:
        server.start()
        outcome = run_lua(server, WALK, user)
    finally:
        server.remove()
    assert outcome.status == 0, outcome.text
    *found, seen = [line.split("\t") for line in outcome.output.splitlines()]
    assert seen[0] == "seen"
    assert int(seen[1]) > 100 and int(seen[2]) > 500, "the walk did not get far"  # noqa: PT018
    written = {path for _, path in found}
    assert f"/{DATA}" in written, "not even the data can be written, so this proves nothing"
    assert {path for path in written if not f"{path}/".startswith(f"/{DATA}/")} == set()


def test_every_process_is_the_user_and_has_no_capability(server: Server) -> None:
    status = run_lua(
        server,
        'for _, pid in ipairs { "1", "self" } do io.write((io.open("/proc/" .. pid .. "/status"):read("a"))) end',
    ).output
    fields = [line.split(":\t") for line in status.splitlines() if ":\t" in line]
    assert [value for name, value in fields if name in ("Uid", "Gid")] == ["\t".join(["5222"] * 4)] * 4
    assert {value for name, value in fields if name.startswith("Cap")} == {"0" * 16}
    assert {value for name, value in fields if name == "NoNewPrivs"} == {"1"}


# ---- What the container says when it could do more

LOOSE: Mapping[str, tuple[dict[str, Any], str]] = {
    "writable root": ({"read_only": False}, "the root file system can be written"),
    "capabilities": ({"cap_drop": []}, "capabilities can be had"),
    "new privileges": ({"security_opt": []}, "programs can gain rights"),
}


@pytest.mark.parametrize("name", LOOSE)
def test_a_gap_is_noted_and_can_be_refused(client: docker.DockerClient, hardened: LoadedImage, name: str) -> None:
    options, expected = LOOSE[name]
    outcome = servers.run(client, hardened, "check", environment={"PROSODY_DOMAIN": DOMAIN}, **options)
    notes = [line for line in outcome.text.splitlines() if "note:" in line]
    assert outcome.status == 0, outcome.text
    assert [expected in note for note in notes] == [True], notes
    strict = {"PROSODY_DOMAIN": DOMAIN, "PROSODY_CONFINEMENT": "required"}
    outcome = servers.run(client, hardened, environment=strict, **options)
    assert outcome.status == 78, outcome.text
    assert f"PROSODY_CONFINEMENT=required: {expected}" in outcome.text


def test_a_container_without_any_flag_starts_and_says_what_it_could_do(
    client: docker.DockerClient, hardened: LoadedImage
) -> None:
    bare = {option: type(value)() for option, value in CONFINED.items()}
    server = Server(client, hardened, {"PROSODY_DOMAIN": DOMAIN}, bare)
    try:
        server.start()
        for _, expected in LOOSE.values():
            assert server.says(f"note: {expected}")
    finally:
        server.remove()


def test_a_confined_container_has_nothing_to_note(client: docker.DockerClient, hardened: LoadedImage) -> None:
    with servers.serving(client, hardened, PROSODY_CONFINEMENT="required") as server:
        assert "note:" not in server.log()
        health = server.execute("prosodyctl", "status")
        assert health.status == 0, health.text
        assert "ready" in health.text, "without plain HTTP the server was not asked whether it is ready"


def test_root_is_refused(client: docker.DockerClient, hardened: LoadedImage) -> None:
    outcome = servers.run(client, hardened, environment={"PROSODY_DOMAIN": DOMAIN}, user="0:0")
    assert outcome.status == 77, outcome.text
