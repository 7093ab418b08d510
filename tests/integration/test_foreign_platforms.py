"""What a server is for, on every platform that this machine is not: people log in, talk, meet, share, come back.

Programs of other platforms run under QEMU, those of 386 on an amd64 processor itself. A failure says which of the two
is to be suspected, the emulator or the image.
"""

from __future__ import annotations

import asyncio
import re
import signal
import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import docker
import pytest
import slixmpp

from scripts import lock, matrix, platforms, variants
from scripts.platforms import PLATFORMS, Platform
from tests.integration import foreign
from tests.integration.client_exchanges import BY_DEFAULT, perform
from tests.integration.clients import RefusedError, connected, log_in
from tests.integration.conftest import Images
from tests.integration.evidence import Exchange
from tests.integration.servers import ACCOUNTS, DOMAIN, Server, serving

(ALICE, ALICE_PASSWORD), (BOB, _) = ACCOUNTS.items()
CORE = (Exchange.LOGIN, Exchange.MESSAGING, Exchange.ROOM, Exchange.ROOM_ARCHIVE, Exchange.ARCHIVE, Exchange.UPLOAD)
PORTS = {f"{port}/tcp": ("127.0.0.1", None) for port in (5222, 5281)}
# How QEMU begins what it says of itself: "qemu: uncaught target signal 11 …", "qemu-arm: …".
EMULATOR_SPEAKS = re.compile(r"^qemu(-\w+)?: .*", re.MULTILINE)
# How programs end whose instructions or memory were not what they had to be.
CRASHES = {signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGSEGV}

Case = tuple[str, Platform]  # a variant for a platform
FOREIGN = [platform for platform in variants.load("debian").platforms if platform != platforms.native()]
# Every variant on what most people use, and the strictest where bytes have the other order.
USUAL = [platform for platform in FOREIGN if platform.name in matrix.RUNNERS]
CASES: list[Case] = [
    *(("debian", platform) for platform in FOREIGN),
    *((name, platform) for name in lock.locked_names() if name != "debian" for platform in USUAL),
    ("hardened", PLATFORMS["linux/s390x"]),
]


@contextmanager
def judged(server: Server) -> Iterator[None]:
    """Add to a failure whose fault it seems to be."""
    try:
        yield
    except Exception as error:
        log, status = server.last_log, 0
        if server.container is not None:
            server.container.reload()
            log, status = server.log(), server.container.attrs["State"]["ExitCode"]
        said = EMULATOR_SPEAKS.search(log)
        if said:
            error.add_note(f"A fault of the emulation: QEMU says {said[0]!r}.")
        elif status - 128 in CRASHES:
            name = signal.Signals(status - 128).name
            error.add_note(f"The program crashed ({name}): a fault of the emulation if it only does so under QEMU.")
        else:
            error.add_note(f"Nothing speaks of a fault of the emulation: {server.image.name} is to be suspected.")
        raise


def assert_healthy(server: Server) -> None:
    """Judge as the engine does: a server is unhealthy when so many checks in a row say so (Dockerfile's `--retries`).

    One alone may run out of its time, where a processor is emulated by one that others use as well.
    """
    said = []
    for _ in range(server.running.attrs["Config"]["Healthcheck"]["Retries"]):
        check = server.health()
        if check.status == 0:
            return
        said.append(check.text)
    raise AssertionError("".join(said))


class Servers:
    """Servers of other platforms. While tests use one, the next of the same variant is already starting."""

    def __init__(self, client: docker.DockerClient, images: Images, running: ExitStack) -> None:
        """What runs is stopped by closing `running`."""
        self._client, self._images, self._running = client, images, running
        self._pool = running.enter_context(ThreadPoolExecutor(1))
        self._started: dict[Case, Future[Server]] = {}

    def started(self, case: Case) -> Server:
        """A server that runs."""
        following = CASES[CASES.index(case) + 1 :][:1]
        for wanted in (case, *(found for found in following if found[0] == case[0])):
            if wanted not in self._started:
                self._started[wanted] = self._pool.submit(self._start, *wanted)
        return self._started[case].result()

    def _start(self, variant: str, platform: Platform) -> Server:
        self._running.enter_context(foreign.runnable(platform))  # or the image is not tested, and not noted as tested
        image = self._images.load(variant, platform)
        return self._running.enter_context(serving(self._client, image, {"ports": PORTS}))


@pytest.fixture(scope="module")
def foreign_servers(client: docker.DockerClient, images: Images) -> Iterator[Servers]:
    """The servers of all cases, each started once."""
    with ExitStack() as running:
        yield Servers(client, images, running)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}-{case[1].tag}")
def foreign_server(request: pytest.FixtureRequest, foreign_servers: Servers) -> Server:
    """A server of each case in turn."""
    return foreign_servers.started(request.param)


@pytest.fixture
def certificate(foreign_server: Server, tmp_path: Path) -> Path:
    """The certificate of `foreign_server`, for clients to verify it."""
    return foreign_server.certificate(tmp_path)


def test_people_log_in_talk_meet_and_share(foreign_server: Server, certificate: Path) -> None:
    with judged(foreign_server):
        failures = dict.fromkeys(CORE, "it was not tried")
        asyncio.run(perform(foreign_server, certificate, {core: BY_DEFAULT[core] for core in CORE}, failures))
        assert not failures
        with pytest.raises(RefusedError):
            log_in(foreign_server.port(), ALICE, "not her password", certificate)
        assert_healthy(foreign_server)


def test_everything_is_there_after_a_restart(foreign_server: Server, certificate: Path, tmp_path: Path) -> None:
    text = f"kept {uuid.uuid4()}"

    async def say() -> None:
        async with connected(foreign_server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            alice.say(BOB, text)
            # The server has handled the message when it answers what was sent after it.
            await alice.plugin["xep_0199"].ping(slixmpp.JID(DOMAIN))

    async def read() -> list[str]:
        async with connected(foreign_server.port(), ALICE, ALICE_PASSWORD, certificate) as alice:
            return [
                str(result["mam_result"]["forwarded"]["stanza"]["body"])
                async for result in alice.plugin["xep_0313"].iterate(with_jid=slixmpp.JID(BOB))
            ]

    with judged(foreign_server):
        asyncio.run(say())
        foreign_server.running.stop(timeout=30)
        assert foreign_server.running.wait()["StatusCode"] == 0, foreign_server.log()
        foreign_server.restart()
        assert asyncio.run(read())[-1] == text
