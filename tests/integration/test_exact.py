"""Search without pgvector: `real[]`, compared in the process, with and without the files of the extension."""

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pytest

from seesame.db import catalogue, exact, indexes, spaces, work
from seesame.db.exact import ExactVectors
from seesame.db.migrate import migrate
from seesame.db.pool import Database, pgvector_version
from seesame.db.search import vector_of
from seesame.filters import parse_filter
from seesame.types import Page, Product, Space, SpaceIdentity, Vector, Vectors
from tests.catalogue_rows import add_images, unit

DIMENSIONS = 16
PRODUCTS = 300
PER_PRODUCT = 2
ROOM = 2**20


@pytest.fixture(params=["rightless", "plain"])
def bare(request: pytest.FixtureRequest) -> Database:
    """A migrated database without pgvector: its user may not create it, or it has no files of it."""
    database: Database = request.getfixturevalue(request.param)
    migrate(database)
    database.open()
    with database.transaction() as connection:
        assert pgvector_version(connection) is None
    return database


@pytest.fixture
def vectors() -> Vectors:
    return unit(np.random.default_rng(1).normal(size=(PRODUCTS * PER_PRODUCT, DIMENSIONS)))


@pytest.fixture
def space(bare: Database, vectors: Vectors) -> Space:
    """300 products of two images each."""
    owners = [_product(i // PER_PRODUCT) for i in range(len(vectors))]
    with bare.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        add_images(connection, space, vectors, products=owners)
        assert (space.vector_type, space.indexed) == ("real[]", False)
        assert work.count_pending(connection, space.space_id) == 0
    return space


@pytest.fixture(params=[ROOM, 0], ids=["held", "read anew"])
def held(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ExactVectors:
    """With room for all vectors, and with none; in small blocks, so that there are several."""
    monkeypatch.setattr(exact, "_BLOCK", 64)
    return ExactVectors(max_bytes=request.param)


def _product(number: int) -> Product:
    return Product(f"p{number:03}", category=f"c{number % 3}", price=Decimal(number))


def _nearest(
    held: ExactVectors,
    database: Database,
    space: Space,
    query: Vector,
    written: dict[str, object] | None = None,
    *,
    limit: int = 10,
    offset: int = 0,
    exclude: Collection[str] = (),
) -> Page:
    with database.transaction() as connection:
        clauses = parse_filter(written or {})
        return held.nearest(connection, space, query, clauses, limit=limit, offset=offset, exclude=exclude)


def _ids(page: Page) -> list[str]:
    return [hit.product.product_id for hit in page.hits]


def _expected(vectors: Vectors, query: Vector) -> list[str]:
    similarity = (vectors @ query).reshape(-1, PER_PRODUCT).max(axis=1)
    return [f"p{i:03}" for i in np.argsort(-similarity)]


def test_it_finds_what_comparing_all_finds(held: ExactVectors, bare: Database, space: Space, vectors: Vectors) -> None:
    """Order, grouping by product, pages, filters, and what was scanned."""
    for query in unit(np.random.default_rng(2).normal(size=(5, DIMENSIONS))):
        expected = _expected(vectors, query)
        page = _nearest(held, bare, space, query)
        assert (_ids(page), page.method, page.exhausted, page.scanned) == (expected[:10], "exact", False, len(vectors))
        pages = [_nearest(held, bare, space, query, limit=70, offset=offset) for offset in range(0, 350, 70)]
        assert [name for page in pages for name in _ids(page)] == expected
        assert [page.exhausted for page in pages] == [False] * 4 + [True]
        page = _nearest(held, bare, space, query, {"category": "c1", "price": {"lt": 100}}, limit=200)
        assert _ids(page) == [name for name in expected if int(name[1:]) % 3 == 1 and int(name[1:]) < 100]
        assert (page.exhausted, page.scanned) == (True, 33 * PER_PRODUCT)
    own = _nearest(held, bare, space, vectors[0])
    assert own.hits[0].similarity == pytest.approx(1.0, abs=1e-6)
    assert _ids(own) == ["p000", *_ids(_nearest(held, bare, space, vectors[0], exclude={"p000"}, limit=9))]
    assert _nearest(held, bare, space, vectors[0], {"category": "none"}).hits == ()
    with bare.transaction() as connection:
        stored = vector_of(connection, space, "p007")
    assert stored is not None
    assert max(vectors[7 * PER_PRODUCT : 8 * PER_PRODUCT] @ stored) == pytest.approx(1.0, abs=1e-6)


def test_pages_of_equal_pictures_have_each_once(held: ExactVectors, bare: Database, space: Space) -> None:
    """The same picture in many products: they are as similar as each other, and no page repeats or leaves out one."""
    query = unit(np.ones((1, DIMENSIONS)))[0]
    with bare.transaction() as connection:
        add_images(connection, space, np.tile(query, (50, 1)), products=[Product(f"same{i:02}") for i in range(50)])
    pages = [_nearest(held, bare, space, query, limit=10, offset=offset) for offset in range(0, 50, 10)]
    assert sorted(name for page in pages for name in _ids(page)) == [f"same{i:02}" for i in range(50)]


def test_what_is_written_and_deleted_is_noticed_at_once(
    held: ExactVectors, bare: Database, space: Space, vectors: Vectors
) -> None:
    """Also what an open transaction writes, which is older than what others committed before it."""
    query = unit(np.ones((1, DIMENSIONS)))[0]
    before = _ids(_nearest(held, bare, space, query, limit=3))
    with psycopg.connect(bare.dsn) as slow, bare.transaction() as quick:
        add_images(slow, space, query[None], products=[Product("slow")])
        add_images(quick, space, unit(query[None] + 0.01), products=[Product("quick")])
        quick.commit()
        assert "quick" in _ids(_nearest(held, bare, space, query, limit=1))
        slow.commit()
    assert set(_ids(_nearest(held, bare, space, query, limit=2))) == {"slow", "quick"}
    with bare.transaction() as connection:
        for name in ("slow", "quick", before[0]):
            catalogue.delete_products(connection, [name])
    page = _nearest(held, bare, space, query, limit=2)
    assert _ids(page) == before[1:3]


def test_a_table_that_was_restored_is_read_anew(bare: Database, space: Space, vectors: Vectors) -> None:
    """As a backup restores it: another table, written by transactions whose numbers this server has not reached."""
    held = ExactVectors(max_bytes=ROOM)
    _nearest(held, bare, space, vectors[0])
    with bare.session() as connection:
        connection.execute("CREATE TABLE seesame.restored (LIKE seesame.embeddings_1 INCLUDING ALL)")
        connection.execute("INSERT INTO seesame.restored SELECT * FROM seesame.embeddings_1 WHERE product_id <> 'p000'")
        connection.execute("UPDATE seesame.restored SET written_in = '1000000000'")
        connection.execute("DROP TABLE seesame.embeddings_1")
        connection.execute("ALTER TABLE seesame.restored RENAME TO embeddings_1")
    assert "p000" not in _ids(_nearest(held, bare, space, vectors[0]))
    migrate(bare)
    with bare.session() as connection:
        ahead = "SELECT count(*) FROM seesame.embeddings_1 WHERE written_in > pg_current_xact_id()"
        assert connection.execute(ahead).fetchone() == (0,)
    assert len(_ids(_nearest(held, bare, space, vectors[1], limit=200))) == 200


def test_threads_that_search_while_others_write(bare: Database, space: Space, vectors: Vectors) -> None:
    """Each search finds what was committed before it, and nothing comes up twice."""
    held = ExactVectors(max_bytes=ROOM)
    written: list[str] = []
    new = unit(np.random.default_rng(5).normal(size=(40, DIMENSIONS)))
    stop = threading.Event()

    def search() -> int:
        count = 0
        while not stop.is_set() or not count:
            known = list(written)
            for name in known[-2:]:
                page = _nearest(held, bare, space, new[int(name[3:])], limit=5)
                assert _ids(page)[0] == name
                assert len(set(_ids(page))) == 5
            count += 1
        return count

    with ThreadPoolExecutor(3) as pool:
        searching = [pool.submit(search) for _ in range(3)]
        try:
            for number, vector in enumerate(new):
                with bare.transaction() as connection:
                    add_images(connection, space, vector[None], products=[Product(f"new{number}")])
                written.append(f"new{number}")
        finally:
            stop.set()
        assert all(thread.result() for thread in searching)


def test_what_is_held_beforehand_is_searched_without_reading_it_again(
    bare: Database, space: Space, vectors: Vectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a server does when it starts; later searches read what was written since, and no more."""
    held = ExactVectors(max_bytes=ROOM)
    with bare.transaction() as connection:
        held.hold(connection, space)
    read = []
    written = exact._written

    def watched(*arguments: Any) -> Any:
        for batch in written(*arguments):
            read.append(len(batch.image_ids))
            yield batch

    monkeypatch.setattr(exact, "_written", watched)
    assert _ids(_nearest(held, bare, space, vectors[0]))[0] == "p000"
    assert read == [0]


def test_an_index_is_never_built_without_pgvector(bare: Database, space: Space) -> None:
    """There is nothing to build."""
    assert not indexes.ensure(bare, space)
