"""Keys of the API. The secret part of a key is nowhere, only its digest."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from psycopg.rows import class_row

from seesame.db.pool import Connection
from seesame.db.statements import statements
from seesame.types import Scope

_SQL = statements("keys")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key by what may be shown of it, and the SHA-256 digest of the rest."""

    key_id: str
    name: str
    scope: Scope
    digest: bytes
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None


def insert(
    connection: Connection, key_id: str, *, name: str, scope: Scope, digest: bytes, lifetime: timedelta | None
) -> ApiKey:
    """Adds a key that lives so long; None: until it is revoked."""
    lifetime_s = None if lifetime is None else lifetime.total_seconds()
    values = {"name": name, "scope": scope, "digest": digest, "lifetime_s": lifetime_s}
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        key = cursor.execute(_SQL["insert"], {"key_id": key_id, **values}).fetchone()
    assert key is not None
    return key


def list_keys(connection: Connection, *, live: bool = False) -> list[ApiKey]:
    """All keys, the oldest first; with `live` those alone that are neither revoked nor over, in any order."""
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        return cursor.execute(_SQL["live" if live else "list"]).fetchall()


def revoke(connection: Connection, key_id: str) -> ApiKey | None:
    """Ends a key; one that was ended before keeps that time. None: there is no such key."""
    with connection.cursor(row_factory=class_row(ApiKey)) as cursor:
        return cursor.execute(_SQL["revoke"], {"key_id": key_id}).fetchone()


def touch(connection: Connection, key_ids: Collection[str]) -> None:
    """Writes down that the keys were used just now, once a minute."""
    connection.execute(_SQL["touch"], {"key_ids": list(key_ids)})
