"""Every server row of the compliance suites is satisfied by the image's defaults, and the page says just that."""

from __future__ import annotations

import dataclasses

import docker
import pytest

from tests.integration import compliance
from tests.integration.compliance import ROWS, Level, Row
from tests.integration.containers import LoadedImage
from tests.integration.evidence import Exchange, Feature, Observation
from tests.integration.observation import observe


@pytest.fixture(scope="module")
def observation(client: docker.DockerClient, image: LoadedImage) -> Observation:
    """What servers of the default image show."""
    return observe(client, image)


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in ROWS])
def test_a_row_is_satisfied(observation: Observation, row: Row) -> None:
    assert not row.missing(observation)


def test_the_page_is_what_is_observed(observation: Observation) -> None:
    assert compliance.PAGE.read_text() == compliance.page(observation), "run scripts/nox -s compliance"


def test_every_exchange_belongs_to_a_row() -> None:
    """So that none is tried for nothing, and none that fails goes unnoticed."""
    assert {need for row in ROWS for need in row.needs if isinstance(need, Exchange)} == set(Exchange)


def test_each_row_depends_on_all_that_it_names(observation: Observation) -> None:
    """The control of the tests above: a server that lacks one thing fails the rows that name it, and only those."""
    for wanted in {need for row in ROWS for need in row.needs}:
        if isinstance(wanted, Feature):
            without = dataclasses.replace(observation, features=observation.features - {wanted})
        else:
            without = dataclasses.replace(observation, exchanges=observation.exchanges - {wanted})
        failed = [row.name for row in ROWS if row.missing(without)]
        assert failed == [row.name for row in ROWS if wanted in row.needs]
        assert compliance.page(without).count("| no |") == len(failed)


def test_rows_are_those_of_the_suites() -> None:
    """Counted in XEP-0479: the rows that are not N/A for servers, by level; one more is told though not required."""
    levels = [row.level for row in ROWS]
    assert [levels.count(level) for level in (Level.CORE, Level.ADVANCED, Level.NONE)] == [13, 11, 1]
    assert len({row.name for row in ROWS}) == len(ROWS)
