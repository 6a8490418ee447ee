"""Spreads the catalogue over the workers of a Citus cluster.

The tables are distributed by product: a product, its images and their vectors are on the same shard. The registries and
the list of work stay on the coordinator. `docs/scaling.md` says when that is worth it.
"""

import logging
from collections.abc import Callable
from typing import NamedTuple

from psycopg import sql

from seesame.db.pool import Connection, Database, pgvector_version, scalar, set_local
from seesame.db.statements import statements
from seesame.errors import DatabaseUnsuitable, InvalidInput

_log = logging.getLogger(__name__)
_SQL = statements("distribution")
_LIST_INDEXES = statements("indexes")["list_indexes"]

_ROOT = "products"  # the others are distributed with it


class Plan(NamedTuple):
    """What is distributed already and what would be, parents first; tables of the schema `seesame`."""

    workers: int
    shards: int
    done: list[str]
    due: list[str]


def plan(connection: Connection, shards: int | None = None) -> Plan:
    """How the catalogue would be distributed, by default over one shard a worker.

    Raises:
        DatabaseUnsuitable: no Citus, not its coordinator, no workers, no schema, or vectors that are not pgvector's.
        InvalidInput: `shards` differs from what there is.
    """
    workers = _workers(connection)
    if scalar(connection, "SELECT to_regclass('seesame.spaces') IS NULL"):
        raise DatabaseUnsuitable("The tables are not there yet. Run `seesame db migrate` first.")
    if pgvector_version(connection) is None or connection.execute(_SQL["without_pgvector"]).fetchall():
        raise DatabaseUnsuitable(
            "Vectors can be distributed with pgvector only. Install it on every node, then run `seesame db migrate`."
        )
    tables = connection.execute(_SQL["list_tables"]).fetchall()
    there = next(count for name, _, count in tables if name == _ROOT)
    if there and shards not in (None, there):
        raise InvalidInput(
            "shards", f"The catalogue is distributed over {there} shards; Citus' alter_distributed_table changes that."
        )
    return Plan(
        workers,
        shards=there or shards or workers,
        done=[name for name, distributed, _ in tables if distributed],
        due=[name for name, distributed, _ in tables if not distributed],
    )


def distribute(database: Database, shards: int | None, on_table: Callable[[str], None]) -> None:
    """Distributes all tables that are not, in one transaction, for which searches and writes wait.

    HNSW indexes are dropped: a graph that grows while rows are copied takes many times as long as one that is built
    afterwards, which `indexes.ensure` does.

    Args:
        on_table: called before each table.

    Raises:
        DatabaseUnsuitable, InvalidInput: as `plan`.
    """
    with database.session() as connection:
        with connection.transaction():
            plan(connection, shards)  # refuses before anything is locked
            connection.execute(_SQL["no_new_spaces"])
            planned = plan(connection, shards)
            # The references between the tables would meet themselves on several connections to a worker.
            set_local(connection, citus__multi_shard_modify_mode="sequential")
            for name in planned.due:
                on_table(name)
                _move(connection, name, planned.shards)
            for name in planned.due:  # after the last: none may be emptied that a local table refers to
                connection.execute(_SQL["free_coordinator"], {"table": f"seesame.{name}"})
        for name in planned.due:
            connection.execute(_SQL["analyze"].format(table=sql.Identifier("seesame", name)))
    if planned.due:
        _log.info("Distributed %s over %d shards", ", ".join(planned.due), planned.shards)


def follow(connection: Connection, name: str) -> None:
    """Distributes a new, empty table of vectors where the products are distributed: onto the shards of its products."""
    if scalar(connection, _SQL["is_installed"]):
        tables = connection.execute(_SQL["list_tables"]).fetchall()
        if any(distributed for table, distributed, _ in tables if table == _ROOT):
            connection.execute(_SQL["colocate"], {"table": f"seesame.{name}"})


def _workers(connection: Connection) -> int:
    if not scalar(connection, _SQL["is_installed"]):
        raise DatabaseUnsuitable(
            "Citus is not in this database. CREATE EXTENSION citus on every node, then add the workers: citus_add_node."
        )
    is_coordinator, workers = connection.execute(_SQL["cluster"]).fetchall()[0]
    if not is_coordinator:
        raise DatabaseUnsuitable("This is a worker of the cluster. Let DATABASE_URL name the coordinator.")
    if not workers:
        raise DatabaseUnsuitable("The cluster has no workers. Add them on the coordinator with citus_add_node.")
    return int(workers)


def _move(connection: Connection, name: str, shards: int) -> None:
    table = f"seesame.{name}"
    for index, _ in connection.execute(_LIST_INDEXES, {"table": table}).fetchall():
        connection.execute(_SQL["drop_index"].format(index=sql.SQL(index)))
    connection.execute(_SQL["distribute" if name == _ROOT else "colocate"], {"table": table, "shards": shards})
