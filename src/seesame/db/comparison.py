"""Products to compare two spaces by."""

from typing import NamedTuple
from uuid import UUID

from psycopg.rows import class_row

from seesame.db.pool import Connection
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.types import Space

_SQL = statements("comparison")


class Subject(NamedTuple):
    """A product, with its first picture that has its vector in both spaces."""

    product_id: str
    image_id: UUID
    title: str
    category: str | None


def sample(
    connection: Connection, old: Space, new: Space, *, count: int, seed: int, by_category: bool
) -> list[Subject]:
    """Up to `count` products, the same for the same seed. `by_category`: of each category by its share of all."""
    names = {"old": embeddings_table(old.space_id), "new": embeddings_table(new.space_id)}
    values = {"count": count, "seed": str(seed), "by_category": by_category}
    with connection.cursor(row_factory=class_row(Subject)) as cursor:
        return cursor.execute(_SQL["sample"].format(**names), values).fetchall()
