"""Columns of vectors in the shop's own tables: finding one, reading it, and turning it into pgvector's type."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, NamedTuple
from uuid import UUID

import psycopg
from psycopg import sql

from seesame.db import indexes
from seesame.db.pool import Connection, Database, pgvector_version, scalar, set_local
from seesame.db.statements import statements
from seesame.db.vectors import Form, decode
from seesame.errors import DatabaseUnavailable, DatabaseUnsuitable, InvalidInput

_SQL = statements("columns")

VectorType = Literal["vector", "halfvec"]

SHOWN: Final = 50
"""How many of the rows that are refused are named."""

MAX_INDEXED: Final[Mapping[VectorType, int]] = MappingProxyType({"vector": 2_000, "halfvec": 4_000})
"""The most dimensions that pgvector makes an index of."""

_LOCK_WAIT_S: Final = 5
_LONG_S: Final = 24 * 3600.0
_BATCH: Final = 1_000  # rows that are in memory at once
_CONVERTED: Final = ("r", "p")  # tables, and tables in partitions


class _Reading(NamedTuple):
    """How a type's vectors are read: the expression that sends them, and what it sends."""

    value: sql.SQL
    form: Form


_READINGS: Final[Mapping[str, _Reading]] = MappingProxyType(
    {
        # What an application stores for "none" in JSON is often the null of JSON, not that of SQL.
        "json": _Reading(sql.SQL("nullif({}::text, 'null')"), "text"),
        "jsonb": _Reading(sql.SQL("nullif({}::text, 'null')"), "text"),
        "text": _Reading(sql.SQL("{}"), "text"),
        "character varying": _Reading(sql.SQL("{}::text"), "text"),
        "real[]": _Reading(sql.SQL("array_send({})"), "real[]"),
        "double precision[]": _Reading(sql.SQL("array_send({})"), "double precision[]"),
        "vector": _Reading(sql.SQL("vector_send({})"), "vector"),
        "halfvec": _Reading(sql.SQL("halfvec_send({})"), "halfvec"),
    }
)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table or view. `type` may have its dimensions, `type_name` has not."""

    schema: str
    table: str
    name: str
    kind: str
    type: str
    type_name: str

    @property
    def relation(self) -> sql.Identifier:
        """The table, as a part of a statement."""
        return sql.Identifier(self.schema, self.table)

    @property
    def qualified(self) -> str:
        """The table's name with its schema, quoted where it must be."""
        return self.relation.as_string()

    @property
    def form(self) -> Form:
        """How its vectors come."""
        return _READINGS[self.type_name].form


class Refusal(NamedTuple):
    """A row whose vector cannot be used."""

    row_id: str
    reason: str


