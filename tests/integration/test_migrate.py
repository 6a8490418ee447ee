"""Migrations: many at once, again, and where rights or pgvector are missing."""

import shutil
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from seesame.db import spaces
from seesame.db.catalogue import upsert_products
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.migrate import migrate, status
from seesame.db.pool import Database, connect, scalar
from seesame.errors import DatabaseUnavailable, DatabaseUnsuitable
from seesame.types import Product, SpaceIdentity

_MIGRATE = """
import sys
from seesame.db.migrate import migrate
from seesame.db.pool import Database, pgvector_version
print(len(migrate(Database(sys.argv[1]))))
"""


def test_migrations_are_recorded_and_applied_once(empty_dsn: str) -> None:
    """The first run applies all, the second none, and the status tells when."""
    database = Database(empty_dsn)
    assert all(migration.applied_at is None for migration in status(database))
    applied = migrate(database)
    assert [m.name for m in applied] == [m.name for m in status(database)]
    assert all(migration.applied_at is not None for migration in status(database))
    assert migrate(database) == []


def test_eight_processes_at_once_all_succeed(empty_dsn: str) -> None:
    """One of them applies each migration, the others wait and find it done."""
    processes = [
        subprocess.Popen([sys.executable, "-c", _MIGRATE, empty_dsn], stdout=subprocess.PIPE, text=True)
        for _ in range(8)
    ]
    counts = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert [process.returncode for process in processes] == [0] * 8
    assert sorted(counts) == [0] * 7 + [len(status(Database(empty_dsn)))]


def test_spaces_of_before_the_change_of_models_keep_their_right_to_take_over(empty_dsn: str) -> None:
    """And their models are found again by the name that they have."""
    first = resources.files("seesame.db").joinpath("migrations", "0001_catalogue.sql").read_text()
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("CREATE SCHEMA seesame")
        connection.execute(first.encode())
        connection.execute(
            "CREATE TABLE seesame.migrations (version integer PRIMARY KEY, name text, applied_at timestamptz)"
        )
        connection.execute("INSERT INTO seesame.migrations VALUES (1, '0001_catalogue', now())")
        for role in ("primary", "fallback", "candidate", "retired"):
            connection.execute(
                "INSERT INTO seesame.spaces (key, model, digest, dimensions, role) VALUES (%s, %s, 'd', 3, %s)",
                [f"{role}@0", role, role],
            )
    migrate(Database(empty_dsn))
    with psycopg.connect(empty_dsn) as connection:
        rows = connection.execute("SELECT role, automatic, source FROM seesame.spaces ORDER BY space_id").fetchall()
    assert rows == [
        ("primary", True, "primary"), ("fallback", False, None), ("candidate", True, "candidate"),
        ("retired", False, "retired"),
    ]  # fmt: skip


def test_a_schema_from_the_future_is_refused(empty_dsn: str) -> None:
    """An old program does not write into a newer schema."""
    database = Database(empty_dsn)
    migrate(database)
    with psycopg.connect(empty_dsn) as connection:
        connection.execute("INSERT INTO seesame.migrations (version, name) VALUES (9999, '9999_future')")
    with pytest.raises(DatabaseUnsuitable, match="newer"):
        migrate(database)


def test_who_holds_a_lock_for_too_long_is_told(dsn: str, tmp_path: Path) -> None:
    """Nothing of the migration stays, and once the lock is gone it is applied."""
    shutil.copytree(Path(str(resources.files("seesame.db"))) / "migrations", tmp_path / "migrations")
    (tmp_path / "migrations" / "9000_test.sql").write_text("ALTER TABLE seesame.products ADD COLUMN tested integer")
    database = Database(dsn)
    with psycopg.connect(dsn, application_name="a report") as holder:
        holder.execute("SELECT FROM seesame.products LIMIT 1")
        with pytest.raises(DatabaseUnavailable, match=rf"9000_test .* process {holder.info.backend_pid} \(a report, "):
            migrate(database, folder=tmp_path / "migrations", patience_s=0)
    assert [m.name for m in migrate(database, folder=tmp_path / "migrations", patience_s=0)] == ["9000_test"]


def test_an_index_is_built_beside_the_writers_and_anew_after_a_try_that_was_cut_off(dsn: str, tmp_path: Path) -> None:
    """A writer that has not ended yet holds up the migration, not other writers; what the try leaves is replaced."""
    shutil.copytree(Path(str(resources.files("seesame.db"))) / "migrations", tmp_path / "migrations")
    statement = "CREATE INDEX CONCURRENTLY tested ON seesame.products (url)"
    (tmp_path / "migrations" / "9000_test.sql").write_text(statement)
    database = Database(dsn)
    with ThreadPoolExecutor() as pool, connect(dsn) as writer, connect(dsn) as other, writer.transaction():
        upsert_products(writer, [Product("1", title="One")])
        cut = pool.submit(migrate, database, folder=tmp_path / "migrations", patience_s=1.5)
        while scalar(other, "SELECT to_regclass('seesame.tested')") is None:
            assert not cut.done()
        other.execute("SET lock_timeout = '1s'")
        upsert_products(other, [Product("2", title="Two")])
        assert not cut.done()
        with pytest.raises(DatabaseUnavailable, match=f"process {writer.info.backend_pid}"):
            cut.result()
    migrate(database, folder=tmp_path / "migrations")
    with connect(dsn) as connection:
        assert scalar(connection, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'seesame.tested'::regclass")


def test_a_missing_right_is_told(empty_dsn: str, postgres: EmbeddedPostgres) -> None:
    """A user who may create nothing gets an error of ours, not the driver's."""
    role = f"nobody_{uuid.uuid4().hex}"
    with psycopg.connect(empty_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        with pytest.raises(DatabaseUnsuitable, match="right"):
            migrate(Database(make_conninfo(empty_dsn, user=role)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def test_an_unreachable_database_is_told() -> None:
    """Nobody listens there."""
    with pytest.raises(DatabaseUnavailable):
        migrate(Database("host=127.0.0.1 port=1 dbname=none"))


def test_a_pgvector_that_is_too_old_is_not_used(database: Database, caplog: pytest.LogCaptureFixture) -> None:
    """Iterative scans came with 0.8; with less, search is exact, and the log says so."""
    with database.transaction() as connection:
        connection.execute("UPDATE pg_extension SET extversion = '0.7.4' WHERE extname = 'vector'")
    migrate(database)
    assert "pgvector is not available" in caplog.text
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 8), "fallback")
    assert space.vector_type == "real[]"


def test_with_pgvector_vectors_are_halfvec(database: Database) -> None:
    """The normal case, for contrast."""
    with database.transaction() as connection:
        space = spaces.register(connection, SpaceIdentity("toy", "0" * 64, 8), "fallback")
    assert space.vector_type == "halfvec"
