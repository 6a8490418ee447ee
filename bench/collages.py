"""Pictures of several things whose places are known: cut-outs of photos, or whole photos, on grounds of many kinds."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from bench.material import Picture
from seesame.regions import lab

Box = tuple[float, float, float, float]
"""Left, top, right, bottom, as fractions of the picture."""

Ground = Literal["plain", "gradient", "floor", "patchwork"]
GROUNDS: Final[tuple[Ground, ...]] = ("plain", "gradient", "floor", "patchwork")

_SIZES: Final = ((1200, 900), (900, 1200), (1000, 1000))
_SCALES: Final = (0.25, 0.6)  # of the canvas: the longer side of a thing
_GAP: Final = 0.02
_PATCHES: Final = 12
_SMALL: Final = 128  # pixels, the side of the pictures that masks are made on
_COLOURS: Final = 6


@dataclass(frozen=True, slots=True)
class Collage:
    """A picture, and what lies where in it."""

    image: Image.Image
    things: tuple[Picture, ...]
    boxes: tuple[Box, ...]


def collages(pictures: Sequence[Picture], ground: Ground, *, whole: bool, count: int, seed: int) -> Iterator[Collage]:
    """So many collages of two to four things; `whole`: of photos as they are, not of what is cut out of them."""
    random = np.random.default_rng(seed)
    while count:
        shuffled = [pictures[index] for index in random.permutation(len(pictures))]
        usable = ((picture, piece) for picture in shuffled if (piece := _piece(picture, whole)) is not None)
        things, pieces = zip(*itertools.islice(usable, int(random.integers(2, 5))), strict=True)
        canvas = _ground(ground, [_opened(picture) for picture in shuffled[-_PATCHES:]], random)
        boxes = _placed(canvas, pieces, random)
        if len(boxes) == len(things):
            yield Collage(canvas, things, tuple(boxes))
            count -= 1


def bare(pictures: Sequence[Picture], ground: Ground, *, count: int, seed: int) -> Iterator[Image.Image]:
    """So many grounds with nothing on them."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        some = random.choice(len(pictures), _PATCHES, replace=False)
        yield _ground(ground, [_opened(pictures[index]) for index in some], random)


def cut_out(photo: Image.Image) -> Image.Image | None:
    """What a photo shows in its middle, without its ground; None where the two are not clearly told apart.

    Their colours are learned from the middle and the edge, then by turns from what is told apart by them (as GrabCut
    does, without its smoothing).
    """
    small = photo.resize((_SMALL, _SMALL), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(1))
    colours = lab(small)
    rows, columns = np.mgrid[:_SMALL, :_SMALL] / _SMALL - 0.5
    edge = np.maximum(abs(rows), abs(columns)) > 0.45
    thing = np.maximum(abs(rows), abs(columns)) < 0.2
    ground = edge
    for _ in range(4):
        is_thing = _distance(colours, _palette(colours[thing])) < _distance(colours, _palette(colours[ground]))
        thing = is_thing & ~edge
        if not 0.08 < thing.mean() < 0.7:
            return None
        ground = ~is_thing
    mask = _largest(thing)
    box = mask.getbbox()
    area = np.asarray(mask).mean() / 255
    if box is None or not 0.1 < area < 0.6 or area < 0.45 * (box[2] - box[0]) * (box[3] - box[1]) / _SMALL**2:
        return None
    if min(box[0], box[1], _SMALL - box[2], _SMALL - box[3]) < 0.06 * _SMALL:  # cut off by the edge
        return None
    piece = photo.convert("RGBA")
    piece.putalpha(mask.resize(photo.size, Image.Resampling.BICUBIC).point(lambda level: 255 if level > 127 else 0))
    return piece.crop(piece.getchannel("A").getbbox())


@functools.cache
def _piece(picture: Picture, whole: bool) -> Image.Image | None:
    photo = _opened(picture)
    return photo.convert("RGBA") if whole else cut_out(photo)


def _opened(picture: Picture) -> Image.Image:
    with Image.open(picture.path) as image:
        return image.convert("RGB")


