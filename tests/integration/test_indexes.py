"""Indexes of the tables of vectors: when they are built, and what a build that was cut short leaves."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest

from seesame.db import indexes, spaces
from seesame.db.indexes import WORTH_IT, Build
from seesame.db.pool import Connection, Database
from seesame.types import Space, SpaceIdentity
from tests.catalogue_rows import add_images, unit

DIMENSIONS = 8


@pytest.fixture
def space(database: Database) -> Space:
    """A space with just enough vectors that an index is worth it."""
    with database.transaction(timeout_s=60) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        vectors = np.random.default_rng(1).normal(size=(WORTH_IT + 1, DIMENSIONS))
        add_images(connection, space, unit(vectors))
    return space


def _valid(database: Database, space: Space) -> bool | None:
    with database.transaction() as connection:
        return indexes.is_valid(connection, space.space_id)


def test_an_index_is_built_when_it_is_worth_it_and_once(database: Database, space: Space) -> None:
    """Not for a handful of vectors; and what can be used is not built again."""
    with database.transaction() as connection:
        small = spaces.register(connection, SpaceIdentity("small", "1" * 64, DIMENSIONS), "candidate")
    assert not indexes.ensure(database, small)
    assert _valid(database, small) is None
    assert indexes.ensure(database, space)
    assert _valid(database, space) is True
    assert not indexes.ensure(database, space)


def test_what_a_killed_build_left_is_replaced(database: Database, space: Space) -> None:
    """An index that PostgreSQL calls invalid is no index: it is dropped and built anew."""
    with database.session() as connection:
        connection.execute(
            "CREATE INDEX broken ON seesame.embeddings_1 USING hnsw (image_embedding halfvec_cosine_ops)"
        )
        connection.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'seesame.broken'::regclass")
    assert _valid(database, space) is False
    assert indexes.ensure(database, space)
    assert _valid(database, space) is True
    with database.session() as connection:
        assert connection.execute("SELECT to_regclass('seesame.broken')").fetchone() == (None,)


def test_several_at_once_build_one(database: Database, space: Space) -> None:
    """One process builds, the others leave it to that one."""
    with ThreadPoolExecutor(3) as pool:
        built = list(pool.map(lambda _: indexes.ensure(database, space), range(3)))
    assert built.count(True) == 1
    with database.session() as connection:
        assert len(_all(connection)) == 1


def test_a_build_lets_writes_go_on_and_tells_how_far_it_is(database: Database, space: Space) -> None:
    """While it waits for an open transaction, others write; it ends when that one does."""
    seen: list[Build] = []
    with psycopg.connect(database.dsn) as shop, ThreadPoolExecutor(1) as pool:
        shop.execute("UPDATE seesame.embeddings_1 SET sha256 = sha256 WHERE product_id = 'p0'")
        building = pool.submit(indexes.ensure, database, space, seen.append)
        while not seen:
            assert not building.done()
            threading.Event().wait(0.05)
        with psycopg.connect(database.dsn) as other:
            other.execute("SET statement_timeout = '5s'")
            other.execute("UPDATE seesame.embeddings_1 SET sha256 = sha256 WHERE product_id = 'p1'")
        shop.commit()
        assert building.result(60)
    assert _valid(database, space) is True


def _all(connection: Connection) -> list[tuple[str]]:
    statement = "SELECT indexname FROM pg_indexes WHERE tablename = 'embeddings_1' AND indexdef LIKE '%hnsw%'"
    return connection.execute(statement).fetchall()
