"""Turns the `real[]` vectors of a space into pgvector's, after the extension came, while the shop goes on.

The vectors are copied into a table beside, which gets its index there; then it takes the place of the old one, in one
short transaction that brings what was written or deleted meanwhile. Killed at any moment, it goes on where it was.
"""

import logging
from collections.abc import Callable
from uuid import UUID

from psycopg import sql

from seesame.db import indexes
from seesame.db.pool import Connection, Database, patiently, pgvector_version, scalar
from seesame.db.spaces import conversion_table, count_vectors, embeddings_table, list_spaces, store_inline, vector_type
from seesame.db.statements import statements
from seesame.types import Space

_log = logging.getLogger(__name__)
_SQL = statements("conversion")

LOCK = 0x5EE5A42  # with the space's number: one process converts, and none replaces vectors meanwhile
_BATCH = 5_000
_FIRST = ("", UUID(int=0))

OnCopied = Callable[[int, int], None]
"""Called with how many vectors are copied, and how many there are."""


def due(database: Database) -> list[Space]:
    """Spaces that could be searched with pgvector and are not."""
    with database.session() as connection:
        if pgvector_version(connection) is None:
            return []
        return [space for space in list_spaces(connection) if space.vector_type == "real[]"]


def convert(database: Database, space: Space, on_copied: OnCopied = lambda done, total: None) -> bool:  # noqa: ARG005
    """Converts a space; whether it did, and not another process at the same time.

    Raises:
        DatabaseUnavailable: a transaction that has used the tables for a minute does not end.
    """
    with database.session() as connection:
        if not scalar(
            connection, "SELECT pg_try_advisory_lock(%(lock)s, %(id)s)", {"lock": LOCK, "id": space.space_id}
        ):
            return False
        conversion = _Conversion(connection, space)
        conversion.copy(on_copied)
        conversion.index()
        conversion.swap()
    _log.info("✅ %s is searched with pgvector from now on", space.key)
    return True


class _Conversion:
    """The steps, on one connection with autocommit."""

    def __init__(self, connection: Connection, space: Space) -> None:
        name = f"embeddings_{space.space_id}"
        self._connection = connection
        self._space = space
        self._next = conversion_table(space.space_id)
        self._names = {
            "embeddings": embeddings_table(space.space_id),
            "next": self._next,
            "name": sql.Identifier(name),
            "reference": sql.Identifier(f"{name}_image"),
            "vector_type": vector_type("halfvec", space.dimensions),
        }

    def copy(self, on_copied: OnCopied) -> None:
        """Copies batch after batch, each a transaction."""
        self._run("create_next")
        store_inline(self._connection, self._next, "halfvec", self._space.dimensions)
        total = count_vectors(self._connection, self._space.space_id)
        done = int(scalar(self._connection, _SQL["count_next"].format(**self._names)))
        while True:
            last = self._connection.execute(_SQL["last_copied"].format(**self._names)).fetchone() or _FIRST
            copied = self._run("copy_some", product_id=last[0], image_id=last[1], limit=_BATCH)
            done += copied
            on_copied(done, max(done, total))
            if copied < _BATCH:
                return

    def index(self) -> None:
        """Builds the index where nobody searches yet, in a transaction: it is there or not."""
        self._catch_up()
        count = int(scalar(self._connection, _SQL["count_next"].format(**self._names)))
        if count > indexes.WORTH_IT and not indexes.listed(self._connection, self._next):
            indexes.create(self._connection, self._next, count, self._space, concurrently=False)

    def swap(self) -> None:
        """Puts the new table in the place of the old one; the shop's writes wait for half a second at most."""
        patiently(self._connection, self._change_places)
        self._run("validate")
        indexes.analyze(self._connection, embeddings_table(self._space.space_id))

    def _change_places(self) -> None:
        self._run("lock_both")
        self._catch_up()
        for name in ("drop_old", "take_place", "refer"):
            self._run(name)

    def _catch_up(self) -> None:
        self._run("copy_missing")
        self._run("delete_gone")

    def _run(self, name: str, **values: object) -> int:
        return self._connection.execute(_SQL[name].format(**self._names), values).rowcount
