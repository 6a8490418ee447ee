"""What similarities mean: the results of a photo with scores from 0 to 1 that mean the same with every model.

A similarity alone tells little: a blurred photo is not very like even its own product, and a plain one is like much.
So a result is measured against the photo's fourth one, as a photo that is of none of the products has several results
that are about as similar (the idea of Lowe's ratio test, 2004).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GOOD: Final = 0.5
"""The score of a good match: from here on it is more likely the product than the most similar other one."""

RIVAL: Final = 4
"""The place of the result that the others are measured against."""

_EXACT: Final = 1e-3  # the distance of the same picture, about: stored vectors are rounded
_STEPS: Final = 100
_TELLS: Final = 1e-3  # what a distance counts for at least, by its spread
_Numbers = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A logistic curve over the logarithms of a result's distance (1 - similarity) and of its rival's.

    `own` is below 0, so that more similar results have higher scores. It was fitted to what `photos` found while the
    space had `images` vectors.
    """

    own: float
    rival: float
    offset: float
    photos: int
    images: int

    def scale(self, similarities: Sequence[float]) -> "Scale | None":
        """For the results of one photo, by their similarities, best first; None where they are too few to tell."""
        return Scale(self, similarities[RIVAL - 1]) if len(similarities) >= RIVAL else None


@dataclass(frozen=True, slots=True)
class Scale:
    """The scores of one photo's results. `rival`: the similarity that they are measured against."""

    calibration: Calibration
    rival: float

    def score(self, similarity: float) -> float:
        """How likely a result is what the photo shows, rather than the most similar other product: 0 to 1.

        The more similar of two results never has the lower score.
        """
        of = self.calibration
        return _logistic(of.own * _distance(similarity) + of.rival * _distance(self.rival) + of.offset)

    def is_good(self, similarity: float) -> bool:
        """Whether a result is worth calling a match."""
        return self.score(similarity) >= GOOD


def fit(own: _Numbers, others: _Numbers, *, images: int) -> Calibration | None:
    """The calibration by photos' own products and by the most similar other ones, each a row: similarity, rival's.

    The curve is Platt's (1999), with his targets for few examples; own and others weigh the same. None where the own
    products are not the more similar, so that nothing can be told.
    """
    examples = _distances(np.concatenate([own, others]))
    middle, spread = examples.mean(axis=0), np.maximum(examples.std(axis=0), 1e-6)
    weights, offset = _fitted((examples - middle) / spread, len(own))
    if weights[0] > -_TELLS:
        return None
    weights = weights / spread
    return Calibration(float(weights[0]), float(weights[1]), float(offset - weights @ middle), len(own), images)


def _fitted(examples: _Numbers, positives: int) -> tuple[_Numbers, float]:
    """Weights and offset of the logistic curve that loses least (Newton's method); the first `positives` are 1."""
    matrix = np.column_stack([examples, np.ones(len(examples))])
    counts = np.array([positives, len(examples) - positives])
    target = np.repeat([(counts[0] + 1) / (counts[0] + 2), 1 / (counts[1] + 2)], counts)
    weight = np.repeat(0.5 / counts, counts)
    found = np.zeros(matrix.shape[1])
    for _ in range(_STEPS):
        share = (1 + np.tanh(matrix @ found / 2)) / 2
        gradient = matrix.T @ (weight * (share - target))
        curvature = (matrix * (weight * share * (1 - share))[:, None]).T @ matrix + 1e-9 * np.eye(len(found))
        step = np.linalg.solve(curvature, gradient)
        found -= np.clip(step, -1, 1)  # far off, a whole step would go astray
        if np.abs(step).max() < 1e-9:
            break
    return found[:-1], float(found[-1])


def _distance(similarity: float) -> float:
    return math.log(max(0.0, 1 - similarity) + _EXACT)


def _distances(similarities: _Numbers) -> _Numbers:
    distances: _Numbers = np.log(np.maximum(0.0, 1 - np.asarray(similarities, np.float64)) + _EXACT)
    return distances


def _logistic(value: float) -> float:
    return (1 + math.tanh(value / 2)) / 2
