"""What a similarity means: a cosine of one model as a score from 0 to 1 that means the same with every model."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GOOD: Final = 0.5
"""The score of a good match: from here on it is more likely the product than the most similar of all others."""

_STEPS: Final = 100
_Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic curve over similarity: `slope` above 0, `threshold` the similarity whose score is 0.5.

    It was fitted to what `photos` found while the space had `images` vectors.
    """

    slope: float
    threshold: float
    photos: int
    images: int

    def score(self, similarity: float) -> float:
        """How likely it is the photo's own product, not another one: 0 to 1, never falling. Each is as likely before.

        A similarity that is no number scores 0.
        """
        score = (1 + math.tanh(self.slope * (similarity - self.threshold) / 2)) / 2
        return 0.0 if math.isnan(score) else score

    def is_good(self, similarities: Iterable[float | None]) -> bool:
        """Whether one of some results is so similar that it is worth calling a match."""
        return any(similarity is not None and self.score(similarity) >= GOOD for similarity in similarities)


def fit(own: _Values, others: _Values, *, images: int) -> Calibration | None:
    """The calibration by what photos are like: their own product, and the most similar other one.

    The curve is Platt's (1999), with his targets for few pairs; both kinds weigh the same. None where the own products
    are not the more similar, so that nothing can be told.
    """
    own, others = np.asarray(own, np.float64), np.asarray(others, np.float64)
    if not len(own) or not len(others):
        return None
    values = np.concatenate([own, others])
    middle, spread = float(values.mean()), max(float(values.std()), 1e-6)
    slope, offset = _logistic((values - middle) / spread, len(own))
    if slope <= 1e-6:
        return None
    return Calibration(slope / spread, middle - offset / slope * spread, len(own), images)


def _logistic(values: _Values, positives: int) -> _Values:
    """Slope and offset of the logistic curve that loses least (Newton's method); the first `positives` are 1."""
    matrix = np.column_stack([values, np.ones(len(values))])
    counts = np.array([positives, len(values) - positives])
    target = np.repeat([(counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)], counts)
    weight = np.repeat(0.5 / counts, counts)
    found = np.zeros(2)
    for _ in range(_STEPS):
        share = (1 + np.tanh(matrix @ found / 2)) / 2
        gradient = matrix.T @ (weight * (share - target))
        curvature = (matrix * (weight * share * (1 - share))[:, None]).T @ matrix + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        found -= np.clip(step, -1, 1)  # far off, a whole step would go astray
        if np.abs(step).max() < 1e-9:
            break
    return found
