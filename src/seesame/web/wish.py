"""What a shopper asks for, as it stands in the address bar and in forms."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Self
from urllib.parse import urlencode

from seesame.db.filters import ATTRIBUTE
from seesame.errors import InvalidInput
from seesame.facets import COLUMNS
from seesame.filters import parse_filter
from seesame.queries import EarlierPhoto, LikeProduct, Part, Photo, Words
from seesame.types import Clause, FieldValue, Region

LESS = -0.5
"""The weight of what is not wanted: with as much as what is wanted, little but the difference would be left."""

_NUMBER = re.compile(r"-?\d{1,15}(\.\d{1,15})?", re.ASCII)
_SIDES = 4


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    `similar` and `less` are products to be like and unlike; `photo`, the id of an earlier search's photo, and `region`,
    a part of it; `chosen`, by field, the values that are asked for. A photo never stands in the address: addresses are
    shared, bookmarked and logged.
    """

    words: str = ""
    similar: tuple[str, ...] = ()
    less: tuple[str, ...] = ()
    photo: str | None = None
    region: Region | None = None
    chosen: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    lowest: Decimal | None = None
    highest: Decimal | None = None
    cursor: str | None = None

    @classmethod
    def parse(cls, pairs: Iterable[tuple[str, str]], *, has_photo: bool = False) -> Self:
        """From the pairs of an address or a form. Those that mean nothing here are passed over.

        A pair `without` takes away what it names: another pair as `name=value`, all of a name, or all `filters`.
        `has_photo`: one comes with the form.

        Raises:
            InvalidInput: a number that is none.
        """
        listed = list(pairs)
        without = {value for name, value in listed if name == "without"}
        given: dict[str, list[str]] = {}
        for name, value in listed:
            if value.strip() and not {name, f"{name}={value}", _group(name)} & without:
                given.setdefault(name, []).append(value.strip())
        last = {name: values[-1] for name, values in given.items()}
        has_photo = has_photo or "photo" in last
        similar = tuple(dict.fromkeys(given.get("similar", ())))
        return cls(
            words=last.get("q", ""),
            similar=similar,
            # Nothing is like what is merely unlike something.
            less=tuple(dict.fromkeys(given.get("less", ()))) if has_photo or similar or "q" in last else (),
            photo=last.get("photo"),
            region=_region(last.get("region")) if has_photo else None,
            chosen={name: tuple(dict.fromkeys(values)) for name, values in given.items() if _is_field(name)},
            lowest=_price("min", last.get("min")),
            highest=_price("max", last.get("max")),
            cursor=last.get("cursor"),
        )

    def parts(self, photo: Photo | None) -> list[Part]:
        """What is searched for; nothing where the catalogue is asked for as it is.

        Raises:
            InvalidInput: too much, or words that cannot be searched for.
        """
        seen = photo or (EarlierPhoto(self.photo) if self.photo else None)
        return [
            *([Part(seen, region=self.region)] if seen else []),
            *([Part(Words(self.words))] if self.words else []),
            *(Part(LikeProduct(product_id)) for product_id in self.similar),
            *(Part(LikeProduct(product_id), LESS) for product_id in self.less),
        ]

    @cached_property
    def clauses(self) -> tuple[Clause, ...]:
        """The filter.

        Raises:
            InvalidInput: too many values.
        """
        written: dict[str, object] = {
            name: [reading for value in values for reading in _readings(name, value)]
            for name, values in self.chosen.items()
        }
        price = {"gte": self.lowest, "lte": self.highest}
        if self.lowest is not None or self.highest is not None:
            written["price"] = {bound: number for bound, number in price.items() if number is not None}
        return parse_filter(written)

    @cached_property
    def filters(self) -> list[tuple[str, str]]:
        """The pairs that narrow the answer."""
        bounds = (("min", self.lowest), ("max", self.highest))
        return [
            *((name, value) for name, values in self.chosen.items() for value in values),
            *((name, f"{bound:f}") for name, bound in bounds if bound is not None),
        ]

    @property
    def address(self) -> str:
        """Where the same is asked for again, without the photo and from the first page on."""
        pairs = [
            *([("q", self.words)] if self.words else []),
            *(("similar", product_id) for product_id in self.similar),
            *(("less", product_id) for product_id in self.less),
            *self.filters,
        ]
        return f"/?{urlencode(pairs)}" if pairs else "/"


def _is_field(name: str) -> bool:
    return name in COLUMNS or name.startswith(ATTRIBUTE)


def _group(name: str) -> str:
    return "filters" if _is_field(name) or name in ("min", "max") else name


def _price(name: str, text: str | None) -> Decimal | None:
    try:
        return None if text is None else Decimal(text)
    except InvalidOperation as error:
        raise InvalidInput(name, "A price is a number.") from error


def _region(text: str | None) -> Region | None:
    """Four numbers, parted by commas: x, y, width and height."""
    if text is None:
        return None
    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) != _SIDES:
        raise InvalidInput("region", "A region is four numbers: x, y, width and height.")
    return Region(*numbers)


def _readings(name: str, text: str) -> Iterator[FieldValue]:
    """What a text may stand for: attributes may be numbers, and true or false."""
    yield text
    if name.startswith(ATTRIBUTE):
        if text in ("true", "false"):
            yield text == "true"
        elif _NUMBER.fullmatch(text):
            yield Decimal(text)
