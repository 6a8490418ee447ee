"""Which spaces there are, which embedder makes their vectors, and which of them answers.

How one model takes the place of another, the whole rule:

- The primary answers. A candidate becomes the primary in one step, and only while no image lacks its vector there, so
  that no search ever finds less than before. (Images that the candidate's model cannot read do not hold it up, unless
  the present primary finds them.)
- The primary before it is a candidate again: a former one, to be told by `activated_at`. It is filled as all candidates
  are, so the latest of them can be brought back at any moment (`rollback`). While this process does not have the
  primary's embedder yet, the former one answers here.
- Someone's choice stands. A space that was activated by hand is replaced by hand only, whatever SEESAME_MODEL says.
- By itself a candidate takes over only while it is `automatic`. It becomes so when it is made, if it is made for
  SEESAME_MODEL (or the first CLIP service) and the primary, if there is one, got there by itself. It ends when another
  space is made so, and for all when any space becomes the primary. So no space takes over by itself twice, and
  processes with different settings do not switch back and forth.
- A retired space comes back only when it is added by hand.
"""

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import Literal

from seesame.db import catalogue, indexes, work
from seesame.db import spaces as rows
from seesame.db.indexes import OnBuild
from seesame.db.pool import Database
from seesame.errors import (
    EmbedderBusy,
    EmbedderError,
    EmbedderTimeout,
    ModelInvalid,
    NotFound,
    SpaceConflict,
    SpaceIncomplete,
)
from seesame.types import Embedder, Origin, Space

_log = logging.getLogger(__name__)

_LOOK_S = 1.0

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
    bytes: int


