"""Pictures drawn by lot, for measuring how alike those of one product are, and those of different ones."""

import random
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
from psycopg.types.json import Jsonb

from seesame.calibration import Calibration
from seesame.db.pool import Connection
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.types import Space, Vectors

_SQL = statements("calibration")
_NONE, _ALL = UUID(int=0), UUID(int=2**128 - 1)


@dataclass(frozen=True, slots=True)
class Drawn:
    """Some pictures, each with its vector. Column by column, all of one length."""

    product_ids: list[str]
    image_ids: list[UUID]
    sha256: list[bytes]
    bytes_refs: list[str]
    vectors: Vectors


class Others(NamedTuple):
    """Further pictures, one a product, column by column."""

    product_ids: list[str]
    sha256: list[bytes]
    vectors: Vectors


class Subject(NamedTuple):
    """A picture to search by. `has_others`: its product has more pictures that can be found."""

    product_id: str
    image_id: UUID
    bytes_ref: str
    category: str | None
    has_others: bool


def draw(connection: Connection, space: Space, count: int, *, seed: int) -> Drawn:
    """Up to `count` pictures of a space, the same for the same seed."""
    rows = _by_lot(connection, space, "some_images", count, seed)
    columns: list[Any] = [list(column) for column in zip(*rows, strict=True)] or [[], [], [], [], []]
    return Drawn(*columns[:4], _unit(columns[4], space))


def others(connection: Connection, space: Space, drawn: Drawn) -> Others:
    """One more picture of each product that has one."""
    statement = _SQL["other_images"].format(embeddings=embeddings_table(space.space_id))
    values = {"product_ids": drawn.product_ids, "image_ids": drawn.image_ids}
    rows = connection.execute(statement, values).fetchall()
    return Others([row[0] for row in rows], [row[1] for row in rows], _unit([row[2] for row in rows], space))


def subjects(connection: Connection, space: Space, count: int, *, seed: int) -> list[Subject]:
    """Up to `count` pictures of different products, the same for the same seed."""
    rows = [Subject(*row) for row in _by_lot(connection, space, "queries", count, seed)]
    return list({subject.product_id: subject for subject in rows}.values())


def store(connection: Connection, space: Space, calibration: Calibration) -> None:
    """Keeps it with the space, unless that has begun anew meanwhile."""
    values = {
        "space_id": space.space_id,
        "created_at": space.created_at,
        "calibration": Jsonb(asdict(calibration)),
    }
    connection.execute(_SQL["store"], values)


def _by_lot(connection: Connection, space: Space, name: str, count: int, seed: int) -> list[tuple[Any, ...]]:
    """Rows of images, from one that the seed chooses on, and where those end, from the first."""
    statement = _SQL[name].format(embeddings=embeddings_table(space.space_id))
    begin = UUID(int=random.Random(seed).getrandbits(128))  # noqa: S311 - nobody is to be surprised
    rows: dict[UUID, tuple[Any, ...]] = {}
    for first, last in ((begin, _ALL), (_NONE, begin)):
        values = {"first": first, "last": last, "count": count - len(rows)}
        rows |= {row[1]: row for row in connection.execute(statement, values)}
    return list(rows.values())


def _unit(vectors: list[list[float]], space: Space) -> Vectors:
    rows = np.array(vectors, dtype=np.float32).reshape(len(vectors), space.dimensions)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)
