from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from scripts import fetch, mirrors, paths
from scripts.errors import DiskFullError, FetchError, GoneError
from scripts.fetch import Item
from scripts.mirrors import Mirror
from tests.unit import web

DATA = bytes(range(256)) * 1200  # 300 KiB
WRONG = DATA[:-1] + b"\0"
SHA256 = hashlib.sha256(DATA).hexdigest()


def item(*paths_: str) -> Item:
    return Item("thing 1.0", "debian", paths_ or ("thing",), SHA256, len(DATA))


@pytest.fixture
def use(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Function that says which mirrors there are."""
    del cache

    def name(*urls: str) -> None:
        found = tuple(Mirror(url) for url in urls)
        monkeypatch.setattr(mirrors, "mirrors", lambda _archive, _instant: found)

    return name


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between attempts take no time; that they are asked for is tested apart."""
    real = asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds: real(0))


def stored(cache: Path) -> list[Path]:
    """Files in the cache that are not locks."""
    return [path for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"]


def test_a_file_arrives(cache: Path, use: Callable[..., None]) -> None:
    with web.serving(thing=web.content(DATA)) as server:
        use(server.url)
        report = fetch.fetch([item()], "now")
        assert (report.files, report.downloaded_files, report.downloaded_bytes) == (1, 1, len(DATA))
        assert fetch.fetch([item()], "now").downloaded_files == 0
        assert len(server.requests) == 1, "what is in the cache is not asked for again"
    assert fetch.blob(SHA256).read_bytes() == DATA
    assert stored(cache) == [fetch.blob(SHA256)]


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(web.content(WRONG), id="wrong content"),
        pytest.param(web.without_ranges(DATA + b"more"), id="too long"),
        pytest.param(web.without_ranges(b""), id="empty"),
        pytest.param(web.missing, id="404"),
        pytest.param(web.status(403), id="403"),
        pytest.param(web.status(500), id="500"),
        pytest.param(web.status(429, Retry_After="3600"), id="429, come back in an hour"),
        pytest.param(web.hanging, id="hangs"),
        pytest.param(web.ending_early(WRONG, 1000), id="ends early"),
        pytest.param(web.status(429, Retry_After="0"), id="429 for ever"),
        pytest.param(web.status(503, Retry_After="0"), id="503 for ever"),
        pytest.param(web.status(206), id="part of nothing"),
        pytest.param(web.status(304), id="not modified"),
        pytest.param(web.redirecting("/thing"), id="redirects in a circle"),
        pytest.param(web.redirecting("file:///etc/hostname"), id="redirects to a local file"),
        pytest.param(web.always_encoded(DATA), id="compresses although it must not"),
        pytest.param(web.without_ranges(b"<html>Log in to this network</html>"), id="captive portal"),
        pytest.param(web.from_another_place(WRONG), id="another part"),
        pytest.param(web.not_http, id="not HTTP"),
    ],
)
@pytest.mark.usefixtures("impatient")
def test_the_next_mirror_is_tried(cache: Path, use: Callable[..., None], bad: web.Answer) -> None:
    with web.serving(thing=bad) as first, web.serving(thing=web.content(DATA)) as second:
        use(first.url, second.url)
        fetch.fetch([item()], "now", patience=2.0)
        assert first.requests
    assert fetch.blob(SHA256).read_bytes() == DATA
    assert stored(cache) == [fetch.blob(SHA256)]


def test_gone_everywhere_is_told_apart(use: Callable[..., None]) -> None:
    with web.serving() as first, web.serving() as second:
        use(first.url, second.url)
        with pytest.raises(GoneError, match="scripts/nox -s lock"):
            fetch.fetch([item()], "now")


def test_unreachable_is_not_gone(use: Callable[..., None]) -> None:
    with web.serving() as server:
        use(server.url, "http://127.0.0.1:9")
        with pytest.raises(FetchError, match="Check the network") as caught:
            fetch.fetch([item()], "now")
    assert not isinstance(caught.value, GoneError)


