"""Finds products: by photo, by words, or like another product."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

from seesame.cache import VectorCache, photo_digest, text_digest
from seesame.catalogue import Catalogue, check_text
from seesame.db import search as rows
from seesame.db.exact import ExactVectors
from seesame.db.pool import Database
from seesame.db.spaces import meanwhile_changed
from seesame.errors import DatabaseError, EmbedderError, ImageError, InvalidInput, ModelInvalid, NotFound, SpaceChanged
from seesame.filters import check_facet
from seesame.images import ImageLimits, inspect
from seesame.recall import RecallGauge
from seesame.spaces import Answering, Reason, Spaces, reason_of
from seesame.types import Clause, Page, Space, Vector

_log = logging.getLogger(__name__)

MAX_LIMIT = 200
MAX_OFFSET = 10_000
MAX_TEXT = 1_000  # characters
MAX_FACETS = 10
_FACET_VALUES = 50
_WARM_S = 120.0
_SPACES_AGE_S = 1.0  # after so long a search knows that another process activated a space


@dataclass(frozen=True, slots=True)
class Query:
    """What every kind of search takes beside its subject."""

    clauses: tuple[Clause, ...] = ()
    limit: int = 10
    offset: int = 0
    facets: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= MAX_LIMIT:
            raise InvalidInput("limit", f"A limit lies between 1 and {MAX_LIMIT}.")
        if not 0 <= self.offset <= MAX_OFFSET:
            raise InvalidInput("offset", f"An offset lies between 0 and {MAX_OFFSET:,}.")
        if len(self.facets) > MAX_FACETS:
            raise InvalidInput("facets", f"At most {MAX_FACETS} fields.")
        for name in self.facets:
            check_facet(name)


Facets = Mapping[str, list[tuple[str | float | bool, int]]]
"""By field its most frequent values, with how many products have them."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A page of products, the space that they were found in, and why the answer is degraded if it is."""

    page: Page
    space: str
    degraded_reason: Reason | None
    took_ms: float
    embedding_ms: float = 0.0
    facets: Facets = field(default_factory=dict)


