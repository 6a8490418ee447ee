"""The HTTP API over a real socket: what it gives, and what bad input gets."""

import base64
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from psycopg.conninfo import make_conninfo

from seesame import images
from seesame.application import Application
from seesame.catalogue import Catalogue, Source, check_product
from seesame.db.pool import Connection, Database
from seesame.errors import DatabaseUnavailable, InvalidInput, NotFound
from seesame.images import ImageLimits
from seesame.pictures import PictureStore
from seesame.types import Product
from tests.conftest import picture, served

COLOURS = ["red", "green", "blue", "black", "orange"]


@pytest.fixture
def filled(server: httpx2.Client, application: Application) -> httpx2.Client:
    """Five products with a picture each, indexed."""
    for number, colour in enumerate(COLOURS):
        texts = {"title": f"A {colour} thing", "category": "things", "currency": "EUR"}
        body = {**texts, "price": 10.5 + number, "attributes": {"color": colour}}
        assert server.put(f"/v1/products/{colour}", json=body).status_code == 201
        reply = server.post(f"/v1/products/{colour}/images", files={"image": picture(colour)})
        assert reply.status_code == 201, reply.text
    application.indexer.run_once(finish=True)  # beside the server's own indexer
    return server


def _ids(reply: httpx2.Response) -> list[str]:
    assert reply.status_code == 200, reply.text
    return [result["product_id"] for result in reply.json()["results"]]