def _palette(colours: NDArray[np.float32]) -> NDArray[np.float32]:
    """The colours that k-means finds in every fourth pixel; it starts from those at even steps of lightness."""
    colours = colours[::4]
    ordered = colours[np.argsort(colours[:, 0], kind="stable")]
    centres: NDArray[np.float32] = ordered[np.linspace(0, len(ordered) - 1, _COLOURS).astype(int)]
    for _ in range(8):
        nearest = ((colours[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)
        centres = np.stack([colours[nearest == i].mean(axis=0) if (nearest == i).any() else centres[i]
                            for i in range(_COLOURS)])  # fmt: skip
    return centres


def _distance(colours: NDArray[np.float32], palette: NDArray[np.float32]) -> NDArray[np.float32]:
    distances: NDArray[np.float32] = ((colours[:, :, None] - palette) ** 2).sum(axis=3).min(axis=2)
    return distances


def _largest(thing: NDArray[np.bool_]) -> Image.Image:
    """The largest connected part, smoothed, its holes filled."""
    mask = Image.fromarray(thing.astype(np.uint8) * 255).filter(ImageFilter.MedianFilter(5))
    best, best_area = Image.new("L", mask.size), 0
    for seed in zip(*np.nonzero(np.asarray(mask)[::4, ::4])[::-1], strict=True):
        place = int(seed[0]) * 4, int(seed[1]) * 4
        if mask.getpixel(place) == 255:
            ImageDraw.floodfill(mask, place, 128)
            part = np.asarray(mask) == 128
            mask = mask.point(lambda level: 0 if level == 128 else level)
            if part.sum() > best_area:
                best, best_area = Image.fromarray(part.astype(np.uint8) * 255).copy(), int(part.sum())
    ImageDraw.floodfill(best, (0, 0), 64)
    return best.point(lambda level: 0 if level == 64 else 255)


def _ground(kind: Ground, photos: Sequence[Image.Image], random: np.random.Generator) -> Image.Image:
    width, height = _SIZES[random.integers(len(_SIZES))]
    if kind in ("plain", "gradient"):
        first, last = (random.integers(256, size=3) for _ in range(2))
        last = first if kind == "plain" else last
        angle = random.uniform(0, 2 * np.pi)
        y, x = np.mgrid[:height, :width] / max(width, height) - 0.5
        share = (0.5 + 0.7 * (x * np.cos(angle) + y * np.sin(angle)))[:, :, None].clip(0, 1)
        grain = random.normal(0, 3, (height, width, 1))
        return Image.fromarray((first * (1 - share) + last * share + grain).clip(0, 255).astype(np.uint8))
    canvas = Image.new("RGB", (width, height))
    _tile(canvas, photos[0], (0, 0, width, height))
    for photo in photos[1:] if kind == "patchwork" else ():  # floors, walls and sheets, one over another
        left, top = (int(random.uniform(-0.2, 0.9) * side) for side in canvas.size)
        wide, high = (int(random.uniform(0.2, 0.7) * side) for side in canvas.size)
        _tile(canvas, photo, (left, top, left + wide, top + high))
    return canvas


def _tile(canvas: Image.Image, photo: Image.Image, box: tuple[int, int, int, int]) -> None:
    """Fills a box with a corner of a photo, mirrored again and again so that no seam shows."""
    corner = photo.crop((0, 0, photo.width // 6, photo.height // 6))
    pixels = np.asarray(corner)
    repeat = np.concatenate([pixels, pixels[:, ::-1]], axis=1)
    repeat = np.concatenate([repeat, repeat[::-1]])
    height, width = box[3] - box[1], box[2] - box[0]
    times = (-(-height // repeat.shape[0]), -(-width // repeat.shape[1]), 1)
    canvas.paste(Image.fromarray(np.tile(repeat, times)[:height, :width]), box[:2])


def _placed(canvas: Image.Image, pieces: Sequence[Image.Image], random: np.random.Generator) -> list[Box]:
    """Where the pieces were put, at random scales, none over another; fewer than pieces where one found no place."""
    boxes: list[Box] = []
    for piece in pieces:
        for _ in range(50):
            scale = random.uniform(*_SCALES) * min(canvas.size) / max(piece.size)
            width, height = (max(1, round(side * scale)) for side in piece.size)
            left, top = (int(random.uniform(_GAP, 1 - _GAP) * side) for side in canvas.size)
            box = (left / canvas.width, top / canvas.height,
                   (left + width) / canvas.width, (top + height) / canvas.height)  # fmt: skip
            if box[2] < 1 - _GAP and box[3] < 1 - _GAP and not any(_near(box, other) for other in boxes):
                part = piece.resize((width, height), Image.Resampling.LANCZOS)
                canvas.paste(part, (left, top), part)
                boxes.append(box)
                break
    return boxes


def _near(one: Box, other: Box) -> bool:
    return (one[0] < other[2] + _GAP and other[0] < one[2] + _GAP
            and one[1] < other[3] + _GAP and other[1] < one[3] + _GAP)  # fmt: skip
