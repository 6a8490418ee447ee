"""Decodes and computes what arrives, in batches, on a few worker threads.

A picture costs two steps: decoding, and its share of a run of the network. Each worker does what is most useful next:
it starts a run if one may start, else it decodes, else it waits. So nothing idles while there is work, and a batch is
what has gathered while the ones before were computed. A run with nothing beside it uses all cores, others their share.

Queries go before bulk work, which is overdue, and equal to them, after `BULK_DELAY_S`. What is accepted is bounded;
what is over the bound is refused at once. Every future is resolved, whatever fails.
"""

import heapq
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from seesame import images
from seesame.errors import EmbedderBusy, EmbedderUnavailable, ModelInvalid, SeesameError
from seesame.images import Decoder, ImageLimits
from seesame.models.image_model import ImageModel
from seesame.models.session import default_threads
from seesame.types import Vector, Vectors

_log = logging.getLogger(__name__)

BULK_DELAY_S = 2.0
_WAIT_SHARE = 0.5  # of a picture's computing time, spent waiting for others that are being decoded
_RETURN_SHARE = 0.15  # the same, for those who were just answered and will ask again
_WEIGHT = 0.2  # of the newest duration in the running averages
_DECODE_S = 5.0  # a picture that is large, but within the limits, may take so long: that is no fault
_MOST_TIMES = 4  # the average, that one duration counts for
_BULK_SHARE = 0.75  # of the bounds, that bulk may fill: queries find room behind any amount of it
_BULK_RUN_S = 0.2  # that a run with bulk in it may take: a query waits for its end, and a killed worker loses it

