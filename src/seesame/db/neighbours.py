"""Which vectors of a space are nearest to those of some pictures, for many pictures in a row."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID, uuid4

import numpy as np
from numpy.typing import NDArray

from seesame.db.halfvec import HalfVector
from seesame.db.pool import Connection, set_local
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.db.vectors import unpack
from seesame.types import Space, Vector, Vectors

_SQL = statements("neighbours")

_EF_SEARCH = 60
_MAX_SCANNED = 2_000  # of the product's own pictures, and others that are the same
_BLOCK = 8_192  # vectors that are read at once
_COMPARED_AT_ONCE = 1_024  # with a block of others: 32 MB of cosines
_NONE = -1  # the number of what is none of those that are looked for

Key = tuple[str, UUID]


class Sought(NamedTuple):
    """A picture whose neighbours are looked for: pictures of other bytes, and of other products than this, if any."""

    vector: Vector
    sha256: bytes
    product_id: str | None


class Neighbour(NamedTuple):
    """An image of another product, and the cosine to it."""

    similarity: float
    product_id: str
    image_id: UUID


def nearest(
    connection: Connection, space: Space, sought: Sequence[Sought], *, limit: int, floor: float
) -> list[list[Neighbour]]:
    """For each picture the `limit` nearest, those below `floor` left out. With pgvector."""
    set_local(
        connection,
        hnsw__ef_search=_EF_SEARCH,
        hnsw__iterative_scan="relaxed_order",
        hnsw__max_scan_tuples=_MAX_SCANNED,
    )
    statement = _SQL["nearest"].format(embeddings=embeddings_table(space.space_id))

    def found(one: Sought) -> list[Neighbour]:
        rows = connection.execute(statement, one._asdict() | {"vector": HalfVector(one.vector), "limit": limit})
        return [Neighbour(1 - distance, *key) for *key, distance in rows if 1 - distance >= floor]

    return [found(one) for one in sought]


def nearest_by_comparing(
    connection: Connection, space: Space, sought: Sequence[Sought], *, limit: int, floor: float
) -> list[list[Neighbour]]:
    """The same without pgvector, by comparing all: blocks of vectors are read and forgotten."""
    found: list[list[Neighbour]] = [[] for _ in sought]
    places = range(0, len(sought), _COMPARED_AT_ONCE)
    parts = [(start, _Compared.of(sought[start : start + _COMPARED_AT_ONCE])) for start in places]
    for block in _blocks(connection, space) if sought else ():
        for start, part in parts:
            for row, neighbours in part.nearest(block, limit=limit, floor=floor):
                found[start + row] = heapq.nlargest(limit, [*found[start + row], *neighbours])
    return found


class _Block(NamedTuple):
    """Some images of the table of vectors."""

    keys: list[Key]
    digests: list[bytes]
    vectors: Vectors


@dataclass(frozen=True, slots=True)
class _Compared:
    """Pictures that are compared with a block at once. Their products and digests go by numbers."""

    vectors: Vectors
    products: dict[str | None, int]
    digests: dict[bytes, int]
    own: NDArray[np.int64]  # shape (n, 2): the numbers of each one's product and digest

    @classmethod
    def of(cls, sought: Sequence[Sought]) -> "_Compared":
        products = {one.product_id: number for number, one in enumerate(sought)}
        digests = {one.sha256: number for number, one in enumerate(sought)}
        own = np.array([(products[one.product_id], digests[one.sha256]) for one in sought])
        return cls(np.stack([one.vector for one in sought]), products, digests, own)

    def nearest(self, block: _Block, *, limit: int, floor: float) -> Iterator[tuple[int, list[Neighbour]]]:
        """The `limit` nearest of the block, for each row that has any."""
        similarities = self.vectors @ block.vectors.T
        similarities[self._left_out(block)] = -np.inf
        for row in np.flatnonzero(similarities.max(axis=1) >= floor).tolist():
            near = np.flatnonzero(similarities[row] >= floor)
            if len(near) > limit:
                near = near[np.argpartition(-similarities[row, near], limit)[:limit]]
            yield row, [Neighbour(float(similarities[row, column]), *block.keys[column]) for column in near.tolist()]

    def _left_out(self, block: _Block) -> NDArray[np.bool_]:
        """Which are of the same product or bytes. Shape (n, images of the block)."""
        products = np.array([self.products.get(product_id, _NONE) for product_id, _ in block.keys])
        digests = np.array([self.digests.get(digest, _NONE) for digest in block.digests])
        same: NDArray[np.bool_] = (self.own[:, :1] == products) | (self.own[:, 1:] == digests)
        return same


def _blocks(connection: Connection, space: Space) -> Iterator[_Block]:
    statement = _SQL["vectors"].format(embeddings=embeddings_table(space.space_id))
    with connection.cursor(uuid4().hex, binary=True) as cursor:
        cursor.execute(statement)
        while rows := cursor.fetchmany(_BLOCK):
            vectors = unpack("real[]", [row[3] for row in rows], space.dimensions)
            yield _Block([row[:2] for row in rows], [row[2] for row in rows], vectors.astype(np.float32))
