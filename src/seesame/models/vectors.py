"""Checks that stand between a network's output and a vector that is stored or compared."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from seesame.errors import ModelInvalid
from seesame.types import Vectors


def unit_rows(output: NDArray[Any]) -> Vectors:
    """The rows of `output`, shape (n, dimensions), as float32 of unit length.

    Raises ModelInvalid for a row that has no direction (NaN, infinite or zero): stored, it would poison every
    comparison with it.
    """
    rows = output.astype(np.float32, copy=False)
    lengths = np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    if not np.isfinite(lengths).all() or (lengths == 0).any():
        raise ModelInvalid("The model returned a vector that is not a direction: NaN, infinite or zero.")
    unit: Vectors = (rows / lengths).astype(np.float32)
    return unit