def _problem(reply: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    assert (reply.status_code, reply.headers["content-type"]) == (status, "application/problem+json"), reply.text
    body: dict[str, Any] = reply.json()
    assert body["code"] == code
    assert body["status"] == status
    assert body["request_id"] == reply.headers["x-request-id"]
    for leak in ("Traceback", "psycopg", "/tmp", "PIL", 'File "'):
        assert leak not in reply.text
    return body


def test_a_photo_finds_its_product_and_the_answer_says_how(filled: httpx2.Client) -> None:
    """Similarity 1 for the same picture, the space, the method, and that the fallback answered."""
    reply = filled.post("/v1/search/image", files={"image": picture("blue")}, data={"limit": "3"})
    assert _ids(reply)[0] == "blue"
    answer = reply.json()
    assert answer["results"][0]["similarity"] == pytest.approx(1.0, abs=0.03)
    assert len(answer["results"]) == 3
    assert (answer["degraded"], answer["degraded_reason"]) == (True, "clip_unavailable")
    assert answer["space"].startswith("efficientnet-lite0@")
    assert answer["search"] == {"method": "exact", "exhausted": False, "scanned": 5}
    assert answer["facets"] == {}
    assert answer["results"][0]["product"]["price"] == 12.5


def test_values_are_counted_on_request(filled: httpx2.Client) -> None:
    """However the search is asked; a filter on the field itself leaves its other values to choose."""
    sent = {"filter": '{"attributes.color": ["red", "blue"]}', "facets": "attributes.color, category"}
    photo = filled.post("/v1/search/image", files={"image": picture("blue")}, data=sent)
    assert sorted(_ids(photo)) == ["blue", "red"]
    colours = [{"value": colour, "count": 1} for colour in sorted(COLOURS)]
    assert photo.json()["facets"]["attributes.color"] == colours
    body = {
        "queries": [{"product_id": "red"}],
        "filter": {"attributes.color": "blue"},
        "facets": ["attributes.color", "currency"],
    }
    answer = filled.post("/v1/search", json=body).json()
    assert answer["facets"]["attributes.color"] == colours
    similar = filled.get("/v1/products/red/similar", params={"facets": "attributes.color"}).json()
    assert similar["facets"] == {"attributes.color": colours}
    words = filled.post("/v1/search", json={"queries": [{"text": "thing"}], "facets": ["attributes.color"]}).json()
    assert words["facets"] == {"attributes.color": colours}
    for wrong in ("title", "price", "attributes." + "x" * 201, ",".join(["brand"] * 11)):
        assert filled.get("/v1/products/red/similar", params={"facets": wrong}).status_code == 422


def test_a_search_takes_a_picture_words_or_a_product(filled: httpx2.Client) -> None:
    """The subjects of POST /v1/search, with a filter and an offset."""
    encoded = base64.b64encode(picture("green")).decode()
    image = {"image": {"base64": encoded}}
    assert _ids(filled.post("/v1/search", json={"queries": [image]}))[0] == "green"
    assert _ids(filled.post("/v1/search", json={"queries": [{"text": "orange thing"}]}))[0] == "orange"
    similar = filled.post("/v1/search", json={"queries": [{"product_id": "red"}], "limit": 200})
    assert sorted(_ids(similar)) == sorted(set(COLOURS) - {"red"})
    assert similar.json()["search"]["exhausted"] is True
    stored = filled.get("/v1/products/black").json()["images"][0]["id"]
    by_id = filled.post("/v1/search", json={"queries": [{"image": {"id": stored}}]})
    assert _ids(by_id)[0] == "black"
    narrow = {"attributes.color": ["red", "blue"], "price": {"lt": 12}}
    assert _ids(filled.post("/v1/search", json={"queries": [image], "filter": narrow})) == ["red"]
    all_five = _ids(filled.post("/v1/search", json={"queries": [image]}))
    assert _ids(filled.post("/v1/search", json={"queries": [image], "limit": 2, "offset": 2})) == all_five[2:4]


def test_more_like_a_product_takes_a_filter(filled: httpx2.Client) -> None:
    """GET similar never gives the product itself."""
    reply = filled.get("/v1/products/red/similar", params={"limit": 2, "filter": '{"price": {"gte": 13}}'})
    assert set(_ids(reply)) == {"black", "orange"}
    _problem(filled.get("/v1/products/none/similar"), 404, "not_found")


def test_products_are_written_read_listed_and_deleted(filled: httpx2.Client) -> None:
    """The life of a product, whose id may hold a slash."""
    assert filled.put("/v1/products/a/b", json={"title": "one"}).status_code == 201
    assert filled.put("/v1/products/a/b", json={"title": "two"}).status_code == 200
    assert filled.get("/v1/products/a/b").json()["title"] == "two"
    listed = filled.get("/v1/products", params={"limit": 2}).json()
    assert (len(listed["products"]), listed["total"]) == (2, 6)
    some = filled.get("/v1/products", params={"filter": '{"category": "things"}'}).json()
    assert some["total"] == 5
    assert filled.delete("/v1/products/a/b").status_code == 204
    _problem(filled.get("/v1/products/a/b"), 404, "not_found")
    _problem(filled.delete("/v1/products/a/b"), 404, "not_found")
    image = filled.get("/v1/products/red").json()["images"][0]["id"]
    assert filled.delete(f"/v1/products/red/images/{image}").status_code == 204
    assert filled.get(f"/v1/images/{image}").status_code == 404


def test_the_page_health_and_stats_are_there(filled: httpx2.Client) -> None:
    """What operators and browsers ask for."""
    page = filled.get("/")
    assert page.status_code == 200
    assert "text/html" in page.headers["content-type"]
    policy = page.headers["content-security-policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "base-uri 'none'"} <= set(policy)
    assert page.headers["referrer-policy"] == "no-referrer"
    assert page.headers["cross-origin-opener-policy"] == "same-origin"
    assert "geolocation=()" in page.headers["permissions-policy"]
    assert filled.get("/health/live").json() == {"status": "ok"}
    assert filled.get("/health/ready").status_code == 200
    assert filled.get("/health").json()["status"] == "degraded"
    stats = filled.get("/v1/stats").json()
    assert (stats["products"], stats["images"]) == (5, 5)
    assert stats["categories"] == [{"name": "things", "count": 5}]
    assert filled.get("/openapi.json").json()["info"]["title"] == "Seesame"


@pytest.mark.parametrize(
    "fields",
    [
        {"limit": "-1"},
        {"limit": "0"},
        {"limit": "1000000000"},
        {"limit": "1.5"},
        {"limit": "x"},
        {"limit": "NaN"},
        {"limit": "Infinity"},
        {"limit": "²"},
        {"limit": "9" * 10_000},
        {"offset": "-1"},
        {"offset": "1000000000000"},
        {"filter": "{"},
        {"filter": "[]"},
        {"filter": "[" * 50_000},
        {"filter": '{"price": {"lte": NaN}}'},
        {"filter": '{"category": "\\u0000"}'},
        {"filter": '{"category": "\\ud800"}'},
        {"filter": '{"nothing": 1}'},
        {"filter": json.dumps({f"attributes.a{i}": "x" for i in range(10_000)})},
    ],
    ids=lambda fields: str(fields)[:40],
)
def test_bad_parameters_are_422_in_every_way_in(shared_server: httpx2.Client, fields: dict[str, str]) -> None:
    """In form fields of a search by photo, in the URL of a list, and of a search for the similar."""
    reply = shared_server.post("/v1/search/image", files={"image": picture()}, data=fields)
    _problem(reply, 422, "invalid_input")
    if len(next(iter(fields.values()))) < 5_000:  # longer lines are refused by the HTTP parser
        _problem(shared_server.get("/v1/products", params=fields), 422, "invalid_input")
        _problem(shared_server.get("/v1/products/x/similar", params=fields), 422, "invalid_input")


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        '{"queries": []}',
        '{"queries": [{}]}',
        '{"queries": [{"text": "a", "product_id": "b"}]}',
        '{"queries": [{"text": ""}]}',
        '{"queries": [{"text": "   "}]}',
        '{"queries": [{"text": "\\u0000"}]}',
        '{"queries": [{"text": "\\ud800"}]}',
        '{"queries": [{"text": "' + "x" * 1_000_000 + '"}]}',
        '{"queries": [{"text": "a"}], "limit": NaN}',
        '{"queries": [{"text": "a"}], "limit": 1.5}',
        '{"queries": [{"text": "a"}], "limit": 0}',
        '{"queries": [{"text": "a"}], "offset": 1e12}',
        '{"queries": [{"text": "a"}], "filter": {"price": {"lte": Infinity}}}',
        '{"queries": [{"text": "a"}], "colour": "red"}',
        '{"queries": [{"image": {"base64": "%%%"}}]}',
        '{"queries": [{"image": {"id": "not-a-uuid"}}]}',
        '{"queries": [{"image": {}}]}',
    ],
    ids=lambda body: body[:50],
)
def test_bad_bodies_of_a_search_are_422(shared_server: httpx2.Client, body: str) -> None:
    """Wrong subjects, wrong numbers, strings that cannot be stored; never a 500 for echoing NaN."""
    reply = shared_server.post("/v1/search", content=body, headers={"Content-Type": "application/json"})
    _problem(reply, 422, "invalid_input")


