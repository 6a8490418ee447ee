"""Vectors on their way from the shop's own table into a space: loaded aside, then moved in one transaction.

Workers go on meanwhile. An image that one of them has in hand is left to it.
"""

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np
from psycopg import errors, sql

from seesame.db import conversion, spaces
from seesame.db.columns import Row
from seesame.db.pool import Connection, pgvector_version, set_local
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.db.vectors import encode
from seesame.types import Space, SpaceIdentity, Vector, Vectors

_SQL = statements("adoption")

_SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_TRIES = 5
_FIELDS = (4).to_bytes(2)


class Target(NamedTuple):
    """An image that gets a vector."""

    product_id: str
    image_id: UUID
    sha256: bytes


def find_space(connection: Connection, identity: SpaceIdentity) -> Space | None:
    """The space of a model; None where there is none, or it was retired."""
    return next((s for s in spaces.list_spaces(connection) if s.key == identity.key and s.role != "retired"), None)


def prepare(connection: Connection, identity: SpaceIdentity) -> str:
    """Makes a table of this transaction's own to load vectors of a space into; the vectors' type."""
    set_local(connection, idle_in_transaction_session_timeout=0)  # between statements, pictures are embedded
    known = find_space(connection, identity)
    vector_type = known.vector_type if known else "halfvec" if pgvector_version(connection) else "real[]"
    connection.execute(_SQL["create"].format(vector_type=sql.SQL(vector_type)))
    connection.execute(_SQL["store_as_it_is"])  # packing them would take long, and gain nothing
    return vector_type


def targets(connection: Connection, rows: Sequence[Row], *, named: bool) -> list[Target | None]:
    """The image of each row, None where the catalogue has none: the one it names, or its product's first."""
    product_ids, image_ids = [row.row_id for row in rows], [row.image_id for row in rows]
    if named:
        statement, ids = _SQL["named_images"], {"product_ids": product_ids, "image_ids": image_ids}
    else:
        statement, ids = _SQL["first_images"], {"product_ids": product_ids}
    found = [Target(*row) for row in connection.execute(statement, ids).fetchall()]
    images = {(image.product_id, image.image_id if named else None): image for image in found}
    return [images.get((row.row_id, row.image_id)) if row.row_id else None for row in rows]


def load(connection: Connection, targets: Sequence[Target], vectors: Vectors, vector_type: str) -> None:
    """Loads vectors, shape (n, dimensions), one a target."""
    fields = encode(vectors, vector_type)
    rows = [
        _FIELDS + _field(target.product_id.encode()) + _field(target.image_id.bytes) + _field(target.sha256) + field
        for target, field in zip(targets, fields, strict=True)
    ]
    with connection.cursor() as cursor, cursor.copy(_SQL["load"]) as copy:
        copy.write(b"".join((_SIGNATURE, *rows, _TRAILER)))


def named_twice(connection: Connection) -> list[tuple[str, int]]:
    """Products one image of which was given several vectors, with how many."""
    connection.execute(_SQL["analyze"])
    return connection.execute(_SQL["twice"]).fetchall()


def sample(connection: Connection, limit: int) -> list[tuple[UUID, Vector]]:
    """Some images with the vectors that were loaded for them."""
    rows = connection.execute(_SQL["sample"], {"limit": limit}).fetchall()
    return [(image_id, np.array(numbers, np.float32)) for image_id, numbers in rows]


def move(connection: Connection, space: Space) -> int:
    """Moves what was loaded into the space, in place of what is there, and ends the work that this saves.

    Returns:
        How many images have their vector now. Not those that a worker has in hand, so that it never waits for this, nor
        those that were deleted meanwhile.
    """
    connection.execute(_SQL["await_conversion"], {"lock": conversion.LOCK, "space_id": space.space_id})
    connection.execute(_SQL["end_work"], {"space_id": space.space_id})
    connection.execute(_SQL["leave_to_workers"], {"space_id": space.space_id})
    for _ in range(_TRIES):
        try:
            with spaces.meanwhile_changed(), connection.transaction():
                return _replace(connection, space)
        except (errors.ForeignKeyViolation, errors.DeadlockDetected) as error:  # an image was being deleted
            last = error
    raise last


def _replace(connection: Connection, space: Space) -> int:
    names = {"embeddings": embeddings_table(space.space_id), "vector_type": sql.SQL(space.vector_type)}
    connection.execute(_SQL["remove_old"].format(**names))
    return connection.execute(_SQL["insert"].format(**names)).rowcount


def _field(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data
