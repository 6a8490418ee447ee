"""Requests that pages of other sites make through somebody's browser."""

import httpx2
import pytest

_OWN = [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none", "Origin": "null"}, {"Origin": "own"}]
_FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Origin": "own"},
    {"Sec-Fetch-Site": "whatever comes"},
    {"Origin": "https://shop.example"},
    {"Origin": "http://127.0.0.1:1"},
    {"Origin": "null"},
    {"Origin": ""},
]
_CHANGES = [
    ("POST", "/v1/failures/retry"),
    ("POST", "/v1/imports"),
    ("POST", "/v1/products/a/images"),
    ("POST", "/v1/spaces/a/activate"),
    ("POST", "/v1/jobs/a/cancel"),
    ("PUT", "/v1/products/a"),
    ("DELETE", "/v1/products/a"),
]
_HARMLESS = [("GET", "/v1/products"), ("HEAD", "/static/main.js"), ("POST", "/v1/search"), ("POST", "/")]


def _headers(server: httpx2.Client, headers: dict[str, str]) -> dict[str, str]:
    return {name: str(server.base_url).rstrip("/") if value == "own" else value for name, value in headers.items()}


@pytest.mark.parametrize("headers", _OWN, ids=str)
def test_programs_and_own_pages_may_change_things(shared_server: httpx2.Client, headers: dict[str, str]) -> None:
    """Whatever is no browser says nothing of where it comes from; our own pages come from here."""
    reply = shared_server.post("/v1/failures/retry", json={}, headers=_headers(shared_server, headers))
    assert reply.status_code == 200


@pytest.mark.parametrize("headers", _FOREIGN, ids=str)
def test_other_sites_may_not(shared_server: httpx2.Client, headers: dict[str, str]) -> None:
    """They are refused with a problem, whatever the way."""
    for method, path in _CHANGES:
        reply = shared_server.request(method, path, headers=_headers(shared_server, headers))
        assert (reply.status_code, reply.json()["code"]) == (403, "cross_origin"), (method, path)
        assert reply.headers["x-request-id"] == reply.json()["request_id"]


@pytest.mark.parametrize(("method", "path"), _HARMLESS)
def test_what_changes_nothing_is_for_all(shared_server: httpx2.Client, method: str, path: str) -> None:
    """Reading and searching are left to the rules of browsers: another site cannot see the answer."""
    reply = shared_server.request(method, path, headers={"Sec-Fetch-Site": "cross-site"})
    assert reply.status_code != 403
