"""Reads the tensors of a PyTorch checkpoint without PyTorch, and without trusting the file.

A checkpoint is a pickle, and a pickle is a program. This reader runs only the three constructors that a dictionary of
tensors needs; any other name in the file ends it with ModelInvalid. The format is the one that `torch.save` wrote
before version 1.6 (and writes with `_use_new_zipfile_serialization=False`): five pickles (magic number, protocol,
machine, dictionary, storage keys), then each storage as a count of elements and the elements.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from seesame.errors import ModelInvalid

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_MAX_BYTES: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class _Storage:
    """A run of elements that stands later in the file."""

    key: str
    dtype: np.dtype[Any]
    count: int


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A view of a storage, in elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _tensor(storage: object, offset: object, shape: object, strides: object, *_flags: object) -> _Tensor:
    if not (isinstance(storage, _Storage) and isinstance(offset, int)
            and isinstance(shape, tuple) and isinstance(strides, tuple)):  # fmt: skip
        raise pickle.UnpicklingError("not a tensor")
    return _Tensor(storage, offset, shape, strides)


_ALLOWED: Final[Mapping[tuple[str, str], object]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Reader(pickle.Unpickler):
    """An unpickler that knows four names."""

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for an allowed name. Raises UnpicklingError for any other."""
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not allowed") from None

    def persistent_load(self, pid: Any) -> _Storage:
        """The storage that a persistent id, ("storage", type, key, device, count, view), stands for."""
        kind, dtype, key, _device, count, view = pid
        if kind != "storage" or not isinstance(dtype, np.dtype) or view is not None or not isinstance(key, str):
            raise pickle.UnpicklingError("unknown storage")
        return _Storage(key, dtype, count)


def read_checkpoint(data: bytes) -> dict[str, NDArray[Any]]:
    """The named tensors of a legacy PyTorch checkpoint, read-only, in the file's order.

    Raises ModelInvalid when the file is not such a checkpoint, is cut off, or holds anything but tensors.
    """
    if len(data) > _MAX_BYTES:
        raise ModelInvalid("The checkpoint is larger than any that this reader is for.")
    stream = io.BytesIO(data)
    try:
        if _next(stream) != _MAGIC or _next(stream) != _PROTOCOL:
            raise ModelInvalid("The checkpoint is not in the format this reader is for.")
        if not _next(stream).get("little_endian"):
            raise ModelInvalid("The checkpoint is of a big-endian machine.")
        tensors, keys = _next(stream), _next(stream)
        if not isinstance(tensors, dict) or not all(isinstance(value, _Tensor) for value in tensors.values()):
            raise ModelInvalid("The checkpoint holds something other than tensors.")
        storages = _read_storages(stream, keys, {tensor.storage.key: tensor.storage for tensor in tensors.values()})
        return {str(name): _view(tensor, storages) for name, tensor in tensors.items()}
    except ModelInvalid:
        raise
    except Exception as error:
        raise ModelInvalid("The checkpoint cannot be read.") from error


def _next(stream: BinaryIO) -> Any:
    return _Reader(stream).load()


def _read_storages(stream: BinaryIO, keys: Any, known: Mapping[str, _Storage]) -> dict[str, NDArray[Any]]:
    storages = {}
    for key in keys:
        storage = known[key]
        count = int.from_bytes(stream.read(8), "little")
        data = stream.read(count * storage.dtype.itemsize) if count == storage.count else b""
        if len(data) != storage.count * storage.dtype.itemsize:
            raise ModelInvalid("The checkpoint is cut off.")
        storages[key] = np.frombuffer(data, dtype=storage.dtype)
    return storages


def _view(tensor: _Tensor, storages: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    storage = storages[tensor.storage.key]
    if len(tensor.shape) != len(tensor.strides) or min((*tensor.shape, *tensor.strides), default=0) < 0:
        raise ModelInvalid("The checkpoint has a tensor of an impossible shape.")
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or not 0 <= tensor.offset <= tensor.offset + last < storage.size:
        raise ModelInvalid("The checkpoint has a tensor that lies outside its storage.")
    strides = [stride * storage.itemsize for stride in tensor.strides]
    # Safe only because of the check above: this is the one place where numpy does not look at bounds.
    view = np.lib.stride_tricks.as_strided(storage[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view).reshape(tensor.shape)
