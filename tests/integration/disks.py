"""A volume on a disk of its own, whose power can be cut. Needs root on Linux."""

from __future__ import annotations

import fcntl
import os
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.models.volumes import Volume

from scripts import toolset

_SIZE = 48 * 1024 * 1024  # bytes
_OWNER = 5222  # user and group of the image
# EXT4_IOC_SHUTDOWN, _IOR('X', 125, __u32), and its argument EXT4_GOING_FLAGS_NOLOGFLUSH (linux/fs/ext4/ext4.h)
_SHUTDOWN, _WITHOUT_FLUSHING = 0x8004587D, 2


@dataclass
class Disk:
    """A block device with ext4, and a volume of Docker's on it.

    It is mounted here as well as in the container. Both are one file system, with the options of the mount here.
    """

    volume: Volume
    device: str
    mount_point: Path
    options: str

    def cut_power(self) -> None:
        """End the file system as it is on the device now: what was not written to it is lost (like xfstests do it).

        The device itself loses nothing that it was given.
        """
        folder = os.open(self.mount_point, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, _WITHOUT_FLUSHING.to_bytes(4, "little"))
        finally:
            os.close(folder)

    def sync(self) -> None:
        """Write all to the device (sync(1))."""
        subprocess.run(["sync", "--file-system", str(self.mount_point)], check=True)

    def restore_power(self) -> None:
        """Mount it again, which replays its journal; nothing else may use it."""
        _run("usr/bin/umount", str(self.mount_point))
        _mount(self.device, self.mount_point, self.options)


@contextmanager
def disk(client: docker.DockerClient, folder: Path, options: str = "defaults") -> Iterator[Disk]:
    """A new disk, kept in a file in `folder` and mounted with `options` (mount(8))."""
    file, mount_point = folder / "disk", folder / "mounted"
    mount_point.mkdir()
    with file.open("wb") as empty:
        empty.truncate(_SIZE)
    _run("usr/sbin/mkfs.ext4", "-q", "-E", f"root_owner={_OWNER}:{_OWNER}", str(file))
    device = _run("usr/sbin/losetup", "--find", "--show", str(file)).strip()
    try:
        _mount(device, mount_point, options)
        try:
            volume = client.volumes.create(
                f"prosody-test-{uuid.uuid4().hex[:8]}", driver="local", driver_opts={"type": "ext4", "device": device}
            )
            yield Disk(volume, device, mount_point, options)
        finally:
            _run("usr/bin/umount", str(mount_point))
    finally:
        _run("usr/sbin/losetup", "--detach", device)


def _mount(device: str, mount_point: Path, options: str) -> None:
    _run("usr/bin/mount", "-t", "ext4", "-o", options, device, str(mount_point))


def _run(program: str, *arguments: str) -> str:
    command: Sequence[str] = [*toolset.unpack("filesystem").command(program), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