def test_the_same_mirror_is_asked_again_when_it_is_busy(use: Callable[..., None]) -> None:
    busy = web.in_turn(web.status(429, Retry_After="0"), web.status(503, Retry_After="0"), web.content(DATA))
    with web.serving(thing=busy) as server:
        use(server.url)
        fetch.fetch([item()], "now")
        assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("answer", "wait", "final", "gone"),
    [
        ((404, {}), 0.0, True, True),
        ((410, {}), 0.0, True, True),
        ((403, {}), 0.0, True, False),
        ((416, {}), 0.0, True, False),
        ((429, {}), 1.0, False, False),
        ((429, {"Retry-After": "7"}), 7.0, False, False),
        ((503, {"Retry-After": "0"}), 0.0, False, False),
        ((500, {"Retry-After": "Wed, 25 Nov 2026 07:28:00 GMT"}), 5.0, False, False),
    ],
    ids=str,
)
def test_what_an_answer_means(answer: tuple[int, dict[str, str]], wait: float, final: bool, gone: bool) -> None:
    with pytest.raises(fetch._Refused) as caught:
        fetch._check_status(httpx.Response(answer[0], headers=answer[1]))
    assert (caught.value.wait, caught.value.final, caught.value.gone) == (wait, final, gone)
    assert str(caught.value).startswith(f"HTTP {answer[0]} ")


