"""URLs of strangers through every way into the shop: a forbidden one is refused in one and the same words."""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from tests.hostile import LOOPBACK, PRIVATE, URLS
from tests.models import until

Outcome = tuple[int, str, str]
_fetched: list[Any] = []
_watching = False


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event in ("socket.getaddrinfo", "socket.connect") and arguments[0] != "127.0.0.1":
        address = arguments[1] if event == "socket.connect" else arguments
        if isinstance(address, tuple) and address[:1] != ("127.0.0.1",):
            _fetched.append(address)


sys.addaudithook(_audit)


@pytest.fixture(scope="module")
def shop(shared_server: httpx2.Client) -> httpx2.Client:
    """A shop that trusts no host, with a product to add pictures to."""
    shared_server.put("/v1/products/a", json={}).raise_for_status()
    return shared_server


@pytest.fixture
def fetched() -> Iterator[list[Any]]:
    """Every name that this process looks up and every address that it connects to, but the server's own."""
    global _watching
    _fetched.clear()
    _watching = True
    yield _fetched
    _watching = False


def _told(reply: httpx2.Response) -> Outcome:
    body = reply.json()
    assert reply.headers["content-type"] == "application/problem+json"
    return reply.status_code, body["code"], body["detail"]


def _json(body: object) -> dict[str, Any]:
    """A body in which half of a surrogate pair stands as its escape."""
    return {"content": json.dumps(body), "headers": {"Content-Type": "application/json"}}


WAYS: dict[str, Callable[[httpx2.Client, str], Outcome]] = {
    "search": lambda client, url: _told(client.post("/v1/search", **_json({"queries": [{"image": {"url": url}}]}))),
    "regions": lambda client, url: _told(
        client.post(
            "/v1/search/regions",
            **_json({"image": {"url": url}, "regions": [{"x": 0, "y": 0, "width": 1, "height": 1}]}),
        )
    ),
    "add": lambda client, url: _told(client.post("/v1/products/a/images", **_json({"url": url}))),
}
_FORBIDDEN = [*URLS, *(f"http://{host}/x.jpg" for host in [*LOOPBACK, *PRIVATE])]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("url", _FORBIDDEN, ids=lambda url: repr(url)[:60])
def test_a_forbidden_url_is_refused(shop: httpx2.Client, fetched: list[Any], way: str, url: str) -> None:
    """By one body whatever the reason, before any name is looked up."""
    status, code, detail = WAYS[way](shop, url)
    if code == "invalid_input":  # what no text of a request may hold
        assert status == 422
        assert any(not 0x20 < ord(character) < 0xD800 for character in url) or len(url) > 8_000
    else:
        assert (status, code, detail) == (400, "url_not_allowed", "This URL is not allowed.")
    assert fetched == []


def test_the_ports_of_the_shop_are_no_way_in(shop: httpx2.Client) -> None:
    """Its own API, by name and by address."""
    for host in ("localhost", "127.0.0.1", "[::1]", "0.0.0.0"):
        url = f"http://{host}:{shop.base_url.port}/v1/stats"
        for send in WAYS.values():
            assert send(shop, url)[:2] == (400, "url_not_allowed")


def test_a_host_that_there_is_not_is_the_remote_sides_failure(shop: httpx2.Client, fetched: list[Any]) -> None:
    """422, and nothing of the reason but that; here a name was looked up, as the tests above would have seen."""
    for send in WAYS.values():
        assert send(shop, "http://no-such-host.invalid/x.jpg")[:2] == (422, "fetch_failed")
    assert "no-such-host.invalid" in {looked_up[0] for looked_up in fetched}


def test_forbidden_urls_of_an_import_fail_alone(shop: httpx2.Client, fetched: list[Any]) -> None:
    """Each line has its code; the products are there."""
    urls = [url for url in _FORBIDDEN if "://" in url and url.isprintable() and len(url) < 5_000]
    rows = [{"product_id": f"p{number}", "image": url} for number, url in enumerate(urls)]
    kind = {"Content-Type": "application/x-ndjson"}
    job = shop.post("/v1/imports", content="\n".join(map(json.dumps, rows)), headers=kind).json()
    until(lambda: shop.get(f"/v1/jobs/{job['id']}").json()["ended_at"])
    told = list(csv.DictReader(io.StringIO(shop.get(f"/v1/jobs/{job['id']}/errors").text)))
    assert {(error["code"], error["message"]) for error in told} == {("url_not_allowed", "This URL is not allowed.")}
    assert sorted(int(error["line"]) for error in told) == list(range(1, len(urls) + 1))
    assert shop.get(f"/v1/jobs/{job['id']}").json()["counts"]["products_created"] == len(urls)
    assert fetched == []
