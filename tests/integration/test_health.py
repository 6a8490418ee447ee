"""What the doctor finds wrong with vectors, their index and pgvector."""

import numpy as np
import pytest

from seesame.db import health, indexes, spaces
from seesame.db import recall as rows
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.types import Space, SpaceIdentity, Vectors
from tests.catalogue_rows import add_images, unit

DIMENSIONS = 8
IMAGES = 2_100


@pytest.fixture
def vectors() -> Vectors:
    return unit(np.random.default_rng(1).normal(size=(IMAGES, DIMENSIONS)))


@pytest.fixture
def space(database: Database, vectors: Vectors) -> Space:
    with database.transaction(timeout_s=60) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        connection.execute("ALTER TABLE seesame.embeddings_1 SET (autovacuum_enabled = false)")
        add_images(connection, space, vectors)
    assert indexes.ensure(database, space)
    return _read(database)


def _read(database: Database) -> Space:
    with database.transaction() as connection:
        return spaces.list_spaces(connection)[0]


def _faults(database: Database, space: Space) -> list[str]:
    with database.transaction() as connection:
        return health.space_faults(connection, space)


def test_all_is_well(database: Database, space: Space) -> None:
    """A space that nothing is wrong with, in a server whose pgvector is new enough."""
    assert _faults(database, space) == []
    with database.transaction() as connection:
        assert health.extension_faults(connection) == []


@pytest.mark.parametrize(("version", "words"), [("0.8.1", ["overflow", "corrupt"]), ("0.8.3", ["unrepaired"])])
def test_a_pgvector_with_known_faults(database: Database, version: str, words: list[str]) -> None:
    """Each fault that the installed release still has, and which to install."""
    with database.transaction() as connection:
        connection.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", (version,))
        (fault,) = health.extension_faults(connection)
    assert all(word in fault for word in [version, *words, "0.8.4", "ALTER EXTENSION"])
    assert ("overflow" in fault) == (version == "0.8.1")


def test_vectors_that_cannot_be_compared(database: Database, space: Space) -> None:
    """Zero, or of another length than 1."""
    with database.transaction() as connection:
        for product, vector in (("p1", [0] * DIMENSIONS), ("p2", [5, *[0] * (DIMENSIONS - 1)])):
            values = (str(vector), product)
            connection.execute("UPDATE seesame.embeddings_1 SET image_embedding = %s WHERE product_id = %s", values)
    (fault,) = _faults(database, space)
    assert fault.startswith("2 vectors of toy@00000000 are NaN, zero or not of length 1")


def test_vectors_that_cannot_be_compared_without_pgvector(rightless: Database, vectors: Vectors) -> None:
    """NaN and zero; there is nothing to say of an index."""
    migrate(rightless)
    rightless.open()
    with rightless.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        add_images(connection, space, vectors[:10])
        assert health.space_faults(connection, space) == []
        for product, vector in (("p1", ["NaN"] + ["0.1"] * (DIMENSIONS - 1)), ("p2", ["0"] * DIMENSIONS)):
            literal = "{" + ",".join(vector) + "}"
            values = (literal, product)
            connection.execute("UPDATE seesame.embeddings_1 SET image_embedding = %s WHERE product_id = %s", values)
        (fault,) = health.space_faults(connection, space)
    assert fault.startswith("2 vectors")


def test_dead_rows(database: Database, space: Space) -> None:
    """Updates that nobody cleaned up after."""
    with database.session() as connection:
        connection.execute("UPDATE seesame.embeddings_1 SET sha256 = sha256")
        connection.execute("SELECT pg_stat_force_next_flush()")
        connection.execute("SELECT 1")
    (fault,) = _faults(database, space)
    assert "are dead" in fault
    assert "VACUUM seesame.embeddings_1" in fault


def test_an_index_that_is_not_used(database: Database, space: Space) -> None:
    """As where somebody turned off index scans."""
    with database.transaction() as connection:
        connection.execute("SET LOCAL enable_indexscan = off")
        (fault,) = health.space_faults(connection, space)
    assert "is not used" in fault


def test_recall_that_drifts(database: Database, space: Space, vectors: Vectors) -> None:
    """Once there are enough samples, and only where a recall was wished for."""
    with database.transaction() as connection:
        rows.set_tuned(connection, space.space_id, ef_search=100, recall=0.98)
    space = _read(database)
    with database.transaction() as connection:
        for vector in vectors[:29]:
            rows.keep(connection, space, vector, 0.9)
        assert health.space_faults(connection, space) == []
        rows.keep(connection, space, vectors[29], 0.9)
        (fault,) = health.space_faults(connection, space)
        assert "finds 90.0% of the nearest of late, not 98.0%; run: seesame tune" in fault
        for vector in vectors[:200]:
            rows.keep(connection, space, vector, 0.97)
        assert health.space_faults(connection, space) == []
