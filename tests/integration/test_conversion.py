"""A shop whose PostgreSQL gets pgvector later: its vectors are converted in place, while it goes on."""

import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psycopg
import pytest

from seesame.db import catalogue, conversion, indexes, pool, spaces, work
from seesame.db.exact import ExactVectors
from seesame.db.migrate import migrate
from seesame.db.pool import Connection, Database
from seesame.db.search import nearest
from seesame.errors import DatabaseUnavailable, SpaceChanged
from seesame.types import Page, Product, Space, SpaceIdentity, Vector, Vectors
from tests.catalogue_rows import add_images, unit

DIMENSIONS = 8
IMAGES = 2_500  # more than are compared one by one
_CONVERT = """
import sys
from seesame.db import conversion
from seesame.db.pool import Database
database = Database(sys.argv[1])
database.open()
conversion.convert(database, conversion.due(database)[0], lambda done, total: print(done, flush=True))
"""


@pytest.fixture
def vectors() -> Vectors:
    return unit(np.random.default_rng(1).normal(size=(IMAGES, DIMENSIONS)))


@pytest.fixture
def space(rightless: Database, vectors: Vectors) -> Space:
    """A space of 2,500 images in a database without pgvector."""
    migrate(rightless)
    rightless.open()
    with rightless.transaction(timeout_s=60) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        add_images(connection, space, vectors)
    return space


def _install_pgvector(empty_dsn: str) -> None:
    """What the shop's administrator does one day."""
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")


def _space(connection: Connection) -> Space:
    (space,) = spaces.list_spaces(connection)
    return space


