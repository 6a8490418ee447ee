"""What photos of a shop's products would find: pictures of the catalogue, as a camera would show them, searched by.

Of a product with several pictures, the photo is of one, and that one does not count as found: the others are to be. Of
a product with a single picture, the photo is to find that picture.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from seesame.camera import Kind, photograph
from seesame.db import search as search_rows
from seesame.db import trials as rows
from seesame.db.pool import Database
from seesame.db.spaces import meanwhile_changed
from seesame.db.trials import Subject
from seesame.errors import ImageError, NotFound
from seesame.pictures import PictureStore
from seesame.search import Search
from seesame.types import Embedder, Hit, Space, Vector

FOUND = 10  # other products that are looked at

_LANES = 4  # pictures at work at once
_TIMEOUT_S = 60.0

OnTried = Callable[[int, int | None], None]
"""Called with how many pictures are done, and how many there are."""


@dataclass(frozen=True, slots=True)
class Trial:
    """How similar a photo is to its own product, and which others it finds, best first, at most ten.

    Other products that have the very same picture are left out: nobody can tell them apart.
    """

    subject: Subject
    kind: Kind
    own: float
    others: tuple[Hit, ...]

    @property
    def without_product(self) -> tuple[float, ...]:
        """The similarities that an answer would have, best first, if the product were not there."""
        return tuple(hit.similarity for hit in self.others if hit.similarity is not None)

    @property
    def with_product(self) -> tuple[float, ...]:
        """The similarities that an answer has, best first."""
        return tuple(sorted((self.own, *self.without_product), reverse=True))

    @property
    def rank(self) -> int | None:
        """The place of its own product, from 1; None where it is not among the first ten."""
        ahead = sum(similarity > self.own for similarity in self.without_product)
        return ahead + 1 if ahead < FOUND else None


class Trials:
    """Tries searches. Reads what others search, and changes nothing."""

    def __init__(self, database: Database, pictures: PictureStore, search: Search) -> None:
        self._database = database
        self._pictures = pictures
        self._search = search

    def run(
        self,
        space: Space,
        embedder: Embedder,
        kinds: Sequence[Kind],
        *,
        count: int,
        seed: int,
        in_turn: bool = False,
        on_tried: OnTried = lambda done, total: None,  # noqa: ARG005 - nobody looks
    ) -> Iterator[Trial]:
        """Tries up to `count` pictures of as many products, each with each kind of damage, or with one of them in turn.

        Pictures that cannot be read are passed over. The same seed gives the same photos of the same pictures, whatever
        else is in the sample.

        Raises:
            EmbedderError: the embedder cannot be used now.
        """
        with self._database.transaction(timeout_s=_TIMEOUT_S) as connection, meanwhile_changed():
            subjects = rows.subjects(connection, space, count, seed=seed)
        pool = ThreadPoolExecutor(_LANES, thread_name_prefix="trials")
        try:
            each = [[kinds[place % len(kinds)]] if in_turn else kinds for place in range(len(subjects))]
            tried = pool.map(lambda subject, kinds: self._tried(space, embedder, subject, kinds, seed), subjects, each)
            for done, trials in enumerate(tried, 1):
                yield from trials
                on_tried(done, len(subjects))
        finally:
            pool.shutdown(cancel_futures=True)

    def _tried(
        self, space: Space, embedder: Embedder, subject: Subject, kinds: Sequence[Kind], seed: int
    ) -> list[Trial]:
        own_seed = zlib.crc32(f"{seed} {subject.image_id}".encode())
        try:
            picture = self._pictures.read(subject.bytes_ref)
            photos = [photograph(picture, kind, own_seed) for kind in kinds]
        except (NotFound, ImageError, OSError):
            return []
        vectors = embedder.embed_images(photos, bulk=True)
        return [
            Trial(subject, kind, own, self._others(space, subject, vector))
            for kind, vector in zip(kinds, vectors, strict=True)
            if isinstance(vector, np.ndarray) and (own := self._own(space, subject, vector)) is not None
        ]

    def _own(self, space: Space, subject: Subject, vector: Vector) -> float | None:
        """The similarity of the product's other pictures, or of its only one; None where that is gone meanwhile."""
        with self._database.transaction() as connection, meanwhile_changed():
            found = search_rows.similarities(connection, space, vector, [subject.product_id])
        itself = found.pop(subject.image_id, None)
        return max(found.values(), default=itself)

    def _others(self, space: Space, subject: Subject, vector: Vector) -> tuple[Hit, ...]:
        hits = self._search.others(space, vector, subject.product_id, limit=FOUND).hits
        return tuple(hit for hit in hits if hit.image is None or hit.image.sha256 != subject.sha256)
