"""Pictures as files: what is kept of an upload, and what goes over HTTP."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from PIL import Image, ImageCms

from seesame import images, pictures
from seesame.application import Application, open_application
from seesame.errors import NotFound
from seesame.pictures import PictureStore
from seesame.settings import Settings
from seesame.types import Product
from tests.conftest import picture

_GPS = 0x8825
_MAKER = 0x010F
_SCAN = 0xDA
_PLAIN = {0xE0, 0xDB, 0xC0, 0xC4, _SCAN}  # JFIF, quantisation, frame, Huffman tables, scan: no place for words


def _from_a_phone() -> bytes:
    """A photo as phones write it: with position, maker, colour profile, XMP and comment, and a film behind its end."""
    exif = Image.Exif()
    exif[_MAKER] = "Secret Phone"
    exif.get_ifd(_GPS).update({1: "N", 2: (52.0, 30.0, 59.9), 3: "E", 4: (13.0, 22.0, 39.1)})
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    buffer = io.BytesIO()
    Image.new("RGB", (640, 480), "teal").save(
        buffer, "JPEG", exif=exif, icc_profile=profile, xmp=b"<x:xmpmeta>secret</x:xmpmeta>", comment=b"secret"
    )
    with Image.open(buffer) as check:
        assert check.getexif().get_ifd(_GPS)[2] == (52.0, 30.0, 59.9)
    return buffer.getvalue() + b"ftypmp42 secret film"


def _segments(jpeg: bytes) -> set[int]:
    """The markers of a JPEG, which must begin and end as one, with nothing after its end."""
    assert jpeg.startswith(b"\xff\xd8")
    assert jpeg.endswith(b"\xff\xd9")
    assert jpeg.count(b"\xff\xd9") == 1
    markers: set[int] = set()
    at = 2
    while _SCAN not in markers:
        assert jpeg[at] == 0xFF
        markers.add(jpeg[at + 1])
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4])
    return markers


def _files(settings: Settings) -> list[Path]:
    return [path for path in (settings.data_dir / "pictures").rglob("*") if path.is_file()]


def _added(server: httpx2.Client, data: bytes) -> str:
    server.put("/v1/products/a", json={})
    url: str = server.post("/v1/products/a/images", files={"image": data}).json()["url"]
    return url


def test_nothing_of_an_upload_is_kept_but_its_picture(server: httpx2.Client, application: Application) -> None:
    """No position, maker, profile, comment or trailing bytes: neither in the file, nor in what is served."""
    url = _added(server, _from_a_phone())
    served = [server.get(url, params={"size": size}).content for size in ("full", "thumb")]
    kept = [path.read_bytes() for path in _files(application.settings)]
    assert sorted(kept) == sorted(served)
    for jpeg, shown in zip(served, ((640, 480), (400, 300)), strict=True):
        assert _segments(jpeg) <= _PLAIN
        assert b"ecret" not in jpeg
        with Image.open(io.BytesIO(jpeg)) as image:
            assert image.size == shown
            assert not image.getexif()
            assert "icc_profile" not in image.info


def test_originals_are_kept_where_a_setting_says_so(settings: Settings) -> None:
    """Byte for byte, beside what is served; they go with their image, also after the setting is off again."""
    data = _from_a_phone()
    with open_application(settings.model_copy(update={"keep_originals": True})) as shop:
        shop.catalogue.put(Product("a"))
        image = shop.catalogue.add_image("a", data)
        assert b"secret" not in shop.catalogue.picture(image.image_id)
        (original,) = (path for path in _files(settings) if "originals" in path.parts)
        assert original.read_bytes() == data
    with open_application(settings) as shop:
        shop.catalogue.delete_image("a", image.image_id)
    assert _files(settings) == []


@pytest.mark.parametrize("size", ["full", "thumb"])
def test_a_picture_is_sent_once(server: httpx2.Client, size: str) -> None:
    """It has a strong ETag; who names that, alone, among others, weakly or as `*`, gets 304; HEAD tells its length."""
    url = _added(server, picture())
    first = server.get(url, params={"size": size})
    etag = first.headers["etag"]
    assert etag.startswith('"')
    assert first.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert first.headers["content-length"] == str(len(first.content))
    head = server.head(url, params={"size": size})
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == first.headers["content-length"]
    for named in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        again = server.get(url, params={"size": size}, headers={"If-None-Match": named})
        assert (again.status_code, again.content) == (304, b"")
        assert (again.headers["etag"], again.headers["cache-control"]) == (etag, first.headers["cache-control"])
    assert server.get(url, params={"size": size}, headers={"If-None-Match": '"other"'}).content == first.content


def test_sizes_and_pictures_have_etags_of_their_own(server: httpx2.Client) -> None:
    """A deleted picture is gone for those who have it, too, and comes back as another."""
    url = _added(server, picture())
    tags = {server.get(url, params={"size": size}).headers["etag"] for size in ("full", "thumb")}
    server.delete(f"/v1/products/a/images/{url.rsplit('/', 1)[1]}")
    assert server.get(url, headers={"If-None-Match": "*"}).status_code == 404
    assert _added(server, picture()) == url
    tags |= {server.get(_added(server, picture("blue"))).headers["etag"], server.get(url).headers["etag"]}
    assert len(tags) == 4


def test_a_product_is_sent_when_it_changed(server: httpx2.Client) -> None:
    """Its texts or its pictures; who has it as it is gets 304."""
    seen = set()
    for change in ("one", "two", None):
        if change is None:
            server.post("/v1/products/a/images", files={"image": picture()})
        else:
            server.put("/v1/products/a", json={"title": change})
        etag = server.get("/v1/products/a").headers["etag"]
        seen.add(etag)
        assert server.get("/v1/products/a", headers={"If-None-Match": etag}).status_code == 304
    assert len(seen) == 3


@pytest.fixture
def stored(tmp_path: Path) -> tuple[PictureStore, str]:
    """A store with one picture."""
    store = PictureStore(tmp_path / "pictures")
    return store, store.put(uuid4(), Image.new("RGB", (1_600, 1_200), "teal"), b"")


def test_a_thumbnail_is_made_once(stored: tuple[PictureStore, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask for it at once."""
    store, ref = stored
    decoded: list[int] = []
    start = threading.Barrier(16)

    def decode(data: bytes, **options: Any) -> Image.Image:
        decoded.append(len(data))
        return images.decode(data, **options)

    def ask(_: int) -> bytes:
        start.wait()
        return store.thumbnail(ref)

    monkeypatch.setattr(pictures, "decode", decode)
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(ask, range(16)))) == 1
    assert len(decoded) == 1


def test_a_picture_that_goes_while_its_thumbnail_is_made_leaves_nothing(
    stored: tuple[PictureStore, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thumbnail of a deleted picture would stay for ever."""
    store, ref = stored

    def decode(data: bytes, **options: Any) -> Image.Image:
        store.delete(ref)
        return images.decode(data, **options)

    monkeypatch.setattr(pictures, "decode", decode)
    store.thumbnail(ref)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    with pytest.raises(NotFound):
        store.thumbnail(ref)
