"""Both clients against a real server with a real database."""

import asyncio
from io import BytesIO
from pathlib import Path

import pytest

from seesame.application import Application
from seesame.cli.serve import serving
from seesame_client import AsyncClipClient, Client, ClipClient, InvalidRequest, NotFound, Query, Region
from seesame_client.queries import Photo
from tests.client.conftest import Connect
from tests.conftest import Shop, picture
from tests.integration.test_clip_service import serving as serving_clip


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
    """In the order in which they were named."""
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


async def _features_async(url: str, photo: bytes) -> object:
    async with AsyncClipClient(url) as client:
        return await client.extract_features(photo)


def test_vectors_come_from_the_clip_service() -> None:
    """Of a picture and of words, in one space."""
    with serving_clip() as service, ClipClient(str(service.client.base_url)) as client:
        of_picture = client.extract_features(picture("blue"))
        of_words = client.extract_text_features(["a blue boot", "a hat"])
        assert asyncio.run(_features_async(str(service.client.base_url), picture("blue"))) == of_picture
    assert sum(value * value for value in of_picture.features) == pytest.approx(1.0, abs=1e-4)
    assert len(of_picture.features) == of_picture.dimensions == len(of_words.results[1].features)
    assert of_words.space == of_picture.space
