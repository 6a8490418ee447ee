"""The embedder that computes in this process."""

import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from seesame import images
from seesame.errors import ImageError
from seesame.images import ImageLimits
from seesame.models.image_model import ImageModel
from seesame.models.session import default_threads
from seesame.types import SpaceIdentity, Vector, Vectors


class LocalEmbedder:
    """Decodes and computes on a few worker threads. Safe to call from several threads; close it when done.

    A worker takes a small group of pictures all the way from bytes to vectors, and only the computing is limited to as
    many at once as suit the model. So one worker decodes while another computes, and nobody waits for a stage to end.
    A call never has more than `batch_size` pictures in work, or one group for each worker if that is more: a query
    that comes during a long call waits for these at most.
    """

    def __init__(
        self,
        model: ImageModel,
        *,
        limits: ImageLimits | None = None,
        batch_size: int = 16,
        workers: int | None = None,
    ) -> None:
        """`workers` is the number of threads, by default one for each core and never less than two."""
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        self._model = model
        self._limits = limits or ImageLimits()
        self._workers = workers or max(2, default_threads())
        self._group = min(model.pictures_per_run, batch_size)
        self._ahead = max(self._workers, batch_size // self._group)
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="embed")
        self._turns = _Turns(model.parallel_runs)

    @property
    def identity(self) -> SpaceIdentity:
        """The space that the vectors belong to."""
        return self._model.identity

    @property
    def has_text(self) -> bool:
        """Whether the model has a text tower."""
        return self._model.has_text

    def embed_images(self, pictures: Sequence[bytes]) -> list[Vector | ImageError]:
        """One unit vector, or the ImageError of a picture that cannot be used, for each picture, in order.

        Raises ModelInvalid when the model itself fails.
        """
        results: list[Vector | ImageError] = []
        running: deque[Future[list[Vector | ImageError]]] = deque()
        try:
            for start in range(0, len(pictures), self._group):
                if len(running) == self._ahead:
                    results += running.popleft().result()
                running.append(self._pool.submit(self._embed_group, pictures[start : start + self._group]))
            while running:
                results += running.popleft().result()
        finally:
            for future in running:  # only after an error: nobody wants these any more
                future.cancel()
        return results

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (n, dimensions), one row a text. Raises ModelInvalid where `has_text` is False."""
        with self._turns.take():
            return self._model.texts(texts)

    def close(self) -> None:
        """Finishes what was accepted, then ends the threads. A later `embed_images` raises RuntimeError."""
        self._pool.shutdown()

    def _embed_group(self, pictures: Sequence[bytes]) -> list[Vector | ImageError]:
        tensors: NDArray[np.float32] = np.empty((len(pictures), 3, *self._model.preprocessing.size), dtype=np.float32)
        results: list[Vector | ImageError | None] = [None] * len(pictures)
        usable = 0
        for index, picture in enumerate(pictures):
            try:
                tensors[usable] = self._tensor(picture)
                usable += 1
            except ImageError as error:
                results[index] = error
        vectors = iter(self._compute(tensors[:usable]))
        return [next(vectors) if result is None else result for result in results]

    def _tensor(self, picture: bytes) -> NDArray[np.float32]:
        preprocessing = self._model.preprocessing
        image = images.decode(picture, limits=self._limits, shortest_side=preprocessing.shortest_side)
        return preprocessing.apply(image)

    def _compute(self, tensors: NDArray[np.float32]) -> Sequence[Vector]:
        if not len(tensors):
            return ()
        with self._turns.take():
            return list(self._model.images(tensors))


class _Turns:
    """Lets `places` threads in at a time, strictly in the order they came; a plain lock lets the fastest overtake."""

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: deque[threading.Event] = deque()
        self._lock = threading.Lock()

    @contextmanager
    def take(self) -> Iterator[None]:
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set()
            else:
                self._waiting.append(turn)
        turn.wait()
        try:
            yield
        finally:
            with self._lock:
                if self._waiting:
                    self._waiting.popleft().set()
                else:
                    self._free += 1
