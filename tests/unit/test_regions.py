"""Regions that are proposed: of drawn pictures, whose things lie where they were drawn."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from seesame.regions import MOST, propose
from seesame.types import Region

Box = tuple[int, int, int, int]

SIZE = (600, 400)
SHIRT, TROUSERS = (60, 80, 220, 300), (360, 120, 520, 340)


def _plain(colour: str = "beige", size: tuple[int, int] = SIZE) -> Image.Image:
    return Image.new("RGB", size, colour)


def _gradient() -> Image.Image:
    return Image.merge("RGB", [Image.linear_gradient("L").resize(SIZE)] * 3).point(lambda level: 100 + level // 3)


def _grainy() -> Image.Image:
    noise = np.random.default_rng(0).normal(150, 20, (SIZE[1], SIZE[0], 3))
    return Image.fromarray(noise.clip(0, 255).astype(np.uint8))


def _planks() -> Image.Image:
    image = _plain("tan")
    for x in range(0, SIZE[0], 40):
        ImageDraw.Draw(image).rectangle((x, 0, x + 18, SIZE[1]), fill="burlywood")
    return image


def _with(ground: Image.Image, *things: tuple[Box, str]) -> Image.Image:
    for box, colour in things:
        ImageDraw.Draw(ground).rounded_rectangle(box, 20, fill=colour)
    return ground.filter(ImageFilter.GaussianBlur(1))


def _regions(picture: Image.Image) -> list[Region]:
    return [proposal.region for proposal in propose(picture)]


def _iou(region: Region, box: Box, size: tuple[int, int] = SIZE) -> float:
    left, top, right, bottom = (value / size[axis % 2] for axis, value in enumerate(box))
    width = min(region.x + region.width, right) - max(region.x, left)
    height = min(region.y + region.height, bottom) - max(region.y, top)
    common = max(width, 0) * max(height, 0)
    return common / (region.width * region.height + (right - left) * (bottom - top) - common)


@pytest.mark.parametrize("ground", [_plain, _gradient, _grainy, _planks])
def test_each_of_two_things_gets_a_region(ground: Callable[[], Image.Image]) -> None:
    """On grounds that are plain, shaded, grainy or striped; one thing has little contrast."""
    regions = _regions(_with(ground(), (SHIRT, "darkred"), (TROUSERS, "slategray")))
    assert len(regions) == 2
    for box in (SHIRT, TROUSERS):
        assert max(_iou(region, box) for region in regions) >= 0.8


def test_grey_pictures_have_regions_too() -> None:
    """Lightness alone tells things from their ground."""
    regions = _regions(_with(_plain("#808080"), (SHIRT, "#202020"), (TROUSERS, "#b0b0b0")))
    assert len(regions) == 2
    assert min(max(_iou(region, box) for region in regions) for box in (SHIRT, TROUSERS)) >= 0.8


def test_what_stands_out_more_comes_first() -> None:
    """Of two things of one size the one whose colour is further from the ground's."""
    first, second = propose(_with(_plain("white"), (SHIRT, "lightgray"), (TROUSERS, "black")))
    assert _iou(first.region, TROUSERS) >= 0.8
    assert 0 < second.prominence < first.prominence <= 1


@pytest.mark.parametrize("ground", [_plain, _gradient, _grainy, _planks])
def test_a_bare_ground_has_no_regions(ground: Callable[[], Image.Image]) -> None:
    """Nor has a single colour."""
    assert _regions(ground()) == []


def test_one_thing_gets_one_region() -> None:
    """Not one for its parts, whatever is printed on it."""
    shirt = (150, 60, 450, 350)
    (region,) = _regions(_with(_plain("white"), (shirt, "navy"), ((230, 120, 370, 220), "gold")))
    assert _iou(region, shirt) >= 0.8


def test_a_thing_that_fills_the_picture_has_no_region() -> None:
    """The whole picture is no part of itself."""
    assert _regions(_with(_plain("white"), ((4, 4, 595, 395), "navy"))) == []


def test_specks_are_no_regions() -> None:
    """A label on the wall is not what anyone would search for."""
    assert _regions(_with(_plain("white"), ((300, 200, 330, 220), "black"))) == []


def test_there_are_at_most_five_and_none_twice() -> None:
    """Of twelve things, five that do not overlap, within the picture."""
    boxes = [(x, y, x + 90, y + 80) for x in range(30, 600, 145) for y in range(30, 400, 125)]
    regions = _regions(_with(_plain("white"), *((box, "teal") for box in boxes)))
    assert len(regions) == MOST
    found = [[box for box in boxes if _iou(region, box) >= 0.7] for region in regions]
    assert len({box for (box,) in found}) == MOST


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4000, 10), (10, 4000), (64, 64)])
def test_any_size_will_do(size: tuple[int, int]) -> None:
    """A picture of one colour has no regions, a noisy one none that reaches out of it."""
    assert _regions(_plain("red", size)) == []
    noise = np.random.default_rng(1).integers(256, size=(size[1], size[0], 3), dtype=np.uint8)
    assert len(_regions(Image.fromarray(noise))) <= MOST


@pytest.mark.parametrize("size", [(4000, 10), (10, 4000)])
def test_slender_pictures_have_regions(size: tuple[int, int]) -> None:
    """A thing in a strip is found, though the strip is looked at as a square."""
    wide = size[0] > size[1]
    box = (1000, 2, 1900, 8) if wide else (2, 1000, 8, 1900)
    picture = _plain("white", size)
    picture.paste("navy", box)
    (region,) = _regions(picture)
    assert _iou(region, box, size) >= 0.7


def test_the_same_picture_has_the_same_regions_at_any_scale() -> None:
    """Twice asked, the same to the last bit; at three times the size, the same within a cell or so."""
    picture = _with(_planks(), (SHIRT, "darkred"), (TROUSERS, "slategray"))
    assert propose(picture) == propose(picture.copy())
    larger = propose(picture.resize((1800, 1200), Image.Resampling.LANCZOS))
    for one, other in zip(propose(picture), larger, strict=True):
        assert abs(one.region.x - other.region.x) <= 0.03
        assert abs(one.region.width - other.region.width) <= 0.04
