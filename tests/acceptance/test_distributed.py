"""The shop on a Citus cluster: a coordinator and its workers, which `SEESAME_TEST_CITUS_URL` names.

The coordinator's connection string, of a superuser, in a database that knows its workers (`citus_add_node`).
"""

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from seesame.answers import Answer
from seesame.application import Application, open_application
from seesame.catalogue import Source, image_id_of
from seesame.db import catalogue as catalogue_rows
from seesame.db import distribution, indexes, spaces, work
from seesame.db import search as search_rows
from seesame.db.migrate import migrate
from seesame.db.pool import Database, set_local
from seesame.filters import parse_filter
from seesame.queries import LikeImage, LikeProduct, Photo, Query, Words
from seesame.types import Product, SpaceIdentity, WorkItem
from tests.catalogue_rows import add_images, unit
from tests.conftest import picture, shop_settings
from tests.requirements import environment

_COLOURS = ("red", "green", "blue", "black", "orange", "purple", "brown", "pink", "gray", "navy", "gold", "teal")


@pytest.fixture
def nodes() -> Iterator[list[str]]:
    """An empty database of this test's own on the coordinator, first, and on each worker, with Citus between them."""
    coordinator = environment("SEESAME_TEST_CITUS_URL", "citus")
    name = f"citus_{uuid.uuid4().hex}"
    with psycopg.connect(coordinator, autocommit=True) as connection:
        workers = connection.execute(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid <> 0 AND noderole = 'primary' ORDER BY nodeport"
        ).fetchall()
        place = (connection.info.host, connection.info.port)
    assert len(workers) >= 2
    servers = [coordinator, *(make_conninfo(coordinator, host=host, port=port) for host, port in workers)]
    with ExitStack() as stack:
        for server in servers:
            admin = stack.enter_context(psycopg.connect(server, autocommit=True))
            admin.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            stack.callback(admin.execute, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        own = [make_conninfo(server, dbname=name) for server in servers]
        for dsn in own:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("CREATE EXTENSION citus")
        with psycopg.connect(own[0], autocommit=True) as connection:
            connection.execute("SELECT citus_set_coordinator_host(%s, %s)", place)
            for worker in workers:
                connection.execute("SELECT citus_add_node(%s, %s)", worker)
        yield own


@pytest.fixture
def cluster(nodes: list[str]) -> str:
    """The coordinator of an empty cluster."""
    return nodes[0]


@pytest.fixture
def shop(cluster: str, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """All services on an empty catalogue that is not distributed yet."""
    with open_application(shop_settings(cluster, tmp_path, cache_dir)) as application:
        yield application


def _run(dsn: str, tmp_path: Path, *arguments: str, code: int = 0) -> str:
    """`seesame db …`, as a process; what it printed."""
    environ = os.environ | {"DATABASE_URL": dsn, "SEESAME_DATA_DIR": str(tmp_path / "data")}
    done = subprocess.run(
        [sys.executable, "-m", "seesame", "db", *arguments], env=environ, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout if code == 0 else done.stderr


def _fill(shop: Application) -> None:
    """A product a colour, two pictures each; every second one is a shoe, the price grows."""
    products = [
        Product(
            colour,
            title=f"A {colour} thing",
            category="shoes" if i % 2 else "hats",
            price=Decimal(10 * i),
            attributes={"colour": [colour, "plain"], "size": i},
        )
        for i, colour in enumerate(_COLOURS)
    ]
    shop.catalogue.put_many(products)
    shop.catalogue.publish(
        [
            shop.catalogue.store(colour, spot, Source(f"{colour}{spot}.jpg", picture(colour, spot=9 * spot)))
            for colour in _COLOURS
            for spot in range(2)
        ]
    )
    shop.indexer.run_once(finish=True)


def _found(answer: Answer) -> list[tuple[str, float | None]]:
    return [
        (hit.product.product_id, None if hit.similarity is None else round(hit.similarity, 5))
        for hit in answer.page.hits
    ]


def _answers(shop: Application) -> dict[str, Any]:
    """What the shop says to every kind of question."""
    photo = picture("blue", spot=3)
    shoes = parse_filter({"category": "shoes", "price": {"lte": 80}})
    listings, total = shop.catalogue.list(limit=5, offset=2)
    listings.append(shop.catalogue.get("gold"))
    return {
        "photo": _found(shop.search.find(Photo(photo), Query(limit=5))),
        "second page": _found(shop.search.find(Photo(photo), Query(limit=4, offset=3))),
        "filter": _found(shop.search.find(Photo(photo), Query(shoes, limit=10))),
        "attributes": _found(shop.search.find(Photo(photo), Query(parse_filter({"attributes.size": {"gt": 6}})))),
        "facets": shop.search.find(Photo(photo), Query(facets=("category", "attributes.colour"))).facets,
        "nothing": _found(shop.search.find(Photo(photo), Query(parse_filter({"category": "none"})))),
        "similar": _found(shop.search.find(LikeProduct("blue"), Query(limit=4))),
        "like an image": _found(shop.search.find(LikeImage(_image_id("red")), Query(limit=4))),
        "words": _found(shop.search.find(Words("navy thing"), Query(limit=4))),
        "listed": [(listing.product, [image.image_id for image in listing.images]) for listing in listings],
        "listed in all": total,
        "totals": shop.catalogue.totals(),
        "categories": shop.catalogue.categories(),
        "pending": shop.indexer.pending(),
    }


def _image_id(colour: str) -> uuid.UUID:
    return image_id_of(colour, Source("", picture(colour)).sha256)


def _change(shop: Application) -> None:
    """Prices, a text, a product and an image less, a picture more."""
    shop.catalogue.put_many([Product("blue", title="A blue thing", category="shoes", price=Decimal("7.50"))])
    shop.catalogue.put(Product("teal", title="A navy thing", category="shoes"))
    shop.catalogue.delete("black")
    shop.catalogue.delete_image("pink", _image_id("pink"))
    shop.catalogue.add_image("brown", picture("blue", spot=4))
    shop.indexer.run_once(finish=True)


def test_a_filled_catalogue_is_distributed_and_answers_as_before(
    shop: Application, cluster: str, tmp_path: Path
) -> None:
    """The same to every question, without a restart; and again after the same changes as in a shop that is whole."""
    _fill(shop)
    before = _answers(shop)
    assert len(before["photo"]) == 5
    assert {product for product, _ in before["filter"]} == {"green", "black", "purple", "pink"}

    preview = _run(cluster, tmp_path, "distribute", "--dry-run")
    assert "2 workers, 2 shards" in preview
    assert "embeddings_1: would be distributed" in preview
    assert _answers(shop) == before
    done = _run(cluster, tmp_path, "distribute")
    assert [line.split(":")[0] for line in done.splitlines() if "being" in line] == [
        "products",
        "product_images",
        "embeddings_1",
    ]
    assert _answers(shop) == before
    again = _run(cluster, tmp_path, "distribute")
    assert again.count("distributed already") == 3
    assert "being distributed" not in again
    assert "up to date" in _run(cluster, tmp_path, "migrate")
    with psycopg.connect(cluster) as connection:
        placed = connection.execute("SELECT table_name::text, shard_count FROM citus_tables ORDER BY 1").fetchall()
        together = connection.execute("SELECT count(DISTINCT colocation_id) FROM citus_tables").fetchone()
        left = connection.execute(
            "SELECT sum(pg_relation_size(table_name)) FROM citus_tables WHERE citus_table_type = 'distributed'"
        ).fetchone()
    assert placed == [(f"seesame.{name}", 2) for name in ("embeddings_1", "product_images", "products")]
    assert together == (1,)
    assert left == (0,)  # no copy stays behind on the coordinator


def test_a_distributed_shop_changes_as_a_whole_one(
    shop: Application, application: Application, cluster: str, tmp_path: Path
) -> None:
    """Distributed before its first product, and the embedded database beside it: the same answers at each step."""
    _run(cluster, tmp_path, "distribute", "--shards", "3")
    for step in (_fill, _change):
        step(shop)
        step(application)
        assert _answers(shop) == _answers(application)
    with shop.database.transaction() as connection:
        assert distribution.plan(connection).shards == 3
    assert "3 shards" in _run(cluster, tmp_path, "distribute", "--shards", "4", code=1)


def test_workers_claim_each_image_once(shop: Application, cluster: str, tmp_path: Path) -> None:
    """Two at once on the list of work, which stays on the coordinator; what they held and lost, the next one ends."""
    _run(cluster, tmp_path, "distribute")
    shop.indexer.stop()
    _fill(shop)
    space = shop.spaces.all()[0]
    claimed: list[tuple[uuid.UUID, list[WorkItem]]] = []

    def claim(lease_s: float = 0.5) -> None:
        while True:
            token = uuid.uuid4()
            with shop.database.transaction() as connection:
                items = work.claim(connection, space, token, limit=5, lease_s=lease_s)
            if not items:
                return
            claimed.append((token, items))

    threads = [threading.Thread(target=claim) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lost = list(claimed)
    images = [item.image_id for _, items in lost for item in items]
    assert len(images) == len(set(images)) == 2 * len(_COLOURS)
    vector = unit(np.ones((1, space.dimensions)))[0]
    while len({item.image_id for _, items in claimed[len(lost) :] for item in items}) < len(images):
        threading.Event().wait(0.1)  # for the leases to end
        claim(60)
    for held, holders in ((0, lost), (len(images), claimed[len(lost) :])):
        with shop.database.transaction() as connection:
            finished = [work.finish(connection, space, t, [(i, vector) for i in items]) for t, items in holders]
        assert sum(finished) == held
    assert shop.indexer.pending() == {space.key: 0}


def test_an_index_search_uses_the_index_of_every_shard(cluster: str, tmp_path: Path) -> None:
    """Built after the tables are distributed, used with and without a filter, by settings that reach the shards."""
    database = Database(cluster)
    database.open()
    migrate(database)
    rng = np.random.default_rng(5)
    vectors = unit(rng.normal(size=(12_000, 16)))  # for fewer PostgreSQL prefers to compare all
    products = [Product(f"p{i}", title="T", category=f"c{i % 2}") for i in range(len(vectors))]
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("m", "d" * 64, 16), "fallback")
        add_images(connection, space, vectors, products=products)
    indexes.ensure(database, space)
    _run(cluster, tmp_path, "distribute")
    query = unit(rng.normal(size=(1, 16)))[0]
    order = np.argsort(-(vectors @ query))
    with database.transaction() as connection:
        assert indexes.is_valid(connection, space.space_id)
        space = spaces.list_spaces(connection)[0]
        every = search_rows.nearest(connection, space, query, [], limit=10)
        some = search_rows.nearest(connection, space, query, parse_filter({"category": "c1"}), limit=10)
        set_local(connection, hnsw__ef_search=77)
        reached = connection.execute(
            "SELECT (SELECT current_setting('hnsw.ef_search') FROM seesame.products WHERE product_id = 'p1')"
        ).fetchone()
    database.close()
    assert every.method == "hnsw"
    assert some.method == "iterative"
    assert len({f"p{i}" for i in order[:10]} & {hit.product.product_id for hit in every.hits}) >= 9
    assert len({f"p{i}" for i in order[order % 2 == 1][:10]} & {hit.product.product_id for hit in some.hits}) >= 9
    assert reached == ("77",)
    assert all(_until_scanned(cluster))


def _until_scanned(cluster: str) -> list[int]:
    """How many index scans each worker counts, which it does when the connections of the search have ended."""
    for _ in range(100):
        with psycopg.connect(cluster) as connection:
            rows = connection.execute(
                "SELECT result FROM run_command_on_workers("
                "$$SELECT coalesce(sum(idx_scan), 0) FROM pg_stat_user_indexes WHERE indexrelname ~ 'embedding_idx'$$)"
            ).fetchall()
        scans = [int(row[0]) for row in rows]
        if all(scans):
            break
        threading.Event().wait(0.1)
    return scans


def test_a_new_space_is_distributed_with_its_products(shop: Application, cluster: str, tmp_path: Path) -> None:
    """Its table of vectors is made where the products are; images flow into it."""
    _run(cluster, tmp_path, "distribute")
    _fill(shop)
    with shop.database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("other", "e" * 64, 8), "candidate")
    with shop.database.transaction() as connection:
        assert distribution.plan(connection).due == []
        assert work.reconcile(connection, space) == 2 * len(_COLOURS)
        token = uuid.uuid4()
        items = work.claim(connection, space, token, limit=100, lease_s=60)
        vector = unit(np.ones((1, 8)))[0]
        assert work.finish(connection, space, token, [(item, vector) for item in items]) == len(items)
    with shop.database.transaction() as connection:
        assert spaces.activate(connection, space, by_hand=True)
        assert catalogue_rows.totals(connection)[1] == spaces.count_vectors(connection, space.space_id)


def test_what_cannot_be_distributed_is_told(nodes: list[str], dsn: str, tmp_path: Path) -> None:
    """One line where there is no Citus, no worker, no table yet, or where this is a worker."""
    assert "Citus is not in this database" in _run(dsn, tmp_path, "distribute", code=1)
    assert "seesame db migrate" in _run(nodes[0], tmp_path, "distribute", code=1)
    _run(nodes[0], tmp_path, "migrate")
    assert "is a worker" in _run(nodes[1], tmp_path, "distribute", code=1)
    with psycopg.connect(nodes[0], autocommit=True) as connection:
        for host, port in connection.execute(
            "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0"
        ).fetchall():
            connection.execute("SELECT citus_remove_node(%s, %s)", [host, port])
    assert "no workers" in _run(nodes[0], tmp_path, "distribute", "--dry-run", code=1)
