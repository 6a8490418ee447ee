"""How well photos find their product: pictures of the catalogue, damaged as a camera would, through the search itself.

Of a product with several pictures, the query is one of them, and that one is left out of the search; of a product with
one, a damaged copy of it. What is found is what the ordinary search in a space finds.
"""

import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal, NamedTuple
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from seesame.camera import KINDS, Kind, foreign, photograph
from seesame.db import calibration as rows
from seesame.db.calibration import Subject
from seesame.db.pool import Database
from seesame.db.spaces import meanwhile_changed
from seesame.errors import ImageError, InvalidInput, NotFound, SpaceConflict
from seesame.pictures import PictureStore
from seesame.search import Search, good_match
from seesame.types import Embedder, Page, Space, Vector

MAX_QUERIES = 10_000
MEASURES = ("R@1", "R@5", "R@10", "MRR")
_FOUND = 10  # products that are looked at
_FOREIGN = 150
_LANES = 4  # pictures at work at once
_RESAMPLES = 1_000
_Z = 1.96  # of an interval of 95 %

Target = Literal["product", "category"]
"""What counts as found: the query's own product, or, with that left out, another one of its category."""

OnEvaluated = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one query found. `rank` is that of the first right product, None where it is not among the first ten."""

    product_id: str
    image_id: str
    category: str | None
    kind: Kind
    rank: int | None
    similarity: float | None
    good_match: bool | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All outcomes in one space, and those of pictures that no shop sells or that the shop named as foreign."""

    space: str
    target: Target
    seed: int
    outcomes: tuple[Outcome, ...]
    foreign: tuple[Outcome, ...]

    def by_kind(self) -> dict[str, tuple[Outcome, ...]]:
        """The outcomes of each kind of damage, in their order."""
        return {kind: found for kind in KINDS if (found := tuple(o for o in self.outcomes if o.kind == kind))}

    def by_category(self) -> dict[str, tuple[Outcome, ...]]:
        """The damaged ones of each category, the largest first."""
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            if outcome.kind != "none":
                groups.setdefault(outcome.category or "(none)", []).append(outcome)
        return {name: tuple(found) for name, found in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))}

    def auc(self) -> float | None:
        """How often a damaged picture of the catalogue looks more like its best result than a foreign picture does."""
        own = [o.similarity for o in self.outcomes if o.kind != "none" and o.similarity is not None]
        others = [o.similarity for o in self.foreign if o.similarity is not None]
        if not own or not others:
            return None
        above = np.subtract.outer(np.array(own), np.array(others))
        return float(np.mean((above > 0) + 0.5 * (above == 0)))

    def to_json(self) -> str:
        """For `against`, later."""
        return _ADAPTER.dump_json(self).decode()

    @classmethod
    def from_json(cls, text: bytes) -> "Evaluation":
        """What `to_json` wrote.

        Raises:
            InvalidInput: it is something else.
        """
        try:
            return _ADAPTER.validate_json(text)
        except ValidationError as error:
            raise InvalidInput("against", "The file is no evaluation that was saved with --save.") from error


class Figures(NamedTuple):
    """Recall and mean reciprocal rank (of the first ten), each from 0 to 1."""

    queries: int
    values: tuple[float, ...]  # in the order of MEASURES
    interval: tuple[float, float]  # of R@1, 95 % (Wilson)
    good_match: float | None  # the share of answers that are a good match


class Difference(NamedTuple):
    """After less before, with an interval of 95 % (bootstrap over pictures)."""

    queries: int
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """What some outcomes come to; there must be at least one."""
    scored = _scored(outcomes)
    judged = [outcome.good_match for outcome in outcomes if outcome.good_match is not None]
    return Figures(
        len(outcomes),
        tuple(float(value) for value in scored.mean(axis=0)),
        _wilson(float(scored[:, 0].sum()), len(outcomes)),
        float(np.mean(judged)) if judged else None,
    )


def difference(after: Sequence[Outcome], before: Sequence[Outcome], *, seed: int = 0) -> Difference | None:
    """Compares the queries that are in both; None where there are none."""
    earlier = {(outcome.image_id, outcome.kind): outcome for outcome in before}
    pairs = [(o, earlier[o.image_id, o.kind]) for o in after if (o.image_id, o.kind) in earlier]
    if not pairs:
        return None
    gained = _scored([new for new, _ in pairs]) - _scored([old for _, old in pairs])
    # One picture's damaged copies go together, as they are not independent.
    _, picture = np.unique([new.image_id for new, _ in pairs], return_inverse=True)
    count = int(picture.max()) + 1
    sums, sizes = np.zeros((count, len(MEASURES))), np.bincount(picture)
    np.add.at(sums, picture, gained)
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), _RESAMPLES)
    means = weights @ sums / (weights @ sizes)[:, None]
    low, high = np.quantile(means, (0.025, 0.975), axis=0)
    intervals = tuple((float(a), float(b)) for a, b in zip(low, high, strict=True))
    return Difference(len(pairs), tuple(float(value) for value in gained.mean(axis=0)), intervals)


