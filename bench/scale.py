"""A million vectors in the embedded PostgreSQL, through the service that the API calls."""

import os
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import synthetic
from bench.bench import Bench
from bench.table import Chart, Row, at_least, at_most, skipped
from bench.turns import in_turns, seconds
from bench.vectors import NEAREST, Handed, Measured, Shelf, add_products, fill, real_vectors, searching
from seesame import images
from seesame.catalogue import Catalogue
from seesame.db import spaces as space_rows
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.migrate import migrate
from seesame.db.pool import Connection, Database, scalar, set_local
from seesame.db.search import nearest
from seesame.db.spaces import embeddings_table, vector_literal
from seesame.filters import parse_filter
from seesame.images import ImageLimits
from seesame.pictures import PictureStore
from seesame.queries import Query, Words
from seesame.spaces import Spaces
from seesame.types import Clause, Space, Vectors

COUNT = int(os.environ.get("SEESAME_BENCH_COUNT", "1000000"))
DIMENSIONS = 512
QUERIES = 1_000
FILTERED_QUERIES = 100
CLIENTS = 8
EF_SEARCH = (40, 50, 60, 80, 100, 150, 200)
SHARES = (0.5, 0.1, 0.01, 0.001, 0.0001)
UPDATED = 10_000
_ROUNDS = 24
RECALL = 0.98
_NAME = f"{COUNT:,} × {DIMENSIONS}"


def rows(bench: Bench) -> Iterator[Row | Chart]:
    """All figures, the load first."""
    real = synthetic.projected(real_vectors(bench), DIMENSIONS, seed=1)
    folder = bench.scratch("scale")
    with EmbeddedPostgres.start(folder) as server, closing(Database(server.dsn)) as database:
        database.open()
        migrate(database)
        bench.say(f"Writing {COUNT:,} products")
        add_products(database, COUNT)
        bench.say(f"Mixing {COUNT:,} vectors")
        mixed = synthetic.mixtures(real, COUNT + QUERIES, seed=2)
        vectors, queries = mixed[:COUNT], mixed[COUNT:]
        spaces = Spaces(database, Handed(queries))
        space = spaces.answering().space
        bench.say("Loading them")
        load_s, build_s, _ = fill(bench, database, space, vectors)
        yield from _sizes(database, space, load_s, build_s)
        yield _prices(database)
        catalogue = Catalogue(database, PictureStore(folder / "pictures"), limits=ImageLimits(), decoder=images)
        shelf = Shelf(database, searching(database, spaces, catalogue), space, vectors, queries)
        truth = synthetic.nearest(vectors, queries, NEAREST)
        chosen = yield from _recall(bench, shelf, truth)
        yield _throughput(bench, shelf)
        yield _by_hand(bench, shelf, chosen)
        yield _in_memory(bench, vectors, queries, truth)
        yield from _filters(bench, shelf)


def _sizes(database: Database, space: Space, load_s: float, build_s: float) -> Iterator[Row]:
    table = embeddings_table(space.space_id).as_string()
    with database.session() as connection:
        total = scalar(connection, "SELECT pg_total_relation_size(%(table)s::regclass)", {"table": table})
        index = scalar(connection, "SELECT pg_indexes_size(%(table)s::regclass)", {"table": table})
        memory = scalar(connection, "SHOW maintenance_work_mem")
    yield Row(f"{_NAME}: load by COPY", f"{load_s:.0f} s")
    yield at_most(f"{_NAME}: build of the index", build_s, 360, f"{build_s:.0f} s (server's own {memory})", "360 s")
    size = f"{total / 2**30:.2f} GB, {index / 2**30:.2f} of them indexes"
    yield at_most(f"{_NAME}: on disk, in GB of 2^30 bytes", total / 2**30, 2.6, size, "2.6 GB")


def _prices(database: Database) -> Row:
    """New prices of products that have vectors, and of a copy of them that has none, in turns; the usual ratio."""

    def update(connection: Connection, table: str) -> Iterator[float]:
        """The seconds of each update; both tables get the same products, round by round."""
        rng = np.random.default_rng(0)
        statement = f"UPDATE {table} SET price = price + 1 WHERE product_id = ANY(%s)".encode()
        while True:
            ids = [str(number) for number in rng.choice(COUNT, UPDATED, replace=False)]
            yield seconds(lambda: connection.execute(statement, (ids,)))  # noqa: B023 - called at once

    with database.session() as connection:
        connection.execute("CREATE TABLE alone (LIKE seesame.products INCLUDING ALL)")
        columns = (
            "product_id, title, description, category, brand, price, currency, url, attributes, created_at, updated_at"
        )
        connection.execute(f"INSERT INTO alone ({columns}) SELECT {columns} FROM seesame.products".encode())
        connection.execute("VACUUM ANALYZE alone, seesame.products")
        connection.execute("CHECKPOINT")  # the first change of a page after it costs more; both are to begin alike
        updates = {table: partial(next, update(connection, table)) for table in ("seesame.products", "alone")}
        taken = in_turns(updates, _ROUNDS)
        connection.execute("DROP TABLE alone")
    with_vectors, without = (np.array(times) for times in taken.values())
    ratio = float(np.median(with_vectors / without))
    measured = f"{np.median(with_vectors) * 1000:.0f} and {np.median(without) * 1000:.0f} ms; {ratio:.2f} times"
    return at_most(
        f"{_NAME}: new prices of {UPDATED:,} products, against none with vectors", ratio, 1.1, measured, "1.1"
    )


