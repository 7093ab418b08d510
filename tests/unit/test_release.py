from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import build, digests, gather, notes, oci, paths, publish, registry, release
from scripts.errors import BuildError, DigestError, UsageError
from scripts.oci import Layout
from scripts.publish import Edition
from scripts.release import Tags
from tests.unit import test_oci

NAMES = test_oci.NAMES


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit, in place of this one."""
    root = tmp_path / "checkout"
    root.mkdir()
    for name, folder in (("ROOT", root), ("DIST", root / "dist"), ("IMAGES", root / "images")):
        monkeypatch.setattr(paths, name, folder)
    git(root, "init", "-q")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2026-03-01T23:30:00-03:00")
    git(root, "commit", "-q", "--allow-empty", "-m", "first")
    return root


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], None),
        (["v1", "2026.3.1", "2026.03.01-rc", "x2026.03.01"], None),
        (["2026.03.01", "v1"], "2026.03.01"),
        (["2026.03.01", "2026.03.01.2", "2026.03.01.10"], "2026.03.01.10"),
    ],
)
def test_a_release_is_called_by_a_tag_that_is_a_date(checkout: Path, given: list[str], expected: str | None) -> None:
    for tag in given:
        git(checkout, "tag", tag)
    assert notes.current() == expected
    git(checkout, "commit", "-q", "--allow-empty", "-m", "second")
    assert notes.current() is None, "the tag is of another commit"
    assert [notes.is_last(name) for name in ("2026.02.28", "2026.03.01.10")] == [expected is None, True]
    assert notes.by_date() == "2026.03.02", "the day is that of UTC"
    git(checkout, "tag", "2026.03.02", "HEAD~")
    assert notes.by_date() == "2026.03.02.1", "the other name is taken"


def test_only_a_git_checkout_is_released(checkout: Path) -> None:
    (checkout / ".git").rename(checkout / "elsewhere")
    with pytest.raises(UsageError, match="is no checkout of Git"):
        notes.current()


def test_variants_say_what_they_are_called() -> None:
    fixed, moving = ("13.0.6-debian-2026.03.01",), ("13.0.6-debian", "13.0-debian", "debian", "latest")
    recipe = build.recipe("debian")
    assert recipe.version == "13.0.6", "the tags below are of this version"
    assert release.tags(recipe, "2026.03.01") == Tags(fixed, moving)
    for name in ("hardened", "jitsi", "dev"):
        found = release.tags(build.recipe(name), "2026.03.01.2")
        assert found.fixed == (f"13.0.6-{name}-2026.03.01.2",)
        assert "latest" not in found.moving


def test_a_tag_is_of_one_variant() -> None:
    release.distinct({"one": Tags(("a",), ("b",)), "two": Tags(("c",), ())})
    with pytest.raises(UsageError, match=r"one and two would both be tagged 'b'\. .* null removes"):
        release.distinct({"one": Tags(("a",), ("b",)), "two": Tags(("b",), ())})


@pytest.mark.parametrize(
    "text", ["ghcr.io", "you/prosody", "ghcr.io/you/prosody:debian", "host:5000/x@sha256:1", "./a"]
)
def test_what_is_no_repository_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="no repository: HOST"):
        release.repositories([text])


def test_repositories_may_be_one_text() -> None:
    assert release.repositories(["ghcr.io/a/b  host:5000/c", "ghcr.io/A/b"]) == ["ghcr.io/a/b", "host:5000/c"]
    with pytest.raises(UsageError, match="is empty"):
        release.repositories([" "])


@pytest.mark.parametrize(
    ("created", "last", "kept"),
    [(1, True, ()), (2, True, ()), (2, False, ("small",)), (3, True, ("small",)), (1, False, ())],
)
def test_a_tag_that_moves_stays_where_it_names_what_is_newer(
    created: int, last: bool, kept: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images with the same packages are of the same time; then the later release is newer."""
    monkeypatch.setattr(registry, "digest", lambda _reference: "sha256:other")
    monkeypatch.setattr(registry, "created", lambda _reference: created)
    edition = Edition("small", Layout(Path("/nowhere"), "sha256:this", ()), 2, (), (), ("small",), last)
    plan = publish.plan(edition, "host:5000/prosody")
    assert (plan.kept, plan.tags) == (kept, () if kept else ("small",))


@pytest.fixture
def built(cache: Path, checkout: Path, tmp_path: Path) -> Callable[[str, list[int]], Layout]:
    """Builds some of the two platforms of a variant `small`, whose digests are committed."""

    def build_it(name: str, order: list[int]) -> Layout:
        return oci.canonicalise(test_oci.exported(tmp_path / f"exported {name}", order=order), tmp_path / name, NAMES)

    whole = build_it("whole", [0, 1])
    (checkout / "images" / "small").mkdir(parents=True)
    (checkout / "images" / "small" / "digests.json").write_text(digests.dump(whole))
    return build_it


def test_images_of_several_machines_are_gathered(built: Callable[[str, list[int]], Layout], checkout: Path) -> None:
    parts = [built("one", [1]), built("other", [0])]
    found = gather.gather("small", parts)
    assert found.folder == checkout / "dist" / "small"
    assert found.index == oci.load(found.folder).index == digests.committed("small").index
    with pytest.raises(BuildError, match="no image with the committed digest for: linux/amd64"):
        gather.gather("small", parts[:1])
    assert oci.load(found.folder).index == found.index, "what was there is kept"


def test_what_is_released_is_there_whole_and_as_committed(
    built: Callable[[str, list[int]], Layout], checkout: Path
) -> None:
    with pytest.raises(BuildError, match=r"is not there\. Build all platforms with: .* -- small --platform all"):
        release.built("small")
    gather.gather("small", [built("one", [0, 1])])
    assert release.built("small").index == digests.committed("small").index
    (checkout / "dist").rename(checkout / "whole")
    (checkout / "dist").mkdir()
    built("one of two", [0]).folder.rename(checkout / "dist" / "small")
    with pytest.raises(DigestError, match=r"index: .* committed"):
        release.built("small")
