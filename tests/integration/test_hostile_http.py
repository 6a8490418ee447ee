"""Requests of strangers to the shop: forms that are none, bodies that are too deep, names that are traps."""

import base64
import json
from itertools import count
from typing import Any

import httpx2
import pytest

from tests.conftest import picture
from tests.hostile import NO_FORMS

_FORMS = ("/v1/search/image", "/v1/products/a/images")
_TABLE = ("a.csv", b"product_id", "text/csv")
_JSON = {"Content-Type": "application/json"}
_SECRETS = ("Traceback", "Error(", "Exception", ".py", "127.0.0.1", "multipart.", "psycopg", "pydantic", "/tmp")


@pytest.fixture(scope="module", autouse=True)
def _product(shared_server: httpx2.Client) -> None:
    shared_server.put("/v1/products/a", json={}).raise_for_status()


def _refused(reply: httpx2.Response, *statuses: int) -> None:
    assert reply.status_code in statuses, (reply.status_code, reply.text)
    assert reply.headers["content-type"] == "application/problem+json"
    assert not any(secret in reply.text for secret in _SECRETS)


def _form(filename: bytes, data: bytes) -> bytes:
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="' + filename + b'"\r\n\r\n'
    return head + data + b"\r\n--b--\r\n"


@pytest.mark.parametrize(
    ("path", "good"), [*((path, {"image": picture()}) for path in _FORMS), ("/v1/imports", {"file": _TABLE})]
)
@pytest.mark.parametrize(("kind", "body"), NO_FORMS, ids=count())
def test_what_is_no_form_is_refused(
    shared_server: httpx2.Client, path: str, good: dict[str, Any], kind: str, body: bytes
) -> None:
    """No boundary, no end, headers without number: and a good form succeeds at once afterwards."""
    body = body.replace(b'name="image"', b'name="%s"' % next(iter(good)).encode())
    _refused(shared_server.post(path, content=body, headers=[(b"Content-Type", kind.encode("latin-1"))]), 400)
    assert shared_server.post(path, files=good).is_success


@pytest.mark.parametrize("path", _FORMS)
@pytest.mark.parametrize("kind", [None, "application/json", "image/jpeg", "multipart/mixed; boundary=b", "x" * 5_000])
def test_a_picture_without_a_form_is_refused(shared_server: httpx2.Client, path: str, kind: str | None) -> None:
    """Whatever it says that it is."""
    headers = {"Content-Type": kind} if kind else {}
    _refused(shared_server.post(path, content=picture(), headers=headers), 415, 422)


@pytest.mark.parametrize("path", _FORMS)
@pytest.mark.parametrize(
    "filename", [b"../../x", b"n" * 3_000, "\u202egpj.exe".encode(), b'\\"', b"c:\\\\x", b"x\x00.jpg", b"\xff\xfe"]
)
def test_names_of_files_are_not_used(shared_server: httpx2.Client, path: str, filename: bytes) -> None:
    """A picture is known by its content; a NUL may be refused."""
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    reply = shared_server.post(path, content=_form(filename, picture()), headers=headers)
    assert reply.is_success or (b"\x00" in filename and reply.status_code == 400), reply.text
    assert "gpj.exe" not in reply.text


@pytest.mark.parametrize("kind", ["text/plain", "application/x-php", "image/png", ""])
def test_the_type_of_a_part_is_not_believed(shared_server: httpx2.Client, kind: str) -> None:
    """A JPEG is one whatever it is called."""
    for path in _FORMS:
        assert shared_server.post(path, files={"image": ("x", picture(), kind)}).is_success


DEEP = {
    "lists": "[" * 100_000,
    "closed lists": "[" * 100_000 + "]" * 100_000,
    "objects": '{"a":' * 100_000,
    "in a field": '{"attributes": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
    "in a filter": '{"queries": [{"text": "a"}], "filter": ' + '{"a":' * 100_000 + "1" + "}" * 100_001,
    "long number": '{"price": ' + "9" * 1_000_000 + "}",
    "many keys": json.dumps({f"k{number}": 1 for number in range(1_000_000)}),
    "many values": '{"attributes": {"a": [' + "1," * 1_000_000 + "1]}}",
    "not JSON": '{"title": ',
    "not text": '{"title": "\udcff"}',
    "number": "1",
    "nothing": "",
}


@pytest.mark.parametrize("path", ["PUT /v1/products/deep", "POST /v1/search", "POST /v1/spaces"])
@pytest.mark.parametrize("name", DEEP)
def test_json_without_measure_is_refused(shared_server: httpx2.Client, path: str, name: str) -> None:
    """However deep, long or broken it is."""
    method, url = path.split()
    body = DEEP[name].encode("utf-8", "surrogateescape")
    _refused(shared_server.request(method, url, content=body, headers=_JSON), 400, 413, 422)
    assert shared_server.get("/v1/products/deep").status_code == 404


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", "multipart/form-data; boundary=b", ""])
def test_json_of_another_type_is_refused(shared_server: httpx2.Client, kind: str) -> None:
    """Nothing guesses what it may be."""
    reply = shared_server.put("/v1/products/typed", content=b"{}", headers={"Content-Type": kind})
    _refused(reply, 415, 422)


