"""Forms with a picture, read by the routes themselves to bound their parts, and values written as text."""

import base64
import binascii
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.datastructures import UploadFile as Part
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser

from seesame.errors import InvalidInput
from seesame.filters import parse_filter
from seesame.queries import Cursor
from seesame.types import Clause, Region

M = TypeVar("M", bound=BaseModel)

_MAX_FIELD_BYTES = 2 * 1024 * 1024  # what is too long for a text is told so, not that the form is broken
_MAX_FIELDS = 20

PICTURE = {"image": {"type": "string", "format": "binary", "description": "A picture of any accepted format."}}


def multipart(properties: dict[str, Any]) -> dict[str, Any]:
    """The description of a form with these parts, of which `image` is needed."""
    schema = {"type": "object", "properties": properties, "required": ["image"]}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


class _Parser(MultiPartParser):
    """Knows whether the form had its end: of one that was cut off, the last part would be missing without a word."""

    ended = False

    def on_end(self) -> None:
        """The last boundary came."""
        self.ended = True


@asynccontextmanager
async def read_form(request: Request, *, max_fields: int = _MAX_FIELDS) -> AsyncIterator[FormData]:
    """The parts of a request, which are no more and no larger than any use of them needs.

    Raises:
        InvalidInput: the body is no form.
        HTTPException: with 400, it is a broken one.
    """
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise InvalidInput("image", "One picture is needed, as a file in the part `image` of a multipart form.")
    parser = _Parser(
        request.headers, request.stream(), max_files=2, max_fields=max_fields, max_part_size=_MAX_FIELD_BYTES
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise HTTPException(400) from error
    try:
        if not parser.ended:
            raise HTTPException(400)
        yield form
    finally:
        await form.close()


def body_of(model: type[M], body: bytes) -> M:
    """The JSON body of a request that might have been a form."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()]) from error


async def picture_of(form: FormData, known: Mapping[str, Any]) -> bytes:
    """The one picture of a form, all parts of which are among those known and sent once."""
    names = [name for name, _ in form.multi_items()]
    for name in names:
        if name not in known or names.count(name) > 1:
            raise InvalidInput(name[:100], f"Parts, each once: {', '.join(known)}.")
    parts = form.getlist("image")
    if len(parts) != 1 or not isinstance(parts[0], Part):
        raise InvalidInput("image", "One picture is needed, as a file in the part `image`.")
    return await parts[0].read()


def field_of(form: FormData, name: str) -> str | None:
    """A value; None where there is no such part."""
    value = form.get(name)
    if isinstance(value, Part):
        raise InvalidInput(name, "A value, not a file.")
    return value


def integer_of(form: FormData, name: str, default: int) -> int:
    """A whole number."""
    text = field_of(form, name)
    if text is None:
        return default
    if not text.isascii() or not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise InvalidInput(name, "A whole number.")
    return int(text)


def number_of(form: FormData, name: str) -> float | None:
    """A number; None where there is no such part."""
    text = field_of(form, name)
    try:
        return None if text is None else float(text)
    except ValueError as error:
        raise InvalidInput(name, "A number.") from error


def yes_or_no_of(form: FormData, name: str, default: bool) -> bool:
    """`true` or `false`."""
    text = field_of(form, name)
    if text not in (None, "true", "false"):
        raise InvalidInput(name, "true or false.")
    return default if text is None else text == "true"


def object_of(text: str | None, field: str) -> dict[str, Any] | None:
    """A JSON object that was written as text; None where there is none."""
    if not text:
        return None
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(field, "Not valid JSON.") from error
    if not isinstance(parsed, dict):
        raise InvalidInput(field, "A JSON object.")
    return parsed


def region_of(form: FormData) -> Region | None:
    """The part `region`."""
    written = object_of(field_of(form, "region"), "region")
    if written is None:
        return None
    sides = ("x", "y", "width", "height")
    try:
        numbers = [float(written[side]) for side in sides if type(written.get(side)) in (int, float)]
    except OverflowError:
        numbers = []
    if not len(numbers) == len(written) == len(sides):
        raise InvalidInput("region", "x, y, width and height, as numbers.")
    return Region(*numbers)


def decoded_of(text: str, field: str) -> bytes:
    """The bytes that base64 stands for."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidInput(field, "Not valid base64.") from error


def names_of(written: str | None) -> tuple[str, ...]:
    """Names that are parted by commas."""
    return tuple(name.strip() for name in written.split(",")) if written else ()


def cursor_of(written: str | None) -> Cursor | None:
    """Where a page begins; None where nothing says it."""
    return None if written is None else Cursor.parse(written)


def clauses_of(written: str | None) -> tuple[Clause, ...]:
    """The clauses of a filter as JSON."""
    return parse_filter(object_of(written, "filter") or {})
