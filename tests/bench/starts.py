"""How long a server takes from its start to the first login, in the container and bare."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
import zstandard
from docker.models.containers import Container

from scripts import build, paths, platforms
from scripts.engine import Engine
from scripts.oci import Layout
from tests.bench.rows import Row
from tests.integration.clients import connected
from tests.integration.servers import ACCOUNTS, CONFINED, LoadedImage, Server, answers_clients, serving

_ROUNDS = 9
_PORT = 15222
_CONFIGURATION = "/usr/local/lib/prosody-container/prosody.cfg.lua"
# The bare server shares the machine's network, so it must keep to the loopback.
_LOOPBACK_ONLY = f'interfaces = {{ "127.0.0.1" }}\nhttp_interfaces = {{ "127.0.0.1" }}\nc2s_ports = {{ {_PORT} }}\n'
# Like a container, the bare server finds its files in a fresh overlay of the image's layers: nothing is cached yet.
# $1: mount point, $2: lower folders, $3: data folder. The rest: the program and its arguments.
_BARE = """set -e
root=$1; layers=$2; data=$3; shift 3
mount -t overlay overlay -o "lowerdir=$layers" "$root"
mount --bind "$data" "$root/var/lib/prosody"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
exec chroot --userspec=5222:5222 "$root" "$@"
"""


def rows(tool: Engine) -> Iterator[Row]:
    """Measure; start of the container, against the same Prosody from the same files without any container."""
    native = platforms.native()
    layout = build.build(build.prepare("debian", [native]), [native], tool, folder=paths.SCRATCH / "bench" / "layout")
    image = LoadedImage("prosody-bench:debian", native)
    build.load(layout, layout.images[0], [image.name], tool)
    client = tool.sdk()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=paths.SCRATCH) as folder:
        scratch = Path(folder)
        with serving(client, image) as server:
            certificate = server.certificate(scratch)
            bare = _Bare(server, client, layout, scratch)
            server.remove_container()
            contained_seconds, bare_seconds, empty_seconds = [], [], []
            for _ in range(_ROUNDS):
                contained_seconds.append(_contained(client, server, certificate))
                bare_seconds.append(bare.seconds(certificate))
                empty_seconds.append(_empty(client, server))
    client.images.remove(image.name, force=True)
    client.close()
    contained_median, bare_median = statistics.median(contained_seconds), statistics.median(bare_seconds)
    reference = "the same Prosody, bare, from the same files"
    yield Row("start to first login", contained_median, "s", bare_median, reference, at_most=1.3)
    # What the engine itself takes to set up any container (network, ports, namespaces) is not the image's doing.
    own = contained_median - statistics.median(empty_seconds)
    yield Row(
        "start to first login, less that of a container that does nothing",
        own,
        "s",
        bare_median,
        reference,
        at_most=1.3,
    )


class _Bare:
    """The same Prosody without a container: in a plain chroot, on the same layers, with a copy of the same data."""

    def __init__(self, server: Server, client: docker.DockerClient, layout: Layout, scratch: Path) -> None:
        self._environment = server.environment
        self._root, self._data = scratch / "root", scratch / "data"
        self._root.mkdir()
        assert server.volume is not None
        volume: Mapping[str, Any] = client.api.inspect_volume(server.volume.name)
        subprocess.run(["cp", "-a", volume["Mountpoint"], str(self._data)], check=True)
        (self._data / "prosody.sock").unlink(missing_ok=True)
        own = scratch / "own"
        for folder in ("proc", "dev", "etc/prosody/conf.d"):
            (own / folder).mkdir(parents=True)
        for name in ("resolv.conf", "hosts"):
            shutil.copy(f"/etc/{name}", own / "etc" / name)
        (own / "etc/prosody/conf.d/bench.cfg.lua").write_text(_LOOPBACK_ONLY)
        self._layers = ":".join(map(str, [own, *reversed(_unpacked(layout, scratch))]))

    def seconds(self, certificate: Path) -> float:
        """Seconds from the start to the first login."""
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PROSODY_CONFIG": _CONFIGURATION, **self._environment}
        command = [
            *("unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", _BARE, "sh"),
            *(str(self._root), self._layers, str(self._data), "/usr/bin/lua5.4", "/usr/bin/prosody", "-F"),
        ]
        started: list[subprocess.Popen[bytes]] = []
        try:
            return _until_login(
                lambda: started.append(subprocess.Popen(command, env=variables, stdout=subprocess.DEVNULL)), certificate
            )
        finally:
            for process in started:
                _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stop the server: it is the first process of the process namespace that `process` made."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGTERM)
    process.wait(timeout=20)


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


def _contained(client: docker.DockerClient, server: Server, certificate: Path) -> float:
    container = _created(client, server)
    try:
        return _until_login(container.start, certificate)
    finally:
        container.remove(force=True)


def _empty(client: docker.DockerClient, server: Server) -> float:
    """Seconds that the engine takes to start the same container for a program that does nothing."""
    container = _created(client, server, entrypoint=["/usr/bin/tini", "--version"])
    try:
        begin = time.monotonic()
        container.start()
        return time.monotonic() - begin
    finally:
        container.remove(force=True)


def _created(client: docker.DockerClient, server: Server, **more: object) -> Container:
    assert server.volume is not None
    options: dict[str, Any] = {
        "environment": dict(server.environment),
        "ports": {"5222/tcp": ("127.0.0.1", _PORT)},
        "volumes": {server.volume.name: {"bind": "/var/lib/prosody", "mode": "rw"}},
    }
    return client.containers.create(server.image.name, **options | CONFINED | more)


def _until_login(start: Callable[[], object], certificate: Path) -> float:
    """Seconds from `start` to the first accepted login."""
    jid, password = next(iter(ACCOUNTS.items()))

    async def log_in() -> None:
        async with connected(_PORT, jid, password, certificate, available=False):
            pass

    begin = time.monotonic()
    start()
    while not answers_clients(_PORT):
        if time.monotonic() - begin > 30:
            raise TimeoutError("the server does not answer")
        time.sleep(0.01)
    asyncio.run(log_in())
    return time.monotonic() - begin
