"""Damages as a camera's: repeatable, of every kind, of every picture."""

import io

import numpy as np
import pytest
from PIL import Image, ImageDraw

from seesame.camera import KINDS, SIDE, Kind, photograph
from seesame.errors import ImageUndecodable
from tests.conftest import picture


def _packshot(size: tuple[int, int] = (300, 400)) -> bytes:
    """A red disc on a white backdrop."""
    image = Image.new("RGB", size, "white")
    ImageDraw.Draw(image).ellipse((75, 125, 225, 275), fill="red")
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _pixels(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as opened:
        return opened.convert("RGB")


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_gives_the_same_photo(kind: Kind) -> None:
    """And another seed another one, except of a picture that is left as it is."""
    photo = photograph(_packshot(), kind, 1)
    assert photo == photograph(_packshot(), kind, 1)
    assert (photo == photograph(_packshot(), kind, 2)) is (kind == "none")
    assert max(_pixels(photo).size) <= SIDE


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "none"])
def test_a_damage_changes_the_picture_and_leaves_the_product(kind: Kind) -> None:
    """The disc is still there, and not where or as it was."""
    before, after = (_pixels(photograph(_packshot(), one, 4)).resize((96, 128)) for one in ("none", kind))
    assert np.abs(np.asarray(before, int) - np.asarray(after, int)).mean() > 0.3
    red, green, blue = np.asarray(after, int).transpose(2, 0, 1)
    assert ((red > 1.5 * green) & (red > 1.5 * blue)).mean() > 0.05


def test_a_plain_backdrop_is_cut_away() -> None:
    """On clutter next to nothing of the white paper is left, only the product."""
    shares = []
    for kind in ("none", "background"):
        pixels = np.asarray(_pixels(photograph(_packshot(), kind, 3)), int)
        shares.append(float((pixels.min(axis=2) > 245).mean()))
    assert shares[0] > 0.7
    assert shares[1] < 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 700), (3_000, 2)])
@pytest.mark.parametrize("kind", KINDS)
def test_pictures_of_any_shape_are_damaged(kind: Kind, size: tuple[int, int]) -> None:
    """Down to a single pixel."""
    assert min(_pixels(photograph(picture(size=size, format="PNG"), kind, 0)).size) >= 1


def test_what_is_no_picture_is_refused() -> None:
    """As everywhere."""
    with pytest.raises(ImageUndecodable):
        photograph(b"", "camera", 0)
