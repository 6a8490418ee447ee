"""The embedder in this process: order, errors in place, fairness."""

import io
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from seesame.embedding.local import LocalEmbedder
from seesame.errors import EmbedderUnavailable, ImageError, ImageTooLarge, ModelInvalid, UnsupportedFormat
from seesame.images import ImageLimits
from seesame.models.preprocessing import Preprocessing
from seesame.types import SpaceIdentity, Vectors


class MeanColour:
    """A model whose vector is a picture's mean colour, and that watches how it is called."""

    identity = SpaceIdentity("mean-colour", "0" * 64, 3)
    preprocessing = Preprocessing(resize=(8, 8), crop=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))
    has_text = True

    def __init__(self, *, parallel_runs: int = 1, pictures_per_run: int = 4, takes_s: float = 0.0) -> None:
        self.parallel_runs = parallel_runs
        self.pictures_per_run = pictures_per_run
        self.takes_s = takes_s
        self.batches: list[int] = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    def images(self, tensors: NDArray[np.float32]) -> Vectors:
        with self.lock:
            self.batches.append(len(tensors))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.takes_s)
        with self.lock:
            self.at_once -= 1
        means: Vectors = tensors.mean(axis=(2, 3))
        if (means[:, 0] > 0.99).any():
            raise ModelInvalid("Too red.")
        unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def texts(self, texts: Sequence[str]) -> Vectors:
        return np.ones((len(texts), 3), np.float32)


def _png(red: int, green: int = 100) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (red, green, 50)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def model() -> MeanColour:
    """A fresh model for each test."""
    return MeanColour()


@pytest.fixture
def embedder(model: MeanColour) -> Iterator[LocalEmbedder]:
    """An embedder over it."""
    embedder = LocalEmbedder(model, limits=ImageLimits(max_pixels=10_000))
    yield embedder
    embedder.close()


def test_vectors_come_in_the_pictures_order(model: MeanColour, embedder: LocalEmbedder) -> None:
    """Forty pictures, over several groups: each vector belongs to its own picture, and groups stay small."""
    results = embedder.embed_images([_png(red) for red in range(40)])
    for red, vector in enumerate(results):
        assert isinstance(vector, np.ndarray)
        assert vector[0] / vector[1] == pytest.approx(red / 100, abs=1e-5)
    assert sum(model.batches) == 40
    assert max(model.batches) <= 4
    assert model.most_at_once == 1


def test_a_bad_picture_has_its_error_in_its_place(model: MeanColour, embedder: LocalEmbedder) -> None:
    """Its neighbours get their vectors, and it takes no part in the computing."""
    big = io.BytesIO()
    Image.new("RGB", (200, 200)).save(big, "PNG")
    results = embedder.embed_images([_png(10), b"text", _png(20), big.getvalue(), b"", _png(30)])
    kinds = [type(result) for result in results]
    assert kinds[:4] == [np.ndarray, UnsupportedFormat, np.ndarray, ImageTooLarge]
    assert isinstance(results[4], ImageError)
    assert kinds[5] is np.ndarray
    assert sum(model.batches) == 3


def test_nothing_and_only_bad_pictures_need_no_model(model: MeanColour, embedder: LocalEmbedder) -> None:
    """The model is not called for an empty group."""
    assert embedder.embed_images([]) == []
    assert all(isinstance(result, ImageError) for result in embedder.embed_images([b"a"] * 9))
    assert model.batches == []


def test_a_picture_that_the_model_fails_on_hurts_no_other(embedder: LocalEmbedder) -> None:
    """The batch is halved until the culprit is alone; its error stands in its place."""
    results = embedder.embed_images([_png(5)] * 6 + [_png(255)] + [_png(5)] * 30)
    assert [index for index, result in enumerate(results) if not isinstance(result, np.ndarray)] == [6]
    assert isinstance(results[6], ModelInvalid)
    assert isinstance(embedder.embed_images([_png(5)])[0], np.ndarray)


def test_many_callers_at_once(model: MeanColour, embedder: LocalEmbedder) -> None:
    """Concurrent calls get their own results, and the model is never entered by more than it allows."""
    with ThreadPoolExecutor(8) as pool:
        calls = [[_png(red, green) for red in range(1, 12)] for green in range(50, 58)]
        for green, results in zip(range(50, 58), pool.map(embedder.embed_images, calls), strict=True):
            for red, vector in enumerate(results, start=1):
                assert isinstance(vector, np.ndarray)
                assert vector[0] / vector[1] == pytest.approx(red / green, abs=1e-5)
    assert model.most_at_once == 1


def test_a_model_that_allows_it_is_run_in_parallel() -> None:
    """As many runs at once as the model says are good."""
    model = MeanColour(parallel_runs=2, takes_s=0.05)
    embedder = LocalEmbedder(model, workers=4)
    embedder.embed_images([_png(1)] * 32)
    embedder.close()
    assert model.most_at_once == 2


def test_a_query_overtakes_a_long_call() -> None:
    """One picture asked for in the middle of a long call is answered long before that call ends."""
    model = MeanColour(takes_s=0.02)
    embedder = LocalEmbedder(model)
    done: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(embedder.embed_images, [_png(1)] * 200, bulk=True)
        long.add_done_callback(lambda _: done.append("long"))
        while not model.batches:
            time.sleep(0.001)
        embedder.embed_images([_png(2)])
        done.append("query")
        computed = sum(model.batches)
    embedder.close()
    assert done == ["query", "long"]
    assert computed < 40


def test_texts_and_identity_are_the_models(embedder: LocalEmbedder) -> None:
    """What the model offers is passed on."""
    assert embedder.identity.model == "mean-colour"
    assert embedder.has_text
    assert embedder.embed_texts(["a", "b"]).shape == (2, 3)


def test_a_closed_embedder_refuses_work(model: MeanColour) -> None:
    """After close nothing is accepted any more, and nothing hangs."""
    embedder = LocalEmbedder(model)
    embedder.close()
    with pytest.raises(EmbedderUnavailable):
        embedder.embed_images([_png(1)])
