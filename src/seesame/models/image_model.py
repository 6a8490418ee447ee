"""What the embedders need of a model, whichever network it is."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from seesame.models.preprocessing import Preprocessing
from seesame.types import SpaceIdentity, Vectors


class ImageModel(Protocol):
    """A loaded network. Safe to call from several threads."""

    @property
    def identity(self) -> SpaceIdentity:
        """The space that its vectors belong to."""

    @property
    def preprocessing(self) -> Preprocessing:
        """How a picture becomes the tensor it takes."""

    @property
    def has_text(self) -> bool:
        """Whether `texts` works."""

    @property
    def parallel_runs(self) -> int:
        """How many calls of `images` at once make best use of the processor; more only get in each other's way."""

    @property
    def pictures_per_run(self) -> int:
        """How many pictures are best computed in one call of `images`."""

    def images(self, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        """Unit vectors, shape (n, dimensions), for preprocessed pictures, shape (n, 3, height, width).

        `alone`: no other call is expected meanwhile, so this one may use all cores.
        """

    def texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, dimensions), one row a text. Raises ModelInvalid where `has_text` is False."""
