"""The parts of a photo that stand out from its ground, so that a page can offer to search them one by one.

The edge of a photo shows mostly ground. What has a colour that is rare there stands out; where it does so in one piece
that is enclosed by ground, it is a thing. How this compares to other ways: docs/decisions/0017-regions.md.
"""

from collections.abc import Iterable
from typing import Final, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seesame.types import Region

SIDE: Final = 64  # cells, of the square that a picture is looked at as
MOST: Final = 5

Contrasts = NDArray[np.float64]

_LEVELS: Final = np.linspace(0.15, 0.85, 12)  # of the range of contrasts; where a photo is cut into parts
_GROUND_SHARE: Final = 0.04  # of the edge, that has to look alike to be ground
_HALF_CONTRAST: Final = 50.0  # a distance of colours, in CIE Lab, that counts half as much as an endless one
_AREAS: Final = 0.008, 0.92  # of the photo
_LEAST_FILLED: Final = 0.45  # of a region, by the part it is drawn around
_MARGIN: Final = 0.15  # of a region's sides: how far around it the ground is looked at
_AREA_POWER: Final = 0.2  # the larger of two parts of the same contrast stands out a little more
_LEAST: Final = 0.05  # prominence; bare grounds of one kind stay below it
_LEAST_OF_FIRST: Final = 0.2
_MOST_OVERLAP: Final = 0.5  # of the smaller of two regions

_XYZ: Final = np.array(  # of red, green and blue, as shares of those of white (D65)
    [[0.4339, 0.2126, 0.0178], [0.3762, 0.7152, 0.1095], [0.1899, 0.0722, 0.8727]], dtype=np.float32
)


class Proposal(NamedTuple):
    """A region, and how much it stands out: from 0, not at all, to 1."""

    region: Region
    prominence: float


class _Boxes(NamedTuple):
    """Rectangles of whole cells, right and bottom exclusive."""

    left: NDArray[np.intp]
    top: NDArray[np.intp]
    right: NDArray[np.intp]
    bottom: NDArray[np.intp]

    @property
    def areas(self) -> NDArray[np.intp]:
        return (self.right - self.left) * (self.bottom - self.top)

    def grown(self) -> "_Boxes":
        x = np.maximum(1, np.rint((self.right - self.left) * _MARGIN)).astype(int)
        y = np.maximum(1, np.rint((self.bottom - self.top) * _MARGIN)).astype(int)
        return _Boxes(
            np.maximum(self.left - x, 0),
            np.maximum(self.top - y, 0),
            np.minimum(self.right + x, SIDE),
            np.minimum(self.bottom + y, SIDE),
        )


def propose(picture: Image.Image) -> list[Proposal]:
    """At most five regions of an upright RGB picture, none much over another, the one that stands out most first.

    None where nothing stands out, or where the thing fills the picture. Takes some 10 ms: not for an event loop.
    """
    return cut(contrast(picture))


def cut(contrasts: Contrasts) -> list[Proposal]:
    """Regions of a picture, by how much each of its cells stands out: shape (SIDE, SIDE), 0 to 1.

    The cells above one of several levels fall into connected parts. Those of them count that are higher than what is
    around them.
    """
    lowest, highest = np.percentile(contrasts, (5, 99))
    boxes, filled = _parts(contrasts > (lowest + (highest - lowest) * _LEVELS)[:, None, None])
    share = boxes.areas / SIDE**2
    usable = (share >= _AREAS[0]) & (share <= _AREAS[1]) & (filled >= _LEAST_FILLED * boxes.areas)
    boxes = _Boxes(*(side[usable] for side in boxes))
    prominence = _rise(contrasts, boxes) * share[usable] ** _AREA_POWER
    order = np.argsort(-prominence, kind="stable")
    order = order[prominence[order] >= max(_LEAST, _LEAST_OF_FIRST * prominence.max(initial=0))]
    return _distinct(
        Proposal(_region(*(int(side[index]) for side in boxes)), float(prominence[index])) for index in order
    )


