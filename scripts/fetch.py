"""Locked packages -> files in a content-addressed cache.

The cache is shared by all variants and checkouts of a user. A file is put into it only under its own SHA-256, and is
hashed again whenever it is asked for, so nothing wrong comes out of it; downloads resume, run in parallel, and turn to
the next mirror when one is slow, wrong, or does not have the file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
from filelock import AsyncFileLock

from scripts import mirrors
from scripts.console import console, transfer_progress
from scripts.errors import FetchError, GoneError
from scripts.mirrors import Mirror
from scripts.paths import replacing, user_cache

_ATTEMPTS = 3  # at one mirror, for errors that may pass
_LONGEST_WAIT = 20.0  # seconds that a mirror may ask us to wait (Retry-After) before the next one is tried
_SHOWN_FAILURES = 3
# The last three come from encodings, from sockets, and from anyio, which wraps what sockets raise.
_BAD_ADDRESS = (httpx.InvalidURL, ValueError, OverflowError, ExceptionGroup)
_HINTS: dict[type[FetchError], str] = {
    GoneError: "Archives drop replaced packages. Lock the current ones with: scripts/nox -s lock",
    FetchError: "Check the network, or name a mirror that is reachable: DEBIAN_MIRROR=http://... "
    "(and DEBIAN_SECURITY_MIRROR=http://...), ALPINE_MIRROR=http://....",
}


@dataclass(frozen=True)
class Item:
    """A file of an archive: `paths` are where it may stand, relative to the archive; `size` is in bytes."""

    name: str
    archive: str
    paths: tuple[str, ...]
    sha256: str
    size: int

    @property
    def place(self) -> Path:
        """Where the cache keeps it."""
        return blob(self.sha256)

    @property
    def hash(self) -> str:
        """What tells it from all other files, for messages."""
        return f"SHA-256 {self.sha256}"

    def fault(self, file: Path) -> str:
        """Why `file` is not this one; empty if it is."""
        with file.open("rb") as stream:
            actual = hashlib.file_digest(stream, "sha256").hexdigest()
        return "" if actual == self.sha256 else f"SHA-256 {actual} instead of {self.sha256}"


@dataclass(frozen=True)
class Report:
    """What a fetch did: sizes in bytes."""

    files: int
    downloaded_files: int
    downloaded_bytes: int


class _Refused(Exception):
    """One mirror did not give the file; `final` if asking it again is of no use, `gone` if it does not have it."""

    def __init__(self, reason: str, *, final: bool, gone: bool = False, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.final, self.gone, self.wait = final, gone, wait


def blob(sha256: str) -> Path:
    """Where the cache keeps the file with this hash, whether or not it is there."""
    return user_cache() / "sha256" / sha256[:2] / sha256


def keep(content: bytes) -> str:
    """Put `content` into the cache; returns its SHA-256."""
    sha256 = hashlib.sha256(content).hexdigest()
    target = blob(sha256)
    if not target.is_file():
        with replacing(target) as temporary:
            temporary.write_bytes(content)
    return sha256


def adopt(item: Item) -> str:
    """Put a fetched file, which was known by another hash, under its SHA-256 as well; returns that."""
    with item.place.open("rb") as stream:
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
    target = blob(sha256)
    target.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        target.hardlink_to(item.place)
    return sha256


def fetch(items: Iterable[Item], instant: str, *, label: str = "packages", patience: float = 15.0) -> Report:
    """Bring all `items` into the cache.

    `instant` names the snapshot to fall back on; `patience` is how many seconds a mirror may stay silent.
    Raises GoneError if every mirror answered that it does not have a file, FetchError if a file could not be had
    for another reason. What was fetched until then is kept.
    """
    wanted = {item.place: item for item in items}
    missing = [item for item in wanted.values() if not (_from_cache(item) or _from_vault(item))]
    if missing:
        sources = {archive: mirrors.mirrors(archive, instant) for archive in sorted({item.archive for item in missing})}
        asyncio.run(_fetch_all(missing, sources, label, patience))
    return Report(len(wanted), len(missing), sum(item.size for item in missing))


def fetch_unhashed(path: str, sources: Sequence[Mirror], accept: Callable[[bytes], bytes], *, limit: int) -> bytes:
    """First content of `path` (at most `limit` bytes) that `accept` lets pass, from the first mirror that has it.

    For the one kind of file whose hash nobody can know beforehand: a signed index. `accept` checks the signature;
    what it raises is raised in the end if no mirror has a better copy. Raises FetchError if none has any.
    """
    reasons: list[str] = []
    refusal: Exception | None = None
    with httpx.Client(follow_redirects=True, timeout=httpx.Timeout(15.0)) as client:
        for mirror in sources:
            url = f"{mirror.url}/{path}"
            try:
                with client.stream("GET", url) as response:
                    response.raise_for_status()
                    content = bytearray()
                    for chunk in response.iter_bytes():
                        content += chunk
                        if len(content) > limit:
                            break
            except (httpx.HTTPError, *_BAD_ADDRESS) as error:
                reasons.append(f"{url}: {_reason(error)}")
                continue
            try:
                return accept(bytes(content))
            except Exception as error:  # noqa: BLE001 - kept and raised below, unless another mirror does better
                refusal = error
    if refusal is not None:
        raise refusal
    tried = "\n".join(f"  {reason}" for reason in reasons)
    raise FetchError(f"{path} could not be fetched. Tried:\n{tried}\n{_HINTS[FetchError]}")


def _from_cache(item: Item) -> bool:
    """Whether the cache has `item`; what was altered there is taken away."""
    if not item.place.is_file():
        return False
    if fault := item.fault(item.place):
        console.print(
            f"[yellow]warning:[/] {item.place} is not {item.name} any more ({fault}); it is fetched again",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
        item.place.unlink(missing_ok=True)
        return False
    return True


def _from_vault(item: Item) -> bool:
    """Copy `item` from a local vault, if one has it and it is what it says."""
    for vault in mirrors.vaults():
        source = vault / "blobs" / "sha256" / item.sha256
        if source.is_file():
            with source.open("rb") as stream:
                if hashlib.file_digest(stream, "sha256").hexdigest() != item.sha256:
                    console.print(
                        f"[yellow]warning:[/] {source} is not what its name says; it is passed over",
                        highlight=False, soft_wrap=True,
                    )  # fmt: skip
                    continue
            with replacing(item.place) as temporary:
                shutil.copyfile(source, temporary)
            return True
    return False


async def _fetch_all(
    items: Sequence[Item], sources: Mapping[str, Sequence[Mirror]], label: str, patience: float
) -> None:
    total = sum(item.size for item in items)
    gates = {mirror: asyncio.Semaphore(mirror.connections) for found in sources.values() for mirror in found}
    timeout = httpx.Timeout(patience, pool=None)
    unreachable: set[Mirror] = set()
    async with AsyncExitStack() as stack:
        progress = stack.enter_context(transfer_progress())
        task = progress.add_task(f"Fetching {len(items)} {label}", total=total)
        client = await stack.enter_async_context(httpx.AsyncClient(follow_redirects=True, timeout=timeout))
        download = _Download(client, gates, unreachable, lambda count: progress.update(task, advance=count))
        full: OSError | None = None
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(download.settled(item, sources[item.archive])) for item in items]
        except* OSError as error:
            full = next(_leaves(error))
    if full is not None:
        raise full
    failures = [failure for failure in (task.result() for task in tasks) if failure is not None]
    if failures:
        kind = GoneError if all(isinstance(failure, GoneError) for failure in failures) else FetchError
        shown = [str(failure) for failure in failures[:_SHOWN_FAILURES]]
        if len(failures) > len(shown):
            shown.append(f"... and {len(failures) - len(shown)} more files.")
        raise kind("\n".join([*shown, _HINTS[kind]]))


def _leaves(group: BaseExceptionGroup[OSError]) -> Iterator[OSError]:
    """The errors in a group of errors."""
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


@dataclass(frozen=True)
class _Download:
    """Brings single files into the cache; `advance` is told every byte that came (or went: negative)."""

    client: httpx.AsyncClient
    gates: Mapping[Mirror, asyncio.Semaphore]
    unreachable: set[Mirror]
    advance: Callable[[int], None]

    async def settled(self, item: Item, sources: Sequence[Mirror]) -> FetchError | None:
        """Like `get`, but a failure is returned, so that one lost file does not stop the others."""
        try:
            await self.get(item, sources)
        except FetchError as error:
            return error
        return None

    async def get(self, item: Item, sources: Sequence[Mirror]) -> None:
        """Bring `item` into the cache from the first of `sources` that gives the right bytes."""
        target = item.place
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        # Another build on this machine may want the same file: the second one waits and finds it done.
        async with AsyncFileLock(target.with_suffix(".lock"), run_in_executor=False, poll_interval=0.1):
            if target.is_file():
                self.advance(item.size)
                return
            reasons: list[str] = []
            gone = True
            for mirror in sources:
                for path in item.paths:
                    url = f"{mirror.url}/{path}"
                    try:
                        await self._from_mirror(item, mirror, url, part)
                    except _Refused as refusal:
                        reasons.append(f"{url}: {refusal}")
                        gone = gone and refusal.gone
                        continue
                    part.replace(target)
                    target.with_suffix(".lock").unlink(missing_ok=True)
                    return
        tried = "\n".join(f"  {reason}" for reason in reasons)
        if gone:
            raise GoneError(f"No mirror has {item.name} any more ({item.hash}). Tried:\n{tried}")
        raise FetchError(f"{item.name} could not be fetched. Tried:\n{tried}")

    async def _from_mirror(self, item: Item, mirror: Mirror, url: str, part: Path) -> None:
        """Complete `part` from one mirror, trying again what may pass; raises _Refused."""
        for attempt in range(1, _ATTEMPTS + 1):
            if mirror in self.unreachable:
                raise _Refused("not reachable a moment ago", final=True)
            try:
                async with self.gates[mirror]:
                    await self._once(item, url, part)
            except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol, *_BAD_ADDRESS) as error:
                # Nobody answers at all: do not wait for this mirror again for each of hundreds of files.
                self.unreachable.add(mirror)
                raise _Refused(_reason(error), final=True) from error
            except httpx.HTTPError as error:
                refusal = _Refused(_reason(error), final=False, wait=0.5 * 2**attempt)
            except _Refused as error:
                refusal = error
            else:
                return
            if refusal.final or attempt == _ATTEMPTS or refusal.wait > _LONGEST_WAIT:
                raise refusal
            await asyncio.sleep(refusal.wait)

    async def _once(self, item: Item, url: str, part: Path) -> None:
        """Ask for the rest of `part` once; leaves it complete and verified, or raises."""
        have = part.stat().st_size if part.is_file() else 0
        if have > item.size:
            part.unlink()
            have = 0
        # The file as it is: a mirror that compresses on the way would change what is counted and hashed.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        if have < item.size or item.size == 0:
            async with self.client.stream("GET", url, headers=headers) as response:
                _check_status(response)
                if response.status_code != httpx.codes.PARTIAL_CONTENT:
                    have = 0
                # The progress bar counts what a resumed file has already, and takes it back if it must start anew.
                received = have
                self.advance(have)
                try:
                    with part.open("ab" if have else "wb") as stream:
                        async for chunk in response.aiter_raw():
                            stream.write(chunk)
                            received += len(chunk)
                            self.advance(len(chunk))
                            if received > item.size:
                                break
                except (httpx.HTTPError, asyncio.CancelledError):
                    self.advance(-received)
                    raise
            if received < item.size:
                self.advance(-received)
                raise _Refused(f"ended after {received} of {item.size} bytes", final=False)
        else:
            self.advance(have)
        if fault := item.fault(part):
            size = part.stat().st_size
            part.unlink()
            self.advance(-max(size, item.size))
            # A file that was resumed may be half one mirror's and half another's: one clean try is fair.
            raise _Refused(f"wrong content: {fault}", final=have == 0)


def _check_status(response: httpx.Response) -> None:
    """Raise _Refused for an answer that is not the file."""
    code = response.status_code
    if code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        return
    reason = f"HTTP {code} {response.reason_phrase}"
    if code in (httpx.codes.NOT_FOUND, httpx.codes.GONE):
        raise _Refused(reason, final=True, gone=True)
    if code == httpx.codes.TOO_MANY_REQUESTS or code >= httpx.codes.INTERNAL_SERVER_ERROR:
        try:
            wait = float(response.headers.get("Retry-After", "1"))
        except ValueError:  # the other form of Retry-After is a date (RFC 9110, 10.2.3)
            wait = 5.0
        raise _Refused(reason, final=False, wait=wait)
    raise _Refused(reason, final=True)


def _reason(error: Exception) -> str:
    """What an HTTP client error means, in words."""
    if isinstance(error, httpx.HTTPStatusError):
        return f"HTTP {error.response.status_code} {error.response.reason_phrase}"
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    return str(error) or type(error).__name__
