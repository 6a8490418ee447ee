"""The API beside a CLIP service that comes, goes, changes its model, is slow or full: a search is answered always."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from seesame.answers import Answer
from seesame.application import Application, open_application
from seesame.catalogue import Source
from seesame.clip_service.app import create_app
from seesame.http.server import Server, listen
from seesame.models.clip import ClipModel
from seesame.models.image_model import ImageModel
from seesame.models.preprocessing import Preprocessing
from seesame.queries import LikeProduct, Photo, Query, Words
from seesame.settings import ClipSettings, Settings
from seesame.types import Product, SpaceIdentity, Vectors
from tests.conftest import picture

GOLDENS = Path(__file__).parents[1] / "goldens"
COLOURS = ["red", "green", "blue", "black", "orange"]


@contextmanager
def _service(port: int, model: str | ImageModel = "immich", **settings: object) -> Iterator[Server]:
    """A CLIP service on a port, ready when the block begins."""
    given = model if not isinstance(model, str) else None
    name = str(GOLDENS / model) if isinstance(model, str) else "given"
    app = create_app(ClipSettings(model=name, port=port, _env_file=None, **settings), model=given)  # type: ignore[call-arg, arg-type]
    server = Server(app, listen("127.0.0.1", port), on_drain=app.state.engine.drain)
    server.start()
    try:
        _until(lambda: app.state.engine.ready)
        yield server
    finally:
        server.stop()


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(300):  # 30 s at most
        if condition():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not come true")


@pytest.fixture
def port() -> int:
    """A port that was free a moment ago, for a service that comes and goes."""
    listener = listen("127.0.0.1", 0)
    with listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def shop(settings: Settings, port: int) -> Iterator[Application]:
    """A shop of a few products that asks a CLIP service, which is not there yet."""
    changed = settings.model_copy(update={"clip_url": f"http://127.0.0.1:{port}", "clip_timeout_s": 1.0})
    with open_application(changed) as application:
        application.catalogue.put_many([Product(colour, title=f"A {colour} thing") for colour in COLOURS])
        sources = [(colour, Source(f"{colour}.jpg", picture(colour))) for colour in COLOURS]
        application.catalogue.publish([application.catalogue.store(name, 0, source) for name, source in sources])
        application.indexer.run_once()
        yield application


def _fill(shop: Application) -> None:
    shop.use_model()
    shop.indexer.run_once()


def _ask(shop: Application, colour: str = "blue", *, spot: int = 0) -> Answer:
    """A search by a picture that is not in the cache unless `spot` was asked for before."""
    answer = shop.search.find(Photo(picture(colour, spot=spot)), Query())
    assert answer.page.hits[0].product.product_id == colour
    return answer


def _said(answer: Answer) -> tuple[str, str | None]:
    return answer.space.split("@")[0], answer.degraded_reason


def test_the_fallback_answers_until_the_service_comes_and_after_it_has_gone(
    shop: Application, port: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Back and forth by itself; the log says which of them answers, once at each change."""
    caplog.set_level("INFO")
    assert not shop.use_model()
    assert not shop.use_model()
    assert _said(_ask(shop)) == ("efficientnet-lite0", "clip_unavailable")
    with _service(port):
        _until(shop.use_model)
        assert _said(_ask(shop)) == ("efficientnet-lite0", "clip_indexing")
        shop.indexer.run_once()
        assert _said(_ask(shop, spot=1)) == ("immich", None)
    assert _said(_ask(shop, spot=2)) == ("efficientnet-lite0", "clip_unavailable")
    shop.use_model()
    with _service(port):
        _until(shop.use_model)
        assert _said(_ask(shop, spot=3)) == ("immich", None)
    lines = [record.message for record in caplog.records if "Python CLIP service is" in record.message]
    here, away = (
        f"{mark} Python CLIP service is {what}" for mark, what in (("✅", "available"), ("⚠️", "not available"))
    )
    assert [line for line in lines if line.startswith((here, away))] == [
        f"{away}, using the fallback model", here, f"{away}, using the fallback model", here,
    ]  # fmt: skip
    assert "✅ CLIP feature extraction successful: 32 dimensions" in caplog.messages


