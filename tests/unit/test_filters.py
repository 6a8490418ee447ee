"""Filters: what is understood and what is refused."""

from decimal import Decimal

import pytest

from seesame.errors import InvalidInput
from seesame.filters import parse_filter
from seesame.types import Clause


def test_a_filter_has_values_lists_and_ranges() -> None:
    """The three shapes of a condition."""
    written = {"category": "shoes", "price": {"gte": 10, "lt": 99.5}, "attributes.color": ["red", 7, True]}
    assert parse_filter(written) == (
        Clause("category", any_of=("shoes",)),
        Clause("price", lower=Decimal(10), upper=Decimal("99.5"), upper_inclusive=False),
        Clause("attributes.color", any_of=("red", 7, True)),
    )


def test_conditions_may_be_put_together() -> None:
    """What it is, what it is not, whether it is there, and where it lies."""
    written = {"brand": {"in": "Acme", "exists": True}, "attributes.size": {"not": [38, 39], "gt": 36}}
    assert parse_filter(written) == (
        Clause("brand", any_of=("Acme",), exists=True),
        Clause("attributes.size", none_of=(38, 39), lower=Decimal(36), lower_inclusive=False),
    )


@pytest.mark.parametrize(
    "written",
    [
        {"colour": "red"},
        {"product_id; DROP TABLE products": "x"},
        {"category": 7},
        {"category": None},
        {"category": []},
        {"category": ["x"] * 101},
        {"category": "nul\0"},
        {"category": "half \ud800 pair"},
        {"category": "x" * 1001},
        {"category": {"gte": "a"}},
        {"price": {}},
        {"price": {"gte": 1, "gt": 1}},
        {"price": {"above": 1}},
        {"price": "cheap"},
        {"price": True},
        {"price": {"lte": float("nan")}},
        {"price": {"lte": float("inf")}},
        {"price": {"lte": 10**400}},
        {"attributes.a": {"gte": "1"}},
        {"attributes.a": {}},
        {"attributes.a": {"exists": 1}},
        {"brand": {"gte": 1}},
        {"brand": {"not": []}},
        {"brand": {"in": None}},
        {"attributes.a": [[1]]},
        {"attributes." + "x" * 201: "y"},
        {"attributes.nul\0": "y"},
        {f"attributes.a{i}": "y" for i in range(10_000)},
    ],
    ids=lambda written: str(written)[:40],
)
def test_what_is_no_filter_is_refused(written: dict[str, object]) -> None:
    """Unknown fields, wrong types, numbers that are none, and too much of anything."""
    with pytest.raises(InvalidInput):
        parse_filter(written)
