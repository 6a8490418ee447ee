"""Finds products: by photos, by words, like others, or by all of them together."""

import itertools
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast
from uuid import UUID

import numpy as np

from seesame.answers import Answer, Explanation, RegionAnswers
from seesame.cache import VectorCache, photo_digest, text_digest
from seesame.calibration import RIVAL, Calibration, Scale
from seesame.catalogue import Catalogue
from seesame.db import search as rows
from seesame.db.exact import ExactVectors
from seesame.db.pool import Connection, Database
from seesame.db.spaces import meanwhile_changed
from seesame.errors import DatabaseError, EmbedderError, ImageError, InvalidInput, ModelInvalid, NotFound, SpaceChanged
from seesame.fetch import Fetcher
from seesame.fusion import Fused, fuse
from seesame.images import CROPPED_SIDE, Decoder, ImageLimits, crop
from seesame.queries import (
    MAX_LIMIT,
    Cursor,
    EarlierPhoto,
    LikeImage,
    LikeProduct,
    Part,
    Photo,
    PhotoAt,
    Query,
    Subject,
    Words,
    check_parts,
)
from seesame.query_photos import QueryPhotos
from seesame.recall import RecallGauge
from seesame.regions import MOST, propose
from seesame.spaces import Answering, Reason, Spaces, reason_of
from seesame.types import Hit, Page, Region, Space, Vector

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

MAX_REGIONS = MOST
_WHOLE = Region(0, 0, 1, 1)
_CUT_FROM_SIDE = 4 * CROPPED_SIDE  # pixels; regions of a larger photo are cut from one of this size
_FACET_VALUES = 50
_FUSED = 200  # products of each ranking that are fused; what stands farther behind in both is not found
_CANCELLED = 1e-3  # a sum of unit vectors shorter than this points nowhere
_WARM_S = 120.0
_SPACES_AGE_S = 1.0  # after so long a search knows that another process activated a space


@dataclass(frozen=True, slots=True)
class _Stored:
    """A picture of the catalogue, whose vector is there already; the product's first one where `image_id` is None."""

    product_id: str
    image_id: UUID | None


@dataclass(frozen=True, slots=True)
class _Weighted:
    weight: float
    subject: Photo | Words | _Stored


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is searched for, with every photo at hand."""

    parts: tuple[_Weighted, ...]
    photo_id: str | None

    @property
    def words(self) -> str:
        """All that the products' texts may hold."""
        return " ".join(p.subject.text for p in self.parts if isinstance(p.subject, Words) and p.weight > 0)

    @property
    def is_picture(self) -> bool:
        """Whether it is one picture and nothing else, as calibrations are by."""
        (first, *others) = self.parts
        return not others and not isinstance(first.subject, Words) and not self.not_these

    @property
    def not_these(self) -> frozenset[str]:
        """Products that others are to be like."""
        return frozenset(
            p.subject.product_id for p in self.parts if isinstance(p.subject, _Stored) and p.subject.image_id is None
        )


