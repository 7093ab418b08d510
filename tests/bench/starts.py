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

from scripts import build, paths, platforms
from scripts.engine import Engine
from scripts.oci import Layout
from tests.bench.rows import Row
from tests.integration.clients import connected
from tests.integration.servers import ACCOUNTS, CONFINED, LoadedImage, Server, answers_clients, serving

_ROUNDS = 9
_PORT = 15222
_CONFIGURATION = "/usr/local/lib/prosody-container/prosody.cfg.lua"
# Both listen on the loopback only; this file is mounted into the one and copied into the other.
_DROP_IN = f'interfaces = {{ "127.0.0.1" }}\nhttp_interfaces = {{ "127.0.0.1" }}\nc2s_ports = {{ {_PORT} }}\n'
# $1: root file system. The rest: the program and its arguments.
_BARE = """set -e
root=$1; shift
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
        root = _root(layout, scratch)
        with serving(client, image) as server:
            certificate = server.certificate(scratch)
            _copy_data(server, client, root)
            server.remove_container()
            contained, bare = [], []
            for _ in range(_ROUNDS):
                contained.append(_contained(client, server, certificate))
                bare.append(_bare(root, server.environment, certificate))
    client.images.remove(image.name, force=True)
    client.close()
    yield Row("start to first login", statistics.median(contained), "s", statistics.median(bare),
              "the same Prosody, bare, from the same files", at_most=1.3)  # fmt: skip


def _root(layout: Layout, scratch: Path) -> Path:
    """The image's files, unpacked."""
    root = scratch / "root"
    root.mkdir()
    manifest = json.loads(layout.blob(layout.images[0].manifest).read_text())
    for layer in manifest["layers"]:
        with (
            layout.blob(layer["digest"]).open("rb") as stream,
            zstandard.ZstdDecompressor().stream_reader(stream) as reader,
            tarfile.open(fileobj=reader, mode="r|") as archive,
        ):
            archive.extractall(root, filter="tar")
    for name in ("proc", "dev"):
        (root / name).mkdir(exist_ok=True)
    for name in ("resolv.conf", "hosts"):
        shutil.copy(f"/etc/{name}", root / "etc" / name)
    (root / "etc/prosody/conf.d/bench.cfg.lua").write_text(_DROP_IN)
    return root


def _copy_data(server: Server, client: docker.DockerClient, root: Path) -> None:
    """Copy the server's data below `root`: both have the same accounts and certificate, and make none."""
    assert server.volume is not None
    source: Mapping[str, Any] = client.api.inspect_volume(server.volume.name)
    target = root / "var/lib/prosody"
    subprocess.run(["cp", "-a", f"{source['Mountpoint']}/.", str(target)], check=True)
    (target / "prosody.sock").unlink(missing_ok=True)


def _contained(client: docker.DockerClient, server: Server, certificate: Path) -> float:
    assert server.volume is not None
    options: dict[str, Any] = {
        "environment": dict(server.environment),
        "ports": {"5222/tcp": ("127.0.0.1", _PORT)},
        "volumes": {server.volume.name: {"bind": "/var/lib/prosody", "mode": "rw"}},
    }
    container = client.containers.create(server.image.name, **options | CONFINED)
    try:
        return _until_login(container.start, certificate)
    finally:
        container.remove(force=True)


def _bare(root: Path, environment: Mapping[str, str], certificate: Path) -> float:
    variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PROSODY_CONFIG": _CONFIGURATION, **environment}
    command = ["unshare", "--mount", "--pid", "--fork", "/bin/sh", "-c", _BARE, "sh", str(root)]
    started: list[subprocess.Popen[bytes]] = []

    def start() -> None:
        started.append(
            subprocess.Popen(
                [*command, "/usr/bin/lua5.4", "/usr/bin/prosody", "-F"], env=variables, stdout=subprocess.DEVNULL
            )
        )

    try:
        return _until_login(start, certificate)
    finally:
        for process in started:
            for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                os.kill(int(child), signal.SIGTERM)
            process.wait(timeout=20)


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
        time.sleep(0.005)
    asyncio.run(log_in())
    return time.monotonic() - begin
