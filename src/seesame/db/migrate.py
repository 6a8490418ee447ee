"""Brings the schema up to date: numbered SQL files, each in a transaction, all under one session advisory lock."""

import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

import psycopg
from psycopg.rows import class_row

from seesame.db import conversion
from seesame.db.pool import Connection, Database, pgvector_version, scalar, translated
from seesame.db.spaces import follow_writes, list_spaces
from seesame.errors import DatabaseUnsuitable

_log = logging.getLogger(__name__)

_LOCK = 0x5EE5A3E  # any number that no other program takes


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; `applied_at` is None while it is due."""

    version: int
    name: str
    applied_at: datetime | None = None


def migrate(database: Database) -> list[Migration]:
    """Applies what is due and returns it. Any number of processes may do so at once.

    pgvector is installed where its files are there and the user may; without it, search is exact.

    Raises:
        DatabaseUnavailable: not reached.
        DatabaseUnsuitable: the database user may not create the schema, or the schema is newer than this program.
    """
    applied = []
    with database.session() as connection:
        connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK])  # ends with the session, however that ends
        _install_pgvector(connection)
        _create_registry(connection)
        known = {migration.version for migration in _applied(connection)}
        files = _files()
        if known - {migration.version for migration in files}:
            raise DatabaseUnsuitable("The database was written by a newer Seesame. Update this one.")
        for migration in files:
            if migration.version not in known:
                _apply(connection, migration)
                applied.append(migration)
        for space in list_spaces(connection):
            if space.vector_type == "real[]":
                with connection.transaction():
                    follow_writes(connection, space.space_id)
    if waiting := conversion.due(database):
        names = ", ".join(space.key for space in waiting)
        _log.warning("⚠️ pgvector is here, but %s not converted to it yet; run: seesame db migrate", names)
    return applied


def status(database: Database) -> list[Migration]:
    """Every migration that this program knows, with the time it was applied."""
    with database.session() as connection:
        begun = scalar(connection, "SELECT to_regclass('seesame.migrations') IS NOT NULL")
        done = {m.version: m for m in _applied(connection)} if begun else {}
    return [done.get(migration.version, migration) for migration in _files()]


def _install_pgvector(connection: Connection) -> None:
    if pgvector_version(connection) is not None:
        return
    with contextlib.suppress(
        psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported, psycopg.errors.UndefinedFile
    ):
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    if pgvector_version(connection) is None:  # an old one is there and stays as it is
        _log.warning("⚠️ pgvector is not available, using exact similarity search")


def _create_registry(connection: Connection) -> None:
    with translated(), connection.transaction():
        if scalar(connection, "SELECT to_regnamespace('seesame') IS NULL"):
            connection.execute("CREATE SCHEMA seesame")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS seesame.migrations"
            " (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
        )


def _applied(connection: Connection) -> list[Migration]:
    with connection.cursor(row_factory=class_row(Migration)) as cursor:
        return cursor.execute("SELECT version, name, applied_at FROM seesame.migrations ORDER BY version").fetchall()


def _apply(connection: Connection, migration: Migration) -> None:
    text = _folder().joinpath(f"{migration.name}.sql").read_text()
    with connection.transaction():
        connection.execute(text.encode())
        connection.execute(
            "INSERT INTO seesame.migrations (version, name) VALUES (%s, %s)",
            [migration.version, migration.name],
        )
    _log.info("Applied migration %s", migration.name)


def _files() -> list[Migration]:
    names = sorted(file.name.removesuffix(".sql") for file in _folder().iterdir() if file.name.endswith(".sql"))
    return [Migration(int(name.split("_", 1)[0]), name) for name in names]


def _folder() -> resources.abc.Traversable:
    return resources.files("seesame.db").joinpath("migrations")
