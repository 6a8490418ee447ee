"""Named SQL statements, read from the `.sql` files beside this module.

A statement begins with a line `-- name: like_this` and ends where the next begins. Braces are `psycopg.sql`
placeholders, for the tables of vectors; values are passed as parameters.
"""

import re
from functools import cache
from importlib import resources

from psycopg import sql

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def statements(noun: str) -> dict[str, sql.SQL]:
    """All statements of `sql/<noun>.sql` by name."""
    text = resources.files("seesame.db").joinpath("sql", f"{noun}.sql").read_text()
    parts = _NAME.split(text)[1:]
    return {name: sql.SQL(body.strip()) for name, body in zip(parts[::2], parts[1::2], strict=True)}
