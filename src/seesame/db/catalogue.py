"""Products and their images in the database."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import errors
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from seesame.db.filters import condition
from seesame.db.pool import Connection, scalar
from seesame.db.statements import statements
from seesame.errors import NotFound
from seesame.types import Clause, Place, Product, ProductImage, Validators

_SQL = statements("catalogue")

_SAMPLE = 5_000  # products that tell which attributes are common


def upsert_products(connection: Connection, products: Sequence[Product]) -> dict[str, bool]:
    """Writes products; those that differ are returned with whether they are new. Each id at most once."""
    rows = [asdict(p) | {"price": None if p.price is None else str(p.price)} for p in products]
    parameters = {"rows": Jsonb(rows), "now": now(connection)}
    return dict(connection.execute(_SQL["upsert_products"], parameters).fetchall())


def get_products(connection: Connection, product_ids: Sequence[str]) -> dict[str, Product]:
    """Those of the products that exist, by id."""
    with connection.cursor(row_factory=class_row(Product)) as cursor:
        cursor.execute(_SQL["get_products"], {"product_ids": list(product_ids)})
        return {product.product_id: product for product in cursor}


def list_products(connection: Connection, clauses: Sequence[Clause], *, limit: int, offset: int) -> list[Product]:
    """Products that meet all clauses, the newest first."""
    where, values = condition(clauses)
    with connection.cursor(row_factory=class_row(Product)) as cursor:
        statement = _SQL["list_products"].format(condition=where)
        return cursor.execute(statement, {**values, "limit": limit, "offset": offset}).fetchall()


def count_products(connection: Connection, clauses: Sequence[Clause]) -> int:
    """How many products meet all clauses."""
    where, values = condition(clauses)
    return int(scalar(connection, _SQL["count_products"].format(condition=where), values))


def product_ids(connection: Connection, *, before: datetime, after: str, limit: int) -> list[str]:
    """Ids of products that were there before a moment, in order, those that follow `after`."""
    values = {"before": before, "after": after, "limit": limit}
    return [row[0] for row in connection.execute(_SQL["product_ids"], values).fetchall()]


def lock_product(connection: Connection, product_id: str) -> bool:
    """Keeps others from changing a product, or adding images to it, until the transaction ends; whether it exists."""
    return scalar(connection, _SQL["lock_product"], {"product_id": product_id}) is not None


def delete_products(connection: Connection, product_ids: Sequence[str]) -> None:
    """Deletes products, their images and their vectors."""
    connection.execute(_SQL["delete_products"], {"product_ids": list(product_ids)})


def images_of(connection: Connection, product_ids: Sequence[str]) -> list[ProductImage]:
    """All images of some products, by product and position."""
    return _images(connection, "images_of", {"product_ids": list(product_ids)})


def get_image(connection: Connection, image_id: UUID) -> ProductImage | None:
    """One image."""
    found = _images(connection, "get_image", {"image_id": image_id})
    return found[0] if found else None


def known_images(connection: Connection, pairs: Iterable[tuple[str, UUID]]) -> set[UUID]:
    """Those of the (product_id, image_id) pairs that exist, as image ids."""
    return {row[0] for row in connection.execute(_SQL["known_images"], id_arrays(pairs)).fetchall()}


def insert_images(connection: Connection, images: Sequence[ProductImage]) -> None:
    """Adds images; those that exist stay as they are. Raises NotFound where a product does not exist."""
    written_at = now(connection)
    rows = [asdict(image) | {"now": written_at} for image in images]
    try:
        with connection.cursor() as cursor:
            cursor.executemany(_SQL["insert_image"], rows)
    except errors.ForeignKeyViolation as error:
        raise NotFound("There is no such product.") from error


def place_images(connection: Connection, places: Sequence[Place]) -> None:
    """Gives images that exist the source, position and validators that they have now."""
    connection.execute(_SQL["place_images"], _places(places))


def validated_images(
    connection: Connection, sources: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], tuple[UUID, Validators]]:
    """Images of the (product_id, source) pairs that came with validators."""
    values = {"product_ids": [pair[0] for pair in sources], "sources": [pair[1] for pair in sources]}
    rows = connection.execute(_SQL["validated_images"], values).fetchall()
    return {(product_id, source): (image_id, Validators(*known)) for product_id, source, image_id, *known in rows}


def replaced_images(connection: Connection, places: Sequence[Place]) -> list[ProductImage]:
    """Images that came from one of these sources of their product and are none of these: it has other bytes now."""
    return _images(connection, "replaced_images", _places(places))


def delete_images(connection: Connection, images: Sequence[ProductImage]) -> None:
    """Deletes images, their vectors and the work that they still had."""
    pairs = id_arrays((image.product_id, image.image_id) for image in images)
    connection.execute(_SQL["forget_work"], pairs)
    connection.execute(_SQL["delete_images"], pairs)


def totals(connection: Connection) -> tuple[int, int]:
    """How many products and how many images there are."""
    row = connection.execute(_SQL["totals"]).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def categories(connection: Connection, *, limit: int) -> list[tuple[str, int]]:
    """Categories with how many products each has, the largest first."""
    return connection.execute(_SQL["categories"], {"limit": limit}).fetchall()


def common_attributes(connection: Connection, *, limit: int, values: int) -> list[str]:
    """Names of the attributes that most products have, among those with no more than so many values."""
    products, _ = totals(connection)
    parameters = {"percent": min(100, 100 * _SAMPLE / max(1, products)), "limit": limit, "at_most": values}
    return [row[0] for row in connection.execute(_SQL["common_attributes"], parameters).fetchall()]


def now(connection: Connection) -> Any:
    """The time by the database's clock. Distributed tables take no `now()` in an UPDATE, so it is a parameter."""
    return scalar(connection, "SELECT now()")


def id_arrays(pairs: Iterable[tuple[str, UUID]]) -> dict[str, Any]:
    """The (product_id, image_id) pairs as the parameters `product_ids` and `image_ids`."""
    listed = list(pairs)
    return {"product_ids": [pair[0] for pair in listed], "image_ids": [pair[1] for pair in listed]}


def _images(connection: Connection, name: str, parameters: dict[str, Any]) -> list[ProductImage]:
    with connection.cursor(row_factory=class_row(ProductImage)) as cursor:
        return cursor.execute(_SQL[name], parameters).fetchall()


def _places(places: Sequence[Place]) -> dict[str, Any]:
    return id_arrays((place.product_id, place.image_id) for place in places) | {
        "sources": [place.source for place in places],
        "positions": [place.position for place in places],
        "etags": [place.etag for place in places],
        "last_modifieds": [place.last_modified for place in places],
    }
