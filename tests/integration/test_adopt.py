"""Adopting vectors that the shop has already: all types, each refusal, all or nothing, beside writers and workers."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray
from psycopg import sql
from psycopg.conninfo import make_conninfo

from seesame.adoption import ALIKE, Adoption, Report, Source
from seesame.application import Application, open_application
from seesame.catalogue import Source as Picture
from seesame.clip_service.app import create_app
from seesame.db import catalogue, conversion, spaces, work
from seesame.db.pool import Database
from seesame.errors import DatabaseUnsuitable, InvalidInput, ModelUnavailable
from seesame.http.server import Server, listen
from seesame.queries import Photo, Query
from seesame.settings import ClipSettings, Settings
from seesame.types import Embedder, Product, ProductImage, Vectors
from tests.catalogue_rows import unit
from tests.conftest import picture, shop_settings

GOLDENS = Path(__file__).parents[1] / "goldens"
CLIP = str(GOLDENS / "immich")
DIMENSIONS = 32
COLOURS = ["red", "green", "blue", "black", "orange", "purple"]
SOURCE = Source("shop.products", "sku", "vector")

TYPES = ["json", "jsonb", "text", "varchar", "real[]", "double precision[]", "vector", "halfvec"]
PLAIN_TYPES = [name for name in TYPES if name not in ("vector", "halfvec")]


@contextmanager
def _shop(settings: Settings) -> Iterator[Application]:
    """A catalogue with two pictures of the first product and one of each other, none of them indexed."""
    with open_application(settings) as application:
        application.catalogue.put_many([Product(colour, title=f"A {colour} thing") for colour in COLOURS])
        pictures = [(colour, 0, picture(colour)) for colour in COLOURS] + [("red", 1, picture("pink"))]
        application.catalogue.publish(
            [
                application.catalogue.store(name, place, Picture(f"{name}{place}.jpg", data))
                for name, place, data in pictures
            ]
        )
        yield application


@pytest.fixture
def shop(settings: Settings) -> Iterator[Application]:
    """A shop in a PostgreSQL with pgvector."""
    with _shop(settings) as application:
        yield application


@pytest.fixture
def clip(shop: Application) -> Iterator[Embedder]:
    """A tiny CLIP of random weights, of which the shop has no space yet."""
    with shop.embedder(CLIP) as embedder:
        yield embedder


def _images(application: Application) -> list[ProductImage]:
    """The first image of each product, in the order of the colours."""
    return [application.catalogue.get(colour).images[0] for colour in COLOURS]


def _vectors(application: Application, embedder: Embedder) -> Vectors:
    """What the model makes of the first images."""
    made = embedder.embed_images([application.catalogue.picture(image.image_id) for image in _images(application)])
    assert all(isinstance(vector, np.ndarray) for vector in made)
    return np.array(made, np.float32)


def _literal(vector: Sequence[float] | str | None, type_: str) -> str | None:
    """A vector as the input of a type; what is text already stays."""
    if vector is None or isinstance(vector, str):
        return vector
    numbers = ", ".join(map(repr, np.asarray(vector).tolist()))
    return f"{{{numbers}}}" if type_.endswith("[]") else f"[{numbers}]"


def _table(
    application: Application,
    vectors: Sequence[Any] | NDArray[Any],
    type_: str = "real[]",
    *,
    ids: Sequence[str] = COLOURS,
    images: Sequence[UUID] | None = None,
) -> None:
    """A table of the shop's own, one row an id."""
    with psycopg.connect(application.database.dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA IF NOT EXISTS shop")
        connection.execute("DROP TABLE IF EXISTS shop.products")
        statement = sql.SQL("CREATE TABLE shop.products (sku text, price int, vector {}, picture uuid)")
        connection.execute(statement.format(sql.SQL(type_)))
        insert = sql.SQL("INSERT INTO shop.products VALUES (%s, 1, %s::{}, %s)").format(sql.SQL(type_))
        for index, (name, vector) in enumerate(zip(ids, vectors, strict=True)):
            connection.execute(insert, [name, _literal(vector, type_), images[index] if images else None])


def _adopt(application: Application, embedder: Embedder, source: Source = SOURCE, **options: Any) -> Report:
    return Adoption(application.database, application.catalogue, embedder).run(source, **options)


def _stored(application: Application, space_id: int) -> dict[UUID, NDArray[np.float32]]:
    statement = f"SELECT image_id, image_embedding::real[] FROM seesame.embeddings_{space_id}"
    with psycopg.connect(application.database.dsn) as connection:
        rows = connection.execute(statement.encode()).fetchall()
    return {image_id: np.array(numbers, np.float32) for image_id, numbers in rows}


def _state(application: Application) -> tuple[Any, ...]:
    """All that adopting could change."""
    with psycopg.connect(application.database.dsn) as connection:
        found = connection.execute("SELECT key, role FROM seesame.spaces ORDER BY space_id").fetchall()
        tasks = connection.execute("SELECT * FROM seesame.image_work ORDER BY image_id, space_id").fetchall()
        tables = connection.execute("SELECT relname FROM pg_class WHERE relname LIKE 'embeddings%'").fetchall()
    vectors = {image: vector.tolist() for image, vector in _stored(application, 1).items()}
    return found, tasks, sorted(tables), vectors


def _check_adopted(application: Application, report: Report, expected: Vectors) -> None:
    assert report.space is not None
    assert (report.rows, report.adopted, report.refused.count) == (6, 6, 0)
    stored = _stored(application, report.space.space_id)
    for image, vector in zip(_images(application), expected, strict=True):
        assert float(stored[image.image_id] @ vector) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("type_", TYPES)
def test_vectors_of_every_type_are_adopted(shop: Application, clip: Embedder, type_: str) -> None:
    """Into a new candidate; each product's first image gets the vector of its row."""
    vectors = _vectors(shop, clip)
    _table(shop, vectors, type_)
    report = _adopt(shop, clip)
    _check_adopted(shop, report, vectors)
    assert report.space is not None
    assert (report.space.role, report.space.vector_type) == ("candidate", "halfvec")
    assert len(_stored(shop, report.space.space_id)) == 6
    assert min(report.similarities) > 0.999


@pytest.mark.parametrize("type_", PLAIN_TYPES)
def test_adopting_works_without_pgvector(plain: Database, tmp_path: Path, cache_dir: Path, type_: str) -> None:
    """The vectors go into real[], in a new space and over those of an old one."""
    with _shop(shop_settings(plain.dsn, tmp_path, cache_dir)) as shop, shop.embedder(CLIP) as clip:
        vectors = _vectors(shop, clip)
        _table(shop, vectors, type_)
        for _ in range(2):
            report = _adopt(shop, clip)
            _check_adopted(shop, report, vectors)
            assert report.space is not None
            assert report.space.vector_type == "real[]"


def test_what_other_programs_store_for_a_vector_is_read(shop: Application, clip: Embedder) -> None:
    """Curly brackets in text, the null of JSON for none, and a column of the shop's that needs quoting."""
    vectors = _vectors(shop, clip)
    _table(shop, [f"{{{','.join(map(str, vectors[0].tolist()))}}}", *vectors[1:]], "text")
    assert _adopt(shop, clip).adopted == 6
    _table(shop, ["null", None, *vectors[2:]], "jsonb")
    report = _adopt(shop, clip)
    assert (report.rows, report.without, report.adopted) == (6, 2, 4)
    with psycopg.connect(shop.database.dsn) as connection:
        connection.execute('CREATE VIEW "My ""view" AS SELECT sku AS "the id", vector AS "vec%%tor" FROM shop.products')
    assert _adopt(shop, clip, Source('"My ""view"', "the id", "vec%%tor")).adopted == 4


def test_the_fallbacks_vectors_are_adopted_over_its_own(shop: Application) -> None:
    """Its space is there always; the adopted vector wins, and the work that it ends is gone."""
    with shop.embedder("efficientnet-lite0") as fallback:
        vectors = _vectors(shop, fallback)
        shop.indexer.run_once()
        before = _stored(shop, 1)
        first = _images(shop)[0]
        with shop.database.transaction() as connection:
            connection.execute("DELETE FROM seesame.embeddings_1 WHERE image_id = %s", [first.image_id])
            assert work.reconcile(connection, spaces.list_spaces(connection)[0]) == 1
        moved = unit(vectors + np.roll(vectors, 1, axis=1) / 8)
        _table(shop, moved)
        report = _adopt(shop, fallback)
    _check_adopted(shop, report, moved)
    after = _stored(shop, 1)
    assert len(after) == len(before) == 7
    assert _state(shop)[1] == []


def _check_found(shop: Application) -> None:
    """Two products exchange their vectors: a photo of one finds the other, in a process that searched before."""
    shop.indexer.run_once()
    photo = picture("blue", spot=1)
    with shop.embedder("efficientnet-lite0") as fallback:
        vectors = _vectors(shop, fallback)
        assert shop.search.find(Photo(photo), Query()).page.hits[0].product.product_id == "blue"
        blue, green = COLOURS.index("blue"), COLOURS.index("green")
        vectors[[blue, green]] = vectors[[green, blue]]
        _table(shop, vectors)
        assert _adopt(shop, fallback, check=False).adopted == 6
    assert shop.search.find(Photo(photo), Query()).page.hits[0].product.product_id == "green"


def test_a_search_finds_by_adopted_vectors(shop: Application) -> None:
    """At once, with pgvector."""
    _check_found(shop)


def test_a_search_finds_by_adopted_vectors_without_pgvector(plain: Database, tmp_path: Path, cache_dir: Path) -> None:
    """At once, though the process holds the vectors in memory."""
    with _shop(shop_settings(plain.dsn, tmp_path, cache_dir)) as shop:
        _check_found(shop)


def test_an_images_own_id_says_which_one_is_meant(shop: Application, clip: Embedder) -> None:
    """Where a column names it; a row that names none of the catalogue's is not in the catalogue."""
    first, second = shop.catalogue.get("red").images
    made = clip.embed_images([shop.catalogue.picture(image.image_id) for image in (second, first)])
    _table(shop, [*made, made[0]], ids=["red"] * 3, images=[second.image_id, first.image_id, uuid4()])
    report = _adopt(shop, clip, SOURCE._replace(image_id="picture"))
    assert (report.adopted, report.unknown) == (2, 1)
    assert report.space is not None
    assert set(_stored(shop, report.space.space_id)) == {first.image_id, second.image_id}


def test_rows_that_are_not_in_the_catalogue_are_counted(shop: Application, clip: Embedder) -> None:
    """They are no error; where there is nothing else, no space is made."""
    vectors = _vectors(shop, clip)
    _table(shop, vectors, ids=["red", "green", "none", "of", "these", "here"])
    assert (_adopt(shop, clip).adopted, _adopt(shop, clip).unknown) == (2, 4)
    before = _state(shop)
    _table(shop, vectors, ids=[f"no{i}" for i in range(6)])
    report = _adopt(shop, clip)
    assert (report.unknown, report.adopted, report.space) == (6, 0, None)
    assert _state(shop) == before


def _good(number: float = 1.0) -> list[float]:
    return [number, *[0.0] * (DIMENSIONS - 1)]


REFUSED: list[tuple[str, Any, str]] = [
    ("json", "[1, 2]", "has 2 dimensions, not 32"),
    ("json", "[]", "has 0 dimensions, not 32"),
    ("real[]", [1.0, 2.0], "has 2 dimensions, not 32"),
    ("real[]", "{}", "has 0 dimensions, not 32"),
    ("double precision[]", [0.5] * 33, "has 33 dimensions, not 32"),
    ("vector", [1.0], "has 1 dimensions, not 32"),
    ("halfvec", [1.0], "has 1 dimensions, not 32"),
    ("real[]", _good(float("nan")), "holds NaN or an infinite number"),
    ("double precision[]", _good(float("inf")), "holds NaN or an infinite number"),
    ("double precision[]", _good(1e300), "holds NaN or an infinite number"),
    ("json", json.dumps(_good(1e300)), "holds NaN or an infinite number"),
    ("text", "[NaN" + ",0" * 31 + "]", "holds NaN or an infinite number"),
    ("json", json.dumps(_good(0)), "is zero"),
    ("vector", _good(0), "is zero"),
    ("json", json.dumps([["1"], *_good()[1:]]), "is not a list of numbers"),
    ("json", json.dumps(["1", *_good()[1:]]), "is not a list of numbers"),
    ("json", json.dumps([None, *_good()[1:]]), "is not a list of numbers"),
    ("json", '{"a": 1}', "is not a list of numbers"),
    ("text", "", "is not a list of numbers"),
    ("text", "1 2 3", "is not a list of numbers"),
    ("real[]", "{NULL" + ",0" * 33 + "}", "holds NULL"),
    ("real[]", "{{" + ",".join(["0"] * 31) + "}}", "is not a flat list of numbers"),
    ("real[]", _good(1.01), "has the length 1.01, not 1; --normalise takes it all the same"),
]


def test_a_row_without_a_good_vector_is_named_and_nothing_is_changed(shop: Application, clip: Embedder) -> None:
    """All rows or none."""
    vectors = _vectors(shop, clip)
    before = _state(shop)
    for type_, bad, reason in REFUSED:
        _table(shop, [vectors[0], vectors[1], bad, *vectors[3:]], type_)
        report = _adopt(shop, clip)
        assert [tuple(refusal) for refusal in report.refused.first] == [("blue", reason)], type_
        assert (report.refused.count, report.adopted, report.space) == (1, 0, None)
        assert _state(shop) == before


def test_two_rows_for_one_image_are_refused(shop: Application, clip: Embedder) -> None:
    """Which one should win?"""
    vectors = _vectors(shop, clip)
    _table(shop, vectors, ids=["red", "red", *COLOURS[2:]])
    report = _adopt(shop, clip)
    assert [tuple(refusal) for refusal in report.refused.first] == [("red", "2 rows have a vector for the same image")]
    assert report.space is None


def test_of_many_refused_rows_fifty_are_named_and_all_counted(shop: Application, clip: Embedder) -> None:
    """Over several batches, too."""
    _table(shop, [[1.0]] * 2_500, ids=[f"p{i}" for i in range(2_500)])
    report = _adopt(shop, clip)
    assert (report.refused.count, len(report.refused.first), report.rows) == (2_500, 50, 2_500)


def test_vectors_of_any_length_are_normalised_on_request(shop: Application, clip: Embedder) -> None:
    """And those within rounding are brought to length 1 in any case."""
    vectors = _vectors(shop, clip)
    _table(shop, vectors * 7)
    assert _adopt(shop, clip).refused.count == 6
    _check_adopted(shop, _adopt(shop, clip, normalise=True), vectors)
    _table(shop, vectors * 1.0009)
    report = _adopt(shop, clip)
    assert report.space is not None
    for vector in _stored(shop, report.space.space_id).values():
        assert float(np.linalg.norm(vector)) == pytest.approx(1, abs=3e-4)


def test_a_dry_run_tells_all_and_changes_nothing(shop: Application, clip: Embedder) -> None:
    """The same counts, and the check."""
    _table(shop, _vectors(shop, clip))
    before = _state(shop)
    report = _adopt(shop, clip, dry_run=True)
    assert (report.adopted, len(report.similarities), report.space) == (6, 6, None)
    assert _state(shop) == before


def test_vectors_of_another_model_are_refused(shop: Application, clip: Embedder) -> None:
    """By embedding some pictures anew; on request they are taken as they are."""
    _table(shop, unit(np.random.default_rng(1).normal(size=(6, DIMENSIONS))))
    before = _state(shop)
    with pytest.raises(InvalidInput, match=rf"immich gives other .* 6 pictures .* must be {ALIKE}.*--no-check"):
        _adopt(shop, clip)
    assert _state(shop) == before
    assert _adopt(shop, clip, check=False).adopted == 6


def test_without_pictures_the_check_is_not_passed(shop: Application, clip: Embedder) -> None:
    """Nothing was compared, so nothing was proved."""
    _table(shop, _vectors(shop, clip))
    for path in (shop.settings.data_dir / "pictures").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(InvalidInput, match="no picture is here"):
        _adopt(shop, clip)


def test_the_shops_table_is_written_meanwhile(shop: Application, clip: Embedder) -> None:
    """While rows are read and after all were, others update, insert and delete."""
    _table(shop, _vectors(shop, clip))
    seen = []

    def write(done: int, total: int) -> None:
        seen.append((done, total))
        with psycopg.connect(shop.database.dsn) as other:
            other.execute("SET statement_timeout = '5s'")
            other.execute("UPDATE shop.products SET price = price + 1")
            other.execute("INSERT INTO shop.products (sku) VALUES ('new')")
            other.execute("DELETE FROM shop.products WHERE sku = 'red'")

    report = _adopt(shop, clip, on_rows=write)
    assert (seen, report.adopted) == ([(6, 6)], 6)


def test_an_image_that_a_worker_has_in_hand_is_left_to_it(shop: Application) -> None:
    """Nobody waits for anybody, and the worker ends its work as ever."""
    with shop.embedder("efficientnet-lite0") as fallback:
        vectors = _vectors(shop, fallback)
        _table(shop, vectors)
        token = uuid4()
        with shop.database.transaction() as connection:
            space = spaces.list_spaces(connection)[0]
            (item,) = work.claim(connection, space, token, limit=1, lease_s=60)
        with psycopg.connect(shop.database.dsn) as worker:  # at this moment it claims another
            (other,) = work.claim(worker, space, uuid4(), limit=1, lease_s=60)
            report = _adopt(shop, fallback)
        of_rows = {image.image_id for image in _images(shop)}
        left = len({item.image_id, other.image_id} & of_rows)
        assert (report.left, report.adopted) == (left, 6 - left)
        assert left > 0
        with shop.database.transaction() as connection:
            assert work.finish(connection, space, token, [(item, vectors[0])]) == 1
            connection.execute("UPDATE seesame.image_work SET leased_until = now() WHERE leased_until IS NOT NULL")
        shop.indexer.run_once()
    assert len(_stored(shop, 1)) == 7
    assert _state(shop)[1] == []


def test_an_image_that_is_deleted_meanwhile_counts_as_gone(shop: Application, clip: Embedder) -> None:
    """Adopting waits for whoever deletes it, and does not fail."""
    _table(shop, _vectors(shop, clip))
    assert _adopt(shop, clip).adopted == 6
    waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    with (
        psycopg.connect(shop.database.dsn, autocommit=True) as watcher,
        psycopg.connect(shop.database.dsn) as other,
        ThreadPoolExecutor(1) as pool,
    ):
        catalogue.delete_images(other, [_images(shop)[2]])
        adopting = pool.submit(_adopt, shop, clip)
        try:
            _until(lambda: watcher.execute(waiting.encode()).fetchone() is not None)
        finally:
            other.commit()
        report = adopting.result(30)
    assert (report.adopted, report.left) == (5, 1)
    assert report.space is not None
    assert len(_stored(shop, report.space.space_id)) == 5


def test_vectors_that_are_being_converted_are_not_replaced_meanwhile(shop: Application) -> None:
    """The conversion copies what is missing, and would keep the old ones; adopting waits for its end."""
    waiting = "SELECT FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    with (
        shop.embedder("efficientnet-lite0") as fallback,
        shop.database.session() as converting,
        ThreadPoolExecutor(1) as pool,
    ):
        _table(shop, _vectors(shop, fallback))
        converting.execute("SELECT pg_advisory_lock(%s, 1)", (conversion.LOCK,))
        adopting = pool.submit(_adopt, shop, fallback)
        try:
            _until(lambda: converting.execute(waiting.encode()).fetchone() is not None)
            assert not adopting.done()
        finally:
            converting.execute("SELECT pg_advisory_unlock_all()")
        assert adopting.result(30).adopted == len(COLOURS)


