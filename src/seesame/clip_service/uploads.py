"""Pictures out of a multipart body that is in memory already."""

from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from seesame.errors import InvalidInput

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_MAX_HEADERS = 8
_MAX_PARTS = 1_000  # that a client may send by mistake; who sends more does not


def is_multipart(content_type: str) -> bool:
    """Whether a body of this type has parts; any other is a picture itself, whatever type it claims."""
    return content_type.lower().startswith("multipart/form-data")


def pictures(body: bytes, content_type: str, *, name: str, most: int) -> list[bytes]:
    """The contents of the parts `name`, in order.

    Parses in plain Python: call it in a thread.

    Raises:
        FormParserError: no boundary, parts without measure, or not what multipart looks like.
        InvalidInput: no such part, more than `most`, or a part of another name.
    """
    _, options = parse_options_header(content_type.encode("latin-1", "replace"))
    if not options.get(b"boundary"):
        raise FormParserError("no boundary")
    parts = _Parts()
    parser = MultipartParser(options[b"boundary"], parts.callbacks, max_header_count=_MAX_HEADERS)
    parser.write(body)
    parser.finalize()
    if not parts.ended:
        raise FormParserError("no end")
    if not 1 <= len(parts.contents) <= most or any(found != name for found in parts.names):
        raise InvalidInput(name, f"Between one and {most} pictures are needed, each in a part `{name}`, and no others.")
    return parts.contents


class _Parts:
    """Collects what the parser finds."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.contents: list[bytes] = []
        self.ended = False
        self._field = b""
        self._value = b""
        self._pieces: list[bytes] = []
        self.callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.contents) == _MAX_PARTS:
            raise FormParserError("too many parts")
        self.names.append("")
        self._pieces = []

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self.names[-1] = options.get(b"name", b"").decode("utf-8", "replace")
        self._field = self._value = b""

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def _part_end(self) -> None:
        self.contents.append(b"".join(self._pieces))

    def _end(self) -> None:
        self.ended = True