Stage = Literal["queue", "decode", "inference"]
OnStage = Callable[[Stage, float], None]
OnBatch = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait, and how batches are formed.

    A query is refused with EmbedderBusy when the pictures before it are expected to take longer than `queue_s`, and
    anything when more than `max_images` pictures or `max_bytes` would be there; bulk already at three quarters of that.
    `run_s` is how long one run may take: batches are kept smaller where the machine is slow. `batch_wait_s` is how
    long, at most, a picture that is decoded waits for others that are on their way.
    """

    max_images: int = 256
    max_bytes: int = 256 * 2**20
    queue_s: float = 2.0
    run_s: float = 0.75
    batch_wait_s: float = 0.05


@dataclass(frozen=True, slots=True)
class Load:
    """What is accepted and not yet answered."""

    images: int
    bytes: int


@dataclass(order=True, slots=True)
class _Entry:
    """A picture or a text on its way. Sorted by when it is due."""

    due: float
    number: int
    content: bytes | str = field(compare=False)
    bulk: bool = field(compare=False)
    future: Future[Vector] = field(compare=False, default_factory=Future)
    since: float = field(compare=False, default=0.0)
    tensor: NDArray[np.float32] | None = field(compare=False, default=None)

    @property
    def is_text(self) -> bool:
        return isinstance(self.content, str)


class _Run(NamedTuple):
    """What is computed together, and whether nothing else is to be done meanwhile."""

    entries: list[_Entry]
    alone: bool


class Batcher:
    """A queue in front of a model. Safe to use from several threads; close it when done."""

    def __init__(
        self,
        model: ImageModel,
        *,
        limits: ImageLimits | None = None,
        decoder: Decoder = images,
        bulk_decoder: Decoder | None = None,
        bounds: Bounds | None = None,
        workers: int | None = None,
        on_stage: OnStage = lambda stage, seconds: None,  # noqa: ARG005 - nobody measures
        on_batch: OnBatch = lambda size: None,  # noqa: ARG005
    ) -> None:
        """`workers` is the number of threads, by default one for each core and never less than two.

        `bulk_decoder` is for what is submitted in bulk, by default the same. `on_batch` is told how many got a vector
        in a run, unless none did.
        """
        self._model = model
        self._limits = limits or ImageLimits()
        self._decoder = decoder
        self._bulk_decoder = bulk_decoder or decoder
        self._bounds = bounds or Bounds()
        self._on_stage = on_stage
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._closed = False
        self._number = 0
        self._entries: dict[int, _Entry] = {}
        self._bytes = 0
        self._waiting: list[_Entry] = []
        self._ready: list[_Entry] = []
        self._decoding = 0
        self._runs = 0
        self._running = 0  # pictures in them
        self._company = 0
        self._gather_since = 0.0
        self._picture_s = 0.0  # a picture's share of a run, as of late
        self._decode_s = 0.0
        self._threads = workers or max(2, default_threads())
        self._busy: dict[threading.Thread, tuple[Stage, float] | None] = {}
        for number in range(self._threads):
            thread = threading.Thread(target=self._work, name=f"embed-{number}", daemon=True)
            self._busy[thread] = None
        for thread in list(self._busy):
            thread.start()

    def submit(self, contents: Sequence[bytes] | Sequence[str], *, bulk: bool = False) -> list[Future[Vector]]:
        """A future for each encoded picture or text: all of them are accepted, or none.

        A future holds a unit vector, an ImageError, a ModelInvalid or a DecoderUnavailable. Cancelling it drops what is
        not yet computed.

        Raises:
            EmbedderBusy: too much waits already.
            EmbedderUnavailable: closed.
        """
        size = sum(map(len, contents))
        with self._changed:
            if self._closed:
                raise EmbedderUnavailable("The model is being closed.")
            self._refuse_if_full(len(contents), size, bulk=bulk)
            now = time.monotonic()
            accepted = []
            for content in contents:
                self._number += 1
                due = now + BULK_DELAY_S if bulk else now
                entry = _Entry(due, self._number, content, bulk, since=now)
                entry.future.add_done_callback(partial(self._forget, entry.number))
                self._entries[entry.number] = entry
                heapq.heappush(self._ready if entry.is_text else self._waiting, entry)
                accepted.append(entry.future)
            self._bytes += size
            self._changed.notify_all()
        return accepted

    def refuse_if_full(self) -> None:
        """Raises EmbedderBusy if one more query would be refused now, for callers with something to do before."""
        with self._changed:
            self._refuse_if_full(1, 0, bulk=False)

    @property
    def load(self) -> Load:
        """What is accepted and not yet answered."""
        with self._changed:
            return Load(len(self._entries), self._bytes)

    def stalled_s(self) -> float:
        """For how long the work has not moved; 0 while it moves or there is none, infinite once a worker is dead."""
        now = time.monotonic()
        with self._changed:
            if not self._closed and not all(thread.is_alive() for thread in self._busy):
                return math.inf
            busy = list(self._busy.values())
            runs = [now - act[1] for act in busy if act is not None and act[0] == "inference"]
            decodes = [now - act[1] for act in busy if act is not None and act[0] == "decode"]
        everybody_decodes = min(decodes) - _DECODE_S if len(decodes) == self._threads else 0.0
        return max([0.0, everybody_decodes, *runs])

    def close(self, *, wait_s: float | None = None) -> None:
        """Finishes what was accepted, for `wait_s` at most, and ends the threads; what is left then is cancelled."""
        deadline = None if wait_s is None else time.monotonic() + wait_s
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._busy:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
        with self._changed:
            left = list(self._entries.values())
        for entry in left:
            entry.future.cancel()

    # Admission; the lock is held

    def _refuse_if_full(self, count: int, size: int, *, bulk: bool) -> None:
        bounds = self._bounds
        each_s = self._picture_s / self._model.parallel_runs + self._decode_s / self._threads
        before = sum(1 for entry in self._entries.values() if bulk or not entry.bulk)
        room = _BULK_SHARE if bulk else 1.0
        full = len(self._entries) + count > room * bounds.max_images or self._bytes + size > room * bounds.max_bytes
        if self._entries and (full or (not bulk and before * each_s > bounds.queue_s)):
            raise EmbedderBusy(max(1.0, before * each_s - bounds.queue_s))

    def _forget(self, number: int, _: Future[Vector]) -> None:
        with self._changed:
            entry = self._entries.pop(number, None)
            if entry is not None:
                self._bytes -= len(entry.content)
                entry.content = entry.content[:0]  # one that was cancelled may lie in the queue for long
            if self._closed:
                self._changed.notify_all()  # it may have been the last that a worker stays for

    # The workers

    def _work(self) -> None:
        me = threading.current_thread()
        while True:
            with self._changed:
                self._busy[me] = None
                act = self._choose()
                while act is None:
                    if self._closed and not self._entries:
                        self._changed.notify_all()
                        return
                    self._changed.wait(self._patience())
                    act = self._choose()
                self._busy[me] = ("inference" if isinstance(act, _Run) else "decode", time.monotonic())
            if isinstance(act, _Run):
                self._run(act)
            else:
                self._decode(act)

    def _choose(self) -> _Run | _Entry | None:
        """What to do next: a batch to compute, a picture to decode, or None."""
        if self._patience() == 0:
            batch = self._batch()
            self._runs += 1
            self._running += len(batch)
            return _Run(batch, alone=self._runs == 1 and not (self._ready or self._coming))
        most = max(2 * self._model.pictures_per_run * self._model.parallel_runs, self._threads)
        while self._waiting and self._ahead() < most:
            entry = heapq.heappop(self._waiting)
            if not entry.future.cancelled():
                self._decoding += 1
                return entry
            entry.future.set_running_or_notify_cancel()  # else `concurrent.futures.wait` would wait for it
        return None

    def _ahead(self) -> int:
        """How much is decoded, or about to be, that would be computed before what is decoded next."""
        bulk = self._waiting[0].bulk
        return self._decoding + sum(bulk or not entry.bulk for entry in self._ready)

    def _patience(self) -> float | None:
        """How long to wait before a run may start with what is there; None: until something changes."""
        free = self._model.parallel_runs - self._runs
        if not self._ready or not free:
            return None
        gathered = len(self._ready)
        share = 0.0
        if self._coming and gathered < self._fair_share():
            share = _WAIT_SHARE
        elif not self._coming and gathered * free < min(self._company, self._most()) and not self._closed:
            # As many were there a moment ago, and were answered together: they will come again together.
            share = _RETURN_SHARE
        wait_s = min(share * self._picture_s, self._bounds.batch_wait_s)
        since = max(self._gather_since, self._ready[0].since)
        return max(0.0, since + wait_s - time.monotonic())

    @property
    def _coming(self) -> int:
        """How many will be ready soon."""
        return len(self._waiting) + self._decoding

    def _fair_share(self) -> int:
        """How many the next run should have, so that all runs at once have alike."""
        everything = len(self._ready) + self._coming + self._running
        return min(self._most(), -(-everything // self._model.parallel_runs))

    def _most(self) -> int:
        """How many of what is ready fit into one run."""
        bulk = any(entry.bulk for entry in self._ready)
        run_s = min(_BULK_RUN_S, self._bounds.run_s) if bulk else self._bounds.run_s
        most = self._model.pictures_per_run
        if self._picture_s * most > run_s:
            most = int(run_s / self._picture_s)
        return max(1, most)

    def _batch(self) -> list[_Entry]:
        """The first of what is ready and more of its kind, as its share if several runs may start."""
        most, kind = self._fair_share(), self._ready[0].is_text
        batch: list[_Entry] = []
        other: list[_Entry] = []
        while self._ready and len(batch) < most:
            entry = heapq.heappop(self._ready)
            if entry.is_text != kind:
                other.append(entry)
            elif entry.future.set_running_or_notify_cancel():
                batch.append(entry)
        for entry in other:
            heapq.heappush(self._ready, entry)
        return batch

    def _decode(self, entry: _Entry) -> None:
        started = time.monotonic()
        self._on_stage("queue", started - entry.since)
        fault: SeesameError | None = None
        try:
            entry.tensor = self._tensor(entry.content, self._bulk_decoder if entry.bulk else self._decoder)
        except SeesameError as error:
            fault = error
        except BaseException as error:  # noqa: BLE001 - whatever it is, the future is resolved and the worker lives
            fault = _broken(error)
        ended = time.monotonic()
        self._on_stage("decode", ended - started)
        if fault is not None and entry.future.set_running_or_notify_cancel():
            entry.future.set_exception(fault)
        with self._changed:
            self._decoding -= 1
            self._decode_s = _average(self._decode_s, ended - started)
            if fault is None:
                entry.since = ended
                heapq.heappush(self._ready, entry)
            self._changed.notify_all()

    def _tensor(self, content: bytes | str, decoder: Decoder) -> NDArray[np.float32]:
        assert isinstance(content, bytes)
        preprocessing = self._model.preprocessing
        picture = decoder.decode(content, limits=self._limits, shortest_side=preprocessing.shortest_side)
        return preprocessing.apply(picture)

    def _run(self, run: _Run) -> None:
        started = time.monotonic()
        batch = run.entries
        for entry in batch:
            self._on_stage("queue", started - entry.since)
        computed = self._compute(batch, alone=run.alone) if batch else 0
        ended = time.monotonic()
        if batch:
            self._on_stage("inference", ended - started)
        if computed:
            self._on_batch(computed)
        with self._changed:
            self._runs -= 1
            self._running -= len(batch)
            if batch and not batch[0].is_text:
                self._picture_s = _average(self._picture_s, (ended - started) / len(batch))
            self._company = len(batch) + len(self._ready) + self._coming
            self._gather_since = ended
            self._changed.notify_all()

    def _compute(self, batch: list[_Entry], *, alone: bool) -> int:
        """Resolves each entry; a batch that fails is halved until the culprit is alone. How many got a vector."""
        with self._changed:
            self._busy[threading.current_thread()] = ("inference", time.monotonic())  # each half shows that it moves
        try:
            vectors = self._vectors(batch, alone=alone)
        except BaseException as error:  # noqa: BLE001 - also the panics of the tokenizer, which is written in Rust
            if len(batch) == 1:
                batch[0].future.set_exception(error if isinstance(error, ModelInvalid) else _broken(error))
                return 0
            half = len(batch) // 2
            return self._compute(batch[:half], alone=alone) + self._compute(batch[half:], alone=alone)
        for entry, vector in zip(batch, vectors, strict=True):
            entry.future.set_result(vector)
        return len(batch)

    def _vectors(self, batch: list[_Entry], *, alone: bool) -> Vectors:
        if batch[0].is_text:
            vectors = self._model.texts([str(entry.content) for entry in batch])
        else:
            tensors = np.stack([entry.tensor for entry in batch if entry.tensor is not None])
            vectors = self._model.images(tensors, alone=alone)
        if len(vectors) != len(batch):
            raise ModelInvalid("The model returned another number of vectors than it was given pictures or texts.")
        return vectors


def _average(old: float, new: float) -> float:
    """The running average; a machine that was frozen for a while is not slow for long after."""
    return new if old == 0 else (1 - _WEIGHT) * old + _WEIGHT * min(new, _MOST_TIMES * old)


def _broken(error: BaseException) -> ModelInvalid:
    _log.error("A worker failed", exc_info=error)
    return ModelInvalid("The model failed.")