def test_workers_and_adopting_side_by_side_give_each_image_one_vector(shop: Application) -> None:
    """Again and again, with as many lanes as a worker has."""
    with shop.embedder("efficientnet-lite0") as fallback:
        _table(shop, _vectors(shop, fallback))
        for _ in range(5):
            with shop.database.transaction() as connection:
                connection.execute("DELETE FROM seesame.embeddings_1")
                work.reconcile(connection, spaces.list_spaces(connection)[0])
            worker = threading.Thread(target=shop.indexer.run_once)
            worker.start()
            report = _adopt(shop, fallback)
            worker.join()
            assert report.adopted + report.left == 6
            assert len(_stored(shop, 1)) == 7
            assert _state(shop)[1] == []


_KILLED = """
from seesame.adoption import Adoption, Source
from seesame.application import open_application
from seesame.settings import Settings
with open_application(Settings.read()) as shop, shop.embedder("efficientnet-lite0") as embedder:
    Adoption(shop.database, shop.catalogue, embedder).run(Source("shop.products", "sku", "vector"))
"""


def test_killed_half_way_it_changes_nothing(shop: Application) -> None:
    """The process dies after it has ended work and before it has written the first vector."""
    with shop.embedder("efficientnet-lite0") as fallback:
        _table(shop, _vectors(shop, fallback))
    before = _state(shop)
    waiting = (
        "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'DELETE FROM %embeddings_1%'"
    )
    environment = os.environ | {
        "DATABASE_URL": shop.database.dsn,
        "SEESAME_DATA_DIR": str(shop.settings.data_dir),
        "SEESAME_CACHE_DIR": str(shop.settings.cache_dir),
    }
    with (
        psycopg.connect(shop.database.dsn) as other,
        psycopg.connect(shop.database.dsn, autocommit=True) as watcher,
    ):
        other.execute("LOCK TABLE seesame.embeddings_1 IN SHARE MODE")
        process = subprocess.Popen([sys.executable, "-c", _KILLED], env=environment)
        _until(lambda: watcher.execute(waiting.encode()).fetchone() is not None or process.poll() is not None)
        process.send_signal(signal.SIGKILL)
        assert process.wait(30) == -signal.SIGKILL
        other.rollback()
        _until(lambda: watcher.execute(waiting.encode()).fetchone() is None)
    assert _state(shop) == before


