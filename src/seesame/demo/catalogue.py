"""Writes the sample shop's catalogue: a CSV file, its pictures, and phone photos to search with.

Everything is drawn by this package from a seed, so the sample needs no download and no licence. The same seed gives
the same bytes with the same Pillow and NumPy.
"""

import csv
import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from seesame.demo.canvas import Paint, Sheet, draw
from seesame.demo.kinds import BRANDS, KINDS, Kind, Style
from seesame.demo.palette import COLOURS, PAIRS
from seesame.demo.scenes import phone_photo, seen_from, studio

VERSION: Final = 1
"""Goes up whenever the same seed draws something else: then a finished folder is drawn again."""

PRODUCTS_PER_KIND: Final = 20
IMAGE_SEPARATOR: Final = "|"
_MARKER: Final = "complete.json"

_QUERIES: Final = (
    ("UMB-005", "wood"),
    ("SNE-016", "tiles"),
    ("MUG-005", "carpet"),
    ("DRE-003", "linen"),
    ("PAC-010", "grass"),
    ("WAT-002", "concrete"),
    ("BAG-014", "linen"),
    ("BOO-006", "wood"),
    ("SUN-011", "linen"),
    ("HOO-012", "tiles"),
    ("TEE-013", "linen"),
    ("SKI-017", "wood"),
)
"""The product that each phone photo shows, and what it lies on."""


@dataclass(frozen=True)
class PlannedProduct:
    """One product before it is drawn: its words, its colours and how many pictures it gets."""

    product_id: str
    title: str
    description: str
    brand: str
    price: Decimal
    kind: Kind
    style: Style
    paint: Paint
    number: int
    pictures: tuple[str, ...]


@dataclass(frozen=True)
class SampleQuery:
    """A phone photo, and the product that it shows."""

    photo: Path
    product_id: str


@dataclass(frozen=True)
class SampleCatalogue:
    """The files written, and how many products they hold."""

    csv: Path
    products: int
    queries: tuple[SampleQuery, ...]


@dataclass(frozen=True)
class _Row:
    """A line of the CSV file. Several pictures are paths with `|` between them."""

    product_id: str
    title: str
    description: str
    category: str
    brand: str
    price: Decimal
    currency: str
    color: str
    pattern: str
    images: str


def plan_products(seed: int) -> tuple[PlannedProduct, ...]:
    """Every product of the catalogue; nothing is drawn."""
    plan: list[PlannedProduct] = []
    for kind_number, kind in enumerate(KINDS):
        rng = np.random.default_rng([seed, kind_number])
        looks = _looks(kind, rng)
        for place in range(PRODUCTS_PER_KIND):
            style, paint = next(looks)
            plan.append(_product(kind, style, paint, number=len(plan), place=place + 1, rng=rng))
    return tuple(plan)