def _recall(bench: Bench, shelf: Shelf, truth: NDArray[np.int64]) -> Generator[Row | Chart, None, int]:
    """The least `ef_search` that reaches the recall is judged, and stays set; it is returned."""
    bench.say(f"{QUERIES:,} queries that bring the index into memory")
    shelf.measure(truth)
    chosen, points = None, []
    for ef_search in EF_SEARCH:
        bench.say(f"{QUERIES:,} queries at ef_search {ef_search}")
        shelf.tune(ef_search)
        measured = shelf.measure(truth)
        points.append((measured.median_ms, measured.recall))
        if chosen is None and (measured.recall >= RECALL or ef_search == EF_SEARCH[-1]):
            chosen = ef_search
            yield from _judged(f"{_NAME}, one client, ef_search {ef_search}", measured)
        else:
            yield Row(f"{_NAME}, one client, ef_search {ef_search}", str(measured))
    assert chosen is not None
    shelf.tune(chosen)
    yield Chart(f"{_NAME}: recall against latency, by ef_search", "median of a search, ms", "recall@10", points)
    return chosen


def _judged(name: str, measured: Measured) -> Iterator[Row]:
    yield at_least(f"{name}: recall@10", measured.recall, RECALL, f"{measured.recall:.3f}", f"{RECALL}")
    yield at_most(f"{name}: median", measured.median_ms, 3, f"{measured.median_ms:.2f} ms", "3 ms")
    yield at_most(f"{name}: p99", measured.p99_ms, 10, f"{measured.p99_ms:.2f} ms", "10 ms")


def _throughput(bench: Bench, shelf: Shelf) -> Row:
    """Clients that ask one query after the other, in threads of this process, as the API's requests are."""
    bench.say(f"{CLIENTS} clients")

    def ask(client: int) -> None:
        for number in range(client, QUERIES, CLIENTS):
            shelf.search.find(Words(str(number)), Query(limit=NEAREST, hybrid=False))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(ask, range(CLIENTS)))
        started = time.perf_counter()
        list(pool.map(ask, range(CLIENTS)))
        a_second = QUERIES / (time.perf_counter() - started)
    return at_least(f"{_NAME}: {CLIENTS} clients", a_second, 500, f"{a_second:.0f} searches/s", "500")


def _by_hand(bench: Bench, shelf: Shelf, ef_search: int) -> Row:
    """The same rows by one statement that a developer would write, in turns with ours."""
    bench.say("The same by hand")
    space = shelf.space
    statement = f"""
        SELECT p.product_id, p.title, p.description, p.category, p.brand, p.price, p.currency, p.url, p.attributes,
            i.image_id, i.position, i.source, i.sha256, i.width, i.height, i.format, i.bytes_ref, 1 - n.distance
        FROM (SELECT product_id, image_id, image_embedding <=> %s::halfvec AS distance
              FROM {embeddings_table(space.space_id).as_string()} ORDER BY distance LIMIT %s) AS n
        JOIN seesame.products p USING (product_id) JOIN seesame.product_images i USING (product_id, image_id)
        ORDER BY n.distance
    """.encode()
    taken: dict[str, list[float]] = {"ours": [], "hand": []}
    with shelf.database.session() as connection:

        def by_hand(number: int) -> None:
            with connection.transaction():
                set_local(connection, hnsw__ef_search=ef_search)
                literal = vector_literal(shelf.queries[number], space.vector_type)
                connection.execute(statement, (literal, NEAREST)).fetchall()

        def ours(number: int) -> None:
            shelf.search.find(Words(str(number)), Query(limit=NEAREST, hybrid=False))

        ways = [("ours", ours), ("hand", by_hand)]
        for number in range(QUERIES):
            for name, ask in ways:
                started = time.perf_counter()
                ask(number)
                taken[name].append(time.perf_counter() - started)
            ways.reverse()  # who comes second finds the pages in the processor's cache
    a, b = (float(np.median(times)) * 1000 for times in taken.values())
    measured = f"{a:.2f} and {b:.2f} ms = {a / b:.2f} times"
    return at_most(f"{_NAME}: one client, against the SQL by hand", a / b, 1.25, measured, "1.25")


