"""All that Seesame keeps and asks could be distributed by product, with no change: the schema, and each statement."""

import ast
import inspect
import pkgutil
import re
from collections.abc import Iterator
from decimal import Decimal
from importlib import import_module, resources

import pytest
import sqlglot
from psycopg import sql

import seesame.db
from seesame.db import search, spaces
from seesame.db.filters import condition
from seesame.db.pool import Database
from seesame.db.statements import statements
from seesame.types import Clause, SpaceIdentity
from tests.citus_rules import LOCAL, violations

_BEGINS = re.compile(r"(SELECT|WITH|INSERT|UPDATE|DELETE|LOCK|CREATE|ALTER) ")
# Vectors without pgvector, and their conversion, are never distributed; the shop's own tables are its own affair.
_UNDISTRIBUTED = {"columns", "exact", "conversion", "spaces.heal_restored"}
_CLAUSES = [
    Clause("category", any_of=("a", "b"), none_of=("c",)),
    Clause("price", lower=Decimal(1), upper=Decimal(2), exists=True),
    Clause("attributes.colour", any_of=("red",), none_of=("blue",), lower=Decimal(1), exists=True),
]
_VALUES = {
    "embeddings": "seesame.embeddings_1",
    "images": "seesame.embeddings_1 e",
    "listing": "seesame.product_images",
    "in": "NOT IN",
    "old": "seesame.embeddings_1",
    "new": "seesame.embeddings_2",
    "next": "seesame.embeddings_1_next",
    "vector_type": "halfvec(2)",
    "concurrently": "CONCURRENTLY",
    "index": "seesame.an_index",
    "table": "seesame.products",
    "column": "brand",
    "join": "JOIN seesame.products f USING (product_id)",
    "not_itself": "AND e.product_id <> ALL(%(exclude)s)",
    "following": "(distance, product_id) > (%(distance)s, %(product_id)s)",
    "condition": condition(_CLAUSES)[0].as_string(),
}


def _strings() -> Iterator[tuple[str, str]]:
    """Every text in the code of `seesame.db`, with its module."""
    for module in pkgutil.iter_modules(seesame.db.__path__):
        tree = ast.parse(inspect.getsource(import_module(f"seesame.db.{module.name}")))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield module.name, node.value


def _all() -> Iterator[tuple[str, str]]:
    """Every statement by name, with something for each of its braces."""
    distances = [text for _, text in _strings() if "<=>" in text and text.startswith(("(e.image", "e.image"))]
    assert distances
    in_reach = search._IN_REACH.format(embeddings=sql.SQL(_VALUES["embeddings"])).as_string()
    ways = [{"distance": distance} for distance in distances] + [{"distance": "e.distance", "images": in_reach}]
    folder = resources.files("seesame.db")
    for file in folder.joinpath("sql").iterdir():
        noun = file.name.removesuffix(".sql")
        for name, statement in statements(noun).items():
            if {noun, f"{noun}.{name}"} & _UNDISTRIBUTED:
                continue
            for way in ways if "{distance}" in statement.as_string() else [{}]:
                values = {key: sql.SQL(value) for key, value in (_VALUES | way).items()}
                yield f"{noun}.{name}", statement.format(**values).as_string()
    for module, text in _strings():
        if _BEGINS.match(text):
            yield f"{module}: {text}", re.sub(r"\{\w*\}", "anything", text)
    for file in folder.joinpath("migrations").iterdir():
        for number, parsed in enumerate(sqlglot.parse(file.read_text(), dialect="postgres")):
            if parsed is not None:
                yield f"{file.name} {number}", parsed.sql(dialect="postgres")


def _plain(statement: str) -> str:
    """As the parser knows it: with other parameters, and a number for the size of a sample."""
    sampled = re.sub(r"(TABLESAMPLE \w+) \([^)]*\)s::real\)", r"\1 (1)", statement)
    return re.sub(r"%\((\w+)\)s", r":\1", sampled).replace("%s", ":value").replace("%%", "%")


@pytest.fixture
def not_immutable(database: Database) -> set[str]:
    """Functions of this PostgreSQL that may give something else the next time."""
    with database.transaction() as connection:
        rows = connection.execute("SELECT DISTINCT proname FROM pg_proc WHERE provolatile <> 'i'").fetchall()
    return {row[0] for row in rows}


def test_every_statement_keeps_the_rules(not_immutable: set[str]) -> None:
    """Named ones, those in the code, and those of the migrations."""
    listed = list(_all())
    broken = {name: found for name, text in listed if (found := violations(_plain(text), not_immutable))}
    assert broken == {}
    assert {"catalogue.upsert_products", "search.nearest", "work.claim"} <= {name for name, _ in listed}


