"""The embedded engine: Debian's Docker packages, unpacked, running from this checkout's .cache.

Nothing is installed, and nothing outside .cache and the user's cache is written. The engine runs in its own mount
and process namespaces (unshare(1)): the unpacked packages are laid over /usr there, and /run is a copy-on-write view.
When its first process ends, the kernel ends all others and drops all mounts, so none can be left behind. No
firewall rule is ever made; containers are reached through their published ports.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import ipaddress
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import docker
import psutil
from filelock import FileLock

from scripts import paths, toolset
from scripts.console import console
from scripts.errors import EngineError

# ioctl(2) requests of bridges and interfaces (linux/sockios.h), and the flag that brings an interface up (linux/if.h)
_SIOCBRADDBR, _SIOCBRDELBR, _SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x89A0, 0x89A1, 0x8913, 0x8914, 0x1
_SIOCGIFHWADDR, _SIOCSIFHWADDR, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8927, 0x8924, 0x8916, 0x891C

_NETWORKS = ipaddress.IPv4Network("10.213.0.0/16")
_NETWORK_SIZE = 24  # bits of a network's address

_LONGEST_SOCKET_PATH = 107  # bytes; sun_path in unix(7)
_UNUSABLE = '"#%,:;?\\'  # in paths: they mean something in options of overlay mounts, or in the address of a socket
_BUILD_CACHE = "8GB"
_START_PATIENCE = 60.0  # seconds
_STOP_PATIENCE = 25.0

# In the engine's own namespaces. $1: packages, $2: state folder. The shims' sockets are always below /run/containerd,
# so /run becomes an overlay: what the machine has there can be read, what the engine writes goes to its folder.
_LAUNCH = """set -e
mount -t overlay overlay -o "lowerdir=$1/usr:/usr" /usr
mount -t overlay overlay -o "lowerdir=/run,upperdir=$2/run,workdir=$2/work" /run
exec /usr/bin/tini -s -- /usr/sbin/dockerd --config-file "$2/daemon.json"
"""


@dataclass(frozen=True)
class Running:
    """A started engine: the process that holds its namespaces, told apart from later ones by its start time."""

    pid: int
    started: str  # clock ticks since boot, field 22 of /proc/<pid>/stat

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return _start_time(self.pid) == self.started


@dataclass(frozen=True)
class Embedded:
    """An embedded engine of this checkout; `name` is its set of tools (`engine` or `engine-next`).

    `parent` is the folder that it has its own folder in.
    """

    name: str = "engine"
    parent: Path = field(default_factory=lambda: paths.SCRATCH)

    @property
    def folder(self) -> Path:
        """Where the engine keeps its state and images."""
        return self.parent / self.name

    @property
    def identity(self) -> str:
        """Short name that no other checkout's engine has; its bridge and control group are called so."""
        return "prosody" + hashlib.sha256(str(self.folder).encode()).hexdigest()[:8]

    @property
    def socket(self) -> Path:
        """Where the engine listens: in its folder, or in the first other place whose path is not too long."""
        name = f"{self.identity}.sock"
        places = (self.folder / "docker.sock", paths.user_cache() / name, Path(tempfile.gettempdir()) / name)
        return next((place for place in places if len(os.fsencode(place)) <= _LONGEST_SOCKET_PATH), places[-1])

    @property
    def host(self) -> str:
        """Value of DOCKER_HOST for this engine."""
        return f"unix://{self.socket}"

    @property
    def client_config(self) -> Path:
        """Value of DOCKER_CONFIG for this engine."""
        return self.folder / "client"

    def running(self) -> Running | None:
        """The engine's process, if it runs."""
        try:
            running = Running(**json.loads((self.folder / "running.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None
        return running if running.alive else None

    def responds(self) -> bool:
        """Whether the engine answers."""
        try:
            client = docker.DockerClient(base_url=self.host, timeout=5)
        except docker.errors.DockerException:
            return False
        try:
            return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False
        finally:
            client.close()

    def start(self) -> Path:
        """Start the engine unless it runs; returns the unpacked packages.

        What a killed run left (socket, state, interface) is recognised and replaced. Raises EngineError with the end
        of the engine's log if it does not come up, and if it never could, below a path like this.
        """
        for folder in (self.folder, paths.user_cache()):
            if not str(folder).isprintable() or not set(_UNUSABLE).isdisjoint(str(folder)):
                raise EngineError(
                    f"The embedded engine cannot work in {str(folder)!r}: such a path may not have any of"
                    f" {' '.join(_UNUSABLE)}. Rename the folder, or install Docker, which does not mind."
                )
        root = toolset.unpack(self.name).root
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / "lock"):
            if self.running() and self.responds():
                return root
            self._stop()
            with console.status("Starting the embedded engine"):
                self._start(root)
        return root

    def stop(self) -> bool:
        """Stop the engine, its containers and all its processes; False if there was nothing to stop."""
        if not self.folder.is_dir():
            return False
        with FileLock(self.folder / "lock"):
            return self._stop()

    def remove(self) -> bool:
        """Stop the engine and delete its images, containers and volumes; False if there was nothing."""
        if not self.folder.is_dir():
            return False
        self.stop()
        shutil.rmtree(self.folder)
        return True

    def _start(self, root: Path) -> None:
        for name in ("run", "work", "data", "client", "tmp"):
            (self.folder / name).mkdir(exist_ok=True)
        paths.write_text(self.folder / "daemon.json", json.dumps(self.configuration(), indent=2))
        plugins = root / "usr/libexec/docker/cli-plugins"
        paths.write_text(self.client_config / "config.json", json.dumps({"cliPluginsExtraDirs": [str(plugins)]}))
        _add_bridge(self.identity, self._network())
        log = self.folder / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc",
                 "/bin/sh", "-c", _LAUNCH, "sh", str(root), str(self.folder)],
                stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True, cwd="/",
                env=_environment() | {"TMPDIR": str(self.folder / "tmp")},
            )  # fmt: skip
        running = Running(process.pid, _start_time(process.pid) or "")
        paths.write_text(self.folder / "running.json", json.dumps(asdict(running)))
        deadline = time.monotonic() + _START_PATIENCE
        while not self.responds():
            ended = process.poll() is not None
            if ended or time.monotonic() > deadline:
                end = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
                self._stop()
                what = "ended at once" if ended else f"did not answer within {_START_PATIENCE:.0f} s"
                raise EngineError(f"The embedded engine {what}. The end of its log ({log}):\n{end}")
            time.sleep(0.05)

    def configuration(self) -> Mapping[str, object]:
        """Content of daemon.json: everything in its own folder, no firewall rules, no routing."""
        return {
            "hosts": [self.host],
            "data-root": str(self.folder / "data"),
            "features": {"containerd-snapshotter": True},
            # By itself BuildKit keeps up to a tenth of the disk.
            "builder": {"gc": {"enabled": True, "defaultKeepStorage": _BUILD_CACHE}},
            "bridge": self.identity,
            "default-address-pools": [{"base": str(_NETWORKS), "size": _NETWORK_SIZE}],
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
            "ip-masq": False,
            "cgroup-parent": f"/{self.identity}",
            "shutdown-timeout": 5,
        }

    def _stop(self) -> bool:
        running = self.running()
        interfaces = self._interfaces() if running else []
        if running:
            with console.status("Stopping the embedded engine"):
                _end(running)
        for interface in [*interfaces, self.identity]:
            _remove_bridge(interface)
        _remove_control_groups(self.identity)
        self.socket.unlink(missing_ok=True)
        for name in ("run", "work", "tmp"):
            # The kernel makes the overlay's work folder inaccessible even to its owner; root may remove it.
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "running.json").unlink(missing_ok=True)
        return running is not None

    def _network(self) -> ipaddress.IPv4Network:
        """The network that the engine had before, unless another engine has it now; then a free one.

        The engine itself would go back to what it has on record, and then no port of either leads anywhere.
        """
        free = _free_networks()
        record = self.folder / "network"
        before = record.read_text() if record.is_file() else ""
        found = next((network for network in free if str(network) == before), free[0])
        if str(found) != before:
            shutil.rmtree(self.folder / "data" / "network", ignore_errors=True)
            paths.write_text(record, str(found))
        return found

    def _interfaces(self) -> list[str]:
        """Interfaces of the networks that users of the engine made (`br-<id>`)."""
        try:
            client = docker.DockerClient(base_url=self.host, timeout=5)
            found = client.networks.list(filters={"type": "custom"})
        except (docker.errors.DockerException, OSError):
            return []
        client.close()
        return [f"br-{network.id[:12]}" for network in found if network.id]


