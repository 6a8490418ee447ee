"""Figures of an evaluation, and what changed between two."""

import random

import pytest

from seesame.camera import Kind
from seesame.errors import InvalidInput
from seesame.evaluating import Evaluation, First, Outcome, difference, figures, separation


def _outcome(number: int, rank: int | None, kind: Kind = "blur") -> Outcome:
    return Outcome(f"p{number}", f"i{number}", "hats", kind, rank, First(0.5, None), None)


def test_recall_and_rank_are_means_over_queries() -> None:
    """By hand: ranks 1, 2, 6, 10 and none."""
    shown = figures([_outcome(number, rank) for number, rank in enumerate([1, 2, 6, 10, None])])
    assert shown.queries == 5
    assert shown.values == pytest.approx((0.2, 0.4, 0.8, (1 + 1 / 2 + 1 / 6 + 1 / 10) / 5))


def test_the_interval_is_that_of_wilson() -> None:
    """7 of 10: as in tables; and it is no point where all or none were found."""
    assert figures([_outcome(n, 1 if n < 7 else None) for n in range(10)]).interval == pytest.approx(
        (0.3968, 0.8922), abs=1e-4
    )
    assert figures([_outcome(n, 1) for n in range(10)]).interval == pytest.approx((0.7225, 1.0), abs=1e-4)


def test_a_gain_is_told_from_chance() -> None:
    """Twenty of two hundred queries gained are sure; as many gains as losses are not."""
    before = [_outcome(number, None if number < 100 else 1) for number in range(200)]
    gained = difference([_outcome(number, None if number < 80 else 1) for number in range(200)], before)
    assert gained is not None
    assert gained.queries == 200
    assert gained.values[0] == pytest.approx(0.1)
    assert 0.05 < gained.intervals[0][0] < 0.1 < gained.intervals[0][1] < 0.15
    shuffled = [outcome.rank for outcome in before]
    random.Random(1).shuffle(shuffled)
    same = difference([_outcome(number, rank) for number, rank in enumerate(shuffled)], before)
    assert same is not None
    assert same.intervals[0][0] < 0 < same.intervals[0][1]


def test_only_queries_of_both_are_compared() -> None:
    """Another picture, or another kind of damage, is another query."""
    assert difference([_outcome(1, 1)], [_outcome(2, 1), _outcome(1, 1, "crop")]) is None
    shared = difference([_outcome(1, 1), _outcome(2, 1)], [_outcome(2, None), _outcome(3, 1)])
    assert shared is not None
    assert (shared.queries, shared.values[0]) == (1, 1.0)


def test_scores_part_answers_with_the_product_from_those_without() -> None:
    """The areas under the curves count pairs, ties by half; by hand."""
    found = [
        Outcome("p1", "i1", None, "camera", 1, First(0.9, 0.8), First(0.6, 0.5)),
        Outcome("p2", "i2", None, "camera", 1, First(0.5, 0.5), First(0.6, 0.2)),
    ]
    told = separation(found)
    assert told is not None
    assert (told.by_score, told.by_similarity) == (3.5 / 4, 2 / 4)
    assert (told.present, told.absent) == (1.0, 0.5)
    assert separation([_outcome(1, 1)]) is None


def test_outcomes_come_back_from_a_file() -> None:
    """As they were; and what is no such file is refused."""
    scored = Outcome("p", "i", None, "camera", 1, First(0.9, 0.8), First(0.6, 0.5))
    evaluation = Evaluation("s", 3, (_outcome(1, None), _outcome(2, 4), scored))
    assert Evaluation.from_json(evaluation.to_json().encode()) == evaluation
    for text in (b"", b"{}", b"[1]", b'{"space": 1}'):
        with pytest.raises(InvalidInput):
            Evaluation.from_json(text)
