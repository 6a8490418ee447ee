"""Both clients against a real server with a real database."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from seesame.application import Application, open_application
from seesame.cli.serve import serving
from seesame.settings import Settings
from seesame_client import (
    AsyncClipClient,
    Client,
    ClipClient,
    InvalidRequest,
    Job,
    JobFailed,
    NotFound,
    Query,
    Region,
)
from seesame_client.queries import Photo
from tests.client.conftest import Connect
from tests.conftest import Shop, picture
from tests.integration.test_clip_service import serving as serving_clip
from tests.picture_host import PictureHost, picture_host


@pytest.fixture
def client(connect: Connect, shop: Shop) -> Client:
    """A client of the sample shop."""
    return connect(shop.url)


def test_a_photo_finds_its_product_however_it_is_given(client: Client, shop: Shop) -> None:
    """A path, bytes, or an open file; alone, or among other queries."""
    with shop.photo.open("rb") as file:
        photos: list[Photo] = [
            shop.photo,
            str(shop.photo),
            shop.photo.read_bytes(),
            file,
            BytesIO(shop.photo.read_bytes()),
        ]
        answers = [client.search(Query.photo(photo), limit=5, facets=["category"]) for photo in photos]
    for answer in answers:
        assert answer.results == answers[0].results
        assert answer.results[0].product_id == shop.photo_product_id
        assert answer.results[0].similarity == pytest.approx(0.8, abs=0.2)
        assert answer.degraded_reason == "clip_unavailable"
        assert "umbrellas" in {facet.value for facet in answer.facets["category"]}


def test_products_and_words_are_searched_for(client: Client, shop: Shop) -> None:
    """With a filter; the product itself is left out."""
    like = client.search(Query.product(shop.photo_product_id), filter={"category": "umbrellas"})
    assert {result.product.category for result in like.results} == {"umbrellas"}
    assert like.results == client.similar(shop.photo_product_id, filter={"category": "umbrellas"}).results
    assert client.search(Query.text("umbrella")).results[0].product.category == "umbrellas"
    image = like.results[0].image
    assert image is not None
    assert client.search(Query.image(image.id)).results[0].image == image


def test_several_queries_are_weighed(client: Client, shop: Shop) -> None:
    """A photo with words and a product to keep away from; each result says why it is there."""
    photo = Query.photo(shop.photo)
    answer = client.search(photo, Query.product(shop.photo_product_id, weight=-0.2), explain=True, min_similarity=0.0)
    assert [result.explain and result.explain.rank for result in answer.results] == list(range(1, 11))
    alone = client.search(Query.photo(shop.photo, region=Region(0, 0, 1, 1)), explain=True, hybrid=False)
    first = alone.results[0]
    assert (first.product_id, first.explain and first.explain.vector_share) == (shop.photo_product_id, 1.0)


def test_a_photo_can_be_used_again_and_forgotten(client: Client, shop: Shop) -> None:
    """By the id that its first answer gave it."""
    answer = client.search(Query.photo(shop.photo))
    assert answer.image_id is not None
    assert client.search(Query.image(answer.image_id)).results == answer.results
    client.forget_photo(answer.image_id)
    with pytest.raises(NotFound):
        client.search(Query.image(answer.image_id))


def test_parts_of_a_photo_are_searched_each_by_itself(client: Client, shop: Shop) -> None:
    """In the order in which they were named; or those that the server proposes."""
    proposed = client.search_regions(Query.photo(shop.photo), limit=1).regions
    assert [part.results[0].product_id for part in proposed][:1] == [shop.photo_product_id]
    parts = [Region(0, 0, 1, 1), Region(0, 0, 0.3, 0.3)]
    found = client.search_regions(Query.photo(shop.photo), parts, limit=2, filter={"category": "umbrellas"})
    assert [part.region for part in found.regions] == parts
    assert [len(part.results) for part in found.regions] == [2, 2]
    assert found.regions[0].results[0].product_id == shop.photo_product_id


def test_all_pages_are_one_list(client: Client, shop: Shop) -> None:
    """In the order of one large page, and each product once."""
    at_once = client.search(Query.photo(shop.photo), limit=200)
    one_by_one = list(client.search_all(Query.photo(shop.photo), page_size=7))
    assert [result.product_id for result in one_by_one] == [result.product_id for result in at_once.results]
    assert len(one_by_one) > 14
    listed = list(client.products(filter={"category": "umbrellas"}))
    page = client.list_products(filter={"category": "umbrellas"}, limit=2)
    assert (len(listed), tuple(listed[:2])) == (page.total, page.products)


def test_the_server_says_what_is_wrong(client: Client) -> None:
    """In the error's fields."""
    with pytest.raises(InvalidRequest) as caught:
        client.search(Query.text("boots"), limit=1_000)
    assert (caught.value.status, caught.value.code, list(caught.value.fields)) == (422, "invalid_input", ["limit"])
    with pytest.raises(InvalidRequest) as caught:
        client.search(Query.photo(b"no picture"))
    assert (caught.value.status, caught.value.code) == (415, "unsupported_format")
    assert caught.value.request_id


