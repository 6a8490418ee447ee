"""The shop's products and their pictures: add, change, read, delete."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from uuid import UUID, uuid5

from seesame.db import catalogue as rows
from seesame.db import work
from seesame.db.pool import Connection, Database
from seesame.errors import InvalidInput, JobEnded, NotFound, StorageFull
from seesame.fingerprints import fingerprint
from seesame.images import Decoder, ImageLimits
from seesame.models.session import default_threads
from seesame.pictures import STORED_SIDE, PictureStore
from seesame.types import Clause, ListPlace, Place, Product, ProductImage, Validators

_NAMESPACE = UUID("6f1b7f0e-6a0e-5c39-9d0b-5ee5a3e00001")
_TEXT_LIMITS = {
    "product_id": 200,
    "title": 1_000,
    "description": 20_000,
    "category": 200,
    "brand": 200,
    "currency": 3,
    "url": 2_000,
}
_MAX_ATTRIBUTES = 100
_MAX_ATTRIBUTES_BYTES = 64 * 1024
_MAX_PRICE = Decimal(10) ** 12
_PRICE_PLACES = 6
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")  # PostgreSQL takes neither NUL nor half a surrogate pair
_CONTROL = re.compile("[\x00-\x1f\x7f]")
_TAKEN = re.compile(r"/(images|similar|images/[0-9A-Fa-f-]{36})\Z")
_CURRENCY = re.compile(r"[A-Z]{3}")


_PAGE = 10_000  # ids read at once

Beside = Callable[[Connection, int], None]
"""Writes what is to be committed together with a deletion of so many products."""

UPLOAD = "upload"
"""The source of a picture that was sent, not named."""


@dataclass(frozen=True)
class Source:
    """The bytes of a picture and where they came from."""

    name: str
    data: bytes
    validators: Validators | None = None

    @cached_property
    def sha256(self) -> bytes:
        """The digest of the bytes."""
        return hashlib.sha256(self.data).digest()


@dataclass(frozen=True, slots=True)
class Listing:
    """A product with its images, in their order."""

    product: Product
    images: tuple[ProductImage, ...]


class Catalogue:
    """Reads and writes the catalogue. What it has written is durable when it returns."""

    def __init__(self, database: Database, pictures: PictureStore, *, limits: ImageLimits, decoder: Decoder) -> None:
        self._database = database
        self._pictures = pictures
        self._limits = limits
        self._decoder = decoder
        # A picture of 50 megapixels takes 150 MB and more while it is decoded.
        self._decoding = threading.Semaphore(default_threads())

    def put(self, product: Product) -> bool:
        """Writes a product; whether it is new.

        Raises:
            InvalidInput: a field is too long or cannot be stored.
        """
        check_product(product)
        with self._database.transaction() as connection:
            return rows.upsert_products(connection, [product]).get(product.product_id, False)

    def get(self, product_id: str) -> Listing:
        """A product with its images.

        Raises:
            NotFound: there is none.
        """
        _check_id(product_id)
        with self._database.transaction() as connection:
            found = rows.get_products(connection, [product_id])
            if product_id not in found:
                raise NotFound("There is no such product.")
            return Listing(found[product_id], tuple(rows.images_of(connection, [product_id])))

    def list(
        self, clauses: Sequence[Clause] = (), *, limit: int, offset: int = 0, after: ListPlace | None = None
    ) -> tuple[list[Listing], int, ListPlace | None]:
        """Products that meet all clauses, the newest first, how many there are in all, and where the next page begins.

        A page that begins `after` a place has what followed there, whatever was added or deleted meanwhile.
        """
        with self._database.transaction() as connection:
            found = rows.list_products(connection, clauses, limit=limit + 1, offset=offset, after=after)
            total = rows.count_products(connection, clauses)
            page = found[:limit]
            images = rows.images_of(connection, [product.product_id for product, _ in page])
        return listings_of([product for product, _ in page], images), total, page[-1][1] if len(found) > limit else None

    def delete(self, product_id: str) -> None:
        """Deletes a product with all that belongs to it.

        Raises:
            NotFound: there is none.
        """
        _check_id(product_id)
        with self._database.transaction() as connection:
            if not rows.lock_product(connection, product_id):
                raise NotFound("There is no such product.")
            images = rows.images_of(connection, [product_id])
            rows.delete_images(connection, images)
            rows.delete_products(connection, [product_id])
        self.discard(images)

    def add_image(self, product_id: str, data: bytes, *, name: str = UPLOAD) -> ProductImage:
        """Adds a picture to a product; the same bytes again are the same image.

        `name` is the URL that it came from: other bytes from there take its place later.

        Raises:
            NotFound: there is no such product.
            ImageError: the picture cannot be used.
        """
        source = Source(name, data)
        known = {image.image_id: image for image in self.get(product_id).images}
        image_id = image_id_of(product_id, source.sha256)
        if image_id in known:
            return known[image_id]
        position = max((image.position for image in known.values()), default=-1) + 1
        image = self.store(product_id, position, source)
        self.publish([image])
        return self.image(image.image_id)

    def delete_image(self, product_id: str, image_id: UUID) -> None:
        """Deletes one image of a product.

        Raises:
            NotFound: the product has no such image.
        """
        images = [image for image in self.get(product_id).images if image.image_id == image_id]
        if not images:
            raise NotFound("There is no such image.")
        with self._database.transaction() as connection:
            rows.delete_images(connection, images)
        self.discard(images)

    def picture(self, image_id: UUID, *, thumbnail: bool = False) -> bytes:
        """The stored JPEG of an image, or a small one.

        Raises:
            NotFound: there is none.
        """
        return self.bytes_of(self.image(image_id), thumbnail=thumbnail)

    def bytes_of(self, image: ProductImage, *, thumbnail: bool = False) -> bytes:
        """The stored JPEG of an image that was read before, or a small one.

        Raises:
            NotFound: it was deleted meanwhile.
        """
        return self._pictures.thumbnail(image.bytes_ref) if thumbnail else self._pictures.read(image.bytes_ref)

    def image(self, image_id: UUID) -> ProductImage:
        """One image of any product.

        Raises:
            NotFound: there is none.
        """
        with self._database.transaction() as connection:
            image = rows.get_image(connection, image_id)
        if image is None:
            raise NotFound("There is no such image.")
        return image

    def totals(self) -> tuple[int, int]:
        """How many products and how many images there are."""
        with self._database.transaction() as connection:
            return rows.totals(connection)

    def categories(self, *, limit: int = 50) -> Sequence[tuple[str, int]]:
        """Categories with how many products each has, the largest first."""
        with self._database.transaction() as connection:
            return rows.categories(connection, limit=limit)

    # In batches, for imports

    def put_many(self, products: Sequence[Product]) -> dict[str, bool]:
        """Writes checked products; those that differ from what was there, with whether they are new."""
        with self._database.transaction() as connection:
            return rows.upsert_products(connection, products)

    def changes(self, products: Sequence[Product]) -> dict[str, bool]:
        """What `put_many` would return, with nothing written."""
        with self._database.transaction() as connection:
            there = rows.get_products(connection, [product.product_id for product in products])
        return {p.product_id: p.product_id not in there for p in products if there.get(p.product_id) != p}

    def ids(self, *, before: datetime | None = None) -> set[str]:
        """The ids of all products, or of those that were there before a moment by the database's clock."""
        found: set[str] = set()
        after = ""
        while True:
            with self._database.transaction() as connection:
                before = before or rows.now(connection)
                page = rows.product_ids(connection, before=before, after=after, limit=_PAGE)
            found.update(page)
            if len(page) < _PAGE:
                return found
            after = page[-1]

    def delete_many(self, product_ids: Sequence[str], beside: Beside | None = None) -> int:
        """Deletes products with all that belongs to them, all or none; how many there still were."""
        with self._database.transaction() as connection:
            # In order, so that two who lock the same do not wait for each other.
            there = [product_id for product_id in sorted(product_ids) if rows.lock_product(connection, product_id)]
            images = rows.images_of(connection, there)
            rows.delete_images(connection, images)
            rows.delete_products(connection, there)
            if beside is not None:
                beside(connection, len(there))
        self.discard(images)
        return len(there)

    def validated(self, sources: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[UUID, Validators]]:
        """Images of the (product_id, source) pairs whose host said how it knows them again."""
        with self._database.transaction() as connection:
            return rows.validated_images(connection, sources)

    def known(self, pairs: Sequence[tuple[str, UUID]]) -> set[UUID]:
        """Which of the images, as (product_id, image_id), exist."""
        with self._database.transaction() as connection:
            return rows.known_images(connection, pairs)

    def store(self, product_id: str, position: int, source: Source) -> ProductImage:
        """Checks a picture and writes its file; `publish` makes it part of the catalogue.

        Raises:
            ImageError: the picture cannot be used.
        """
        with self._decoding:
            info = self._decoder.inspect(source.data, limits=self._limits)
            shortest_side = _stored_shortest_side(info.width, info.height)
            picture = self._decoder.decode(
                source.data, limits=self._limits, shortest_side=shortest_side, max_side=STORED_SIDE
            )
        image_id = image_id_of(product_id, source.sha256)
        return ProductImage(
            product_id=product_id,
            image_id=image_id,
            position=position,
            source=source.name,
            sha256=source.sha256,
            width=info.width,
            height=info.height,
            format=info.format,
            bytes_ref=self._pictures.put(image_id, picture, source.data),
            fingerprint=fingerprint(picture),
            etag=source.validators and source.validators.etag,
            last_modified=source.validators and source.validators.last_modified,
        )

    def publish(
        self,
        images: Sequence[ProductImage],
        *,
        products: Sequence[Product] = (),
        kept: Sequence[Place] = (),
        beside: Callable[[Connection, dict[str, bool]], None] | None = None,
    ) -> dict[str, bool]:
        """Adds stored images to the catalogue and makes them work for the index, all or none.

        An image that came from the same path or URL with other bytes is replaced.

        Args:
            products: checked products, written with the images; returned as by `put_many`.
            kept: images that are there already and are named again, so they are not replaced, whatever their order.
            beside: told what will be returned; what it writes is committed with all this, or nothing is if it raises.

        Raises:
            NotFound: a product was deleted meanwhile.
        """
        images = sorted(images, key=lambda image: image.image_id)  # two imports that insert the same do not deadlock
        named = [Place(i.product_id, i.image_id, i.position, i.source) for i in images if i.source != UPLOAD]
        try:
            with self._database.transaction() as connection:
                changed = rows.upsert_products(connection, products) if products else {}
                rows.place_images(connection, kept)
                replaced = rows.replaced_images(connection, [*named, *kept])
                rows.delete_images(connection, replaced)
                rows.insert_images(connection, images)
                if images:
                    work.enqueue(connection, images)
                stored = {i.bytes_ref for i in rows.images_of(connection, list({i.product_id for i in images}))}
                if beside is not None:
                    beside(connection, changed)
        except (NotFound, StorageFull, JobEnded):
            # Rolled back for certain; after a lost connection the rows may be there and need their files.
            self.discard(images)
            raise
        self.discard([*replaced, *(image for image in images if image.bytes_ref not in stored)])
        return changed

    def discard(self, images: Sequence[ProductImage]) -> None:
        """Deletes the files of images that are not, or no longer, in the catalogue."""
        for image in images:
            self._pictures.delete(image.bytes_ref)


