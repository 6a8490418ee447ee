"""Who may ask the API for what, by keys.

A key is `ssm_<id>_<secret>`: the id may be shown, and scanners of code know the form. The secret is 256 random bits, so
one fast digest keeps it: there is nothing to guess that a slow one would make dear.

A check costs no query: all live keys are held in memory, and read anew every two seconds. While the database is away
those that were known go on.
"""

import hashlib
import hmac
import logging
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from seesame.db import keys as rows
from seesame.db.keys import ApiKey
from seesame.db.pool import Database
from seesame.errors import DatabaseError, InvalidInput, NotFound, StorageFull
from seesame.types import Scope

LOOK_S = 2.0
"""How long a revoked key may go on."""

_AGAIN_S = 1.0  # between two looks for a key that nobody knows
_MAX_NAME = 100  # characters
_WRITTEN = re.compile(r"ssm_([0-9a-f]{12})_([0-9a-f]{64})")
_SCOPES: dict[Scope, frozenset[Scope]] = {"search": frozenset({"search"}), "admin": frozenset({"search", "admin"})}

_log = logging.getLogger(__name__)


class Holder(NamedTuple):
    """Who has a key."""

    key_id: str
    scopes: frozenset[Scope]


class FixedKey:
    """A key that is held in the settings, for everything."""

    def __init__(self, key: str) -> None:
        self._digest = _digest(key)

    def holder(self, given: str) -> Holder | None:
        """Who has this key; None if it is another."""
        # Of digests, so that not even the length of the key is told by the time.
        return Holder("settings", _SCOPES["admin"]) if hmac.compare_digest(_digest(given), self._digest) else None


class Keys:
    """The keys of one shop. Safe to call from several threads."""

    def __init__(
        self,
        database: Database,
        *,
        fixed: FixedKey | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._database = database
        self._fixed = fixed
        self._clock = clock
        self._lock = threading.Lock()
        self._known: Mapping[str, ApiKey] = {}
        self._sought_at = float("-inf")
        self._used: set[str] = set()

    def create(self, name: str, scope: Scope, *, lifetime: timedelta | None = None) -> tuple[ApiKey, str]:
        """A new key, and its text, which cannot be had again.

        Raises:
            InvalidInput: the name is empty, longer than 100 characters, or no line of text.
        """
        if not 0 < len(name) <= _MAX_NAME or not name.isprintable():
            raise InvalidInput("name", f"A line of at most {_MAX_NAME} characters.")
        key_id, secret = secrets.token_hex(6), secrets.token_hex(32)
        with self._database.transaction() as connection:
            key = rows.insert(connection, key_id, name=name, scope=scope, digest=_digest(secret), lifetime=lifetime)
        return key, f"ssm_{key_id}_{secret}"

    def all(self) -> list[ApiKey]:
        """All keys, also those that were revoked or are over; the oldest first."""
        with self._database.transaction() as connection:
            return rows.list_keys(connection)

    def revoke(self, key_id: str) -> ApiKey:
        """Ends a key, everywhere within two seconds.

        Raises:
            NotFound: there is no such key.
        """
        with self._database.transaction() as connection:
            key = rows.revoke(connection, key_id)
        if key is None:
            raise NotFound("There is no such key. `seesame keys list` shows them by their ids.")
        return key

    def some(self) -> bool:
        """Whether there is any key that works."""
        self.look()
        return self._fixed is not None or bool(self._known)

    def holder(self, given: str) -> Holder | None:
        """Who has this key, as far as it is known here. Without a query, in constant time for a given id."""
        if self._fixed is not None and (holder := self._fixed.holder(given)) is not None:
            return holder
        written = _WRITTEN.fullmatch(given)
        key = self._known.get(written[1]) if written else None
        if written is None or key is None or not hmac.compare_digest(_digest(written[2]), key.digest):
            return None
        if key.expires_at is not None and key.expires_at <= self._clock():
            return None
        with self._lock:
            self._used.add(key.key_id)
        return Holder(key.key_id, _SCOPES[key.scope])

    def is_news(self, given: str) -> bool:
        """Whether it is worth a look at the database: this may be a key that was made a moment ago."""
        written = _WRITTEN.fullmatch(given)
        with self._lock:
            if written is None or written[1] in self._known or time.monotonic() - self._sought_at < _AGAIN_S:
                return False
            self._sought_at = time.monotonic()
            return True

    def look(self) -> None:
        """Reads the keys anew, and writes down which were used.

        Raises:
            DatabaseUnavailable: then what was known stays.
        """
        with self._database.transaction() as connection:
            self._known = {key.key_id: key for key in rows.list_keys(connection, live=True)}
        with self._lock:
            used, self._used = self._used, set()
        if used:
            with self._database.transaction() as connection:
                rows.touch(connection, used)

    def keep(self, stop: threading.Event) -> None:
        """Looks every two seconds until `stop`; while the database is away, what was known stays."""
        is_away = False
        while not stop.wait(LOOK_S):
            try:
                self.look()
            except (DatabaseError, StorageFull) as error:
                if not is_away:
                    _log.warning("Keys cannot be read anew; those that are known go on: %s", error)
                is_away = True
            else:
                is_away = False


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
