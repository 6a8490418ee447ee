"""Transactions: what they leave behind, and connections that died."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from seesame.db.pool import Database, scalar
from seesame.errors import DatabaseUnavailable


def test_connections_that_died_meanwhile_are_replaced(database: Database) -> None:
    """As after a restart of the server, or behind a firewall that forgets: no request pays for it."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: _wait(database), range(8)))
    with database.session() as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    for _ in range(6):
        _wait(database)


def _wait(database: Database) -> None:
    with database.transaction() as connection:
        connection.execute("SELECT pg_sleep(0.05)")


def test_a_transaction_ends_whole_or_not_at_all_and_leaves_no_settings(database: Database) -> None:
    """What raised is rolled back; a time-out holds for its transaction alone."""
    with database.transaction() as connection:
        connection.execute("CREATE TABLE kept (n integer)")
        usual = scalar(connection, "SHOW statement_timeout")
    with pytest.raises(ZeroDivisionError):
        _raise(database)
    with pytest.raises(DatabaseUnavailable):
        _take_too_long(database)
    with database.transaction() as connection:
        assert scalar(connection, "SELECT count(*) FROM kept") == 0
        assert scalar(connection, "SHOW statement_timeout") == usual


def _raise(database: Database) -> None:
    with database.transaction(timeout_s=77) as connection:
        assert scalar(connection, "SHOW statement_timeout") == "77s"
        connection.execute("INSERT INTO kept VALUES (1)")
        raise ZeroDivisionError


def _take_too_long(database: Database) -> None:
    with database.transaction(timeout_s=0.05) as connection:
        connection.execute("INSERT INTO kept VALUES (2)")
        connection.execute("SELECT pg_sleep(5)")