def listings_of(products: Sequence[Product], images: Sequence[ProductImage]) -> list[Listing]:
    """Each product with those of the images that are its own, in their order."""
    of_product: dict[str, list[ProductImage]] = {}
    for image in images:
        of_product.setdefault(image.product_id, []).append(image)
    return [Listing(product, tuple(of_product.get(product.product_id, ()))) for product in products]


def image_id_of(product_id: str, sha256: bytes) -> UUID:
    """The id of an image: the same for the same bytes in the same product, so that writing twice does nothing."""
    return uuid5(_NAMESPACE, f"{sha256.hex()}/{product_id}")


def _check_id(product_id: str) -> None:
    if _UNSTORABLE.search(product_id):
        raise NotFound("There is no such product.")


def check_product(product: Product) -> None:
    """Checks what the database would refuse, and what is no product.

    Raises:
        InvalidInput: naming the field.
    """
    if not product.product_id.strip():
        raise InvalidInput("product_id", "A product needs an id.")
    for name, most in _TEXT_LIMITS.items():
        value = getattr(product, name)
        if value is not None:
            check_text(name, value, most)
    if _CONTROL.search(product.product_id):
        raise InvalidInput("product_id", "An id holds no control characters.")
    if _TAKEN.search(product.product_id):
        raise InvalidInput("product_id", "An id does not end as paths of the API do: /images, /similar.")
    if product.price is not None and not _is_price(product.price):
        raise InvalidInput("price", f"A price is a number, zero or more, with at most {_PRICE_PLACES} decimal places.")
    if product.currency is not None and not _CURRENCY.fullmatch(product.currency):
        raise InvalidInput("currency", "A currency is three capital letters, such as EUR.")
    if len(product.attributes) > _MAX_ATTRIBUTES:
        raise InvalidInput("attributes", f"A product has at most {_MAX_ATTRIBUTES} attributes.")
    _check_attribute("attributes", dict(product.attributes), depth=0)
    if len(json.dumps(product.attributes)) > _MAX_ATTRIBUTES_BYTES:
        raise InvalidInput("attributes", f"At most {_MAX_ATTRIBUTES_BYTES // 1024} KB of attributes.")


