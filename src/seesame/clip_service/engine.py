"""The model of the service: how it comes here, whether it works, and the queue in front of it."""

import asyncio
import io
import itertools
import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Literal

import numpy as np
from PIL import Image

from seesame import images
from seesame.cache import VectorCache, photo_digest
from seesame.clip_service.metrics import ClipMetrics
from seesame.embedding.batcher import Batcher, Bounds, Load
from seesame.errors import (
    EmbedderBusy,
    EmbedderUnavailable,
    ModelInvalid,
    ModelNotFound,
    ModelUnavailable,
    SeesameError,
)
from seesame.images import Decoder
from seesame.models import hub
from seesame.models.clip import ClipModel
from seesame.models.image_model import ImageModel
from seesame.settings import ClipSettings
from seesame.types import SpaceIdentity, Vector

_log = logging.getLogger(__name__)

Status = Literal["starting", "downloading", "ok", "wedged", "failed", "draining"]

_RETRY_S = (10, 60, 300)  # between attempts to get the model; the last repeats
_LOOK_S = 0.25
_CANARY_S = 5.0  # without a successful inference, until one is made to prove that the model works
_STALL_S = 1.6  # twice what a run may take; it is stuck then, unless one picture alone takes a fourth of it
_SAME = 0.99  # cosine: how a graph rounds may depend on what else is in the batch
_CLOSE_S = 2.0
_REMEMBERED_BYTES = 16 * 2**20  # of vectors of bulk work: what two cores compute in minutes, longer than a lease


@dataclass(frozen=True, slots=True)
class Download:
    """How far a download is, in bytes."""

    done: int
    total: int


