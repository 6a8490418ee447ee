"""Migrations by many processes of which one is killed, and beside a shop that is at work."""

import random
import re
import shutil
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from seesame.db import migrate as migrations
from seesame.db.embedded import EmbeddedPostgres, binaries
from seesame.db.pool import Database
from tests.faults.conftest import Figures
from tests.faults.processes import eventually
from tests.faults.sizes import SIZES

PROCESSES = 8
SEED = 7
WRITERS = 3
MORE_S = 1

_MIGRATOR = """
import sys
from seesame.db.migrate import migrate
from seesame.db.pool import Database
print("ready", flush=True)
for dsn in sys.stdin:
    print(len(migrate(Database(dsn.strip()))), flush=True)
"""


class Migrator:
    """A process that migrates the databases it is told, one after the other."""

    def __init__(self) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen([sys.executable, "-c", _MIGRATOR], stdin=pipe, stdout=pipe, text=True)

    def tell(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        """The next line that it says; empty if it ended instead."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@contextmanager
def _new_database(postgres: EmbeddedPostgres) -> Iterator[str]:
    name = sql.Identifier(f"fresh_{uuid.uuid4().hex}")
    with psycopg.connect(postgres.dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        yield make_conninfo(postgres.dsn, dbname=name.as_string().strip('"'))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


def _schema(dsn: str) -> str:
    """All that the schema consists of, and which migrations were recorded."""
    command = [str(binaries() / "pg_dump"), "--schema-only", dsn]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    with psycopg.connect(dsn) as connection:
        names = connection.execute("SELECT version, name FROM seesame.migrations ORDER BY version").fetchall()
    return re.sub(r"^\\(un)?restrict .*$", "", text, flags=re.MULTILINE) + str(names)


def test_one_of_many_processes_that_migrate_is_killed(postgres: EmbeddedPostgres, dsn: str, figures: Figures) -> None:
    """The others finish what it had begun, and every database has the whole schema."""
    drawn = random.Random(SEED)
    whole, different, failed, hit = _schema(dsn), 0, 0, 0
    with ExitStack() as ending:

        def started() -> Migrator:
            migrator = Migrator()
            ending.callback(migrator.kill)
            assert migrator.answer() == "ready"
            return migrator

        migrators = [started() for _ in range(PROCESSES)]
        takes_s = 0.0
        for round_ in range(SIZES.migrations + 1):
            with _new_database(postgres) as fresh:
                began = time.monotonic()
                for migrator in migrators:
                    migrator.tell(fresh)
                if round_:
                    time.sleep(drawn.uniform(0, takes_s))
                    victim = migrators.pop(drawn.randrange(PROCESSES))
                    victim.process.kill()
                    hit += victim.answer() == ""
                failed += sum(migrator.answer() == "" for migrator in migrators)
                if round_:
                    migrators.append(started())
                else:  # none is killed: to know how long it takes
                    takes_s = time.monotonic() - began
                different += _schema(fresh) != whole
    name = f"{PROCESSES} processes migrate {SIZES.migrations} databases, one killed in each"
    figures.tell(f"{name}: killed before it was done", f"{hit} of {SIZES.migrations}, at moments in {takes_s:.2f} s")
    figures.none(f"{name}: others that failed", failed)
    figures.none(f"{name}: databases without the whole schema", different)


def test_a_migration_does_not_hold_up_the_shop(
    dsn: str, tmp_path: Path, figures: Figures, caplog: pytest.LogCaptureFixture
) -> None:
    """While a long transaction has a lock that it needs, writes go on with short waits; then it comes about."""
    shutil.copytree(Path(migrations.__file__).with_name("migrations"), tmp_path / "migrations")
    (tmp_path / "migrations" / "9000_test.sql").write_text("ALTER TABLE seesame.products ADD COLUMN tested integer")
    stop = threading.Event()

    def write() -> list[float]:
        took_s = []
        with psycopg.connect(dsn, autocommit=True) as connection:
            while not stop.is_set():
                began = time.monotonic()
                connection.execute(
                    "INSERT INTO seesame.products (product_id, title, description, attributes, created_at, updated_at)"
                    " VALUES (gen_random_uuid(), '', '', '{}', now(), now())"
                )
                took_s.append(time.monotonic() - began)
        return took_s

    with ThreadPoolExecutor(WRITERS + 1) as pool, psycopg.connect(dsn, application_name="a report") as holder:
        holder.execute("SELECT FROM seesame.products LIMIT 1")
        writers = [pool.submit(write) for _ in range(WRITERS)]
        try:
            migrating = pool.submit(migrations.migrate, Database(dsn), folder=tmp_path / "migrations")
            eventually(lambda: caplog.text.count("Trying again") > 1)
            assert f"process {holder.info.backend_pid} (a report, " in caplog.text
            holder.rollback()
            assert [migration.name for migration in migrating.result()] == ["9000_test"]
        finally:
            holder.rollback()
            stop.set()
        took_s = [each for writer in writers for each in writer.result()]
    name = "A migration that waits for a long transaction"
    figures.tell(f"{name}: writes meanwhile", f"{len(took_s):,}")
    figures.at_most(f"{name}: the longest of them", max(took_s), migrations.LOCK_TIMEOUT_S + MORE_S, "s")