@pytest.mark.parametrize(
    "body",
    [
        '{"title": "\\u0000"}',
        '{"title": 5}',
        '{"price": -1}',
        '{"price": NaN}',
        '{"price": "1e999999999"}',
        '{"currency": "euro"}',
        '{"attributes": {"a": NaN}}',
        '{"attributes": {"a\\u0000": 1}}',
        '{"attributes": {"a": {"b": {"c": {"d": {"e": {"f": 1}}}}}}}',
        '{"titel": "typo"}',
    ],
)
def test_bad_products_are_422(shared_server: httpx2.Client, body: str) -> None:
    """What cannot be stored is refused by field."""
    reply = shared_server.put("/v1/products/bad", content=body, headers={"Content-Type": "application/json"})
    assert _problem(reply, 422, "invalid_input")["errors"]
    assert shared_server.get("/v1/products/bad").status_code == 404


@pytest.mark.parametrize(
    "path",
    [
        "/static/..%2f..%2fapp.py",
        "/static/%2e%2e/%2e%2e/errors.py",
    ],
)
def test_no_path_leads_out_of_the_static_files(shared_server: httpx2.Client, path: str) -> None:
    """However it is written."""
    assert shared_server.get(path).status_code == 404


def test_bodies_are_counted_as_they_arrive(shared_server: httpx2.Client) -> None:
    """A body without an honest length is cut at the limit; an encoded one is refused before it is inflated."""
    block = b"\0" * 1_000_000
    endless = shared_server.post(
        "/v1/search", content=(block for _ in range(100)), headers={"Content-Type": "application/json"}
    )
    _problem(endless, 413, "request_too_large")
    _problem(
        shared_server.post(
            "/v1/search/image",
            content=(block for _ in range(100)),
            headers={"Content-Type": "multipart/form-data; boundary=x"},
        ),
        400,
        "bad_request",
    )
    claimed = {"Content-Length": "99999999999", "Content-Type": "application/json"}
    host, port = shared_server.base_url.host, shared_server.base_url.port
    with socket.create_connection((host, port or 80), timeout=10) as connection:
        head = "".join(f"{name}: {value}\r\n" for name, value in claimed.items())
        connection.sendall(f"POST /v1/search HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    gzipped = shared_server.post("/v1/search", content=b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    _problem(gzipped, 415, "unsupported_encoding")


@pytest.mark.parametrize("key", ["\\ud800", "attributes.\\ud800"])
def test_half_a_surrogate_pair_in_a_name_is_told_as_such(shared_server: httpx2.Client, key: str) -> None:
    """The reply names the field without breaking on it."""
    written = f'{{"{key}": 1}}'
    _problem(shared_server.get("/v1/products", params={"filter": written}), 422, "invalid_input")
    body = f'{{"queries": [{{"text": "a"}}], "filter": {written}}}'
    headers = {"Content-Type": "application/json"}
    _problem(shared_server.post("/v1/search", content=body, headers=headers), 422, "invalid_input")


def test_an_id_with_a_line_break_is_no_other_product(filled: httpx2.Client) -> None:
    """Nor can one be made, nor an id that reads as another path of the API."""
    for method in ("GET", "PUT", "DELETE"):
        assert filled.request(method, "/v1/products/red%0A", json={}).status_code == 404
    assert filled.get("/v1/products/red").json()["title"] == "A red thing"
    for name in ("a%09b", "a%7F"):
        _problem(filled.put(f"/v1/products/{name}", json={}), 422, "invalid_input")
    image = "6f1b7f0e-6a0e-5c39-9d0b-5ee5a3e00001"
    for name, allowed in (("a/similar", "GET"), ("a/images", "POST"), (f"a/images/{image}", "DELETE")):
        reply = filled.put(f"/v1/products/{name}", json={})
        _problem(reply, 405, "method_not_allowed")
        assert reply.headers["allow"] == allowed
        with pytest.raises(InvalidInput, match="paths of the API"):
            check_product(Product(name))
    assert filled.patch("/v1/products/red").headers["allow"] == "DELETE, GET, PUT"
    assert filled.post("/static/main.js").headers["allow"] == "GET"


class _Broken:
    def warm(self) -> None:
        pass

    def by_text(self, *_: object) -> None:
        raise RuntimeError("secret detail")


def test_only_so_many_models_are_asked_for(server: httpx2.Client) -> None:
    """Each may be a download of gigabytes. One that is on its way may be asked for again."""
    names = [f"owner/name{number}" for number in range(9)]
    statuses = [server.post("/v1/spaces", json={"model": name}).status_code for name in names]
    assert statuses[:2] == [202, 202]
    assert statuses[-1] == 409
    assert server.post("/v1/spaces", json={"model": names[0]}).status_code == 202


def test_a_fault_of_ours_is_a_problem_too(application: Application, caplog: pytest.LogCaptureFixture) -> None:
    """500 with an id and no detail; the log has it, once."""
    with served(replace(application, search=_Broken())) as client:  # type: ignore[arg-type]
        body = _problem(client.post("/v1/search", json={"queries": [{"text": "x"}]}), 500, "internal_error")
    assert "secret" not in json.dumps(body)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == ["Unexpected error"]


def test_a_picture_of_a_product_that_is_gone_leaves_no_file(application: Application) -> None:
    """Where the product is deleted while its picture is on the way in."""
    application.catalogue.put(Product("a"))
    image = application.catalogue.store("a", 0, Source("upload", picture()))
    application.catalogue.delete("a")
    with pytest.raises(NotFound):
        application.catalogue.publish([image])
    assert not [p for p in (application.settings.data_dir / "pictures").rglob("*") if p.is_file()]


class _Mute(Database):
    """A database whose word that it has committed gets lost."""

    @contextmanager
    def transaction(self, *, timeout_s: float = 10) -> Iterator[Connection]:
        with super().transaction(timeout_s=timeout_s) as connection:
            yield connection
        raise DatabaseUnavailable("The connection broke.")


def test_a_picture_stays_when_nobody_knows_whether_its_row_does(application: Application) -> None:
    """After a lost acknowledgement the row may be there, and it needs its file."""
    pictures = PictureStore(application.settings.data_dir / "pictures")
    application.catalogue.put(Product("a"))
    image = application.catalogue.store("a", 0, Source("upload", picture()))
    mute = _Mute(application.database.dsn)
    mute.open()
    with pytest.raises(DatabaseUnavailable):
        Catalogue(mute, pictures, limits=ImageLimits(), decoder=images).publish([image])
    mute.close()
    assert application.catalogue.picture(image.image_id)


def test_a_database_that_takes_no_changes_now_is_one_that_cannot_be_reached(application: Application) -> None:
    """As during a failover, or where a host guards a disk that is nearly full: 503, to be tried again."""
    pictures = PictureStore(application.settings.data_dir / "pictures")
    database = Database(make_conninfo(application.database.dsn, options="-c default_transaction_read_only=on"))
    database.open()
    with pytest.raises(DatabaseUnavailable, match="no changes"):
        Catalogue(database, pictures, limits=ImageLimits(), decoder=images).put(Product("a"))
    database.close()


def test_the_same_picture_at_once_is_one_file(application: Application) -> None:
    """Eight uploads of the same bytes: one image, one file, and it can be read."""
    application.catalogue.put(Product("a"))
    with ThreadPoolExecutor(8) as pool:
        ids = {i.image_id for i in pool.map(lambda _: application.catalogue.add_image("a", picture()), range(8))}
    assert len(ids) == 1
    assert application.catalogue.picture(ids.pop())
    assert len([p for p in (application.settings.data_dir / "pictures").rglob("*") if p.is_file()]) == 1


def test_imports_in_opposite_order_do_not_block_each_other(application: Application) -> None:
    """Two that publish the same images, one forwards, one backwards."""
    products = [f"p{i:02}" for i in range(40)]
    application.catalogue.put_many([Product(p) for p in products])
    images = [application.catalogue.store(p, 0, Source(f"{p}.jpg", picture())) for p in products]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(5):
            list(pool.map(application.catalogue.publish, [images, images[::-1]]))
    assert application.catalogue.totals() == (40, 40)


def test_bad_forms_are_refused(shared_server: httpx2.Client) -> None:
    """No part, two parts, a text where the file should be, too many fields."""
    _problem(shared_server.post("/v1/search/image", data={"limit": "3"}), 422, "invalid_input")
    two = [("image", picture()), ("image", picture())]
    _problem(shared_server.post("/v1/search/image", files=two), 422, "invalid_input")
    typo = shared_server.post("/v1/search/image", files={"image": picture()}, data={"limt": "1"})
    _problem(typo, 422, "invalid_input")
    _problem(shared_server.post("/v1/search/image", files={"image": (None, "text")}), 422, "invalid_input")
    many = {f"f{i}": "x" for i in range(1_001)}
    _problem(shared_server.post("/v1/search/image", files={"image": picture()}, data=many), 400, "bad_request")
