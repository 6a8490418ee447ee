"""Searches over HTTP: regions, several subjects together, words and likeness fused, pages, explanations."""

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from seesame.application import Application, open_application
from seesame.db.pool import Database
from seesame.queries import LikeProduct, Part, Query, Words
from seesame.settings import Settings
from seesame.types import Product
from tests.catalogue_rows import add_images, unit
from tests.conftest import picture, served, shop_settings

COLOURS = ["red", "green", "blue", "black", "orange", "purple", "white", "yellow"]


def _fill(server: httpx2.Client, application: Application) -> None:
    for number, colour in enumerate(COLOURS):
        body = {"title": f"A {colour} thing", "price": number, "attributes": {"warm": colour in ("red", "orange")}}
        assert server.put(f"/v1/products/{colour}", json=body).status_code == 201
        reply = server.post(f"/v1/products/{colour}/images", files={"image": picture(colour, (200, 200))})
        assert reply.status_code == 201, reply.text
    application.indexer.run_once(finish=True)


@pytest.fixture
def shop(settings: Settings, image_host: str) -> Iterator[httpx2.Client]:
    """Products of one colour each, indexed; pictures of one more host may be fetched."""
    changed = settings.model_copy(update={"allowed_image_hosts": image_host})
    with open_application(changed) as application, served(application) as server:
        _fill(server, application)
        yield server


def _half_and_half(left: str, right: str, *, orientation: int = 1) -> bytes:
    image = Image.new("RGB", (400, 200))
    for place, colour in enumerate((left, right)):
        with Image.open(BytesIO(picture(colour, (200, 200)))) as half:
            image.paste(half, (200 * place, 0))
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = BytesIO()
    image.save(out, "JPEG", quality=95, exif=exif)
    return out.getvalue()


def _ask(server: httpx2.Client, *queries: dict[str, Any], **others: Any) -> dict[str, Any]:
    reply = server.post("/v1/search", json={"queries": queries, **others})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def _regions(server: httpx2.Client, photo: dict[str, Any], **others: Any) -> dict[str, Any]:
    reply = server.post("/v1/search/regions", json=photo | others)
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def _counted_s(server: httpx2.Client) -> dict[str, float]:
    """The seconds of all searches so far, by what took them."""
    families = text_string_to_metric_families(server.get("/metrics").text)
    samples = (sample for family in families for sample in family.samples)
    return {s.labels["stage"]: s.value for s in samples if s.name == "seesame_search_seconds_sum"}


def _ids(answer: dict[str, Any]) -> list[str]:
    return [result["product_id"] for result in answer["results"]]


def _photo(data: bytes) -> dict[str, Any]:
    return {"image": {"base64": base64.b64encode(data).decode()}}


LEFT = {"x": 0.0, "y": 0.0, "width": 0.5, "height": 1.0}
RIGHT = {"x": 0.5, "y": 0.0, "width": 0.5, "height": 1.0}


def test_a_region_is_searched_alone(shop: httpx2.Client) -> None:
    """By upload and in JSON, and again by the id that the first answer gave."""
    photo = _half_and_half("red", "blue")
    sent = {"region": '{"x": 0.5, "y": 0, "width": 0.5, "height": 1}', "limit": "1"}
    first = shop.post("/v1/search/image", files={"image": photo}, data=sent).json()
    assert _ids(first) == ["blue"]
    assert first["image_id"].startswith("q_")
    again = _ask(shop, {"image": {"id": first["image_id"]}}, region=LEFT, limit=1)
    assert _ids(again) == ["red"]
    assert again["image_id"] == first["image_id"]
    assert _ids(_ask(shop, _photo(photo) | {"region": RIGHT}, limit=1)) == ["blue"]
    of_catalogue = shop.get("/v1/products/green").json()["images"][0]["id"]
    assert _ids(_ask(shop, {"image": {"id": of_catalogue}}, region=LEFT, limit=1)) == ["green"]


def test_regions_are_of_the_picture_as_it_is_shown(shop: httpx2.Client) -> None:
    """A camera that was held upside down swaps the halves."""
    photo = _half_and_half("red", "blue", orientation=3)
    assert _ids(_ask(shop, _photo(photo), region=LEFT, limit=1)) == ["blue"]