def contrast(picture: Image.Image) -> Contrasts:
    """For each cell how far its colour is from those of the edge that are nearest to it: 0 to 1."""
    colours = lab(picture.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0))
    edge = np.concatenate([colours[0], colours[-1], colours[1:-1, 0], colours[1:-1, -1]])
    squares = sum(
        np.subtract.outer(of_cells.ravel(), of_edge) ** 2
        for of_cells, of_edge in zip(np.moveaxis(colours, -1, 0), edge.T, strict=True)
    )
    count = round(_GROUND_SHARE * len(edge))
    nearest = np.sqrt(np.partition(squares, count - 1, axis=1)[:, :count]).mean(axis=1, dtype=np.float64)
    return cast("Contrasts", nearest / (nearest + _HALF_CONTRAST)).reshape(SIDE, SIDE)


def lab(picture: Image.Image) -> NDArray[np.float32]:
    """An sRGB picture in CIE Lab, where colours are as far apart as people see them: shape (height, width, 3)."""
    rgb = np.asarray(picture, dtype=np.float32) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = linear @ _XYZ
    x, y, z = np.moveaxis(np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116), -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


def _parts(masks: NDArray[np.bool_]) -> tuple[_Boxes, NDArray[np.intp]]:
    """The connected parts of all masks, shape (n, SIDE, SIDE): the box around each, and how many cells it has.

    By runs: each is joined to those that it touches in the row above. Empty rows and columns keep all others apart.
    """
    pitch = SIDE + 1
    cells = np.pad(masks, ((0, 0), (0, 1), (0, 1))).ravel()
    changes = np.flatnonzero(np.diff(cells, prepend=False, append=False))
    starts, ends = changes[::2], changes[1::2]
    first = np.searchsorted(ends, starts - pitch, side="right").tolist()
    last = np.searchsorted(starts, ends - pitch, side="left").tolist()
    parents = list(range(len(starts)))

    def root(run: int) -> int:
        while parents[run] != run:
            parents[run] = run = parents[parents[run]]
        return run

    for run in range(len(starts)):
        for above in range(first[run], last[run]):
            parents[root(run)] = root(above)
    roots, part = np.unique([root(run) for run in range(len(starts))], return_inverse=True)
    rows = starts // pitch % pitch
    left, top = (np.full(len(roots), SIDE) for _ in range(2))
    right, bottom, filled = (np.zeros(len(roots), dtype=int) for _ in range(3))
    np.minimum.at(left, part, starts % pitch)
    np.minimum.at(top, part, rows)
    np.maximum.at(right, part, ends % pitch)
    np.maximum.at(bottom, part, rows + 1)
    np.add.at(filled, part, ends - starts)
    return _Boxes(left, top, right, bottom), filled


def _rise(contrasts: Contrasts, boxes: _Boxes) -> NDArray[np.float64]:
    """How much higher the mean contrast within each box is than around it."""
    sums = np.pad(contrasts.cumsum(axis=0).cumsum(axis=1), ((1, 0), (1, 0)))

    def total(box: _Boxes) -> NDArray[np.float64]:
        left, top, right, bottom = box
        result: NDArray[np.float64] = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return result

    around, inside = boxes.grown(), total(boxes)
    result: NDArray[np.float64] = inside / boxes.areas - (total(around) - inside) / (around.areas - boxes.areas)
    return result


def _region(left: int, top: int, right: int, bottom: int) -> Region:
    return Region(left / SIDE, top / SIDE, (right - left) / SIDE, (bottom - top) / SIDE)


def _distinct(proposals: Iterable[Proposal]) -> list[Proposal]:
    """The first of those that lie over one another."""
    kept: list[Proposal] = []
    for proposal in proposals:
        if len(kept) < MOST and all(_overlap(proposal.region, other.region) < _MOST_OVERLAP for other in kept):
            kept.append(proposal)
    return kept


def _overlap(one: Region, other: Region) -> float:
    """The share of the smaller region that both have."""
    width = min(one.x + one.width, other.x + other.width) - max(one.x, other.x)
    height = min(one.y + one.height, other.y + other.height) - max(one.y, other.y)
    return max(width, 0) * max(height, 0) / min(one.width * one.height, other.width * other.height)
