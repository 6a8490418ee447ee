"""Which spaces there are, which embedder makes their vectors, and which of them answers."""

import logging
import threading
from dataclasses import dataclass
from typing import Literal

from seesame.db import catalogue, indexes, work
from seesame.db import spaces as rows
from seesame.db.indexes import OnBuild
from seesame.db.pool import Database
from seesame.errors import EmbedderBusy, EmbedderError, EmbedderTimeout, ModelInvalid
from seesame.types import Embedder, Space

_log = logging.getLogger(__name__)

Reason = Literal["clip_unavailable", "clip_timeout", "clip_busy", "clip_downloading", "clip_indexing", "no_text_model"]
"""Why an answer is degraded."""


def reason_of(error: EmbedderError | ModelInvalid) -> Reason:
    """Why an answer is degraded after the primary space's embedder failed."""
    match error:
        case EmbedderBusy():
            return "clip_busy"
        case EmbedderTimeout():
            return "clip_timeout"
        case _:
            return "clip_unavailable"


@dataclass(frozen=True, slots=True)
class Answering:
    """The space that answers, its embedder, and why it is not the primary if it is not."""

    space: Space
    embedder: Embedder
    degraded_reason: Reason | None


@dataclass(frozen=True, slots=True)
class SpaceState:
    """A space with how far it is filled."""

    space: Space
    vectors: int
    missing: int
    index_is_valid: bool | None
    loaded: bool


class Spaces:
    """Embedders by the key of their space. Vectors of one space meet queries of that space alone."""

    def __init__(self, database: Database, fallback: Embedder) -> None:
        """Registers the fallback, which always answers."""
        self._database = database
        self._lock = threading.Lock()
        self._embedders: dict[str, Embedder] = {}
        self._waiting: Reason = "clip_unavailable"
        self._fallback_key = fallback.identity.key
        self._add(fallback, "fallback")

    def add(self, embedder: Embedder) -> Space:
        """Adds the configured model. Its space becomes the primary when every image has its vector there."""
        return self._add(embedder, "candidate")

    def remove(self, key: str) -> None:
        """Forgets the embedder of a space, whose vectors stay."""
        with self._lock:
            self._embedders.pop(key, None)

    def waiting(self, reason: Reason) -> None:
        """Says why the configured model is not here, for the reason that answers give."""
        self._waiting = reason

    def answering(self) -> Answering:
        """The primary space where its embedder is here and can be asked, else the fallback."""
        return self._answering(self.all())

    def _answering(self, spaces: list[Space]) -> Answering:
        with self._lock:
            embedders = dict(self._embedders)
        primary = next((space for space in spaces if space.role == "primary"), None)
        if primary is not None and primary.key in embedders:
            embedder = embedders[primary.key]
            if embedder.available:
                return Answering(primary, embedder, None)
            return self._fallback(spaces, "clip_unavailable")
        indexing = any(space.role == "candidate" and space.key in embedders for space in spaces)
        return self._fallback(spaces, "clip_indexing" if indexing else self._waiting)

    def fallback(self, reason: Reason) -> Answering:
        """The fallback, which answers when the primary's embedder did not."""
        return self._fallback(self.all(), reason)

    def comparing(self) -> list[tuple[Space, Reason | None]]:
        """Spaces to compare stored vectors in, the best first, with why it is not the primary; needs no embedder."""
        spaces = self.all()
        answering = self._answering(spaces)
        fallback = self._fallback(spaces, answering.degraded_reason or "clip_indexing")
        primary = [(space, None) for space in spaces if space.role == "primary"]
        return [*primary, (fallback.space, fallback.degraded_reason)]

    def clip_is_available(self) -> bool:
        """Whether an embedder beside the fallback can be asked for vectors."""
        with self._lock:
            return any(e.available for key, e in self._embedders.items() if key != self._fallback_key)

    def live(self) -> list[tuple[Space, Embedder]]:
        """The spaces that this process can fill, the fallback first: it is the quickest to answer."""
        with self._lock:
            embedders = dict(self._embedders)
        own = self._fallback_key
        spaces = [s for s in self.all() if s.key in embedders and (s.role != "retired" or s.key == own)]
        return [(s, embedders[s.key]) for s in sorted(spaces, key=lambda space: space.key != own)]

    def all(self) -> list[Space]:
        """Every space that the database knows."""
        with self._database.transaction() as connection:
            return rows.list_spaces(connection)

    def states(self) -> list[SpaceState]:
        """Every space with how far it is filled. Counts all vectors, so it is not for the path of a query."""
        with self._database.transaction() as connection:
            images = catalogue.totals(connection)[1]
            counted = [(s, rows.count_vectors(connection, s.space_id)) for s in rows.list_spaces(connection)]
            return [
                SpaceState(
                    space=space,
                    vectors=vectors,
                    missing=images - vectors,
                    index_is_valid=indexes.is_valid(connection, space.space_id),
                    loaded=space.key in self._embedders,
                )
                for space, vectors in counted
            ]

    def settle(self, space: Space, on_build: OnBuild | None = None) -> bool:
        """Builds the index of a space that was filled, and lets a candidate answer if it lacks no vector.

        A candidate is searched by nobody, so its index waits until all of its vectors are there.
        """
        if space.role == "candidate":
            with self._database.transaction(timeout_s=60) as connection:
                if not rows.is_complete(connection, space.space_id):
                    return False
        indexes.ensure(self._database, space, on_build)
        if space.role != "candidate":
            return False
        with self._database.transaction(timeout_s=60) as connection:
            activated = rows.activate_if_complete(connection, space.space_id)
        if activated:
            _log.info("✅ %s is complete and answers from now on", space.key)
        return activated

    def close(self) -> None:
        """Closes all embedders."""
        for embedder in self._embedders.values():
            embedder.close()

    def _fallback(self, spaces: list[Space], reason: Reason) -> Answering:
        # By key: another process may have brought a newer fallback, whose vectors are not of this one's space.
        space = next(space for space in spaces if space.key == self._fallback_key)
        return Answering(space, self._embedders[self._fallback_key], reason)

    def _add(self, embedder: Embedder, role: Literal["candidate", "fallback"]) -> Space:
        with self._database.transaction() as connection:
            space = rows.register(connection, embedder.identity, role)
            work.notify(connection)  # every image may lack its vector there
        with self._lock:
            self._embedders[space.key] = embedder
        return space
