"""How a picture looks, in 128 bits: pictures that differ in few of them look the same.

Two classic hashes of the luma, each of 64 bits, which err differently: the lowest frequencies of the cosine transform,
each above or below their median (pHash, Zauner 2010), and whether it grows lighter from left to right (dHash,
Krawetz 2013).
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seesame.types import Fingerprint

SIDE: Final = 64
"""Pixels that are looked at, a side. A picture may be decoded at any scale that is no smaller."""

_UNIFORM: Final = 3.0  # standard deviation of the luma, of 255, below which a picture shows nothing
_HALF: Final = SIDE // 2
_WAVES: Final = np.cos(np.arange(1, 9)[:, None] * (2 * np.arange(_HALF) + 1) * np.pi / (2 * _HALF))


def fingerprint(picture: Image.Image) -> Fingerprint:
    """The fingerprint of an upright RGB picture."""
    small = picture.resize((SIDE, SIDE), Image.Resampling.BOX, reducing_gap=2.0).convert("L")
    waves = _WAVES @ _luma(small, _HALF, _HALF) @ _WAVES.T
    steps = np.diff(_luma(small, 9, 8))
    bits = np.concatenate([(waves > np.median(waves)).ravel(), (steps > 0).ravel()])
    return Fingerprint(np.packbits(bits).tobytes(), bool(np.asarray(small, np.float64).std() < _UNIFORM))


def distances(one: bytes, others: list[bytes]) -> NDArray[np.int64]:
    """In how many bits each of the others differs. Shape (n,)."""
    bits = np.frombuffer(b"".join(others), np.uint64).reshape(len(others), len(one) // 8)
    differing: NDArray[np.int64] = np.bitwise_count(bits ^ np.frombuffer(one, np.uint64)).sum(axis=1, dtype=np.int64)
    return differing


def _luma(small: Image.Image, width: int, height: int) -> NDArray[np.float64]:
    return np.asarray(small.resize((width, height), Image.Resampling.BOX), np.float64)
