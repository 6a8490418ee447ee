"""How the parts are, and since when.

A thread looks every two seconds, so that `since` is right to within that; what a part was like before this process
began to look is not known. Whoever asks for metrics gets what was seen last, and waits for nothing.
"""

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from seesame.cache import VectorCache
from seesame.clip_watch import ClipWatch
from seesame.db.indexes import WORTH_IT
from seesame.decoding.pool import DecoderPool
from seesame.duplicates import Duplicates
from seesame.errors import DatabaseError, StorageFull
from seesame.freshness import kept_until
from seesame.images import Decoder
from seesame.indexing import Indexer
from seesame.jobs import Jobs
from seesame.spaces import Answering, Spaces
from seesame.types import Space

_LOOK_S = 2.0
_PATIENCE_S = 1.0  # for a look that hangs, before what was seen before has to do
_LITTLE_ROOM, _NO_ROOM = 2**30, 2**26  # bytes

PartName = Literal["database", "clip", "fallback", "index", "redis", "backfill", "decoders", "disk"]
Status = Literal["ok", "degraded", "down", "unused", "unknown"]


@dataclass(frozen=True, slots=True)
class Part:
    """How a part is, since when, and what there is to say of it."""

    status: Status
    since: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Backlog:
    """Images that wait, by space; whether any worker is at them; imports by status; when duplicates were looked for."""

    pending: Mapping[str, int]
    at_work: bool
    jobs: Mapping[str, int]
    duplicates_at: datetime | None


@dataclass(frozen=True, slots=True)
class Report:
    """What one look saw. `answering` is None while the database is away, `backlog` also where it cannot be counted."""

    parts: Mapping[PartName, Part]
    answering: Answering | None
    backlog: Backlog | None
    free_bytes: int


class Health:
    """Looks at the parts of one process. Safe to use from several threads."""

    def __init__(
        self,
        spaces: Spaces,
        cache: VectorCache,
        indexer: Indexer,
        jobs: Jobs,
        duplicates: Duplicates,
        clip: ClipWatch | None,
        decoder: Decoder,
        *,
        folder: Path,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`clip` is None where models run in this process, `folder` where pictures are stored."""
        self._spaces = spaces
        self._cache = cache
        self._indexer = indexer
        self._jobs = jobs
        self._duplicates = duplicates
        self._clip = clip
        self._decoder = decoder
        self._folder = folder
        self._clock = clock
        self._looking = threading.Lock()
        self._report: Report | None = None
        self._counted: Backlog | None = None
        self._backlog_until = 0.0

    @property
    def latest(self) -> Report:
        """What was seen last; looks only where nobody has yet."""
        return self._report or self.look()

    def look(self) -> Report:
        """How everything is now, or a moment ago if the database keeps another look waiting."""
        if not self._looking.acquire(timeout=-1 if self._report is None else _PATIENCE_S):
            assert self._report is not None
            return self._report
        try:
            self._report = self._seen(self._report)
            return self._report
        finally:
            self._looking.release()

    def run_forever(self, stop: threading.Event) -> None:
        """Looks every two seconds until `stop`."""
        while not stop.is_set():
            self.look()
            stop.wait(_LOOK_S)

    def _seen(self, before: Report | None) -> Report:
        answering = backlog = None
        with suppress(DatabaseError, StorageFull):
            answering = self._spaces.answering()
            backlog = self._backlog()
        try:
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError:  # its disk is gone
            free_bytes = 0
        seen: dict[PartName, tuple[Status, str]] = {
            "database": ("ok", "It answers.") if answering else ("down", "It cannot be reached."),
            "clip": self._clip_state(answering),
            "fallback": _fallback(answering),
            "index": _index(answering.space if answering else None),
            "redis": self._redis(),
            "backfill": _backfill(backlog),
            "decoders": self._decoders(),
            "disk": _disk(free_bytes),
        }
        now = self._clock()
        parts: dict[PartName, Part] = {}
        for name, (status, detail) in seen.items():
            known = before.parts[name] if before is not None else None
            same = known is not None and known.status == status
            parts[name] = Part(status, known.since if known is not None and same else now, detail)
        return Report(parts, answering, backlog, free_bytes)

    def _backlog(self) -> Backlog | None:
        """Counted anew after two seconds, or 20 times what counting took: a million images are many to count."""
        started = time.monotonic()
        if started >= self._backlog_until:
            self._counted = None
            try:
                pending = self._indexer.pending()
                at_work = any(pending.values()) and self._indexer.is_at_work()
                self._counted = Backlog(pending, at_work, self._jobs.counts(), self._duplicates.finished_at())
            finally:  # also where it takes longer than a statement may
                self._backlog_until = kept_until(started, time.monotonic())
        return self._counted

    def _clip_state(self, answering: Answering | None) -> tuple[Status, str]:
        if self._clip is not None:
            status = self._clip.state.status
            told: Status = "ok" if status == "available" else "down" if status == "unavailable" else "degraded"
            return told, f"The CLIP service is {status}."
        if self._spaces.clip_is_available():
            return "ok", "The model runs in this process."
        reason = answering.degraded_reason if answering is not None else None
        return "down", f"This process has no model: {reason or 'clip_unavailable'}."

    def _decoders(self) -> tuple[Status, str]:
        if not isinstance(self._decoder, DecoderPool):
            return "unused", "Pictures are decoded in this process."
        if self._decoder.works:
            return "ok", "Pictures are decoded in processes of their own."
        return "down", "No process to decode pictures in can be started, so new ones are refused. The log says why."

    def _redis(self) -> tuple[Status, str]:
        works = self._cache.redis_works
        if works is None:
            return "unused", "REDIS_URL is not set: each process remembers its own."
        return ("ok", "It shares vectors.") if works else ("down", "Vectors stay in this process.")


def _fallback(answering: Answering | None) -> tuple[Status, str]:
    if answering is None:
        return "unknown", "Searches need the database."
    if answering.degraded_reason is None:
        return "ok", "It stands by."
    return "degraded", f"It answers in the place of CLIP: {answering.degraded_reason}."


def _index(space: Space | None) -> tuple[Status, str]:
    if space is None:
        return "unknown", "The database says what there is."
    if space.vector_type != "halfvec":
        return "degraded", "pgvector is not available: vectors are compared in the process."
    if space.indexed:
        return "ok", "Searches use the HNSW index."
    if space.images > WORTH_IT:
        return "degraded", "The index is not built yet: all vectors are compared."
    return "ok", "So few vectors need no index."


def _backfill(backlog: Backlog | None) -> tuple[Status, str]:
    if backlog is None:
        return "unknown", "What waits could not be counted."
    waiting = sum(backlog.pending.values())
    if not waiting:
        return "ok", "No image waits for a vector."
    if backlog.at_work:
        return "ok", f"Vectors that are being computed: {waiting:,}."
    return "degraded", f"Vectors that are missing: {waiting:,}. No worker is at them."


def _disk(free_bytes: int) -> tuple[Status, str]:
    detail = f"{free_bytes / 2**30:,.1f} GiB are free where pictures are stored."
    return "down" if free_bytes < _NO_ROOM else "degraded" if free_bytes < _LITTLE_ROOM else "ok", detail
