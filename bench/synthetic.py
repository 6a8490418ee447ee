"""Vectors like those of real pictures, as many as are wanted.

Real vectors lie in a narrow cone and have few directions in which their neighbours differ; vectors drawn at random
have neither, and an index behaves differently on them. So each new vector is a mixture of a real one and one of its
nearest neighbours, on the great circle between them, moved by noise made of the differences between real neighbours.
The size of the noise is chosen so that as many synthetic vectors as there are real ones are as far from their
neighbours, and as many-dimensional around each, as the real ones; `Likeness` is how that is seen.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from seesame.types import Vectors

NEIGHBOURS = 10
NOISE = 0.6  # of the length of a usual difference between neighbours
_DIFFERENCES = 1_000
_CHUNK = 10_000


@dataclass(frozen=True, slots=True)
class Likeness:
    """The median cosine to the nearest neighbour, and the median local dimension (Levina and Bickel, 2004)."""

    cosine: float
    dimension: float

    @classmethod
    def of(cls, vectors: Vectors) -> "Likeness":
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -2)
        nearest = -np.sort(-cosines, axis=1)[:, : 2 * NEIGHBOURS].astype(np.float64)
        far = np.sqrt(np.maximum(2 - 2 * nearest, 1e-9))
        dimension = 1 / np.log(far[:, -1:] / far[:, :-1]).mean(axis=1).clip(1e-9)
        return cls(float(np.median(nearest[:, 0])), float(np.median(dimension)))

    def __str__(self) -> str:
        return f"{self.cosine:.2f} / {self.dimension:.0f}"


def mixtures(real: Vectors, count: int, *, seed: int) -> Vectors:
    """`count` vectors of unit length; the same seed gives the same ones."""
    rng = np.random.default_rng(seed)
    neighbours = _neighbours(real)
    differences = (real[:, None] - real[neighbours]).reshape(-1, real.shape[1])
    differences = rng.permutation(differences)[:_DIFFERENCES] * np.float32(NOISE / np.sqrt(_DIFFERENCES))
    parts = [_mixed(real, neighbours, differences, n, rng) for n in _chunks(count)]
    return np.concatenate(parts)


def projected(vectors: Vectors, dimensions: int, *, seed: int) -> Vectors:
    """The vectors in fewer dimensions, by a random orthogonal projection: angles stay as they are, nearly."""
    rng = np.random.default_rng(seed)
    axes, _ = np.linalg.qr(rng.standard_normal((vectors.shape[1], dimensions)))
    return unit(vectors @ axes.astype(np.float32))


def nearest(vectors: Vectors, queries: Vectors, count: int) -> NDArray[np.int64]:
    """The row numbers of the nearest vectors of each query, shape (queries, count), by comparing all."""
    found = []
    for start in range(0, len(queries), 200):
        cosines = queries[start : start + 200] @ vectors.T
        found.append(np.argpartition(-cosines, count, axis=1)[:, :count])
    return np.concatenate(found)


def unit(vectors: NDArray[np.float32]) -> Vectors:
    """Rows scaled to unit length."""
    rows: Vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return rows


def _neighbours(vectors: Vectors) -> NDArray[np.int64]:
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -2)
    return np.argpartition(-cosines, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]


def _mixed(
    real: Vectors, neighbours: NDArray[np.int64], differences: Vectors, count: int, rng: np.random.Generator
) -> Vectors:
    one = rng.integers(len(real), size=count)
    a, b = real[one], real[neighbours[one, rng.integers(NEIGHBOURS, size=count)]]
    share = rng.random((count, 1), dtype=np.float32)
    angle = np.arccos(np.clip((a * b).sum(axis=1, keepdims=True), -1, 1)).clip(1e-6)
    between = (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)
    return unit(between + rng.standard_normal((count, len(differences)), dtype=np.float32) @ differences)


def _chunks(count: int) -> list[int]:
    return [min(_CHUNK, count - start) for start in range(0, count, _CHUNK)]
