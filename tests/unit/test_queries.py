"""What may be searched for, and how pages go on."""

import math

import pytest

from seesame.errors import InvalidInput
from seesame.queries import Cursor, LikeProduct, Part, Photo, Query, Words, check_parts
from seesame.types import Region, Spot


@pytest.mark.parametrize(
    "cursor",
    [Cursor(24, "a@1", Spot(0.1234567890123456789, "SKU/9 ü")), Cursor(0, "", None), Cursor(10_000, "b", None)],
)
def test_a_cursor_comes_back_as_it_went_out(cursor: Cursor) -> None:
    """To the last bit of its distance, and as characters that an address takes."""
    written = str(cursor)
    assert Cursor.parse(written) == cursor
    assert written.isascii()
    assert not set(written) & set("+/=&? ")


@pytest.mark.parametrize(
    "written",
    [
        "",
        "x",
        "é",
        "bnVsbA",  # null
        "WzEsImEiLDEsMl0",  # [1,"a",1,2]
        "Wy0xLCJhIl0",  # [-1,"a"]
        "WzFlOSwiYSJd",  # [1e9,"a"]
        "WzEsImEiLE5hTiwieCJd",  # [1,"a",NaN,"x"]
        "WzEsImEiLDAuNSwiXHUwMDAwIl0",  # [1,"a",0.5,"\0"]
        "W1tbW1tb" * 200,
    ],
)
def test_what_is_no_cursor_is_refused(written: str) -> None:
    """Whatever a stranger sends in its place."""
    with pytest.raises(InvalidInput, match="Not a cursor"):
        Cursor.parse(written)


def test_a_cursor_of_another_space_counts_products_off() -> None:
    """Distances of two spaces are never compared."""
    query = Query(cursor=Cursor(10, "a@1", Spot(0.5, "x")))
    assert query.spot("a@1") == Spot(0.5, "x")
    assert query.spot("b@1") is None
    assert query.shown == 10


@pytest.mark.parametrize("weight", [0.0, math.nan, math.inf, -math.inf, 101.0])
def test_a_weight_says_something(weight: float) -> None:
    """Zero, or no number at all, does not."""
    with pytest.raises(InvalidInput, match="weight"):
        Part(Words("red"), weight)


def test_parts_have_something_to_be_like() -> None:
    """Only what something is to be unlike is not enough, and neither is nothing."""
    for parts in ([], [Part(Words("red"), -1)], [Part(Words("red"))] * 9):
        with pytest.raises(InvalidInput):
            check_parts(parts)
    check_parts([Part(Words("red")), Part(Photo(b""), -0.5)])


def test_only_pictures_have_regions() -> None:
    """Words have none; of a product it is not said which picture."""
    for subject in (Words("red"), LikeProduct("a")):
        with pytest.raises(InvalidInput, match="region"):
            Part(subject, region=Region(0, 0, 1, 1))


@pytest.mark.parametrize(
    "region",
    [(-0.1, 0, 1, 1), (0, 0, 0, 1), (0, 0, 1, -1), (0.5, 0, 0.6, 1), (math.nan, 0, 1, 1), (0, 0, math.inf, 1)],
)
def test_a_region_lies_within_the_picture(region: tuple[float, float, float, float]) -> None:
    """And holds something."""
    with pytest.raises(InvalidInput):
        Region(*region)


def test_a_region_has_at_least_a_pixel() -> None:
    """However small it is, and at the very edge."""
    assert Region(0.25, 0.5, 0.5, 0.5).box(100, 10) == (25, 5, 75, 10)
    assert Region(1 - 1e-9, 1 - 1e-9, 1e-9, 1e-9).box(100, 10) == (99, 9, 100, 10)
    assert Region(0, 0, 1, 1).box(1, 1) == (0, 0, 1, 1)
