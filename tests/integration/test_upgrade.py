"""Data of older servers open in this image: those that Prosody 0.12 writes now, and those of every released version."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from tests.integration import released_data, stored_data
from tests.integration.clients import log_in
from tests.integration.conftest import Images
from tests.integration.containers import LoadedImage
from tests.integration.released_data import FOLDER, STORAGES, Place
from tests.integration.stored_data import ACCOUNTS, ALICE, CAROL, OFFLINE, View

RELEASED = sorted(FOLDER.glob("*/*.tar.xz"))


@pytest.fixture
def place(client: docker.DockerClient, images: Images) -> Iterator[Place]:
    with released_data.place(client, images) as found:
        yield found


@pytest.mark.parametrize("storage", STORAGES)
def test_what_clients_of_prosody_0_12_saw_is_there(place: Place, image: LoadedImage, storage: str) -> None:
    """The same volume, as Prosody 0.12 has left it just now."""
    with place.old(storage) as old:
        upload, token = asyncio.run(stored_data.fill(old, place.root))
        written = asyncio.run(stored_data.read_as_clients(old, place.root, upload, token))
        old.peer.running.stop()
    _check(place, image, released_data.comparable(written))


@pytest.mark.parametrize("archive", RELEASED, ids=lambda path: f"{path.parent.name}-{path.name.partition('.')[0]}")
def test_data_of_a_released_version_open(place: Place, image: LoadedImage, archive: Path) -> None:
    written = place.put(archive, image)
    # An invitation is good for a week only.
    _check(place, image, written | {"invitation": None})


def test_data_are_kept_of_prosody_0_12_and_of_this_series() -> None:
    kept = {path.parent.name.rpartition(".")[0] for path in RELEASED}
    assert kept >= {"0.12", "13.0"}
    assert len(RELEASED) == len(STORAGES) * len({path.parent for path in RELEASED})


def _check(place: Place, image: LoadedImage, written: View) -> None:
    """Everything that clients saw is there, in the same order, and nobody has lost a password or a message.

    No variable tells of a database: the server finds it.
    """
    with place.new(image) as server:
        view = asyncio.run(stored_data.read_as_clients(server, place.root, written["upload"], written["token"]))
        found = released_data.comparable(view)
        for name, expected in written.items():
            if expected is not None:
                _compare(name, expected, found[name])
        log_in(server.port(), CAROL, ACCOUNTS[CAROL], place.root)
        waiting = asyncio.run(stored_data.read_waiting(server, place.root))
        assert waiting == {"messages": OFFLINE, "wants to subscribe": ALICE}
        assert " error\t" not in server.log()


def _compare(name: str, expected: Any, found: Any) -> None:
    """Forms may have more fields than they had, and nothing else may differ."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            _compare(f"{name}: {key}", value, found.get(key))
    else:
        assert found == expected, name
