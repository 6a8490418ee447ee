"""Turning a column of the shop's into pgvector's type: all types, each refusal, all or nothing."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import psycopg
import pytest
from psycopg import sql

from seesame.db import columns
from seesame.db.columns import Fit
from seesame.db.pool import Database
from seesame.errors import DatabaseUnavailable, DatabaseUnsuitable, InvalidInput
from tests.catalogue_rows import unit

DIMENSIONS = 8
VECTORS = unit(np.random.default_rng(1).normal(size=(20, DIMENSIONS))).tolist()
TYPES = ["json", "jsonb", "text", "varchar", "real[]", "double precision[]", "vector", "halfvec"]


def _table(
    database: Database, type_: str, vectors: Sequence[Any], *, more: str = "", key: str = "id text PRIMARY KEY"
) -> None:
    """A table of the shop's: a vector or what shall be one a row, or None."""
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        statement = f"CREATE TABLE products ({key}, title text, embedding {type_} {more})"
        connection.execute(statement.encode())
        insert = sql.SQL("INSERT INTO products VALUES (%s, 'a', %s::{})").format(sql.SQL(type_))
        for index, vector in enumerate(vectors):
            text = json.dumps(vector) if isinstance(vector, list) else vector
            if isinstance(vector, list) and type_.endswith("[]"):
                text = f"{{{text[1:-1]}}}"
            connection.execute(insert, [f"p{index}", text])


def _convert(database: Database, type_: columns.VectorType = "vector", **options: Any) -> tuple[Fit, str | None]:
    found = columns.fit(database, "products", "embedding", type_, DIMENSIONS, **options)
    assert found.refused.count == 0, found.refused
    return found, columns.convert(database, found)


def _query(database: Database, statement: str) -> Any:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        return connection.execute(statement.encode()).fetchall()


def _do(database: Database, statement: str) -> None:
    with psycopg.connect(database.dsn, autocommit=True) as connection:
        connection.execute(statement.encode())


def _column(database: Database) -> tuple[str, list[str]]:
    """The column's type and its indexes' definitions."""
    ((type_,),) = _query(
        database,
        "SELECT format_type(atttypid, atttypmod) FROM pg_attribute"
        " WHERE attrelid = 'products'::regclass AND attname = 'embedding'",
    )
    indexes = _query(
        database, "SELECT indexdef FROM pg_indexes WHERE tablename = 'products' AND indexdef LIKE '%hnsw%'"
    )
    return type_, [row[0] for row in indexes]


@pytest.mark.parametrize("wanted", ["vector", "halfvec"])
@pytest.mark.parametrize("type_", TYPES)
def test_a_column_of_every_type_is_converted(database: Database, type_: str, wanted: columns.VectorType) -> None:
    """The numbers and NULL stay, and an index by cosine stands on it."""
    _table(database, type_, [*VECTORS, None])
    found, lost = _convert(database, wanted)
    assert (found.vectors, lost) == (20, None)
    kind, indexes = _column(database)
    assert kind == f"{wanted}({DIMENSIONS})"
    assert [f"{wanted}_cosine_ops" in index for index in indexes] == [True]
    rows = dict(_query(database, "SELECT id, embedding::real[] FROM products"))
    assert rows.pop("p20") is None
    for index, vector in enumerate(VECTORS):
        assert rows[f"p{index}"] == pytest.approx(vector, abs=1e-3)
    ((nearest,),) = _query(database, f"SELECT id FROM products ORDER BY embedding <=> '{VECTORS[7]}' LIMIT 1")
    assert nearest == "p7"


@pytest.mark.parametrize(
    ("type_", "bad", "reason"),
    [
        ("json", [1, 2], "has 2 dimensions, not 8"),
        ("real[]", [1.0, 2.0], "has 2 dimensions, not 8"),
        ("vector", [1.0, 2.0], "has 2 dimensions, not 8"),
        ("double precision[]", "{NaN,0,0,0,0,0,0,0}", "holds NaN or an infinite number"),
        ("json", [0] * 8, "is zero"),
        ("jsonb", ["1"] * 8, "is not a list of numbers"),
        ("text", "none", "is not a list of numbers"),
        ("real[]", "{NULL,0,0,0,0,0,0,0}", "holds NULL"),
    ],
)
def test_a_row_that_does_not_fit_is_named(database: Database, type_: str, bad: Any, reason: str) -> None:
    """By its primary key, and by the column that is asked for."""
    _table(database, type_, [VECTORS[0], bad, None, VECTORS[1]])
    for options, shown in (({}, "p1"), ({"row_id": "title"}, "a")):
        found = columns.fit(database, "public.products", "embedding", "vector", DIMENSIONS, **options)  # type: ignore[arg-type]
        assert [tuple(refusal) for refusal in found.refused.first] == [(shown, reason)]


@pytest.mark.parametrize(("key", "shown"), [("id text", "(0,2)"), ("id text, PRIMARY KEY (title, id)", "a, p1")])
def test_rows_are_named_without_a_simple_key_too(database: Database, key: str, shown: str) -> None:
    """By all columns of the key, or by their place in the table."""
    _table(database, "json", [VECTORS[0], [1]], key="id text")
    if "KEY" in key:
        _do(database, "ALTER TABLE products ADD PRIMARY KEY (title, id)")
    found = columns.fit(database, "products", "embedding", "vector", DIMENSIONS)
    assert [refusal.row_id for refusal in found.refused.first] == [shown]