def test_several_regions_are_answered_in_one_request(shop: httpx2.Client) -> None:
    """Each for itself, under the same filter."""
    body = {"image": _photo(_half_and_half("red", "blue"))["image"], "regions": [LEFT, RIGHT], "limit": 1}
    answer = shop.post("/v1/search/regions", json=body).json()
    assert [_ids(region) for region in answer["regions"]] == [["red"], ["blue"]]
    assert answer["regions"][1]["region"] == RIGHT
    cold = shop.post("/v1/search/regions", json=body | {"filter": {"attributes.warm": False}}).json()
    assert "red" not in _ids(cold["regions"][0])
    by_id = {"image": {"id": answer["image_id"]}, "regions": [RIGHT], "limit": 1}
    assert _ids(shop.post("/v1/search/regions", json=by_id).json()["regions"][0]) == ["blue"]


def _collage(*things: tuple[str, tuple[int, int]]) -> bytes:
    photo = Image.new("RGB", (600, 400), "gray")
    for colour, place in things:
        with Image.open(BytesIO(picture(colour, (160, 160)))) as thing:
            photo.paste(thing, place)
    out = BytesIO()
    photo.save(out, "JPEG", quality=95)
    return out.getvalue()


def test_regions_that_stand_out_are_found_without_asking(shop: httpx2.Client) -> None:
    """Each of three things on a ground is a region with what looks like it; each can be searched again by itself."""
    places = {"blue": (30, 30), "yellow": (400, 40), "red": (220, 210)}
    answer = _regions(shop, _photo(_collage(*places.items())), limit=1)
    found = {_ids(region)[0]: region["region"] for region in answer["regions"]}
    assert len(answer["regions"]) == len(found)
    assert found == {
        colour: pytest.approx({"x": x / 600, "y": y / 400, "width": 160 / 600, "height": 160 / 400}, abs=0.03)
        for colour, (x, y) in places.items()
    }
    again = _ask(shop, {"image": {"id": answer["image_id"]}}, region=found["red"], limit=1)
    assert again["results"] == next(r["results"] for r in answer["regions"] if r["region"] == found["red"])


def test_a_photo_where_nothing_stands_out_is_one_region(shop: httpx2.Client) -> None:
    """The whole photo, with what a search by it finds; a null says the same as to leave the regions out."""
    photo = _photo(picture("green", (200, 200)))
    (whole,) = _regions(shop, photo, regions=None)["regions"]
    assert whole["region"] == {"x": 0, "y": 0, "width": 1, "height": 1}
    assert whole["results"] == _ask(shop, photo, limit=5)["results"]


def test_regions_that_stand_out_are_of_the_photo_as_it_is_shown(shop: httpx2.Client) -> None:
    """What a camera that was held upside down sees at the left is at the right."""
    with Image.open(BytesIO(_collage(("blue", (30, 30))))) as image:
        exif, out = Image.Exif(), BytesIO()
        exif[0x0112] = 3
        image.save(out, "JPEG", quality=95, exif=exif)
    (region,) = _regions(shop, _photo(out.getvalue()), limit=1)["regions"]
    assert _ids(region) == ["blue"]
    assert region["region"]["x"] == pytest.approx(1 - 190 / 600, abs=0.03)


def test_regions_that_cannot_be_searched_are_refused(shop: httpx2.Client) -> None:
    """With the code that any other search gives."""
    bad: list[tuple[bytes, list[dict[str, float]] | None, int, str]] = [
        (picture(), [], 422, "invalid_input"),
        (picture(), [LEFT] * 6, 422, "invalid_input"),
        (picture(), [LEFT | {"x": 0.6}], 422, "invalid_input"),
        (picture()[:500], None, 422, "image_undecodable"),
        (b"", None, 422, "image_undecodable"),
        (b"%PDF-1.7", None, 415, "unsupported_format"),
    ]
    for image, regions, status, code in bad:
        reply = shop.post("/v1/search/regions", json=_photo(image) | {"regions": regions})
        assert (reply.status_code, reply.json()["code"]) == (status, code), reply.text


def test_the_time_of_a_search_for_regions_is_counted_once(shop: httpx2.Client) -> None:
    """All regions together took no longer than the answer, whose time they share."""
    answer = _regions(shop, _photo(_collage(("blue", (30, 30)), ("yellow", (400, 40)), ("red", (220, 210)))))
    assert len(answer["regions"]) == 3
    counted_s = _counted_s(shop)
    assert 0 < counted_s["embedding"] < counted_s["total"]
    assert counted_s["total"] <= answer["took_ms"] / 1000 + 0.0001  # that is rounded to a tenth of a millisecond