def test_a_bomb_in_base64_is_measured_before_it_is_decoded(shared_server: httpx2.Client) -> None:
    """Within the limit of the body it is no picture, over it too large."""
    for size, status in ((9_000_000, 415), (14_000_000, 413)):
        body = {"queries": [{"image": {"base64": base64.b64encode(bytes(size)).decode()}}]}
        _refused(shared_server.post("/v1/search", json=body), status)


@pytest.mark.parametrize("path", _FORMS)
def test_a_form_has_one_picture(shared_server: httpx2.Client, path: str) -> None:
    """None is none, and of two nobody knows which is meant."""
    two = [("image", picture()), ("image", picture("green"))]
    for files in (two, [("file", picture())]):
        _refused(shared_server.post(path, files=files), 422)
    _refused(shared_server.post(path, files={"image": picture()}, data={f"f{n}": "" for n in range(1_001)}), 400)


def test_the_form_of_the_page_has_one_picture(shared_server: httpx2.Client) -> None:
    """As that of the API."""
    two = [("image", picture()), ("image", picture("green"))]
    _refused(shared_server.post("/", files=two), 422)
    _refused(shared_server.post("/", files={"image": picture()}, data={f"f{n}": "" for n in range(1_001)}), 400)
    assert shared_server.post("/", files={"image": picture()}).status_code == 200


def test_a_subject_is_one_thing(shared_server: httpx2.Client) -> None:
    """A picture cannot come by two ways at once."""
    encoded = base64.b64encode(picture()).decode()
    for image in ({"base64": encoded, "url": "https://shop.test/a.jpg"}, {"id": "q_" + "a" * 22, "base64": encoded}):
        _refused(shared_server.post("/v1/search", json={"queries": [{"image": image}]}), 422)


@pytest.mark.parametrize("limit", ["-1", "0", "1e9", "1.5", '"x"', "NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none_in_json(shared_server: httpx2.Client, limit: str) -> None:
    """Refused, in JSON that others can read, too."""
    for field in ("limit", "min_similarity"):
        if field == "min_similarity" and limit in ("-1", "0"):
            continue
        body = f'{{"queries": [{{"text": "a"}}], "{field}": {limit}}}'
        reply = shared_server.post("/v1/search", content=body, headers=_JSON)
        _refused(reply, 422)
        json.loads(reply.text, parse_constant=lambda name: pytest.fail(name))


def test_texts_without_measure(shared_server: httpx2.Client) -> None:
    """A megabyte of words, or none."""
    for text in ("", "a" * 1_000_000):
        _refused(shared_server.post("/v1/search", json={"queries": [{"text": text}]}), 422)
    reply = shared_server.post("/v1/search/image", files={"image": picture()}, data={"text": "a" * 1_000_000})
    _refused(reply, 422)


@pytest.mark.parametrize("hostile", ["x' OR '1'='1", '"; DROP TABLE seesame.products; --', "$.a ? (1 == 1)", "%", "\\"])
def test_a_filter_is_no_sql(shared_server: httpx2.Client, hostile: str) -> None:
    """It is compared as it stands, as a value and as the name of an attribute."""
    for clauses in ({"category": hostile}, {"attributes.a": hostile}, {f"attributes.{hostile}": "a"}):
        found = {"queries": [{"text": "a"}], "filter": clauses}
        for path, reply in (
            ("search", shared_server.post("/v1/search", json=found)),
            ("list", shared_server.get("/v1/products", params={"filter": json.dumps(clauses)})),
        ):
            assert reply.status_code in (200, 422), (path, reply.text)
            found_products = reply.json().get("results", []) + reply.json().get("products", [])
            assert found_products == [], path
    assert shared_server.get("/v1/products/a").status_code == 200


def test_the_peer_that_a_header_names_is_nobody(shared_server: httpx2.Client) -> None:
    """Nothing here trusts X-Forwarded-For and its like: replies and redirects are as without it."""
    lies = {"X-Forwarded-For": "10.0.0.1", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.test"}
    for path in ("/static", "/v1/products/a", "/v1/products/a/", "/"):
        told, plain = (shared_server.get(path, headers={"X-Request-ID": "same"} | more) for more in (lies, {}))
        assert told.status_code == plain.status_code
        assert told.text == plain.text
        del told.headers["date"], plain.headers["date"]
        assert told.headers == plain.headers