class Spaces:
    """Embedders by the key of their space. Vectors of one space meet queries of that space alone."""

    def __init__(self, database: Database, fallback: Embedder) -> None:
        """Registers the fallback, which always answers."""
        self._database = database
        self._lock = threading.Lock()
        self._embedders: dict[str, Embedder] = {}
        self._waiting: Reason = "clip_unavailable"
        self._fallback_key = fallback.identity.key
        self._whole: dict[str, tuple[bool, float]] = {}
        self._known: tuple[list[Space], float] = ([], -math.inf)
        with database.transaction() as connection:
            rows.register(connection, fallback.identity, "fallback")
            work.notify(connection)
        self.hold(fallback)

    def add(
        self, embedder: Embedder, *, origin: Origin | None = None, automatic: bool = True, revive: bool = False
    ) -> Space:
        """Registers a model's space, to be filled beside the others; this process has the embedder from now on.

        `automatic`: it is what the process is configured for, and a space that is made for it may take over by itself.

        Raises:
            SpaceConflict: it was retired, and is not to `revive`.
        """
        with self._database.transaction() as connection:
            space = rows.register(
                connection, embedder.identity, "candidate", origin=origin, automatic=automatic, revive=revive
            )
        self.hold(embedder)
        with self._database.transaction() as connection:  # not before: woken without it, the indexer would find nothing
            work.notify(connection)  # every image may lack its vector there
        self.all()
        return space

    def hold(self, embedder: Embedder) -> None:
        """Has an embedder ready for its space, whenever that is live."""
        with self._lock:
            self._embedders[embedder.identity.key] = embedder

    def remove(self, key: str) -> None:
        """Forgets the embedder of a space, whose vectors stay."""
        with self._lock:
            self._embedders.pop(key, None)

    def waiting(self, reason: Reason) -> None:
        """Says why the configured model is not here, for the reason that answers give."""
        self._waiting = reason

    def answering(self, *, max_age_s: float = 0.0) -> Answering:
        """The primary space where its embedder is here and can be asked, else a former one, else the fallback.

        `max_age_s`: how old what is known of the spaces may be; to read it anew takes a third of a search.
        """
        return self._answering(self._listed(max_age_s))

    def _answering(self, spaces: list[Space]) -> Answering:
        with self._lock:
            embedders = dict(self._embedders)
        primary = next((space for space in spaces if space.role == "primary"), None)
        if primary is not None and primary.key in embedders:
            embedder = embedders[primary.key]
            if embedder.available:
                return Answering(primary, embedder, None)
            return self._fallback(spaces, "clip_unavailable")
        for former in _formers(spaces):
            if former.key in embedders and embedders[former.key].available and self._is_whole(former):
                return Answering(former, embedders[former.key], None)
        indexing = any(space.role == "candidate" and space.key in embedders for space in spaces)
        return self._fallback(spaces, "clip_indexing" if indexing else self._waiting)

    def fallback(self, reason: Reason) -> Answering:
        """The fallback, which answers when the primary's embedder did not."""
        return self._fallback(self.all(), reason)

    def comparing(self, *, max_age_s: float = 0.0) -> list[tuple[Space, Reason | None]]:
        """Spaces to compare stored vectors in, the best first, with why it is not the primary; needs no embedder."""
        spaces = self._listed(max_age_s)
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
        """Every space that has a table of vectors."""
        with self._database.transaction() as connection:
            spaces = rows.list_spaces(connection)
        self._known = (spaces, time.monotonic())
        return spaces

    def _listed(self, max_age_s: float) -> list[Space]:
        spaces, read_at = self._known
        return spaces if time.monotonic() - read_at < max_age_s else self.all()

    def find(self, name: str | None = None) -> Space:
        """A space by its key, or by its model where one space alone has it; without a name the one new candidate.

        Raises:
            NotFound: there is none, or several.
        """
        spaces = self.all()
        if name is None:
            found = [s for s in spaces if s.role == "candidate" and not s.is_former]
        else:
            found = [s for s in spaces if s.key == name]
            found = found or [s for s in spaces if s.model == name and s.role != "retired"]
        if len(found) == 1:
            return found[0]
        keys = ", ".join(space.key for space in found or spaces)
        if name is None:
            raise NotFound(f"{'Several' if found else 'No new'} candidates wait. Name one of: {keys}.")
        raise NotFound(
            f"{'Several spaces have this model' if found else 'There is no such space'}. Name one of: {keys}."
        )

    def ready(self, name: str | None = None) -> tuple[Space, Embedder]:
        """A space whose embedder is here, with that; without a name the one that answers.

        Raises:
            NotFound: there is none, or its embedder is not here.
        """
        if name is None:
            answering = self.answering()
            return answering.space, answering.embedder
        space = self.find(name)
        with self._lock:
            embedder = self._embedders.get(space.key)
        if embedder is None:
            raise NotFound(f"The model of {space.key} is not here.")
        return space, embedder

    def primary(self) -> Space:
        """The space that answers, whether or not its embedder is here: the fallback where there is no primary."""
        spaces = self.all()
        own = next(space for space in spaces if space.key == self._fallback_key)
        return next((space for space in spaces if space.role == "primary"), own)

    def states(self) -> list[SpaceState]:
        """Every space with how far it is filled. Counts all vectors, so it is not for the path of a query."""
        with self._database.transaction() as connection, rows.meanwhile_changed():
            images = catalogue.totals(connection)[1]
            counted = [(s, rows.count_vectors(connection, s.space_id)) for s in rows.list_spaces(connection)]
            return [
                SpaceState(
                    space=space,
                    vectors=vectors,
                    missing=images - vectors,
                    index_is_valid=indexes.is_valid(connection, space.space_id),
                    loaded=space.key in self._embedders,
                    bytes=rows.table_bytes(connection, space),
                )
                for space, vectors in counted
            ]

    def settle(self, space: Space, on_build: OnBuild | None = None) -> bool:
        """Builds the index of a space that was filled, and lets a candidate take over that may; whether it did.

        A candidate is searched by nobody, so its index waits until all of its vectors are there.
        """
        waits = space.role == "candidate"
        if waits and not space.automatic and not self._lacks_index(space):
            return False  # all that is done by itself is done
        if waits:
            with self._database.transaction(timeout_s=60) as connection:
                if not rows.is_complete(connection, space.space_id):
                    return False
        if indexes.ensure(self._database, space, on_build):
            self.all()
        if not waits or not space.automatic or self._lacks_index(space):
            return False
        with self._database.transaction(timeout_s=60) as connection:
            activated = rows.activate(connection, space, by_hand=False)
        if activated:
            self.all()
            _log.info("✅ %s is complete and answers from now on", space.key)
        return activated

    def activate(self, name: str | None = None, on_build: OnBuild | None = None) -> Space:
        """Makes a candidate the primary, after building its index where that is missing.

        Raises:
            NotFound: no such space.
            SpaceIncomplete: images lack their vector there.
            SpaceConflict: it is no candidate.
        """
        space = self.find(name)
        if space.role == "primary":
            return space
        if space.role != "candidate":
            raise SpaceConflict(f"{space.key} is {space.role}; only a candidate can be activated.")
        self._check_complete(space)
        while self._lacks_index(space):
            if not indexes.ensure(self._database, space, on_build):
                time.sleep(_LOOK_S)  # another process builds it
        with self._database.transaction(timeout_s=60) as connection:
            activated = rows.activate(connection, space, by_hand=True)
        if not activated:
            self._check_complete(space)
            raise SpaceConflict(f"{space.key} was changed by another process meanwhile. Try again.")
        _log.info("✅ %s was activated and answers from now on", space.key)
        return self.find(space.key)

    def rollback(self, name: str | None = None) -> Space:
        """Makes the space that answered before the primary again.

        `name`: the space that is to be left; a call that is repeated by mistake does not switch back and forth.

        Raises:
            SpaceConflict: no space answered before, or `name` is not the primary.
            SpaceIncomplete: images lack their vector there.
        """
        if name is not None and (left := self.find(name)).role != "primary":
            raise SpaceConflict(f"{left.key} is not the primary.")
        formers = _formers(self.all())
        if not formers:
            raise SpaceConflict("No other space has answered before that is still here.")
        return self.activate(formers[0].key)

    def retire(self, name: str) -> Space:
        """Ends a space that is neither the primary nor the fallback, and gives back what it takes on the disk.

        Raises:
            NotFound: no such space.
            SpaceConflict: it answers searches.
        """
        space = self.find(name)
        with self._database.transaction(timeout_s=60) as connection:
            if space.key == self._fallback_key or not rows.retire(connection, space):
                raise SpaceConflict(f"{space.key} is the {space.role}; it cannot be retired.")
        rows.drop_vectors(self._database, space)
        self.all()
        _log.info("%s was retired", space.key)
        return space

    def close(self) -> None:
        """Closes all embedders."""
        for embedder in self._embedders.values():
            embedder.close()

    def _check_complete(self, space: Space) -> None:
        primary_id = next((s.space_id for s in self.all() if s.role == "primary"), None)
        with self._database.transaction(timeout_s=60) as connection:
            missing = rows.count_lacking(connection, space.space_id, primary_id=primary_id)
        if missing:
            raise SpaceIncomplete(space.key, missing)

    def _lacks_index(self, space: Space) -> bool:
        with self._database.transaction(timeout_s=60) as connection:
            return indexes.is_missing(connection, space)

    def _is_whole(self, space: Space) -> bool:
        """Whether a space finds all images; once it did, this process keeps it so."""
        whole, looked_at = self._whole.get(space.key, (False, -_LOOK_S))
        if not whole and time.monotonic() - looked_at >= _LOOK_S:
            with self._database.transaction() as connection:
                whole = rows.is_complete(connection, space.space_id)
            self._whole[space.key] = (whole, time.monotonic())
        return whole

    def _fallback(self, spaces: list[Space], reason: Reason) -> Answering:
        # By key: another process may have brought a newer fallback, whose vectors are not of this one's space.
        space = next(space for space in spaces if space.key == self._fallback_key)
        return Answering(space, self._embedders[self._fallback_key], reason)


def _formers(spaces: list[Space]) -> list[Space]:
    """Spaces that answered before, the latest first."""
    formers = [(s.activated_at, s) for s in spaces if s.role == "candidate" and s.activated_at is not None]
    return [space for _, space in sorted(formers, key=lambda former: former[0], reverse=True)]
