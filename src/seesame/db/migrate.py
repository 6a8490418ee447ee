"""Brings the schema up to date: numbered SQL files, each in a transaction, all under one session advisory lock.

A statement that waits for a lock on a table keeps all later writers of that table waiting behind it. So it waits for
two seconds only; then the transaction is rolled back, the writers get their turn, and it is tried again.

An index on a table that is in use is built beside the writers: a file that holds one CREATE INDEX CONCURRENTLY, and
nothing else, runs outside a transaction, and from its beginning where an earlier try was cut off.
"""

import contextlib
import logging
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from importlib import resources
from importlib.resources.abc import Traversable

import psycopg
from psycopg import sql
from psycopg.rows import class_row

from seesame.db import conversion
from seesame.db.pool import Connection, Database, pgvector_version, scalar, set_local, translated
from seesame.db.spaces import follow_writes, list_spaces
from seesame.db.statements import statements
from seesame.errors import DatabaseUnavailable, DatabaseUnsuitable

_log = logging.getLogger(__name__)
_SQL = statements("migrate")

LOCK_TIMEOUT_S = 2.0
_PATIENCE_S = 60.0
_PAUSE_S = 1.0  # for those who queued behind
_LOOK_S = 0.5
_TURN_S = 0.05

_LOCK = 0x5EE5A3E  # any number that no other program takes
_BESIDE = re.compile(r"^CREATE INDEX CONCURRENTLY (\w+)", re.MULTILINE)
_FOLDER = resources.files("seesame.db").joinpath("migrations")


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file; `applied_at` is None while it is due."""

    version: int
    name: str
    applied_at: datetime | None = None


def migrate(database: Database, *, folder: Traversable = _FOLDER, patience_s: float = _PATIENCE_S) -> list[Migration]:
    """Applies what is due and returns it. Any number of processes may do so at once.

    pgvector is installed where its files are there and the user may; without it, search is exact.

    Args:
        folder: where the numbered files are.
        patience_s: for how long a change is tried again while others hold locks that it needs.

    Raises:
        DatabaseUnavailable: not reached, or others hold a lock for too long; the message names them.
        DatabaseUnsuitable: the database user may not create the schema, or the schema is newer than this program.
    """
    applied = []
    with database.session() as connection:
        _await_turn(connection)
        _install_pgvector(connection)
        _create_registry(connection)
        known = {migration.version for migration in _applied(connection)}
        files = _files(folder)
        if known - {migration.version for migration in files}:
            raise DatabaseUnsuitable("The database was written by a newer Seesame. Update this one.")
        patient = _Patient(database, connection, patience_s)
        for migration in files:
            if migration.version not in known:
                text = folder.joinpath(f"{migration.name}.sql").read_text()
                beside = _BESIDE.search(text)
                patient.change(
                    f"Migration {migration.name}",
                    partial(_apply, connection, migration, text, beside[1] if beside else None),
                    beside=beside is not None,
                )
                _log.info("Applied migration %s", migration.name)
                applied.append(migration)
        for space in list_spaces(connection):
            if space.vector_type == "real[]":
                patient.change(f"The table of {space.key}", partial(follow_writes, connection, space.space_id))
    if waiting := conversion.due(database):
        names = ", ".join(space.key for space in waiting)
        _log.warning("⚠️ pgvector is here, but %s not converted to it yet; run: seesame db migrate", names)
    return applied


def status(database: Database) -> list[Migration]:
    """Every migration that this program knows, with the time it was applied."""
    with database.session() as connection:
        begun = scalar(connection, "SELECT to_regclass('seesame.migrations') IS NOT NULL")
        done = {m.version: m for m in _applied(connection)} if begun else {}
    return [done.get(migration.version, migration) for migration in _files(_FOLDER)]


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


def _await_turn(connection: Connection) -> None:
    """Takes the lock of migrations, which ends with the session, however that ends.

    By asking again and again: who waits inside a statement holds a snapshot, and the index that the other one builds
    concurrently would wait for that.
    """
    while not scalar(connection, "SELECT pg_try_advisory_lock(%(lock)s)", {"lock": _LOCK}):
        time.sleep(_TURN_S)


def _apply(connection: Connection, migration: Migration, text: str, index: str | None) -> None:
    if index is not None:  # what an earlier try left is invalid
        connection.execute(sql.SQL("DROP INDEX CONCURRENTLY IF EXISTS {}").format(sql.Identifier("seesame", index)))
    connection.execute(text.encode())
    connection.execute(
        "INSERT INTO seesame.migrations (version, name) VALUES (%s, %s)", [migration.version, migration.name]
    )


@dataclass(frozen=True, slots=True)
class _Patient:
    """Makes changes beside a shop that is at work."""

    database: Database
    connection: Connection
    patience_s: float

    def change(self, what: str, step: Callable[[], None], *, beside: bool = False) -> None:
        """Runs a step in a transaction, again and again while others hold locks that it needs.

        `beside`: it runs outside a transaction, and while it waits nobody waits for it.
        """
        until = time.monotonic() + self.patience_s
        while True:
            blockers = "others"
            with ThreadPoolExecutor(1) as pool:
                running = pool.submit(self._beside if beside else self._once, step)
                while not wait([running], _LOOK_S).done:
                    blockers = self._blockers() or blockers
            try:
                return running.result()
            except psycopg.errors.LockNotAvailable as error:
                told = f"{what} needs a lock that is held by {blockers}."
                if time.monotonic() > until:
                    raise DatabaseUnavailable(f"{told} End that, then migrate again.") from error
                _log.warning("%s Trying again", told)
                time.sleep(_PAUSE_S)

    def _once(self, step: Callable[[], None]) -> None:
        with self.connection.transaction():
            set_local(self.connection, lock_timeout=f"{round(LOCK_TIMEOUT_S * 1000)}ms")
            step()

    def _beside(self, step: Callable[[], None]) -> None:
        patience = sql.Literal(f"{round(self.patience_s * 1000) + 1}ms")  # 0 would be for ever
        self.connection.execute(sql.SQL("SET lock_timeout = {}").format(patience))
        try:
            step()
        finally:
            self.connection.execute("RESET lock_timeout")

    def _blockers(self) -> str:
        """Whom the connection waits for, in words; empty if for nobody."""
        with self.database.session() as connection:
            found = connection.execute(_SQL["blockers"], {"pid": self.connection.info.backend_pid}).fetchall()
        return ", ".join(f"process {pid} ({name or 'unnamed'}, for {age_s} s)" for pid, name, age_s in found)


def _files(folder: Traversable) -> list[Migration]:
    names = sorted(file.name.removesuffix(".sql") for file in folder.iterdir() if file.name.endswith(".sql"))
    return [Migration(int(name.split("_", 1)[0]), name) for name in names]