@dataclass(frozen=True, slots=True)
class _Aim:
    """Where to look, and for what: a vector, words, or both."""

    space: Space
    reason: Reason | None
    vector: Vector | None
    words: str
    not_these: frozenset[str] = frozenset()
    calibration: Calibration | None = None


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
        decoder: Decoder,
        fetcher: Fetcher,
        photos: QueryPhotos,
        on_answer: Callable[[Answer], None] = lambda answer: None,  # noqa: ARG005 - nobody counts
        gauge: RecallGauge | None = None,
    ) -> None:
        self._database = database
        self._spaces = spaces
        self._catalogue = catalogue
        self._cache = cache
        self._exact = exact
        self._limits = limits
        self._decoder = decoder
        self._fetcher = fetcher
        self._photos = photos
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

    def find(self, subject: Subject | Sequence[Part], query: Query) -> Answer:
        """Products that are like a subject, or like several together.

        Vectors of several are added by their weights. Words are looked for in the products' texts as well, and the two
        rankings are fused; where no model reads them, the texts alone tell.

        Raises:
            InvalidInput: parts that cannot be searched for together.
            ImageError: a photo cannot be used.
            FetchError: a photo cannot be had from its URL.
            NotFound: there is no such product, picture or earlier photo, or it has no vector yet.
            EmbedderBusy: too many photos wait already, for the fallback too.
            DatabaseUnavailable: not reached.
        """
        started = time.perf_counter()
        parts = subject if isinstance(subject, Sequence) else [Part(subject)]
        check_parts(parts)
        wanted = self._at_hand(parts)
        return self._in_fresh_spaces(lambda: self._found(wanted, query, started))

    def find_regions(self, subject: Subject, regions: Sequence[Region] | None, query: Query) -> RegionAnswers:
        """Products that are like regions of one picture, for each of them.

        None: those that stand out, the first the most; the whole picture where none does.

        Raises:
            InvalidInput: no region or too many, or the subject is no picture.
            ImageError, FetchError, NotFound, EmbedderBusy, DatabaseUnavailable: as `find`.
        """
        started = time.perf_counter()
        if regions is not None and not 1 <= len(regions) <= MAX_REGIONS:
            raise InvalidInput("regions", f"Between 1 and {MAX_REGIONS} regions.")
        photo, photo_id = self._picture(subject)
        regions, crops = zip(*self._cut(photo, regions), strict=True)

        def answers() -> list[Answer]:
            answering, vectors, _ = self._asked(lambda answering: self._embed(answering, crops))
            share_s = (time.perf_counter() - started) / len(vectors)
            space, reason = answering.space, answering.degraded_reason
            aims = [_Aim(space, reason, vector, "", calibration=space.calibration) for vector in vectors]
            return [self._answer(aim, query, share_s, photo_id=photo_id) for aim in aims]

        found = self._in_fresh_spaces(answers)
        return RegionAnswers(
            tuple(zip(regions, found, strict=True)),
            found[0].space,
            found[0].degraded_reason,
            (time.perf_counter() - started) * 1000,
            photo_id,
        )

    def forget(self, photo_id: str) -> None:
        """Drops the photo of an earlier search at once."""
        self._photos.forget(photo_id)

    def in_space(self, space: Space, product_id: str, image_id: UUID, *, limit: int) -> Page:
        """Other products that look like a product's picture, by the vectors of one space alone; needs no embedder.

        Raises:
            NotFound: the picture has no vector there.
        """
        return self.others(space, self._stored_vector(space, _Stored(product_id, image_id)), product_id, limit=limit)

    def others(self, space: Space, vector: Vector, product_id: str, *, limit: int) -> Page:
        """Products that are nearest to a vector in one space, without a certain one."""
        with self._database.transaction() as connection, meanwhile_changed():
            return self._nearest(connection, space, vector, Query(limit=limit), frozenset({product_id}))

    # The subject

    def _at_hand(self, parts: Sequence[Part]) -> _Wanted:
        photo_id = None
        found = []
        for part in parts:
            subject: Photo | Words | _Stored
            match part.subject:
                case Words():
                    subject = part.subject
                case LikeProduct(product_id):
                    self._catalogue.get(product_id)
                    subject = _Stored(product_id, None)
                case LikeImage(image_id) if part.region is None:
                    subject = _Stored(self._catalogue.image(image_id).product_id, image_id)
                case _:
                    data, kept = self._picture(part.subject)
                    photo_id = photo_id or kept
                    subject = Photo(data if part.region is None else self._cut(data, [part.region])[0][1])
            found.append(_Weighted(part.weight, subject))
        return _Wanted(tuple(found), photo_id)

    def _picture(self, subject: Subject) -> tuple[bytes, str | None]:
        """An encoded picture that was checked, and the id that it is kept by."""
        match subject:
            case Photo(data):
                pass
            case PhotoAt(url):
                data = self._fetcher.fetch(url)
            case EarlierPhoto(photo_id):
                return self._photos.get(photo_id), photo_id
            case LikeImage(image_id):
                return self._catalogue.picture(image_id), None
            case _:
                raise InvalidInput("image", "A picture is needed.")
        self._decoder.inspect(data, limits=self._limits)
        return data, self._photos.keep(data)

    def _cut(self, photo: bytes, regions: Sequence[Region] | None) -> list[tuple[Region, bytes]]:
        """Regions, each with its picture. Of None those that stand out, or the whole photo."""
        picture = self._decoder.decode(photo, limits=self._limits, max_side=_CUT_FROM_SIDE)
        if regions is None:
            regions = [proposal.region for proposal in propose(picture)]
        return [(region, crop(picture, region)) for region in regions] or [(_WHOLE, photo)]

    # Its vector

    def _found(self, wanted: _Wanted, query: Query, started: float) -> Answer:
        space, reason, vector = self._vector(wanted)
        words = wanted.words if query.hybrid or vector is None else ""
        calibration = space.calibration if wanted.is_picture else None
        aim = _Aim(space, reason, vector, words, wanted.not_these, calibration)
        return self._answer(aim, query, time.perf_counter() - started, photo_id=wanted.photo_id)

    def _vector(self, wanted: _Wanted) -> tuple[Space, Reason | None, Vector | None]:
        """What all parts make together, in the best space that can be had now; None where only texts are searched."""
        if all(isinstance(part.subject, _Stored) for part in wanted.parts):
            return self._compared(wanted)
        answering, (reason, vector), failure = self._asked(lambda answering: self._embedded(answering, wanted))
        return answering.space, failure or reason, vector

    def _asked(self, embed: Callable[[Answering], _T]) -> tuple[Answering, _T, Reason | None]:
        """What the best embedder gives that can be asked now; if it fails, what the fallback gives, and why."""
        answering = self._spaces.answering(max_age_s=_SPACES_AGE_S)
        try:
            return answering, embed(answering), None
        except (EmbedderError, ModelInvalid, NotFound) as error:
            if answering.degraded_reason is not None:
                raise
            failure: Reason = "clip_indexing" if isinstance(error, NotFound) else reason_of(error)
            fallback = self._spaces.fallback(failure)
            return fallback, embed(fallback), failure

    def _compared(self, wanted: _Wanted) -> tuple[Space, Reason | None, Vector]:
        """By vectors that are stored, for which no embedder is needed."""
        weights = [part.weight for part in wanted.parts]
        subjects = [cast("_Stored", part.subject) for part in wanted.parts]
        for space, reason in self._spaces.comparing(max_age_s=_SPACES_AGE_S):
            try:
                vectors = [self._stored_vector(space, subject) for subject in subjects]
            except NotFound:
                continue
            return space, reason, _sum(weights, vectors)
        raise NotFound("The product has no picture that is indexed yet.")

    def _embedded(self, answering: Answering, wanted: _Wanted) -> tuple[Reason | None, Vector | None]:
        reason = answering.degraded_reason
        photos = [part.subject.data for part in wanted.parts if isinstance(part.subject, Photo)]
        of_photos = iter(self._embed(answering, photos))
        weights, vectors = [], []
        for part in wanted.parts:
            match part.subject:
                case Photo():
                    vector = next(of_photos)
                case Words(text):
                    if not answering.embedder.has_text:
                        reason = reason or "no_text_model"
                        continue
                    vector = self._embed_text(answering, text)
                case _Stored() as stored:
                    vector = self._stored_vector(answering.space, stored)
            weights.append(part.weight)
            vectors.append(vector)
        if not vectors:
            return "no_text_model", None
        return reason, _sum(weights, vectors)

    def _embed(self, answering: Answering, photos: Sequence[bytes]) -> list[Vector]:
        """The vectors of photos, from the cache where they are known."""
        identity = answering.embedder.identity
        digests = [photo_digest(photo) for photo in photos]
        known = {digest: self._cache.get(identity, digest) for digest in digests}
        unknown = {digest: photo for digest, photo in zip(digests, photos, strict=True) if known[digest] is None}
        computed = answering.embedder.embed_images(list(unknown.values())) if unknown else []
        for digest, result in zip(unknown, computed, strict=True):
            if isinstance(result, ImageError | ModelInvalid):
                raise result
            if answering.degraded_reason is None:
                _log.info("✅ CLIP feature extraction successful: %d dimensions", len(result))
            self._cache.put(identity, digest, result)
            known[digest] = result
        return [cast("Vector", known[digest]) for digest in digests]

    def _embed_text(self, answering: Answering, text: str) -> Vector:
        identity, digest = answering.embedder.identity, text_digest(text)
        vector = self._cache.get(identity, digest)
        if vector is None:
            vector = cast("Vector", answering.embedder.embed_texts([text])[0])
            self._cache.put(identity, digest, vector)
        return vector

    def _stored_vector(self, space: Space, stored: _Stored) -> Vector:
        with self._database.transaction() as connection, meanwhile_changed():
            vector = rows.vector_of(connection, space, stored.product_id, stored.image_id)
        if vector is None:
            raise NotFound("The picture is not indexed in this space.")
        return vector

    # The products

    def _answer(self, aim: _Aim, query: Query, embedding_s: float, *, photo_id: str | None) -> Answer:
        embedded = time.perf_counter()
        with self._database.transaction() as connection, meanwhile_changed():
            page, fused = self._ranked(connection, aim, query)
            scale = self._scale(connection, aim, query, page)
            explanations = self._explained(connection, aim, query, page, fused) if query.explain else ()
            facets = rows.facets(connection, query.facets, query.clauses, limit=_FACET_VALUES)
        self._tell(aim, query, page)
        searching_s = time.perf_counter() - embedded
        answer = Answer(
            page,
            aim.space.key,
            aim.reason,
            took_ms=(embedding_s + searching_s) * 1000,
            embedding_ms=embedding_s * 1000,
            facets=facets,
            photo_id=photo_id,
            next=_following(page, query, aim.space),
            explanations=explanations,
            scale=scale,
        )
        if query.min_similarity is not None:
            answer = _similar_enough(answer, query.min_similarity)
        self._on_answer(answer)
        return answer

    def _scale(self, connection: Connection, aim: _Aim, query: Query, page: Page) -> Scale | None:
        """By which the hits of a first page have scores; where that is short, it takes another look."""
        if aim.calibration is None or query.shown:
            return None
        if len(page.hits) < RIVAL and not page.exhausted:
            page, _ = self._ranked(connection, aim, replace(query, limit=RIVAL))
        return aim.calibration.scale([hit.similarity for hit in page.hits if hit.similarity is not None])

    def _ranked(self, connection: Connection, aim: _Aim, query: Query) -> tuple[Page, list[Fused]]:
        """A page, and the fused ranking that it is part of; that is empty where nothing had to be fused."""
        if aim.vector is None:
            page = rows.fulltext(connection, aim.words, query.clauses, limit=query.limit, offset=query.shown)
            return replace(page, hits=rows.illustrated(connection, page.hits)), []
        by_words = rows.fulltext(connection, aim.words, query.clauses, limit=_FUSED) if aim.words else None
        if by_words is None or not by_words.hits:
            return self._nearest(connection, aim.space, aim.vector, query, aim.not_these), []
        first = replace(query, limit=_FUSED, offset=0, cursor=None)
        near = self._nearest(connection, aim.space, aim.vector, first, aim.not_these)
        known = {hit.product.product_id: hit for hit in (*by_words.hits, *near.hits)}  # those of vectors, where in both
        near_ids = [hit.product.product_id for hit in near.hits]
        fused = fuse(near_ids, self._word_ranks(connection, aim, near_ids, by_words))
        shown = [known[one.product_id] for one in fused[query.shown : query.shown + query.limit]]
        by_words_alone = [hit for hit in shown if hit.similarity is None]
        seen = {h.product.product_id: h for h in rows.compared(connection, aim.space, aim.vector, by_words_alone)}
        hits = tuple(seen.get(hit.product.product_id, hit) for hit in shown)
        exhausted = query.shown + query.limit >= len(fused)
        return Page(hits, "hybrid", exhausted, near.scanned + by_words.scanned), fused

    def _word_ranks(
        self, connection: Connection, aim: _Aim, near_ids: Sequence[str], by_words: Page
    ) -> dict[str, float]:
        """How well products match the words: the best, and what is near and as good as the last of those."""
        best_ids = [hit.product.product_id for hit in by_words.hits]
        ranks = rows.word_ranks(connection, aim.words, list({*near_ids, *best_ids}))
        least = min((ranks[product_id] for product_id in best_ids if product_id in ranks), default=0.0)
        return {one: rank for one, rank in ranks.items() if rank >= least and one not in aim.not_these}

    def _nearest(
        self, connection: Connection, space: Space, vector: Vector, query: Query, not_these: frozenset[str]
    ) -> Page:
        nearest = rows.nearest if space.vector_type == "halfvec" else self._exact.nearest
        return nearest(
            connection,
            space,
            vector,
            query.clauses,
            limit=query.limit,
            offset=query.shown,
            after=query.spot(space.key),
            exclude=not_these,
        )

    def _explained(
        self, connection: Connection, aim: _Aim, query: Query, page: Page, fused: Sequence[Fused]
    ) -> tuple[Explanation, ...]:
        all_of_them = replace(query, clauses=(), limit=MAX_LIMIT, offset=0, cursor=None)
        unfiltered, all_fused = self._ranked(connection, aim, all_of_them)
        ids = [one.product_id for one in all_fused] or [hit.product.product_id for hit in unfiltered.hits]
        places = {product_id: place for place, product_id in enumerate(ids[:MAX_LIMIT], 1)}
        by_id = {one.product_id: one for one in fused}
        return tuple(
            _explanation(place, hit, places, by_id.get(hit.product.product_id), by_words=aim.vector is None)
            for place, hit in enumerate(page.hits, query.shown + 1)
        )

    def _tell(self, aim: _Aim, query: Query, page: Page) -> None:
        if aim.vector is None:
            return
        if aim.space.vector_type == "halfvec":
            _log.info("✅ Used pgvector similarity search", extra={"method": page.method, "results": len(page.hits)})
        else:
            _log.info("⚠️ pgvector is not available, using exact similarity search")
        if self._gauge is not None and not query.clauses and not query.shown:
            self._gauge.searched(aim.space, aim.vector, page)

    def _in_fresh_spaces(self, search: Callable[[], _T]) -> _T:
        """A search that is begun anew, once, if the space that it was in is retired or converted meanwhile."""
        try:
            return search()
        except SpaceChanged:
            self._spaces.all()
            return search()


