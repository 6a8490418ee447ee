"""Two rankings become one."""

import pytest

from seesame.fusion import fuse


def test_what_both_find_comes_first() -> None:
    """Before what one of them ranks higher."""
    fused = fuse(["a", "b", "c"], {"d": 0.9, "c": 0.8})
    assert [one.product_id for one in fused] == ["c", "a", "d", "b"]
    assert (fused[0].by_vector, fused[0].by_words) == (3, 2)
    assert fused[0].score == pytest.approx(1 / 63 + 1 / 62)


def test_shares_tell_where_a_score_comes_from() -> None:
    """All from one ranking, or a part from each."""
    by_id = {one.product_id: one for one in fuse(["a", "b"], {"b": 0.9, "c": 0.8})}
    assert by_id["a"].vector_share == 1
    assert by_id["c"].vector_share == 0
    assert by_id["b"].vector_share == pytest.approx((1 / 62) / (1 / 62 + 1 / 61))


def test_one_ranking_stays_as_it_is() -> None:
    """And of equals the more similar comes first."""
    assert [one.product_id for one in fuse(["a", "b"], {})] == ["a", "b"]
    assert [one.product_id for one in fuse(["a"], {"b": 0.9})] == ["a", "b"]
    assert fuse([], {}) == []


def test_texts_that_match_equally_share_a_place() -> None:
    """So that among them the vectors decide, and not the order of their ids."""
    fused = fuse(["d", "x", "a"], {"a": 0.5, "b": 0.5, "c": 0.5, "d": 0.5, "e": 0.2})
    assert [one.product_id for one in fused][:2] == ["d", "a"]
    assert {one.product_id: one.by_words for one in fused} == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 5, "x": None}
