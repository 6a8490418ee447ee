"""Filters as users write them: `{"category": "shoes", "price": {"lte": 100}, "attributes.color": ["red", "blue"]}`."""

from collections.abc import Mapping
from decimal import Decimal

from seesame.catalogue import check_text
from seesame.db.filters import ATTRIBUTE, COLUMNS
from seesame.errors import InvalidInput
from seesame.types import Clause

MAX_CLAUSES = 32
MAX_VALUES = 100
_BOUNDS = frozenset({"gt", "gte", "lt", "lte"})


def parse_filter(written: Mapping[str, object]) -> tuple[Clause, ...]:
    """The clauses of a filter; all of them must hold.

    Raises:
        InvalidInput: an unknown field, a wrong value or too many of either; names the field.
    """
    if len(written) > MAX_CLAUSES:
        raise InvalidInput("filter", f"At most {MAX_CLAUSES} conditions.")
    return tuple(_clause(name, value) for name, value in written.items())


def _clause(name: str, value: object) -> Clause:
    field = f"filter.{name[:100]}"
    attribute = name.removeprefix(ATTRIBUTE) if name.startswith(ATTRIBUTE) else None
    if attribute is None and name not in COLUMNS:
        raise InvalidInput(field, f"Known fields: {', '.join(sorted(COLUMNS))} and attributes.NAME.")
    if attribute is not None:
        check_text(field, attribute, 200)
    if isinstance(value, Mapping):
        if name != "price":
            raise InvalidInput(field, "Only the price has a range.")
        return _range(field, name, value)
    values = value if isinstance(value, list) else [value]
    if not 1 <= len(values) <= MAX_VALUES:
        raise InvalidInput(field, f"Between 1 and {MAX_VALUES} values.")
    return Clause(name, any_of=tuple(_value(field, name, item) for item in values))


def _value(field: str, name: str, value: object) -> str | int | float | bool | Decimal:
    if name == "price":
        return _number(field, value)
    if isinstance(value, str):
        check_text(field, value, 1_000)
        return value
    if name in COLUMNS:
        raise InvalidInput(field, "A text or a list of texts.")
    if isinstance(value, bool):
        return value
    number = _number(field, value)
    return int(number) if number == number.to_integral_value() else float(number)


def _range(field: str, name: str, bounds: Mapping[str, object]) -> Clause:
    if not bounds or set(bounds) - _BOUNDS or {"gt", "gte"} <= set(bounds) or {"lt", "lte"} <= set(bounds):
        raise InvalidInput(field, "A range has gt or gte, and lt or lte.")
    numbers = {bound: _number(field, value) for bound, value in bounds.items()}
    return Clause(
        name,
        lower=numbers.get("gte", numbers.get("gt")),
        lower_inclusive="gte" in numbers,
        upper=numbers.get("lte", numbers.get("lt")),
        upper_inclusive="lte" in numbers,
    )


def _number(field: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidInput(field, "A number.")
    number = Decimal(str(value)) if not isinstance(value, int) or abs(value) < 10**15 else Decimal("Infinity")
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise InvalidInput(field, "A finite number.")
    return number
