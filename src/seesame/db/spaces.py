"""Spaces and their tables of vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import LiteralString

from psycopg import errors, sql
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from seesame.calibration import Calibration
from seesame.db.catalogue import now
from seesame.db.distribution import follow
from seesame.db.pool import LOCK_WAIT_MS, Connection, Database, patiently, pgvector_version, scalar, set_local
from seesame.db.statements import statements
from seesame.errors import SpaceChanged, SpaceConflict
from seesame.types import Origin, Role, Space, SpaceIdentity, Vector

_SQL = statements("spaces")

_LOCK = 0x5EE5A40  # serialises changes of the registry
_MAX_INLINE_BYTES = 7_000  # a row must fit into a page of 8 kB


def embeddings_table(space_id: int) -> sql.Identifier:
    """The table that holds the vectors of one space."""
    return sql.Identifier("seesame", f"embeddings_{int(space_id)}")


def conversion_table(space_id: int) -> sql.Identifier:
    """The table beside it that takes its place when pgvector comes."""
    return sql.Identifier("seesame", f"embeddings_{int(space_id)}_next")


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
    with connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_SQL["list_spaces"]).fetchall()
    return [Space(**row | {"calibration": row["calibration"] and Calibration(**row["calibration"])}) for row in rows]


def store_calibration(connection: Connection, space: Space, calibration: Calibration) -> None:
    """Keeps it with the space, unless that has begun anew meanwhile."""
    values = {"space_id": space.space_id, "created_at": space.created_at, "calibration": Jsonb(asdict(calibration))}
    connection.execute(_SQL["store_calibration"], values)


def register(
    connection: Connection,
    identity: SpaceIdentity,
    role: Role,
    *,
    origin: Origin | None = None,
    automatic: bool = False,
    revive: bool = False,
) -> Space:
    """The space of this identity, made with its table if it is new; `indexes` makes its index after it is filled.

    A new fallback takes the place of the old one. A space that exists keeps its role; one that was retired begins anew
    with `revive`. A new one takes over by itself with `automatic`: `seesame.spaces` has the rule.

    Raises:
        SpaceConflict: it was retired.
    """
    connection.execute(_SQL["lock"], {"lock": _LOCK})
    if role == "fallback":
        connection.execute(_SQL["retire_other_fallback"], {"key": identity.key})
    known = connection.execute(_SQL["find"], {"key": identity.key}).fetchone()
    if known is None:
        space_id = _insert(connection, identity, role)
        if automatic:
            connection.execute(_SQL["become_automatic"], {"space_id": space_id})
    else:
        space_id = known[0]
        if known[1] == "retired":
            if role != "fallback" and not revive:
                raise SpaceConflict(
                    f"{identity.key} was retired. Bring it back with: seesame spaces add {identity.model}"
                )
            _begin_anew(connection, space_id, identity, role)
    if origin is not None:
        connection.execute(_SQL["set_origin"], {**origin._asdict(), "space_id": space_id})
    return next(space for space in list_spaces(connection) if space.space_id == space_id)


def activate(connection: Connection, space: Space, *, by_hand: bool) -> bool:
    """Makes a candidate the primary, and the primary a former one, in one step; False if that is not possible now.

    It is not while the space lacks a vector, and by itself only where it is `automatic`. What the primary would find
    is fixed meanwhile, so that nothing of it can be missing afterwards.
    """
    connection.execute(_SQL["lock"], {"lock": _LOCK})
    spaces = list_spaces(connection)
    if not any(s.space_id == space.space_id and s.role == "candidate" and (by_hand or s.automatic) for s in spaces):
        return False
    primary_id = next((s.space_id for s in spaces if s.role == "primary"), None)
    if primary_id is not None:
        set_local(connection, lock_timeout=f"{LOCK_WAIT_MS}ms")
        connection.execute(_SQL["hold_vectors"].format(embeddings=embeddings_table(primary_id)))
    if count_lacking(connection, space.space_id, primary_id=primary_id, at_most=1):
        return False
    connection.execute(_SQL["end_automatic"])
    values = {"space_id": space.space_id, "automatic": not by_hand, "now": now(connection)}
    connection.execute(_SQL["activate"], values)
    return True


def is_complete(connection: Connection, space_id: int) -> bool:
    """Whether every image has its vector in this space, except those that were given up."""
    return not count_lacking(connection, space_id, at_most=1)


def count_lacking(
    connection: Connection, space_id: int, *, primary_id: int | None = None, at_most: int | None = None
) -> int:
    """How many images have no vector in a space; counted up to `at_most`.

    Those that were given up there do not count, unless the primary finds them.
    """
    lacking = _count_lacking(connection, space_id, "product_images", "NOT IN", at_most)
    if primary_id is not None and lacking != at_most:
        lacking += _count_lacking(connection, space_id, f"embeddings_{primary_id}", "IN", at_most)
    return lacking


def _count_lacking(
    connection: Connection, space_id: int, listing: str, word: LiteralString, at_most: int | None
) -> int:
    """Images of a table that lack their vector in a space, and are in, or not in, the list of those given up there."""
    names = {
        "listing": sql.Identifier("seesame", listing),
        "embeddings": embeddings_table(space_id),
        "in": sql.SQL(word),
    }
    values = {"space_id": space_id, "at_most": at_most}
    return int(scalar(connection, _SQL["count_lacking"].format(**names), values))


def retire(connection: Connection, space: Space) -> bool:
    """Ends a space and forgets its work and its samples; False for the primary and the fallback."""
    connection.execute(_SQL["lock"], {"lock": _LOCK})
    if not connection.execute(_SQL["retire"], {"space_id": space.space_id}).rowcount:
        return False
    for name in ("forget_work", "forget_samples"):
        connection.execute(_SQL[name], {"space_id": space.space_id})
    return True


def drop_vectors(database: Database, space: Space) -> None:
    """Drops the table of a retired space. Searches that come meanwhile wait for half a second at most.

    Raises:
        DatabaseUnavailable: a transaction that has used the tables for a minute does not end.
    """
    table = embeddings_table(space.space_id)
    statement = _SQL["drop_embeddings"].format(embeddings=table, next=conversion_table(space.space_id))

    def drop() -> None:
        connection.execute(_SQL["lock_images"])  # as its foreign key needs; first, against deadlocks
        connection.execute(statement)

    with database.session() as connection:
        patiently(connection, drop)


def table_bytes(connection: Connection, space: Space) -> int:
    """What the vectors and their index take on the disk."""
    table = embeddings_table(space.space_id).as_string()
    return int(scalar(connection, _SQL["table_bytes"], {"table": table}) or 0)


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


def _insert(connection: Connection, identity: SpaceIdentity, role: Role) -> int:
    parameters = {
        "key": identity.key,
        "model": identity.model,
        "digest": identity.digest,
        "dimensions": identity.dimensions,
        "role": role,
    }
    space_id = int(scalar(connection, _SQL["insert_space"], parameters))
    _create_table(connection, space_id, identity.dimensions)
    return space_id


def _begin_anew(connection: Connection, space_id: int, identity: SpaceIdentity, role: Role) -> None:
    if all(space.space_id != space_id for space in list_spaces(connection)):
        _create_table(connection, space_id, identity.dimensions)
    connection.execute(_SQL["forget_work"], {"space_id": space_id})
    connection.execute(_SQL["begin_anew"], {"space_id": space_id, "role": role, "now": now(connection)})


def _create_table(connection: Connection, space_id: int, dimensions: int) -> None:
    kind = "halfvec" if pgvector_version(connection) is not None else "real[]"
    table = embeddings_table(space_id)
    names = {"embeddings": table, "vector_type": vector_type(kind, dimensions)}
    connection.execute(_SQL["create_embeddings"].format(**names))
    store_inline(connection, table, kind, dimensions)
    if kind == "real[]":
        follow_writes(connection, space_id)
    follow(connection, f"embeddings_{space_id}")
