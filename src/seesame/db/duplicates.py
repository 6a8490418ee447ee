"""Which pictures are like which, and the groups that they make.

A walk over all images goes by their key, page by page, each in a transaction of its own: it may be cut short anywhere,
begins anew where it left off, and holds no lock for longer than a page.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Literal, NamedTuple
from uuid import UUID, uuid4

import numpy as np
from psycopg import errors
from psycopg.rows import class_row

from seesame.db.catalogue import id_arrays, insert_fingerprints
from seesame.db.neighbours import Key
from seesame.db.pool import Connection, Database, scalar, set_local
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.db.vectors import unpack
from seesame.likeness import Group
from seesame.types import DuplicateKind, Fingerprint, ProductImage, Space, Vectors, WorkItem

_SQL = statements("duplicates")

_LOCK = 0x5EE5A42  # one process compares, another passes
_TRIES = 5
_WRITTEN_AT_ONCE = 5_000

BEGIN: Key = ("", UUID(int=0))


class Uncompared(NamedTuple):
    """An image whose vector was not compared with the others yet."""

    sha256: bytes
    product_id: str
    image_id: UUID
    bits: bytes
    uniform: bool

    @property
    def key(self) -> Key:
        """Its place in the walk."""
        return self.product_id, self.image_id


class Alike(NamedTuple):
    """An image with those that are near or look alike, their cosines, and the bits that differ; all in one order."""

    image_id: UUID
    alike: list[UUID]
    similarities: list[float]
    distances: list[int]


class Run(NamedTuple):
    """When the groups were made, of how many pictures; `stale`: more was compared since."""

    run_id: int
    compared: int
    finished_at: datetime
    stale: bool


class Grouped(NamedTuple):
    """A group, with how many different products and pictures it has."""

    kind: DuplicateKind
    group_id: UUID
    products: int
    pictures: int


@dataclass(frozen=True, slots=True)
class Member:
    """A picture of a group, with its likeness to another one of it."""

    title: str
    image: ProductImage
    similarity: float
    distance: int


PlaceholderReason = Literal["same_picture", "near_picture", "uniform"]


class Stand(NamedTuple):
    """A picture that stands for so many products, and why it counts as a placeholder."""

    image_id: UUID
    products: int
    reason: PlaceholderReason


@contextmanager
def alone(database: Database) -> Iterator[bool]:
    """Keeps other processes from comparing at the same time; False where one is at it already."""
    with database.session() as connection:
        locked = bool(scalar(connection, _SQL["lock"], {"lock": _LOCK}))
        yield locked
        if locked:  # at once: the server may notice a closed session a little later
            connection.execute(_SQL["unlock"], {"lock": _LOCK})


def count_unread(connection: Connection) -> int:
    """About how many images have no fingerprint."""
    return int(scalar(connection, _SQL["count_unread"]))


def count_waiting(connection: Connection) -> int:
    """How many images were not compared with the others yet."""
    return int(scalar(connection, _SQL["count_waiting"]))


def unread(connection: Connection, after: Key, *, limit: int) -> list[WorkItem]:
    """The next images that have no fingerprint."""
    _by_key(connection)
    return [WorkItem(*row) for row in connection.execute(_SQL["unread"], _page(after, limit)).fetchall()]


def write_fingerprints(database: Database, rows: Sequence[tuple[str, UUID, Fingerprint]]) -> None:
    """Adds fingerprints."""
    _beside_deletions(database, lambda connection: insert_fingerprints(connection, rows))


def count_uncompared(connection: Connection, space: Space) -> int:
    """How many images have a vector in this space that was not compared with the others."""
    statement = _SQL["count_uncompared"].format(embeddings=embeddings_table(space.space_id))
    return int(scalar(connection, statement, {"space_id": space.space_id}))


def uncompared(
    connection: Connection, space: Space, after: Key, *, limit: int
) -> tuple[list[Uncompared], Vectors, Key | None]:
    """Those of the next `limit` that have a vector, with these at unit length; and the last key, None at the end."""
    _by_key(connection)
    page = connection.execute(_SQL["uncompared"], _page(after, limit) | {"space_id": space.space_id}).fetchall()
    statement = _SQL["vectors_of"].format(embeddings=embeddings_table(space.space_id))
    with connection.cursor(binary=True) as cursor:
        rows = cursor.execute(statement, id_arrays(row[:2] for row in page)).fetchall()
    embedded = {image_id: (sha256, vector) for image_id, sha256, vector in rows}
    items = [Uncompared(embedded[row[1]][0], *row) for row in page if row[1] in embedded]
    raw = [embedded[item.image_id][1] for item in items]
    vectors = unpack("real[]", raw, space.dimensions).astype(np.float32)
    last = page[-1][:2] if page else None
    return items, vectors / np.linalg.norm(vectors, axis=1, keepdims=True), last


def looks(connection: Connection, keys: Sequence[Key]) -> dict[UUID, bytes]:
    """The bits of these images, of those that show something."""
    return dict(connection.execute(_SQL["looks"], id_arrays(keys)).fetchall())


def write_alike(connection: Connection, space: Space, rows: Sequence[tuple[Key, Alike]]) -> None:
    """Writes what images are alike to; the groups are stale from then on."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _SQL["write_alike"],
            [alike._asdict() | {"product_id": key[0], "space_id": space.space_id} for key, alike in rows],
        )
    connection.execute(_SQL["make_stale"])


