"""How well photos find their product, and whether an answer tells that the product is not there."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from seesame.calibration import GOOD, Calibration
from seesame.camera import KINDS, Kind
from seesame.errors import InvalidInput, SpaceConflict
from seesame.trials import OnTried, Trial, Trials
from seesame.types import Embedder, Space

MAX_PICTURES = 10_000
MEASURES = ("R@1", "R@5", "R@10", "MRR")
_RESAMPLES = 1_000
_Z = 1.96  # of an interval of 95 %


class First(NamedTuple):
    """The first result of an answer: its similarity, and its score where there is one."""

    similarity: float
    score: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one photo found.

    `rank`: that of its product, None where it is not among the first ten. `present`: the first result. `absent`: what
    it would be if the product were not there, None where there is no other.
    """

    product_id: str
    image_id: str
    category: str | None
    kind: Kind
    rank: int | None
    present: First
    absent: First | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All outcomes in one space."""

    space: str
    seed: int
    outcomes: tuple[Outcome, ...]

    def by_kind(self) -> dict[str, tuple[Outcome, ...]]:
        """The outcomes of each kind of damage, in their order."""
        return {kind: found for kind in KINDS if (found := tuple(o for o in self.outcomes if o.kind == kind))}

    def by_category(self) -> dict[str, tuple[Outcome, ...]]:
        """The photos of a camera of each category, the largest first."""
        groups: dict[str, list[Outcome]] = {}
        for outcome in self.outcomes:
            if outcome.kind == "camera":
                groups.setdefault(outcome.category or "(none)", []).append(outcome)
        return {name: tuple(found) for name, found in sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))}

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


class Separation(NamedTuple):
    """How well the first result tells whether the photo's product is there; each photo counts with it and without it.

    `by_score`, `by_similarity`: how often the first result with the product has more of it than one without (the area
    under the ROC curve). `present`, `absent`: the shares of answers with and without it that are called a good match.
    """

    by_score: float
    by_similarity: float
    present: float
    absent: float


class Difference(NamedTuple):
    """After less before, with an interval of 95 % (bootstrap over pictures)."""

    queries: int
    values: tuple[float, ...]
    intervals: tuple[tuple[float, float], ...]


def figures(outcomes: Sequence[Outcome]) -> Figures:
    """What some outcomes come to; there must be at least one."""
    scored = _scored(outcomes)
    return Figures(
        len(outcomes),
        tuple(float(value) for value in scored.mean(axis=0)),
        _wilson(float(scored[:, 0].sum()), len(outcomes)),
    )


def separation(outcomes: Sequence[Outcome]) -> Separation | None:
    """What scores tell of some outcomes; None where there are none."""
    present, absent = (
        np.array([first for first in firsts if first is not None and first.score is not None], np.float64)
        for firsts in ([outcome.present for outcome in outcomes], [outcome.absent for outcome in outcomes])
    )
    if not len(present) or not len(absent):
        return None
    return Separation(
        by_score=_auc(present[:, 1], absent[:, 1]),
        by_similarity=_auc(present[:, 0], absent[:, 0]),
        present=float(np.mean(present[:, 1] >= GOOD)),
        absent=float(np.mean(absent[:, 1] >= GOOD)),
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


def evaluate(
    trials: Trials,
    space: Space,
    embedder: Embedder,
    *,
    sample: int = 500,
    seed: int = 0,
    on_tried: OnTried = lambda done, total: None,  # noqa: ARG005 - nobody looks
) -> Evaluation:
    """Searches a space by `sample` pictures, each as it is and with each kind of damage.

    Raises:
        InvalidInput: `sample` out of bounds.
        SpaceConflict: no picture has its vector there, or none can be read.
        EmbedderError: the embedder cannot be used now.
    """
    if not 1 <= sample <= MAX_PICTURES:
        raise InvalidInput("sample", f"Between 1 and {MAX_PICTURES:,} pictures.")
    tried = trials.run(space, embedder, KINDS, count=sample, seed=seed, on_tried=on_tried)
    outcomes = tuple(_outcome(trial, space.calibration) for trial in tried)
    if not outcomes:
        raise SpaceConflict(f"No picture in {space.key} can be searched by.")
    return Evaluation(space.key, seed, outcomes)


def _outcome(trial: Trial, calibration: Calibration | None) -> Outcome:
    return Outcome(
        trial.subject.product_id,
        str(trial.subject.image_id),
        trial.subject.category,
        trial.kind,
        trial.rank,
        _first(trial.with_product, calibration),
        _first(trial.without_product, calibration) if trial.others else None,
    )


def _first(similarities: tuple[float, ...], calibration: Calibration | None) -> First:
    scale = calibration.scale(similarities) if calibration else None
    return First(similarities[0], scale.score(similarities[0]) if scale else None)


def _auc(above: NDArray[np.float64], below: NDArray[np.float64]) -> float:
    """The share of pairs that are in order, ties by half."""
    ordered = np.sort(below)
    passed = np.searchsorted(ordered, above, "left") + np.searchsorted(ordered, above, "right")
    return float(np.mean(passed / 2 / len(below)))


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