def test_a_row_that_comes_after_the_check_changes_nothing(database: Database) -> None:
    """PostgreSQL refuses it, and the column is as it was."""
    _table(database, "json", VECTORS)
    found = columns.fit(database, "products", "embedding", "vector", DIMENSIONS)
    _do(database, "INSERT INTO products VALUES ('late', 'a', '[1]')")
    with pytest.raises(DatabaseUnsuitable, match="nothing was changed: expected 8 dimensions, not 1"):
        columns.convert(database, found)
    assert _column(database) == ("json", [])


def test_what_is_done_already_is_left_and_a_missing_index_built(database: Database) -> None:
    """A second time there is nothing to do, and without its index only that is made."""
    _table(database, "vector(8)", VECTORS)
    found, _ = _convert(database)
    assert (found.has_type, found.has_index) == (True, False)
    again, _ = _convert(database)
    assert (again.has_type, again.has_index) == (True, True)
    kind, indexes = _column(database)
    assert (kind, len(indexes)) == ("vector(8)", 1)


@pytest.mark.parametrize(
    ("default", "lost"), [("'[1,0,0,0,0,0,0,0]'", None), ("NULL", None), ("'[]'", "'[]'::json"), ("'null'", None)]
)
def test_a_default_stays_where_it_is_a_vector(database: Database, default: str, lost: str | None) -> None:
    """Else the column loses it, which is told."""
    _table(database, "json", VECTORS, more=f"DEFAULT {default}")
    assert _convert(database)[1] == lost
    _do(database, "INSERT INTO products (id) VALUES ('new')")
    ((value,),) = _query(database, "SELECT embedding::text FROM products WHERE id = 'new'")
    assert value == (default.strip("'") if default.startswith("'[1") else None)


def test_what_depends_on_the_column_is_told_in_one_line(database: Database) -> None:
    """PostgreSQL refuses for a view, for an index of another kind and for a check; nothing is changed."""
    _table(database, "jsonb", VECTORS)
    for make, drop, message in (
        (
            "CREATE VIEW seen AS SELECT embedding FROM products",
            "DROP VIEW seen",
            "view or rule; rule _RETURN on view seen",
        ),
        ("CREATE INDEX other ON products USING gin (embedding)", "DROP INDEX other", "no default operator class"),
        (
            "ALTER TABLE products ADD CONSTRAINT long CHECK (jsonb_array_length(embedding) = 8)",
            "ALTER TABLE products DROP CONSTRAINT long",
            "jsonb_array_length",
        ),
    ):
        _do(database, make)
        with pytest.raises(
            DatabaseUnsuitable, match=f"PostgreSQL refuses, and nothing was changed: .*{message}"
        ) as raised:
            _convert(database)
        assert "\n" not in str(raised.value)
        assert _column(database) == ("jsonb", [])
        _do(database, drop)
    _convert(database)


def test_a_table_in_use_is_not_waited_for(database: Database) -> None:
    """It is given up after a moment, so that others do not queue behind it for long; checking needs no lock."""
    _table(database, "json", VECTORS)
    with psycopg.connect(database.dsn) as other:
        other.execute("UPDATE products SET title = 'b'")
        found = columns.fit(database, "products", "embedding", "vector", DIMENSIONS)
        with pytest.raises(DatabaseUnavailable, match=r'Others used "public"\."products" for more than 1 s'):
            columns.convert(database, found, lock_wait_s=1)
    assert _column(database) == ("json", [])
    _convert(database)


def test_what_cannot_be_converted_is_told(database: Database) -> None:
    """In one line, for each way to get it wrong."""
    _table(database, "json", VECTORS)
    _do(database, "CREATE VIEW seen AS SELECT embedding FROM products")
    for table, column, dimensions, message in (
        ("none", "embedding", 8, "There is no table none"),
        ("products", "none", 8, "has no column 'none'"),
        ("products", "title", 3_000, "1 to 2,000 of vector and 4,000 of halfvec"),
        ("products", "id", 0, "1 to 2,000"),
        ("seen", "embedding", 8, "no table that can be changed"),
    ):
        with pytest.raises(InvalidInput, match=message):
            columns.fit(database, table, column, "vector", dimensions)


def test_without_pgvector_it_says_so(plain: Database) -> None:
    """And what works without."""
    plain.open()
    with pytest.raises(DatabaseUnsuitable, match=r"pgvector 0\.8 or newer.*seesame db adopt"):
        columns.fit(plain, "products", "embedding", "vector", 8)


def test_the_command_tells_what_it_does(database: Database) -> None:
    """A dry run changes nothing; then it is done; then there is nothing to do; and refused rows are listed."""
    _table(database, "json", [*VECTORS, None], more="DEFAULT '[]'")
    assert "all of its 20 vectors fit vector(8)" in _run(database, "--dry-run")
    assert _column(database)[0] == "json"
    told = _run(database)
    assert "The default of the column, '[]'::json, is no vector(8)" in told
    assert "Done in" in told
    assert "embedding is vector(8) already and has its index" in _run(database)
    _do(database, "DROP TABLE products")
    _table(database, "json", [[1]] * 21)
    told = _run(database, code=1)
    assert "✗ p0: has 1 dimensions, not 8" in told
    assert "21 rows were refused. Nothing was changed." in told


def _run(database: Database, *arguments: str, code: int = 0) -> str:
    command = ["db", "convert-column", "--table", "products", "--column", "embedding", "--dimensions", "8", *arguments]
    done = subprocess.run(
        [sys.executable, "-m", "seesame", *command],
        env=os.environ | {"DATABASE_URL": database.dsn, "COLUMNS": "200"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stderr
