from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from scripts import paths


def test_a_file_is_replaced_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "file"
    with paths.replacing(path) as temporary:
        temporary.write_text("after")
        assert not path.exists()
        assert temporary.parent == path.parent, "only a rename on one file system is atomic"
    assert path.read_text() == "after"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("before", ["before", None], ids=["replaced", "new"])
def test_nothing_half_written_is_left(tmp_path: Path, error: type[BaseException], before: str | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_text(before)

    def fail_halfway() -> None:
        with paths.replacing(path) as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(error):
        fail_halfway()
    assert [found.read_text() for found in tmp_path.iterdir()] == ([] if before is None else [before])


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_follow_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        assert paths.write_text(tmp_path / "file", "text")
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o666 & ~mask
        assert os.umask(mask) == mask, "the umask is as it was"
    finally:
        os.umask(before)


def test_a_file_that_is_there_already_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert paths.write_text(path, "text")
    inode = path.stat().st_ino
    assert not paths.write_text(path, "text")
    assert path.stat().st_ino == inode
    assert paths.write_text(path, "other")
    assert path.read_text() == "other"


@pytest.mark.parametrize(
    ("variable", "expected"),
    [
        ("/somewhere", "/somewhere/prosody-images"),
        ("", "{home}/.cache/prosody-images"),
        ("~/x", "{home}/x/prosody-images"),
    ],
)
def test_the_cache_is_where_the_desktop_specification_says(
    monkeypatch: pytest.MonkeyPatch, variable: str, expected: str
) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    assert str(paths.user_cache()) == expected.format(home="/home/somebody")


def test_places_are_in_this_repository() -> None:
    assert (paths.ROOT / "noxfile.py").is_file()
    for folder in (paths.VARIANTS, paths.SCHEMA, paths.IMAGES, paths.TOOLS):
        assert folder.is_dir()
        assert folder.is_relative_to(paths.ROOT)
