"""The reference of the container: the same Prosody from the same files, configured by hand, without any container."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import docker
import zstandard

from scripts.errors import UserError
from scripts.oci import Layout
from tests.integration.servers import Server

CONFIGURATION = Path(__file__).with_name("bare.cfg.lua")
PORT = 15222  # of clients, as in the configuration
_OWN_MODULES = "container_"
_DEFAULT_PLACE = "/etc/prosody/prosody.cfg.lua"
# Options that cannot be the same, and why.
_DIFFERENT = {
    **dict.fromkeys(
        (
            *("interfaces", "http_interfaces", "component_interfaces", "use_ipv6"),
            *("c2s_ports", "c2s_direct_tls_ports", "s2s_ports", "s2s_direct_tls_ports", "http_ports", "https_ports"),
        ),
        "one server has a network of its own, the other shares the machine's",
    ),
    **dict.fromkeys(
        ("certificates", "c2s_direct_tls_certificate", "s2s_direct_tls_certificate", "https_certificate"),
        "the image serves copies that it makes at its start",
    ),
    "log": "the image has a format of its own; both write what is of level info to their output",
    "plugin_paths": "the image's own modules",
    "e2e_policy_chat": "of a module of the image that is not loaded",
    "e2e_policy_muc": "of a module of the image that is not loaded",
    "prosodyctl_service_warnings": "of prosodyctl",
}
# Like a container, the bare server finds its files in a fresh overlay of the image's layers: nothing is cached yet.
# The overlay is made before the start, which a line on the standard input asks for.
# $1: mount point, $2: lower folders, $3: data folder, $4: log. The rest: the program and its arguments.
_BARE = """set -e
root=$1; layers=$2; data=$3; log=$4; shift 4
mount -t overlay overlay -o "lowerdir=$layers" "$root"
mount --bind "$data" "$root/var/lib/prosody"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
echo mounted
read -r start
exec chroot --userspec=5222:5222 "$root" "$@" >"$log" 2>&1
"""


class DriftError(UserError):
    """The configuration written by hand is not equivalent to that of the image (any more)."""


class Bare:
    """Prosody in a plain chroot, on the image's layers, with a copy of the data of a server that ran in a container."""

    def __init__(self, server: Server, client: docker.DockerClient, layout: Layout, scratch: Path) -> None:
        self._root, self._data, self.log = scratch / "root", scratch / "data", scratch / "bare.log"
        self._root.mkdir()
        assert server.volume is not None
        volume: Mapping[str, Any] = client.api.inspect_volume(server.volume.name)
        subprocess.run(["cp", "-a", volume["Mountpoint"], str(self._data)], check=True)
        (self._data / "prosody.sock").unlink(missing_ok=True)
        own = scratch / "own"
        for folder in ("proc", "dev", "etc/prosody"):
            (own / folder).mkdir(parents=True)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", own / "etc" / name)
        configuration = own / _DEFAULT_PLACE.lstrip("/")
        configuration.write_bytes(CONFIGURATION.read_bytes())
        configuration.chmod(0o644)
        check_equivalence(server, client, configuration)
        self._layers = ":".join(map(str, [own, *reversed(_unpacked(layout, scratch))]))

    @contextmanager
    def prepared(self, enter: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
        """A process that becomes the server when `begin` is called, and is stopped in the end.

        `enter` is a command before it, to be somewhere else, as nsenter(1) does.
        """
        command = [
            *enter,
            *("unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", _BARE, "sh"),
            *(str(self._root), self._layers, str(self._data), str(self.log)),
            *("/usr/bin/lua5.4", "/usr/bin/prosody", "-F"),
        ]
        process = subprocess.Popen(
            command,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            if _stream(process.stdout).readline() != "mounted\n":
                raise UserError("the image's layers could not be mounted: see above")
            yield process
        finally:
            _end(process)


def begin(process: subprocess.Popen[str]) -> None:
    """Start a prepared server."""
    stream = _stream(process.stdin)
    stream.write("start\n")
    stream.flush()


def check_equivalence(server: Server, client: docker.DockerClient, configuration: Path) -> None:
    """Raise unless the configuration is that of the image as far as it can be; both as Prosody itself reads them."""
    ours = _options(server, client)
    bare = _options(
        server,
        client,
        environment=dict(server.environment) | {"PROSODY_CONFIG": _DEFAULT_PLACE},
        volumes={str(configuration): {"bind": _DEFAULT_PLACE, "mode": "ro"}},
    )
    found = differences(ours, bare)
    if found:
        lines = "\n".join(found)
        raise DriftError(f"{CONFIGURATION.name} is not equivalent to the image's configuration:\n{lines}")


def differences(ours: Mapping[str, Mapping[str, Any]], bare: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What differs between two configurations, { section: { option: value } }, and should not; one line each."""
    found = [f"[{section}] is only in one of them" for section in sorted(ours.keys() ^ bare.keys())]
    for section in sorted(ours.keys() & bare.keys()):
        for option in sorted(ours[section].keys() | bare[section].keys()):
            if option in _DIFFERENT or option.startswith(_OWN_MODULES):
                continue
            wanted, given = ours[section].get(option), bare[section].get(option)
            if option == "modules_enabled":
                wanted = [name for name in wanted or [] if not name.startswith(_OWN_MODULES)]
            if wanted != given:
                found.append(f"[{section}] {option}: {json.dumps(given)} instead of {json.dumps(wanted)}")
    return found


def _options(server: Server, client: docker.DockerClient, **more: object) -> dict[str, dict[str, Any]]:
    """The options that Prosody gets, as the image's command "config" prints them."""
    options: dict[str, Any] = {"environment": dict(server.environment), "remove": True} | more
    printed: bytes = client.containers.run(server.image.name, ["config"], **options)
    sections: dict[str, dict[str, Any]] = json.loads(printed)["options"]
    return sections


def _end(process: subprocess.Popen[str]) -> None:
    """Stop the server: it is the first process of the process namespace that `process` made."""
    if process.poll() is None:
        for child in children(process.pid):
            subprocess.run(["kill", "-TERM", str(child)], check=False)
    _stream(process.stdin).close()
    process.wait(timeout=20)
    _stream(process.stdout).close()


def children(identifier: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{identifier}/task/{identifier}/children").read_text().split()]


def _stream(stream: IO[str] | None) -> IO[str]:
    assert stream is not None
    return stream


def _unpacked(layout: Layout, scratch: Path) -> list[Path]:
    """The image's layers as folders, lowest first."""
    folders = []
    manifest = json.loads(layout.blob(layout.images[0].manifest).read_text())
    for number, layer in enumerate(manifest["layers"]):
        folder = scratch / f"layer-{number}"
        folder.mkdir()
        with (
            layout.blob(layer["digest"]).open("rb") as stream,
            zstandard.ZstdDecompressor().stream_reader(stream) as reader,
            tarfile.open(fileobj=reader, mode="r|") as archive,
        ):
            archive.extractall(folder, filter="tar")
        folders.append(folder)
    return folders
