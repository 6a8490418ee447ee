"""Walking through the list of products while others write to it."""

import base64
import json
from collections.abc import Callable, Iterator

import httpx2
import pytest

from seesame.db.pool import Database


def _put(server: httpx2.Client, *product_ids: str, category: str = "things") -> None:
    for product_id in product_ids:
        server.put(f"/v1/products/{product_id}", json={"category": category}).raise_for_status()


def _pages(server: httpx2.Client, **parameters: str | int) -> Iterator[list[str]]:
    cursor: dict[str, str] = {}
    while True:
        page = server.get("/v1/products", params={**parameters, **cursor}).raise_for_status().json()
        yield [product["product_id"] for product in page["products"]]
        if page["next"] is None:
            return
        cursor = {"cursor": page["next"]}


def _walk(server: httpx2.Client, meanwhile: Callable[[], None] = lambda: None) -> list[str]:
    seen = []
    for page in _pages(server, limit=2):
        assert len(page) <= 2
        seen += page
        meanwhile()
    return seen


def test_pages_are_the_list_in_parts(server: httpx2.Client) -> None:
    """The newest first, as without a cursor, and with the filter; the last page names no next one."""
    _put(server, "a", "b", "c", "d")
    _put(server, "other", category="else")
    listed = server.get("/v1/products").json()
    assert listed["next"] is None
    assert [one["product_id"] for one in listed["products"]] == ["other", "d", "c", "b", "a"]
    assert _walk(server) == ["other", "d", "c", "b", "a"]
    assert list(_pages(server, limit=2, filter='{"category": "things"}')) == [["d", "c"], ["b", "a"]]
    assert list(_pages(server, limit=200, filter='{"category": "none"}')) == [[]]


def test_products_of_one_moment_come_once_each(server: httpx2.Client, database: Database) -> None:
    """An import writes many at once: their ids part them."""
    ids = [f"p{number:02}" for number in range(9)]
    _put(server, *ids)
    with database.transaction() as connection:
        connection.execute("UPDATE seesame.products SET created_at = '2026-01-01'")
    assert _walk(server) == ids


def test_what_is_added_between_two_pages_moves_nothing(server: httpx2.Client) -> None:
    """By offset the same products would come again."""
    _put(server, *"abcdef")
    names = iter("uvwxyz")
    assert _walk(server, lambda: _put(server, next(names))) == list("fedcba")


def test_what_is_deleted_between_two_pages_hides_nothing(server: httpx2.Client) -> None:
    """By offset as many others would be passed over; the product at which a page ended may go, too."""
    _put(server, *"abcdef")
    gone = iter(["e", "a", "f"])

    def delete() -> None:
        server.delete(f"/v1/products/{next(gone)}").raise_for_status()

    assert _walk(server, delete) == list("fedcb")


def test_a_page_is_read_from_the_index(database: Database) -> None:
    """Not sorted out of all products, however deep it lies."""
    with database.transaction() as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        for after in ("true", "f.created_at <= now() AND (f.created_at < now() OR f.product_id > 'x')"):
            plan = connection.execute(
                f"EXPLAIN SELECT f.product_id FROM seesame.products f WHERE {after}"
                " ORDER BY f.created_at DESC, f.product_id LIMIT 3".encode()
            ).fetchall()
            assert "products_newest" in str(plan)
            assert "Sort" not in str(plan)


def _token(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%%%",
        "é",
        _token([]),
        _token({"created_at": "2026-01-01T00:00:00Z"}),
        _token(["yesterday", "a"]),
        _token(["2026-01-01T00:00:00Z", 1]),
        _token(["2026-01-01T00:00:00Z", "a\0"]),
        _token(["2026-01-01T00:00:00Z", "\ud800"]),
        _token([1e300, "a"]),
        _token([None, None]),
        base64.urlsafe_b64encode(b"[" * 1_000).decode(),
        "A" * 2_001,
    ],
    ids=lambda cursor: str(cursor)[:30],
)
def test_a_cursor_that_was_made_up_is_refused(shared_server: httpx2.Client, cursor: str) -> None:
    """In words that say what it should be, whatever is in it."""
    reply = shared_server.get("/v1/products", params={"cursor": cursor})
    assert (reply.status_code, reply.json()["code"]) == (422, "invalid_input")
    assert reply.json()["errors"][0]["field"] == "cursor"


def test_strange_times_in_a_cursor_are_no_fault_of_ours(shared_server: httpx2.Client) -> None:
    """The earliest and the latest there are, in any zone, and without one."""
    for time in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59.999999-12:00", "2026-01-01", 0, -1e11):
        assert shared_server.get("/v1/products", params={"cursor": _token([time, "a"])}).status_code in (200, 422)


def test_a_cursor_goes_with_no_offset(shared_server: httpx2.Client) -> None:
    """It is not clear what that would be."""
    parameters: dict[str, str | int] = {"cursor": _token(["2026-01-01T00:00:00Z", "a"]), "offset": 1}
    assert shared_server.get("/v1/products", params=parameters).status_code == 422