_PLANTED = {
    "UPDATE seesame.products SET updated_at = now() WHERE product_id = :id": "current_timestamp",
    "UPDATE seesame.products SET title = title || random()::text": "random",
    "INSERT INTO seesame.products (product_id) VALUES (:id) ON CONFLICT (product_id) DO UPDATE SET updated_at = now()":
        "current_timestamp",
    "UPDATE seesame.products SET product_id = :new WHERE product_id = :id": "product_id is changed",
    "SELECT * FROM seesame.products p, LATERAL (SELECT * FROM seesame.product_images i"
    " WHERE i.product_id = p.product_id LIMIT 1) AS one": "LATERAL",
    "SELECT * FROM seesame.products p, LATERAL (SELECT max(position) FROM seesame.product_images i"
    " WHERE i.product_id = p.product_id) AS one": "LATERAL",
    "SELECT * FROM seesame.product_images FOR UPDATE SKIP LOCKED": "SKIP LOCKED",
    "SELECT * FROM seesame.products WHERE category = :category FOR UPDATE": "several shards",
    "SELECT * FROM seesame.products p JOIN seesame.product_images i ON i.source = p.url": "not joined by product_id",
    "SELECT * FROM seesame.product_images i WHERE NOT EXISTS (SELECT FROM seesame.embeddings_1 e"
    " WHERE e.image_id = i.image_id)": "not joined by product_id",
    "SELECT * FROM seesame.products p, seesame.product_images i": "not joined by product_id",
    "SELECT * FROM seesame.image_work w LEFT JOIN seesame.product_images i USING (product_id, image_id)": "local table",
    "SELECT * FROM seesame.product_images i WHERE NOT EXISTS (SELECT FROM seesame.image_work w"
    " WHERE w.product_id = i.product_id)": "local table",
    "DELETE FROM seesame.image_work WHERE product_id NOT IN (SELECT product_id FROM seesame.products)": "other kind",
    "WITH gone AS (DELETE FROM seesame.image_work RETURNING product_id, image_id)"
    " SELECT * FROM gone JOIN seesame.product_images USING (product_id, image_id)": "other kind",
    "WITH page AS (SELECT :id AS product_id) SELECT * FROM page LEFT JOIN seesame.products USING (product_id)":
        "outer join",
    "SELECT count(*) FROM (SELECT FROM seesame.products LIMIT 10) AS counted": "without columns",
    "SELECT * FROM seesame.embeddings_1 e ORDER BY e.image_embedding <=> (SELECT image_embedding"
    " FROM seesame.embeddings_1 WHERE product_id = :id)": "no parameter",
}  # fmt: skip


@pytest.mark.parametrize(("statement", "said"), _PLANTED.items())
def test_a_broken_rule_is_found(statement: str, said: str, not_immutable: set[str]) -> None:
    """Each rule finds the statement that breaks it."""
    assert any(said in found for found in violations(statement, not_immutable))


def _distributed_tables(database: Database) -> list[str]:
    with database.transaction() as connection:
        spaces.register(connection, SpaceIdentity("m", "d" * 64, 2), "candidate")
        rows = connection.execute(
            "SELECT relname FROM pg_class WHERE relnamespace = 'seesame'::regnamespace AND relkind = 'r'"
        ).fetchall()
    return sorted({row[0] for row in rows} - LOCAL)


def _without_product(database: Database, tables: list[str]) -> list[tuple[str, ...]]:
    """Keys, unique indexes and references that leave product_id out, on either side."""
    with database.transaction() as connection:
        return connection.execute(
            """
            WITH tables AS (SELECT ('seesame.' || name)::regclass AS oid FROM unnest(%(tables)s::text[]) AS name),
            columns AS (SELECT attrelid, attnum FROM pg_attribute WHERE attname = 'product_id')
            SELECT c.conrelid::regclass::text, pg_get_constraintdef(c.oid) FROM pg_constraint c
            WHERE c.contype IN ('p', 'u', 'x', 'f') AND (c.conrelid IN (TABLE tables) OR c.confrelid IN (TABLE tables))
              AND NOT EXISTS (
                SELECT FROM columns own, generate_subscripts(c.conkey, 1) AS place
                WHERE own.attrelid = c.conrelid AND own.attnum = c.conkey[place]
                  AND (c.contype <> 'f' OR (c.confrelid, c.confkey[place]) IN (TABLE columns)))
            UNION ALL
            SELECT i.indrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
            WHERE i.indisunique AND i.indrelid IN (TABLE tables)
              AND NOT EXISTS (SELECT FROM columns c WHERE c.attrelid = i.indrelid AND c.attnum = ANY (i.indkey))
            UNION ALL
            SELECT t.tgrelid::regclass::text, pg_get_triggerdef(t.oid) FROM pg_trigger t
            WHERE NOT t.tgisinternal AND t.tgrelid IN (TABLE tables)
            """,
            {"tables": tables},
        ).fetchall()


def test_every_key_and_reference_holds_the_product(database: Database) -> None:
    """Of the catalogue and of a space's vectors; and there is no trigger."""
    tables = _distributed_tables(database)
    assert tables == ["embeddings_1", "product_images", "products"]
    assert _without_product(database, tables) == []


@pytest.mark.parametrize(
    ("change", "table"),
    [
        ("ALTER TABLE seesame.products ADD UNIQUE (url)", "seesame.products"),
        ("CREATE UNIQUE INDEX ON seesame.product_images (image_id)", "seesame.product_images"),
        (
            "ALTER TABLE seesame.products ADD COLUMN twin text REFERENCES seesame.products",
            "seesame.products",
        ),
        (
            "CREATE TRIGGER t BEFORE UPDATE ON seesame.products"
            " FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()",
            "seesame.products",
        ),
    ],
)
def test_a_key_without_the_product_is_found(database: Database, change: str, table: str) -> None:
    """The look at the catalogue finds what Citus would refuse."""
    tables = _distributed_tables(database)
    with database.transaction() as connection:
        connection.execute(change.encode())
    assert [row[0] for row in _without_product(database, tables)][:1] == [table]


def test_no_statement_gets_a_generic_plan(database: Database) -> None:
    """Citus cannot choose the shard of a product from one."""
    with database.transaction() as connection:
        assert connection.prepare_threshold is None