def _in_memory(bench: Bench, vectors: Vectors, queries: Vectors, truth: NDArray[np.int64]) -> Row:
    """usearch with the same graph, in this process: what no database can be faster than."""
    what = f"{_NAME}: usearch in memory, the same m and ef_construction, f16"
    try:
        from usearch.index import Index  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return skipped(what, "pip install usearch")
    bench.say("usearch")
    index: Any = Index(ndim=DIMENSIONS, metric="ip", dtype="f16", connectivity=16, expansion_add=64)
    started = time.perf_counter()
    index.add(np.arange(len(vectors)), vectors)
    build_s = time.perf_counter() - started
    found = []
    for expansion in (64, 100, 200, 400):
        index.expansion_search = expansion
        wall, hits = [], 0
        for number, query in enumerate(queries):
            started = time.perf_counter()
            matches = index.search(query, NEAREST)
            wall.append(time.perf_counter() - started)
            hits += len(set(truth[number]) & {int(key) for key in matches.keys})
        found.append(f"{hits / truth.size:.3f} in {np.median(wall) * 1000:.2f} ms")
    return Row(what, f"built in {build_s:.0f} s; recall {', '.join(found)}")


def _filters(bench: Bench, shelf: Shelf) -> Iterator[Row]:
    """Prices that know nothing of looks, then prices by looks: the filter keeps what is unlike, or like, the query."""
    rng = np.random.default_rng(7)
    yield from _filtered(bench, shelf, "uncorrelated", rng.permutation(COUNT), shelf.queries[:FILTERED_QUERIES])
    direction = shelf.queries[0]
    likeness = shelf.vectors @ direction
    ranks = np.empty(COUNT, dtype=np.int64)
    ranks[np.argsort(-likeness)] = np.arange(COUNT)
    order = np.argsort(-(shelf.queries @ direction))
    yield from _filtered(bench, shelf, "like the query", ranks, shelf.queries[order[:FILTERED_QUERIES]])
    unlike = ranks.max() - ranks
    yield from _filtered(bench, shelf, "unlike the query", unlike, shelf.queries[order[:FILTERED_QUERIES]])


def _filtered(bench: Bench, shelf: Shelf, name: str, ranks: NDArray[np.int64], queries: Vectors) -> Iterator[Row]:
    bench.say(f"Prices for filters, {name}")
    with shelf.database.session() as connection:
        connection.execute("CREATE TEMPORARY TABLE ranks (product_id text, price integer)")
        with connection.cursor() as cursor, cursor.copy("COPY ranks FROM STDIN") as copy:
            for number, rank in enumerate(ranks):
                copy.write_row((str(number), int(rank)))
        connection.execute(
            "UPDATE seesame.products p SET price = r.price FROM ranks r WHERE r.product_id = p.product_id"
        )
        connection.execute("VACUUM ANALYZE seesame.products")
    for share in SHARES:
        most = max(1, round(share * COUNT))
        rows = np.flatnonzero(ranks < most)
        wanted = min(NEAREST, len(rows))
        cosines = queries @ shelf.vectors[rows].T
        truth = rows[np.argsort(-cosines, axis=1)[:, :wanted]]
        clauses = parse_filter({"price": {"lt": most}})
        yield _filter_row(f"{_NAME}, filter on {share:.2%}, {name}", shelf, queries, truth, clauses)


def _filter_row(name: str, shelf: Shelf, queries: Vectors, truth: NDArray[np.int64], clauses: Sequence[Clause]) -> Row:
    wall, found, methods = [], 0, set()
    with shelf.database.transaction() as connection:
        space = space_rows.list_spaces(connection)[0]
    for query, expected in zip(queries, truth, strict=True):
        started = time.perf_counter()
        with shelf.database.transaction() as connection:
            page = nearest(connection, space, query, clauses, limit=NEAREST)
        wall.append(time.perf_counter() - started)
        assert len(page.hits) == len(expected)
        found += len(set(expected) & {int(hit.product.product_id) for hit in page.hits})
        methods.add(page.method)
    recall = found / truth.size
    measured = (
        f"{recall:.3f}; median {np.median(wall) * 1000:.1f} ms, p99 {np.quantile(wall, 0.99) * 1000:.0f} ms"
        f" ({', '.join(sorted(methods))})"
    )
    return at_least(f"{name}: recall@10", recall, RECALL, measured, f"{RECALL}")