class Search:
    """Answers queries. Safe to use from several threads."""

    def __init__(
        self,
        database: Database,
        spaces: Spaces,
        catalogue: Catalogue,
        cache: VectorCache,
        exact: ExactVectors,
        *,
        limits: ImageLimits,
        on_answer: Callable[[Answer], None] = lambda answer: None,  # noqa: ARG005 - nobody counts
        gauge: RecallGauge | None = None,
    ) -> None:
        self._database = database
        self._spaces = spaces
        self._catalogue = catalogue
        self._cache = cache
        self._exact = exact
        self._limits = limits
        self._on_answer = on_answer
        self._gauge = gauge

    def warm(self) -> None:
        """Reads what searches without pgvector hold, so that the first of them need not wait for it."""
        try:
            space = self._spaces.answering().space
            if space.vector_type == "real[]":
                with self._database.transaction(timeout_s=_WARM_S) as connection, meanwhile_changed():
                    self._exact.hold(connection, space)
        except DatabaseError as error:
            _log.warning("Vectors are read with the first search: %s", error)

    def by_photo(self, photo: bytes, query: Query) -> Answer:
        """Products that look like a photo.

        Raises:
            ImageError: the photo cannot be used.
            EmbedderBusy: too many photos wait already, for the fallback too.
            DatabaseUnavailable: not reached.
        """
        started = time.perf_counter()
        inspect(photo, limits=self._limits)
        return self._in_fresh_spaces(lambda: self._by_photo(photo, query, started))

    def by_text(self, text: str, query: Query) -> Answer:
        """Products that look like a description, or, where no model reads, whose texts hold its words.

        Raises:
            InvalidInput: an empty text, or one of more than 1,000 characters.
        """
        started = time.perf_counter()
        check_text("text", text, MAX_TEXT)
        if not text.strip():
            raise InvalidInput("text", "Words to search for are needed.")
        return self._in_fresh_spaces(lambda: self._by_text(text, query, started))

    def like_product(self, product_id: str, query: Query) -> Answer:
        """Other products that look like a product's first picture.

        Raises:
            NotFound: there is no such product, or none of its pictures has a vector yet.
        """
        started = time.perf_counter()
        self._catalogue.get(product_id)
        return self._like_stored(product_id, None, query, started)

    def like_image(self, image_id: UUID, query: Query) -> Answer:
        """Products that look like a picture of the catalogue, its own product among them.

        Raises:
            NotFound: there is no such image, or it has no vector yet.
        """
        started = time.perf_counter()
        image = self._catalogue.image(image_id)
        return self._like_stored(image.product_id, image_id, query, started)

    def in_space(self, space: Space, product_id: str, image_id: UUID, *, limit: int) -> Page:
        """Other products that look like a product's picture, by the vectors of one space alone; needs no embedder.

        Raises:
            NotFound: the picture has no vector there.
        """
        with self._database.transaction() as connection, meanwhile_changed():
            vector = rows.vector_of(connection, space, product_id, image_id)
        if vector is None:
            raise NotFound("The picture is not indexed in this space.")
        return self._compared(space, vector, Query(limit=limit), product_id)[0]

    def _by_photo(self, photo: bytes, query: Query, started: float) -> Answer:
        answering = self._spaces.answering(max_age_s=_SPACES_AGE_S)
        try:
            vector = self._photo_vector(answering, photo)
        except (EmbedderError, ModelInvalid) as error:
            if answering.degraded_reason is not None:
                raise
            answering = self._spaces.fallback(reason_of(error))
            vector = self._photo_vector(answering, photo)
        return self._nearest(answering.space, answering.degraded_reason, vector, query, started)

    def _by_text(self, text: str, query: Query, started: float) -> Answer:
        answering = self._spaces.answering(max_age_s=_SPACES_AGE_S)
        reason: Reason = "no_text_model"
        if answering.embedder.has_text:
            try:
                vector = self._text_vector(answering, text)
                return self._nearest(answering.space, answering.degraded_reason, vector, query, started)
            except (EmbedderError, ModelInvalid) as error:
                reason = reason_of(error)
        with self._database.transaction() as connection:
            page = rows.fulltext(connection, text, query.clauses, limit=query.limit, offset=query.offset)
            facets = rows.facets(connection, query.facets, query.clauses, limit=_FACET_VALUES)
        return self._answered(page, facets, answering.space, reason, started, started)

    def _photo_vector(self, answering: Answering, photo: bytes) -> Vector:
        def compute() -> Vector:
            (result,) = answering.embedder.embed_images([photo])
            if isinstance(result, ImageError | ModelInvalid):
                raise result
            if answering.degraded_reason is None:
                _log.info("✅ CLIP feature extraction successful: %d dimensions", len(result))
            return result

        return self._remembered(answering, photo_digest(photo), compute)

    def _text_vector(self, answering: Answering, text: str) -> Vector:
        def compute() -> Vector:
            vector: Vector = answering.embedder.embed_texts([text])[0]
            return vector

        return self._remembered(answering, text_digest(text), compute)

    def _remembered(self, answering: Answering, content_digest: bytes, compute: Callable[[], Vector]) -> Vector:
        identity = answering.embedder.identity
        vector = self._cache.get(identity, content_digest)
        if vector is None:
            vector = compute()
            self._cache.put(identity, content_digest, vector)
        return vector

    def _like_stored(self, product_id: str, image_id: UUID | None, query: Query, started: float) -> Answer:
        return self._in_fresh_spaces(lambda: self._by_stored(product_id, image_id, query, started))

    def _by_stored(self, product_id: str, image_id: UUID | None, query: Query, started: float) -> Answer:
        """Compares what has its vector already, for which no embedder is needed."""
        exclude = product_id if image_id is None else None
        for space, reason in self._spaces.comparing(max_age_s=_SPACES_AGE_S):
            with self._database.transaction() as connection, meanwhile_changed():
                vector = rows.vector_of(connection, space, product_id, image_id)
            if vector is not None:
                return self._nearest(space, reason, vector, query, started, exclude=exclude)
        raise NotFound("The product has no picture that is indexed yet.")

    def _nearest(
        self,
        space: Space,
        reason: Reason | None,
        vector: Vector,
        query: Query,
        started: float,
        *,
        exclude: str | None = None,
    ) -> Answer:
        embedded = time.perf_counter()
        page, facets = self._compared(space, vector, query, exclude)
        if space.vector_type == "halfvec":
            _log.info("✅ Used pgvector similarity search", extra={"method": page.method, "results": len(page.hits)})
        else:
            _log.info("⚠️ pgvector is not available, using exact similarity search")
        if self._gauge is not None and not query.clauses and not query.offset:
            self._gauge.searched(space, vector, page)
        return self._answered(page, facets, space, reason, started, embedded)

    def _compared(self, space: Space, vector: Vector, query: Query, exclude: str | None) -> tuple[Page, Facets]:
        nearest = rows.nearest if space.vector_type == "halfvec" else self._exact.nearest
        with self._database.transaction() as connection, meanwhile_changed():
            page = nearest(
                connection, space, vector, query.clauses, limit=query.limit, offset=query.offset, exclude=exclude
            )
            return page, rows.facets(connection, query.facets, query.clauses, limit=_FACET_VALUES)

    def _answered(
        self, page: Page, facets: Facets, space: Space, reason: Reason | None, started: float, embedded: float
    ) -> Answer:
        ended = time.perf_counter()
        answer = Answer(page, space.key, reason, (ended - started) * 1000, (embedded - started) * 1000, facets)
        self._on_answer(answer)
        return answer

    def _in_fresh_spaces(self, search: Callable[[], Answer]) -> Answer:
        """A search that is begun anew, once, if the space that it was in is retired or converted meanwhile."""
        try:
            return search()
        except SpaceChanged:
            self._spaces.all()
            return search()