@dataclass(slots=True)
class Refused:
    """How many rows cannot be used, and the first of them."""

    count: int = 0
    first: list[Refusal] = field(default_factory=list)

    def add(self, row_id: str | None, reason: str) -> None:
        """Counts a row, and keeps it if it is among the first."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(Refusal(row_id or "NULL", reason))


OnRows = Callable[[int, int], None]
"""Called with the rows that were read and the rows in all."""


class Row(NamedTuple):
    """A row as it is read: the value is None where the column is NULL."""

    row_id: str | None
    value: str | bytes | None
    image_id: UUID | None


def find(connection: Connection, table: str, name: str) -> Column:
    """A column of a table, whose name may have its schema.

    Raises:
        InvalidInput: there is none.
    """
    try:
        with connection.transaction():
            row = connection.execute(_SQL["find"], {"table": table, "column": name}).fetchone()
    except (psycopg.ProgrammingError, psycopg.NotSupportedError) as error:  # such as a.b.c.d, or an open quote
        raise InvalidInput("table", f"{table!r} is no name of a table.") from error
    if row is None:
        raise InvalidInput("table", f"There is no table {table}.")
    schema, relation, kind, exists, full_type, type_name = row
    if not exists:
        raise InvalidInput("column", f"The table {table} has no column {name!r}.")
    return Column(schema, relation, name, kind, full_type, type_name.rsplit(".", 1)[-1])


def find_vectors(connection: Connection, table: str, name: str) -> Column:
    """A column whose type can hold vectors.

    Raises:
        InvalidInput: there is none, or it is of another type.
    """
    column = find(connection, table, name)
    if column.type_name not in _READINGS:
        raise InvalidInput(
            "column", f"{name!r} is of type {column.type}; vectors are read from {', '.join(_READINGS)}."
        )
    return column


def find_uuid(connection: Connection, table: str, name: str) -> sql.Composable:
    """A column of type uuid, to read images' ids from.

    Raises:
        InvalidInput: there is none, or it is of another type.
    """
    column = find(connection, table, name)
    if column.type != "uuid":
        raise InvalidInput("image_id", f"{name!r} is of type {column.type}; the ids of images are of type uuid.")
    return sql.Identifier(name)


def count(connection: Connection, column: Column) -> int:
    """How many rows its table has."""
    with _readable(column):
        return int(scalar(connection, _SQL["count"].format(table=column.relation)))


def read(
    connection: Connection, column: Column, *, row_id: sql.Composable, image_id: sql.Composable | None = None
) -> Iterator[list[Row]]:
    """All rows, a thousand at a time, as one moment shows them; others go on writing the table."""
    statement = _SQL["read"].format(
        table=column.relation,
        row_id=row_id,
        value=_READINGS[column.type_name].value.format(sql.Identifier(column.name)),
        image_id=image_id or sql.SQL("NULL::uuid"),
    )
    with connection.cursor(name="seesame_rows") as cursor, _readable(column):
        cursor.execute(statement, binary=True)
        while rows := cursor.fetchmany(_BATCH):
            yield [Row(*row) for row in rows]


def as_text(column: Column) -> sql.Composable:
    """A column as text, to tell rows by."""
    return _text(column.name)


def row_name(connection: Connection, column: Column) -> sql.Composable:
    """What tells a row from others: the primary key, or where there is none its place in the table."""
    found = connection.execute(_SQL["primary_key"], {"table": column.qualified}).fetchall()
    names = [_text(row[0]) for row in found] or [_text("ctid")]
    return sql.SQL("concat_ws(', ', {})").format(sql.SQL(", ").join(names))


def has_index(connection: Connection, column: Column) -> bool:
    """Whether an HNSW index by cosine stands on the column."""
    return bool(scalar(connection, _SQL["has_index"], {"table": column.qualified, "column": column.name}))


@dataclass(slots=True)
class Fit:
    """Whether a column's vectors fit a type of pgvector's, and how many there are."""

    column: Column
    vector_type: VectorType
    dimensions: int
    has_index: bool = False
    vectors: int = 0
    refused: Refused = field(default_factory=Refused)

    @property
    def wanted(self) -> str:
        """The type with its dimensions."""
        return f"{self.vector_type}({self.dimensions})"

    @property
    def has_type(self) -> bool:
        """Whether the column is of that type already."""
        return self.column.type == self.wanted


def fit(
    database: Database, table: str, name: str, vector_type: VectorType, dimensions: int, *, row_id: str | None = None,
    on_rows: OnRows = lambda done, total: None,  # noqa: ARG005 - nobody looks
) -> Fit:  # fmt: skip
    """Looks whether a column can become `vector_type(dimensions)`; changes nothing and keeps nobody waiting.

    `row_id` is the column that rows are named by; without, it is the primary key.

    Raises:
        InvalidInput: there is no such column, or pgvector makes no index of so many dimensions.
        DatabaseUnsuitable: pgvector is missing.
    """
    with database.transaction(timeout_s=_LONG_S) as connection:
        if pgvector_version(connection) is None:
            raise DatabaseUnsuitable(
                "pgvector 0.8 or newer is not in this database. Install it and run CREATE EXTENSION vector, or use"
                " `seesame db adopt`, which works without."
            )
        column = find_vectors(connection, table, name)
        if column.kind not in _CONVERTED:
            raise InvalidInput("table", f"{column.qualified} is no table that can be changed.")
        if not 1 <= dimensions <= MAX_INDEXED[vector_type]:
            limits = " and ".join(f"{most:,} of {one}" for one, most in MAX_INDEXED.items())
            raise InvalidInput("dimensions", f"An index takes from 1 to {limits} dimensions.")
        found = Fit(column, vector_type, dimensions, has_index(connection, column))
        total = count(connection, column)
        if found.has_type:
            found.vectors = total
            return found
        shown = as_text(find(connection, table, row_id)) if row_id else row_name(connection, column)
        done = 0
        for batch in read(connection, column, row_id=shown):
            present = [row for row in batch if row.value is not None]
            faults = decode(column.form, [row.value or "" for row in present], dimensions).faults
            for row, fault in zip(present, faults, strict=True):
                if fault is not None:
                    found.refused.add(row.row_id, fault)
            found.vectors += len(present)
            done += len(batch)
            on_rows(done, max(done, total))
        return found


def convert(
    database: Database, fitting: Fit, on_build: indexes.OnBuild | None = None, *, lock_wait_s: int = _LOCK_WAIT_S
) -> str | None:
    """Gives a column that fits its new type and an HNSW index by cosine, all or nothing.

    Nobody reads or writes the table meanwhile; while this waits for others to leave it, they queue behind.

    Returns:
        The default that the column lost, since it is no such vector; None where there was none or it stays.

    Raises:
        DatabaseUnavailable: others used the table for so long that it was given up.
        DatabaseUnsuitable: PostgreSQL refuses; why.
    """
    column, lost = fitting.column, None
    with database.transaction(timeout_s=_LONG_S) as connection, _refusals(column, lock_wait_s):
        set_local(connection, lock_timeout=f"{lock_wait_s}s")
        if not fitting.has_type:
            connection.execute(_SQL["lock"].format(table=column.relation))
            lost = _change_type(connection, column, fitting.wanted)
        if not has_index(connection, column):
            width = fitting.dimensions * (4 if fitting.vector_type == "vector" else 2)
            indexes.give_memory(connection, fitting.vectors, width, for_transaction=True)
            operators = sql.SQL(f"{fitting.vector_type}_cosine_ops")
            names = {"table": column.relation, "column": sql.Identifier(column.name), "operators": operators}
            with indexes.watched(database.dsn, column.relation, on_build):
                connection.execute(_SQL["index"].format(**names))
    return lost


def _text(name: str) -> sql.Composable:
    return sql.SQL("{}::text").format(sql.Identifier(name))


def _change_type(connection: Connection, column: Column, wanted: str) -> str | None:
    """Changes the type; the default that could not be kept, or None."""
    default = scalar(connection, _SQL["default"], {"table": column.qualified, "column": column.name})
    names = {"table": column.relation, "column": sql.Identifier(column.name)}
    if default is not None:
        connection.execute(_SQL["drop_default"].format(**names))
    value = _converted(column, sql.Identifier(column.name), wanted)
    connection.execute(_SQL["convert"].format(**names, type=sql.SQL(wanted), value=value))
    if default is None:
        return None
    kept = _converted(column, sql.SQL("({})").format(sql.SQL(default)), wanted)
    try:
        with connection.transaction():
            connection.execute(_SQL["evaluate"].format(value=kept))
            connection.execute(_SQL["set_default"].format(**names, value=kept))
    except psycopg.DataError:  # such as an empty list
        return str(default)
    return None


def _converted(column: Column, value: sql.Composable, wanted: str) -> sql.Composable:
    """An expression of the column's old type as one of its new type."""
    if column.form == "text":
        value = sql.SQL("translate({}, '{{}}', '[]')").format(_READINGS[column.type_name].value.format(value))
    return sql.SQL("{}::{}").format(value, sql.SQL(wanted))


@contextmanager
def _readable(column: Column) -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnsuitable(
            f"The database user may not read {column.qualified}: GRANT SELECT on it to the user."
        ) from error


@contextmanager
def _refusals(column: Column, lock_wait_s: int) -> Iterator[None]:
    """Turns PostgreSQL's refusals to change a table into one line; what it says is about the shop's own table."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        raise DatabaseUnavailable(
            f"Others used {column.qualified} for more than {lock_wait_s} s, so nothing was changed."
            " Try again when long transactions on it have ended."
        ) from error
    except (
        psycopg.ProgrammingError, psycopg.DataError, psycopg.IntegrityError, psycopg.InternalError,
        psycopg.NotSupportedError,
    ) as error:  # fmt: skip
        told = "; ".join(filter(None, (error.diag.message_primary, error.diag.message_detail)))
        raise DatabaseUnsuitable(f"PostgreSQL refuses, and nothing was changed: {' '.join(told.split())}.") from error
