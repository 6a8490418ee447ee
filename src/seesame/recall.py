"""Recall is measured and steered: `ef_search` is chosen for it, and live queries tell whether it holds."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from seesame.db import recall as rows
from seesame.db.pool import Database
from seesame.errors import DatabaseError, StorageFull
from seesame.types import Page, Space, Vector, Vectors

_log = logging.getLogger(__name__)

EF_SEARCH = (20, 30, 40, 50, 60, 80, 100, 150, 200, 300, 400, 600, 1000)
_ENOUGH = 0.999  # nothing beyond is worth looking at
_MORE = 2  # points beyond the one that is chosen, so that it is seen what they would cost
_TIMEOUT_S = 120  # for comparing all, on a large catalogue
_REST = 200  # times what a measurement took: so it takes half a percent of a core at most
_LEAST_REST_S = 10.0


@dataclass(frozen=True, slots=True)
class Point:
    """What an `ef_search` gives: recall of the ten nearest images, and milliseconds of the statement."""

    ef_search: int
    recall: float
    median_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Tuning:
    """What was measured, and the least `ef_search` that reaches the recall; None where none does."""

    points: tuple[Point, ...]
    chosen: Point | None
    live_queries: int
    stand_ins: int


OnProgress = Callable[[int, int | None], None]


def tune(database: Database, space: Space, *, recall: float, queries: int, on_progress: OnProgress) -> Tuning:
    """Chooses `ef_search` for a recall, with queries of late and, for want of them, stand-ins. Stores nothing."""
    with database.transaction(timeout_s=_TIMEOUT_S) as connection:
        live = rows.sampled(connection, space, queries)
        others = rows.stand_ins(connection, space, queries - len(live))
    vectors = np.concatenate([live, others])
    best = []
    for number, vector in enumerate(vectors):
        with database.transaction(timeout_s=_TIMEOUT_S) as connection:
            best.append(rows.exact(connection, space, vector))
        on_progress(number + 1, len(vectors))
    points: list[Point] = []
    for ef_search in EF_SEARCH:
        points.append(_point(database, space, vectors, best, ef_search))
        reached = [point for point in points if point.recall >= recall]
        if len(reached) > _MORE or points[-1].recall >= max(recall, _ENOUGH):
            break
    return Tuning(tuple(points), reached[0] if reached else None, len(live), len(others))


def _point(database: Database, space: Space, vectors: Vectors, best: Sequence[list[float]], ef_search: int) -> Point:
    shares, times = [], []
    for vector, expected in zip(vectors, best, strict=True):
        with database.transaction() as connection:
            found, took_ms = rows.by_index(connection, space, vector, ef_search)
        shares.append(rows.share(found, expected))
        times.append(took_ms)
    median_ms, p99_ms = np.quantile(times, (0.5, 0.99))
    return Point(ef_search, float(np.mean(shares)), float(median_ms), float(p99_ms))


class RecallGauge:
    """Measures the recall of a few live queries, one at a time, in a thread of its own, and keeps them for `tune`."""

    def __init__(self, database: Database, *, on_measured: Callable[[Space, float], None]) -> None:
        self._database = database
        self._on_measured = on_measured
        self._lock = threading.Lock()
        self._next_at = time.monotonic() + _LEAST_REST_S

    def searched(self, space: Space, vector: Vector, page: Page) -> None:
        """Takes a query that the index answered, now and then. Returns at once."""
        if page.method != "hnsw" or time.monotonic() < self._next_at or not self._lock.acquire(blocking=False):
            return
        threading.Thread(target=self._measure, args=(space, vector), name="recall", daemon=True).start()

    def _measure(self, space: Space, vector: Vector) -> None:
        started = time.monotonic()
        try:
            with self._database.transaction(timeout_s=_TIMEOUT_S) as connection:
                found, _ = rows.by_index(connection, space, vector, space.ef_search)
                share = rows.share(found, rows.exact(connection, space, vector))
                rows.keep(connection, space, vector, share)
            self._on_measured(space, share)
        except (DatabaseError, StorageFull) as error:
            _log.debug("Recall was not measured: %s", error)
        finally:
            ended = time.monotonic()
            self._next_at = ended + max(_LEAST_REST_S, _REST * (ended - started))
            self._lock.release()
