"""The catalogue as who keeps it sees it: each product with its pictures, and which of them searches find."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from seesame.catalogue import Listing, check_text, listings_of
from seesame.db import catalogue, work
from seesame.db.pool import Connection, Database
from seesame.failures import message_of
from seesame.types import Product, ProductImage, Space

_MAX_TEXT = 1_000


class Gap(NamedTuple):
    """A space in which a picture has no vector. It waits for its turn where there is no `reason`, else it failed."""

    space: str
    reason: str | None
    given_up: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and what it lacks in spaces that are filled; `found`: searches find it."""

    image: ProductImage
    gaps: tuple[Gap, ...]
    found: bool

    @property
    def failed(self) -> bool:
        """Whether it got no vector in some space, and not for want of time."""
        return any(gap.reason for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class Stock:
    """A product with its pictures, in their order."""

    product: Product
    pictures: tuple[Picture, ...]

    @property
    def found(self) -> int:
        """How many of its pictures searches find."""
        return sum(picture.found for picture in self.pictures)

    @property
    def failed(self) -> int:
        """How many of its pictures failed."""
        return sum(picture.failed for picture in self.pictures)


def page(
    database: Database, text: str | None, *, primary: Space, limit: int, offset: int = 0
) -> tuple[list[Stock], int]:
    """Products with this id or all of these words, or simply all, the newest first; and how many there are.

    Raises:
        InvalidInput: the text is too long or cannot be one.
    """
    if text is not None:
        check_text("q", text, _MAX_TEXT)
    with database.transaction() as connection:
        products, total = catalogue.find_products(connection, text, limit=limit, offset=offset)
        images = catalogue.images_of(connection, [product.product_id for product in products])
        return _stock(connection, listings_of(products, images), primary), total


def stock_of(database: Database, listing: Listing, *, primary: Space) -> Stock:
    """One product."""
    with database.transaction() as connection:
        return _stock(connection, [listing], primary)[0]


def _stock(connection: Connection, listings: Sequence[Listing], primary: Space) -> list[Stock]:
    lacks = work.lacks_of(connection, [listing.product.product_id for listing in listings])

    def picture(image: ProductImage) -> Picture:
        own = [lack for lack in lacks if (lack.product_id, lack.image_id) == (image.product_id, image.image_id)]
        gaps = tuple(Gap(k.space, None if k.error_code is None else message_of(k.error_code), k.given_up) for k in own)
        return Picture(image, gaps, found=all(gap.space != primary.key for gap in gaps))

    return [Stock(listing.product, tuple(map(picture, listing.images))) for listing in listings]