def equal(connection: Connection) -> Iterator[list[UUID]]:
    """Images of the same bytes, together."""
    with connection.cursor(uuid4().hex) as cursor:
        cursor.execute(_SQL["equal"])
        yield from (row[0] for row in cursor)


def alike(connection: Connection) -> Iterator[Alike]:
    """Every image that is near to another one or looks like it."""
    with connection.cursor(uuid4().hex, row_factory=class_row(Alike)) as cursor:
        cursor.execute(_SQL["alike"])
        yield from cursor


def uniform(connection: Connection) -> set[UUID]:
    """Images that are nearly one colour."""
    return {row[0] for row in connection.execute(_SQL["uniform"])}


def latest(connection: Connection) -> Run | None:
    """The last run that was finished."""
    row = connection.execute(_SQL["run"]).fetchone()
    return None if row is None else Run(*row)


def replace(database: Database, groups: Iterable[tuple[UUID, Group]]) -> None:
    """Shows these groups, with their ids, in the place of all others, at once when they are all written."""
    with database.transaction(timeout_s=300) as connection:
        others = [row[0] for row in connection.execute(_SQL["others"])]
        connection.execute(_SQL["clear"], {"run_ids": others})
        connection.execute(_SQL["forget"], {"run_ids": others})
        compared = scalar(connection, _SQL["count_compared"])
        run_id = int(scalar(connection, _SQL["begin"], {"compared": compared}))
    members = (
        (image_id, group.kind, group_id, likeness.similarity, likeness.distance, group.covered)
        for group_id, group in groups
        for image_id, likeness in group.members.items()
    )
    while part := list(islice(members, _WRITTEN_AT_ONCE)):
        _write_members(database, run_id, part)
    with database.transaction() as connection:
        connection.execute(_SQL["finish"], {"run_id": run_id})


def groups(
    connection: Connection,
    run: Run,
    kinds: Sequence[DuplicateKind],
    *,
    product_id: str | None = None,
    limit: int,
    offset: int,
) -> tuple[list[Grouped], int]:
    """Groups of the first kind, then of the next, the largest and most alike first; and how many there are in all."""
    values = {"run_id": run.run_id, "kinds": list(kinds), "limit": limit, "offset": offset, "group_ids": None}
    if product_id is not None:
        of_product = {"run_id": run.run_id, "product_id": product_id}
        values["group_ids"] = [row[0] for row in connection.execute(_SQL["groups_of"], of_product)]
    rows = connection.execute(_SQL["groups"], values).fetchall()
    return [Grouped(*row[1:]) for row in rows if row[1] is not None], rows[0][0]


def members(
    connection: Connection, run: Run, group_ids: Sequence[UUID], *, product_id: str | None, most: int | None
) -> dict[UUID, list[Member]]:
    """The pictures of groups, the most alike first but those of `product_id` before them; `most` of a group."""
    values = {"run_id": run.run_id, "group_ids": list(group_ids), "product_id": product_id, "most": most}
    found: dict[UUID, list[Member]] = {group_id: [] for group_id in group_ids}
    for group_id, similarity, distance, title, *image in connection.execute(_SQL["members"], values):
        found[group_id].append(Member(title, ProductImage(*image), similarity, distance))
    return found


def placeholders(
    connection: Connection, run: Run | None, *, at_least: int, limit: int, offset: int
) -> tuple[list[Stand], int]:
    """Pictures that stand for `at_least` products, or show nothing; and how many there are in all."""
    values = {"run_id": run.run_id if run else 0, "at_least": at_least, "limit": limit, "offset": offset}
    rows = connection.execute(_SQL["placeholders"], values).fetchall()
    return [Stand(*row[1:]) for row in rows if row[1] is not None], rows[0][0]


def images(connection: Connection, image_ids: Sequence[UUID]) -> dict[UUID, ProductImage]:
    """Those of the images that exist."""
    with connection.cursor(row_factory=class_row(ProductImage)) as cursor:
        return {image.image_id: image for image in cursor.execute(_SQL["images"], {"image_ids": list(image_ids)})}


def _by_key(connection: Connection) -> None:
    """Has a page read along the key. Where much is left, PostgreSQL would join and sort all of it for each page."""
    set_local(connection, enable_hashjoin="off", enable_sort="off")


def _page(after: Key, limit: int) -> dict[str, Any]:
    return {"product_id": after[0], "image_id": after[1], "limit": limit}


def _write_members(database: Database, run_id: int, rows: Sequence[tuple[Any, ...]]) -> None:
    names = ("image_ids", "kinds", "group_ids", "similarities", "distances", "covered")
    values = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) | {"run_id": run_id}
    _beside_deletions(database, lambda connection: connection.execute(_SQL["write_members"], values))


def _beside_deletions(database: Database, write: Callable[[Connection], object]) -> None:
    """Writes rows of images that exist, anew where one of them is deleted at the very moment."""
    for left in reversed(range(_TRIES)):
        try:
            with database.transaction() as connection:
                write(connection)
                return
        except errors.ForeignKeyViolation:
            if not left:
                raise
