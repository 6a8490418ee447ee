"""Nearest images, grouped by product, in one statement."""

import math
from collections.abc import Collection, Sequence
from dataclasses import MISSING, fields
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import sql
from psycopg.rows import dict_row

from seesame.db.catalogue import images_of
from seesame.db.filters import ATTRIBUTE, condition
from seesame.db.halfvec import HalfVector
from seesame.db.indexes import WORTH_IT
from seesame.db.pool import Connection, scalar, set_local
from seesame.db.spaces import embeddings_table
from seesame.db.statements import statements
from seesame.types import Clause, Hit, Method, Page, Product, ProductImage, Space, Spot, Vector

_SQL = statements("search")

_MAX_EF_SEARCH = 1_000
_PATIENCE = 4  # times what an index should have to pass over; then what matches is not where the query is
_SCAN_MEMORY = 4  # times work_mem, for what was passed over
_SAMPLE = 2_000  # products whose share that matches stands for all
_SAMPLED_ABOVE = 10 * _SAMPLE
_SEEN_ENOUGH = 20  # that match in a sample; fewer say little about all, so they are counted
# An index orders by the operator alone; with a sum around it, all that match are compared.
_DISTANCE = {
    "exact": sql.SQL("(e.image_embedding <=> %(vector)s::halfvec) + 0"),
    "hnsw": sql.SQL("e.image_embedding <=> %(vector)s::halfvec"),
    "iterative": sql.SQL("e.distance"),
}
_ALL = sql.SQL("{embeddings} e")
# What an index gives after many that did not match is not the nearest of what matches: so many and no more.
_IN_REACH = sql.SQL(
    "(SELECT e.product_id, e.image_id, e.image_embedding <=> %(vector)s::halfvec AS distance"
    " FROM {embeddings} e ORDER BY distance LIMIT %(reach)s) AS e"
)
_NOT_THESE = sql.SQL("AND e.product_id <> ALL(%(exclude)s)")
_THESE = sql.SQL("f.product_id = ANY(%(product_ids)s)")
_FOLLOWING = sql.SQL("(distance, product_id) > (%(distance)s, %(product_id)s)")
_JOIN_PRODUCTS = sql.SQL("JOIN seesame.products f USING (product_id)")
_PRODUCT_FIELDS = [field.name for field in fields(Product)]
_IMAGE_FIELDS = [field.name for field in fields(ProductImage) if field.default is MISSING]  # imports need the others


def nearest(
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
    """Products whose best image is nearest to `vector` by cosine.

    Args:
        vector: unit length, of the dimensions of `space`, made by its embedder.
        offset: how many products were shown already.
        after: where they ended; without it `offset` products are counted off.
        exclude: products that are not to be found.
    """
    search = _Search(connection, space, vector, clauses, after, exclude)
    counted_off = offset if after is None else 0
    wanted = counted_off + limit + 1  # one more tells whether any follow
    method = search.method()
    candidates = 2 * (offset + limit + 1)  # products have several images; more are asked for where that was too few
    while True:
        if method != "exact" and candidates > _MAX_EF_SEARCH:
            method = "exact"
        rows = search.run(method, candidates=candidates, limit=limit, offset=counted_off)
        ended = rows[0]["images"] < candidates
        if rows[0]["products"] >= wanted or (ended and method == "exact"):
            break
        if ended:  # the index gave up before it had seen all
            method = "exact"
        else:
            candidates *= 4
    found = [row for row in rows if row["product_id"] is not None]
    return Page(
        tuple(map(hit, found)),
        method,
        exhausted=rows[0]["products"] < wanted,
        scanned=rows[0]["images"],
        end=Spot(found[-1]["distance"], found[-1]["product_id"]) if found else None,
    )


def fulltext(connection: Connection, text: str, clauses: Sequence[Clause], *, limit: int, offset: int = 0) -> Page:
    """Products whose texts hold the words: those with all of them first, then those with some. Without their images."""
    where, values = condition(clauses)
    found = _matching(connection, text, where, {**values, "limit": limit, "offset": offset})
    hits = tuple(Hit(_product(row), None, None) for row in found[:limit])
    return Page(hits, "fulltext", exhausted=len(found) <= limit, scanned=len(found))


def word_ranks(connection: Connection, text: str, product_ids: Sequence[str]) -> dict[str, float]:
    """How well the texts of some products match the words, best first; the more, the better; only those that do."""
    values = {"product_ids": list(product_ids), "limit": len(product_ids), "offset": 0}
    return {row["product_id"]: row["rank"] for row in _matching(connection, text, _THESE, values)}


def _matching(connection: Connection, text: str, where: sql.Composable, values: dict[str, Any]) -> list[dict[str, Any]]:
    statement = _SQL["fulltext"].format(condition=where)
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, {**values, "text": text}).fetchall()


