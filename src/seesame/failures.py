"""Images that got no vector: which, why, and what becomes of them."""

from datetime import datetime
from typing import NamedTuple

from seesame.db import catalogue, work
from seesame.db.pool import Database
from seesame.types import ProductImage

_MESSAGES = {
    "picture_missing": "Its file is not in the data folder. Delete the image and import the product again.",
    "picture_unreadable": "Its file cannot be read; see to the rights and the disk of the data folder.",
    "image_undecodable": "Its file is damaged. Delete the image and import the product again.",
    "unsupported_format": "Its file is of a format that is not taken. Delete the image and import the product again.",
    "image_too_large": "It is larger than the limits now allow.",
    "model_invalid": "The model fails on this picture.",
}
_OTHER = "It could not be embedded; the log of the process that tried has the details."


class FailedImage(NamedTuple):
    """An image that failed in one space. `image` is None for one that was deleted meanwhile."""

    product_id: str
    title: str
    image: ProductImage | None
    space: str
    code: str
    message: str
    attempts: int
    given_up: bool
    next_try_at: datetime | None


def page(database: Database, *, limit: int, offset: int = 0) -> tuple[list[FailedImage], int]:
    """Images that failed, by product, and how many there are."""
    with database.transaction() as connection:
        failures = work.list_failed(connection, limit=limit, offset=offset)
        total = work.count_failed(connection)
        product_ids = list({failure.product_id for failure in failures})
        products = catalogue.get_products(connection, product_ids)
        images = {image.image_id: image for image in catalogue.images_of(connection, product_ids)}
    return [
        FailedImage(
            product_id=failure.product_id,
            title=products[failure.product_id].title if failure.product_id in products else "",
            image=images.get(failure.image_id),
            space=failure.space,
            code=failure.error_code,
            message=_MESSAGES.get(failure.error_code, _OTHER),
            attempts=failure.attempts,
            given_up=failure.given_up,
            next_try_at=failure.next_try_at,
        )
        for failure in failures
    ], total