def _sum(weights: Sequence[float], vectors: Sequence[Vector]) -> Vector:
    """The direction of the weighted sum of unit vectors."""
    if len(vectors) == 1 and weights[0] > 0:
        return vectors[0]
    total = np.asarray(weights) @ np.stack(vectors)
    length = np.linalg.norm(total)
    if length < _CANCELLED * np.abs(weights).sum():
        raise InvalidInput("queries", "They cancel each other out.")
    return np.asarray(total / length, dtype=np.float32)


def _following(page: Page, query: Query, space: Space) -> Cursor | None:
    """Where the next page begins; None where nothing follows."""
    if page.exhausted or not page.hits:
        return None
    return Cursor(query.shown + len(page.hits), space.key, page.end)


def _similar_enough(answer: Answer, least: float) -> Answer:
    """Without those that are less similar; what was found by words alone has no similarity to be measured by."""
    enough = [hit.similarity is None or hit.similarity >= least for hit in answer.page.hits]
    page = replace(answer.page, hits=tuple(itertools.compress(answer.page.hits, enough)))
    if not all(enough) and page.method != "hybrid":  # all that follow are less similar, too
        answer = replace(answer, next=None)
        page = replace(page, exhausted=True)
    return replace(answer, page=page, explanations=tuple(itertools.compress(answer.explanations, enough)))


def _explanation(
    place: int, hit: Hit, unfiltered: Mapping[str, int], fused: Fused | None, *, by_words: bool
) -> Explanation:
    unfiltered_rank = unfiltered.get(hit.product.product_id)
    if fused is not None:
        return Explanation(place, unfiltered_rank, fused.by_vector, fused.by_words, fused.vector_share)
    if by_words:
        return Explanation(place, unfiltered_rank, None, place, 0.0)
    return Explanation(place, unfiltered_rank, place, None, 1.0)