def test_what_is_no_column_of_vectors_is_told(shop: Application, clip: Embedder) -> None:
    """In one line, for each way to get it wrong."""
    _table(shop, _vectors(shop, clip))
    for source, message in (
        (SOURCE._replace(table="shop.none"), "There is no table shop.none"),
        (SOURCE._replace(table="a.b.c.d"), "no name of a table"),
        (SOURCE._replace(column="none"), "The table shop.products has no column 'none'"),
        (SOURCE._replace(column="price"), "'price' is of type integer; vectors are read from json, jsonb"),
        (SOURCE._replace(id="none"), "no column 'none'"),
        (SOURCE._replace(image_id="sku"), "'sku' is of type text; the ids of images are of type uuid"),
    ):
        with pytest.raises(InvalidInput, match=message):
            _adopt(shop, clip, source)


def test_a_missing_right_to_read_is_told(shop: Application, clip: Embedder) -> None:
    """With what to grant."""
    _table(shop, _vectors(shop, clip))
    name = f"reader_{uuid4().hex}"
    role = sql.Identifier(name)
    database = Database(make_conninfo(shop.database.dsn, user=name))
    with psycopg.connect(shop.database.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(role))
        connection.execute(sql.SQL("GRANT ALL ON SCHEMA seesame, shop TO {}").format(role))
        connection.execute(sql.SQL("GRANT ALL ON ALL TABLES IN SCHEMA seesame TO {}").format(role))
        try:
            database.open()
            with pytest.raises(DatabaseUnsuitable, match=r'may not read "shop"."products": GRANT SELECT'):
                Adoption(database, shop.catalogue, clip).run(SOURCE)
        finally:
            database.close()
            connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
            connection.execute(sql.SQL("DROP ROLE {}").format(role))


