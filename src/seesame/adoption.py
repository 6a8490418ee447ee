"""Takes over vectors that a shop has already, from a column of its own, instead of computing them again."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import NamedTuple

import numpy as np

from seesame.catalogue import Catalogue
from seesame.db import adoption as rows
from seesame.db import columns, spaces, work
from seesame.db.columns import OnRows, Refused, Row
from seesame.db.pool import Connection, Database
from seesame.db.vectors import Form, decode
from seesame.errors import InvalidInput, NotFound
from seesame.types import Embedder, Space, Vectors

ALIKE = 0.95
"""Cosine that the median of the sample must reach. Other preprocessing gives less; rounding gives much more."""

_SAMPLE = 20
_UNIT_TOLERANCE = 1e-3
_LONG_S = 24 * 3600.0


class Source(NamedTuple):
    """Where the vectors are. `image_id` is a column that says which of a product's images; without, it is the first."""

    table: str
    id: str
    column: str
    image_id: str | None = None


@dataclass(slots=True)
class Report:
    """What became of the rows. If any was refused, nothing was changed."""

    rows: int = 0
    without: int = 0  # no vector in the column
    unknown: int = 0  # not in the catalogue
    adopted: int = 0
    left: int = 0  # to a worker that had the image in hand, or the image was deleted meanwhile
    refused: Refused = field(default_factory=Refused)
    similarities: list[float] = field(default_factory=list)  # of the sample's vectors and the model's own
    space: Space | None = None  # None where nothing was changed


class Adoption:
    """Takes over the vectors of one model."""

    def __init__(self, database: Database, catalogue: Catalogue, embedder: Embedder) -> None:
        self._database = database
        self._catalogue = catalogue
        self._embedder = embedder

    def run(
        self,
        source: Source,
        *,
        normalise: bool = False,
        check: bool = True,
        dry_run: bool = False,
        on_rows: OnRows = lambda done, total: None,  # noqa: ARG005 - nobody looks
    ) -> Report:
        """Reads the column and moves its vectors into the model's space, all or nothing, in one transaction.

        The source is only read, and others go on writing it. A space that is new is made, empty, just before vectors
        are moved; its index is not built here.

        Args:
            normalise: accept vectors of any length.
            check: compare some of them with what the model makes of the same pictures.
            dry_run: change nothing.

        Raises:
            InvalidInput: there is no such column, or the model did not make these vectors.
            EmbedderError: the model cannot be asked now.
        """
        report, loaded = Report(), 0
        with self._database.transaction(timeout_s=_LONG_S) as connection:
            column = columns.find_vectors(connection, source.table, source.column)
            row_id = columns.as_text(columns.find(connection, source.table, source.id))
            image_id = columns.find_uuid(connection, source.table, source.image_id) if source.image_id else None
            total = columns.count(connection, column)
            vector_type = rows.prepare(connection, self._embedder.identity)
            for batch in columns.read(connection, column, row_id=row_id, image_id=image_id):
                usable, vectors = self._usable(batch, column.form, report, normalise=normalise)
                targets = rows.targets(connection, usable, named=image_id is not None)
                known = [index for index, target in enumerate(targets) if target is not None]
                rows.load(connection, [target for target in targets if target is not None], vectors[known], vector_type)
                report.unknown += len(targets) - len(known)
                loaded += len(known)
                on_rows(report.rows, max(report.rows, total))
            for product_id, times in rows.named_twice(connection):
                report.refused.add(product_id, f"{times} rows have a vector for the same image")
            if check and loaded and not report.refused.count:
                report.similarities = self._compare(connection)
            if report.refused.count or dry_run or not loaded:
                report.adopted = 0 if report.refused.count else loaded
                connection.rollback()
                return report
            report.space = rows.find_space(connection, self._embedder.identity) or self._new_space()
            report.adopted = rows.move(connection, report.space)
            report.left = loaded - report.adopted
            work.notify(connection)  # images that had no row lack their vector, if the space is new
        return report

    def _new_space(self) -> Space:
        """Made in a transaction of its own: its foreign key keeps all others from changing images until that ends."""
        with self._database.transaction() as connection:
            return spaces.register(connection, self._embedder.identity, "candidate", automatic=True, revive=True)

    def _usable(
        self, batch: Sequence[Row], form: Form, report: Report, *, normalise: bool
    ) -> tuple[list[Row], Vectors]:
        """The rows that have a good vector, with their vectors at unit length."""
        present = [row for row in batch if row.value is not None]
        report.rows += len(batch)
        report.without += len(batch) - len(present)
        vectors, faults = decode(form, [row.value or "" for row in present], self._embedder.identity.dimensions)
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1)
        good = []
        for index, (row, fault, length) in enumerate(zip(present, faults, lengths.tolist(), strict=True)):
            if fault is None and not normalise and abs(length - 1) > _UNIT_TOLERANCE:
                fault = f"has the length {length:.4g}, not 1; --normalise takes it all the same"
            if fault is None:
                good.append(index)
            else:
                report.refused.add(row.row_id, fault)
        unit: Vectors = (vectors[good] / lengths[good, None]).astype(np.float32)
        return [present[index] for index in good], unit

    def _compare(self, connection: Connection) -> list[float]:
        """Cosines of some loaded vectors with the model's own. Raises InvalidInput if they are not alike."""
        pictures, given = [], []
        for image_id, vector in rows.sample(connection, _SAMPLE):
            try:
                pictures.append(self._catalogue.picture(image_id))
            except (NotFound, OSError):
                continue
            given.append(vector)
        made = self._embedder.embed_images(pictures, bulk=True) if pictures else []
        alike = [float(new @ old) for new, old in zip(made, given, strict=True) if isinstance(new, np.ndarray)]
        if not alike:
            raise InvalidInput(
                "model", "Nothing was changed: no picture is here to check the vectors by. --no-check goes without."
            )
        if median(alike) < ALIKE:
            raise InvalidInput(
                "model",
                f"Nothing was changed: {self._embedder.identity.model} gives other vectors. Of {len(alike)} pictures"
                f" embedded anew the median similarity to the column's is {median(alike):.3f} (lowest {min(alike):.3f},"
                f" highest {max(alike):.3f}), and must be {ALIKE}. The usual reason is other preprocessing; --no-check"
                " takes them all the same.",
            )
        return alike
