"""Filters as SQL conditions on a product, which the statement calls `f`."""

import json
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from seesame.types import Clause, FieldValue

COLUMNS = frozenset({"category", "brand", "price", "currency"})
ATTRIBUTE = "attributes."


def condition(clauses: Sequence[Clause]) -> tuple[sql.Composable, dict[str, Any]]:
    """The conjunction of all clauses, with its parameters `f0`, `f1`, …"""
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for clause in clauses:
        conditions = _attribute if clause.field.startswith(ATTRIBUTE) else _column
        parts.extend(conditions(clause, values))
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true"), values


def _parameter(values: dict[str, Any], value: Any) -> sql.Placeholder:
    name = f"f{len(values)}"
    values[name] = value
    return sql.Placeholder(name)


def _column(clause: Clause, values: dict[str, Any]) -> Iterator[sql.Composable]:
    column = sql.SQL("f.{}").format(sql.Identifier(clause.field))
    if clause.any_of:
        yield sql.SQL("{} = ANY({})").format(column, _parameter(values, list(clause.any_of)))
    if clause.none_of:
        yield sql.SQL("({} = ANY({})) IS NOT TRUE").format(column, _parameter(values, list(clause.none_of)))
    for comparison, bound in _bounds(clause):
        yield sql.SQL("{} {} {}").format(column, comparison, _parameter(values, bound))
    if clause.exists is not None:
        yield sql.SQL("({} IS NOT NULL) = {}").format(column, _parameter(values, clause.exists))


def _attribute(clause: Clause, values: dict[str, Any]) -> Iterator[sql.Composable]:
    name = clause.field.removeprefix(ATTRIBUTE)
    if clause.any_of:
        yield _contains(name, clause.any_of, values)
    if clause.none_of:
        yield sql.SQL("NOT {}").format(_contains(name, clause.none_of, values))
    for comparison, bound in _bounds(clause):
        # A path looks into lists, and what is no number is in no range.
        path = f"$.{json.dumps(name)} ? (@ {comparison.as_string()} $bound)"
        yield sql.SQL("jsonb_path_exists(f.attributes, {}::jsonpath, jsonb_build_object('bound', {}::numeric))").format(
            _parameter(values, path), _parameter(values, bound)
        )
    if clause.exists is not None:
        value = sql.SQL("f.attributes -> {}").format(_parameter(values, name))
        yield sql.SQL("(coalesce(jsonb_typeof({}), 'null') <> 'null') = {}").format(
            value, _parameter(values, clause.exists)
        )


def _contains(name: str, wanted: Sequence[FieldValue], values: dict[str, Any]) -> sql.Composable:
    """An attribute equals one of the values, or is a list that holds one. Containment, for its GIN index."""
    shapes = [shape for value in wanted for shape in ({name: value}, {name: [value]})]
    contains = [sql.SQL("f.attributes @> {}").format(_parameter(values, Jsonb(shape))) for shape in shapes]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(contains))


def _bounds(clause: Clause) -> Iterator[tuple[sql.SQL, Decimal]]:
    if clause.lower is not None:
        yield sql.SQL(">=" if clause.lower_inclusive else ">"), clause.lower
    if clause.upper is not None:
        yield sql.SQL("<=" if clause.upper_inclusive else "<"), clause.upper
