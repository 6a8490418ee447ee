"""The HNSW indexes of the tables of vectors: built after a load, while searches and writes go on.

A graph that is built at once, in memory and by all cores, takes a fraction of the time of one that grows row by row.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg import sql

from seesame.db.pool import Connection, Database, connect, scalar
from seesame.db.spaces import count_vectors, embeddings_table
from seesame.db.statements import statements
from seesame.types import Space

_log = logging.getLogger(__name__)
_SQL = statements("indexes")

_LOCK = 0x5EE5A41  # with the space's number: one process builds
_NODE_BYTES = 900  # of the graph for a vector, beside the vector itself, at m = 16
_LOOK_S = 1.0
_COUNT_S = 60.0
WORTH_IT = 2_000  # vectors; comparing fewer is as fast as an index, and finds all


class Build(NamedTuple):
    """How far a build has come, in vectors; `total` is 0 until PostgreSQL says how many there are."""

    done: int
    total: int


OnBuild = Callable[[Build], None]


def is_valid(connection: Connection, space_id: int) -> bool | None:
    """Whether the index of a space can be used; None where it has none."""
    found = [valid for _, valid in listed(connection, embeddings_table(space_id))]
    return any(found) if found else None


def listed(connection: Connection, table: sql.Identifier) -> list[tuple[str, bool]]:
    """The HNSW indexes of a table: the name, and whether PostgreSQL uses it."""
    return connection.execute(_SQL["list_indexes"], {"table": table.as_string()}).fetchall()


def is_missing(connection: Connection, space: Space) -> bool:
    """Whether a space needs an index and has none that can be used."""
    if space.vector_type != "halfvec" or is_valid(connection, space.space_id):
        return False
    return count_vectors(connection, space.space_id) > WORTH_IT


def ensure(database: Database, space: Space, on_progress: OnBuild | None = None) -> bool:
    """Builds the index of a space if it needs one and has none that can be used; whether it did.

    Takes minutes for a million vectors. Reads and writes of the table go on meanwhile. What a build that was killed
    left behind is cleared away. Where another process builds the same index, it is left to that one.
    """
    with database.transaction(timeout_s=_COUNT_S) as connection:
        if not is_missing(connection, space):
            return False  # as nearly always, which is worth no connection of its own
    with database.session() as connection:
        if not scalar(connection, _SQL["lock"], {"lock": _LOCK, "space_id": space.space_id}):
            return False
        if not is_missing(connection, space):
            return False  # another process has just built it
        table = embeddings_table(space.space_id)
        for name, _ in listed(connection, table):
            connection.execute(_SQL["drop"].format(index=sql.SQL(name)))
        started = time.monotonic()
        with watched(database.dsn, table, on_progress):
            create(connection, table, count_vectors(connection, space.space_id), space)
        analyze(connection, table)
        _log.info("Built the index of %s (%.0f s)", space.key, time.monotonic() - started)
    return True


def create(
    connection: Connection, table: sql.Identifier, count: int, space: Space, *, concurrently: bool = True
) -> None:
    """Makes the index of a table of about `count` vectors.

    It may use a quarter of what the server believes to be the machine's cache, if it has use for so much: a graph that
    does not fit is finished row by row.
    """
    give_memory(connection, count, 2 * space.dimensions)
    word = sql.SQL("CONCURRENTLY" if concurrently else "")
    connection.execute(_SQL["create"].format(concurrently=word, embeddings=table))


def analyze(connection: Connection, table: sql.Identifier) -> None:
    """Tells the planner what a table holds after much was written."""
    connection.execute(_SQL["analyze"].format(embeddings=table))


def give_memory(connection: Connection, count: int, vector_bytes: int, *, for_transaction: bool = False) -> None:
    """Lets the session, or the transaction alone, build an index of `count` vectors of so many bytes in memory."""
    needed = count * (vector_bytes + _NODE_BYTES)
    connection.execute(_SQL["memory"], {"needed": needed, "for_transaction": for_transaction})


@contextmanager
def watched(dsn: str, table: sql.Identifier, on_progress: OnBuild | None) -> Iterator[None]:
    """Tells the progress of the build on a table that goes on inside, by a connection of its own."""
    if on_progress is None:
        yield
        return
    ended = threading.Event()

    def look() -> None:
        try:
            with connect(dsn) as connection:
                while not ended.wait(_LOOK_S):
                    row = connection.execute(_SQL["progress"], {"table": table.as_string()}).fetchone()
                    if row is not None:
                        on_progress(Build(row[1], row[2]))
        except psycopg.Error:
            _log.debug("The build's progress cannot be read", exc_info=True)

    watcher = threading.Thread(target=look, name="index build", daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
