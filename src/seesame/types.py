"""Values that pass between the layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seesame.errors import ImageError

Vector = NDArray[np.float32]
"""Shape (dimensions,), unit length."""

Vectors = NDArray[np.float32]
"""Shape (n, dimensions), rows of unit length."""


@dataclass(frozen=True, slots=True)
class SpaceIdentity:
    """What makes two vectors comparable: they come from the same model, weights and preprocessing.

    `model` is the name people use (a curated name, a repository or a folder's name); `digest` is the SHA-256, in hex,
    over the weights and the preprocessing.
    """

    model: str
    digest: str
    dimensions: int

    @property
    def key(self) -> str:
        """The name of the space, such as `vit-b-32-laion2b@3f2a9c41`."""
        return f"{self.model}@{self.digest[:8]}"


class Embedder(Protocol):
    """Turns pictures, and words if it has a text tower, into unit vectors. Safe to call from several threads."""

    @property
    def identity(self) -> SpaceIdentity:
        """The space that its vectors belong to."""

    @property
    def has_text(self) -> bool:
        """Whether `embed_texts` works."""

    def embed_images(self, pictures: Sequence[bytes]) -> list[Vector | ImageError]:
        """One unit vector, or the reason why there is none, for each encoded picture, in order."""

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, one row a text, in the same space as the pictures."""