def test_vectors_of_two_models_never_meet(shop: Application, port: int) -> None:
    """A service that comes back with another model of the same size: its vectors go into a space of their own."""
    with _service(port, "immich"):
        _fill(shop)
        before = _ask(shop)
        assert _said(before) == ("immich", None)
    with _service(port, "transformers_js"):
        # The first search finds out by the digest, before the watch has looked.
        assert _said(_ask(shop, spot=1)) == ("efficientnet-lite0", "clip_unavailable")
        _until(shop.use_model)
        assert _said(_ask(shop, spot=2)) == ("efficientnet-lite0", "clip_indexing")
        shop.indexer.run_once()
        after = _ask(shop)  # the photo that is in the cache for the old space
        assert _said(after) == ("transformers_js", None)
    for folder in ("immich", "transformers_js"):
        model = ClipModel.load(GOLDENS / folder, name=folder)
        space = next(space for space in shop.spaces.all() if space.key == model.identity.key)
        with shop.database.transaction() as connection:
            statement = f"SELECT image_embedding::real[] FROM seesame.embeddings_{space.space_id}"
            vectors = [np.asarray(row[0], np.float32) for row in connection.execute(statement.encode())]
        own = [_vector(model, _stored(shop, colour)) for colour in COLOURS]
        assert len(vectors) == 5
        for vector in vectors:
            assert max(float(vector @ other) for other in own) > 0.999


def _stored(shop: Application, product_id: str) -> bytes:
    return shop.catalogue.picture(shop.catalogue.get(product_id).images[0].image_id)


def _vector(model: ClipModel, data: bytes) -> NDArray[np.float32]:
    from seesame.images import decode

    vector: NDArray[np.float32] = model.images(model.preprocessing.apply(decode(data))[None])[0]
    return vector


def test_a_remembered_photo_needs_no_service(shop: Application, port: int) -> None:
    """Nor does one be found in the wrong space: what is remembered belongs to the space that it was asked in."""
    with _service(port):
        _fill(shop)
        first = _ask(shop)
        hits = shop.cache.counts.hits_local
        assert _ask(shop).page == first.page
        assert shop.cache.counts.hits_local == hits + 1
        words = shop.search.find(Words("blue"), Query())
        assert shop.search.find(Words("blue"), Query()).page == words.page
        assert shop.cache.counts.hits_local == hits + 2


def test_similar_products_and_words_without_the_service(shop: Application, port: int) -> None:
    """What has its vector is compared in the primary space all the same; words are matched as words."""
    with _service(port):
        _fill(shop)
        similar = shop.search.find(LikeProduct("red"), Query())
        assert _said(similar) == ("immich", None)
        assert shop.search.find(Words("blue"), Query()).page.method != "fulltext"
    assert shop.search.find(LikeProduct("red"), Query()).page == similar.page
    words = shop.search.find(Words("green"), Query())
    assert (words.page.method, words.degraded_reason) == ("fulltext", "clip_unavailable")
    assert words.page.hits[0].product.product_id == "green"
    shop.catalogue.put_many([Product("new")])
    shop.catalogue.add_image("new", picture("purple"))
    shop.indexer.run_once()
    assert _said(shop.search.find(LikeProduct("new"), Query())) == ("efficientnet-lite0", "clip_indexing")


