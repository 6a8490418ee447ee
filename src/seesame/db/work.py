"""What still lacks a vector, and who is computing it.

Leases end by the database's clock. Each claim has a token of its own, and only rows that still carry it are finished:
a worker that was thought dead cannot write over the one that took its place.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from threading import Event
from typing import NamedTuple
from uuid import UUID

from psycopg import sql
from psycopg.rows import class_row

from seesame.db.catalogue import id_arrays, now
from seesame.db.pool import Connection, Database, scalar
from seesame.db.spaces import embeddings_table, vector_literal
from seesame.db.statements import statements
from seesame.types import ProductImage, Space, Vector, WorkItem

_SQL = statements("work")

CHANNEL = "seesame_work"
MAX_ATTEMPTS = 3
_STOP_CHECK_S = 0.5
_SEEN_S = 0.2
_FORGOTTEN = 10_000


class Failure(NamedTuple):
    """An image that could not be embedded. `next_try_at` is None if it was given up, or is being tried now."""

    product_id: str
    image_id: UUID
    space: str
    error_code: str
    attempts: int
    given_up: bool
    next_try_at: datetime | None


Wait = Callable[[float, Event], None]


@contextmanager
def listening(database: Database) -> Iterator[Wait]:
    """A connection that hears of new work. `wait(seconds, stop)` returns at the first of: work, time, stop."""
    with database.session() as connection:
        connection.execute(f"LISTEN {CHANNEL}".encode())

        def wait(seconds: float, stop: Event) -> None:
            deadline = time.monotonic() + seconds
            while not stop.is_set() and time.monotonic() < deadline:
                if list(connection.notifies(timeout=_STOP_CHECK_S, stop_after=1)):
                    return

        yield wait


def notify(connection: Connection) -> None:
    """Wakes the workers when the transaction commits."""
    connection.execute(_SQL["notify"])


def enqueue(connection: Connection, images: Sequence[ProductImage]) -> None:
    """Makes new images the work of every live space and wakes the workers when the transaction commits."""
    connection.execute(_SQL["enqueue"], id_arrays((image.product_id, image.image_id) for image in images))
    notify(connection)


def reconcile(connection: Connection, space: Space) -> int:
    """Finds images without a vector that nobody has listed as work; how many."""
    statement = _SQL["reconcile"].format(embeddings=embeddings_table(space.space_id))
    return connection.execute(statement, {"space_id": space.space_id, "now": now(connection)}).rowcount


def claim(connection: Connection, space: Space, token: UUID, *, limit: int, lease_s: float) -> list[WorkItem]:
    """Leases up to `limit` images to the holder of `token`. Work of images that are gone is forgotten."""
    parameters = {"space_id": space.space_id, "token": token, "limit": limit, "lease_s": lease_s}
    while claimed := connection.execute(_SQL["claim"], parameters).fetchall():
        items = _located(connection, claimed)
        if len(items) < len(claimed):
            _forget_gone(connection, space)
            items = _located(connection, claimed)
        if items:
            return items
    return []


def _located(connection: Connection, claimed: Sequence[tuple[str, UUID]]) -> list[WorkItem]:
    """Where the pictures of images are, without those that are gone."""
    return [WorkItem(*row) for row in connection.execute(_SQL["locate"], id_arrays(claimed)).fetchall()]


def _forget_gone(connection: Connection, space: Space) -> None:
    """Forgets work of images that do not exist, thousands at once: most often many were deleted together."""
    listed = connection.execute(_SQL["oldest"], {"space_id": space.space_id, "limit": _FORGOTTEN}).fetchall()
    # On distributed tables an image may be seen a moment later than its work, though both were committed together.
    time.sleep(_SEEN_S)
    gone = set(listed) - {(item.product_id, item.image_id) for item in _located(connection, listed)}
    connection.execute(_SQL["forget"], {"space_id": space.space_id, **id_arrays(gone)})


def finish(connection: Connection, space: Space, token: UUID, done: Sequence[tuple[WorkItem, Vector]]) -> int:
    """Writes the vectors of leased images and ends their work; how many leases were still held."""
    lease = {"space_id": space.space_id, "token": token}
    ids = id_arrays((item.product_id, item.image_id) for item, _ in done)
    held = set(connection.execute(_SQL["take"], {**lease, **ids}).fetchall())
    written = [(item, vector) for item, vector in done if (item.product_id, item.image_id) in held]
    statement = _SQL["write"].format(
        embeddings=embeddings_table(space.space_id), vector_type=sql.SQL(space.vector_type)
    )
    vectors = [vector_literal(vector, space.vector_type) for _, vector in written]
    parameters = id_arrays((item.product_id, item.image_id) for item, _ in written) | {"vectors": vectors}
    return connection.execute(statement, parameters).rowcount


def fail(connection: Connection, space: Space, token: UUID, item: WorkItem, code: str, *, retry_s: float) -> None:
    """Records a fault of the image; after three it is given up until someone asks for it again."""
    parameters = {
        "space_id": space.space_id,
        "token": token,
        "product_id": item.product_id,
        "image_id": item.image_id,
        "code": code,
        "max_attempts": MAX_ATTEMPTS,
        "retry_s": retry_s,
    }
    connection.execute(_SQL["fail"], parameters)


def release(connection: Connection, space: Space, token: UUID) -> None:
    """Gives back what was leased and not finished, at no cost to the images."""
    connection.execute(_SQL["release"], {"space_id": space.space_id, "token": token})


def retry_failed(connection: Connection, product_id: str | None = None) -> int:
    """Makes every failed image due again, or those of one product; how many."""
    count = connection.execute(_SQL["retry_failed"], {"product_id": product_id}).rowcount
    notify(connection)
    return count


def count_pending(connection: Connection, space_id: int) -> int:
    """How many images still get their vector in this space."""
    return int(scalar(connection, _SQL["count_pending"], {"space_id": space_id}))


def any_leased(connection: Connection, space_id: int) -> bool:
    """Whether some worker holds images of this space."""
    return bool(scalar(connection, _SQL["any_leased"], {"space_id": space_id}))


def list_failed(connection: Connection, *, limit: int, offset: int = 0) -> list[Failure]:
    """Images that failed, with the reason."""
    with connection.cursor(row_factory=class_row(Failure)) as cursor:
        return cursor.execute(_SQL["list_failed"], {"limit": limit, "offset": offset}).fetchall()


def count_failed(connection: Connection) -> int:
    """How many there are."""
    return int(scalar(connection, _SQL["count_failed"]))