def draw_catalogue(
    folder: Path, *, seed: int = 7, progress: Callable[[int, int], None] | None = None
) -> SampleCatalogue:
    """Draw the sample catalogue into `folder`, or find it there already.

    Writes `products.csv` (image paths relative to it), `pictures/` and `queries/`. `progress` is called on the
    caller's thread with the products drawn so far and their total.
    """
    plan = plan_products(seed)
    files = [folder / name for product in plan for name in product.pictures]
    catalogue = SampleCatalogue(
        csv=folder / "products.csv",
        products=len(plan),
        queries=tuple(
            SampleQuery(folder / "queries" / f"{number:02d}-on-{background}.jpg", product_id)
            for number, (product_id, background) in enumerate(_QUERIES, start=1)
        ),
    )
    marker = folder / _MARKER
    stamp = json.dumps({"version": VERSION, "seed": seed})
    expected = [catalogue.csv, *files, *(query.photo for query in catalogue.queries)]
    if marker.is_file() and marker.read_text(encoding="utf-8") == stamp and all(map(Path.is_file, expected)):
        return catalogue
    marker.unlink(missing_ok=True)
    for name in ("pictures", "queries"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    photos = {
        product_id: (query.photo, background)
        for query, (product_id, background) in zip(catalogue.queries, _QUERIES, strict=True)
    }
    tasks = [partial(_write_product, folder, product, seed, photos.get(product.product_id)) for product in plan]
    _run(tasks, progress)
    write_csv(catalogue.csv, plan)
    marker.write_text(stamp, encoding="utf-8")
    return catalogue


def write_csv(path: Path, plan: Sequence[PlannedProduct]) -> None:
    """The products as a CSV file with a header line."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [column.name for column in fields(_Row)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(_row(product)) for product in plan)


def draw_product(product: PlannedProduct, *, seed: int) -> Sheet:
    """The product alone, on nothing."""
    rng = np.random.default_rng([seed, product.number, 0])
    return draw(product.style.draw(**product.style.shape), product.paint, rng)


def draw_packshots(product: PlannedProduct, sheet: Sheet, *, seed: int) -> Iterator[Image.Image]:
    """The product's pictures in the shop: straight on, then a little from the side."""
    for view in range(len(product.pictures)):
        rng = np.random.default_rng([seed, product.number, 1, view])
        seen = sheet
        if view > 0:
            roll_deg = 0.0 if product.kind.standing else rng.uniform(-7, 7)
            yaw_deg = rng.choice([-1, 1]) * rng.uniform(9, 18)
            seen = seen_from(sheet, roll_deg=roll_deg, yaw_deg=yaw_deg, scale=rng.uniform(0.78, 0.88))
        yield studio(seen, rng, standing=product.kind.standing)


def draw_photo(product: PlannedProduct, sheet: Sheet, *, seed: int, background: str) -> Image.Image:
    """The product as a customer's phone sees it."""
    return phone_photo(sheet, np.random.default_rng([seed, product.number, 2]), background=background)


def _looks(kind: Kind, rng: np.random.Generator) -> Iterator[tuple[Style, Paint]]:
    """Styles in turn, each time in colours and a pattern that the kind has not had."""
    pairs = list(PAIRS)
    rng.shuffle(pairs)
    plain = list(kind.plain or ([] if kind.two_tone else [(colour, colour) for colour in COLOURS]))
    rng.shuffle(plain)
    patterns = list(kind.patterns)
    rng.shuffle(patterns)
    seen: set[tuple[str, str, str, str]] = set()
    turn = 0
    while True:
        style = kind.styles[turn % len(kind.styles)]
        pattern = patterns[(turn + turn // len(patterns)) % len(patterns)]
        main, second = pairs[turn % len(pairs)]
        if pattern == "plain" and plain:
            main, second = plain[turn % len(plain)]
        trim = kind.trims[turn % len(kind.trims)]
        look = (style.noun, pattern, main, second)
        turn += 1
        if look not in seen:
            seen.add(look)
            yield style, Paint(main, second, trim, pattern)


def _product(
    kind: Kind, style: Style, paint: Paint, *, number: int, place: int, rng: np.random.Generator
) -> PlannedProduct:
    product_id = f"{kind.code}-{place:03d}"
    material = str(rng.choice(style.materials or kind.materials))
    colours = paint.main if paint.main == paint.second else f"{paint.main} and {paint.second}"
    words = [material, style.noun] if paint.pattern == "plain" else [paint.pattern, material, style.noun]
    phrase = " ".join(words)
    article = "" if style.noun.endswith("s") and kind.category != "dresses" else "An " if phrase[0] in "aeiou" else "A "
    sentence = f"{article}{phrase} in {colours} with {style.detail}, made for {rng.choice(kind.uses)}."
    low, high = kind.prices
    cents = int(rng.choice([0, 50, 90, 95, 99]))
    price = Decimal(int(low * (high / low) ** rng.uniform())) + Decimal(cents) / 100
    shots = 2 if place % 3 == 2 else 1
    return PlannedProduct(
        product_id=product_id,
        title=f"{_capital(phrase)}, {colours}",
        description=_capital(sentence),
        brand=str(rng.choice(BRANDS)),
        price=price.quantize(Decimal("0.01")),
        kind=kind,
        style=style,
        paint=paint,
        number=number,
        pictures=tuple(f"pictures/{product_id.lower()}-{shot + 1}.jpg" for shot in range(shots)),
    )


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _row(product: PlannedProduct) -> _Row:
    return _Row(
        product_id=product.product_id,
        title=product.title,
        description=product.description,
        category=product.kind.category,
        brand=product.brand,
        price=product.price,
        currency="EUR",
        color=product.paint.main,
        pattern=product.paint.pattern,
        images=IMAGE_SEPARATOR.join(product.pictures),
    )


def _write_product(folder: Path, product: PlannedProduct, seed: int, photo: tuple[Path, str] | None) -> None:
    sheet = draw_product(product, seed=seed)
    for name, picture in zip(product.pictures, draw_packshots(product, sheet, seed=seed), strict=True):
        picture.save(folder / name, quality=88)
    if photo is not None:
        path, background = photo
        draw_photo(product, sheet, seed=seed, background=background).save(path, quality=82)


def _run(tasks: Sequence[Callable[[], None]], progress: Callable[[int, int], None] | None) -> None:
    """Every task, on a few threads: Pillow and NumPy let go of the interpreter while they work."""
    with ThreadPoolExecutor(min(os.cpu_count() or 1, 8)) as pool:
        done = as_completed([pool.submit(task) for task in tasks])
        for number, future in enumerate(done, start=1):
            future.result()
            if progress is not None:
                progress(number, len(tasks))