class _Gated:
    """A model of three numbers that computes only while its gate is open."""

    identity = SpaceIdentity("given", "3" * 64, 3)
    preprocessing = Preprocessing(resize=(8, 8), crop=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))
    has_text = False
    parallel_runs = 1
    pictures_per_run = 4

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()

    def images(self, tensors: NDArray[np.float32], *, alone: bool = True) -> Vectors:
        assert self.gate.wait(60)
        means: Vectors = tensors.mean(axis=(2, 3)) + 0.01
        unit: Vectors = means / np.linalg.norm(means, axis=1, keepdims=True)
        return unit

    def texts(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError


def test_a_service_that_is_stuck_is_not_waited_for(shop: Application, port: int) -> None:
    """A search has the fallback's answer when the deadline is over; the watch sees that it is stuck, and its end."""
    model = _Gated()
    with _service(port, model):
        try:
            _fill(shop)
            assert _said(_ask(shop)) == ("given", None)
            model.gate.clear()
            assert _said(_ask(shop, spot=1)) == ("efficientnet-lite0", "clip_timeout")
            _until(lambda: not shop.use_model())
            assert _said(_ask(shop, spot=2)) == ("efficientnet-lite0", "clip_unavailable")
        finally:
            model.gate.set()
        _until(shop.use_model)
        assert _said(_ask(shop, spot=3)) == ("given", None)


def test_a_service_that_is_full_is_not_waited_for(shop: Application, port: int) -> None:
    """It lives, so it is asked again at once; what it refuses, the fallback answers."""
    model = _Gated()
    with _service(port, model, queue_images=32) as server:
        _fill(shop)
        model.gate.clear()
        import httpx2

        with httpx2.Client(base_url=server.url, timeout=30) as client:
            files = [("images", picture("red", spot=spot)) for spot in range(32)]
            bulk = threading.Thread(target=client.post, args=("/extract-features/batch",), kwargs={"files": files})
            bulk.start()
            try:
                _until(lambda: client.get("/health").json()["queue"]["images"] == 32)
                assert _said(_ask(shop, spot=1)) == ("efficientnet-lite0", "clip_busy")
            finally:
                model.gate.set()
                bulk.join()
        _until(shop.use_model)
        assert _said(_ask(shop, spot=1)) == ("given", None)


def test_the_backfill_goes_through_the_service_and_waits_for_it(shop: Application, port: int) -> None:
    """While the service is away its space is left alone, at no cost to an image; the fallback's is filled."""
    with _service(port):
        shop.use_model()
    shop.catalogue.put_many([Product("late")])
    shop.catalogue.add_image("late", picture("white"))
    runs = {run.space.split("@")[0]: run for run in shop.indexer.run_once()}
    assert (runs["efficientnet-lite0"].done, runs["immich"].paused) == (1, True)
    assert shop.indexer.failures() == []
    with _service(port):
        _until(shop.use_model)
        _until(lambda: _run(shop) == 0)
        assert _said(_ask(shop)) == ("immich", None)
        assert {space.missing for space in shop.spaces.states()} == {0}


def _run(shop: Application) -> int:
    shop.indexer.run_once()
    return sum(shop.indexer.pending().values())


def test_each_of_two_services_has_a_model_and_the_primarys_answers(settings: Settings) -> None:
    """The second one's space is filled beside the first one's, and answers once it is activated."""
    listeners = [listen("127.0.0.1", 0) for _ in range(2)]
    old, new = (int(listener.getsockname()[1]) for listener in listeners)
    for listener in listeners:
        listener.close()
    urls = f"http://127.0.0.1:{old},http://127.0.0.1:{new}"
    with open_application(settings.model_copy(update={"clip_url": urls, "clip_timeout_s": 1.0})) as shop:
        shop.catalogue.put_many([Product(colour) for colour in COLOURS])
        sources = [(colour, Source(f"{colour}.jpg", picture(colour))) for colour in COLOURS]
        shop.catalogue.publish([shop.catalogue.store(name, 0, source) for name, source in sources])
        with _service(old, "immich"):
            _until(shop.use_model)
            shop.indexer.run_once()
            assert _said(_ask(shop)) == ("immich", None)
            with _service(new, "transformers_js"):
                _until(lambda: len(_models(shop)) == 2)
                shop.indexer.run_once()
                assert _models(shop) == {"immich": ("primary", 0), "transformers_js": ("candidate", 0)}
                assert _said(_ask(shop, spot=1)) == ("immich", None)
                shop.spaces.activate("transformers_js")
                assert _said(_ask(shop, spot=2)) == ("transformers_js", None)
                shop.catalogue.put_many([Product("new")])
                shop.catalogue.add_image("new", picture("purple"))
                shop.indexer.run_once()
                assert _models(shop) == {"immich": ("candidate", 0), "transformers_js": ("primary", 0)}
            # The primary's service is gone, and the other one is no reason to answer from another space.
            _until(lambda: not _looks_well(shop))
            assert _said(_ask(shop, spot=3)) == ("efficientnet-lite0", "clip_unavailable")
            assert shop.spaces.rollback().model == "immich"
            assert _said(_ask(shop, spot=4)) == ("immich", None)
        with _service(new, "transformers_js"):
            _until(lambda: shop.use_model() and "transformers_js" in _available(shop))
            assert _said(_ask(shop, spot=5)) == ("efficientnet-lite0", "clip_unavailable")
            shop.spaces.activate("transformers_js")
            assert _said(_ask(shop, spot=6)) == ("transformers_js", None)


def _models(shop: Application) -> dict[str, tuple[str, int]]:
    """The spaces that services fill, with their role and how many images they lack."""
    shop.use_model()
    states = [state for state in shop.spaces.states() if state.space.role != "fallback"]
    return {state.space.model: (state.space.role, state.missing) for state in states}


def _available(shop: Application) -> set[str]:
    return {space.model for space, embedder in shop.spaces.live() if embedder.available}


def _looks_well(shop: Application) -> bool:
    assert shop.clip is not None
    shop.clip.look()
    return shop.clip.state.status == "available"


def test_a_service_with_a_key_asks_for_it(shop: Application, port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Who has another is told, and goes on with the built-in model; whether it lives may be asked by all."""
    key = SecretStr("the-key-of-this-service-which-is-long-enough")
    with _service(port, clip_key=key) as server:
        assert not shop.use_model()
        assert "SEESAME_CLIP_KEY" in caplog.text
        with httpx2.Client(base_url=server.url) as client:
            assert client.get("/health/ready").status_code == 200
            for path in ("/health", "/metrics"):
                assert client.get(path).status_code == 401
            assert client.post("/extract-features", content=picture("red")).status_code == 401
        with open_application(shop.settings.model_copy(update={"clip_key": key})) as holder:
            assert holder.use_model()
            holder.indexer.run_once()
            assert _said(_ask(holder)) == ("immich", None)
