"""The search statement: order, grouping, filters, paging, plans and recall."""

from decimal import Decimal

import numpy as np
import pytest
from psycopg import sql

from seesame.db import catalogue, indexes, search, spaces
from seesame.db.filters import condition
from seesame.db.halfvec import HalfVector
from seesame.db.pool import Connection, Database
from seesame.filters import parse_filter
from seesame.types import Method, Page, Product, Space, SpaceIdentity, Vector, Vectors
from tests.catalogue_rows import add_images, unit

DIMENSIONS = 32
IMAGES = 6_000  # enough that the index is used
PER_PRODUCT = 2


@pytest.fixture(scope="module")
def vectors() -> Vectors:
    """A mixture of clusters, as pictures of kinds of products are."""
    rng = np.random.default_rng(3)
    centres = rng.normal(size=(60, DIMENSIONS))
    return unit(centres[rng.integers(60, size=IMAGES)] + 0.5 * rng.normal(size=(IMAGES, DIMENSIONS)))


def _product(number: int) -> Product:
    return Product(
        f"p{number:05d}",
        title="A thing",
        category=("shoes", "dresses", "hats")[number % 3],
        price=Decimal(number % 100),
        attributes={"color": "red" if number % 1000 == 0 else "blue", "sizes": ["S", "M"], "number": number}
        | ({} if number % 2 else {"even": True}),
    )