def _environment() -> dict[str, str]:
    """The engine's environment: a plain PATH, proxies and certificates; nothing that would redirect it."""
    kept = {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") or key.startswith("SSL_")}
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **kept}


def _start_time(pid: int) -> str | None:
    """Start time of a process (proc(5), field 22 of stat), None if it does not exist or has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _end(running: Running) -> None:
    """End the engine: ask its first process, then take it and its whole process namespace away."""
    for child in _children(running.pid):
        os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_PATIENCE
    while running.alive and time.monotonic() < deadline:
        time.sleep(0.05)
        _reap(running.pid)
    if running.alive:
        for child in _children(running.pid):
            os.kill(child, signal.SIGKILL)
        while running.alive:
            time.sleep(0.05)
            _reap(running.pid)


def _reap(pid: int) -> None:
    """Collect the ended engine if this very process had started it."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _children(pid: int) -> Iterator[int]:
    try:
        yield from map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    except OSError:
        return


def _free_networks() -> list[ipaddress.IPv4Network]:
    """Networks for engines in which no interface of this machine has an address. Raises EngineError if none is left."""
    own = [one.address for found in psutil.net_if_addrs().values() for one in found if one.family == socket.AF_INET]
    taken = {ipaddress.IPv4Interface(f"{address}/{_NETWORK_SIZE}").network for address in own}
    free = [network for network in _NETWORKS.subnets(new_prefix=_NETWORK_SIZE) if network not in taken]
    if not free:
        raise EngineError(
            f"Interfaces of this machine have addresses in all networks of {_NETWORKS}, and the embedded engine"
            " needs one. Stop the engines of other checkouts, in each of them with: scripts/nox -s engine -- stop"
        )
    return free