def check_text(field: str, value: str, most: int) -> None:
    """Checks a text's length and that PostgreSQL can store it.

    Raises:
        InvalidInput: naming the field.
    """
    if len(value) > most:
        raise InvalidInput(field, f"At most {most:,} characters.")
    if _UNSTORABLE.search(value):
        raise InvalidInput(field, "A text holds no NUL character and no half of a surrogate pair.")


def _is_price(price: Decimal) -> bool:
    if not price.is_finite() or not 0 <= price <= _MAX_PRICE:
        return False
    exponent = price.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_PRICE_PLACES


def _check_attribute(field: str, value: object, *, depth: int) -> None:
    if depth > 4:
        raise InvalidInput(field, "Attributes are nested too deep.")
    match value:
        case str():
            check_text(field, value, 1_000)
        case float() if value != value or value in (float("inf"), float("-inf")):
            raise InvalidInput(field, "A number is finite.")
        case dict():
            for name, inner in value.items():
                check_text(field, name, 200)
                _check_attribute(f"{field}.{name}" if depth == 0 else field, inner, depth=depth + 1)
        case list():
            for inner in value:
                _check_attribute(field, inner, depth=depth + 1)


def _stored_shortest_side(width: int, height: int) -> int | None:
    """What the shorter side shrinks to when it is stored; None where it stays."""
    longest = max(width, height)
    return None if longest <= STORED_SIDE else max(1, min(width, height) * STORED_SIDE // longest)
