"""The shopper's page over HTTP, as the server makes it."""

import re

import httpx2

from seesame.application import Application
from seesame.facets import FacetCounts
from tests.conftest import picture


def _put(server: httpx2.Client, product_id: str, **product: object) -> None:
    assert server.put(f"/v1/products/{product_id}", json=product).status_code == 201


def _shown(reply: httpx2.Response) -> list[str]:
    return re.findall(r'data-product="([^"]+)"', reply.text)


def test_filters_are_what_many_products_have(server: httpx2.Client) -> None:
    """Attributes with few values are offered, whatever their type; those of a few products, or all unlike, are not."""
    for number in range(12):
        attributes = {
            "size": number % 3,
            "sale": number % 2 == 0,
            "sku": f"X{number}",
            "tags": ["a", "b"][number % 2 :],
        }
        _put(server, f"P{number}", attributes=attributes)
    page = server.get("/")
    fields = re.findall(r'data-field="([^"]+)"', page.text)
    assert fields == ["attributes.sale", "attributes.tags", "attributes.size", "price"]

    narrowed = server.get("/", params={"attributes.size": "1", "attributes.sale": "true"})
    assert sorted(_shown(narrowed)) == ["P10", "P4"]


def test_counts_are_taken_now_and_then(application: Application, server: httpx2.Client) -> None:
    """Counts of a filter are kept for a moment, since they look at every product."""
    now = 0.0
    counts = FacetCounts(application.database, clock=lambda: now)
    _put(server, "A", brand="One")
    assert counts.counts()["brand"] == [("One", 1)]
    _put(server, "B", brand="Two")
    assert counts.counts()["brand"] == [("One", 1)]
    now = 2.1
    assert counts.counts()["brand"] == [("One", 1), ("Two", 1)]


def test_photo_is_searched_and_kept_for_the_next_form(application: Application, server: httpx2.Client) -> None:
    """A form with a photo is answered with products and with the photo's id, which the next form sends instead."""
    for name in ("red", "blue"):
        _put(server, name, category=name)
        files = {"image": ("x.jpg", picture(name))}
        assert server.post(f"/v1/products/{name}/images", files=files).status_code == 201
    application.indexer.run_once(finish=True)

    page = server.post("/", files={"image": ("photo.jpg", picture("red", spot=3))})
    assert page.status_code == 200
    assert _shown(page) == ["red", "blue"]
    photo_id = re.findall(r'name="photo" value="(q_[^"]+)"', page.text)[0]

    again = server.post("/", data={"photo": photo_id, "category": "blue", "region": "0,0,0.5,0.5"}, files={"x": b""})
    assert _shown(again) == ["blue"]
    assert 'name="region" value="0.0,0.0,0.5,0.5"' in again.text
    unlike = server.post("/", data={"photo": photo_id, "less": "red"}, files={"x": b""})
    assert _shown(unlike) == ["blue"]


def test_errors_are_pages(server: httpx2.Client) -> None:
    """What goes wrong is told on a page, with the status that it has everywhere."""
    refused = server.post("/", files={"image": ("photo.jpg", b"no picture")})
    forgotten = server.post("/", data={"photo": "q_" + 22 * "a"}, files={"x": b""})
    wrong = server.get("/", params={"min": "cheap"})
    cursor = server.get("/", params={"q": "x", "cursor": "made up"})
    assert [reply.status_code for reply in (refused, forgotten, wrong, cursor)] == [415, 404, 422, 422]
    for reply in (refused, forgotten, wrong, cursor):
        assert reply.headers["content-type"].startswith("text/html")
        assert 'role="alert"' in reply.text


def test_many_values_fit_into_a_form(server: httpx2.Client) -> None:
    """A form with a photo may carry as many values as a filter takes."""
    values = [("brand", f"Brand {number}") for number in range(100)]
    body = "".join(
        f'--edge\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in values
    )
    headers = {"Content-Type": "multipart/form-data; boundary=edge"}
    page = server.post("/", content=f"{body}--edge--\r\n".encode(), headers=headers)
    assert page.status_code == 200
    assert "No product fits these filters" in page.text


def test_page_is_nobody_elses(server: httpx2.Client) -> None:
    """What somebody looks for is kept by no shared cache, and the page runs nothing but its own files."""
    page = server.get("/", params={"q": "something"})
    assert page.headers["cache-control"] == "private, no-cache"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", page.text)