def test_the_server_tells_how_it_is(client: Client, shop: Shop) -> None:
    """Its health, what it holds, and its spaces."""
    assert (client.health().status, client.health().database) == ("degraded", "ok")
    stats = client.stats()
    (space,) = client.spaces().spaces
    assert stats.products == client.list_products().total
    assert (stats.answers_from, space.role, space.missing) == (space.key, "fallback", 0)
    with pytest.raises(InvalidRequest):
        client.add_space("../model")
    with pytest.raises(NotFound):
        client.activate_space("none")


def test_a_catalogue_is_kept(connect: Connect, application: Application, tmp_path: Path) -> None:
    """Products and pictures are written, read and deleted; an id may be any text."""
    with serving(application) as server:
        client = connect(server.url)
        for product_id in ("SKU-9", "a/b c?#ö", ".."):
            written = client.put_product(product_id, title="A boot", price=19.9, attributes={"sizes": [41, 42]})
            assert (written.product_id, written.title, written.price) == (product_id, "A boot", 19.9)
            image = client.add_image(product_id, picture("blue"))
            assert client.add_image(product_id, BytesIO(picture("blue"))) == image
            product = client.product(product_id)
            assert (product.images, product.attributes) == ((image,), {"sizes": [41, 42]})
            saved = client.save_picture(image.id, tmp_path / "picture.jpg")
            assert saved.read_bytes() == client.picture(image.id)
            assert client.picture(image.id, thumbnail=True).startswith(b"\xff\xd8")
            client.delete_image(product_id, image.id)
            assert client.product(product_id).images == ()
            client.delete_product(product_id)
            with pytest.raises(NotFound):
                client.product(product_id)
        assert list(client.products()) == []


@dataclass(frozen=True)
class Filling:
    """An empty shop, and the host that its pictures come from."""

    url: str
    host: PictureHost
    application: Application


@pytest.fixture
def filling(settings: Settings) -> Iterator[Filling]:
    """A shop that may fetch from the host."""
    with (
        picture_host() as host,
        open_application(settings.model_copy(update={"allowed_image_hosts": host.name})) as application,
        serving(application) as server,
    ):
        yield Filling(server.url, host, application)


def _ended(client: Client, job: Job) -> Job:
    return client.wait_for_job(job.id, every_s=0.02, timeout_s=60)


