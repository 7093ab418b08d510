"""What is released, in real registries: tags that stay and that move, what is sent once, and interruptions anywhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts import oci, publish, referrers, registry, signing
from scripts.errors import AbsentError, RegistryError, ReleaseError, SigningError
from scripts.oci import Layout
from scripts.publish import Attachment, Edition
from scripts.referrers import Document
from scripts.signing import Key
from tests import keys
from tests.integration.conftest import Guarded
from tests.peers.registry import Registry
from tests.unit import test_oci

_MONTH = 30 * 24 * 60 * 60
_EPOCH = 1767225600  # 2026-01-01


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Layout]:
    """Makes a small image for two platforms, created on a day."""

    def make(day: str) -> Layout:
        folder = tmp_path_factory.mktemp("image")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
            exported = test_oci.exported(folder / "exported", created=f"{day}T00:00:00Z")
            return oci.canonicalise(exported, folder / "layout", test_oci.NAMES)

    return make


@pytest.fixture(scope="module")
def edition(made: Callable[[str], Layout]) -> Edition:
    """An image, with a document about it and one about one of its platforms."""
    layout = made("2026-01-01")
    subjects = [layout.index, layout.images[1].manifest]
    documents = [
        Attachment(subject, Document(f"{number}.json", "application/vnd.example+json", b"{}\n"))
        for number, subject in enumerate(subjects)
    ]
    return Edition("small", layout, _EPOCH, tuple(documents), ("1.0-small-2026.01.01",), ("1.0-small", "small"))


@pytest.fixture(scope="module")
def by(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    """Who signs."""
    made = keys.make(tmp_path_factory.mktemp("key"))
    with pytest.MonkeyPatch.context() as patch:
        keys.use(made, patch)
        yield made


def published(edition: Edition, repository: str, by: Key, scratch: Path) -> publish.Plan:
    """All that a release does to one image in one repository, but for trying it out."""
    plan = publish.plan(edition, repository)
    publish.send(plan, by)
    publish.check(plan, by, scratch / repository.replace("/", "-"))
    publish.finish(plan)
    return plan


def named(repository: str, *tags: str) -> list[str]:
    """What tags name."""
    return [registry.digest(f"{repository}:{tag}") for tag in tags]


def test_everything_is_there_by_its_tags_and_twice_is_once(
    on_loopback: Registry, edition: Edition, by: Key, tmp_path: Path
) -> None:
    repository = f"{on_loopback.host}/whole"
    tags = (*edition.fixed, *edition.moving)
    plan = published(edition, repository, by, tmp_path / "first")
    assert plan.tags == tags
    assert named(repository, *tags) == [edition.layout.index] * 3
    for attachment in edition.attachments:
        (referrer,) = referrers.attached(repository, attachment.subject)
        assert referrers.document(repository, referrer) == attachment.document
        signing.check(f"{repository}@{referrer.digest}", by)
    signing.check(f"{repository}:small", by)
    before = on_loopback.requests("PUT", "/whole/")
    again = published(edition, repository, by, tmp_path / "second")
    assert (again.tags, again.kept) == ((), ())
    assert on_loopback.requests("PUT", "/whole/") == before, "what was there was sent again"


def test_a_publication_goes_on_wherever_it_was_interrupted(
    on_loopback: Registry, edition: Edition, by: Key, tmp_path: Path
) -> None:
    repository = f"{on_loopback.host}/interrupted"
    plan = publish.plan(edition, repository)
    for last in range(publish.steps(plan)):
        left = iter(range(last))

        def interrupt(_what: str, left: Iterator[int] = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        def begin(interrupt: Callable[[str], None] = interrupt, folder: Path = tmp_path / str(last)) -> None:
            publish.send(plan, by, interrupt)
            publish.check(plan, by, folder, interrupt)

        with pytest.raises(KeyboardInterrupt):
            begin()
        assert publish.plan(edition, repository) == plan, "a tag names what is not complete"
    published(edition, repository, by, tmp_path)
    assert named(repository, *plan.tags) == [edition.layout.index] * 3


def test_fixed_tags_stay_and_others_move_to_what_is_newer(
    on_loopback: Registry, made: Callable[[str], Layout], edition: Edition, by: Key, tmp_path: Path
) -> None:
    repository = f"{on_loopback.host}/moving"
    published(edition, repository, by, tmp_path / "old")
    newer = replace(edition, layout=made("2026-02-01"), epoch=_EPOCH + _MONTH, attachments=())
    with pytest.raises(ReleaseError, match=r"1\.0-small-2026\.01\.01 is sha256:"):
        publish.plan(newer, repository)
    newer = replace(newer, fixed=("1.0-small-2026.02.01",))
    published(newer, repository, by, tmp_path / "new")
    tags = ("1.0-small-2026.01.01", "1.0-small-2026.02.01", "1.0-small", "small")
    assert named(repository, *tags) == [edition.layout.index, *[newer.layout.index] * 3]
    old = published(edition, repository, by, tmp_path / "again")
    assert (old.tags, old.kept) == ((), ("1.0-small", "small"))
    assert named(repository, "small") == [newer.layout.index], "an old release has taken the tag back"


def test_what_comes_back_is_what_was_sent(on_loopback: Registry, edition: Edition, by: Key, tmp_path: Path) -> None:
    repository = f"{on_loopback.host}/altered"
    document = Document("altered.json", "application/vnd.example+json", b"to be altered")
    altered = replace(edition, attachments=(Attachment(edition.layout.index, document),))
    plan = publish.plan(altered, repository)
    publish.send(plan, by)
    more = replace(
        altered, attachments=(*altered.attachments, Attachment(edition.layout.index, replace(document, file_name="b")))
    )
    with pytest.raises(ReleaseError, match="came back without b"):
        publish.check(replace(plan, edition=more), by, tmp_path / "missing")
    with pytest.raises(SigningError):
        publish.check(plan, keys.make(tmp_path), tmp_path / "other")
    on_loopback.spoil(oci.digest_of(document.content).removeprefix("sha256:"))
    with pytest.raises(RegistryError, match="other bytes than its digest says"):
        publish.check(plan, by, tmp_path / "altered")


def test_a_registry_with_tls_wants_a_name_and_a_password(
    guarded: Guarded, edition: Edition, by: Key, tmp_path: Path
) -> None:
    repository = f"{guarded.registry.host}/prosody"
    guarded.admit(lambda: publish.plan(edition, repository))
    with pytest.raises(AbsentError):
        registry.digest(f"{repository}:small")
    published(edition, repository, by, tmp_path / "back")
    assert named(repository, "small") == [edition.layout.index]
