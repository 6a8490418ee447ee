"""The embedder in this process: order, errors in place, fairness."""

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from seesame.embedding.local import LocalEmbedder
from seesame.errors import EmbedderUnavailable, ImageError, ImageTooLarge, ModelInvalid, UnsupportedFormat
from seesame.images import ImageLimits
from tests.models import MeanColour, png, until


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
    results = embedder.embed_images([png(red) for red in range(40)])
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
    results = embedder.embed_images([png(10), b"text", png(20), big.getvalue(), b"", png(30)])
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
    results = embedder.embed_images([png(5)] * 6 + [png(255)] + [png(5)] * 30)
    assert [index for index, result in enumerate(results) if not isinstance(result, np.ndarray)] == [6]
    assert isinstance(results[6], ModelInvalid)
    assert isinstance(embedder.embed_images([png(5)])[0], np.ndarray)


def test_many_callers_at_once(model: MeanColour, embedder: LocalEmbedder) -> None:
    """Concurrent calls get their own results, and the model is never entered by more than it allows."""
    with ThreadPoolExecutor(8) as pool:
        calls = [[png(red, green) for red in range(1, 12)] for green in range(50, 58)]
        for green, results in zip(range(50, 58), pool.map(embedder.embed_images, calls), strict=True):
            for red, vector in enumerate(results, start=1):
                assert isinstance(vector, np.ndarray)
                assert vector[0] / vector[1] == pytest.approx(red / green, abs=1e-5)
    assert model.most_at_once == 1


def test_a_model_that_allows_it_is_run_in_parallel() -> None:
    """As many runs at once as the model says are good."""
    model = MeanColour(parallel_runs=2, takes_s=0.05)
    embedder = LocalEmbedder(model, workers=4)
    embedder.embed_images([png(1)] * 32)
    embedder.close()
    assert model.most_at_once == 2


def test_a_query_overtakes_a_long_call() -> None:
    """One picture asked for in the middle of a long call is answered long before that call ends."""
    model = MeanColour(takes_s=0.02)
    embedder = LocalEmbedder(model)
    done: list[str] = []
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(embedder.embed_images, [png(1)] * 200, bulk=True)
        long.add_done_callback(lambda _: done.append("long"))
        while not model.batches:
            time.sleep(0.001)
        embedder.embed_images([png(2)])
        done.append("query")
        computed = sum(model.batches)
    embedder.close()
    assert done == ["query", "long"]
    assert computed < 40


def test_a_long_call_leaves_room_for_a_query() -> None:
    """A call of more pictures than the queue holds does not fill it: a query beside it is not refused."""
    model = MeanColour()
    model.held = True
    embedder = LocalEmbedder(model)
    with ThreadPoolExecutor(2) as pool:
        long = pool.submit(embedder.embed_images, [png(1)] * 300, bulk=True)
        until(lambda: embedder._batcher.load.images == 192)
        query = pool.submit(embedder.embed_images, [png(2)])
        until(lambda: embedder._batcher.load.images == 193)
        model.release()
        assert all(isinstance(result, np.ndarray) for result in [*long.result(), *query.result()])
    embedder.close()


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
        embedder.embed_images([png(1)])
