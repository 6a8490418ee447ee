"""Exact search where there is no pgvector: `real[]` columns, compared in this process.

PostgreSQL's own arithmetic on arrays takes seconds for what one matrix product does in milliseconds. So the vectors of
a space are read once and held, and each search first reads what was written since. Which rows those are, PostgreSQL
knows: a row carries the transaction that wrote it, and the last snapshot tells which transactions it saw. What was
deleted is noticed when it is found, since its image is gone.

A space that does not fit into the memory that is allowed is read anew for each search: as right, and slow.
"""

import heapq
import threading
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import numpy as np
from psycopg import sql
from psycopg.rows import dict_row

from seesame.db.filters import condition
from seesame.db.pool import Connection
from seesame.db.search import hit
from seesame.db.spaces import count_vectors, embeddings_table
from seesame.db.statements import statements
from seesame.db.vectors import unpack
from seesame.types import Clause, Page, Space, Spot, Vector, Vectors

_SQL = statements("exact")

_BLOCK = 8_192  # vectors that are read and compared at once
_FLOAT_BYTES = 4


class _Found(NamedTuple):
    """The best image of a product."""

    similarity: float
    product_id: str
    image_id: UUID

    @property
    def spot(self) -> Spot:
        """Its place in the order of all."""
        return Spot(-self.similarity, self.product_id)


class _Written(NamedTuple):
    """Rows of the table of vectors, and the snapshot that they were read in."""

    snapshot: str
    relation: int
    product_ids: list[str]
    image_ids: list[UUID]
    vectors: Vectors


@dataclass(slots=True)
class _Block:
    """Some vectors, with whose they are. Others read while rows are added; how many there are, `image_ids` tells."""

    vectors: Vectors
    product_ids: list[str] = field(default_factory=list)
    image_ids: list[UUID] = field(default_factory=list)
    gone: set[int] = field(default_factory=set)

    def add(self, product_ids: Sequence[str], image_ids: Sequence[UUID], vectors: Vectors) -> int:
        """Takes as many rows as there is room for; how many."""
        begin = len(self.image_ids)
        taken = min(len(vectors), len(self.vectors) - begin)
        self.vectors[begin : begin + taken] = vectors[:taken]
        self.product_ids += product_ids[:taken]
        self.image_ids += image_ids[:taken]
        return taken

    def forget(self, image_ids: set[UUID]) -> None:
        """Passes over these images from now on."""
        self.gone |= {row for row, image_id in enumerate(self.image_ids) if image_id in image_ids}

    def compare(self, vector: Vector, allowed: set[str] | None, floor: float) -> tuple[int, Iterator[_Found]]:
        """How many rows were compared, and those not below `floor`, the most similar first."""
        rows = len(self.image_ids)
        similarities = self.vectors[:rows] @ vector
        passed = similarities >= floor
        if allowed is not None:
            matching = np.fromiter(map(allowed.__contains__, self.product_ids[:rows]), dtype=bool, count=rows)
            rows, passed = int(matching.sum()), passed & matching
        places = np.flatnonzero(passed)
        order = places[np.argsort(-similarities[places], kind="stable")]
        found = (
            _Found(float(similarities[i]), self.product_ids[i], self.image_ids[i]) for i in order if i not in self.gone
        )
        return rows, found


class _Best:
    """The most similar products so far, each by its best image."""

    def __init__(self, wanted: int, exclude: Collection[str]) -> None:
        self.compared = 0
        self.floor = -np.inf  # what is below it cannot be among the best any more
        self._wanted = wanted
        self._exclude = exclude
        self._found: dict[str, _Found] = {}

    def see(self, block: _Block, vector: Vector, allowed: set[str] | None) -> None:
        """Compares a block."""
        compared, candidates = block.compare(vector, allowed, self.floor)
        self.compared += compared
        own: dict[str, _Found] = {}
        last = np.inf
        for candidate in candidates:
            if len(own) >= self._wanted and candidate.similarity < last:
                break  # what is as similar as the last is kept, so that pages agree on the order
            if candidate.product_id not in self._exclude and candidate.product_id not in own:
                own[candidate.product_id] = candidate
                last = candidate.similarity
        for found in own.values():
            self._found[found.product_id] = max(found, self._found.get(found.product_id, found))
        best = self.ranked()
        self._found = {found.product_id: found for found in best}
        if len(best) == self._wanted:
            self.floor = best[-1].similarity

    def ranked(self) -> list[_Found]:
        """The best products, the most similar first."""
        return heapq.nsmallest(
            self._wanted, self._found.values(), key=lambda found: (-found.similarity, found.product_id)
        )


