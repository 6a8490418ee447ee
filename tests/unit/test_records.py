"""Reading products from files: every line counts, a bad one stops nothing."""

import json
import os
from decimal import Decimal
from pathlib import Path

import pytest

from seesame.errors import InvalidInput
from seesame.records import Record, RecordError, count_records, read_records


def _split(path: Path) -> tuple[list[Record], list[RecordError]]:
    items = list(read_records(path))
    return [i for i in items if isinstance(i, Record)], [i for i in items if isinstance(i, RecordError)]


def test_a_table_gives_products_with_images_and_attributes(tmp_path: Path) -> None:
    """Known columns are the product's, `image` and `images` its pictures, all others attributes."""
    file = tmp_path / "products.csv"
    file.write_text(
        "product_id,title,category,price,currency,image,images,color,attributes.size,attributes\n"
        'a,"A ""fine""\nthing",shoes,19.90,EUR,a.jpg,b.jpg|https://example.com/c.jpg,red,XL,"{""fit"": [1, 2]}"\n'
        "b,,,,,,,,,\n"
    )
    (a, b), errors = _split(file)
    assert errors == []
    assert (a.line, a.product.title, a.product.price) == (2, 'A "fine"\nthing', Decimal("19.90"))
    assert a.product.attributes == {"color": "red", "size": "XL", "fit": [1, 2]}
    assert a.images == (str(tmp_path / "a.jpg"), str(tmp_path / "b.jpg"), "https://example.com/c.jpg")
    assert (b.line, b.product.product_id, b.product.category, b.images) == (4, "b", None, ())


def test_bad_lines_of_a_table_are_named_and_the_others_read(tmp_path: Path) -> None:
    """A quote that is never closed, missing cells, wrong numbers, no id, bytes that are no text."""
    lines = [
        b"product_id,title,price",
        b'quote,"never closed,1',
        b"good-1,fine,1",
        b"short,fine",
        b"number,fine,abc",
        b"nan,fine,nan",
        b"minus,fine,-1",
        b",no id,1",
        b"bytes,\xff\xfe,1",
        b'good-2,"over\ntwo lines",2',
        b'stray,a"b,1',
        b"good-3,fine,3",
    ]
    file = tmp_path / "bad.csv"
    file.write_bytes(b"\n".join(lines) + b"\n")
    records, errors = _split(file)
    assert [(r.line, r.product.product_id) for r in records if r.product.product_id.startswith("good")] == [
        (3, "good-1"),
        (10, "good-2"),
        (13, "good-3"),
    ]
    assert [error.line for error in errors if error.line != 12] == [2, 4, 5, 6, 7, 8, 9]
    assert {error.code for error in errors} == {"invalid_input"}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_delimiters_of_spreadsheets_are_understood(tmp_path: Path, delimiter: str) -> None:
    """A byte order mark and semicolons, as some spreadsheets write them."""
    file = tmp_path / "table.csv"
    file.write_bytes("\r\n".join(delimiter.join(r) for r in [("product_id", "title"), ("ä", "ö")]).encode("utf-8-sig"))
    (record,), errors = _split(file)
    assert (record.product.product_id, record.product.title, errors) == ("ä", "ö", [])


def test_json_lines_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    """One object a line; nesting bombs, arrays, wrong types and half surrogate pairs are errors of their line."""
    good = {"product_id": 7, "title": "T", "price": 5, "image": ["a.png"], "color": "red", "tags": ["x"]}
    file = tmp_path / "products.jsonl"
    bad = [
        "[" * 100_000,
        "[1]",
        "{",
        json.dumps({"title": "no id"}),
        json.dumps({"product_id": "x", "title": 5}),
        '{"product_id": "x", "title": "\\ud800"}',
        '{"product_id": "x", "title": "\\u0000"}',
        '{"product_id": "x", "price": NaN}',
        '{"product_id": "x", "price": true}',
        '{"product_id": "x", "weight": Infinity}',
        '{"product_id": "x", "image": 5}',
        '{"product_id": "x", "attributes": 5}',
        '{"product_id": "' + "x" * 10_000 + '"}',
    ]
    file.write_text("\n".join([*bad, "", json.dumps(good)]))
    (record,), errors = _split(file)
    assert [error.line for error in errors] == list(range(1, len(bad) + 1))
    assert (record.line, record.product.product_id, record.product.price) == (len(bad) + 2, "7", Decimal(5))
    assert record.product.attributes == {"color": "red", "tags": ["x"]}
    assert record.images == (str(tmp_path / "a.png"),)


def test_a_folder_gives_a_product_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first sub-folder is the category; other files and hidden ones are passed over; a relative path works."""
    for name in ("shop/red_shoe.JPG", "shop/hats/a-hat.png", "shop/hats/deep/b.webp", "shop/note.txt", "shop/.x/c.jpg"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    records, errors = _split(Path("shop"))
    assert errors == []
    assert {(r.product.product_id, r.product.title, r.product.category) for r in records} == {
        ("red_shoe", "red shoe", None),
        ("hats/a-hat", "a hat", "hats"),
        ("hats/deep/b", "b", "hats"),
    }
    assert all(Path(image).is_file() for record in records for image in record.images)
    assert count_records(Path("shop")) == 3


def test_what_cannot_be_imported_is_told(tmp_path: Path) -> None:
    """A missing path, a file of another kind, a table without ids or with a column twice, a pipe."""
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(InvalidInput, match="neither a file"):
        read_records(tmp_path / "pipe.csv")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read_records(tmp_path / ("x" * 300))
    (tmp_path / "twice.csv").write_text("product_id,title,title\na,b,c\n")
    (twice,) = read_records(tmp_path / "twice.csv")
    assert isinstance(twice, RecordError)
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.csv").write_text("title\nx\n")
    with pytest.raises(InvalidInput, match="no file or folder"):
        read_records(tmp_path / "nothing")
    with pytest.raises(InvalidInput, match=r"neither \.csv"):
        read_records(tmp_path / "a.txt")
    (error,) = read_records(tmp_path / "a.csv")
    assert isinstance(error, RecordError)
    assert "product_id" in error.message