def test_a_mirror_decides_how_long_to_wait(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    real = asyncio.sleep

    def sleep(seconds: float) -> Coroutine[Any, Any, None]:
        waits.append(seconds)
        return real(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    busy = web.in_turn(web.status(429, Retry_After="17"), web.status(429, Retry_After="2"), web.content(DATA))
    with web.serving(thing=busy) as server:
        use(server.url)
        fetch.fetch([item()], "now")
    assert [seconds for seconds in waits if seconds >= 1] == [17.0, 2.0]


def test_a_mirror_that_refuses_connections_is_asked_once(use: Callable[..., None]) -> None:
    """Not for each of hundreds of files."""
    contents = [DATA[number:] for number in range(20)]
    items = [
        Item(f"thing {number}", "debian", (f"thing{number}",), hashlib.sha256(data).hexdigest(), len(data))
        for number, data in enumerate(contents)
    ]
    with web.serving() as server:
        use("http://127.0.0.1:9", server.url)
        with pytest.raises(FetchError) as caught:
            fetch.fetch(items, "now")
    assert "and 17 more files" in str(caught.value)
    assert str(caught.value).count("Tried:") == 3


@pytest.mark.parametrize(
    "address",
    ["ftp://127.0.0.1", "nonsense", "http://[::1", "http://127.0.0.1:0", "file:///etc", "http://127.0.0.1:notaport"],
)
@pytest.mark.parametrize("hashed", [True, False], ids=["packages", "index"])
def test_an_address_that_is_none_is_explained(use: Callable[..., None], address: str, hashed: bool) -> None:
    use(address)
    with pytest.raises(FetchError, match="Tried:") as caught:
        ask(address, hashed)
    assert f"{address}/thing: " in str(caught.value)


def ask(address: str, hashed: bool) -> None:
    if hashed:
        fetch.fetch([item()], "now")
    else:
        fetch.fetch_unhashed("thing", [Mirror(address)], lambda content: content, limit=10)


@pytest.mark.parametrize(
    ("address", "hashed"),
    [
        pytest.param("http://127.0.0.1:99999", True, id="port too high"),
        pytest.param("http://a..b", False, id="empty part in a host name"),
        pytest.param(f"http://{'a' * 64}", False, id="long host name"),
    ],
)
def test_stranger_addresses_are_explained(use: Callable[..., None], address: str, hashed: bool) -> None:
    use(address)
    with pytest.raises(FetchError):
        ask(address, hashed)


@pytest.mark.usefixtures("impatient")
def test_an_interrupted_download_resumes(use: Callable[..., None]) -> None:
    with web.serving(thing=web.in_turn(web.ending_early(DATA, 100_000), web.content(DATA))) as server:
        use(server.url)
        fetch.fetch([item()], "now")
        assert [asked for _, asked in server.requests] == ["", "bytes=100000-"]
    assert fetch.blob(SHA256).read_bytes() == DATA


@pytest.mark.usefixtures("impatient")
def test_a_server_that_cannot_resume_starts_anew(use: Callable[..., None]) -> None:
    with web.serving(thing=web.in_turn(web.ending_early(DATA, 100_000), web.without_ranges(DATA))) as server:
        use(server.url)
        fetch.fetch([item()], "now")
    assert fetch.blob(SHA256).read_bytes() == DATA


@pytest.mark.usefixtures("impatient")
def test_another_mirror_goes_on_where_the_first_stopped(use: Callable[..., None]) -> None:
    with (
        web.serving(thing=web.in_turn(web.ending_early(DATA, 1000), web.status(404))) as first,
        web.serving(thing=web.content(DATA)) as second,
    ):
        use(first.url, second.url)
        fetch.fetch([item()], "now")
        assert second.requests == [("/thing", "bytes=1000-")]
    assert fetch.blob(SHA256).read_bytes() == DATA


@pytest.mark.usefixtures("impatient")
def test_a_beginning_from_a_liar_is_not_kept(use: Callable[..., None]) -> None:
    with (
        web.serving(thing=web.in_turn(web.ending_early(b"x" * len(DATA), 1000), web.status(403))) as first,
        web.serving(thing=web.content(DATA)) as second,
    ):
        use(first.url, second.url)
        fetch.fetch([item()], "now")
        assert [asked for _, asked in second.requests] == ["bytes=1000-", ""]
    assert fetch.blob(SHA256).read_bytes() == DATA


def test_a_file_of_no_bytes_arrives(use: Callable[..., None]) -> None:
    nothing = hashlib.sha256(b"").hexdigest()
    with web.serving(empty=web.content(b"")) as server:
        use(server.url)
        fetch.fetch([Item("empty", "debian", ("empty",), nothing, 0)], "now")
    assert fetch.blob(nothing).read_bytes() == b""


def test_nothing_to_fetch_is_fetched_at_once(use: Callable[..., None]) -> None:
    use()
    assert fetch.fetch([], "now") == fetch.Report(0, 0, 0)


def test_a_file_that_is_wanted_twice_is_fetched_once(use: Callable[..., None]) -> None:
    with web.serving(thing=web.content(DATA), other=web.content(DATA)) as server:
        use(server.url)
        assert fetch.fetch([item(), item("other")], "now").files == 1
        assert len(server.requests) == 1


def test_a_warm_cache_needs_no_network_and_a_cold_one_says_so(use: Callable[..., None]) -> None:
    with web.serving(thing=web.content(DATA)) as server:
        use(server.url)
        fetch.fetch([item()], "now")
    use("http://127.0.0.1:9")
    assert fetch.fetch([item()], "now") == fetch.Report(1, 0, 0)
    cold = Item("cold 1.0", "debian", ("cold",), "0" * 64, 1)
    with pytest.raises(FetchError, match=r"cold 1\.0 could not be fetched(?s:.)*Check the network") as caught:
        fetch.fetch([item(), cold], "now")
    assert not isinstance(caught.value, GoneError)


@pytest.mark.parametrize(
    "rubbish", [b"x" * 1000, b"x" * len(DATA), b"x" * (len(DATA) + 5)], ids=["short", "as long", "longer"]
)
def test_rubbish_of_an_earlier_run_does_not_matter(use: Callable[..., None], rubbish: bytes) -> None:
    part = fetch.blob(SHA256).with_suffix(".part")
    part.parent.mkdir(parents=True)
    part.write_bytes(rubbish)
    with web.serving(thing=web.content(DATA)) as server:
        use(server.url)
        fetch.fetch([item()], "now")
    assert fetch.blob(SHA256).read_bytes() == DATA
    assert not part.exists()


def test_content_encoding_does_not_change_the_file(use: Callable[..., None]) -> None:
    with web.serving(thing=web.encoded(DATA)) as server:
        use(server.url)
        fetch.fetch([item()], "now")
    assert fetch.blob(SHA256).read_bytes() == DATA


def test_other_paths_of_the_same_file_are_tried(use: Callable[..., None]) -> None:
    with web.serving(second=web.content(DATA)) as server:
        use(server.url)
        fetch.fetch([item("first", "second")], "now")
        assert [path for path, _ in server.requests] == ["/first", "/second"]


def test_one_lost_file_does_not_lose_the_others(use: Callable[..., None]) -> None:
    lost = Item("lost 2.0", "debian", ("lost",), "0" * 64, 5)
    with web.serving(thing=web.content(DATA)) as server:
        use(server.url)
        with pytest.raises(GoneError, match=r"lost 2\.0"):
            fetch.fetch([lost, item()], "now")
    assert fetch.blob(SHA256).is_file()


def test_a_vault_is_enough(use: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The second of two folders has it; no mirror is asked, and the vault stays as it was."""
    kept = tmp_path / "two" / "blobs" / "sha256" / SHA256
    kept.parent.mkdir(parents=True)
    kept.write_bytes(DATA)
    monkeypatch.setenv("PROSODY_VAULT", f"{tmp_path / 'one'}{os.pathsep}{tmp_path / 'two'}")
    use()
    assert fetch.fetch([item()], "now") == fetch.Report(1, 0, 0)
    fetch.blob(SHA256).write_bytes(b"spoilt")
    assert kept.read_bytes() == DATA


def test_two_builds_may_take_the_same_file_from_a_vault_at_once(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    del cache
    kept = tmp_path / "vault" / "blobs" / "sha256" / SHA256
    kept.parent.mkdir(parents=True)
    kept.write_bytes(DATA)
    monkeypatch.setenv("PROSODY_VAULT", str(tmp_path / "vault"))
    real = shutil.copyfile
    other: list[threading.Thread] = []

    def copy_slowly(source: Path, target: Path) -> None:
        real(source, target)
        if not other:
            # Another build comes between copying and renaming. If it must wait, let it.
            other.append(threading.Thread(target=fetch.fetch, args=([item()], "now"), daemon=True))
            other[0].start()
            other[0].join(0.2)

    monkeypatch.setattr(shutil, "copyfile", copy_slowly)
    fetch.fetch([item()], "now")
    other[0].join(10)
    assert fetch.blob(SHA256).read_bytes() == DATA


SCRIPT = """
import sys
from scripts import errors, fetch, mirrors
from scripts.fetch import Item
from scripts.mirrors import Mirror
mirrors.mirrors = lambda _archive, _instant: (Mirror(sys.argv[1]),)
items = [Item(f"thing {number}", "debian", (f"thing{number}",), sys.argv[2 + 2 * number], int(sys.argv[3 + 2 * number]))
         for number in range((len(sys.argv) - 2) // 2)]
errors.run(lambda _arguments: print(fetch.fetch(items, "now").downloaded_files))
"""


def spawn(url: str, *contents: bytes) -> subprocess.Popen[str]:
    arguments = [part for data in contents for part in (hashlib.sha256(data).hexdigest(), str(len(data)))]
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, *arguments],
        cwd=paths.ROOT,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_two_processes_share_one_download(cache: Path) -> None:
    contents = [DATA[number:] for number in range(6)]
    behaviours = {f"thing{number}": web.content(data) for number, data in enumerate(contents)}
    with web.serving(**behaviours) as server:
        running = [spawn(server.url, *contents) for _ in range(2)]
        outputs = [process.communicate(timeout=60) for process in running]
        assert [process.returncode for process in running] == [0, 0], outputs
        assert sorted(path for path, _ in server.requests) == [f"/thing{number}" for number in range(6)]
    assert all(fetch.blob(hashlib.sha256(data).hexdigest()).read_bytes() == data for data in contents)
    assert len(stored(cache)) == 6


def test_ctrl_c_is_quiet_and_the_next_run_resumes(cache: Path) -> None:
    def half_then_hang(handler: web.Handler) -> None:
        handler.give(200, DATA[:150_000], Content_Length=str(len(DATA)))
        web.hanging(handler)

    with web.serving(thing0=web.in_turn(half_then_hang, web.content(DATA))) as server:
        process = spawn(server.url, DATA)
        part = fetch.blob(SHA256).with_suffix(".part")
        deadline = time.monotonic() + 20
        while not (part.is_file() and part.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, messages = process.communicate(timeout=20)
        assert process.returncode == 130, messages
        assert "Traceback" not in messages
        assert not fetch.blob(SHA256).exists()
        part_size = part.stat().st_size
        assert part_size > 0
        again = spawn(server.url, DATA)
        assert again.communicate(timeout=20)[0].strip() == "1"
        assert server.requests[-1][1] == f"bytes={part_size}-", "what had come is not asked for again"
    assert fetch.blob(SHA256).read_bytes() == DATA
    del cache


@pytest.fixture
def tiny_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache on a file system of 128 KiB."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], check=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk))
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_is_explained_and_recovers(tiny_disk: Path) -> None:
    with web.serving(thing0=web.content(DATA)) as server:
        process = spawn(server.url, DATA)
        _, messages = process.communicate(timeout=30)
        assert process.returncode == DiskFullError.exit_status, messages
        assert "disk is full" in messages
        assert "Traceback" not in messages
        assert not fetch.blob(SHA256).exists()
        subprocess.run(["mount", "-o", "remount,size=4m", str(tiny_disk)], check=True)
        assert spawn(server.url, DATA).communicate(timeout=30)[0].strip() == "1"


def test_unhashed_files_come_from_the_first_mirror_that_is_believed(cache: Path) -> None:
    del cache

    def accept(content: bytes) -> bytes:
        if content != b"good":
            raise ValueError(content)
        return content

    with (
        web.serving(index=web.without_ranges(b"bad")) as first,
        web.serving(index=web.without_ranges(b"good")) as second,
    ):
        sources = [Mirror(first.url), Mirror("http://127.0.0.1:9"), Mirror(second.url)]
        assert fetch.fetch_unhashed("index", sources, accept, limit=100) == b"good"
        with pytest.raises(ValueError, match="bad"):
            fetch.fetch_unhashed("index", sources[:2], accept, limit=100)
        with pytest.raises(FetchError, match="could not be fetched"):
            fetch.fetch_unhashed("index", sources[1:2], accept, limit=100)
