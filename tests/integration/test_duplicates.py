"""Duplicates, look-alikes and placeholders, over HTTP and on the command line, with pgvector and without."""

import csv
import functools
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx2
import numpy as np
import pytest
from PIL import Image, ImageEnhance
from typer.testing import CliRunner

from seesame.application import Application, open_application
from seesame.catalogue import Source
from seesame.cli import app
from seesame.db import duplicates as rows
from seesame.db import indexes, spaces
from seesame.db.catalogue import insert_fingerprints
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.demo.catalogue import draw_packshots, draw_product, plan_products
from seesame.duplicates import Duplicates
from seesame.errors import DatabaseUnavailable
from seesame.likeness import FLOOR
from seesame.pictures import PictureStore
from seesame.types import Fingerprint, Product, SpaceIdentity
from tests.acceptance.test_cli import Shell
from tests.catalogue_rows import add_images, unit
from tests.conftest import plain_database, served, shop_settings


def _jpeg(picture: Image.Image, quality: int = 90) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()


@functools.cache
def _scene(number: int) -> Image.Image:
    """A picture of a product, each number another kind."""
    kinds = {product.product_id[:3]: product for product in plan_products(7)}
    product = list(kinds.values())[number]
    return next(draw_packshots(product, draw_product(product, seed=7), seed=7))


