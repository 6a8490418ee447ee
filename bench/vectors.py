"""Search among 100,000 stored vectors, through the service that the API calls."""

import hashlib
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from psycopg import sql

from bench import synthetic
from bench.bench import Bench
from bench.synthetic import Likeness
from bench.table import Row, at_least, at_most
from seesame import images
from seesame.cache import VectorCache
from seesame.catalogue import Catalogue
from seesame.db import indexes
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.exact import ExactVectors
from seesame.db.migrate import migrate
from seesame.db.pool import Database, scalar
from seesame.db.spaces import embeddings_table
from seesame.embedding.local import LocalEmbedder
from seesame.fetch import Fetcher
from seesame.images import ImageLimits
from seesame.models.fallback import FallbackModel
from seesame.pictures import PictureStore
from seesame.queries import LikeProduct, Query, Words
from seesame.query_photos import QueryPhotos
from seesame.search import Search
from seesame.spaces import Spaces
from seesame.types import Clause, Embedded, Space, SpaceIdentity, Vectors

COUNT = 100_000
QUERIES = 1_000
WARM_UP = 200
NEAREST = 10
CATEGORIES = 10  # a product's is its number's last digit, so a filter keeps a tenth and knows nothing of looks
_COPY = sql.SQL("COPY {embeddings} (product_id, image_id, sha256, image_embedding) FROM STDIN (FORMAT BINARY)")
_VACUUM = sql.SQL("VACUUM ANALYZE {embeddings}")
_COPIED_AT_ONCE = 10_000
EF_SEARCH = (40, 100, 200, 400)
_SPACES_AGE_S = 1.1  # then a search knows it
RECALL, MEDIAN_MS, P99_MS = 0.98, 5.0, 15.0


class Handed:
    """An embedder whose texts are the numbers of ready vectors, so that the whole service is measured and no model."""

    bulk_size = 8
    has_text = True
    available = True

    def __init__(self, vectors: Vectors) -> None:
        dimensions = vectors.shape[1]
        self.identity = SpaceIdentity(f"synthetic-{dimensions}", f"{dimensions:064x}", dimensions)
        self._vectors = vectors

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        raise NotImplementedError

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        return self._vectors[[int(text) for text in texts]]

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Measured:
    """What a run of queries came to. `outside` is this process's own part of the time: the rest is PostgreSQL's."""

    recall: float
    median_ms: float
    p99_ms: float
    outside: float
    method: str

    def __str__(self) -> str:
        return f"recall {self.recall:.3f}, median {self.median_ms:.1f} ms, p99 {self.p99_ms:.1f} ms ({self.method})"


@dataclass(frozen=True, slots=True)
class Shelf:
    """A filled space with the service that searches it, held-out queries, and what they ought to find."""

    database: Database
    search: Search
    space: Space
    vectors: Vectors
    queries: Vectors

    def tune(self, ef_search: int) -> None:
        """Sets the space's `ef_search`."""
        with self.database.session() as connection:
            statement = "UPDATE seesame.spaces SET ef_search = %s WHERE space_id = %s"
            connection.execute(statement, (ef_search, self.space.space_id))
        time.sleep(_SPACES_AGE_S)

    def measure(self, truth: NDArray[np.int64], *clauses: Clause) -> Measured:
        """Asks all queries one after the other, after some that do not count."""
        query = Query(clauses, limit=NEAREST, hybrid=False)
        found, wall, own, methods = 0, [], 0.0, set()
        for number in range(-WARM_UP, len(self.queries)):
            started, started_own = time.perf_counter(), time.thread_time()
            page = self.search.find(Words(str(abs(number))), query).page
            if number >= 0:
                own += time.thread_time() - started_own
                wall.append(time.perf_counter() - started)
                found += len(set(truth[number]) & {int(hit.product.product_id) for hit in page.hits})
                methods.add(page.method)
        return Measured(
            recall=found / truth.size,
            median_ms=float(np.median(wall)) * 1000,
            p99_ms=float(np.quantile(wall, 0.99)) * 1000,
            outside=own / sum(wall),
            method=", ".join(sorted(methods)),
        )


