"""A file out of the body of a request, written as it arrives: never in memory whole."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from seesame.errors import InvalidInput

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PART = "file"
_MAX_PARTS = 1_000  # that a client may send by mistake; who sends more does not
_CHUNK_BYTES = 1024 * 1024  # that are written at once


class ReceivedFile:
    """What is known of the file once it has arrived: its own type, and its name where it has one."""

    def __init__(self) -> None:
        self.content_type = ""
        self.filename: str | None = None


async def receive_file(request: Request, write: Callable[[bytes], None]) -> ReceivedFile:
    """Takes in a body, or the one part `file` of a multipart body. `write` is called in threads, one after another.

    Raises:
        FormParserError: no boundary, no end, parts without measure, or not what multipart looks like.
        InvalidInput: another part, or none.
    """
    content_type, options = parse_options_header(request.headers.get("content-type", ""))
    if content_type != b"multipart/form-data":
        file = ReceivedFile()
        file.content_type = content_type.decode("latin-1").lower()
        await _feed(request, write)
        return file
    if not options.get(b"boundary"):
        raise FormParserError("no boundary")
    parts = _Parts(write)
    parser = MultipartParser(options[b"boundary"], parts.callbacks)
    await _feed(request, parser.write)
    parser.finalize()
    if not parts.ended:
        raise FormParserError("no end")
    if parts.names != [_PART]:
        raise InvalidInput(_PART, f"A file is needed, in the part `{_PART}`, and no other part.")
    return parts.file


async def _feed(request: Request, write: Callable[[bytes], object]) -> None:
    """Hands the body on in large pieces, in a thread: disks may be slow, and parsing takes time."""
    pieces: list[bytes] = []
    size = 0
    async for piece in request.stream():
        pieces.append(piece)
        size += len(piece)
        if size >= _CHUNK_BYTES:
            await run_in_threadpool(write, b"".join(pieces))
            pieces, size = [], 0
    if size:
        await run_in_threadpool(write, b"".join(pieces))


class _Parts:
    """Follows the parser."""

    def __init__(self, write: Callable[[bytes], None]) -> None:
        self.file = ReceivedFile()
        self.names: list[str] = []
        self.ended = False
        self._write = write
        self._field = b""
        self._value = b""
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.names) == _MAX_PARTS:
            raise FormParserError("too many parts")
        self.names.append("")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        value, options = parse_options_header(self._value)
        if self._field.lower() == b"content-disposition":
            self.names[-1] = options.get(b"name", b"").decode("utf-8", "replace")
            if b"filename" in options:
                self.file.filename = options[b"filename"].decode("utf-8", "replace")
        elif self._field.lower() == b"content-type":
            self.file.content_type = value.decode("latin-1").lower()
        self._field = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self.names == [_PART]:
            self._write(data[start:end])

    def _end(self) -> None:
        self.ended = True
