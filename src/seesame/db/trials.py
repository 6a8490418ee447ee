"""Pictures of the catalogue to try searches with, drawn by lot."""

import random
from typing import NamedTuple
from uuid import UUID

from psycopg.rows import class_row

from seesame.db.pool import Connection
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.types import Space

_SQL = statements("trials")
_NONE, _ALL = UUID(int=0), UUID(int=2**128 - 1)


class Subject(NamedTuple):
    """A picture that has its vector, and its product's category."""

    product_id: str
    image_id: UUID
    sha256: bytes
    bytes_ref: str
    category: str | None


def subjects(connection: Connection, space: Space, count: int, *, seed: int) -> list[Subject]:
    """Up to `count` pictures of as many products, the same for the same seed.

    They follow, in the order of their ids, a place that the seed chooses; after the last one comes the first.
    """
    statement = _SQL["subjects"].format(embeddings=embeddings_table(space.space_id))
    begin = UUID(int=random.Random(seed).getrandbits(128))  # noqa: S311 - nobody is to be surprised
    found: dict[str, Subject] = {}
    with connection.cursor(row_factory=class_row(Subject)) as cursor:
        for first, last in ((begin, _ALL), (_NONE, begin)):
            values = {"first": first, "last": last, "count": count - len(found)}
            for subject in cursor.execute(statement, values):
                found.setdefault(subject.product_id, subject)
    return list(found.values())