def real_vectors(bench: Bench) -> Vectors:
    """What the fallback makes of the pictures, to mix others of them."""
    bench.say(f"Embedding {bench.material.name} with the fallback")
    with closing(LocalEmbedder(FallbackModel.load(bench.cache_dir))) as embedder:
        results = embedder.embed_images([picture.path.read_bytes() for picture in bench.material.pictures])
    return np.stack([result for result in results if not isinstance(result, Exception)])


def rows(bench: Bench) -> Iterator[Row]:
    """The figures at 512 dimensions, which have targets, and at 1280."""
    wide = real_vectors(bench)
    folder = bench.scratch("vectors")
    with EmbeddedPostgres.start(folder) as server, closing(Database(server.dsn)) as database:
        database.open()
        migrate(database)
        add_products(database)
        catalogue = Catalogue(database, PictureStore(folder / "pictures"), limits=ImageLimits(), decoder=images)
        for real in (synthetic.projected(wide, 512, seed=1), wide):
            yield from _at(bench, real, database, catalogue)


def _at(bench: Bench, real: Vectors, database: Database, catalogue: Catalogue) -> Iterator[Row]:
    dimensions = real.shape[1]
    name = f"search among {COUNT:,} × {dimensions}"
    bench.say(f"Mixing and loading {COUNT:,} vectors of {dimensions} dimensions")
    mixed = synthetic.mixtures(real, COUNT + QUERIES, seed=2)
    vectors, queries = mixed[:COUNT], mixed[COUNT:]
    spaces = Spaces(database, Handed(queries))
    space = spaces.answering().space
    load_s, build_s, size_mb = fill(bench, database, space, vectors)
    shelf = Shelf(
        database,
        searching(database, spaces, catalogue),
        space,
        vectors,
        queries,
    )
    likeness = f"{Likeness.of(vectors[: len(real)])}, of the {len(real)} real {Likeness.of(real)}"
    yield Row(f"{name}: cosine to the nearest / local dimension of {len(real)} synthetic vectors", likeness)
    yield Row(f"{name}: load; build the index", f"{load_s:.0f} s; {build_s:.0f} s, {size_mb} MB")
    truth = synthetic.nearest(vectors, queries, NEAREST)
    for ef_search in EF_SEARCH:
        bench.say(f"{QUERIES:,} queries at ef_search {ef_search}")
        shelf.tune(ef_search)
        measured = shelf.measure(truth)
        if ef_search == space.ef_search:
            yield from _judged(name, measured, informative=dimensions != 512)
        else:
            yield Row(f"{name}, ef_search {ef_search}", str(measured))
    shelf.tune(space.ef_search)
    yield from _filtered(name, shelf)
    yield _stored(name, shelf)


def _judged(name: str, measured: Measured, *, informative: bool) -> Iterator[Row]:
    """The rows of the default `ef_search`."""
    outside = Row(f"{name}: part of the time outside PostgreSQL", f"{measured.outside:.0%}")
    if informative:
        yield from (Row(f"{name}, default ef_search", str(measured)), outside)
        return
    yield at_least(f"{name}: recall@10 against exact", measured.recall, RECALL, f"{measured.recall:.3f}", f"{RECALL}")
    yield at_most(f"{name}: median", measured.median_ms, MEDIAN_MS, f"{measured.median_ms:.1f} ms", f"{MEDIAN_MS:g} ms")
    yield at_most(f"{name}: p99", measured.p99_ms, P99_MS, f"{measured.p99_ms:.1f} ms", f"{P99_MS:g} ms")
    yield outside


def _filtered(name: str, shelf: Shelf) -> Iterator[Row]:
    """A filter that a tenth of the products pass."""
    rows = np.arange(3, COUNT, CATEGORIES)
    truth = rows[synthetic.nearest(shelf.vectors[rows], shelf.queries, NEAREST)]
    measured = shelf.measure(truth, Clause("category", any_of=("3",)))
    yield Row(f"{name}, filter on a category of {1 / CATEGORIES:.0%}", str(measured))