@dataclass(slots=True)
class _Held:
    """The vectors of one space."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    snapshot: str | None = None
    relation: int | None = None
    blocks: list[_Block] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """How much memory the vectors take."""
        return sum(block.vectors.nbytes for block in self.blocks)

    def refresh(self, connection: Connection, space: Space) -> None:
        """Reads what was written since the last time; all, the first time or where the table is another one now."""
        if self.snapshot is None:
            self.blocks = []
        with closing(_written(connection, space, self.snapshot)) as batches:
            for batch in batches:
                if self.snapshot is not None:
                    if batch.relation != self.relation:
                        break
                    self.forget(batch.image_ids)
                self._add(batch)
            else:
                self.snapshot, self.relation = batch.snapshot, batch.relation
                return
        self.snapshot = None
        self.refresh(connection, space)

    def _add(self, written: _Written) -> None:
        begin = 0
        while begin < len(written.image_ids):
            if not self.blocks or len(self.blocks[-1].image_ids) == _BLOCK:
                self.blocks.append(_Block(np.empty((_BLOCK, written.vectors.shape[1]), np.float32)))
            begin += self.blocks[-1].add(
                written.product_ids[begin:], written.image_ids[begin:], written.vectors[begin:]
            )

    def forget(self, image_ids: Iterable[UUID]) -> None:
        """Passes over these images from now on."""
        gone = set(image_ids)
        if gone:
            for block in self.blocks:
                block.forget(gone)


class ExactVectors:
    """The vectors of all `real[]` spaces of one process. Safe to use from several threads."""

    def __init__(self, *, max_bytes: int) -> None:
        """`max_bytes` of vectors are held; what is more is read for each search."""
        self._max_bytes = max_bytes
        self._lock = threading.Lock()
        self._spaces: dict[int, _Held] = {}

    def nearest(
        self,
        connection: Connection,
        space: Space,
        vector: Vector,
        clauses: Sequence[Clause],
        *,
        limit: int,
        offset: int = 0,
        after: Spot | None = None,
        exclude: Collection[str] = (),
    ) -> Page:
        """Products whose best image is nearest to `vector` by cosine; the arguments are those of `search.nearest`."""
        wanted = offset + limit + 1  # one more tells whether any follow
        allowed = _matching(connection, clauses) if clauses else None
        while True:
            best = _Best(wanted, exclude)
            for block in self._blocks(connection, space):
                best.see(block, vector, allowed)
            ranked = best.ranked()
            following = ranked[offset:] if after is None else [found for found in ranked if found.spot > after]
            page = following[:limit]
            rows = _shown(connection, page)
            if len(rows) == len(page):
                return Page(
                    tuple(map(hit, rows)),
                    "exact",
                    exhausted=len(ranked) < wanted and len(following) <= limit,
                    scanned=best.compared,
                    end=page[-1].spot if page else None,
                )
            self._forget(space, {found.image_id for found in page} - {row["image_id"] for row in rows})

    def hold(self, connection: Connection, space: Space) -> None:
        """Reads a space before it is searched, if it fits."""
        self._blocks(connection, space)

    def _blocks(self, connection: Connection, space: Space) -> Iterable[_Block]:
        """All vectors of a space, as they are now."""
        with self._lock:
            held = self._spaces.setdefault(space.space_id, _Held())
            others = sum(other.bytes for other in self._spaces.values() if other is not held)
        with held.lock:
            if held.snapshot is None:
                needed = count_vectors(connection, space.space_id) * space.dimensions * _FLOAT_BYTES
                if needed + others > self._max_bytes:
                    return (_Block(w.vectors, w.product_ids, w.image_ids) for w in _written(connection, space, None))
            held.refresh(connection, space)
            return list(held.blocks)

    def _forget(self, space: Space, image_ids: set[UUID]) -> None:
        with self._lock:
            held = self._spaces[space.space_id]
        held.forget(image_ids)


def _written(connection: Connection, space: Space, snapshot: str | None) -> Generator[_Written]:
    """What was written since a snapshot, or ever: at least one batch, which may be empty."""
    new = _SQL["new"] if snapshot is not None else sql.SQL("true")
    table = embeddings_table(space.space_id)
    statement = _SQL["read"].format(embeddings=table, new=new)
    with connection.cursor(uuid4().hex, binary=True) as cursor:
        cursor.execute(statement, {"table": table.as_string(), "snapshot": snapshot})
        while rows := cursor.fetchmany(_BLOCK):
            seen, relation, *_ = rows[0]
            rows = [row for row in rows if row[2] is not None]
            yield _Written(
                seen,
                relation,
                [row[2] for row in rows],
                [row[3] for row in rows],
                unpack("real[]", [row[4] for row in rows], space.dimensions).astype(np.float32),
            )


def _matching(connection: Connection, clauses: Sequence[Clause]) -> set[str]:
    where, values = condition(clauses)
    return {row[0] for row in connection.execute(_SQL["matching"].format(condition=where), values)}


def _shown(connection: Connection, page: list[_Found]) -> list[dict[str, Any]]:
    """The rows of products and images of those that are still there."""
    values = {
        "product_ids": [found.product_id for found in page],
        "image_ids": [found.image_id for found in page],
        "similarities": [found.similarity for found in page],
    }
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(_SQL["shown"], values).fetchall()