class Engine:
    """Loads the model in the background and proves that it works, again and again."""

    def __init__(self, settings: ClipSettings, metrics: ClipMetrics, *, model: ImageModel | None = None) -> None:
        """`model` is used instead of the one that the settings name."""
        self._settings = settings
        self._metrics = metrics
        self._given = model
        self._batcher: Batcher | None = None
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._status: Status = "starting"
        self._since = datetime.now(UTC)
        self._computed_before = VectorCache(max_bytes=_REMEMBERED_BYTES)
        self._decoder: Decoder = images
        self._canary = _canary()
        self._expected: Vector | None = None
        self._stall_s = _STALL_S
        self._proved_at = 0.0
        self._changed_at = 0.0
        self.model: ImageModel | None = None
        self.detail: str | None = None
        self.download: Download | None = None
        # A daemon: a hub that does not answer must not keep the process from ending.
        self._loader = threading.Thread(target=self._load, name="model-loader", daemon=True)
        metrics.watch(lambda: self.load, lambda: self.ready)

    @property
    def status(self) -> Status:
        """What the service is doing."""
        return self._status

    @property
    def since(self) -> datetime:
        """Since when it does that."""
        return self._since

    @property
    def ready(self) -> bool:
        """Whether inferences succeed."""
        return self._status == "ok"

    @property
    def load(self) -> Load:
        """What is in the queue."""
        return self._batcher.load if self._batcher is not None else Load(0, 0)

    def refuse_if_full(self) -> None:
        """Raises what `submit` would raise for one query, before there is work with its body."""
        try:
            self._working().refuse_if_full()
        except EmbedderBusy:
            self._metrics.rejected()
            raise

    def submit(self, contents: Sequence[bytes] | Sequence[str], *, bulk: bool = False) -> list[Future[Vector]]:
        """Accepts pictures or texts, all or none.

        Raises:
            EmbedderBusy: the queue is full.
            EmbedderUnavailable: no model yet, or it is stuck.
        """
        try:
            return self._working().submit(contents, bulk=bulk)
        except EmbedderBusy:
            self._metrics.rejected()
            raise

    def submit_bulk(self, pictures: Sequence[bytes]) -> list[Future[Vector]]:
        """Accepts pictures that nobody waits for, all or none; what was computed of late is not computed again.

        So a worker that is killed, or cut off before the reply, costs no work. Reads all bytes: call it in a thread.

        Raises as `submit` does.
        """
        self._working()
        assert self.model is not None
        identity = self.model.identity
        digests = [photo_digest(picture) for picture in pictures]
        known = [self._computed_before.get(identity, digest) for digest in digests]
        unknown = [picture for picture, vector in zip(pictures, known, strict=True) if vector is None]
        accepted = iter(self.submit(unknown, bulk=True) if unknown else [])
        futures = []
        for digest, vector in zip(digests, known, strict=True):
            if vector is None:
                future = next(accepted)
                future.add_done_callback(partial(self._remember, identity, digest))
            else:
                future = Future()
                future.set_result(vector)
            futures.append(future)
        self._metrics.remembered(len(pictures) - len(unknown))
        return futures

    def start(self, decoder: Decoder) -> None:
        """Begins to load the model; `decoder` decodes what it is given."""
        self._decoder = decoder
        self._loader.start()

    def drain(self) -> None:
        """Not ready from now on; what was accepted is finished."""
        self._become("draining")

    def close(self) -> None:
        """Ends the threads."""
        until = time.monotonic() + _CLOSE_S
        self._stopped.set()
        self._loader.join(_CLOSE_S)
        if self._batcher is not None:
            self._batcher.close(wait_s=max(0.0, until - time.monotonic()))

    async def keep_proving(self) -> None:
        """Watches the workers and makes a canary inference whenever nothing else has proved that the model works."""
        while True:
            await asyncio.sleep(_LOOK_S)
            if self._batcher is None or self._status == "draining":
                continue
            if self._batcher.stalled_s() > self._stall_s:
                self._become("wedged", "An inference does not end.")
            elif self._status == "wedged" and self._proved_at > self._changed_at:
                self._become("ok")
            elif self._status != "ok" or time.monotonic() - self._proved_at > _CANARY_S:
                await self._prove(self._batcher)

    def _working(self) -> Batcher:
        if self._batcher is None or self._status not in ("ok", "draining"):
            raise EmbedderUnavailable("The model is not ready.")
        return self._batcher

    def _remember(self, identity: SpaceIdentity, digest: bytes, future: Future[Vector]) -> None:
        if not future.cancelled() and future.exception() is None:
            self._computed_before.put(identity, digest, future.result())

    async def _prove(self, batcher: Batcher) -> None:
        try:
            (future,) = batcher.submit([self._canary])
        except SeesameError:
            return  # full: what is in the queue proves it, or stalls
        try:
            vector = await asyncio.wait_for(asyncio.wrap_future(future), self._stall_s)
        except TimeoutError:
            return  # it waits for pictures that take long to decode, which is no fault, or for a run that has stalled
        except SeesameError as error:
            self._become("failed", str(error))
        else:
            self._judge(vector)

    def _judge(self, vector: Vector) -> None:
        if self._expected is not None and not float(vector @ self._expected) >= _SAME:  # NaN is not either
            self._become("failed", "The same picture got another vector than before.")
        else:
            self._proved_at = time.monotonic()
            self._become("ok")

    def _become(self, status: Status, detail: str | None = None) -> None:
        with self._lock:
            if self._status == "draining":
                return
            self.detail = detail
            if status == self._status:
                return
            before, self._status, self._since = self._status, status, datetime.now(UTC)
            self._changed_at = time.monotonic()
        if status == "ok":
            _log.info("✅ Python CLIP service is ready (was %s)", before)
        elif status in ("wedged", "failed"):
            _log.error("⚠️ Python CLIP service is not ready: %s", detail)

    # Loading, in a thread of its own

    def _load(self) -> None:
        for wait_s in itertools.chain(_RETRY_S, itertools.repeat(_RETRY_S[-1])):
            try:
                self._open(self._given or self._fetch())
            except (ModelNotFound, ModelInvalid) as error:
                self._become("failed", str(error))
                return
            except ModelUnavailable as error:
                if self._stopped.is_set():
                    return
                self._become("failed", f"{error} Next try in {wait_s} s.")
            except BaseException:  # noqa: BLE001 - whatever it is, the service says that it has no model
                _log.exception("The model cannot be loaded")
                self._become("failed", "The model cannot be loaded; the log says why.")
                return
            else:
                return
            if self._stopped.wait(wait_s):
                return

    def _fetch(self) -> ImageModel:
        settings = self._settings
        folder = hub.pull(
            settings.model, cache_dir=settings.cache_dir, precision=settings.precision, progress=self._downloading
        )
        self.download = None
        self._become("starting")
        return ClipModel.load(
            folder,
            name=hub.space_name(settings.model),
            precision=settings.precision,
            threads=settings.threads or None,
            cache_dir=settings.cache_dir,
        )

    def _open(self, model: ImageModel) -> None:
        if self._stopped.is_set():
            return
        settings = self._settings
        bounds = Bounds(max_images=settings.queue_images, max_bytes=settings.queue_bytes, queue_s=settings.queue_s)
        batcher = Batcher(
            model,
            limits=settings.image_limits,
            decoder=self._decoder,
            bounds=bounds,
            on_stage=self._metrics.stage,
            on_batch=self._computed,
        )
        try:
            self._warm_up(batcher, model)
        except BaseException:
            batcher.close(wait_s=_CLOSE_S)
            raise
        self.model, self._batcher = model, batcher
        self._metrics.loaded(model.identity, settings.precision)
        self._proved_at = time.monotonic()
        _log.info(
            "✅ CLIP feature extraction successful: %d dimensions (%s)", model.identity.dimensions, model.identity.key
        )
        self._become("ok")

    def _warm_up(self, batcher: Batcher, model: ImageModel) -> None:
        """Computes a full batch, for the memory that it takes, then a picture alone, for its vector and its time."""
        full = np.full((model.pictures_per_run, 3, *model.preprocessing.size), 0.1, dtype=np.float32)
        model.images(full, alone=False)
        batcher.submit([self._canary])[0].result()
        started = time.monotonic()
        self._expected = batcher.submit([self._canary])[0].result()
        self._stall_s = max(_STALL_S, 4 * (time.monotonic() - started))

    def _computed(self, size: int) -> None:
        self._metrics.batch(size)
        self._proved_at = time.monotonic()

    def _downloading(self, done: int, total: int) -> None:
        if self._stopped.is_set():
            raise ModelUnavailable("The service is ending.")  # out of the download; the next start takes it up
        self._become("downloading")
        before = self.download
        self.download = Download(done, total)
        if total and (before is None or 10 * done // total > 10 * before.done // total):
            _log.info("Downloading %s: %d of %d MB", self._settings.model, done // 1_000_000, total // 1_000_000)


def _canary() -> bytes:
    """A picture with something in it, the same in every process."""
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    pixels = np.stack(
        [np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 96, np.uint8)], axis=2
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()
