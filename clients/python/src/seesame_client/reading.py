"""Turns JSON into the values of `results`, by their annotations."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Generic, TypeVar, Union, cast, get_args, get_origin, get_type_hints

T = TypeVar("T")
Reader = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Head:
    total: int
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, how many there are in all, and the cursor of the next page if the server gives one."""

    items: tuple[T, ...]
    total: int
    next: str | None


def read(kind: type[T], body: bytes) -> T:
    """A value of a dataclass from its JSON. Raises ValueError."""
    return cast("T", _value(kind, _json(body)))


def read_page(kind: type[T], name: str, body: bytes) -> Page[T]:
    """A page of a list, which has its items under a name. Raises ValueError."""
    page = _json(body)
    head: _Head = _value(_Head, page)
    return Page(_value(tuple[kind, ...], page.get(name)), head.total, head.next)  # type: ignore[valid-type]


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except RecursionError as error:
        raise ValueError(str(error)) from error


def _value(annotation: Any, value: Any) -> Any:
    try:
        return _reader(annotation)(value)
    except TypeError as error:
        raise ValueError(str(error)) from error


@cache
def _reader(annotation: Any) -> Reader:
    """What reads a value of this type; raises TypeError or ValueError for another."""
    if annotation is Any:
        return lambda value: value
    if isinstance(annotation, type) and is_dataclass(annotation):
        return _object(annotation)
    if annotation is datetime:
        return datetime.fromisoformat
    arguments = get_args(annotation)
    origin = get_origin(annotation)
    if origin in (types.UnionType, Union):
        return _union(arguments)
    if origin is tuple:
        item = _reader(arguments[0])
        return lambda value: tuple([item(each) for each in _checked(value, list)])
    if origin is Mapping:
        item = _reader(arguments[1])
        return lambda value: {name: item(each) for name, each in _checked(value, dict).items()}
    if annotation is float:
        return lambda value: float(_checked(value, float))
    return lambda value: _checked(value, annotation)


def _object(kind: type) -> Reader:
    """Reads the fields that are known; one that is missing, or null, has its default."""
    hints = get_type_hints(kind)
    known = [
        (each.name, _reader(hints[each.name]), each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
    ]

    def reader(value: Any) -> Any:
        given = _checked(value, dict)
        return kind(
            **{name: of(given.get(name)) for name, of, needed in known if needed or given.get(name) is not None}
        )

    return reader


def _union(arguments: tuple[Any, ...]) -> Reader:
    others = [each for each in arguments if each is not types.NoneType]
    if len(others) == 1:
        return _reader(others[0])
    return lambda value: _checked(value, *others)


def _checked(value: Any, *kinds: type) -> Any:
    allowed = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in kinds):
        raise TypeError(f"{type(value).__name__} where {kinds[0].__name__} is expected")
    return value
