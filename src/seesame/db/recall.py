"""How much of what comparing all would find an index finds, for one query at a time."""

import time
from typing import LiteralString, NamedTuple

import numpy as np
from psycopg import sql

from seesame.db.catalogue import now
from seesame.db.halfvec import HalfVector
from seesame.db.pool import Connection, scalar, set_local
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.types import Space, Vector, Vectors

_SQL = statements("recall")

NEAREST = 10  # images that recall is measured on
_SAME = 1e-6  # difference of two distances that is none
_KEPT = 500  # samples a space
_PLACE = 5  # of the neighbour that a stand-in for a query leans to


class OfLate(NamedTuple):
    """Recall of the last sampled queries with the settings of now, and what was wished for, if anything was."""

    wanted: float | None
    recall: float | None
    samples: int


def exact(connection: Connection, space: Space, vector: Vector) -> list[float]:
    """The distances of the nearest images, by comparing all."""
    return _nearest(connection, space, vector, "(e.image_embedding <=> %(vector)s::halfvec) + 0")


def by_index(connection: Connection, space: Space, vector: Vector, ef_search: int) -> tuple[list[float], float]:
    """The distances of the images that the index finds, and the milliseconds that it took."""
    set_local(connection, hnsw__ef_search=ef_search, hnsw__iterative_scan="off")
    started = time.perf_counter()
    found = _nearest(connection, space, vector, "e.image_embedding <=> %(vector)s::halfvec")
    return found, (time.perf_counter() - started) * 1000


def share(found: list[float], best: list[float]) -> float:
    """Which part of the best was found. Distances are compared: of images that are alike any will do."""
    return sum(distance <= best[-1] + _SAME for distance in found) / len(best) if best else 1.0


def keep(connection: Connection, space: Space, vector: Vector, recall: float) -> None:
    """Keeps a query with its recall, and forgets the oldest where there are many."""
    values = {"space_id": space.space_id, "vector": vector.tolist(), "ef_search": space.ef_search, "recall": recall}
    connection.execute(_SQL["keep"], values)
    connection.execute(_SQL["forget_old"], {"space_id": space.space_id, "kept": _KEPT})


def sampled(connection: Connection, space: Space, count: int) -> Vectors:
    """The last queries that were kept, at most `count`. Shape (n, dimensions)."""
    rows = connection.execute(_SQL["sampled"], {"space_id": space.space_id, "count": count}).fetchall()
    return _stacked(rows, space)


def stand_ins(connection: Connection, space: Space, count: int) -> Vectors:
    """Vectors like those of queries, where too few were kept: half-way between an image and one that is like it."""
    percent = min(100.0, 200 * count / max(1, space.images))  # twice as many, as it is left to chance
    statement = _SQL["some_images"].format(embeddings=embeddings_table(space.space_id))
    images = _stacked(connection.execute(statement, {"percent": percent, "count": count}).fetchall(), space)
    set_local(connection, hnsw__ef_search=space.ef_search)
    statement = _SQL["neighbour"].format(embeddings=embeddings_table(space.space_id))
    neighbours = [(scalar(connection, statement, {"vector": HalfVector(image), "place": _PLACE}),) for image in images]
    between = images + _stacked(neighbours, space)
    return np.asarray(between / np.linalg.norm(between, axis=1, keepdims=True), dtype=np.float32)


def set_tuned(connection: Connection, space_id: int, *, ef_search: int, recall: float) -> None:
    """Has a space searched with this `ef_search` from now on, chosen for this recall."""
    values = {"space_id": space_id, "ef_search": ef_search, "recall": recall, "now": now(connection)}
    connection.execute(_SQL["tuned"], values)


def of_late(connection: Connection, space_id: int, *, count: int = 100) -> OfLate:
    """What the last `count` samples say."""
    row = connection.execute(_SQL["of_late"], {"space_id": space_id, "count": count}).fetchone()
    return OfLate(*row) if row is not None else OfLate(None, None, 0)


def _nearest(connection: Connection, space: Space, vector: Vector, distance: LiteralString) -> list[float]:
    statement = _SQL["nearest"].format(
        distance=sql.SQL(distance),
        embeddings=embeddings_table(space.space_id),
    )
    values = {"vector": HalfVector(vector), "count": NEAREST}
    return [row[0] for row in connection.execute(statement, values)]


def _stacked(rows: list[tuple[list[float]]], space: Space) -> Vectors:
    return np.array([row[0] for row in rows], dtype=np.float32).reshape(len(rows), space.dimensions)