class Evaluator:
    """Evaluates spaces. Reads what others search, and changes nothing."""

    def __init__(self, database: Database, pictures: PictureStore, search: Search) -> None:
        self._database = database
        self._pictures = pictures
        self._search = search

    def run(
        self,
        space: Space,
        embedder: Embedder,
        *,
        sample: int = 500,
        seed: int = 0,
        target: Target = "product",
        foreign_pictures: Sequence[bytes] = (),
        on_evaluated: OnEvaluated = lambda done, total: None,  # noqa: ARG005 - nobody looks
    ) -> Evaluation:
        """Searches a space by `sample` pictures, each as it is and with each kind of damage.

        Args:
            foreign_pictures: pictures of nothing that the shop sells; by default noise, gradients and clutter.

        Raises:
            InvalidInput: `sample` out of bounds.
            SpaceConflict: no picture has its vector there, or none can be read.
            EmbedderError: the embedder cannot be used now.
        """
        if not 1 <= sample <= MAX_QUERIES:
            raise InvalidInput("sample", f"Between 1 and {MAX_QUERIES:,} pictures.")
        with self._database.transaction(timeout_s=60) as connection, meanwhile_changed():
            subjects = rows.subjects(connection, space, sample, seed=seed)
        run = _Run(self._search, self._pictures, space, embedder, seed, target)
        pictures = foreign_pictures or [foreign(number) for number in range(_FOREIGN)]
        total = len(subjects) + len(pictures)
        outcomes: list[Outcome] = []
        strange: list[Outcome] = []
        with ThreadPoolExecutor(_LANES, thread_name_prefix="evaluate") as pool:
            try:
                for done, found in enumerate(pool.map(run.subject, subjects), start=1):
                    outcomes += found
                    on_evaluated(done, total)
                for done, found in enumerate(pool.map(run.foreign, pictures), start=len(subjects) + 1):
                    strange += found
                    on_evaluated(done, total)
            finally:
                pool.shutdown(cancel_futures=True)
        if not outcomes:
            raise SpaceConflict(f"No picture in {space.key} can be searched by.")
        return Evaluation(space.key, target, seed, tuple(outcomes), tuple(strange))


class _Run:
    """What all queries of one evaluation share."""

    def __init__(
        self, search: Search, pictures: PictureStore, space: Space, embedder: Embedder, seed: int, target: Target
    ) -> None:
        self._search = search
        self._pictures = pictures
        self._space = space
        self._embedder = embedder
        self._seed = seed
        self._target = target

    def subject(self, subject: Subject) -> list[Outcome]:
        """What a picture finds with each kind of damage; nothing where it cannot be read."""
        if self._target == "category" and subject.category is None:
            return []
        # Of the picture and the seed alone, so that the same query comes again in another sample.
        seed = zlib.crc32(f"{self._seed} {subject.image_id}".encode())
        try:
            picture = self._pictures.read(subject.bytes_ref)
            photos = [photograph(picture, kind, seed) for kind in KINDS]
        except (NotFound, ImageError, OSError):
            return []
        vectors = self._embedder.embed_images(photos, bulk=True)
        return [
            self._outcome(subject, kind, vector)
            for kind, vector in zip(KINDS, vectors, strict=True)
            if isinstance(vector, np.ndarray)
        ]

    def foreign(self, picture: bytes) -> list[Outcome]:
        """What a picture finds that has nothing to do with the catalogue."""
        (vector,) = self._embedder.embed_images([picture], bulk=True)
        if not isinstance(vector, np.ndarray):
            return []
        page = self._found(vector, None)
        return [Outcome("", "", None, "none", None, *self._best(page))]

    def _outcome(self, subject: Subject, kind: Kind, vector: Vector) -> Outcome:
        if self._target == "category":
            page = self._found(vector, subject.product_id)
            right = [hit.product.category == subject.category for hit in page.hits]
        else:
            page = self._found(vector, subject.image_id if subject.has_others else None)
            right = [hit.product.product_id == subject.product_id for hit in page.hits]
        rank = right.index(True) + 1 if True in right else None
        return Outcome(subject.product_id, str(subject.image_id), subject.category, kind, rank, *self._best(page))

    def _found(self, vector: Vector, exclude: str | UUID | None) -> Page:
        return self._search.nearest_in(self._space, vector, limit=_FOUND, exclude=exclude)

    def _best(self, page: Page) -> tuple[float | None, bool | None]:
        """The similarity of the first result, and whether that is a good match."""
        similarity = page.hits[0].similarity if page.hits else None
        return similarity, good_match(self._space, page)


def _scored(outcomes: Sequence[Outcome]) -> NDArray[np.float64]:
    """Shape (n, measures): what each query adds to each of MEASURES."""
    ranks = np.array([outcome.rank or np.inf for outcome in outcomes])
    return np.column_stack([ranks <= 1, ranks <= 5, ranks <= 10, 1 / ranks]).astype(np.float64)


def _wilson(hits: float, count: int) -> tuple[float, float]:
    """The interval of a share, also of one near 0 or 1 (Wilson, 1927)."""
    share, spread = hits / count, _Z * _Z / count
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * float(np.sqrt(share * (1 - share) / count + spread / (4 * count)))
    return max(0.0, middle - half), min(1.0, middle + half)


_ADAPTER = TypeAdapter(Evaluation)
