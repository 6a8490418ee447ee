"""The sample catalogue: its plan, its files, and that drawing repeats itself exactly."""

import csv
import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from seesame.demo import catalogue
from seesame.demo.canvas import HEIGHT, WIDTH
from seesame.demo.catalogue import (
    PlannedProduct,
    draw_catalogue,
    draw_packshots,
    draw_photo,
    draw_product,
    plan_products,
    write_csv,
)
from seesame.demo.kinds import KINDS
from seesame.demo.palette import COLOURS
from seesame.demo.patterns import PATTERNS
from seesame.demo.scenes import BACKGROUNDS

SEED = 7


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[PlannedProduct, ...]:
    """A catalogue of three products, one of them with two pictures, and one phone photo."""
    plan = plan_products(SEED)[:3]
    monkeypatch.setattr(catalogue, "plan_products", lambda _seed: plan)
    monkeypatch.setattr(catalogue, "_QUERIES", ((plan[0].product_id, "wood"),))
    return plan


def test_the_shop_is_large_enough() -> None:
    """There are at least 240 products, 20 or more of each of at least 12 kinds."""
    sizes = Counter(product.kind.category for product in plan_products(SEED))

    assert sizes.total() >= 240
    assert len(sizes) >= 12
    assert min(sizes.values()) >= 20


def test_products_differ() -> None:
    """No two products share an id, a picture, or a look."""
    plan = plan_products(SEED)
    pictures = [name for product in plan for name in product.pictures]

    assert len({product.product_id for product in plan}) == len(plan)
    assert len(set(pictures)) == len(pictures)
    looks = {(product.style.noun, product.paint.pattern, product.paint.main, product.paint.second) for product in plan}
    assert len(looks) == len(plan)


def test_some_products_have_two_pictures() -> None:
    """Between a quarter and a half of the products get a second picture."""
    counts = Counter(len(product.pictures) for product in plan_products(SEED))

    assert set(counts) == {1, 2}
    assert 0.25 < counts[2] / counts.total() < 0.5


def test_words_are_usable() -> None:
    """Titles name the colour, descriptions are one sentence, prices lie in the kind's range."""
    for product in plan_products(SEED):
        low, high = product.kind.prices
        assert product.paint.main in product.title
        assert product.description.endswith(".")
        assert product.description.count(".") == 1
        assert low <= product.price < high + 1


def test_plan_depends_on_the_seed_alone() -> None:
    """The same seed plans the same shop, another seed another one."""
    assert plan_products(3) == plan_products(3)
    assert plan_products(3) != plan_products(4)


def test_colours_and_patterns_have_names() -> None:
    """Every product's colour and pattern is one that the palette and the patterns know."""
    for product in plan_products(SEED):
        assert {product.paint.main, product.paint.second} <= set(COLOURS)
        assert product.paint.pattern in PATTERNS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.category)
def test_every_style_can_be_drawn(kind: object) -> None:
    """Each style of a kind covers a good part of the sheet and stays on it."""
    plan = [product for product in plan_products(SEED) if product.kind is kind]
    styles = {product.style.noun: product for product in plan}

    assert len(styles) == len(plan[0].kind.styles)
    for product in styles.values():
        cover = draw_product(product, seed=SEED).cover
        assert cover.shape == (HEIGHT, WIDTH)
        assert 0.04 < cover.mean() < 0.8
        assert max(cover[:, 0].max(), cover[:, -1].max()) == 0


@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_photo_is_not_a_packshot(background: str) -> None:
    """A phone photo differs from every picture of the same product in most of its pixels."""
    product = plan_products(SEED)[1]
    sheet = draw_product(product, seed=SEED)
    photo = np.asarray(draw_photo(product, sheet, seed=SEED, background=background)).astype(int)

    for packshot in draw_packshots(product, sheet, seed=SEED):
        assert np.mean(np.abs(photo - np.asarray(packshot)) > 8) > 0.6


