"""Spaces and their tables of vectors."""

from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import errors, sql
from psycopg.rows import class_row

from seesame.db.catalogue import now
from seesame.db.distribution import follow
from seesame.db.pool import Connection, pgvector_version, scalar
from seesame.db.statements import statements
from seesame.errors import SpaceChanged
from seesame.types import Role, Space, SpaceIdentity, Vector

_SQL = statements("spaces")

_LOCK = 0x5EE5A40  # serialises changes of the registry
_MAX_INLINE_BYTES = 7_000  # a row must fit into a page of 8 kB


def embeddings_table(space_id: int) -> sql.Identifier:
    """The table that holds the vectors of one space."""
    return sql.Identifier("seesame", f"embeddings_{int(space_id)}")


def vector_literal(vector: Vector, vector_type: str) -> str:
    """A vector as the input text of its column's type."""
    numbers = ",".join(map(repr, vector.tolist()))
    return f"{{{numbers}}}" if vector_type == "real[]" else f"[{numbers}]"


@contextmanager
def meanwhile_changed() -> Iterator[None]:
    """For statements on a space that was read in an earlier transaction.

    Raises:
        SpaceChanged: its table has other columns now.
    """
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction) as error:
        raise SpaceChanged("The vectors were changed meanwhile; try again.") from error


def list_spaces(connection: Connection) -> list[Space]:
    """All spaces, in the order in which they were made."""
    with connection.cursor(row_factory=class_row(Space)) as cursor:
        return cursor.execute(_SQL["list_spaces"]).fetchall()


def register(connection: Connection, identity: SpaceIdentity, role: Role) -> Space:
    """The space of this identity, made with its table if it is new; `indexes` makes its index after it is filled.

    A new fallback takes the place of the old one. A space that exists keeps its role, unless it was retired.
    """
    connection.execute(_SQL["lock"], {"lock": _LOCK})
    known = {space.key: space for space in list_spaces(connection)}
    space = known.get(identity.key)
    if role == "fallback" and (space is None or space.role != "fallback"):
        connection.execute(_SQL["retire_fallback"])
    if space is None:
        _create(connection, identity, role)
    elif space.role == "retired":
        connection.execute(_SQL["set_role"], {"role": role, "space_id": space.space_id})
    return next(s for s in list_spaces(connection) if s.key == identity.key)


def activate_if_complete(connection: Connection, space_id: int) -> bool:
    """Makes a candidate the primary space if no image lacks its vector there, except those that were given up."""
    connection.execute(_SQL["lock"], {"lock": _LOCK})
    candidates = {space.space_id for space in list_spaces(connection) if space.role == "candidate"}
    if space_id not in candidates or not is_complete(connection, space_id):
        return False
    connection.execute(_SQL["retire_others"], {"space_id": space_id})
    connection.execute(_SQL["activate"], {"space_id": space_id, "now": now(connection)})
    return True


def is_complete(connection: Connection, space_id: int) -> bool:
    """Whether every image has its vector in this space, except those that were given up."""
    statement = _SQL["is_complete"].format(embeddings=embeddings_table(space_id))
    return bool(scalar(connection, statement, {"space_id": space_id}))


def count_vectors(connection: Connection, space_id: int) -> int:
    """How many images have their vector in this space."""
    return int(scalar(connection, _SQL["count_vectors"].format(embeddings=embeddings_table(space_id))))


def vector_type(kind: str, dimensions: int) -> sql.Composable:
    """The type of a column of vectors."""
    return sql.SQL("halfvec({})").format(sql.Literal(dimensions)) if kind == "halfvec" else sql.SQL("real[]")


def store_inline(connection: Connection, table: sql.Identifier, kind: str, dimensions: int) -> None:
    """Keeps vectors beside their row where they fit: out of line, each distance would cost a second look-up."""
    if dimensions * (2 if kind == "halfvec" else 4) <= _MAX_INLINE_BYTES:
        connection.execute(_SQL["store_inline"].format(embeddings=table))


def follow_writes(connection: Connection, space_id: int) -> None:
    """Lets `exact` see what is written to a `real[]` table, also after the table was restored from a backup."""
    names = {
        "embeddings": embeddings_table(space_id),
        "index": sql.Identifier(f"embeddings_{int(space_id)}_written_in"),
    }
    for name in ("follow_writes", "index_writes", "heal_restored"):
        connection.execute(_SQL[name].format(**names))


def _create(connection: Connection, identity: SpaceIdentity, role: Role) -> None:
    parameters = {
        "key": identity.key,
        "model": identity.model,
        "digest": identity.digest,
        "dimensions": identity.dimensions,
        "role": role,
    }
    row = connection.execute(_SQL["insert_space"], parameters).fetchone()
    assert row is not None
    kind = "halfvec" if pgvector_version(connection) is not None else "real[]"
    table = embeddings_table(row[0])
    names = {"embeddings": table, "vector_type": vector_type(kind, identity.dimensions)}
    connection.execute(_SQL["create_embeddings"].format(**names))
    store_inline(connection, table, kind, identity.dimensions)
    if kind == "real[]":
        follow_writes(connection, row[0])
    follow(connection, f"embeddings_{row[0]}")
