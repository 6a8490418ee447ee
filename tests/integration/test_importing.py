"""Imports: all that is good comes in, what is bad is named, twice is once."""

import hashlib
from pathlib import Path

import pytest

from seesame.application import Application, open_application
from seesame.importing import Summary
from seesame.records import read_records
from seesame.settings import Settings
from tests.conftest import picture


def _import(application: Application, path: Path) -> Summary:
    return application.importer.run(read_records(path))


@pytest.fixture
def shop_folder(tmp_path: Path) -> Path:
    """Six pictures in two categories."""
    for number, name in enumerate(("a", "b", "c", "d", "e", "f")):
        path = tmp_path / "shop" / ("shoes" if number < 3 else "hats") / f"{name}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture("teal", spot=number))
    return tmp_path / "shop"


def test_a_second_import_changes_nothing(application: Application, shop_folder: Path) -> None:
    """Products are as before, pictures are not stored or embedded again."""
    first = _import(application, shop_folder)
    assert (first.products_created, first.images_added, first.errors) == (6, 6, [])
    assert application.indexer.run_once()[0].done == 6
    second = _import(application, shop_folder)
    assert (second.products_unchanged, second.images_unchanged, second.errors) == (6, 6, [])
    assert (second.products_created, second.products_updated, second.images_added) == (0, 0, 0)
    assert application.indexer.run_once()[0].done == 0
    assert application.catalogue.totals() == (6, 6)


def test_a_changed_picture_replaces_the_old_one(application: Application, shop_folder: Path) -> None:
    """Other bytes at the same place are a new image; the old one goes, with its file and its vector."""
    _import(application, shop_folder)
    application.indexer.run_once()
    (shop_folder / "shoes" / "a.jpg").write_bytes(picture("yellow"))
    again = _import(application, shop_folder)
    assert (again.images_added, again.images_unchanged) == (1, 5)
    assert application.indexer.run_once()[0].done == 1
    assert application.catalogue.totals() == (6, 6)
    assert len(list((application.settings.data_dir / "pictures").glob("??/*.jpg"))) == 6


def test_pictures_that_change_places_stay(application: Application, tmp_path: Path) -> None:
    """A new picture put first moves the others to other names; none of them is lost, and the order is the table's."""
    table = tmp_path / "products.csv"
    x, y, z = (picture(colour) for colour in ("red", "blue", "green"))

    def imported(**files: bytes) -> tuple[Summary, list[str]]:
        for name, data in files.items():
            (tmp_path / f"{name}.jpg").write_bytes(data)
        table.write_text(f"product_id,images\na,{'|'.join(f'{name}.jpg' for name in files)}\n")
        summary = _import(application, table)
        return summary, [image.sha256.hex() for image in application.catalogue.get("a").images]

    digests = [hashlib.sha256(data).hexdigest() for data in (x, y, z)]
    assert imported(p1=x, p2=y)[1] == [digests[0], digests[1]]
    moved, order = imported(p1=z, p2=x, p3=y)
    assert order == [digests[2], digests[0], digests[1]]
    assert (moved.images_added, moved.images_unchanged) == (1, 2)
    again, order = imported(p1=z, p2=x, p3=y)
    assert order == [digests[2], digests[0], digests[1]]
    assert (again.images_added, again.images_unchanged) == (0, 3)


def test_strange_files_and_prices_are_errors_of_their_line(application: Application, tmp_path: Path) -> None:
    """A price that no column holds, names that are no text or too long, a file whose reading fails."""
    (tmp_path / "mem.jpg").symlink_to("/proc/self/mem")
    table = tmp_path / "products.csv"
    rows = [b"a,1e-100000,", b"b,1,\xff.jpg", b"c,1," + b"x" * 300 + b".jpg", b"d,1,mem.jpg", b"e,1,"]
    table.write_bytes(b"product_id,price,image\n" + b"\n".join(rows) + b"\n")
    summary = _import(application, table)
    assert {error.line for error in summary.errors} == {2, 3, 4, 5}
    assert application.catalogue.get("e").product.price == 1


def test_bad_pictures_are_named_and_all_others_imported(application: Application, tmp_path: Path) -> None:
    """Each bad picture has its code; its product is there, and so is the rest of the batch."""
    pictures = {
        "good.jpg": picture(),
        "empty.jpg": b"",
        "cut.jpg": picture()[:400],
        "text.jpg": b"I am no picture",
        "wide.png": picture(size=(20_000, 1), format="PNG"),
        "large.png": picture(format="PNG") + b"\0" * 10_500_000,
        "good.webp": picture("blue", format="WEBP"),
    }
    for name, data in pictures.items():
        (tmp_path / name).write_bytes(data)
    table = tmp_path / "products.csv"
    table.write_text("product_id,image\n" + "".join(f"{n},{n}\n" for n in [*pictures, "missing.jpg"]) + "dir,.\n")
    summary = _import(application, table)
    assert (summary.products_created, summary.images_added) == (9, 2)
    assert {(error.line, error.code) for error in summary.errors} == {
        (3, "image_undecodable"),
        (4, "image_undecodable"),
        (5, "unsupported_format"),
        (6, "image_too_large"),
        (7, "image_too_large"),
        (9, "image_unreadable"),
        (10, "image_unreadable"),
    }


def test_a_product_may_have_several_pictures_over_several_lines(application: Application, tmp_path: Path) -> None:
    """Lines of one product add up; their pictures keep their order; the last line's texts count."""
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(picture("red", spot=number))
    table = tmp_path / "products.csv"
    table.write_text("product_id,title,image,images\na,old,2.jpg,\na,new,,0.jpg|1.jpg\n")
    summary = _import(application, table)
    assert (summary.products_created, summary.images_added, summary.errors) == (1, 3, [])
    listing = application.catalogue.get("a")
    assert listing.product.title == "new"
    assert [Path(image.source).name for image in listing.images] == ["2.jpg", "0.jpg", "1.jpg"]


def test_a_picture_of_12_megapixels_is_stored_smaller_and_without_metadata(
    application: Application, tmp_path: Path
) -> None:
    """What is stored has no side over 1,600 pixels; what is told is the size of the original."""
    (tmp_path / "large.jpg").write_bytes(picture(size=(4_000, 3_000)))
    assert _import(application, tmp_path / "large.jpg").images_added == 1
    (image,) = application.catalogue.get("large").images
    assert (image.width, image.height) == (4_000, 3_000)
    (file,) = (application.settings.data_dir / "pictures").glob("??/*.jpg")
    from PIL import Image

    with Image.open(file) as stored:
        assert stored.size == (1_600, 1_200)
        assert "exif" not in stored.info


def test_pictures_come_by_url_from_allowed_hosts_alone(settings: Settings, tmp_path: Path, image_host: str) -> None:
    """The shop's own host is allowed by name; every other private address is refused, and a failure is named."""
    table = tmp_path / "products.csv"
    rows = [f"a,http://{image_host}/shoe.jpg", f"b,http://{image_host}/none.jpg", "c,http://127.0.0.1/x.jpg"]
    table.write_text("\n".join(["product_id,image", *rows, "d,file:///etc/passwd"]) + "\n")
    with open_application(settings.model_copy(update={"allowed_image_hosts": image_host})) as application:
        summary = _import(application, table)
    assert (summary.products_created, summary.images_added) == (4, 1)
    assert [(error.line, error.code) for error in summary.errors] == [
        (3, "fetch_failed"),
        (4, "url_not_allowed"),
        (5, "url_not_allowed"),
    ]