def _stored(name: str, shelf: Shelf) -> Row:
    """The service's answer to "more like this product", whose vector is read from the database first."""
    wall = []
    for number in range(QUERIES):
        started = time.perf_counter()
        shelf.search.find(LikeProduct(str(number * (COUNT // QUERIES))), Query(limit=NEAREST))
        wall.append(time.perf_counter() - started)
    median, p99 = np.quantile(wall, (0.5, 0.99)) * 1000
    return Row(f"{name}: products like a product", f"median {median:.1f} ms, p99 {p99:.1f} ms")


def searching(database: Database, spaces: Spaces, catalogue: Catalogue) -> Search:
    """The service that the API calls, without what these vectors have no use for."""
    return Search(
        database,
        spaces,
        catalogue,
        VectorCache(),
        ExactVectors(max_bytes=0),
        limits=ImageLimits(),
        decoder=images,
        fetcher=Fetcher(),
        photos=QueryPhotos(max_bytes=0),
    )


def add_products(database: Database, count: int = COUNT) -> None:
    """Products "0", "1", … with an image each."""
    with database.session() as connection:
        connection.execute(
            """
            INSERT INTO seesame.products
                (product_id, title, description, category, brand, price, attributes, created_at, updated_at)
            SELECT n, 'Product ' || n, 'A product that stands for many.', n %% %s, 'Brand ' || n %% 97, n %% 1000, '{}',
                now(), now()
            FROM generate_series(0, %s - 1) AS n
            """,
            (CATEGORIES, count),
        )
        connection.execute(
            """
            INSERT INTO seesame.product_images
                (product_id, image_id, position, source, sha256, width, height, format, bytes_ref, created_at)
            SELECT n, lpad(to_hex(n), 32, '0')::uuid, 0, n || '.jpg', sha256(n::text::bytea), 400, 533, 'jpeg',
                n || '.jpg', now()
            FROM generate_series(0, %s - 1) AS n
            """,
            (count,),
        )
        connection.execute("VACUUM ANALYZE seesame.products, seesame.product_images")


def fill(bench: Bench, database: Database, space: Space, vectors: Vectors) -> tuple[float, float, int]:
    """Loads the vectors, then builds the index as the space would have it; the seconds of both, and its size in MB."""
    table = embeddings_table(space.space_id)
    with database.session() as connection:
        started = time.perf_counter()
        with (
            connection.cursor() as cursor,
            cursor.copy(_COPY.format(embeddings=table)) as copy,
        ):
            for part in _copied(vectors):
                copy.write(part)
        connection.execute(_VACUUM.format(embeddings=table))
        loaded = time.perf_counter()
        bench.say("Building the index")
        indexes.ensure(database, space)
        built = time.perf_counter()
        size = scalar(connection, "SELECT pg_indexes_size(%(table)s::regclass)", {"table": table.as_string()})
    return loaded - started, built - loaded, round(size / 2**20)


def _copied(vectors: Vectors) -> Iterator[bytes]:
    """Rows in the binary format of COPY: product_id, image_id, sha256, image_embedding as pgvector's halfvec."""
    yield b"PGCOPY\n\xff\r\n\0" + bytes(8)
    for start in range(0, len(vectors), _COPIED_AT_ONCE):
        out = bytearray()
        for number, vector in enumerate(vectors[start : start + _COPIED_AT_ONCE].astype(">f2"), start):
            fields = (
                str(number).encode(),
                number.to_bytes(16),
                hashlib.sha256(vector.tobytes()).digest(),
                struct.pack(">hh", vectors.shape[1], 0) + vector.tobytes(),
            )
            out += struct.pack(">h", len(fields))
            for value in fields:
                out += struct.pack(">i", len(value)) + value
        yield bytes(out)
    yield struct.pack(">h", -1)