def test_a_model_is_taken_from_the_service_that_serves_it(settings: Settings) -> None:
    """Where one is set and serves that name; else from the cache, and what is nowhere is told."""
    app = create_app(ClipSettings(model=CLIP, port=0, _env_file=None))  # type: ignore[call-arg]
    server = Server(app, listen("127.0.0.1", 0), on_drain=app.state.engine.drain)
    server.start()
    try:
        _until(lambda: app.state.engine.ready)
        with _shop(settings.model_copy(update={"clip_url": server.url})) as shop:
            with shop.embedder("immich") as served:
                _table(shop, _vectors(shop, served))
                report = _adopt(shop, served)
            with shop.embedder(CLIP) as local:
                assert local.identity == served.identity
            assert report.space is not None
            assert report.space.key == served.identity.key
            with (
                pytest.raises(ModelUnavailable, match="seesame models pull vit-b-32-openai"),
                shop.embedder("vit-b-32-openai"),
            ):
                pass
    finally:
        server.stop()


def test_from_the_command_line_adopted_vectors_answer_searches(shop: Application, clip: Embedder) -> None:
    """A complete space becomes the primary, and a search finds by what was adopted."""
    (second,) = clip.embed_images([shop.catalogue.picture(shop.catalogue.get("red").images[1].image_id)])
    images = [*_images(shop), shop.catalogue.get("red").images[1]]
    vectors = [*_vectors(shop, clip), second]
    _table(shop, vectors, "jsonb", ids=[*COLOURS, "red"], images=[image.image_id for image in images])
    arguments = [
        "--table",
        "shop.products",
        "--id",
        "sku",
        "--column",
        "vector",
        "--model",
        CLIP,
        "--image-id",
        "picture",
    ]
    assert "7 of 7 vectors can be adopted" in _run(shop, "db", "adopt", *arguments, "--dry-run").stderr
    told = _run(shop, "db", "adopt", *arguments).stderr
    assert "7 of 7 vectors were adopted" in told
    assert "is complete and answers from now on" in told
    answer = json.loads(_run(shop, "search", "--similar-to", "blue", "--json").stdout)
    assert answer["space"].startswith("immich@")
    assert {result["product_id"] for result in answer["results"]} == set(COLOURS) - {"blue"}


def test_from_the_command_line_refused_rows_are_listed(shop: Application, clip: Embedder) -> None:
    """One line each, how many there are, and exit code 1."""
    _table(shop, [[1.0]] * 60, ids=[f"p{i}" for i in range(60)])
    arguments = ["--table", "shop.products", "--id", "sku", "--column", "vector", "--model", CLIP]
    told = _run(shop, "db", "adopt", *arguments, code=1).stderr.splitlines()
    assert "✗ p0: has 1 dimensions, not 32" in told
    assert sum(line.startswith("✗") for line in told) == 50
    assert told[-2:] == ["… and 10 more", "60 rows were refused. Nothing was changed."]


def _run(shop: Application, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "DATABASE_URL": shop.database.dsn,
        "SEESAME_DATA_DIR": str(shop.settings.data_dir),
        "SEESAME_CACHE_DIR": str(shop.settings.cache_dir),
        "SEESAME_MODEL": CLIP,
        "COLUMNS": "200",
    }
    done = subprocess.run(
        [sys.executable, "-m", "seesame", *arguments], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(600):  # 30 s at most
        if condition():
            return
        threading.Event().wait(0.05)
    raise AssertionError("it did not come true")
