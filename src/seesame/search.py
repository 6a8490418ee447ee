"""Finds products: by photo, by words, or like another product."""

import logging
import time
from dataclasses import dataclass
from uuid import UUID

from seesame.catalogue import Catalogue, check_text
from seesame.db import search as rows
from seesame.db.pool import Database
from seesame.errors import ImageError, InvalidInput, NotFound
from seesame.spaces import Answering, Reason, Spaces
from seesame.types import Clause, Page, Vector

_log = logging.getLogger(__name__)

MAX_LIMIT = 200
MAX_OFFSET = 10_000
MAX_TEXT = 1_000  # characters


@dataclass(frozen=True, slots=True)
class Query:
    """What every kind of search takes beside its subject."""

    clauses: tuple[Clause, ...] = ()
    limit: int = 10
    offset: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidInput("limit", f"A limit lies between 1 and {MAX_LIMIT}.")
        if not 0 <= self.offset <= MAX_OFFSET:
            raise InvalidInput("offset", f"An offset lies between 0 and {MAX_OFFSET:,}.")


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of products, the space that they were found in, and why the answer is degraded if it is."""

    page: Page
    space: str
    degraded_reason: Reason | None
    took_ms: float


class Search:
    """Answers queries. Safe to use from several threads."""

    def __init__(self, database: Database, spaces: Spaces, catalogue: Catalogue) -> None:
        self._database = database
        self._spaces = spaces
        self._catalogue = catalogue

    def by_photo(self, photo: bytes, query: Query) -> Answer:
        """Products that look like a photo.

        Raises:
            ImageError: the photo cannot be used.
            DatabaseUnavailable: not reached.
        """
        started = time.perf_counter()
        answering = self._spaces.answering()
        result = answering.embedder.embed_images([photo])[0]
        if isinstance(result, ImageError):
            raise result
        return self._nearest(answering, result, query, started)

    def by_text(self, text: str, query: Query) -> Answer:
        """Products that look like a description, or, where no model reads, whose texts hold its words.

        Raises:
            InvalidInput: an empty text, or one of more than 1,000 characters.
        """
        started = time.perf_counter()
        check_text("text", text, MAX_TEXT)
        if not text.strip():
            raise InvalidInput("text", "Words to search for are needed.")
        answering = self._spaces.answering()
        if answering.embedder.has_text:
            return self._nearest(answering, answering.embedder.embed_texts([text])[0], query, started)
        with self._database.transaction() as connection:
            page = rows.fulltext(connection, text, query.clauses, limit=query.limit, offset=query.offset)
        return Answer(page, answering.space.key, "no_text_model", _ms_since(started))

    def like_product(self, product_id: str, query: Query) -> Answer:
        """Other products that look like a product's first picture.

        Raises:
            NotFound: there is no such product, or none of its pictures has a vector yet.
        """
        started = time.perf_counter()
        answering = self._spaces.answering()
        self._catalogue.get(product_id)
        return self._like_stored(answering, product_id, None, query, started)

    def like_image(self, image_id: UUID, query: Query) -> Answer:
        """Products that look like a picture of the catalogue, its own product among them.

        Raises:
            NotFound: there is no such image, or it has no vector yet.
        """
        started = time.perf_counter()
        answering = self._spaces.answering()
        image = self._catalogue.image(image_id)
        return self._like_stored(answering, image.product_id, image_id, query, started)

    def _like_stored(
        self, answering: Answering, product_id: str, image_id: UUID | None, query: Query, started: float
    ) -> Answer:
        with self._database.transaction() as connection:
            vector = rows.vector_of(connection, answering.space, product_id, image_id)
        if vector is None:
            raise NotFound("The product has no picture that is indexed yet.")
        exclude = product_id if image_id is None else None
        return self._nearest(answering, vector, query, started, exclude=exclude)

    def _nearest(
        self,
        answering: Answering,
        vector: Vector,
        query: Query,
        started: float,
        *,
        exclude: str | None = None,
    ) -> Answer:
        with self._database.transaction() as connection:
            page = rows.nearest(
                connection,
                answering.space,
                vector,
                query.clauses,
                limit=query.limit,
                offset=query.offset,
                exclude=exclude,
            )
        if answering.space.vector_type == "halfvec":
            _log.info("✅ Used pgvector similarity search", extra={"method": page.method, "results": len(page.hits)})
        else:
            _log.info("⚠️ pgvector is not used in this space, using exact similarity search")
        return Answer(page, answering.space.key, answering.degraded_reason, _ms_since(started))


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
