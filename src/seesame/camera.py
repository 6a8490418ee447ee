"""Damages a picture as a phone's camera would, so that searches are tried with photos, not with the shop's own files.

Each kind draws its strength from a range (below, at `strength` 1), about what hand-held photos of shop goods show:

- `crop`: 70 to 95 % of the width and of the height, anywhere.
- `tilt`: turned by up to 15°, and each corner moved by up to 10 %, as seen from the side.
- `blur`: out of focus, or shaken in one direction, by 0.4 to 1.2 % of the longer side.
- `light`: exposure by up to 0.8 stops, warm or cold light by up to 20 %, a shade from one side, and a sensor's noise.
- `background`: smaller, on a cluttered ground; a plain backdrop around the product is cut away first.
- `jpeg`: half as large, in a quality of 10 to 30.
- `camera`: all of these together, each at 60 % of its strength.

The same picture, kind and seed give the same bytes with the same Pillow and NumPy.
"""

from collections.abc import Callable
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from seesame.images import decode, encode_jpeg

Kind = Literal["none", "crop", "tilt", "blur", "light", "background", "jpeg", "camera"]
KINDS: Final[tuple[Kind, ...]] = ("none", "crop", "tilt", "blur", "light", "background", "jpeg", "camera")

SIDE: Final = 512  # pixels of the longer side; more than models look at

_QUALITY = 92  # of what is not to suffer from JPEG
_TOGETHER = 0.6
_SMALL = 96  # pixels of the longer side, for finding the backdrop
_PLAIN = 28.0  # distance of a colour (0 to 441) that still belongs to the backdrop
_Pixels = NDArray[np.float32]


def photograph(picture: bytes, kind: Kind, seed: int) -> bytes:
    """An encoded picture as a camera would show it: a JPEG, its longer side at most 512 pixels.

    Raises:
        ImageError: the picture cannot be used.
    """
    image = decode(picture, shortest_side=SIDE)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS, reducing_gap=3.0)
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    if kind == "camera":
        for part in (_background, _tilt, _crop, _light, _blur):
            image = part(image, rng, _TOGETHER)
        return _jpeg(image, rng, _TOGETHER)
    if kind == "jpeg":
        return _jpeg(image, rng, 1.0)
    return encode_jpeg(_ALONE[kind](image, rng, 1.0) if kind in _ALONE else image, quality=_QUALITY)


