from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

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
    ],
)
def test_the_next_mirror_is_tried(cache: Path, use: Callable[..., None], bad: web.Answer) -> None:
    with web.serving(thing=bad) as first, web.serving(thing=web.content(DATA)) as second:
        use(first.url, second.url)
        fetch.fetch([item()], "now", patience=0.3)
        assert first.requests
    assert fetch.blob(SHA256).read_bytes() == DATA
    assert stored(cache) == [fetch.blob(SHA256)]


def test_nothing_corrupt_is_kept(cache: Path, use: Callable[..., None]) -> None:
    with web.serving(thing=web.content(WRONG)) as server:
        use(server.url)
        with pytest.raises(FetchError, match="wrong content: SHA-256") as caught:
            fetch.fetch([item()], "now")
    assert not isinstance(caught.value, GoneError)
    assert server.url in str(caught.value)
    assert stored(cache) == []


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


def test_an_interrupted_download_resumes(use: Callable[..., None]) -> None:
    with web.serving(thing=web.in_turn(web.ending_early(DATA, 100_000), web.content(DATA))) as server:
        use(server.url)
        fetch.fetch([item()], "now")
        assert [asked for _, asked in server.requests] == ["", "bytes=100000-"]
    assert fetch.blob(SHA256).read_bytes() == DATA


def test_a_server_that_cannot_resume_starts_anew(use: Callable[..., None]) -> None:
    with web.serving(thing=web.in_turn(web.ending_early(DATA, 100_000), web.without_ranges(DATA))) as server:
        use(server.url)
        fetch.fetch([item()], "now")
    assert fetch.blob(SHA256).read_bytes() == DATA


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


@pytest.mark.parametrize("good", [True, False])
def test_a_vault_comes_first(
    use: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, good: bool
) -> None:
    vault = tmp_path / "vault"
    (vault / "blobs" / "sha256").mkdir(parents=True)
    (vault / "blobs" / "sha256" / SHA256).write_bytes(DATA if good else WRONG)
    monkeypatch.setenv("PROSODY_VAULT", str(vault))
    with web.serving(thing=web.content(DATA)) as server:
        use(server.url)
        fetch.fetch([item()], "now")
        assert bool(server.requests) is not good
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
        again = spawn(server.url, DATA)
        assert again.communicate(timeout=20)[0].strip() == "1"
        assert server.requests[-1][1].startswith("bytes="), "it did not resume"
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
