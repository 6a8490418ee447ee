"""Connections to PostgreSQL, and its errors in our words."""

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from seesame.errors import DatabaseUnavailable, DatabaseUnsuitable, StorageFull, TableInUse

_log = logging.getLogger(__name__)

Connection = psycopg.Connection[TupleRow]

MINIMUM_VERSION = 140_000
_PGVECTOR_SINCE = (0, 8)
QUERY_TIMEOUT_S = 10.0
_CONNECT_TIMEOUT_S = 5
_WAIT_S = 2.0  # for a free connection; then the request is better told to come again
_RECONNECT_S = 0.5  # after so long without success the next request tries anew, instead of waiting out a back-off
LOCK_WAIT_MS = 500  # less than PostgreSQL's deadlock_timeout: if two wait for each other, who waits so yields
_LOCK_TRIES = 120
_TURN_S = 0.5  # after so long one that waits counts as the next


@contextmanager
def translated() -> Iterator[None]:
    """Turns the driver's errors that are nobody's bug into ours; all others pass."""
    try:
        yield
    except psycopg.errors.DiskFull as error:
        raise StorageFull("The database has no room left.") from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseUnsuitable("The database user lacks a right; give it CREATE on the database.") from error
    except psycopg.errors.QueryCanceled as error:
        raise DatabaseUnavailable("The database took too long to answer.") from error
    except psycopg.errors.LockNotAvailable as error:
        raise TableInUse("A table is in use by a long transaction. Try again in a moment.") from error
    except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure) as error:
        raise DatabaseUnavailable("The database was asked for conflicting changes at once.") from error
    except psycopg.errors.ReadOnlySqlTransaction as error:  # as during a failover, or where a host guards a full disk
        raise DatabaseUnavailable("The database takes no changes now.") from error
    except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
        raise DatabaseUnavailable("The database cannot be reached.") from error


@dataclass(frozen=True, slots=True)
class PoolCounts:
    """Connections now, how many wait for one, and what was asked of the pool so far."""

    size: int
    idle: int
    waiting: int
    requests: int
    wait_s: float
    lost: int


class Database:
    """A pool of connections. Safe to use from several threads.

    All state that a query needs is set for its transaction alone, so that a pooler may stand between.
    """

    def __init__(self, dsn: str, *, max_size: int = 8) -> None:
        self.dsn = dsn
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            dsn,
            # No prepared statements: a generic plan does not know which filter is narrow.
            kwargs={
                "autocommit": True,  # transactions are begun together with their settings, in one round trip
                "connect_timeout": _CONNECT_TIMEOUT_S,
                "prepare_threshold": None,
                "application_name": "seesame",
            },
            min_size=1,
            max_size=max_size,
            timeout=_WAIT_S,
            reconnect_timeout=_RECONNECT_S,
            open=False,
            name="seesame",
        )

    def open(self) -> None:
        """Opens the pool.

        Raises:
            DatabaseUnavailable: no connection within five seconds.
        """
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        with translated():
            self._pool.open(wait=True, timeout=_CONNECT_TIMEOUT_S)

    def close(self) -> None:
        """Closes the pool."""
        self._pool.close()

    @property
    def counts(self) -> PoolCounts:
        """How busy the pool is. Asks the database nothing."""
        of = self._pool.get_stats()  # leaves out what is 0
        return PoolCounts(
            size=of.get("pool_size", 0),
            idle=of.get("pool_available", 0),
            waiting=of.get("requests_waiting", 0),
            requests=of.get("requests_num", 0),
            wait_s=of.get("requests_wait_ms", 0) / 1000,
            lost=of.get("connections_lost", 0),
        )

    @contextmanager
    def transaction(self, *, timeout_s: float = QUERY_TIMEOUT_S) -> Iterator[Connection]:
        """One transaction; each of its statements may take `timeout_s`.

        Raises:
            DatabaseUnavailable: not reached, or too slow.
            StorageFull: the disk is full.
        """
        with translated():
            connection = self._begun(timeout_s)
            try:
                yield connection
                connection.commit()
            except BaseException:
                with suppress(psycopg.Error):
                    connection.rollback()
                raise
            finally:
                self._pool.putconn(connection)

    def _begun(self, timeout_s: float) -> Connection:
        """A connection in a new transaction. Those that died while nobody used them are found by that, and dropped."""
        # Citus then passes what is set for the transaction on to the shards; elsewhere the setting means nothing.
        begin = "BEGIN; SET LOCAL citus.propagate_set_commands = 'local'; "
        begin += f"SET LOCAL statement_timeout = {round(timeout_s * 1000)}"
        for _ in range(self._pool.max_size):
            connection = self._free()
            try:
                connection.execute(begin.encode())
            except psycopg.OperationalError:
                self._pool.putconn(connection)
            except BaseException:
                self._pool.putconn(connection)
                raise
            else:
                return connection
        raise DatabaseUnavailable("The database cannot be reached.")

    def _free(self) -> Connection:
        """A free connection, asked for in turns: a pool connects anew for who comes, not for who waits already."""
        until = time.monotonic() + _WAIT_S
        while True:
            try:
                return self._pool.getconn(timeout=_TURN_S)
            except PoolTimeout:
                if time.monotonic() > until:
                    raise

    @contextmanager
    def session(self) -> Iterator[Connection]:
        """A connection of its own with autocommit, outside the pool: for LISTEN and migrations."""
        with translated(), connect(self.dsn) as connection:
            yield connection


def connect(dsn: str) -> Connection:
    """A single connection with autocommit."""
    with translated():
        connection = psycopg.connect(
            dsn, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_S, application_name="seesame"
        )
    if connection.info.server_version < MINIMUM_VERSION:
        connection.close()
        raise DatabaseUnsuitable("PostgreSQL is too old: 14 or newer is needed.")
    return connection


def scalar(
    connection: Connection,
    statement: LiteralString | sql.SQL | sql.Composed,
    parameters: Mapping[str, Any] | None = None,
) -> Any:
    """The first column of the first row; None where there is no row."""
    row = connection.execute(statement, parameters).fetchone()
    return None if row is None else row[0]


def pgvector_version(connection: Connection) -> str | None:
    """The version of the installed extension; None where it is missing or too old for `halfvec` and iterative scans."""
    row = connection.execute("SELECT extversion FROM pg_extension WHERE extname = 'vector'").fetchone()
    if row is None or tuple(int(part) for part in row[0].split(".")[:2]) < _PGVECTOR_SINCE:
        return None
    return str(row[0])


def set_local(connection: Connection, **settings: Any) -> None:
    """Server settings that end with the transaction. `__` in a name stands for a dot.

    By `SET LOCAL`: Citus does not see what `set_config` does.
    """
    one = sql.SQL("SET LOCAL {} = {}")
    connection.execute(
        sql.SQL("; ").join(
            one.format(sql.Identifier(*name.split("__")), sql.Literal(str(value))) for name, value in settings.items()
        )
    )


def patiently(connection: Connection, work: Callable[[], None]) -> None:
    """Does `work` in a transaction, anew until it gets its locks; what queues behind it waits half a second at a time.

    Raises:
        DatabaseUnavailable: a transaction that has used the tables for a minute does not end.
    """
    for _ in range(_LOCK_TRIES):
        try:
            with connection.transaction():
                set_local(connection, lock_timeout=f"{LOCK_WAIT_MS}ms")
                work()
                return
        except psycopg.errors.LockNotAvailable:
            time.sleep(random.uniform(0.1, 0.9))  # noqa: S311 - only so that two do not meet again
    raise DatabaseUnavailable("The tables of vectors are in use by a long transaction. Run it again later.")
