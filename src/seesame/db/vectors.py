"""Vectors by the thousand, as PostgreSQL sends and takes them: binary, or as JSON in text."""

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json

from seesame.types import Vectors

Form = Literal["text", "vector", "halfvec", "real[]", "double precision[]"]
"""How a column's vectors come: as text in square or curly brackets, or in the binary form of a type."""

_NUMBER: Final = {"vector": ">f4", "halfvec": ">f2", "real[]": ">f4", "double precision[]": ">f8"}
_REAL_OID: Final = 700
_FLAT: Final = bytes.fromhex("0000000100000000")  # an array of one dimension, without NULL
_CURLY: Final = str.maketrans("{}", "[]")


class Decoded(NamedTuple):
    """Vectors, shape (n, dimensions), and for each row why it is none, or None. Rows at fault hold anything."""

    rows: Vectors
    faults: list[str | None]


def decode(form: Form, values: Sequence[str | bytes], dimensions: int) -> Decoded:
    """Reads vectors. At fault is what has other dimensions, is no list of numbers, is not finite, or is zero."""
    rows = np.ones((len(values), dimensions), np.float32)
    faults: list[str | None] = [None] * len(values)
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is told as such
        if form == "text":
            for index, value in enumerate(values):
                found = _parse(str(value))
                if isinstance(found, str):
                    faults[index] = found
                elif len(found) != dimensions:
                    faults[index] = _other_dimensions(len(found), dimensions)
                else:
                    rows[index] = found
        else:
            _decode_binary(form, [bytes(value) for value in values], rows, faults)  # type: ignore[arg-type]
    finite = np.isfinite(rows).all(axis=1)
    for index in np.flatnonzero(~finite).tolist():
        faults[index] = "holds NaN or an infinite number"
    for index in np.flatnonzero((rows == 0).all(axis=1)).tolist():
        faults[index] = "is zero"
    return Decoded(rows, faults)


def unpack(form: str, values: Sequence[bytes], dimensions: int) -> NDArray[Any]:
    """Vectors in the binary form of a type. Shape (n, dimensions), in the numbers of that type."""
    numbers = np.frombuffer(b"".join(values), _layout(form, dimensions))["numbers"]
    return np.asarray(numbers["number"] if form.endswith("[]") else numbers)


def encode(vectors: Vectors, vector_type: str) -> list[bytes]:
    """Fields of a binary COPY, one a vector, for a column of type `halfvec` or `real[]`."""
    count, dimensions = vectors.shape
    fields = np.zeros(count, _layout(vector_type, dimensions, sized=True))
    fields["size"] = fields.itemsize - 4
    if vector_type == "halfvec":
        fields["head"] = (dimensions, 0)
        fields["numbers"] = vectors
    else:
        fields["head"] = (1, 0, _REAL_OID, dimensions, 1)
        fields["numbers"]["size"] = 4
        fields["numbers"]["number"] = vectors
    data, size = fields.tobytes(), fields.itemsize
    return [data[start : start + size] for start in range(0, count * size, size)]


def _layout(form: str, dimensions: int, *, sized: bool = False) -> np.dtype[Any]:
    """The bytes of a vector of this form; `sized` with their number before them."""
    number = _NUMBER[form]
    if form.endswith("[]"):
        element = np.dtype([("size", ">i4"), ("number", number)])
        parts: list[Any] = [("head", ">i4", (5,)), ("numbers", element, (dimensions,))]
    else:
        parts = [("head", ">i2", (2,)), ("numbers", number, (dimensions,))]
    return np.dtype([("size", ">i4"), *parts] if sized else parts)


def _decode_binary(form: str, values: list[bytes], rows: Vectors, faults: list[str | None]) -> None:
    dimensions = rows.shape[1]
    layout, is_array = _layout(form, dimensions), form.endswith("[]")
    good = []
    for index, value in enumerate(values):
        if is_array and value[:8] != _FLAT and value[:4] != bytes(4):
            faults[index] = "holds NULL" if value[:4] == _FLAT[:4] else "is not a flat list of numbers"
        elif len(value) == layout.itemsize:
            good.append(index)
        else:
            has = int.from_bytes(value[12:16] if is_array else value[:2])
            faults[index] = _other_dimensions(has, dimensions)
    rows[good] = unpack(form, [values[index] for index in good], dimensions)


def _parse(text: str) -> NDArray[Any] | str:
    """The numbers of a text, or why there are none."""
    try:
        found = np.array(from_json(text.translate(_CURLY)))
    except ValueError:  # also for lists of lists that are not of one length
        return "is not a list of numbers"
    return found if found.ndim == 1 and found.dtype.kind in "if" else "is not a list of numbers"


def _other_dimensions(has: int, wanted: int) -> str:
    return f"has {has} dimensions, not {wanted}"