def illustrated(connection: Connection, hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The same products, each with its first image."""
    return _with_best(connection, hits, {})


def compared(connection: Connection, space: Space, vector: Vector, hits: Sequence[Hit]) -> tuple[Hit, ...]:
    """The same products, each with the image that is nearest to `vector`; the first where none has a vector here."""
    if not hits:
        return ()
    return _with_best(connection, hits, similarities(connection, space, vector, [h.product.product_id for h in hits]))


def similarities(connection: Connection, space: Space, vector: Vector, product_ids: Sequence[str]) -> dict[UUID, float]:
    """How similar each image of some products is to `vector`; without those that have no vector here."""
    statement = _SQL["vectors_of_products"].format(embeddings=embeddings_table(space.space_id))
    found: dict[UUID, float] = {}
    for image_id, numbers in connection.execute(statement, {"product_ids": product_ids}, binary=True):
        stored = np.asarray(numbers, dtype=np.float32)
        found[image_id] = _cosine(float(stored @ vector / np.linalg.norm(stored)))
    return found


def _with_best(connection: Connection, hits: Sequence[Hit], similarities: dict[UUID, float]) -> tuple[Hit, ...]:
    """With the image of each product that is the most similar, of equals the first."""
    best: dict[str, ProductImage] = {}
    for image in images_of(connection, [hit.product.product_id for hit in hits]):
        known = best.setdefault(image.product_id, image)
        if similarities.get(image.image_id, -math.inf) > similarities.get(known.image_id, -math.inf):
            best[image.product_id] = image
    images = [best.get(hit.product.product_id) for hit in hits]
    return tuple(
        Hit(hit.product, similarities.get(image.image_id) if image else None, image)
        for hit, image in zip(hits, images, strict=True)
    )


def facets(
    connection: Connection, fields: Sequence[str], clauses: Sequence[Clause], *, limit: int
) -> dict[str, list[tuple[Any, int]]]:
    """For each field its values with how many products have them, the most frequent first.

    Counted are the products that meet all clauses but those on the field itself: its other values can be chosen, too.
    """
    return {field: _facet(connection, field, [c for c in clauses if c.field != field], limit) for field in fields}


def _facet(connection: Connection, field: str, clauses: Sequence[Clause], limit: int) -> list[tuple[Any, int]]:
    where, values = condition(clauses)
    if field.startswith(ATTRIBUTE):
        statement = _SQL["attribute_facet"].format(condition=where)
        values["name"] = field.removeprefix(ATTRIBUTE)
    else:
        statement = _SQL["column_facet"].format(condition=where, column=sql.Identifier(field))
    return connection.execute(statement, values | {"limit": limit}).fetchall()


def vector_of(connection: Connection, space: Space, product_id: str, image_id: UUID | None = None) -> Vector | None:
    """The stored vector of an image, or of a product's first image that has one. Unit length."""
    name = "vector_of_product" if image_id is None else "vector_of_image"
    statement = _SQL[name].format(embeddings=embeddings_table(space.space_id))
    row = connection.execute(statement, {"product_id": product_id, "image_id": image_id}).fetchone()
    if row is None:
        return None
    vector = np.asarray(row[0], dtype=np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def few(space: Space) -> int:
    """How many images are compared one by one rather than searched through the index.

    If of N images n match, an index that looks at k of those has to pass over k N / n others, as their share is n / N.
    Comparing the n that match costs about as much where n = sqrt(k N).
    """
    return max(WORTH_IT, math.isqrt(space.ef_search * max(0, space.images)))


class _Search:
    """The parts of the statement that stay the same however often it runs."""

    def __init__(
        self,
        connection: Connection,
        space: Space,
        vector: Vector,
        clauses: Sequence[Clause],
        after: Spot | None,
        exclude: Collection[str],
    ) -> None:
        self._connection = connection
        self._space = space
        self._filtered = bool(clauses)
        self._few = few(space)
        self._share = 1.0  # of the images that match
        self._passes_over = bool(clauses or exclude)
        where, self._values = condition(clauses)
        self._names = {
            "embeddings": embeddings_table(space.space_id),
            "join": _JOIN_PRODUCTS if self._filtered else sql.SQL(""),
            "condition": where,
            "not_itself": _NOT_THESE if exclude else sql.SQL(""),
            "following": sql.SQL("true") if after is None else _FOLLOWING,
        }
        self._values["exclude"] = list(exclude)
        if after is not None:
            self._values.update(after._asdict())
        self._vector = HalfVector(vector)

    def method(self) -> Method:
        """Exact where few match or there is no index; else through the index."""
        if not self._space.indexed:
            return "exact"
        if not self._filtered:
            return "hnsw" if self._space.images > self._few or self._count() > self._few else "exact"
        share = self._sampled_share()
        if share is not None:
            many = share * self._space.images > self._few
        else:
            many = self._count() > self._few
            share = self._few / max(self._few, self._space.images)
        self._share = share
        return "iterative" if many else "exact"

    def _ef_search(self) -> int:
        """As many that match as `ef_search` stands for without a filter, up to four times of it at first."""
        return round(self._space.ef_search * min(_PATIENCE, 1 / self._share))

    def _sampled_share(self) -> float | None:
        """Which part of the products matches; None where a sample does not tell."""
        if self._space.images <= _SAMPLED_ABOVE:
            return None
        statement = _SQL["sampled"].format(**self._names)
        values = {**self._values, "percent": 100 * _SAMPLE / self._space.images}
        looked, matched = self._connection.execute(statement, values).fetchone() or (0, 0)
        return matched / looked if matched >= _SEEN_ENOUGH else None

    def _count(self) -> int:
        """How many can match, up to one more than few.

        With a filter products are counted, not their images: without a join that takes a twentieth of the time.
        """
        statement = _SQL["count_products" if self._filtered else "count_images"].format(**self._names)
        return int(scalar(self._connection, statement, {**self._values, "at_most": self._few + 1}))

    def run(self, method: Method, *, candidates: int, limit: int, offset: int) -> list[dict[str, Any]]:
        """At least one row: the totals, and a product where there is one."""
        reach = math.ceil(_PATIENCE * candidates / self._share)
        if method != "exact":
            # What is passed over must not make the index stop short.
            set_local(
                self._connection,
                hnsw__ef_search=min(_MAX_EF_SEARCH, max(self._ef_search(), candidates)),
                hnsw__iterative_scan="relaxed_order" if self._passes_over else "off",
                hnsw__max_scan_tuples=2 * reach,
                hnsw__scan_mem_multiplier=_SCAN_MEMORY,
            )
        images = (_IN_REACH if method == "iterative" else _ALL).format(**self._names)
        statement = _SQL["nearest"].format(distance=_DISTANCE[method], images=images, **self._names)
        values = {"vector": self._vector, "candidates": candidates, "reach": reach, "limit": limit, "offset": offset}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, {**self._values, **values}).fetchall()


def hit(row: dict[str, Any]) -> Hit:
    """A product, its image and their `similarity` from a row that has the columns of both."""
    image = ProductImage(**{name: row[name] for name in _IMAGE_FIELDS})
    return Hit(_product(row), _cosine(row["similarity"]), image)


def _product(row: dict[str, Any]) -> Product:
    return Product(**{name: row[name] for name in _PRODUCT_FIELDS})


def _cosine(computed: float) -> float:
    """Within the bounds that rounding may pass."""
    return max(-1.0, min(1.0, computed))