def test_queries_name_products() -> None:
    """Every phone photo shows a product of the plan, on a background that can be drawn."""
    ids = {product.product_id for product in plan_products(SEED)}

    assert 8 <= len(catalogue._QUERIES) <= 12
    assert all(product_id in ids and background in BACKGROUNDS for product_id, background in catalogue._QUERIES)


def test_csv_can_be_read(tmp_path: Path) -> None:
    """The file has a header, one line a product, and prices with two decimals."""
    plan = plan_products(SEED)
    write_csv(tmp_path / "products.csv", plan)

    with (tmp_path / "products.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    words, facts = ["product_id", "title", "description"], ["category", "brand", "price", "currency"]
    assert list(rows[0]) == [*words, *facts, "color", "pattern", "images"]
    assert [row["product_id"] for row in rows] == [product.product_id for product in plan]
    assert all(len(row["price"].partition(".")[2]) == 2 for row in rows)
    assert all(tuple(row["images"].split("|")) == product.pictures for row, product in zip(rows, plan, strict=True))


def test_the_same_seed_gives_the_same_bytes(few: tuple[PlannedProduct, ...], tmp_path: Path) -> None:
    """Two folders drawn from one seed are alike byte for byte, and no picture is there twice."""
    draw_catalogue(tmp_path / "first", seed=SEED)
    draw_catalogue(tmp_path / "second", seed=SEED)

    first, second = _digests(tmp_path / "first"), _digests(tmp_path / "second")
    assert first == second
    assert len(set(first.values())) == len(first) == 4 + 1 + 2


def test_what_is_returned_exists(few: tuple[PlannedProduct, ...], tmp_path: Path) -> None:
    """The CSV file, its pictures and the phone photos are where the result says."""
    progress: list[tuple[int, int]] = []
    sample = draw_catalogue(tmp_path, seed=SEED, progress=lambda done, total: progress.append((done, total)))

    assert sample.products == len(few)
    assert progress == [(1, 3), (2, 3), (3, 3)]
    assert [query.product_id for query in sample.queries] == [few[0].product_id]
    assert all(query.photo.parent == tmp_path / "queries" and query.photo.is_file() for query in sample.queries)
    assert all((tmp_path / name).is_file() for product in few for name in product.pictures)
    assert sample.csv.is_file()


def test_a_second_call_draws_nothing(few: tuple[PlannedProduct, ...], tmp_path: Path) -> None:
    """A complete folder is left alone."""
    first = draw_catalogue(tmp_path, seed=SEED)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    calls: list[int] = []

    assert draw_catalogue(tmp_path, seed=SEED, progress=lambda done, _: calls.append(done)) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert calls == []


def test_a_folder_with_a_gap_is_drawn_again(few: tuple[PlannedProduct, ...], tmp_path: Path) -> None:
    """A picture that was deleted comes back."""
    draw_catalogue(tmp_path, seed=SEED)
    lost = tmp_path / few[1].pictures[0]
    lost.unlink()

    draw_catalogue(tmp_path, seed=SEED)
    assert lost.is_file()


def test_another_seed_draws_again(few: tuple[PlannedProduct, ...], tmp_path: Path) -> None:
    """The marker of another seed does not count."""
    draw_catalogue(tmp_path, seed=SEED)
    before = _digests(tmp_path)

    draw_catalogue(tmp_path, seed=SEED + 1)
    assert _digests(tmp_path)[Path(few[0].pictures[0])] != before[Path(few[0].pictures[0])]


def test_a_failure_is_raised_and_leaves_no_marker(
    few: tuple[PlannedProduct, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A product that cannot be drawn stops the call, and the folder does not pass for complete."""
    broken = replace(few[0], paint=replace(few[0].paint, main="no colour"))
    monkeypatch.setattr(catalogue, "plan_products", lambda _seed: (broken,))

    with pytest.raises(ValueError, match="hexadecimal"):
        draw_catalogue(tmp_path, seed=SEED)
    assert not (tmp_path / "complete.json").exists()


def _digests(folder: Path) -> dict[Path, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
