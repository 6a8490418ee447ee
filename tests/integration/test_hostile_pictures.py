"""Pictures of strangers through every way into the shop: each gets what it must, and nothing of it is left."""

import base64
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from PIL import Image

from seesame.application import Application, open_application
from seesame.db.embedded import EmbeddedPostgres
from seesame.records import read_records
from tests.conftest import copied_database, picture, served, shop_settings
from tests.hostile import PICTURES, UNDECODABLE, exif, saved
from tests.models import until
from tests.picture_host import PictureHost, picture_host
from tests.unit.test_images import quadrants, sidelong

_ROWS = PICTURES | {"empty": (UNDECODABLE, lambda: b"")}
Errors = list[tuple[str | None, str, str]]
_SECRETS = ("Traceback", "Error(", "Exception", ".py", "127.0.0.1", "localhost", "PIL", "libav", "psycopg", "/tmp")


@dataclass(frozen=True)
class Ways:
    """A shop, and the ways by which a picture comes into it: each gives its status and code."""

    client: httpx2.Client
    application: Application
    host: PictureHost
    folder: Path
    open_before: set[str]

    def uploaded(self, data: bytes) -> tuple[int, str | None]:
        return self._told(self.client.post("/v1/search/image", files={"image": ("x.jpg", data, "image/jpeg")}))

    def in_base64(self, data: bytes) -> tuple[int, str | None]:
        query = {"image": {"base64": base64.b64encode(data).decode()}}
        return self._told(self.client.post("/v1/search", json={"queries": [query]}))

    def added(self, data: bytes) -> tuple[int, str | None]:
        self.client.put("/v1/products/added", json={}).raise_for_status()
        reply = self.client.post("/v1/products/added/images", files={"image": data})
        if reply.status_code == 201:
            for size in ("full", "thumb"):
                served = self.client.get(reply.json()["url"], params={"size": size})
                assert served.content.startswith(b"\xff\xd8\xff")
                assert served.headers["x-content-type-options"] == "nosniff"
                assert b"script" not in served.content
            self.client.delete(f"/v1/products/added/images/{reply.json()['id']}").raise_for_status()
        return self._told(reply)

    def in_base64_by_region(self, data: bytes) -> tuple[int, str | None]:
        image = {"base64": base64.b64encode(data).decode()}
        whole = {"x": 0, "y": 0, "width": 1, "height": 1}
        return self._told(self.client.post("/v1/search/regions", json={"image": image, "regions": [whole]}))

    def by_url(self, data: bytes) -> tuple[int, str | None]:
        return self._told(self.client.post("/v1/search", json={"queries": [{"image": {"url": self._hosted(data)}}]}))

    def added_by_url(self, data: bytes) -> tuple[int, str | None]:
        self.client.put("/v1/products/linked", json={}).raise_for_status()
        reply = self.client.post("/v1/products/linked/images", json={"url": self._hosted(data)})
        self.client.delete("/v1/products/linked").raise_for_status()
        return self._told(reply)

    def imported(self, pictures: dict[str, bytes]) -> Errors:
        """One for each product, from files of this machine."""
        for product_id, data in pictures.items():
            (self.folder / f"{product_id}.jpg").write_bytes(data)
        table = self.folder / "products.csv"
        table.write_text(_table({product_id: f"{product_id}.jpg" for product_id in pictures}))
        summary = self.application.importer.run(read_records(table))
        return [(error.product_id, error.code, error.message) for error in summary.errors]

    def sent_as_an_import(self, pictures: dict[str, bytes]) -> Errors:
        """From a host that is allowed."""
        table = _table({product_id: self._hosted(data, product_id) for product_id, data in pictures.items()})
        job = self.client.post("/v1/imports", content=table, headers={"Content-Type": "text/csv"}).json()
        until(lambda: self._job(job)["ended_at"])
        return [(error["product_id"], error["code"], error["message"]) for error in self._job(job)["errors"]]

    def _job(self, job: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/v1/jobs/{job['id']}").raise_for_status().json()
        return found

    def _hosted(self, data: bytes, name: str = "x.jpg") -> str:
        self.host.pictures[f"/{name}"] = data
        return self.host.url(f"/{name}")

    def _told(self, reply: httpx2.Response) -> tuple[int, str | None]:
        if reply.is_success:
            return 200, None
        assert reply.headers["content-type"] == "application/problem+json"
        assert not any(secret in reply.text for secret in _SECRETS)
        return reply.status_code, reply.json()["code"]


def _table(places: dict[str, str]) -> str:
    return "\n".join(["product_id,image", *(f"{product_id},{place}" for product_id, place in places.items())])


def _deleted_but_open() -> set[str]:
    """Files without a name, as uploads wait in."""
    with os.scandir("/proc/self/fd") as held:
        paths = {os.path.realpath(file.path) for file in held}
    return {path for path in paths if path.endswith("(deleted)") and path.startswith(tempfile.gettempdir())}


@pytest.fixture(scope="module")
def ways(postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Ways]:
    """A shop and a host of pictures that it trusts."""
    folder = tmp_path_factory.mktemp("ways")
    with copied_database(postgres) as dsn, picture_host() as host:
        chosen = {"allowed_image_hosts": host.name, "decode_processes": 2}
        settings = shop_settings(dsn, folder, cache_dir).model_copy(update=chosen)
        with open_application(settings) as application, served(application) as client:
            yield Ways(client, application, host, folder, _deleted_but_open())


WAYS: dict[str, Callable[[Ways, bytes], tuple[int, str | None]]] = {
    "uploaded": Ways.uploaded,
    "in base64": Ways.in_base64,
    "in base64, a region of it": Ways.in_base64_by_region,
    "by URL": Ways.by_url,
    "added to a product": Ways.added,
    "added by URL": Ways.added_by_url,
}


@pytest.mark.parametrize("name", _ROWS)
def test_every_picture_gets_what_it_must_by_every_way(ways: Ways, name: str) -> None:
    """A status and a code, or success; a good picture succeeds at once afterwards."""
    expected, make = _ROWS[name]
    data = make()
    for way, send in WAYS.items():
        status, code = expected if isinstance(expected, tuple) else (expected, None)
        if code == "request_too_large" and "URL" in way:  # no request was too large
            status, code = 422, "fetch_failed"
        assert send(ways, data) == (status, code), way
    assert ways.uploaded(picture()) == (200, None)


@pytest.mark.parametrize(
    ("send", "too_large"), [(Ways.imported, "image_too_large"), (Ways.sent_as_an_import, "fetch_failed")]
)
def test_every_picture_of_an_import_fails_alone(
    ways: Ways, send: Callable[[Ways, dict[str, bytes]], Errors], too_large: str
) -> None:
    """Each by its code; the rest of the same batch is there with its pictures."""
    rows = {f"row-{number}": row for number, row in enumerate(_ROWS.values())}
    codes = {product_id: expected[1] for product_id, (expected, _) in rows.items() if isinstance(expected, tuple)}
    errors = send(ways, {product_id: make() for product_id, (_, make) in rows.items()})
    assert {product_id: code for product_id, code, _ in errors} == {
        product_id: too_large if code == "request_too_large" else code for product_id, code in codes.items()
    }
    assert not any(secret in message for _, _, message in errors for secret in _SECRETS)
    for product_id in rows:
        images = ways.client.get(f"/v1/products/{product_id}").json()["images"]
        assert len(images) == (product_id not in codes)
        ways.client.delete(f"/v1/products/{product_id}").raise_for_status()


def test_nothing_is_left_of_any_of_them(ways: Ways) -> None:
    """Neither a stored picture that no product has, nor an upload that waits in a file, nor a copy of one."""
    pictures = ways.application.settings.data_dir / "pictures"
    assert [path for path in pictures.rglob("*") if path.is_file()] == []
    assert _deleted_but_open() <= ways.open_before


def _enlarged(image: Image.Image) -> Image.Image:
    return image.resize((8 * image.width, 8 * image.height), Image.Resampling.NEAREST)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_finds_the_upright_picture(ways: Ways, orientation: int) -> None:
    """By every way to search, whichever way the camera was held."""
    product_id = f"upright-{orientation}"
    ways.client.put(f"/v1/products/{product_id}", json={}).raise_for_status()
    upright = saved("JPEG", _enlarged(quadrants()))
    ways.client.post(f"/v1/products/{product_id}/images", files={"image": upright}).raise_for_status()
    until(lambda: ways.client.get(f"/v1/products/{product_id}/similar").is_success)  # it has its vector
    turned = saved("JPEG", _enlarged(sidelong(orientation)), exif=exif(orientation))
    query = {"image": {"base64": base64.b64encode(turned).decode()}}
    for reply in (
        ways.client.post("/v1/search/image", files={"image": turned}),
        ways.client.post("/v1/search", json={"queries": [query]}),
    ):
        best = reply.json()["results"][0]
        assert best["product_id"] == product_id, json.dumps(best)
        assert best["similarity"] >= 0.99
    ways.client.delete(f"/v1/products/{product_id}").raise_for_status()
