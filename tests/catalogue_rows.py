"""Rows for tests of the database that need vectors but no pictures."""

import hashlib
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from seesame.db import catalogue, work
from seesame.db.pool import Connection
from seesame.types import Product, ProductImage, Space, Vectors


def unit(vectors: NDArray[Any]) -> Vectors:
    """Rows scaled to unit length."""
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def add_images(
    connection: Connection, space: Space, vectors: Vectors, *, products: Sequence[Product] | None = None
) -> list[ProductImage]:
    """One image a vector, the i-th of product `p<i>` or of `products[i]`, embedded in this space."""
    owners = products or [Product(f"p{i}", title=f"Product {i}") for i in range(len(vectors))]
    catalogue.upsert_products(connection, list({p.product_id: p for p in owners}.values()))
    images = [image_row(product.product_id) for product in owners]
    catalogue.insert_images(connection, images)
    work.enqueue(connection, images)
    token = uuid4()
    items = {i.image_id: i for i in work.claim(connection, space, token, limit=len(images), lease_s=60)}
    done = [(items[image.image_id], vector) for image, vector in zip(images, vectors, strict=True)]
    assert work.finish(connection, space, token, done) == len(images)
    return images


def image_row(product_id: str, image_id: UUID | None = None) -> ProductImage:
    """An image whose bytes nobody reads."""
    name = image_id or uuid4()
    digest = hashlib.sha256(name.bytes).digest()
    return ProductImage(product_id, name, 0, f"{name}.jpg", digest, 10, 10, "jpeg", f"00/{name.hex}.jpg")