def test_a_photo_is_forgotten_on_request(shop: httpx2.Client) -> None:
    """And asking for it then says to send it again."""
    kept = _ask(shop, _photo(picture("red")))["image_id"]
    assert shop.delete(f"/v1/search/images/{kept}").status_code == 204
    assert shop.delete(f"/v1/search/images/{kept}").status_code == 204
    reply = shop.post("/v1/search", json={"queries": [{"image": {"id": kept}}]})
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert shop.delete("/v1/search/images/q_x").status_code == 422


def test_a_photo_may_come_from_a_url(shop: httpx2.Client, image_host: str) -> None:
    """If its host may be asked, and has it."""
    assert _ids(_ask(shop, {"image": {"url": f"http://{image_host}/blue.jpg"}}, limit=1)) == ["blue"]
    for url, status, code in [
        (f"http://{image_host}/none.jpg", 422, "fetch_failed"),
        ("http://127.0.0.1/blue.jpg", 400, "url_not_allowed"),
        ("file:///etc/passwd", 400, "url_not_allowed"),
        ("", 400, "url_not_allowed"),
    ]:
        reply = shop.post("/v1/search", json={"queries": [{"image": {"url": url}}]})
        assert (reply.status_code, reply.json()["code"]) == (status, code), url


def test_several_subjects_are_added_and_taken_away(shop: httpx2.Client) -> None:
    """What is between two, and what is like one but unlike the other."""
    red, blue = _photo(picture("red")), _photo(picture("blue"))
    both = _ask(shop, red, blue, limit=2)
    assert sorted(_ids(both)) == ["blue", "red"]
    assert _ids(_ask(shop, red | {"weight": 3}, blue, limit=1)) == ["red"]
    alone = {hit["product_id"]: hit["similarity"] for hit in _ask(shop, red)["results"]}
    without = {hit["product_id"]: hit["similarity"] for hit in _ask(shop, red, blue | {"weight": -0.5})["results"]}
    assert without["blue"] < alone["blue"] - 0.2
    assert "red" not in _ids(_ask(shop, {"product_id": "red"}, blue))


@pytest.mark.parametrize(
    "body",
    [
        {"queries": []},
        {"queries": [{"text": "a"}] * 9},
        {"queries": [{"text": "a", "weight": 0}]},
        {"queries": [{"text": "a", "weight": -1}]},
        {"queries": [{"text": "a", "region": LEFT}]},
        {"queries": [{"text": "a", "product_id": "red"}]},
        {"queries": [{"image": {"id": "q_short"}}]},
        {"queries": [{"image": {"id": "red", "url": "http://a/"}}]},
        {"queries": [{"product_id": "red"}], "region": LEFT | {"width": 0}},
        {"queries": [_photo(picture())], "region": LEFT | {"x": 0.6}},
        {"queries": [{"text": "a"}], "min_similarity": 1.5},
        {"queries": [{"text": "a"}], "cursor": "nonsense"},
        {"queries": [{"product_id": "red"}], "limit": 1, "offset": 1, "cursor": "WzEsImEiXQ"},
        {"queries": [_photo(picture("red")), _photo(picture("red")) | {"weight": -1}]},
    ],
)
def test_what_cannot_be_searched_for_is_422(shop: httpx2.Client, body: dict[str, Any]) -> None:
    """With the field that is wrong."""
    reply = shop.post("/v1/search", json=body)
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input"), reply.text
    assert reply.json()["errors"]


def test_pages_by_cursor_show_each_product_once(shop: httpx2.Client) -> None:
    """Also when a product that is nearer comes between two pages."""
    red = _photo(picture("red"))
    all_of_them = _ids(_ask(shop, red))
    first = _ask(shop, red, limit=3)
    assert shop.put("/v1/products/new", json={"title": "new"}).status_code == 201
    assert shop.post("/v1/products/new/images", files={"image": picture("red", spot=1)}).status_code == 201
    seen, answer = _ids(first), first
    while answer["next"]:
        answer = _ask(shop, red, limit=3, cursor=answer["next"])
        seen += _ids(answer)
    assert [product_id for product_id in seen if product_id != "new"] == all_of_them
    assert answer["search"]["exhausted"] is True
    similar = shop.get("/v1/products/red/similar", params={"limit": 5}).json()
    rest = shop.get("/v1/products/red/similar", params={"cursor": similar["next"], "limit": 50}).json()
    assert not set(_ids(similar)) & set(_ids(rest))
    assert {*_ids(similar), *_ids(rest)} >= set(COLOURS) - {"red"}


