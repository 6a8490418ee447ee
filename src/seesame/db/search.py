"""Nearest images, grouped by product, in one statement."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any
from uuid import UUID

import numpy as np
from psycopg import sql
from psycopg.rows import class_row, dict_row

from seesame.db.filters import condition
from seesame.db.pool import Connection, scalar, set_local
from seesame.db.spaces import embeddings_table, vector_literal
from seesame.db.statements import statements
from seesame.types import Clause, Hit, Method, Page, Product, ProductImage, Space, Vector

_SQL = statements("search")

EXACT_BELOW = (
    2_000  # images, or products where there is a filter; comparing so many is as fast as the index, and finds all
)
_MAX_EF_SEARCH = 1_000
_JOIN_PRODUCTS = sql.SQL("JOIN seesame.products f USING (product_id)")
_PRODUCT_FIELDS = [field.name for field in fields(Product)]
_IMAGE_FIELDS = [field.name for field in fields(ProductImage)]


def nearest(
    connection: Connection,
    space: Space,
    vector: Vector,
    clauses: Sequence[Clause],
    *,
    limit: int,
    offset: int = 0,
    exclude: str | None = None,
) -> Page:
    """Products whose best image is nearest to `vector` by cosine.

    Args:
        vector: unit length, of the dimensions of `space`, made by its embedder.
        exclude: a product that is not to be found.
    """
    search = _Search(connection, space, vector, clauses, exclude)
    wanted = offset + limit + 1  # one more tells whether any follow
    method = search.method()
    candidates = 2 * wanted  # products have several images; more are asked for where that was too few
    while True:
        if method != "exact" and candidates > _MAX_EF_SEARCH:
            method = "exact"
        rows = search.run(method, candidates=candidates, limit=limit, offset=offset)
        ended = rows[0]["images"] < candidates
        if rows[0]["products"] >= wanted or (ended and method == "exact"):
            break
        if ended:  # the index gave up before it had seen all
            method = "exact"
        else:
            candidates *= 4
    hits = tuple(_hit(row) for row in rows if row["product_id"] is not None)
    return Page(hits, method, exhausted=rows[0]["products"] < wanted)


def fulltext(connection: Connection, text: str, clauses: Sequence[Clause], *, limit: int, offset: int = 0) -> Page:
    """Products whose texts hold the words: those with all of them first, then those with some."""
    where, values = condition(clauses)
    statement = _SQL["fulltext"].format(condition=where)
    with connection.cursor(row_factory=class_row(Product)) as cursor:
        found = cursor.execute(statement, {**values, "text": text, "limit": limit, "offset": offset}).fetchall()
    hits = tuple(Hit(product, None, None) for product in found[:limit])
    return Page(hits, "fulltext", exhausted=len(found) <= limit)


def vector_of(connection: Connection, space: Space, product_id: str, image_id: UUID | None = None) -> Vector | None:
    """The stored vector of an image, or of a product's first image that has one. Unit length."""
    name = "vector_of_product" if image_id is None else "vector_of_image"
    statement = _SQL[name].format(embeddings=embeddings_table(space.space_id))
    row = connection.execute(statement, {"product_id": product_id, "image_id": image_id}).fetchone()
    if row is None:
        return None
    vector = np.asarray(row[0], dtype=np.float32)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


class _Search:
    """The parts of the statement that stay the same however often it runs."""

    def __init__(
        self,
        connection: Connection,
        space: Space,
        vector: Vector,
        clauses: Sequence[Clause],
        exclude: str | None,
    ) -> None:
        self._connection = connection
        self._space = space
        self._filtered = bool(clauses)
        self._passes_over = bool(clauses) or exclude is not None
        where, self._values = condition(clauses)
        self._names = {
            "embeddings": embeddings_table(space.space_id),
            "join": _JOIN_PRODUCTS if self._filtered else sql.SQL(""),
            "condition": where,
            "not_itself": sql.SQL("" if exclude is None else "AND e.product_id <> %(exclude)s"),
        }
        self._values["exclude"] = exclude
        self._vector = vector_literal(vector, space.vector_type)

    def method(self) -> Method:
        """Exact where few match or there is no index; else through the index."""
        if self._space.vector_type == "real[]":
            return "exact"
        # With a filter products are counted, not their images: without a join that takes a twentieth of the time.
        statement = _SQL["count_products" if self._filtered else "count_images"].format(**self._names)
        if scalar(self._connection, statement, {**self._values, "at_most": EXACT_BELOW + 1}) <= EXACT_BELOW:
            return "exact"
        return "iterative" if self._filtered else "hnsw"

    def run(self, method: Method, *, candidates: int, limit: int, offset: int) -> list[dict[str, Any]]:
        """At least one row: the totals, and a product where there is one."""
        if method != "exact":
            set_local(
                self._connection,
                hnsw__ef_search=min(_MAX_EF_SEARCH, max(self._space.ef_search, candidates)),
                # What is passed over must not make the index stop short.
                hnsw__iterative_scan="relaxed_order" if self._passes_over else "off",
            )
        statement = _SQL["nearest"].format(distance=self._distance(method), **self._names)
        values = {"vector": self._vector, "candidates": candidates, "limit": limit, "offset": offset}
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(statement, {**self._values, **values}).fetchall()

    def _distance(self, method: Method) -> sql.Composable:
        if self._space.vector_type == "real[]":
            return sql.SQL("seesame.cosine_distance(e.image_embedding, %(vector)s::real[])")
        # An index orders by the operator alone; with a sum around it, all that match are compared.
        shape = (
            "(e.image_embedding <=> %(vector)s::halfvec) + 0"
            if method == "exact"
            else ("e.image_embedding <=> %(vector)s::halfvec")
        )
        return sql.SQL(shape)


def _hit(row: dict[str, Any]) -> Hit:
    product = Product(**{name: row[name] for name in _PRODUCT_FIELDS})
    image = ProductImage(**{name: row[name] for name in _IMAGE_FIELDS})
    return Hit(product, max(-1.0, min(1.0, row["similarity"])), image)