def _crop(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    keep = 1 - strength * rng.uniform(0.05, 0.3, 2)
    sides = np.maximum(1, keep * image.size)
    left, top = rng.uniform(0, 1, 2) * (image.size - sides)
    return image.crop((round(left), round(top), round(left + sides[0]), round(top + sides[1])))


def _tilt(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    angle = np.radians(strength * rng.uniform(-15, 15))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    flat = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) * image.size
    middle = np.array(image.size) / 2
    moved = strength * rng.uniform(-0.1, 0.1, (4, 2)) * image.size
    seen = (flat - middle) @ turn + middle + moved
    return image.transform(
        image.size,
        Image.Transform.PERSPECTIVE,
        _homography(flat, seen),
        Image.Resampling.BICUBIC,
        fillcolor=tuple(int(level) for level in _edge_colour(np.asarray(image))),
    )


def _homography(here: NDArray[Any], there: NDArray[Any]) -> tuple[float, ...]:
    """The eight numbers by which Pillow finds, for each place `here`, the place `there` that it shows."""
    rows, values = [], []
    for (x, y), (u, v) in zip(here, there, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return tuple(float(number) for number in np.linalg.solve(np.array(rows), np.array(values)))


def _blur(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    reach = strength * rng.uniform(0.004, 0.012) * max(image.size)
    if rng.uniform() < 0.5:
        return image.filter(ImageFilter.GaussianBlur(reach))
    angle = rng.uniform(0, np.pi)
    steps = np.linspace(-reach, reach, 2 * int(np.ceil(reach)) + 1)
    pixels = np.pad(np.asarray(image, np.float32), ((pad := int(np.ceil(reach)),) * 2, (pad,) * 2, (0, 0)), "edge")
    shaken = np.zeros((image.height, image.width, 3), np.float32)
    for step in steps:
        y, x = pad + round(step * np.sin(angle)), pad + round(step * np.cos(angle))
        shaken += pixels[y : y + image.height, x : x + image.width]
    return _image(shaken / len(steps))


def _light(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    exposure = 2 ** (strength * rng.uniform(-0.8, 0.8))
    warmth = strength * rng.uniform(-0.2, 0.2)
    angle = rng.uniform(0, 2 * np.pi)
    x = np.linspace(-1, 1, image.width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, image.height, dtype=np.float32)[:, None]
    shade = 1 - strength * rng.uniform(0, 0.35) * (1 + np.cos(angle) * x + np.sin(angle) * y) / 2
    tint = exposure * np.array([1 + warmth, 1, 1 - warmth], np.float32)
    noise = strength * rng.uniform(2, 8) * rng.standard_normal((image.height, image.width, 1), np.float32)
    return _image(np.asarray(image, np.float32) * shade[..., None] * tint + noise)


def _background(image: Image.Image, rng: np.random.Generator, strength: float) -> Image.Image:
    ground = _clutter(image.size, rng)
    share = 1 - strength * rng.uniform(0.2, 0.45)
    width, height = _scaled(image, share)
    place = (round(rng.uniform() * (image.width - width)), round(rng.uniform() * (image.height - height)))
    ground.paste(
        image.resize((width, height), Image.Resampling.BICUBIC), place, _product(image).resize((width, height))
    )
    return ground


def _product(image: Image.Image) -> Image.Image:
    """Where the product is: all but the plain backdrop that begins at the edges; everything where there is none."""
    small = image.copy()
    small.thumbnail((_SMALL, _SMALL))
    pixels = np.asarray(small, np.float32)
    plain = np.linalg.norm(pixels - _edge_colour(pixels), axis=2) < _PLAIN
    reached = np.zeros_like(plain)
    reached[[0, -1], :], reached[:, [0, -1]] = plain[[0, -1], :], plain[:, [0, -1]]
    while True:
        grown = np.pad(reached, 1)
        grown = (grown[:-2, 1:-1] | grown[2:, 1:-1] | grown[1:-1, :-2] | grown[1:-1, 2:] | reached) & plain
        if (grown == reached).all():
            break
        reached = grown
    if not 0.1 < reached.mean() < 0.95:  # no backdrop, or nothing but it
        reached[:] = False
    mask = Image.fromarray(np.where(reached, 0, 255).astype(np.uint8))
    return mask.resize(image.size, Image.Resampling.BILINEAR)


def _edge_colour(pixels: NDArray[Any]) -> _Pixels:
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    colour: _Pixels = np.median(edge, axis=0).astype(np.float32)
    return colour


def _clutter(size: tuple[int, int], rng: np.random.Generator) -> Image.Image:
    """Patches of colour from coarse to fine, as a room, a shelf or a street seen without looking."""
    pixels = np.zeros((size[1], size[0], 3), np.float32)
    for cells, weight in ((3, 0.5), (9, 0.3), (40, 0.2)):
        patches = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        sharp = Image.Resampling.NEAREST if cells == 9 else Image.Resampling.BICUBIC
        pixels += weight * np.asarray(patches.resize(size, sharp), np.float32)
    return _image(pixels)


def _jpeg(image: Image.Image, rng: np.random.Generator, strength: float) -> bytes:
    smaller = image.resize(_scaled(image, 1 - strength / 2), Image.Resampling.BICUBIC)
    return encode_jpeg(smaller, quality=round(rng.uniform(10, 30) / strength))


def _scaled(image: Image.Image, share: float) -> tuple[int, int]:
    return max(1, round(share * image.width)), max(1, round(share * image.height))


def _image(pixels: NDArray[np.floating[Any]]) -> Image.Image:
    return Image.fromarray(np.clip(pixels + 0.5, 0, 255).astype(np.uint8))


_ALONE: Final[dict[Kind, Callable[[Image.Image, np.random.Generator, float], Image.Image]]] = {
    "crop": _crop,
    "tilt": _tilt,
    "blur": _blur,
    "light": _light,
    "background": _background,
}