def test_what_is_not_similar_enough_is_left_out(shop: httpx2.Client) -> None:
    """And then nothing follows."""
    answer = _ask(shop, _photo(picture("red")), min_similarity=0.95, limit=3)
    assert _ids(answer) == ["red"]
    assert answer["search"]["exhausted"] is True
    assert answer["next"] is None


def test_words_and_a_photo_are_fused(shop: httpx2.Client) -> None:
    """The product that the words name comes up although it looks otherwise, and the answer can say why."""
    photo = _photo(picture("red"))
    answer = _ask(shop, photo, {"text": "blue"}, explain=True)
    assert answer["search"]["method"] == "hybrid"
    assert answer["degraded_reason"] in ("clip_unavailable", "no_text_model")
    assert _ids(answer)[0] == "blue"  # in both rankings
    first = answer["results"][0]
    assert first["explain"]["rank"] == 1
    assert first["explain"]["words_rank"] == 1
    assert first["explain"]["vector_rank"] > 1
    assert first["explain"]["vector_share"] + first["explain"]["words_share"] == pytest.approx(1)
    assert 0 < first["explain"]["vector_share"] < first["explain"]["words_share"]
    assert first["similarity"] < answer["results"][1]["similarity"]
    assert _ids(_ask(shop, photo, {"text": "blue"}, hybrid=False))[0] == "red"
    uploaded = shop.post("/v1/search/image", files={"image": picture("red")}, data={"text": "blue"}).json()
    assert _ids(uploaded) == _ids(answer)
    assert _ids(_ask(shop, photo, {"text": "nothing of this"})) == _ids(_ask(shop, photo))


def test_words_that_match_very_many_equally_leave_the_order_to_likeness(application: Application) -> None:
    """Also where more texts match than are ranked: those that were left out by chance are not put behind."""
    space = application.spaces.primary()
    vectors = unit(np.random.default_rng(5).normal(size=(260, space.dimensions)))
    shirts = [Product(f"p{number:03}", title="A shirt") for number in range(259)]
    with application.database.transaction() as connection:
        add_images(connection, space, vectors, products=[*shirts, Product("p000-more", title="A hat")])
    parts = [Part(LikeProduct("p000-more")), Part(Words("shirt"))]
    alike, fused = (application.search.find(parts, Query(hybrid=hybrid)).page for hybrid in (False, True))
    assert fused.method == "hybrid"
    assert [hit.product.product_id for hit in fused.hits] == [hit.product.product_id for hit in alike.hits]


def test_words_alone_show_their_products_pictures(shop: httpx2.Client) -> None:
    """Without a model that reads, the texts are searched, and a card still has its picture."""
    answer = _ask(shop, {"text": "orange thing"}, explain=True)
    assert answer["search"]["method"] == "fulltext"
    assert answer["results"][0]["product_id"] == "orange"
    assert answer["results"][0]["image"]["id"] == shop.get("/v1/products/orange").json()["images"][0]["id"]
    assert answer["results"][0]["explain"]["words_share"] == 1


def test_an_explanation_tells_what_the_filter_did(shop: httpx2.Client) -> None:
    """The place without it, beside the place with it."""
    cold = {"attributes.warm": False}
    results = _ask(shop, _photo(picture("orange")), filter=cold, explain=True)["results"]
    unfiltered = _ids(_ask(shop, _photo(picture("orange"))))
    for place, result in enumerate(results, 1):
        assert result["explain"]["rank"] == result["explain"]["vector_rank"] == place
        assert result["explain"]["unfiltered_rank"] == unfiltered.index(result["product_id"]) + 1
    assert results[0]["explain"]["unfiltered_rank"] > 1


def test_all_of_it_works_without_pgvector(plain: Database, tmp_path: Path, cache_dir: Path) -> None:
    """On vectors that are compared in the process."""
    with (
        open_application(shop_settings(plain.dsn, tmp_path, cache_dir)) as application,
        served(application) as server,
    ):
        _fill(server, application)
        test_several_subjects_are_added_and_taken_away(server)
        test_words_and_a_photo_are_fused(server)
        test_an_explanation_tells_what_the_filter_did(server)
        test_pages_by_cursor_show_each_product_once(server)
