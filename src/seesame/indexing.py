"""Computes the vectors that images lack: claim, decode, embed in batches, write.

Any number of processes may do this at once, and each may be killed at any moment: what a claim held is claimed again
when its lease ends.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from uuid import uuid4

from seesame.db import work
from seesame.db.pool import Database
from seesame.errors import DatabaseError, ModelInvalid, NotFound, SeesameError, StorageFull
from seesame.pictures import PictureStore
from seesame.spaces import Spaces
from seesame.types import Embedder, Space, Vector, WorkItem

_log = logging.getLogger(__name__)

BATCH = 64  # images a claim: some seconds of work, far below the lease
LEASE_S = 60.0
RETRY_S = 30.0  # after the first fault of an image; grows with each
POLL_S = 30.0  # behind the notifications, in case one is lost
RECONCILE_S = 600.0
_RECONNECT_S = 1.0
_OTHERS_S = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run has come in one space. `total` is what lacked a vector when it began, in images."""

    space: str
    total: int
    done: int = 0
    failed: int = 0


OnProgress = Callable[[Progress], None]


class Indexer:
    """Fills every space that this process has an embedder for."""

    def __init__(
        self,
        database: Database,
        pictures: PictureStore,
        spaces: Spaces,
        *,
        batch: int = BATCH,
        lease_s: float = LEASE_S,
    ) -> None:
        self._database = database
        self._pictures = pictures
        self._spaces = spaces
        self._batch = batch
        self._lease_s = lease_s
        self._stop = threading.Event()
        self._reconciled_at: dict[int, float] = {}

    def run_once(self, on_progress: OnProgress | None = None, *, finish: bool = False) -> list[Progress]:
        """Embeds everything that lacks a vector now, space by space; what it did.

        Args:
            finish: also wait for what other workers have claimed, and take it over if they do not end it.
        """
        return [self._fill(space, embedder, on_progress, finish) for space, embedder in self._spaces.live()]

    def run_forever(self) -> None:
        """Embeds what arrives until `stop` is called; waits out a database that is away or full."""
        waiting: str | None = None
        while not self._stop.is_set():
            try:
                with work.listening(self._database) as wait:
                    while not self._stop.is_set():
                        self.run_once()
                        waiting = None
                        wait(POLL_S, self._stop)
            except (DatabaseError, StorageFull) as error:
                if str(error) != waiting:
                    _log.warning("Indexing waits: %s", error)
                waiting = str(error)
                self._stop.wait(_RECONNECT_S)

    def stop(self) -> None:
        """Ends a run after the batch at hand."""
        self._stop.set()

    def retry_failed(self) -> int:
        """Makes images that failed due again; how many."""
        with self._database.transaction() as connection:
            return work.retry_failed(connection)

    def failures(self, *, limit: int = 100) -> list[work.Failure]:
        """Images that failed, with the reason."""
        with self._database.transaction() as connection:
            return work.list_failed(connection, limit=limit)

    def _fill(self, space: Space, embedder: Embedder, on_progress: OnProgress | None, finish: bool) -> Progress:
        self._reconcile(space)
        with self._database.transaction() as connection:
            progress = Progress(space.key, total=work.count_pending(connection, space.space_id))
        started = time.monotonic()
        while not self._stop.is_set():
            done, failed = self._embed_batch(space, embedder)
            if not done and not failed:
                if finish and self._others_at_work(space):
                    self._stop.wait(_OTHERS_S)
                    continue
                break
            progress = replace(progress, done=progress.done + done, failed=progress.failed + failed)
            if on_progress is not None:
                on_progress(progress)
        if progress.done or progress.failed:
            elapsed = time.monotonic() - started
            _log.info(
                "Indexed %d images in %s (%.0f a second), %d failed",
                progress.done,
                space.key,
                progress.done / elapsed,
                progress.failed,
            )
        self._spaces.activate_if_complete(space)
        return progress

    def _others_at_work(self, space: Space) -> bool:
        with self._database.transaction() as connection:
            return work.any_leased(connection, space.space_id)

    def _reconcile(self, space: Space) -> None:
        """Looks for images without a vector in the tables themselves: no list of jobs has to be complete."""
        last = self._reconciled_at.get(space.space_id)
        if last is None or time.monotonic() - last > RECONCILE_S:
            with self._database.transaction(timeout_s=300) as connection:
                work.reconcile(connection, space)
            self._reconciled_at[space.space_id] = time.monotonic()

    def _embed_batch(self, space: Space, embedder: Embedder) -> tuple[int, int]:
        """How many images got their vector and how many failed; none of either when nothing was due."""
        token = uuid4()
        with self._database.transaction() as connection:
            items = work.claim(connection, space, token, limit=self._batch, lease_s=self._lease_s)
        if not items:
            return 0, 0
        try:
            done, failed = self._embed(embedder, items)
        except BaseException:
            with self._database.transaction() as connection:
                work.release(connection, space, token)
            raise
        with self._database.transaction() as connection:
            work.finish(connection, space, token, done)
            for item, code in failed:
                _log.warning("Image %s of %s failed: %s", item.image_id, item.product_id, code)
                work.fail(connection, space, token, item, code, retry_s=RETRY_S)
        return len(done), len(failed)

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
        results = _embed_all(embedder, [data for _, data in readable])
        for (item, _), result in zip(readable, results, strict=True):
            if isinstance(result, SeesameError):
                failed.append((item, result.code))
            else:
                done.append((item, result))
        return done, failed


def _embed_all(embedder: Embedder, pictures: Sequence[bytes]) -> list[Vector | SeesameError]:
    """A vector or a fault for each picture; a batch that fails as a whole is halved until the culprit is alone."""
    try:
        return [*embedder.embed_images(pictures)]
    except ModelInvalid as error:
        if len(pictures) <= 1:
            return [error for _ in pictures]
        half = len(pictures) // 2
        return _embed_all(embedder, pictures[:half]) + _embed_all(embedder, pictures[half:])