@pytest.fixture
def filled(database: Database, vectors: Vectors) -> tuple[Database, Space]:
    """A space of 6,000 images of 3,000 products."""
    with database.transaction(timeout_s=120) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, DIMENSIONS), "fallback")
        add_images(connection, space, vectors, products=[_product(i // PER_PRODUCT) for i in range(IMAGES)])
        connection.execute("ANALYZE")
    assert indexes.ensure(database, space)
    with database.transaction() as connection:
        return database, spaces.list_spaces(connection)[0]


def _expected(vectors: Vectors, query: Vector, keep: "list[bool] | None" = None) -> list[str]:
    """All products, best image first, by brute force."""
    similarity = (vectors @ query).reshape(-1, PER_PRODUCT).max(axis=1)
    order = np.argsort(-similarity, kind="stable")
    return [f"p{i:05d}" for i in order if keep is None or keep[i]]


def _ids(page: Page) -> list[str]:
    return [hit.product.product_id for hit in page.hits]


def _plan(connection: Connection, space: Space, vector: Vector, method: Method) -> str:
    statement = search._SQL["nearest"].format(
        distance=search._DISTANCE[method],
        images=search._ALL.format(embeddings=spaces.embeddings_table(space.space_id)),
        join=sql.SQL(""),
        condition=condition(())[0],
        not_itself=sql.SQL(""),
        following=sql.SQL("true"),
    )
    values = {"vector": HalfVector(vector), "candidates": 20, "limit": 10, "offset": 0}
    rows = connection.execute(sql.SQL("EXPLAIN ") + statement, values).fetchall()
    return "\n".join(row[0] for row in rows)


def test_search_of_the_database(filled: tuple[Database, Space], vectors: Vectors) -> None:
    """Index search over many, exact search over few; each product once, best first, filters kept."""
    database, space = filled
    rng = np.random.default_rng(4)
    queries = unit(vectors[rng.integers(IMAGES, size=20)] + 0.1 * rng.normal(size=(20, DIMENSIONS)))
    with database.transaction() as connection:
        _check_recall(connection, space, vectors, queries)
        _check_filters(connection, space, vectors, queries[0])
        _check_conditions(connection, space, queries[0])
        _check_facets(connection)
        _check_paging(connection, space, vectors, queries[0])
        _check_plans(connection, space, queries[0])


def _check_recall(connection: Connection, space: Space, vectors: Vectors, queries: Vectors) -> None:
    found = 0
    for query in queries:
        page = search.nearest(connection, space, query, (), limit=10)
        assert page.method == "hnsw"
        assert not page.exhausted
        assert len(set(_ids(page))) == 10
        similarities = [hit.similarity or 0 for hit in page.hits]
        assert similarities == sorted(similarities, reverse=True)
        found += len(set(_ids(page)) & set(_expected(vectors, query)[:10]))
    assert found / (10 * len(queries)) >= 0.98


def _check_filters(connection: Connection, space: Space, vectors: Vectors, query: Vector) -> None:
    wide = parse_filter({"price": {"lt": 80}})
    page = search.nearest(connection, space, query, wide, limit=10)
    assert page.method == "iterative"
    assert all(hit.product.price is not None and hit.product.price < 80 for hit in page.hits)
    assert len(page.hits) == 10
    either = search.nearest(connection, space, query, parse_filter({"category": ["shoes", "dresses"]}), limit=200)
    assert {hit.product.category for hit in either.hits} == {"shoes", "dresses"}

    keep = [i % 1000 == 0 for i in range(IMAGES // PER_PRODUCT)]
    page = search.nearest(connection, space, query, parse_filter({"attributes.color": "red"}), limit=10)
    assert (page.method, page.exhausted) == ("exact", True)
    assert sorted(_ids(page)) == sorted(_expected(vectors, query, keep))

    keep = [i % 3 == 0 and 10 <= i % 100 < 12 for i in range(IMAGES // PER_PRODUCT)]
    narrow = parse_filter({"category": "shoes", "price": {"gte": 10, "lt": 12}, "attributes.sizes": "M"})
    page = search.nearest(connection, space, query, narrow, limit=10)
    assert _ids(page)[:3] == _expected(vectors, query, keep)[:3]
    assert search.nearest(connection, space, query, parse_filter({"brand": "nobody"}), limit=10).hits == ()


def _check_conditions(connection: Connection, space: Space, query: Vector) -> None:
    """What is not, what is there at all, and ranges of attributes."""

    def found(**conditions: object) -> set[int]:
        clauses = parse_filter({name.replace("__", "."): value for name, value in conditions.items()})
        return {int(name[1:]) for name in _ids(search.nearest(connection, space, query, clauses, limit=200))}

    assert found(attributes__number={"gt": 2_990}) == set(range(2_991, 3_000))
    assert found(attributes__number={"gte": 5, "lte": 7}, category={"not": ["shoes"]}) == {5, 7}
    assert found(attributes__number={"lt": 4}, attributes__even={"exists": True}) == {0, 2}
    assert found(attributes__number={"lt": 4}, attributes__even={"exists": False}) == {1, 3}
    assert found(attributes__number={"lt": 4}, attributes__even={"not": True}) == {1, 3}
    assert found(attributes__number={"lt": 3}, brand={"not": "nobody"}) == {0, 1, 2}
    assert found(attributes__number={"lt": 3}, brand={"exists": True}) == set()
    assert found(attributes__number={"lt": 10, "in": [3, 4, 11]}) == {3, 4}


def _check_facets(connection: Connection) -> None:
    clauses = parse_filter({"category": "shoes", "price": {"lt": 10}})
    counted = search.facets(connection, ["category", "attributes.sizes", "brand"], clauses, limit=2)
    cheap = [i for i in range(IMAGES // PER_PRODUCT) if i % 100 < 10]
    assert (
        counted["category"]
        == sorted(
            ((name, sum(i % 3 == k for i in cheap)) for k, name in enumerate(("shoes", "dresses", "hats"))),
            key=lambda value: (-value[1], value[0]),
        )[:2]
    )
    shoes = sum(i % 3 == 0 for i in cheap)
    assert counted["attributes.sizes"] == [("M", shoes), ("S", shoes)]
    assert counted["brand"] == []


def _check_paging(connection: Connection, space: Space, vectors: Vectors, query: Vector) -> None:
    only_hats = parse_filter({"category": "hats", "price": {"lt": 30}})
    pages = [search.nearest(connection, space, query, only_hats, limit=50, offset=o) for o in range(0, 400, 50)]
    keep = [i % 3 == 2 and i % 100 < 30 for i in range(IMAGES // PER_PRODUCT)]
    hits = [hit for page in pages for hit in page.hits]
    # As sets: half precision may swap neighbours that are all but equal.
    assert sorted(hit.product.product_id for hit in hits) == sorted(_expected(vectors, query, keep))
    assert [hit.similarity for hit in hits] == sorted((hit.similarity or 0 for hit in hits), reverse=True)
    assert [page.exhausted for page in pages] == [offset + 50 >= sum(keep) for offset in range(0, 400, 50)]

    deep = search.nearest(connection, space, query, (), limit=200, offset=2_900)
    assert (deep.method, deep.exhausted) == ("exact", True)
    assert len(deep.hits) == IMAGES // PER_PRODUCT - 2_900


def _check_plans(connection: Connection, space: Space, query: Vector) -> None:
    assert "Index Scan using embeddings_1_image_embedding_idx" in _plan(connection, space, query, "hnsw")
    assert "image_embedding_idx" not in _plan(connection, space, query, "exact")


def test_a_product_with_many_images_does_not_crowd_out_the_others(database: Database) -> None:
    """Where the nearest hundreds of images are of one product, the search goes on until it has enough products."""
    rng = np.random.default_rng(5)
    vectors = unit(
        np.concatenate([np.ones((3_000, 8)), rng.normal(size=(100, 8))]) + 0.01 * rng.normal(size=(3_100, 8))
    )
    with database.transaction(timeout_s=120) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 8), "fallback")
        products = [Product("crowd") if i < 3_000 else Product(f"p{i}") for i in range(3_100)]
        add_images(connection, space, vectors, products=products)
        connection.execute("ANALYZE")
    assert indexes.ensure(database, space)
    with database.transaction() as connection:
        (space,) = spaces.list_spaces(connection)
        page = search.nearest(connection, space, vectors[0], (), limit=10)
        others = search.nearest(connection, space, vectors[0], (), limit=10, exclude={"crowd"})
    assert page.hits[0].product.product_id == "crowd"
    assert len(page.hits) == 10
    assert len(others.hits) == 10
    assert "crowd" not in _ids(others)
    assert others.method == "hnsw"


def test_the_last_page_says_that_it_is_the_last(database: Database) -> None:
    """Also where each product has several images, so that more images than products were seen."""
    vectors = unit(np.random.default_rng(6).normal(size=(20, 8)))
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 8), "fallback")
        add_images(connection, space, vectors, products=[Product(f"p{i // 4}") for i in range(20)])
        ends = [search.nearest(connection, space, vectors[0], (), limit=n).exhausted for n in (4, 5, 6)]
    assert ends == [False, True, True]


def test_words_are_matched_all_first_then_some(database: Database) -> None:
    """Products with all the words come before those with some; excluded words exclude."""
    titles = {"a": "Red dress with dots", "b": "Red shoes", "c": "A dress, blue", "d": "Green hat"}
    with database.transaction() as connection:
        catalogue.upsert_products(connection, [Product(i, title=t, category="x") for i, t in titles.items()])
        both = search.fulltext(connection, "red dresses", (), limit=10)
        without = search.fulltext(connection, "dress -red", (), limit=10)
        none = search.fulltext(connection, "the & | ! ( <->", (), limit=10)
        first = search.fulltext(connection, "red dress", (), limit=1)
        second = search.fulltext(connection, "red dress", (), limit=10, offset=2)
        filtered = search.fulltext(connection, "red dress", parse_filter({"category": "y"}), limit=10)
    assert _ids(both)[0] == "a"
    assert set(_ids(both)) == {"a", "b", "c"}
    assert _ids(without) == ["c"]
    assert (none.hits, none.exhausted) == ((), True)
    assert (_ids(first), first.exhausted) == (["a"], False)
    assert (len(second.hits), second.exhausted) == (1, True)
    assert filtered.hits == ()


SHARES = (0.5, 0.1, 0.01, 0.001)


@pytest.mark.parametrize("where", ["anywhere", "like the query", "unlike the query"])
def test_filters_of_any_width_find_what_is_nearest(
    filled: tuple[Database, Space], vectors: Vectors, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """Whether what matches lies anywhere, near the query or far from it: ten products, and the right ones.

    The bounds are those of a large catalogue, scaled down, so that samples are taken and indexes give up.
    """
    monkeypatch.setattr(search, "WORTH_IT", 50)
    monkeypatch.setattr(search, "_SAMPLED_ABOVE", 1_000)
    database, space = filled
    direction = vectors[0]
    products = IMAGES // PER_PRODUCT
    likeness = (vectors @ direction).reshape(-1, PER_PRODUCT).max(axis=1)
    order = {
        "anywhere": np.random.default_rng(6).permutation(products),
        "like the query": np.argsort(-likeness),
        "unlike the query": np.argsort(likeness),
    }[where]
    ranks = np.empty(products, dtype=int)
    ranks[order] = np.arange(products)
    with database.transaction() as connection:
        connection.execute(
            "UPDATE seesame.products p SET price = r.rank"
            " FROM unnest(%s::text[], %s::integer[]) AS r (product_id, rank) WHERE r.product_id = p.product_id",
            ([f"p{i:05d}" for i in range(products)], ranks.tolist()),
        )
        connection.execute("ANALYZE seesame.products")
    queries = unit(direction + 0.05 * np.random.default_rng(7).normal(size=(10, DIMENSIONS)))
    methods = set()
    for share in SHARES:
        most = round(share * products)
        found = expected = 0
        for query in queries:
            with database.transaction() as connection:
                page = search.nearest(connection, space, query, parse_filter({"price": {"lt": most}}), limit=10)
            wanted = _expected(vectors, query, (ranks < most).tolist())[:10]
            assert len(page.hits) == len(wanted) == min(10, most)
            assert page.exhausted == (most <= 10)
            found += len(set(_ids(page)) & set(wanted))
            expected += len(wanted)
            methods.add(page.method)
        assert found / expected >= 0.98
    assert methods == ({"exact"} if where == "unlike the query" else {"exact", "iterative"})
