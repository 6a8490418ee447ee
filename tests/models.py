"""A model for tests that can be watched, held and made to fail."""

import io
import threading
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from seesame.application import Application
from seesame.embedding.local import LocalEmbedder
from seesame.errors import ModelInvalid
from seesame.models.preprocessing import Preprocessing
from seesame.types import SpaceIdentity, Vectors

WAIT_S = 20
"""For what must happen; only a failing test waits so long."""

BAD = 255
"""The red of a picture that the model fails on."""


def png(red: int, green: int = 100) -> bytes:
    """A picture of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (red, green, 50)).save(buffer, "PNG")
    return buffer.getvalue()


def until(condition: Callable[[], object]) -> None:
    """Waits for what another thread is about to make true."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


class Thumbnail:
    """A quick model that knows pictures again, also damaged ones: by six by six pixels, less their mean."""

    identity = SpaceIdentity("thumbnail", "0" * 64, 108)
    preprocessing = Preprocessing(resize=(6, 6), crop=(6, 6), mean=(0, 0, 0), std=(1, 1, 1))
    has_text = False
    parallel_runs = 2
    pictures_per_run = 8

    def images(self, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        flat = (tensors - tensors.mean(axis=(1, 2, 3), keepdims=True)).reshape(len(tensors), -1) + 1e-3
        unit: Vectors = flat / np.linalg.norm(flat, axis=1, keepdims=True)
        return unit

    def texts(self, texts: Sequence[str]) -> Vectors:
        raise ModelInvalid("This model has no text tower.")


def use_thumbnails(application: Application) -> None:
    """Lets the quick model alone fill the catalogue and answer."""
    fallback = application.spaces.fallback("clip_unavailable")
    application.spaces.remove(fallback.space.key)
    fallback.embedder.close()
    application.spaces.add(LocalEmbedder(Thumbnail()))
    application.indexer.run_once(finish=True)  # of nothing: it answers from now on


class MeanColour:
    """A model whose vector is a picture's mean colour, and that watches how it is called.

    While it is `held`, each run announces itself in `begun` and waits until `let` lets it through.
    """

    identity = SpaceIdentity("mean-colour", "0" * 64, 3)
    preprocessing = Preprocessing(resize=(8, 8), crop=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))
    has_text = True

    def __init__(self, *, parallel_runs: int = 1, pictures_per_run: int = 4, takes_s: float = 0.0) -> None:
        self.parallel_runs = parallel_runs
        self.pictures_per_run = pictures_per_run
        self.takes_s = takes_s
        self.fault: BaseException = ModelInvalid("Too red.")
        self.runs: list[list[int] | list[str]] = []
        self.alone: list[bool] = []
        self.at_once = 0
        self.most_at_once = 0
        self.held = False
        self.begun = threading.Semaphore(0)
        self.lock = threading.Lock()
        self._permits = threading.Semaphore(0)

    @property
    def batches(self) -> list[int]:
        """How many pictures or texts each run had."""
        return [len(run) for run in self.runs]

    @property
    def seen(self) -> list[int | str]:
        """All that was computed: of pictures the red."""
        return [one for run in self.runs for one in run]

    def let(self, runs: int = 1) -> None:
        """Lets runs that are held, or the next ones, through."""
        self._permits.release(runs)

    def release(self) -> None:
        """Ends the holding."""
        self.held = False
        self.let(100)

    def images(self, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        means: Vectors = tensors.mean(axis=(2, 3))
        self.alone.append(alone)
        self._run([round(float(red) * 255) for red in means[:, 0]])
        if (means[:, 0] > 0.99).any():
            raise self.fault
        unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def texts(self, texts: Sequence[str]) -> Vectors:
        self._run(list(texts))
        if not self.has_text:
            raise ModelInvalid("This model has no text tower.")
        return np.tile(np.array([1, 0, 0], np.float32), (len(texts), 1))

    def _run(self, run: list[int] | list[str]) -> None:
        with self.lock:
            self.runs.append(run)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        if self.held:
            self.begun.release()
            assert self._permits.acquire(timeout=WAIT_S)
        time.sleep(self.takes_s)
        with self.lock:
            self.at_once -= 1
