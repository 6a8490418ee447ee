"""Cloth patterns: how much of the second colour lies at each place of the sheet."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.floating[Any]]
_EDGE = 0.2  # units over which an edge softens: one pixel


def _soft(distance: Plane) -> Plane:
    """Coverage from a signed distance to the edge, in units."""
    cover: Plane = np.clip(distance / _EDGE + 0.5, 0, 1)
    return cover


def _bars(along: Plane, period: float, share: float) -> Plane:
    return _soft(period * share / 2 - np.abs(np.mod(along, period) - period / 2))


def _stripes(x: Plane, y: Plane) -> Plane:
    return _bars(y, 6.4, 0.46) + 0 * x


def _pinstripes(x: Plane, y: Plane) -> Plane:
    return _bars(x, 4.2, 0.2) + 0 * y


def _dots(x: Plane, y: Plane) -> Plane:
    period = 6.5
    row = np.floor(y / period)
    across = np.mod(x + np.mod(row, 2) * period / 2, period) - period / 2
    return _soft(1.7 - np.hypot(across, np.mod(y, period) - period / 2))


def _checks(x: Plane, y: Plane) -> Plane:
    return 0.5 * _bars(x, 6, 0.5) + 0.5 * _bars(y, 6, 0.5)


def _tartan(x: Plane, y: Plane) -> Plane:
    wide = 0.42 * _bars(x, 13, 0.5) + 0.42 * _bars(y, 13, 0.5)
    thin = np.maximum(_bars(x + 6.5, 13, 0.07), _bars(y + 6.5, 13, 0.07))
    return np.maximum(wide, 0.95 * thin)


def _zigzag(x: Plane, y: Plane) -> Plane:
    return _bars(y + np.abs(np.mod(x, 8) - 4) * 0.9, 7, 0.42)


def _floral(x: Plane, y: Plane) -> Plane:
    return np.maximum(_flowers(x, y, 11, 3.7), _flowers(x + 5.5, y + 6.2, 11, 1.7))


def _flowers(x: Plane, y: Plane, period: float, size: float) -> Plane:
    """Five-petalled flowers with an open heart, one in each cell, each turned its own way."""
    column, row = np.floor(x / period), np.floor(y / period)
    turn = np.sin(column * 12.99 + row * 78.23) * 3
    across = np.mod(x, period) - period / 2 + 1.4 * np.sin(turn * 2.1)
    down = np.mod(y, period) - period / 2 + 1.4 * np.cos(turn * 3.3)
    radius = np.hypot(across, down)
    petals = size * (0.58 + 0.42 * np.abs(np.cos(2.5 * (np.arctan2(down, across) + turn))))
    return _soft(petals - radius) * _soft(radius - size * 0.24)


def _gradient(x: Plane, y: Plane) -> Plane:
    share = np.clip((y - 30) / 70, 0, 1)
    return share * share * (3 - 2 * share) + 0 * x


def _marbled(x: Plane, y: Plane) -> Plane:
    first = np.sin(0.27 * x + 2.2 * np.sin(0.13 * y + 1))
    second = np.sin(0.31 * y + 2.1 * np.sin(0.17 * x + 2))
    return _soft((first + second - 0.35) * 1.6)


def _blocks(x: Plane, y: Plane) -> Plane:
    return _soft(y - 66) + 0 * x


def _plain(x: Plane, y: Plane) -> Plane:
    return np.zeros(np.broadcast_shapes(x.shape, y.shape), np.float32)


PATTERNS: dict[str, Callable[[Plane, Plane], Plane]] = {
    "plain": _plain,
    "striped": _stripes,
    "pinstriped": _pinstripes,
    "dotted": _dots,
    "checked": _checks,
    "tartan": _tartan,
    "zigzag": _zigzag,
    "floral": _floral,
    "gradient": _gradient,
    "marbled": _marbled,
    "colour-block": _blocks,
}