class _Searching:
    """Searches as the service does, in whatever the table is now."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held = ExactVectors(max_bytes=2**20)

    def __call__(self, vector: Vector, limit: int = 3) -> Page:
        for _ in range(2):
            with self._database.transaction() as connection:
                space = _space(connection)
            try:
                with self._database.transaction() as connection, spaces.meanwhile_changed():
                    find = nearest if space.vector_type == "halfvec" else self._held.nearest
                    return find(connection, space, vector, (), limit=limit)
            except SpaceChanged:
                pass
        raise AssertionError("the table changed twice")


def test_nothing_is_due_before_pgvector_comes(rightless: Database, space: Space) -> None:
    """Without the extension there is nothing to convert to."""
    assert conversion.due(rightless) == []


def test_vectors_are_converted_while_searches_and_writes_go_on(
    rightless: Database, space: Space, vectors: Vectors, empty_dsn: str, caplog: pytest.LogCaptureFixture
) -> None:
    """No search fails or finds less; what is written and deleted meanwhile is there, and gone, afterwards."""
    _install_pgvector(empty_dsn)
    migrate(rightless)
    assert "seesame db migrate" in caplog.text
    search = _Searching(rightless)
    assert search(vectors[7]).method == "exact"
    stop = threading.Event()
    added: list[Vector] = []

    def searches() -> set[str]:
        methods: set[str] = set()
        number = 0
        while not stop.is_set():
            number = (number + 1) % 1_000
            page = search(vectors[number])
            methods.add(page.method)
            assert page.hits[0].product.product_id == f"p{number}"
        return methods

    def writes() -> None:
        rng = np.random.default_rng(2)
        while not stop.is_set():
            number = len(added)
            vector = unit(rng.normal(size=(1, DIMENSIONS)))
            with rightless.transaction() as connection:
                # As a worker that read the space before it was converted.
                add_images(connection, space, vector, products=[Product(f"new{number}")])
                catalogue.delete_products(connection, [f"p{1_000 + number}"])
            added.append(vector[0])

    seen: list[tuple[int, int]] = []
    with ThreadPoolExecutor(2) as pool:
        searching, writing = pool.submit(searches), pool.submit(writes)
        try:
            assert conversion.convert(rightless, space, lambda done, total: seen.append((done, total)))
            search(vectors[0])
        finally:
            stop.set()
        methods = searching.result()
        writing.result()
    assert methods >= {"exact"}
    assert seen[-1][0] >= IMAGES
    with rightless.transaction() as connection:
        converted = _space(connection)
        assert (converted.vector_type, converted.indexed) == ("halfvec", True)
        assert spaces.count_vectors(connection, space.space_id) == IMAGES
        assert work.count_pending(connection, space.space_id) == 0
        assert spaces.is_complete(connection, space.space_id)
    assert search(vectors[3]).method == "hnsw"
    assert added
    for number, vector in enumerate(added):
        assert search(vector).hits[0].product.product_id == f"new{number}"
        assert search(vectors[1_000 + number]).hits[0].product.product_id != f"p{1_000 + number}"
    with rightless.transaction() as connection:
        catalogue.delete_products(connection, ["p3"])
        assert spaces.count_vectors(connection, space.space_id) == IMAGES - 1
    assert conversion.due(rightless) == []


def test_a_conversion_that_is_killed_goes_on_where_it_was(
    rightless: Database, space: Space, vectors: Vectors, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed after its first batch, and again before the tables change places."""
    _install_pgvector(empty_dsn)
    monkeypatch.setattr(conversion, "_BATCH", 100)
    command = [
        sys.executable,
        "-c",
        _CONVERT.replace("import conversion", "import conversion; conversion._BATCH = 100"),
    ]
    process = subprocess.Popen([*command, rightless.dsn], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert _Searching(rightless)(vectors[7]).hits[0].product.product_id == "p7"

    monkeypatch.setattr(pool, "_LOCK_TRIES", 0)
    _until_unlocked(rightless)
    with pytest.raises(DatabaseUnavailable):
        conversion.convert(rightless, space)
    with rightless.transaction() as connection:
        catalogue.delete_products(connection, ["p9"])
        assert _space(connection).vector_type == "real[]"
    monkeypatch.undo()
    assert conversion.convert(rightless, space)
    with rightless.transaction() as connection:
        assert _space(connection).indexed
        assert spaces.count_vectors(connection, space.space_id) == IMAGES - 1
    assert _Searching(rightless)(vectors[7]).hits[0].product.product_id == "p7"


def _until_unlocked(database: Database) -> None:
    """Until PostgreSQL has noticed that the killed process is gone."""
    for _ in range(100):
        with database.session() as connection:
            row = connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone()
        if row == (0,):
            return
        threading.Event().wait(0.1)
    raise AssertionError("the killed process still holds its lock")


def test_a_long_transaction_of_the_shop_delays_it_and_is_not_blocked_for_long(
    rightless: Database, space: Space, empty_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The conversion waits for half a second at a time, so that what queues behind it goes on."""
    _install_pgvector(empty_dsn)
    with psycopg.connect(rightless.dsn) as shop, ThreadPoolExecutor(1) as pool:
        shop.execute("UPDATE seesame.product_images SET position = 1 WHERE product_id = 'p0'")
        converting = pool.submit(conversion.convert, rightless, space)
        for number in range(20):
            with rightless.transaction(timeout_s=2) as connection:  # fails if it waits longer
                catalogue.upsert_products(connection, [Product(f"p{number}", title="new")])
                connection.execute("UPDATE seesame.product_images SET position = 1 WHERE product_id = 'p1'")
            threading.Event().wait(0.1)
        assert not converting.done()
        shop.commit()
        assert converting.result(60)


def test_two_at_once_convert_once(rightless: Database, space: Space, empty_dsn: str) -> None:
    """The second leaves it to the first."""
    _install_pgvector(empty_dsn)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(lambda _: conversion.convert(rightless, space), range(2))) == [False, True]


def test_an_index_of_a_converted_space_can_be_rebuilt(rightless: Database, space: Space, empty_dsn: str) -> None:
    """It is an index like any other."""
    _install_pgvector(empty_dsn)
    conversion.convert(rightless, space)
    with rightless.session() as connection:
        (space,) = spaces.list_spaces(connection)
        ((name, valid),) = indexes.listed(connection, spaces.embeddings_table(space.space_id))
        assert valid
        connection.execute(f"DROP INDEX {name}".encode())
    assert indexes.ensure(rightless, space)