def test_products_are_imported_as_a_job(connect: Connect, filling: Filling, tmp_path: Path) -> None:
    """From an iterator or a file; what was wrong with a line is told. Products that break off make no job."""
    client, host = connect(filling.url), filling.host
    host.pictures["/boot.jpg"] = picture("brown")
    rows: list[dict[str, Any]] = [{"product_id": f"SKU-{number}", "title": "A boot"} for number in range(100)]
    rows[3]["images"] = [host.url("/boot.jpg"), host.url("/none.jpg")]
    rows[9]["price"] = "much"
    job = _ended(client, client.start_import(row for row in rows))
    assert (job.done, job.succeeded, job.failed, job.errors_total) == (100, 98, 2, 2)
    assert {(error.line, error.code) for error in job.errors} == {(4, "fetch_failed"), (10, "invalid_input")}
    assert (job.counts["products_created"], job.counts["images_added"]) == (99, 1)
    assert len(client.save_job_errors(job.id, tmp_path / "errors.csv").read_text().splitlines()) == 3
    assert len(client.product("SKU-3").images) == 1

    (tmp_path / "products.csv").write_text("product_id\n" + "\n".join(f"SKU-{number}" for number in range(50)))
    with pytest.raises(JobFailed, match="force"):
        _ended(client, client.start_import(tmp_path / "products.csv", mode="sync"))
    forced = _ended(client, client.start_import(tmp_path / "products.csv", mode="sync", force=True))
    assert forced.counts["products_deleted"] == 50

    def broken() -> Iterator[dict[str, Any]]:
        yield from rows
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        client.start_import(broken(), mode="sync")
    assert [each.status for each in client.jobs()] == ["succeeded", "failed", "succeeded"]


def test_a_job_is_cancelled(filling: Filling) -> None:
    """While it waits for a picture; whoever waits for it is told."""
    host = filling.host
    host.free_requests = 0
    with Client(filling.url) as client:
        job = client.start_import([{"product_id": "SKU-9", "images": [host.url("/boot.jpg")]}])
        assert host.reached.wait(60)
        assert client.cancel_job(job.id).status == "cancelled"
        with pytest.raises(JobFailed, match="cancelled"):
            client.wait_for_job(job.id)
        with pytest.raises(NotFound):
            client.job(str(uuid4()))
    host.opened.set()


def test_pictures_that_failed_are_tried_anew(filling: Filling) -> None:
    """Of one product, or all of them."""
    application = filling.application
    application.indexer.stop()
    with Client(filling.url) as client:
        for number, product_id in enumerate(("a", "b")):
            client.put_product(product_id, title="A boot")
            client.add_image(product_id, picture("blue", spot=number))
        for path in (application.settings.data_dir / "pictures").glob("??/*.jpg"):
            path.unlink()
        with open_application(application.settings) as other:
            other.indexer.run_once()
        failures = [(each.product_id, each.code, each.given_up) for each in client.failures()]
        assert failures == [("a", "picture_missing", False), ("b", "picture_missing", False)]
        assert (client.retry_failures("a").retried, client.retry_failures().retried) == (1, 1)
        assert list(client.failures()) == []


async def _features_async(url: str, photo: bytes) -> tuple[float, ...]:
    async with AsyncClipClient(url) as client:
        return (await client.extract_features(photo)).features


def test_vectors_come_from_the_clip_service() -> None:
    """Of a picture and of words, in one space."""
    with serving_clip() as service, ClipClient(str(service.client.base_url)) as client:
        of_picture = client.extract_features(picture("blue"))
        of_words = client.extract_text_features(["a blue boot", "a hat"])
        of_several = client.extract_features_batch([picture("blue"), b"no picture"]).results
        assert asyncio.run(_features_async(str(service.client.base_url), picture("blue"))) == of_picture.features
    assert sum(value * value for value in of_picture.features) == pytest.approx(1.0, abs=1e-4)
    assert len(of_picture.features) == of_picture.dimensions
    assert [len(result.features or ()) for result in of_words.results] == [of_picture.dimensions] * 2
    assert of_several[0].features == pytest.approx(of_picture.features, abs=1e-5)
    assert (of_several[1].error and of_several[1].error.code, of_several[1].features) == ("unsupported_format", None)
    assert of_words.space == of_picture.space