def _add_bridge(name: str, network: ipaddress.IPv4Network) -> None:
    """Make a bridge interface, which the engine takes its network from."""

    def internet_address(address: object) -> bytes:
        return struct.pack("16sH2x4s8x", name.encode(), socket.AF_INET, socket.inet_aton(str(address)))

    with socket.socket() as handle:
        try:
            with contextlib.suppress(FileExistsError):
                fcntl.ioctl(handle, _SIOCBRADDBR, name.encode() + b"\0")
            # An address that was set stays. Else a bridge takes the lowest one of its ports, so that with a container
            # that comes or goes it may change, and what the others send to the old one is lost for seconds.
            address = fcntl.ioctl(handle, _SIOCGIFHWADDR, struct.pack("16s24x", name.encode()))
            fcntl.ioctl(handle, _SIOCSIFHWADDR, address)
            fcntl.ioctl(handle, _SIOCSIFADDR, internet_address(network[1]))
            fcntl.ioctl(handle, _SIOCSIFNETMASK, internet_address(network.netmask))
        except OSError as error:
            raise EngineError(
                f"The network interface {name} could not be made: {error.strerror}. The embedded engine needs root and"
                " the kernel's bridge module."
            ) from error


def _remove_bridge(name: str) -> None:
    """Take a bridge interface down and away, if there is one."""
    with socket.socket() as handle:
        request = struct.pack("16sh14x", name.encode(), 0)
        try:
            flags = struct.unpack("16sh14x", fcntl.ioctl(handle, _SIOCGIFFLAGS, request))[1]
            fcntl.ioctl(handle, _SIOCSIFFLAGS, struct.pack("16sh14x", name.encode(), flags & ~_IFF_UP))
            fcntl.ioctl(handle, _SIOCBRDELBR, name.encode() + b"\0")
        except OSError:
            return


def _remove_control_groups(name: str) -> None:
    """Remove the engine's control groups, in either hierarchy version (cgroups(7)); they are empty by now."""
    for pattern in (f"*/{name}", name):
        for group in Path("/sys/fs/cgroup").glob(pattern):
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:
                    continue
