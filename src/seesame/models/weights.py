"""Which files an ONNX model consists of, and a digest over them.

Large models keep their weights in files beside the graph. The graph names them, in a protobuf message of up to 2 GB;
this module finds the names by skipping through the file, without loading it (the field numbers are those of onnx.proto,
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

import hashlib
import mmap
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from seesame.errors import ModelInvalid

_MODEL_GRAPH: Final = 7
_GRAPH_INITIALIZER: Final = 5
_TENSOR_EXTERNAL_DATA: Final = 13
_ENTRY_KEY: Final = 1
_ENTRY_VALUE: Final = 2
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def model_files(path: Path) -> list[Path]:
    """The graph's file and the weight files beside it, in a fixed order.

    Raises ModelInvalid when the file is no ONNX model, or names a file that is missing or not beside it.
    """
    names = sorted(_external_names(path))
    for name in names:
        parts = PurePosixPath(name).parts
        # What a downloaded file says must not make this process read elsewhere.
        if PurePosixPath(name).is_absolute() or ".." in parts or "\\" in name:
            raise ModelInvalid(f"{path.name} names weights outside its own folder.")
        if not (path.parent / name).is_file():
            raise ModelInvalid(f"{path.name} needs the file {name}, which is missing.")
    return [path, *(path.parent / name for name in names)]


def total_bytes(path: Path) -> int:
    """How large the graph's file and its weight files are together. Raises as `model_files` does."""
    return sum(file.stat().st_size for file in model_files(path))


def digest(parts: list[tuple[str, Path | str]]) -> str:
    """SHA-256, in hex, over labelled files and texts, in the order given."""
    total = hashlib.sha256()
    for label, content in parts:
        if isinstance(content, str):
            single = hashlib.sha256(content.encode()).hexdigest()
        else:
            with content.open("rb") as file:
                single = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{label} {single}\n".encode())
    return total.hexdigest()


def _external_names(path: Path) -> set[str]:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return {
                str(data[start:end], "utf-8")
                for graph in _messages(data, (0, len(data)), _MODEL_GRAPH)
                for tensor in _messages(data, graph, _GRAPH_INITIALIZER)
                for entry in _messages(data, tensor, _TENSOR_EXTERNAL_DATA)
                if any(data[s:e] == b"location" for s, e in _messages(data, entry, _ENTRY_KEY))
                for start, end in _messages(data, entry, _ENTRY_VALUE)
            }
    except (IndexError, ValueError, UnicodeDecodeError) as error:  # ValueError: also an empty file
        raise ModelInvalid(f"{path.name} is not an ONNX model.") from error


def _messages(data: mmap.mmap, span: tuple[int, int], wanted: int) -> Iterator[tuple[int, int]]:
    """The spans of one length-delimited field within a message."""
    position, end = span
    while position < end:
        key, position = _varint(data, position)
        kind = key & 7
        if kind == _VARINT:
            _, position = _varint(data, position)
        elif kind == _BYTES:
            length, position = _varint(data, position)
            if position + length > end:
                raise ValueError("a field runs past its message")
            if key >> 3 == wanted:
                yield position, position + length
            position += length
        elif kind in (_FIXED64, _FIXED32):
            position += 8 if kind == _FIXED64 else 4
        else:
            raise ValueError("not a protobuf message")


def _varint(data: mmap.mmap, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
