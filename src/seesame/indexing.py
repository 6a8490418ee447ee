"""Computes the vectors that images lack: claim, decode, embed in batches, write.

Any number of processes may do this at once, and each may be killed at any moment: what a claim held is claimed again
when its lease ends.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from typing import Any, NamedTuple
from uuid import UUID, uuid4

from seesame.catalogue import check_text
from seesame.db import work
from seesame.db.indexes import OnBuild
from seesame.db.pool import Connection, Database
from seesame.db.spaces import meanwhile_changed
from seesame.errors import DatabaseError, EmbedderBusy, EmbedderError, NotFound, SeesameError, SpaceChanged, StorageFull
from seesame.pictures import PictureStore
from seesame.spaces import Spaces
from seesame.types import Embedder, Space, Vector, WorkItem

_log = logging.getLogger(__name__)

LANES = 4  # claims at work at once, so that the model never waits for the database
LEASE_S = 60.0
RETRY_S = 30.0  # after the first fault of an image; grows with each
POLL_S = 30.0  # behind the notifications, in case one is lost
RECONCILE_S = 600.0
_TURN_S = 5.0  # of a space, while others may get images that are searched for already
_RECONNECT_S = 1.0
_OTHERS_S = 0.1
_PAUSE_S = (1.0, 2.0, 5.0, 10.0)  # after faults of the embedder in a row; the last repeats


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come in one space. `total` is what lacked a vector when it began, in images."""

    space: str
    total: int
    done: int = 0
    failed: int = 0
    paused: bool = False  # the embedder cannot be used now, so images are left for later
    cut: bool = False  # its turn was over, so images are left for the next


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of images that were claimed together, and the seconds of the embedder and from the claim to the end.

    `failed`: a code for each image that has no vector.
    """

    space: str
    done: int
    failed: tuple[str, ...]
    embedding_s: float
    took_s: float


class _Pause(NamedTuple):
    """Until when a space is left alone, and how often that has happened in a row."""

    until: float
    faults: int


class _Claim(NamedTuple):
    """Images that are leased to this process, none if nothing was due."""

    token: UUID
    items: list[WorkItem]
    at: float


OnProgress = Callable[[Progress], None]
OnBatch = Callable[[Batch], None]


class _Tally:
    """What the lanes of a run have done together."""

    def __init__(self, progress: Progress, on_progress: OnProgress | None, turn_s: float) -> None:
        self.progress = progress
        self._until = time.monotonic() + turn_s
        self.ended = threading.Event()
        self._on_progress = on_progress
        self._lock = threading.Lock()

    def add(self, done: int, failed: int) -> None:
        with self._lock:
            before = self.progress
            self.progress = replace(before, done=before.done + done, failed=before.failed + failed)
            if self._on_progress is not None:
                self._on_progress(self.progress)

    def pause(self) -> None:
        with self._lock:
            self.progress = replace(self.progress, paused=True)
            self.ended.set()

    def cut(self) -> bool:
        """Whether the turn is over."""
        if time.monotonic() < self._until:
            return False
        with self._lock:
            self.progress = replace(self.progress, cut=True)
        return True


class Indexer:
    """Fills every space that this process has an embedder for."""

    def __init__(
        self,
        database: Database,
        pictures: PictureStore,
        spaces: Spaces,
        *,
        batch: int | None = None,
        lease_s: float = LEASE_S,
        on_batch: OnBatch = lambda batch: None,  # noqa: ARG005 - nobody counts
    ) -> None:
        """`batch` is how many images are claimed at once, by default as many as the embedder says."""
        self._database = database
        self._pictures = pictures
        self._spaces = spaces
        self._batch = batch
        self._lease_s = lease_s
        self._on_batch = on_batch
        self._stop = threading.Event()
        self._reconciled_at: dict[tuple[int, datetime], float] = {}
        self._pauses: dict[int, _Pause] = {}

    def run_once(
        self, on_progress: OnProgress | None = None, on_build: OnBuild | None = None, *, finish: bool = False
    ) -> list[Progress]:
        """Embeds everything that lacks a vector now, space by space; what it did.

        Args:
            finish: also wait for what other workers have claimed, and take it over if they do not end it.
        """
        return [self._fill(*live, on_progress, finish=finish, on_build=on_build) for live in self._spaces.live()]

    def complete(self, key: str, on_progress: OnProgress | None = None, on_build: OnBuild | None = None) -> Progress:
        """Fills one space, also with what others have claimed, and builds its index.

        Raises:
            NotFound: it was retired, or this process has no embedder for it.
        """
        for space, embedder in self._spaces.live():
            if space.key == key:
                return self._fill(space, embedder, on_progress, finish=True, on_build=on_build)
        raise NotFound(f"{key} cannot be filled here.")

    def run_forever(self) -> None:
        """Embeds what arrives until `stop` is called; waits out a database that is away or full."""
        waiting: str | None = None
        while not self._stop.is_set():
            try:
                with work.listening(self._database) as wait:
                    while not self._stop.is_set():
                        turns = [self._fill(*live, turn_s=_TURN_S) for live in self._spaces.live()]
                        waiting = None
                        wait(0.0 if any(turn.cut for turn in turns) else self._idle_s(), self._stop)
            except (DatabaseError, StorageFull) as error:
                if str(error) != waiting:
                    _log.warning("Indexing waits: %s", error)
                waiting = str(error)
                self._stop.wait(_RECONNECT_S)

    def stop(self) -> None:
        """Ends a run after the batch at hand."""
        self._stop.set()

    def retry_failed(self, product_id: str | None = None) -> int:
        """Makes images that failed due again, all or those of one product; how many.

        Raises:
            InvalidInput: no product can have this id.
        """
        if product_id is not None:
            check_text("product_id", product_id, 200)
        with self._database.transaction() as connection:
            return work.retry_failed(connection, product_id)

    def pending(self) -> dict[str, int]:
        """How many images wait for their vector, by space."""
        spaces = [space for space, _ in self._spaces.live()]
        with self._database.transaction() as connection:
            return {space.key: work.count_pending(connection, space.space_id) for space in spaces}

    def is_at_work(self) -> bool:
        """Whether any process holds images of a space that this one can fill."""
        with self._database.transaction() as connection:
            return any(work.any_leased(connection, space.space_id) for space, _ in self._spaces.live())

    def failures(self, *, limit: int = 100) -> list[work.Failure]:
        """Images that failed, with the reason."""
        with self._database.transaction() as connection:
            return work.list_failed(connection, limit=limit)

    def _idle_s(self) -> float:
        """How long nothing is to be done if no work arrives."""
        now = time.monotonic()
        poll_s = min(POLL_S, self._lease_s / 2)  # nobody tells that a worker died
        return max(0.0, min([poll_s, *(pause.until - now for pause in self._pauses.values())]))

    def _fill(self, space: Space, embedder: Embedder, on_progress: OnProgress | None = None, **how: Any) -> Progress:
        try:
            with meanwhile_changed():
                return self._filled(space, embedder, on_progress, **how)
        except SpaceChanged:
            _log.info("%s was retired, or changed, while it was filled", space.key)
            return Progress(space.key, total=0, cut=True)

    def _filled(
        self,
        space: Space,
        embedder: Embedder,
        on_progress: OnProgress | None,
        *,
        finish: bool = False,
        on_build: OnBuild | None = None,
        turn_s: float = inf,
    ) -> Progress:
        pause = self._pauses.get(space.space_id)
        if pause is not None and time.monotonic() < pause.until:
            return Progress(space.key, total=0, paused=True)
        self._reconcile(space)
        with self._database.transaction() as connection:
            total = work.count_pending(connection, space.space_id)
        started = time.monotonic()
        tally = _Tally(Progress(space.key, total), on_progress, turn_s)
        if total or finish:
            with ThreadPoolExecutor(LANES, thread_name_prefix="index") as pool:
                lanes = [pool.submit(self._lane, space, embedder, tally, finish) for _ in range(LANES)]
                try:
                    for lane in lanes:
                        lane.result()
                finally:
                    tally.ended.set()
        progress = tally.progress
        if progress.done or progress.failed:
            elapsed = time.monotonic() - started
            _log.info(
                "Indexed %d images in %s (%.0f a second), %d failed",
                progress.done,
                space.key,
                progress.done / elapsed,
                progress.failed,
            )
        if not progress.cut:
            self._spaces.settle(space, on_build)
        return progress

    def _lane(self, space: Space, embedder: Embedder, tally: "_Tally", finish: bool) -> None:
        """Embeds batch after batch until nothing is due. Several lanes overlap writing with computing."""
        claim = self._claim(space, embedder)
        while not self._stop.is_set() and not tally.ended.is_set():
            if claim.items:
                try:
                    claim = self._embed_batch(space, embedder, claim, tally)
                except EmbedderError as error:
                    self._pause(space, error)
                    tally.pause()
                    return
                if tally.cut():
                    break
            elif finish and self._others_at_work(space):
                self._stop.wait(_OTHERS_S)
                claim = self._claim(space, embedder)
            else:
                return
        if claim.items:
            self._release(space, claim)

    def _pause(self, space: Space, error: EmbedderError) -> None:
        """Leaves a space alone for a while, each time longer; its images are claimed again, and none pays for it."""
        before = self._pauses.get(space.space_id)
        faults = before.faults + 1 if before is not None else 0
        pause_s = _PAUSE_S[min(faults, len(_PAUSE_S) - 1)]
        if isinstance(error, EmbedderBusy):
            pause_s = error.retry_after_s  # it lives, and says when there is room
        elif before is None:
            _log.warning("Indexing of %s waits: %s", space.key, error)
        self._pauses[space.space_id] = _Pause(time.monotonic() + pause_s, faults)

    def _others_at_work(self, space: Space) -> bool:
        with self._database.transaction() as connection:
            return work.any_leased(connection, space.space_id)

    def _reconcile(self, space: Space) -> None:
        """Looks for images without a vector in the tables themselves: no list of jobs has to be complete."""
        begun = (space.space_id, space.created_at)  # a space that was retired may have begun anew
        last = self._reconciled_at.get(begun)
        if last is None or time.monotonic() - last > RECONCILE_S:
            with self._database.transaction(timeout_s=300) as connection:
                work.reconcile(connection, space)
            self._reconciled_at[begun] = time.monotonic()

    def _claim(self, space: Space, embedder: Embedder) -> _Claim:
        with self._database.transaction() as connection:
            return self._claimed(connection, space, embedder)

    def _claimed(self, connection: Connection, space: Space, embedder: Embedder) -> _Claim:
        token, limit = uuid4(), self._batch or embedder.bulk_size
        items = work.claim(connection, space, token, limit=limit, lease_s=self._lease_s)
        return _Claim(token, items, time.monotonic())

    def _release(self, space: Space, claim: _Claim) -> None:
        with self._database.transaction() as connection:
            work.release(connection, space, claim.token)

    def _embed_batch(self, space: Space, embedder: Embedder, claim: _Claim, tally: "_Tally") -> _Claim:
        """Embeds what is claimed and writes it; the next claim, of the same transaction: small batches cost little."""
        started = time.monotonic()
        try:
            done, failed = self._embed(embedder, claim.items)
        except BaseException:
            self._release(space, claim)
            raise
        embedding_s = time.monotonic() - started
        with self._database.transaction() as connection:
            work.finish(connection, space, claim.token, done)
            for item, code in failed:
                _log.warning("Image %s of %s failed: %s", item.image_id, item.product_id, code)
                work.fail(connection, space, claim.token, item, code, retry_s=RETRY_S)
            following = self._claimed(connection, space, embedder)
        self._pauses.pop(space.space_id, None)
        tally.add(len(done), len(failed))
        codes = tuple(code for _, code in failed)
        self._on_batch(Batch(space.key, len(done), codes, embedding_s, time.monotonic() - claim.at))
        return following

    def _embed(
        self, embedder: Embedder, items: list[WorkItem]
    ) -> tuple[list[tuple[WorkItem, Vector]], list[tuple[WorkItem, str]]]:
        readable: list[tuple[WorkItem, bytes]] = []
        failed: list[tuple[WorkItem, str]] = []
        for item in items:
            try:
                readable.append((item, self._pictures.read(item.bytes_ref)))
            except NotFound:
                failed.append((item, "picture_missing"))
            except OSError:
                failed.append((item, "picture_unreadable"))
        done: list[tuple[WorkItem, Vector]] = []
        results = embedder.embed_images([data for _, data in readable], bulk=True) if readable else []
        for (item, _), result in zip(readable, results, strict=True):
            if isinstance(result, SeesameError):
                failed.append((item, result.code))
            else:
                done.append((item, result))
        return done, failed
