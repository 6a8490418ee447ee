"""Recall: measured against comparing all, steered by `ef_search`, watched on live queries."""

import itertools
import threading

import numpy as np
import pytest

from seesame.db import indexes, spaces
from seesame.db import recall as rows
from seesame.db.pool import Database
from seesame.db.search import nearest
from seesame.recall import EF_SEARCH, RecallGauge, tune
from seesame.types import Page, Space, SpaceIdentity, Vectors
from tests.catalogue_rows import add_images, unit

DIMENSIONS = 48
IMAGES = 4_000


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """Without structure, which is hard for an index."""
    return unit(np.random.default_rng(3).normal(size=(IMAGES, DIMENSIONS)))


@pytest.fixture
def space(database: Database, vectors: Vectors) -> Space:
    with database.transaction(timeout_s=120) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        add_images(connection, space, vectors)
        connection.execute("ANALYZE")
    assert indexes.ensure(database, space)
    return _read(database)


def _nobody_looks(done: int, total: int | None) -> None:
    pass


def _read(database: Database) -> Space:
    with database.transaction() as connection:
        (space,) = spaces.list_spaces(connection)
    return space


def test_the_least_ef_search_that_reaches_the_recall_is_chosen(
    database: Database, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More effort finds more; what comes out is what was measured, and nothing is stored yet."""
    monkeypatch.setattr("seesame.recall.EF_SEARCH", (2, 5, *EF_SEARCH))
    told: list[int] = []
    tuning = tune(database, space, recall=0.9, queries=40, on_progress=lambda done, _: told.append(done))
    assert told == list(range(1, 41))
    assert (tuning.live_queries, tuning.stand_ins) == (0, 40)
    recalls = [point.recall for point in tuning.points]
    assert recalls[0] < 0.9 <= recalls[-1]
    assert all(later >= earlier - 0.02 for earlier, later in itertools.pairwise(recalls))
    assert tuning.chosen == next(point for point in tuning.points if point.recall >= 0.9)
    assert _read(database) == space
    with database.transaction() as connection:
        rows.set_tuned(connection, space.space_id, ef_search=tuning.chosen.ef_search, recall=0.9)
    assert _read(database).ef_search == tuning.chosen.ef_search


def test_a_recall_out_of_reach_chooses_nothing(
    database: Database, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured is there to see why."""
    monkeypatch.setattr("seesame.recall.EF_SEARCH", (2, 5))
    tuning = tune(database, space, recall=1.0, queries=20, on_progress=_nobody_looks)
    assert tuning.chosen is None
    assert len(tuning.points) == 2


def test_live_queries_are_measured_kept_and_tuned_with(
    database: Database, space: Space, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The share that is told is the one that comparing by hand gives; one query at a time, and seldom."""
    with database.transaction() as connection:
        rows.set_tuned(connection, space.space_id, ef_search=10, recall=0.9)
    space = _read(database)
    monkeypatch.setattr("seesame.recall._LEAST_REST_S", 0.0)
    monkeypatch.setattr("seesame.recall._REST", 0)
    told: list[float] = []
    measured = threading.Semaphore(0)

    def on_measured(of: Space, share: float) -> None:
        assert of == space
        told.append(share)
        measured.release()

    gauge = RecallGauge(database, on_measured=on_measured)
    queries = unit(np.random.default_rng(4).normal(size=(30, DIMENSIONS)))
    for query in queries:
        with database.transaction() as connection:
            page = nearest(connection, space, query, (), limit=10)
        assert page.method == "hnsw"
        gauge.searched(space, query, Page(page.hits, "exact", exhausted=False, scanned=0))
        for _ in range(3):  # while one is measured, others are passed over
            gauge.searched(space, query, page)
        assert measured.acquire(timeout=30)
        while gauge._lock.locked():
            threading.Event().wait(0.001)
    assert len(told) >= 30
    assert 0.5 < np.mean(told) < 1.0
    with database.transaction() as connection:
        late = rows.of_late(connection, space.space_id)
        kept = rows.sampled(connection, space, 1_000)
    assert late.wanted == pytest.approx(0.9)
    assert late.samples == len(told)
    assert late.recall == pytest.approx(np.mean(told), abs=1e-6)
    assert {tuple(vector) for vector in kept} == {tuple(vector) for vector in queries}
    tuning = tune(database, space, recall=0.5, queries=20, on_progress=_nobody_looks)
    assert (tuning.live_queries, tuning.stand_ins) == (20, 0)


def test_a_recall_of_late_is_that_of_the_settings_of_now(database: Database, space: Space, vectors: Vectors) -> None:
    """Samples of another `ef_search` say nothing; and only the last of them are kept."""
    with database.transaction() as connection:
        for number in range(510):
            rows.keep(connection, space, vectors[number], 0.5)
        assert len(rows.sampled(connection, space, 1_000)) == 500
        assert rows.of_late(connection, space.space_id) == (None, 0.5, 100)
        rows.set_tuned(connection, space.space_id, ef_search=space.ef_search + 1, recall=0.98)
        late = rows.of_late(connection, space.space_id)
    assert late.wanted == pytest.approx(0.98)
    assert (late.recall, late.samples) == (None, 0)


def test_of_images_that_are_alike_any_will_do() -> None:
    """As near as the last of the best is as good."""
    assert rows.share([0.1, 0.2, 0.2], [0.1, 0.2, 0.2]) == 1.0
    assert rows.share([0.1, 0.2, 0.3], [0.1, 0.2, 0.2]) == pytest.approx(2 / 3)
    assert rows.share([], []) == 1.0
