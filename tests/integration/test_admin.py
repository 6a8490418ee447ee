"""The pages of those who keep the catalogue, over HTTP, as the server makes them."""

import re

import httpx2
import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from seesame import inventory
from seesame.application import Application, open_application
from seesame.embedding.local import LocalEmbedder
from seesame.images import ImageLimits
from seesame.settings import Settings
from seesame.types import Product
from tests.conftest import picture, served
from tests.models import MeanColour


def _put(application: Application, product_id: str, *, title: str = "", pictures: tuple[bytes, ...] = ()) -> None:
    application.catalogue.put(Product(product_id, title=title))
    for data in pictures:
        application.catalogue.add_image(product_id, data)


def _listed(reply: httpx2.Response) -> list[str]:
    return re.findall(r'data-product="([^"]+)"', reply.text)


def test_products_are_found_by_id_or_words(application: Application, server: httpx2.Client) -> None:
    """An id is taken as it is written, words as searches take them; the newest product comes first."""
    _put(application, "SKU-1", title="Red shoes")
    _put(application, "SKU-2", title="Blue shoe")
    _put(application, "shoe", title="Something else")
    found = {
        words: _listed(server.get("/admin", params={"q": words})) for words in ("SKU-1", " shoe ", "red shoe", "x")
    }
    assert found == {"SKU-1": ["SKU-1"], " shoe ": ["shoe", "SKU-2", "SKU-1"], "red shoe": ["SKU-1"], "x": []}
    assert _listed(server.get("/admin")) == ["shoe", "SKU-2", "SKU-1"]


def _stock(application: Application) -> inventory.Stock:
    """The one product there is, the same as in a list and by itself."""
    primary = application.spaces.primary()
    ((stock,), total) = inventory.page(application.database, None, primary=primary, limit=2)
    assert total == 1
    listing = application.catalogue.get(stock.product.product_id)
    assert stock == inventory.stock_of(application.database, listing, primary=primary)
    return stock


def test_a_picture_waits_is_found_or_failed(application: Application) -> None:
    """One that failed tells why."""
    _put(application, "a", pictures=(picture("red"), picture("blue")))
    waiting = _stock(application)
    assert (waiting.found, waiting.failed) == (0, 0)
    lost, kept = (each.image for each in waiting.pictures)
    (application.settings.data_dir / "pictures" / lost.bytes_ref).unlink()
    application.indexer.run_once()

    stock = _stock(application)
    assert [(each.image, each.found, each.failed) for each in stock.pictures] == [
        (lost, False, True),
        (kept, True, False),
    ]
    assert (stock.found, stock.failed) == (1, 1)
    (gap,) = stock.pictures[0].gaps
    assert (gap.space, gap.given_up) == (application.spaces.primary().key, False)
    assert gap.reason is not None
    assert gap.reason.startswith("Its file is not in the data folder.")


def test_what_a_new_model_lacks_hides_no_picture(application: Application) -> None:
    """While a candidate is filled, searches go on finding a picture in the space that answers."""
    candidate = application.spaces.add(LocalEmbedder(MeanColour(), limits=ImageLimits()), automatic=False)
    _put(application, "a", pictures=(picture("red"),))
    application.indexer.complete(application.spaces.primary().key)
    stock = _stock(application)
    assert (stock.found, stock.failed) == (1, 0)
    assert stock.pictures[0].gaps == (inventory.Gap(candidate.key, None, given_up=False),)


@pytest.mark.parametrize("page", ["0", "-1", "1e9", "99999", "٣", "", "2"])
def test_any_page_is_a_page(shared_server: httpx2.Client, page: str) -> None:
    """Whatever number an address holds, the list is shown from some product on."""
    for name in ("", "/imports", "/failures", "/duplicates", "/placeholders"):
        assert shared_server.get(f"/admin{name}", params={"page": page, "kind": page}).status_code == 200


def test_what_is_not_there_is_told_on_a_page(shared_server: httpx2.Client) -> None:
    """An error is a page as well, with its status, and one that no cache shares."""
    missing = [
        shared_server.get(f"/admin/{path}")
        for path in ("products/none", f"imports/{'0' * 8}-0000-4000-8000-{'0' * 12}")
    ]
    wrong = shared_server.get("/admin", params={"q": "\0"})
    assert [reply.status_code for reply in (*missing, wrong)] == [404, 404, 422]
    for reply in (*missing, wrong):
        assert reply.headers["content-type"].startswith("text/html")
        assert reply.headers["cache-control"] == "private, no-cache"
        assert 'role="alert"' in reply.text


def test_health_is_shown_while_the_database_is_away(dsn: str, server: httpx2.Client) -> None:
    """The page that tells of it needs none; the others say that they do."""
    with psycopg.connect(make_conninfo(dsn, dbname="postgres"), autocommit=True) as connection:
        name = conninfo_to_dict(dsn)["dbname"]
        connection.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(sql.Identifier(str(name))))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
    health = server.get("/admin/health")
    assert health.status_code == 200
    assert "not reachable" in health.text
    catalogue = server.get("/admin")
    assert catalogue.status_code == 503
    assert "The server cannot answer now" in catalogue.text


def test_no_page_runs_anything_but_our_files(shared_server: httpx2.Client) -> None:
    """Nothing in them needs an exception from the content policy."""
    for name in ("", "/imports", "/failures", "/duplicates", "/placeholders", "/spaces", "/health"):
        reply = shared_server.get(f"/admin{name}")
        assert "script-src 'self'" in reply.headers["content-security-policy"]
        assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=", reply.text), name


def test_they_can_be_switched_off(settings: Settings) -> None:
    """A public instance need not have them; the shopper's page stays."""
    with (
        open_application(settings.model_copy(update={"admin_pages": False})) as application,
        served(application) as client,
    ):
        assert client.get("/admin").status_code == client.get("/admin/spaces").status_code == 404
        assert client.get("/").status_code == 200