def _variants(scene: Image.Image) -> list[bytes]:
    """What shops make of one picture: the file again, smaller, worse, brighter, cropped."""
    width, height = scene.size
    return [
        _jpeg(scene),
        _jpeg(scene),
        _jpeg(scene.resize((width * 3 // 4, height * 3 // 4))),
        _jpeg(scene, 40),
        _jpeg(ImageEnhance.Brightness(scene).enhance(1.1)),
        _jpeg(scene.crop((width // 50, height // 50, width, height))),
    ]


def _add(application: Application, product_id: str, *pictures: bytes) -> list[UUID]:
    application.catalogue.put(Product(product_id, title=f"Title of {product_id}"))
    return [application.catalogue.add_image(product_id, picture).image_id for picture in pictures]


@pytest.fixture(params=["pgvector", "plain"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, cache_dir: Path) -> Iterator[Application]:
    """An empty shop, on a PostgreSQL that has pgvector and on one that has not."""
    with _database(request) as dsn, open_application(shop_settings(dsn, tmp_path, cache_dir)) as application:
        yield application


@contextmanager
def _database(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "pgvector":
        yield request.getfixturevalue("dsn")
    else:
        with plain_database() as dsn:
            yield dsn


def _get(client: httpx2.Client, path: str = "duplicates", **parameters: Any) -> dict[str, Any]:
    reply = client.get(f"/v1/{path}", params=parameters)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def _products(answer: dict[str, Any]) -> list[tuple[str, list[str]]]:
    return [(group["kind"], sorted(image["product_id"] for image in group["images"])) for group in answer["groups"]]


def test_the_kinds_are_told_apart(shop: Application) -> None:
    """The same file, copies of it, and other pictures: each where it belongs, with how much it differs."""
    for number, data in enumerate(_variants(_scene(0))):
        _add(shop, f"copy{number}", data)
    for number in range(1, 6):
        _add(shop, f"other{number}", _jpeg(_scene(number)))
    with served(shop) as client:
        before = _get(client)
        assert (before["groups"], before["total"], before["computed_at"]) == ([], 0, None)
        shop.indexer.run_once(finish=True)
        assert shop.duplicates.update()
        answer = _get(client)
        assert _products(answer) == [
            ("exact", ["copy0", "copy1"]),
            ("near", [f"copy{number}" for number in range(6)]),
        ]
        assert (answer["total"], answer["compared"]) == (2, 11)
        assert answer["computed_at"] is not None
        near = answer["groups"][1]
        assert (near["products"], near["pictures"], near["placeholder"]) == (6, 6, False)
        for image in near["images"]:
            assert image["title"] == f"Title of {image['product_id']}"
            assert 0 <= image["distance"] <= 44
            assert image["similarity"] > 0.85
            assert client.get(image["image"]["url"]).status_code == 200
        assert _products(_get(client, kind="near")) == [_products(answer)[1]]
        assert _get(client, kind="lookalike")["total"] == 0
        assert _products(_get(client, product_id="copy3")) == [_products(answer)[1]]
        assert _get(client, product_id="other1")["total"] == 0
        assert _get(client, product_id="copy3")["groups"][0]["images"][0]["product_id"] == "copy3"
        again = _get(client)
        assert shop.duplicates.update()
        assert _get(client) == again  # nothing new: not even made anew


def test_pictures_of_one_product_are_no_duplicates(shop: Application) -> None:
    """However alike they are."""
    _add(shop, "a", *_variants(_scene(0)))
    _add(shop, "b", _jpeg(_scene(1)))
    shop.indexer.run_once(finish=True)
    assert shop.duplicates.update()
    assert shop.duplicates.groups(limit=10).total == 0


def test_deleted_and_replaced_pictures_leave_their_groups_at_once(application: Application) -> None:
    """Without an update; a group that is down to one product is none any more, and a new copy joins at the next."""
    first, *_ = _variants(_scene(0))
    for name in ("a", "b", "c"):
        _add(application, name, first)
    application.indexer.run_once(finish=True)
    assert application.duplicates.update()
    found = application.duplicates.groups(limit=10)
    assert [group.group.products for group in found.groups] == [3]
    application.catalogue.delete("a")
    found = application.duplicates.groups(limit=10)
    assert [[m.image.product_id for m in g.members] for g in found.groups] == [["b", "c"]]
    (image,) = application.catalogue.get("c").images
    application.catalogue.publish([application.catalogue.store("c", 0, Source("c.jpg", _jpeg(_scene(9))))])
    application.catalogue.delete_image("c", image.image_id)
    assert application.duplicates.groups(limit=10).total == 0
    _add(application, "d", first)
    application.indexer.run_once(finish=True)
    assert application.duplicates.update()
    assert application.duplicates.groups(limit=10).total == 1
    with application.database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM seesame.fingerprints").fetchone() == (3,)


def test_pictures_that_stand_for_many_products_are_placeholders(shop: Application) -> None:
    """The same file and near copies of it together, and pictures of one colour, the most products first."""
    no_photo = _scene(7)
    for number in range(12):
        _add(shop, f"n{number:02}", _jpeg(no_photo, 90 if number < 8 else 50 + number))
    for number in range(3):
        _add(shop, f"white{number}", _jpeg(Image.new("RGB", (300, 300), "white")))
    _add(shop, "pair1", _jpeg(_scene(1)))
    _add(shop, "pair2", _jpeg(_scene(1)))
    shop.indexer.run_once(finish=True)
    assert shop.duplicates.update()
    with served(shop) as client:
        answer = _get(client, "placeholders")
        told = [(one["reason"], one["products"]) for one in answer["placeholders"]]
        assert told == [("near_picture", 12), ("uniform", 3)]
        assert answer["total"] == 2
        assert answer["placeholders"][0]["product_id"].startswith("n")
        few = _get(client, "placeholders", min_products=2)
        assert [(one["reason"], one["products"]) for one in few["placeholders"]] == [*told, ("same_picture", 2)]
        paged = _get(client, "placeholders", min_products=2, limit=1, offset=2)
        assert [one["reason"] for one in paged["placeholders"]] == ["same_picture"]
        past = _get(client, "placeholders", offset=100)
        assert (past["placeholders"], past["total"]) == ([], 2)
        flagged = {group["kind"]: group["placeholder"] for group in _get(client, product_id="n00")["groups"]}
        assert flagged == {"exact": False, "near": True}


def test_groups_are_paged_in_one_order(application: Application) -> None:
    """The largest first; all pages together have each group once."""
    for number, size in enumerate((2, 4, 3, 2)):
        for copy in range(size):
            _add(application, f"p{number}-{copy}", _jpeg(_scene(number)))
    application.indexer.run_once(finish=True)
    assert application.duplicates.update()
    with served(application) as client:
        pages = [_get(client, kind="exact", limit=1, offset=offset) for offset in range(5)]
    assert [page["total"] for page in pages] == [4] * 5
    assert [[group["products"] for group in page["groups"]] for page in pages] == [[4], [3], [2], [2], []]
    assert len({group["id"] for page in pages for group in page["groups"]}) == 4


def test_pictures_from_before_there_were_fingerprints_are_read_later(application: Application) -> None:
    """What cannot be read is passed over, and stops neither the others nor the next time."""
    images = [_add(application, name, _jpeg(_scene(0)))[0] for name in ("a", "b", "gone")]
    with application.database.transaction() as connection:
        kept = connection.execute("SELECT image_id, bits FROM seesame.fingerprints").fetchall()
        connection.execute("DELETE FROM seesame.fingerprints")
    pictures = PictureStore(application.settings.data_dir / "pictures")
    pictures.delete(application.catalogue.image(images[2]).bytes_ref)
    application.indexer.run_once(finish=True)
    told: list[tuple[str, int, int]] = []
    assert application.duplicates.update(on_progress=lambda *step: told.append(step))
    assert told == [("pictures", 3, 3), ("vectors", 2, 2)]
    with application.database.transaction() as connection:
        read = dict(connection.execute("SELECT image_id, bits FROM seesame.fingerprints").fetchall())
    assert set(read) == set(images[:2])
    for image_id, bits in kept:  # of the picture as it came; of the stored one, nearly the same
        if image_id in read:
            assert sum((a ^ b).bit_count() for a, b in zip(bits, read[image_id], strict=True)) <= 4
    assert application.duplicates.waiting() == 1


def test_two_processes_do_not_compare_at_once(application: Application, dsn: str) -> None:
    """The second one leaves it to the first."""
    other = Duplicates(application.database, PictureStore(application.settings.data_dir), placeholder_products=10)
    with rows.alone(application.database) as alone:
        assert alone
        assert not other.update()
    assert other.update()


def test_what_was_cut_short_goes_on_where_it_was(application: Application) -> None:
    """Stopped before its groups were made, an update leaves them as they were; the next one makes them."""
    for name in ("a", "b"):
        _add(application, name, _jpeg(_scene(0)))
    application.indexer.run_once(finish=True)
    stop = threading.Event()
    assert application.duplicates.update(stop=stop, on_progress=lambda *_: stop.set())
    assert application.duplicates.groups(limit=10).run is None
    assert application.duplicates.update()
    assert application.duplicates.groups(limit=10).total == 1


def test_a_server_looks_for_duplicates_by_itself(application: Application) -> None:
    """Again and again, also after the database was away; until it is told to stop."""
    for name in ("a", "b"):
        _add(application, name, _jpeg(_scene(0)))
    application.indexer.run_once(finish=True)
    stop, seen = threading.Event(), threading.Event()

    class Watched(Duplicates):
        """Finds the database away the first time."""

        away = True

        def update(self, **how: Any) -> bool:
            if self.away:
                self.away = False
                raise DatabaseUnavailable("away")
            done = super().update(**how)
            seen.set()
            return done

    pictures = PictureStore(application.settings.data_dir / "pictures")
    watched = Watched(application.database, pictures, placeholder_products=10)
    thread = threading.Thread(target=watched.keep, args=(stop,), kwargs={"every_s": 0.01})
    thread.start()
    assert seen.wait(30)
    stop.set()
    thread.join(30)
    assert application.duplicates.groups(limit=10).total == 1


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        *(
            (path, parameters)
            for path in ("duplicates", "placeholders")
            for parameters in (
                {"limit": "-1"},
                {"limit": "0"},
                {"limit": "201"},
                {"limit": "1e9"},
                {"limit": "1.5"},
                {"limit": "NaN"},
                {"offset": "-1"},
                {"offset": "1000000000000"},
                {"offset": "Infinity"},
            )
        ),
        ("duplicates", {"kind": "same"}),
        ("duplicates", {"kind": "exact'; DROP TABLE seesame.products"}),
        ("duplicates", {"kind": ""}),
        ("duplicates", {"product_id": "a\0b"}),
        ("duplicates", {"product_id": "x" * 201}),
        ("placeholders", {"min_products": "1"}),
        ("placeholders", {"min_products": "x"}),
        ("placeholders", {"min_products": "9" * 50}),
    ],
)
def test_bad_parameters_are_422(shared_server: httpx2.Client, path: str, parameters: dict[str, str]) -> None:
    """Numbers out of range or none, kinds that are none, ids that cannot be stored; a good request succeeds after."""
    reply = shared_server.get(f"/v1/{path}", params=parameters)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input"), reply.text
    assert _get(shared_server, path)["total"] == 0


def test_ids_are_taken_literally(shared_server: httpx2.Client) -> None:
    """SQL and paths in a product's id find no product."""
    for product_id in ("' OR 1=1 --", "../../etc/passwd", "%", "ключ", ""):
        assert _get(shared_server, product_id=product_id)["total"] == 0


@pytest.fixture(params=["pgvector", "plain"])
def many(request: pytest.FixtureRequest) -> Iterator[Database]:
    """An empty, migrated database of either kind."""
    with _database(request) as dsn:
        database = Database(dsn)
        migrate(database)
        database.open()
        yield database
        database.close()


def test_neighbours_of_many_are_those_that_comparing_all_finds(many: Database, tmp_path: Path) -> None:
    """Through the index of pgvector and in blocks without it; what is planted is found, and nothing else."""
    rng = np.random.default_rng(5)
    base = rng.normal(size=(2_400, 48))
    base[1_200:1_300] = base[:100] + rng.normal(scale=0.1, size=(100, 48))  # cosine about 0.995 to the first hundred
    vectors = unit(base)
    with many.transaction(timeout_s=120) as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 48), "fallback")
        images = add_images(connection, space, vectors)
        prints = [Fingerprint(rng.bytes(16), uniform=False) for _ in images]
        found = [(i.product_id, i.image_id, f) for i, f in zip(images, prints, strict=True)]
        for copy in range(50):  # of these the bits are the same, too
            found[1_200 + copy] = (*found[1_200 + copy][:2], prints[copy])
        insert_fingerprints(connection, found)
        connection.execute("ANALYZE")
    indexes.ensure(many, space)
    duplicates = Duplicates(many, PictureStore(tmp_path), placeholder_products=10)
    assert duplicates.update(lanes=2)
    expected = {(i, j) for i, j in np.argwhere(np.triu(vectors @ vectors.T, 1) >= FLOOR).tolist()}
    assert expected == {(i, i + 1_200) for i in range(100)}
    pairs: dict[str, set[tuple[int, int]]] = {"near": set(), "lookalike": set(), "exact": set()}
    offset = 0
    while page := duplicates.groups(limit=100, offset=offset).groups:
        offset += len(page)
        for group in page:
            first, second = sorted(int(member.image.product_id[1:]) for member in group.members)
            pairs[group.group.kind].add((first, second))
    assert pairs["near"] == {(i, i + 1_200) for i in range(50)}
    assert pairs["lookalike"] == {(i, i + 1_200) for i in range(50, 100)}
    assert pairs["exact"] == set()


def test_copies_do_not_hide_what_is_near_to_them(many: Database, tmp_path: Path) -> None:
    """More copies than neighbours are looked for, of a picture and of one near to it: all are one near group."""
    rng = np.random.default_rng(6)
    one, *others = rng.normal(size=(101, 48))
    near = one + rng.normal(scale=0.1, size=48)
    vectors = unit(np.array([one] * 30 + [near] * 30 + others))
    digests = [b"one"] * 30 + [b"near"] * 30 + [bytes([number]) for number in range(100)]
    with many.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 48), "fallback")
        images = add_images(connection, space, vectors)
        for table in ("product_images", f"embeddings_{space.space_id}"):
            statement = f"UPDATE seesame.{table} SET sha256 = %s WHERE product_id = %s"
            pairs = [(digest, image.product_id) for digest, image in zip(digests, images, strict=True)]
            connection.cursor().executemany(statement.encode(), pairs)
        prints = [Fingerprint(bytes(16) if n < 60 else rng.bytes(16), uniform=False) for n in range(len(images))]
        insert_fingerprints(connection, [(i.product_id, i.image_id, f) for i, f in zip(images, prints, strict=True)])
    indexes.ensure(many, space)
    duplicates = Duplicates(many, PictureStore(tmp_path), placeholder_products=10)
    assert duplicates.update(lanes=2)
    found = [one.group for one in duplicates.groups(limit=10).groups]
    assert [(group.kind, group.products) for group in found] == [("exact", 30), ("exact", 30), ("near", 60)]


def test_the_command_finds_shows_and_writes(application: Application, dsn: str, tmp_path: Path) -> None:
    """In a shell of its own: a table, JSON, a CSV with every picture, and placeholders."""
    for number, data in enumerate(_variants(_scene(0))):
        _add(application, f"copy{number}", data)
    _add(application, "blank", _jpeg(Image.new("RGB", (90, 90), "grey")))
    application.indexer.run_once(finish=True)
    _add(application, "new", _jpeg(_scene(1)))
    shell = Shell(tmp_path, application.settings.cache_dir)
    shell.environment["DATABASE_URL"] = dsn
    done = shell("duplicates", "--kind", "near")
    assert "1 pictures are not compared yet" in done.stderr
    assert "copy5" in done.stdout
    assert "exact" not in done.stdout
    assert "1 groups, 1 shown" in done.stdout
    answer = json.loads(shell("duplicates", "--no-update", "--json", "--product", "copy0").stdout)
    assert [group["kind"] for group in answer["groups"]] == ["exact", "near"]
    table = tmp_path / "duplicates.csv"
    assert "2 groups are in" in shell("duplicates", "--csv", str(table)).stdout
    with table.open(newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    assert sorted(r["product_id"] for r in records if r["kind"] == "exact") == ["copy0", "copy1"]
    assert sorted(r["product_id"] for r in records if r["kind"] == "near") == [f"copy{n}" for n in range(6)]
    assert len({r["group"] for r in records}) == 2
    stands = shell("duplicates", "--placeholders", "--min-products", "6").stdout
    assert "nearly the same picture" in stands
    assert "of one colour" in stands


@pytest.mark.parametrize("wrong", ["--kind=same", "--limit=0", "--limit=201", "--min-products=1"])
def test_the_command_takes_no_wrong_options(wrong: str) -> None:
    """They are told before anything is opened."""
    result = CliRunner().invoke(app, ["duplicates", wrong])
    assert result.exit_code == 2
    assert "Invalid value" in result.output
