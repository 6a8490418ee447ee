"""Search without pgvector: vectors in `real[]`, compared in the process, or in SQL as it could be done there."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from uuid import UUID

import numpy as np
import psycopg
from psycopg.conninfo import make_conninfo

from bench import synthetic
from bench.bench import Bench
from bench.table import Row, at_most
from bench.vectors import NEAREST, add_products, real_vectors
from seesame.db import spaces
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.exact import ExactVectors
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.filters import parse_filter
from seesame.types import Clause, Space, SpaceIdentity, Vectors

COUNTS = (10_000, 100_000)
DIMENSIONS = 512
QUERIES = 100
MEDIAN_MS = 120
_ROOM = 2**30
_IN_SQL = """
SELECT product_id FROM seesame.embeddings_1 e
ORDER BY (SELECT 1 - sum(x::double precision * y) FROM unnest(e.image_embedding, %s::real[]) AS pair (x, y)) LIMIT 10
"""


def rows(bench: Bench) -> Iterator[Row]:
    """The figures at both sizes."""
    real = synthetic.projected(real_vectors(bench), DIMENSIONS, seed=1)
    with EmbeddedPostgres.start(bench.scratch("exact")) as server:
        for count in COUNTS:
            bench.say(f"Loading {count:,} vectors without pgvector")
            mixed = synthetic.mixtures(real, count + QUERIES, seed=2)
            with closing(Database(_rightless(server.dsn, f"shop{count}"))) as database:
                database.open()
                migrate(database)
                add_products(database, count)
                yield from _measured(database, _filled(database, mixed[:count]), mixed[count:], count)


def _rightless(dsn: str, name: str) -> str:
    """A database whose user may not create extensions."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN".encode())
        connection.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
    with psycopg.connect(make_conninfo(dsn, dbname=name), autocommit=True) as connection:
        connection.execute(f"REVOKE CREATE ON DATABASE {name} FROM {name}".encode())
        connection.execute(f"CREATE SCHEMA seesame AUTHORIZATION {name}".encode())
    return make_conninfo(dsn, dbname=name, user=name)


def _filled(database: Database, vectors: Vectors) -> Space:
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("synthetic", "0" * 64, DIMENSIONS), "fallback")
    assert space.vector_type == "real[]"
    statement = "COPY seesame.embeddings_1 (product_id, image_id, sha256, image_embedding) FROM STDIN (FORMAT BINARY)"
    with database.session() as connection, connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            copy.set_types(["text", "uuid", "bytea", "float4[]"])
            for number, vector in enumerate(vectors):
                copy.write_row((str(number), UUID(int=number), bytes(32), vector.tolist()))
        connection.execute("VACUUM ANALYZE seesame.embeddings_1")
    return space


def _measured(database: Database, space: Space, queries: Vectors, count: int) -> Iterator[Row]:
    name = f"exact search among {count:,} × {DIMENSIONS} in real[]"
    held = ExactVectors(max_bytes=_ROOM)
    (first,) = _times_ms(database, held, space, queries[:1])
    times = _times_ms(database, held, space, queries)
    median, p99 = np.quantile(times, (0.5, 0.99))
    measured = f"{median:.1f} ms, p99 {p99:.1f} ms"
    what = f"{name}: median, held in the process"
    yield at_most(what, median, MEDIAN_MS, measured, f"{MEDIAN_MS} ms") if count == COUNTS[-1] else Row(what, measured)
    yield Row(f"{name}: the first one, which reads the vectors", f"{first / 1000:.1f} s")
    for share, written in (("a tenth", {"category": "3"}), ("a half", {"price": {"lt": 500}})):
        filtered = _times_ms(database, held, space, queries, parse_filter(written))
        yield Row(f"{name}: median with a filter on {share}", f"{np.median(filtered):.1f} ms")
    anew = _times_ms(database, ExactVectors(max_bytes=0), space, queries[:3])
    yield Row(f"{name}: median where nothing may be held", f"{np.median(anew) / 1000:.2f} s")
    yield Row(f"{name}: median in SQL, by unnest and sum", f"{np.median(_in_sql_s(database, queries[:3])):.2f} s")


def _times_ms(
    database: Database, held: ExactVectors, space: Space, queries: Vectors, clauses: Sequence[Clause] = ()
) -> list[float]:
    times = []
    for query in queries:
        started = time.perf_counter()
        with database.transaction(timeout_s=60) as connection:
            held.nearest(connection, space, query, clauses, limit=NEAREST)
        times.append((time.perf_counter() - started) * 1000)
    return times


def _in_sql_s(database: Database, queries: Vectors) -> list[float]:
    times = []
    for query in queries:
        started = time.perf_counter()
        with database.transaction(timeout_s=60) as connection:
            connection.execute(_IN_SQL, (query.tolist(),)).fetchall()
        times.append(time.perf_counter() - started)
    return times
