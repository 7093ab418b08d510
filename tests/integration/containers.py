"""Containers that tests look into: the image's servers, and the peers that they talk to."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from weakref import WeakValueDictionary

from docker.errors import APIError, DockerException
from docker.models.containers import Container

from scripts.platforms import Platform

# What the image promises to run under, and the tests therefore always use.
CONFINED: dict[str, Any] = {"read_only": True, "cap_drop": ["ALL"], "security_opt": ["no-new-privileges"]}
_LOG_DELAY = 5.0  # seconds
_FRAME = struct.Struct(">BxxxL")
PATIENCE = 120.0  # seconds; emulated processors are slow, and so are machines that others use as well


class Published(Protocol):
    """A server whose ports lead to it from this machine."""

    def port(self, inside: int = 5222) -> int:
        """Port of 127.0.0.1 that leads to one of its own."""
        ...


@dataclass(frozen=True)
class LoadedImage:
    """An image in the engine: its name, and the platform that it is to run as."""

    name: str
    platform: Platform


@dataclass(frozen=True)
class Outcome:
    """What became of a command: exit status, standard output, standard error."""

    status: int
    output: str
    errors: str = ""

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return self.output + self.errors


def execute(
    container: Container, command: Sequence[str], *, user: str = "", environment: Mapping[str, str] | None = None
) -> Outcome:
    """Run a command in a container, as `docker exec` does.

    The SDK's own way (`exec_run`) asks for an upgraded connection and reads from the socket what its HTTP library may
    have read already, so that the output of a command which ends at once can be lost (docker-py, issue 3332: 7 of 150
    on a busy machine). Without an upgrade it is the body of an answer, in frames: the stream's number, the length, and
    so many bytes (Docker Engine API, "Attach to a container").
    """
    api: Any = container.client.api  # type: ignore[union-attr]
    made = api.exec_create(container.id, list(command), user=user, environment=dict(environment or {}))["Id"]
    start = f"{api.base_url}/v{api.api_version}/exec/{made}/start"
    answer = api.post(start, json={"Detach": False, "Tty": False}, timeout=None)
    assert answer.ok, answer.text
    streams = {1: b"", 2: b""}
    frames = io.BytesIO(answer.content)
    while header := frames.read(_FRAME.size):
        stream, length = _FRAME.unpack(header)
        streams[stream] += frames.read(length)
    output, errors = (streams[stream].decode(errors="replace") for stream in (1, 2))
    return Outcome(int(api.exec_inspect(made)["ExitCode"]), output, errors)


def insist(request: Callable[[], object], refusal: str, attempts: int) -> None:
    """Ask the engine again while its answer has the words `refusal`; raises APIError for any other, or the last."""
    for attempts_left in reversed(range(attempts)):
        try:
            request()
        except APIError as error:
            if refusal not in str(error) or not attempts_left:
                raise
        else:
            return


# Everything that tests have started in this process and not forgotten.
_everything: WeakValueDictionary[int, Contained] = WeakValueDictionary()


def logs() -> Iterator[tuple[str, str]]:
    """Name and log of each container that is there, or that was removed by the failure of a test."""
    for contained in list(_everything.values()):
        if contained.container is not None:
            with contextlib.suppress(DockerException):
                yield str(contained.container.name), contained.log()
        elif contained.last_log:
            yield "a removed container", contained.last_log
            contained.last_log = ""


@dataclass
class Contained:
    """Something that runs in a container, once it is started."""

    container: Container | None = field(default=None, init=False)
    last_log: str = field(default="", init=False, repr=False)

    def __post_init__(self) -> None:
        _everything[id(self)] = self

    @property
    def running(self) -> Container:
        """The container, which must have been started."""
        assert self.container is not None, "it was not started"
        return self.container

    def begin(self) -> None:
        """Have the engine start the container, which exists.

        It was seen twice that runc found its own first process gone before that had done anything; the reason is not
        known. Nothing of the container has run then.
        """
        insist(self.running.start, "read init-p: connection reset by peer", attempts=3)

    def pause(self) -> None:
        """Freeze it. runc may give up on a busy machine, and leaves it to callers to try again (runc#4388)."""
        insist(self.running.pause, "unable to freeze", attempts=10)

    def port(self, inside: int = 5222, address: str = "127.0.0.1", *, transport: str = "tcp") -> int:
        """Port on an address of this machine that leads to a port of the container."""
        self.running.reload()
        ports: Any = self.running.ports
        return {port["HostIp"]: int(port["HostPort"]) for port in ports[f"{inside}/{transport}"]}[address]

    def wait_for(self, condition: Callable[[], bool], what: str, patience: float = PATIENCE) -> None:
        """Wait until `condition` holds; fails with the log if the container ends or it takes too long (seconds).

        What has taken long is asked for less often: questions take processors from what is waited for.
        """
        started = time.monotonic()
        while not condition():
            self.running.reload()
            assert self.running.status in ("created", "running"), f"the container ended:\n{self.log()}"
            waited = time.monotonic() - started
            assert waited < patience, f"{what}: not within {patience:.0f} s:\n{self.log()}"
            time.sleep(max(0.05, waited / 10))

    def execute(self, *command: str, user: str = "") -> Outcome:
        """Run a command in the container, as `docker exec` does."""
        return execute(self.running, command, user=user)

    def log(self) -> str:
        """What the container has printed so far."""
        return self.running.logs().decode(errors="replace")

    def says(self, text: str, after: int = 0) -> bool:
        """Whether `text` is in the log, or will be in a moment: what is printed takes its time through the engine.

        What is not looked at are the first `after` characters.
        """
        deadline = time.monotonic() + _LOG_DELAY
        while text not in self.log()[after:]:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def remove_container(self) -> None:
        """Stop and remove the container, and volumes without a name. If a test failed just now, its log is kept."""
        if self.container is not None:
            if sys.exc_info()[0] is not None:
                self.last_log = self.log()
            self.container.remove(force=True, v=True)
            self.container = None

    def read(self, path: str) -> bytes:
        """Content of a file in the container."""
        chunks, _ = self.running.get_archive(path)
        with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            assert member is not None, f"{path} is not a file"
            return member.read()
