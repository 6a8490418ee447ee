"""A similarity as a score: never falling, between 0 and 1, whatever was measured."""

import math

import numpy as np
import pytest

from seesame.calibration import Calibration, Source, fit

SIMILARITIES = np.linspace(-1, 1, 401)


def _fitted(alike: list[float], different: list[float], source: Source = "pictures") -> Calibration:
    return fit(np.array(alike, np.float32), np.array(different, np.float32), source=source, images=10)


@pytest.mark.parametrize(
    ("alike", "different"),
    [
        ([0.9, 0.8, 0.7], [0.1, 0.2, 0.3]),  # apart
        ([0.9, 0.2, 0.5], [0.1, 0.6, 0.4]),  # mixed
        ([0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),  # all equal
        ([1.0], [1.0]),  # one pair each, the same
        ([0.9], [0.1]),
        ([0.1, 0.2], [0.8, 0.9]),  # a model that has it backwards
        ([], [0.3]),
        ([], [0.4, 0.4, 0.4]),
        ([], [0.1, 0.2, 0.3, 0.4]),
        ([1.0] * 500, [-1.0] * 500),
        ([1.0, 1.0, 1e-7], [0.0]),
    ],
)
def test_a_score_is_a_number_from_0_to_1_that_never_falls(alike: list[float], different: list[float]) -> None:
    """Also from too few pairs, pairs that are all equal, and a model that tells nothing."""
    calibration = _fitted(alike, different, "pictures" if alike else "negatives")
    scores = [calibration.score(similarity) for similarity in SIMILARITIES]
    assert all(0 <= score <= 1 for score in scores)
    assert scores == sorted(scores)
    assert math.isfinite(calibration.threshold)
    matches = [calibration.is_match(similarity) for similarity in SIMILARITIES]
    assert matches == sorted(matches)
    assert (calibration.positives, calibration.negatives, calibration.images) == (len(alike), len(different), 10)


def test_what_is_no_number_is_no_match() -> None:
    """NaN in, nothing out."""
    calibration = _fitted([0.9, 0.8], [0.1, 0.2])
    assert calibration.score(math.nan) == 0.0
    assert not calibration.is_match(math.nan)


def test_a_score_is_the_share_of_pairs_that_are_alike() -> None:
    """Of pairs that were not used for it, from two normal distributions, for which the logistic curve is exact."""
    rng = np.random.default_rng(5)
    calibration = fit(rng.normal(0.7, 0.1, 400), rng.normal(0.4, 0.1, 5_000), source="pictures", images=1)
    alike, different = rng.normal(0.7, 0.1, 20_000), rng.normal(0.4, 0.1, 20_000)
    values = np.concatenate([alike, different])
    is_alike = np.arange(len(values)) < len(alike)
    scores = np.array([calibration.score(value) for value in values])
    for low in np.arange(0, 1, 0.1):
        inside = (scores >= low) & (scores < low + 0.1)
        assert is_alike[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.06)


def test_a_match_is_more_alike_than_most_different_products() -> None:
    """Of a hundred pairs of different products one at most is so alike."""
    different = np.random.default_rng(6).normal(0.4, 0.1, 10_000)
    for alike in ([0.9, 0.95], []):
        calibration = _fitted(alike, list(different), "pictures" if alike else "negatives")
        assert np.mean([calibration.is_match(value) for value in different]) == pytest.approx(0.01, abs=0.001)


def test_without_anything_alike_the_score_is_even_at_the_threshold() -> None:
    """And next to nothing for products as unlike as most."""
    calibration = _fitted([], [0.1, 0.2, 0.3, 0.4, 0.5], "negatives")
    assert calibration.score(calibration.threshold) == pytest.approx(0.5)
    assert calibration.score(0.3) == pytest.approx(0.01)
