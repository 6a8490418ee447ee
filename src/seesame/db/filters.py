"""Filters as SQL conditions on a product, which the statement calls `f`."""

from collections.abc import Sequence
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from seesame.types import Clause

COLUMNS = frozenset({"category", "brand", "price", "currency"})
ATTRIBUTE = "attributes."


def condition(clauses: Sequence[Clause]) -> tuple[sql.Composable, dict[str, Any]]:
    """The conjunction of all clauses, with its parameters `f0`, `f1`, …"""
    parts: list[sql.Composable] = []
    values: dict[str, Any] = {}
    for clause in clauses:
        if clause.field.startswith(ATTRIBUTE):
            parts.append(_attribute(clause, values))
        else:
            parts.extend(_column(clause, values))
    return sql.SQL(" AND ").join(parts) if parts else sql.SQL("true"), values


def _parameter(values: dict[str, Any], value: Any) -> sql.Placeholder:
    name = f"f{len(values)}"
    values[name] = value
    return sql.Placeholder(name)


def _column(clause: Clause, values: dict[str, Any]) -> list[sql.Composable]:
    column = sql.SQL("f.{}").format(sql.Identifier(clause.field))
    parts: list[sql.Composable] = []
    if clause.any_of:
        parts.append(sql.SQL("{} = ANY({})").format(column, _parameter(values, list(clause.any_of))))
    if clause.lower is not None:
        comparison = sql.SQL(">=" if clause.lower_inclusive else ">")
        parts.append(sql.SQL("{} {} {}").format(column, comparison, _parameter(values, clause.lower)))
    if clause.upper is not None:
        comparison = sql.SQL("<=" if clause.upper_inclusive else "<")
        parts.append(sql.SQL("{} {} {}").format(column, comparison, _parameter(values, clause.upper)))
    return parts


def _attribute(clause: Clause, values: dict[str, Any]) -> sql.Composable:
    """An attribute that equals one of the values, or is a list that holds one. Containment, for its GIN index."""
    name = clause.field.removeprefix(ATTRIBUTE)
    shapes = [shape for value in clause.any_of for shape in ({name: value}, {name: [value]})]
    contains = [sql.SQL("f.attributes @> {}").format(_parameter(values, Jsonb(shape))) for shape in shapes]
    return sql.SQL("({})").format(sql.SQL(" OR ").join(contains))
