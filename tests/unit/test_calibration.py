"""Similarities as scores: from 0 to 1, never falling, whatever was measured."""

import numpy as np
import pytest
from numpy.typing import NDArray

from seesame.calibration import GOOD, RIVAL, Calibration, Scale, fit

Numbers = NDArray[np.float64]

SIMILARITIES = np.linspace(-1, 1, 401)


def _drawn(count: int, seed: int) -> tuple[Numbers, Numbers]:
    """Rows for own products and for others: as similar as the rival is, but own ones at a shorter distance."""
    rng = np.random.default_rng(seed)
    distances = rng.uniform(0.2, 0.6, (2, count))
    own = 1 - distances[0] * np.exp(rng.normal(-0.5, 0.3, count))
    others = 1 - distances[1] * np.exp(rng.normal(-0.1, 0.3, count))
    return np.column_stack([own, 1 - distances[0]]), np.column_stack([others, 1 - distances[1]])


def _fitted(own: Numbers, others: Numbers) -> Calibration:
    calibration = fit(own, others, images=10)
    assert calibration is not None
    return calibration


def _score(calibration: Calibration, row: Numbers) -> float:
    return Scale(calibration, row[1]).score(row[0])


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ([(0.9, 0.5), (0.8, 0.6)], [(0.5, 0.4), (0.4, 0.3)]),  # apart
        ([(0.9, 0.5), (0.4, 0.3)], [(0.5, 0.4), (0.4, 0.3)]),  # mixed
        ([(1.0, 0.9)] * 30, [(1.0, 1.0)] * 29 + [(0.9, 0.9)]),  # the same pictures
        ([(1.0, -1.0)], [(-1.0, -1.0)]),
    ],
)
def test_a_score_is_a_number_from_0_to_1_that_never_falls(
    own: list[tuple[float, float]], others: list[tuple[float, float]]
) -> None:
    """Also from too few examples, ones that are all equal, and similarities that rounding raised above 1."""
    calibration = _fitted(np.array(own), np.array(others))
    assert (calibration.photos, calibration.images) == (len(own), 10)
    for rival in (-1.0, 0.5, 1.0):
        scale = Scale(calibration, rival)
        scores = [scale.score(similarity) for similarity in (*SIMILARITIES, 1.01)]
        assert all(0 <= score <= 1 for score in scores)
        assert scores == sorted(scores)
        assert [scale.is_good(similarity) for similarity in SIMILARITIES] == [s >= GOOD for s in scores[:-1]]


@pytest.mark.parametrize(
    ("own", "others"),
    [
        ([(0.1, 0.1), (0.2, 0.2)], [(0.8, 0.5), (0.9, 0.6)]),  # a model that has it backwards
        ([(0.5, 0.5)] * 9, [(0.5, 0.5)] * 9),  # one to which everything is the same
    ],
)
def test_nothing_is_told_where_own_products_are_not_the_more_similar(
    own: list[tuple[float, float]], others: list[tuple[float, float]]
) -> None:
    """Better no score than one that means nothing."""
    assert fit(np.array(own), np.array(others), images=10) is None


def test_a_score_is_the_share_of_results_that_are_right() -> None:
    """Of results that it was not fitted to."""
    calibration = _fitted(*_drawn(2_000, seed=1))
    own, others = _drawn(20_000, seed=2)
    scores = np.array([_score(calibration, row) for row in (*own, *others)])
    is_own = np.arange(len(scores)) < len(own)
    assert np.mean(scores[is_own] >= GOOD) > 0.7
    for low in np.arange(0, 1, 0.1):
        inside = (scores >= low) & (scores < low + 0.1)
        assert is_own[inside].mean() == pytest.approx(scores[inside].mean(), abs=0.06)


def test_a_result_that_stands_out_scores_higher() -> None:
    """At the same similarity, where the fourth result is far behind."""
    calibration = _fitted(*_drawn(2_000, seed=1))
    assert Scale(calibration, 0.4).score(0.7) > GOOD > Scale(calibration, 0.69).score(0.7)


def test_fewer_than_four_results_have_no_scale() -> None:
    """There is nothing to measure them against."""
    calibration = _fitted(*_drawn(100, seed=1))
    similarities = [0.9, 0.8, 0.7, 0.6, 0.5]
    assert calibration.scale(similarities[: RIVAL - 1]) is None
    assert calibration.scale(similarities) == Scale(calibration, 0.6)
