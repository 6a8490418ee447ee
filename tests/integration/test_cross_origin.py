"""What pages of other origins may do from a browser."""

from collections.abc import Iterator

import httpx2
import pytest

from seesame.application import open_application
from seesame.settings import Settings
from tests.conftest import picture, served

_SHOP = "https://www.shop.example"
_SEARCHES = ("/v1/search", "/v1/search/image", "/v1/search/regions", "/v1/products/a/b/similar")
_SHARED = (*_SEARCHES, "/v1/images/00000000-0000-0000-0000-000000000000")
_REST = (
    "/v1/products",
    "/v1/products/a",
    "/v1/products/a/images",
    "/v1/imports",
    "/v1/stats",
    "/v1/spaces",
    "/v1/searches",
    "/metrics",
    "/",
)


@pytest.fixture
def sharing(settings: Settings) -> Iterator[httpx2.Client]:
    """A client of a server that shares its search with the shop's pages."""
    with (
        open_application(settings.model_copy(update={"cors_origins": _SHOP})) as application,
        served(application) as client,
    ):
        yield client


@pytest.fixture
def open_to_all(settings: Settings) -> Iterator[httpx2.Client]:
    """A client of a server that shares its search with every page."""
    with (
        open_application(settings.model_copy(update={"cors_origins": "*"})) as application,
        served(application) as client,
    ):
        yield client


def test_nothing_is_shared_by_default(server: httpx2.Client) -> None:
    """Without the setting no page of another origin may read or ask first."""
    for path in _SHARED:
        assert _shared_with(server.get(path, headers={"Origin": _SHOP})) is None
        assert _shared_with(_preflight(server, path, _SHOP)) is None


def test_the_shop_may_search_and_nobody_else(sharing: httpx2.Client) -> None:
    """The named origin, letter by letter, reads answers of the search and may ask for JSON; others may not."""
    asked = sharing.post("/v1/search", json={"queries": [{"text": "red"}]}, headers={"Origin": _SHOP})
    assert (asked.status_code, _shared_with(asked)) == (200, _SHOP)
    for path in _SHARED:
        first = _preflight(sharing, path, _SHOP)
        assert (first.status_code, _shared_with(first)) == (200, _SHOP)
        assert "access-control-allow-credentials" not in first.headers
        for other in ("https://shop.example", f"{_SHOP}.evil.example", "http://www.shop.example", "null"):
            assert _shared_with(_preflight(sharing, path, other)) is None
            assert _shared_with(sharing.get(path, headers={"Origin": other})) is None


def test_what_is_kept_of_an_answer_serves_one_origin(sharing: httpx2.Client) -> None:
    """Caches keep an answer to a plain request, to the shop's page and to another's apart."""
    for path in _SHARED:
        for origin in ({}, {"Origin": _SHOP}, {"Origin": "https://other.example"}):
            assert sharing.get(path, headers=origin).headers["vary"] == "Origin"
        assert "Origin" in _preflight(sharing, path, _SHOP).headers["vary"].split(", ")


def test_the_rest_of_the_api_is_never_shared(sharing: httpx2.Client, open_to_all: httpx2.Client) -> None:
    """No page may change the catalogue or look at it otherwise than by a search, whatever the setting says."""
    for client in (sharing, open_to_all):
        for path in _REST:
            assert _shared_with(client.get(path, headers={"Origin": _SHOP})) is None
            for method in ("GET", "PUT", "DELETE"):
                assert _shared_with(_preflight(client, path, _SHOP, method=method)) is None
        for path in _SHARED:  # a product may be called as a search ends
            for method in ("PUT", "DELETE"):
                assert _preflight(client, path, _SHOP, method=method).status_code == 400


def test_all_pages_search_without_cookies(open_to_all: httpx2.Client) -> None:
    """The star lets every page search, and never with what a browser knows of its user."""
    answer = open_to_all.post(
        "/v1/search/image", files={"image": picture()}, headers={"Origin": "https://any.example", "Cookie": "a=b"}
    )
    assert (answer.status_code, _shared_with(answer)) == (200, "*")
    assert "access-control-allow-credentials" not in answer.headers


def test_a_page_can_read_why_it_was_refused(sharing: httpx2.Client) -> None:
    """What stands before the routes answers to the shop's page too, with the headers that it needs."""
    large = sharing.post("/v1/search/image", content=b"x" * 15_000_000, headers={"Origin": _SHOP})
    packed = sharing.post("/v1/search", content=b"x", headers={"Origin": _SHOP, "Content-Encoding": "gzip"})
    for reply, status in ((large, 413), (packed, 415)):
        assert (reply.status_code, _shared_with(reply)) == (status, _SHOP)
        exposed = {name.strip() for name in reply.headers["access-control-expose-headers"].split(",")}
        assert exposed == {"X-Request-ID", "Retry-After"}


def test_the_widget_and_pictures_can_be_embedded_anywhere(server: httpx2.Client) -> None:
    """Any page may load the script as a module, and show pictures even where it is isolated from other origins."""
    script = server.get("/widget.js", headers={"Accept-Encoding": "gzip"})
    assert script.headers["content-type"].startswith("text/javascript")
    assert _shared_with(script) == "*"
    assert script.headers["cross-origin-resource-policy"] == "cross-origin"
    assert script.headers["content-encoding"] == "gzip"
    assert int(script.headers["content-length"]) <= 7 * 1024
    again = server.get("/widget.js", headers={"If-None-Match": script.headers["etag"]})
    assert (again.status_code, _shared_with(again)) == (304, "*")

    assert server.put("/v1/products/p", json={"title": "red"}).status_code == 201
    image = server.post("/v1/products/p/images", files={"image": picture()}).json()
    assert server.get(image["url"]).headers["cross-origin-resource-policy"] == "cross-origin"


def _preflight(client: httpx2.Client, path: str, origin: str, *, method: str = "POST") -> httpx2.Response:
    """What a browser asks before it sends JSON to another origin."""
    asked = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": "content-type"}
    return client.request("OPTIONS", path, headers={"Origin": origin} | asked)


def _shared_with(reply: httpx2.Response) -> str | None:
    return reply.headers.get("access-control-allow-origin")
