"""A volume on a disk of its own, whose power can be cut. Needs root on Linux."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.models.containers import Container
from docker.models.volumes import Volume

from scripts import toolset

_SIZE = 48 * 1024 * 1024  # bytes
_PATIENCE = 20.0  # seconds
_OWNER = 5222  # user and group of the image
# EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), and its argument EXT4_GOING_FLAGS_NOLOGFLUSH (linux/fs/ext4/ext4.h)
_SHUTDOWN, _WITHOUT_FLUSHING = 0x8004587D, 2


@dataclass
class Disk:
    """A block device with ext4, and a volume of Docker's on it.

    It is mounted by Docker only. What is mounted here would stay so in every mount namespace that somebody makes
    meanwhile (mount_namespaces(7)), and could not be mounted anew.
    """

    volume: Volume
    device: str

    def sync(self, container: Container) -> None:
        """Write all to the device (sync(1))."""
        subprocess.run(["sync", "--file-system", str(_folder(container))], check=True)

    def cut_power(self, container: Container) -> None:
        """End the file system as it is on the device now: what was not written to it is lost, as xfstests do it.

        The device itself loses nothing that it was given.
        """
        folder = os.open(_folder(container), os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _WITHOUT_FLUSHING.to_bytes(4, "little"))
        finally:
            os.close(folder)

    def wait_until_unmounted(self) -> None:
        """Docker's mount may end a little after the container; the next one is to replay the journal."""
        deadline = time.monotonic() + _PATIENCE
        while self._is_mounted():
            assert time.monotonic() < deadline, f"{self.device} stays mounted"
            time.sleep(0.02)

    def _is_mounted(self) -> bool:
        try:
            os.close(os.open(self.device, os.O_RDONLY | os.O_EXCL))  # refused then (open(2))
        except OSError as error:
            if error.errno == errno.EBUSY:
                return True
            raise
        return False


@contextmanager
def disk(client: docker.DockerClient, folder: Path, options: str = "") -> Iterator[Disk]:
    """A new disk, kept in a file in `folder` and mounted with `options` (mount(8))."""
    file = folder / "disk"
    with file.open("wb") as empty:
        empty.truncate(_SIZE)
    _run("usr/sbin/mkfs.ext4", "-q", "-E", f"root_owner={_OWNER}:{_OWNER}", str(file))
    device = _run("usr/sbin/losetup", "--find", "--show", str(file)).strip()
    try:
        volume = client.volumes.create(
            f"prosody-test-{uuid.uuid4().hex[:8]}",
            driver="local",
            driver_opts={"type": "ext4", "device": device} | ({"o": options} if options else {}),
        )
        yield Disk(volume, device)
    finally:
        _run("usr/sbin/losetup", "--detach", device)


def _folder(container: Container) -> Path:
    """The container's data, by way of one of its processes, which the container's control group names."""
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        try:
            if str(container.id) in group.read_text():
                return group.parent / "root/var/lib/prosody"
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has ended meanwhile
    raise LookupError(f"no process of {container.name} can be seen here")


def _run(program: str, *arguments: str) -> str:
    command: Sequence[str] = [*toolset.unpack("filesystem").command(program), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
