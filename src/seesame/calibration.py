"""What a similarity means: a cosine of one model as a score from 0 to 1 that means the same with every model."""

import math
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

Source = Literal["pictures", "camera", "negatives"]
"""What is known to be alike: pictures of one product, a picture and what a camera makes of it, or nothing."""

_BY_CHANCE: Final = 0.99  # of pairs of different products that are less alike than a match
_UNLIKELY: Final = 0.01  # the score of two products as like as most, where nothing is known to be alike
_STEPS: Final = 100
_Values = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How alike pictures of one product are in a space, and those of different ones.

    `positives` and `negatives` are how many pairs were measured, `images` how many the space had then.
    """

    slope: float
    offset: float
    threshold: float
    source: Source
    positives: int
    negatives: int
    images: int

    def score(self, similarity: float) -> float:
        """How likely two pictures so alike show the same product, if they may as well not: 0 to 1, never falling."""
        score = (1 + math.tanh((self.slope * similarity + self.offset) / 2)) / 2
        return 0.0 if math.isnan(score) else score

    def is_match(self, similarity: float) -> bool:
        """Whether so alike a result is worth showing as found; below it, it is as like as any other product."""
        return similarity >= self.threshold


def fit(alike: _Values, different: _Values, *, source: Source, images: int) -> Calibration:
    """A calibration by the similarities of pairs. There must be a different one; nothing alike is known by `negatives`.

    The score is a logistic curve (Platt, 1999, with his targets for few pairs); both kinds of pairs weigh the same.
    """
    alike, different = (np.asarray(values, np.float64) for values in (alike, different))
    threshold = float(np.quantile(different, _BY_CHANCE))
    if len(alike):
        slope, offset = _logistic(alike, different)
    else:
        spread = max(threshold - float(np.median(different)), 1e-6)
        slope = math.log(1 / _UNLIKELY - 1) / spread
        offset = -slope * threshold
    return Calibration(slope, offset, threshold, source, len(alike), len(different), images)


def _logistic(alike: _Values, different: _Values) -> tuple[float, float]:
    """Slope, never below 0, and offset of the logistic curve that loses least (Newton's method)."""
    values = np.concatenate([alike, different])
    middle, spread = values.mean(), max(float(values.std()), 1e-6)
    matrix = np.column_stack([(values - middle) / spread, np.ones(len(values))])
    counts = np.array([len(alike), len(different)])
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
    slope = max(0.0, float(found[0]) / spread)
    return slope, float(found[1]) - slope * float(middle)
