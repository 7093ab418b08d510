from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import digests, paths, variants
from scripts.digests import Digests
from scripts.errors import DigestError
from scripts.oci import Image, Layout
from scripts.platforms import PLATFORMS

AMD64 = Image(PLATFORMS["linux/amd64"], "sha256:config-amd64", "sha256:manifest-amd64", 1)
ARM64 = Image(PLATFORMS["linux/arm64"], "sha256:config-arm64", "sha256:manifest-arm64", 2)
LAYOUT = Layout(Path("/nowhere"), "sha256:index", (AMD64, ARM64))


@pytest.fixture
def committed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The digests of the layout, as if committed."""
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "IMAGES", tmp_path / "images")
    path = digests.path_of("test")
    path.parent.mkdir(parents=True)
    path.write_text(digests.dump(LAYOUT))
    return path


def loaded() -> Digests:
    found = digests.load("test")
    assert found is not None
    return found


def test_digests_survive_writing_and_reading(committed: Path) -> None:
    assert json.loads(committed.read_text()) == {
        "index": "sha256:index",
        "platforms": {
            "linux/amd64": {"config": "sha256:config-amd64", "manifest": "sha256:manifest-amd64"},
            "linux/arm64": {"config": "sha256:config-arm64", "manifest": "sha256:manifest-arm64"},
        },
    }
    assert committed.read_text().endswith("}\n")
    digests.compare("test", loaded(), LAYOUT, everything=True)


@pytest.mark.parametrize(
    ("built", "everything", "expected"),
    [
        pytest.param(
            replace(LAYOUT, images=(AMD64, replace(ARM64, config="sha256:new"))), True,
            ["  linux/arm64: config sha256:config-arm64 committed, sha256:new built"], id="content",
        ),
        pytest.param(
            replace(LAYOUT, images=(AMD64, replace(ARM64, manifest="sha256:new"))), True,
            [("  linux/arm64: same content, but packed differently: manifest sha256:manifest-arm64 committed,"
             " sha256:new built")], id="packing",
        ),
        pytest.param(
            replace(LAYOUT, images=(replace(AMD64, config="sha256:x"), replace(ARM64, config="sha256:y"))), True,
            ["  linux/amd64: config sha256:config-amd64 committed, sha256:x built",
             "  linux/arm64: config sha256:config-arm64 committed, sha256:y built"], id="both",
        ),
        pytest.param(
            replace(LAYOUT, images=(replace(AMD64, platform=PLATFORMS["linux/s390x"]),)), False,
            ["  linux/s390x: not committed, sha256:config-amd64 built"], id="platform that is not committed",
        ),
        pytest.param(
            replace(LAYOUT, index="sha256:new"), True,
            ["  index: sha256:index committed, sha256:new built"], id="index",
        ),
        pytest.param(
            replace(LAYOUT, index="sha256:new", images=(AMD64,)), True,
            ["  index: sha256:index committed, sha256:new built"], id="platform that is committed is not built",
        ),
    ],
)  # fmt: skip
def test_a_difference_is_named(committed: Path, built: Layout, everything: bool, expected: list[str]) -> None:
    del committed
    with pytest.raises(DigestError) as caught:
        digests.compare("test", loaded(), built, everything)
    title, *differences, advice = str(caught.value).splitlines()
    assert title == "The build of test is not the one whose digests are committed (images/test/digests.json):"
    assert differences == expected
    assert advice.endswith("scripts/nox -s digests -- test")


def test_the_index_of_some_platforms_is_not_compared(committed: Path) -> None:
    del committed
    digests.compare("test", loaded(), Layout(Path("/nowhere"), "sha256:of-one", (ARM64,)), everything=False)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", "null", "{}", '{"index": "x"}', '{"index": "x", "platforms": []}',
     '{"index": "x", "platforms": {"linux/amd64": {"config": "x"}}}', '{"index": "x", "platforms": {"linux/amd64": 1}}',
     "<<<<<<< HEAD\n{}"],
)  # fmt: skip
def test_a_broken_file_is_refused(committed: Path, text: str) -> None:
    committed.write_text(text)
    with pytest.raises(DigestError, match=r"images/test/digests\.json is not a file of digests") as caught:
        digests.load("test")
    assert "scripts/nox -s digests -- test" in str(caught.value)


def test_a_file_that_is_not_text_is_refused(committed: Path) -> None:
    committed.write_bytes(b"\xff\xfe")
    with pytest.raises(DigestError, match="is not a file of digests"):
        digests.load("test")


def test_no_file_is_no_digests(committed: Path) -> None:
    committed.unlink()
    assert digests.load("test") is None


@pytest.mark.parametrize("name", variants.names())
def test_the_committed_digests_are_of_all_platforms(name: str) -> None:
    found = digests.load(name)
    assert found is not None
    assert list(found.platforms) == [platform.name for platform in variants.load(name).platforms]
    every = [found.index, *(digest for pair in found.platforms.values() for digest in pair)]
    assert len(set(every)) == len(every)
    assert all(digest.startswith("sha256:") and len(digest) == 71 for digest in every)
