"""Filters as users write them.

`{"category": "shoes", "price": {"lte": 100}, "attributes.color": ["red", "blue"], "brand": {"not": "Acme"}}`: a field
has a value, one of several, or meets conditions: `gt`, `gte`, `lt`, `lte`, `in`, `not`, `exists`.
"""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from seesame.catalogue import check_text
from seesame.db.filters import ATTRIBUTE, COLUMNS
from seesame.errors import InvalidInput
from seesame.types import Clause, FieldValue

MAX_CLAUSES = 32
MAX_VALUES = 100
FACETS = COLUMNS - {"price"}
_BOUNDS = frozenset({"gt", "gte", "lt", "lte"})


def parse_filter(written: Mapping[str, object]) -> tuple[Clause, ...]:
    """The clauses of a filter; all of them must hold.

    Raises:
        InvalidInput: an unknown field, a wrong value or too many of either; names the field.
    """
    if len(written) > MAX_CLAUSES:
        raise InvalidInput("filter", f"At most {MAX_CLAUSES} conditions.")
    return tuple(_clause(name, value) for name, value in written.items())


def check_facet(name: str) -> None:
    """Refuses a field whose values cannot be counted.

    Raises:
        InvalidInput: it is none of the columns or attributes.
    """
    _check_name(f"facets.{name[:100]}", name, FACETS)


def _check_name(field: str, name: str, columns: frozenset[str]) -> None:
    attribute = name.removeprefix(ATTRIBUTE) if name.startswith(ATTRIBUTE) else None
    if attribute is None and name not in columns:
        raise InvalidInput(field, f"Known fields: {', '.join(sorted(columns))} and attributes.NAME.")
    if attribute is not None:
        check_text(field, attribute, 200)


def _clause(name: str, written: object) -> Clause:
    field = f"filter.{name[:100]}"
    _check_name(field, name, COLUMNS)
    if not isinstance(written, Mapping):
        return Clause(name, any_of=_values(field, name, written))
    conditions = dict(written)
    clause = Clause(
        name,
        any_of=_values(field, name, conditions.pop("in")) if "in" in conditions else (),
        none_of=_values(field, name, conditions.pop("not")) if "not" in conditions else (),
        exists=_flag(field, conditions.pop("exists")) if "exists" in conditions else None,
    )
    if conditions:
        clause = replace(clause, **_range(field, name, conditions))
    elif len(written) == 0:
        raise InvalidInput(field, f"One or more of: {', '.join(sorted(_BOUNDS))}, in, not, exists.")
    return clause


def _values(field: str, name: str, written: object) -> tuple[FieldValue, ...]:
    values = written if isinstance(written, list) else [written]
    if not 1 <= len(values) <= MAX_VALUES:
        raise InvalidInput(field, f"Between 1 and {MAX_VALUES} values.")
    return tuple(_value(field, name, item) for item in values)


def _flag(field: str, written: object) -> bool:
    if not isinstance(written, bool):
        raise InvalidInput(field, "exists is true or false.")
    return written


def _value(field: str, name: str, value: object) -> FieldValue:
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


def _range(field: str, name: str, bounds: Mapping[str, object]) -> dict[str, Any]:
    """The bounds as fields of a clause."""
    unknown = set(bounds) - _BOUNDS
    if unknown or {"gt", "gte"} <= set(bounds) or {"lt", "lte"} <= set(bounds):
        raise InvalidInput(field, "A condition is in, not, exists, or a range of gt or gte, and lt or lte.")
    if name in COLUMNS and name != "price":
        raise InvalidInput(field, "Only the price and attributes have a range.")
    numbers = {bound: _number(field, value) for bound, value in bounds.items()}
    return {
        "lower": numbers.get("gte", numbers.get("gt")),
        "lower_inclusive": "gt" not in numbers,
        "upper": numbers.get("lte", numbers.get("lt")),
        "upper_inclusive": "lt" not in numbers,
    }


def _number(field: str, value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise InvalidInput(field, "A number.")
    number = Decimal(str(value)) if not isinstance(value, int) or abs(value) < 10**15 else Decimal("Infinity")
    if not number.is_finite() or abs(number) > Decimal(10) ** 15:
        raise InvalidInput(field, "A finite number.")
    return number
