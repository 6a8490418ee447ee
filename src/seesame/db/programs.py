"""PostgreSQL's own programs, such as psql and pg_dump, on the database."""

import contextlib
import os
import subprocess
from collections.abc import Sequence

from psycopg.pq import Conninfo

from seesame.db.embedded import binaries
from seesame.errors import DatabaseUnsuitable


def run(dsn: str, command: Sequence[str]) -> int:
    """Runs a program and returns its exit code.

    Those that come with the embedded PostgreSQL are taken before others on the `PATH`, for a server of the shop's, too:
    pg_dump must be as new as the server, pg_restore as new as pg_dump. The connection is in the variables that they
    read (PGHOST and so on): arguments would show a password to others.

    Raises:
        DatabaseUnsuitable: there is no such program.
    """
    options = Conninfo.parse(dsn.encode())
    connection = {o.envvar.decode(): o.val.decode() for o in options if o.envvar and o.val is not None}
    path = os.environ.get("PATH", os.defpath)
    with contextlib.suppress(DatabaseUnsuitable):  # there are none for this platform
        path = f"{binaries()}{os.pathsep}{path}"
    try:
        return subprocess.call(list(command), env=os.environ | connection | {"PATH": path})
    except FileNotFoundError as error:
        raise DatabaseUnsuitable(
            f"There is no program {command[0]}. Install PostgreSQL's client, or name the program by its path."
        ) from error
