"""Spaces: who answers, when the model is on its way, here, or gone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from seesame.application import Application, open_application
from seesame.catalogue import Source
from seesame.errors import DatabaseUnavailable, StorageFull
from seesame.queries import Photo, Query
from seesame.settings import Settings
from seesame.spaces import Spaces
from seesame.types import Embedded, Embedder, Product, Space, SpaceIdentity, Vectors
from tests.conftest import picture, served
from tests.hub_server import OWNER_NAME, Hub, serve_hub

COLOURS = ["red", "green", "blue", "black", "orange"]
GOLDENS = Path(__file__).parents[1] / "goldens"


class _Gated(dict[str, bytes]):
    """Files that nobody gets before the gate is open."""

    def __init__(self, folder: Path, gate: threading.Event) -> None:
        super().__init__(
            (path.relative_to(folder).as_posix(), path.read_bytes())
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".npz"
        )
        self._gate = gate

    def __getitem__(self, name: str) -> bytes:
        assert self._gate.wait(60)
        return super().__getitem__(name)


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Opens the hub; is opened at the end in any case, so that nothing hangs."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def hub(gate: threading.Event) -> Iterator[Hub]:
    """A hub with a tiny CLIP of random weights."""
    with serve_hub(Hub(_Gated(GOLDENS / "immich", gate))) as hub:
        yield hub


@pytest.fixture
def with_hub(settings: Settings, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings of a shop whose model is on that hub and not yet in the cache."""
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    return settings.model_copy(update={"model": OWNER_NAME, "cache_dir": tmp_path / "cache"})


def _fill(application: Application) -> None:
    application.catalogue.put_many([Product(colour, title=f"A {colour} thing") for colour in COLOURS])
    sources = [(colour, Source(f"{colour}.jpg", picture(colour))) for colour in COLOURS]
    application.catalogue.publish([application.catalogue.store(name, 0, source) for name, source in sources])


def _fetch(application: Application) -> None:
    """Lets the application bring the model of its settings, as `seesame up` does."""
    stop = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(application.models.fetch_forever, stop)
        try:
            _until(lambda: fetching.done() or not application.models.arriving())
        finally:
            stop.set()
        fetching.result()


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(300):  # 30 s at most
        if condition():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not come true")


def _search(client: httpx2.Client) -> dict[str, object]:
    reply = client.post("/v1/search/image", files={"image": picture("blue")})
    assert reply.status_code == 200, reply.text
    answer: dict[str, object] = reply.json()
    return answer


def test_the_fallback_answers_while_the_model_downloads_and_then_it_takes_over(
    with_hub: Settings, gate: threading.Event
) -> None:
    """Without a restart: download, backfill, activation; both spaces stay complete afterwards."""
    with open_application(with_hub) as application:
        _fill(application)
        application.indexer.run_once()
        with served(application) as client:
            _until(lambda: client.get("/health").json()["degraded_reason"] == "clip_downloading")
            answer = _search(client)
            assert (answer["degraded"], answer["degraded_reason"]) == (True, "clip_downloading")
            assert str(answer["space"]).startswith("efficientnet-lite0@")
            words = client.post("/v1/search", json={"queries": [{"text": "blue"}]}).json()
            assert (words["search"]["method"], words["degraded_reason"]) == ("fulltext", "no_text_model")

            gate.set()
            _until(lambda: client.get("/health").json()["status"] == "ok")
            answer = _search(client)
            assert (answer["degraded"], answer["degraded_reason"]) == (False, None)
            assert str(answer["space"]).startswith(f"{OWNER_NAME}@")
            assert answer["results"][0]["product_id"] == "blue"  # type: ignore[index]
            words = client.post("/v1/search", json={"queries": [{"text": "blue"}]}).json()
            assert (words["search"]["method"], words["degraded"], len(words["results"])) == ("hybrid", False, 5)

            client.put("/v1/products/new", json={})
            client.post("/v1/products/new/images", files={"image": picture("purple")})
            _until(lambda: [s["vectors"] for s in client.get("/v1/stats").json()["spaces"]] == [6, 6])


def test_without_its_model_the_primary_space_is_left_alone(
    with_hub: Settings, gate: threading.Event, tmp_path: Path
) -> None:
    """A process that cannot load the model answers from the fallback, and the primary is there when it can again."""
    gate.set()
    with open_application(with_hub) as application:
        _fill(application)
        _fetch(application)
        application.indexer.run_once()
        assert application.spaces.answering().degraded_reason is None
    elsewhere = with_hub.model_copy(update={"cache_dir": tmp_path / "other"})
    with open_application(elsewhere) as application:
        assert application.models.load(OWNER_NAME) is None
        answer = application.search.find(Photo(picture("red")), Query())
        assert (answer.degraded_reason, answer.space.split("@")[0]) == ("clip_unavailable", "efficientnet-lite0")
        assert answer.page.hits[0].product.product_id == "red"
    with open_application(with_hub) as application:
        assert application.models.load(OWNER_NAME) is not None
        answer = application.search.find(Photo(picture("red")), Query())
        assert (answer.degraded_reason, answer.space.split("@")[0]) == (None, OWNER_NAME)


def test_a_new_model_takes_over_when_it_is_complete(settings: Settings) -> None:
    """Its space is filled beside the old one, which answers until then and is a candidate after."""
    before: tuple[str, str | None] = ("efficientnet-lite0", "clip_indexing")
    for folder, keys in (("immich", ["primary"]), ("transformers_js", ["candidate", "primary"])):
        with open_application(settings.model_copy(update={"model": str(GOLDENS / folder)})) as application:
            if not application.catalogue.totals()[0]:
                _fill(application)
            application.models.load(str(GOLDENS / folder))
            answer = application.search.find(Photo(picture("red")), Query())
            assert (answer.space.split("@")[0], answer.degraded_reason) == before
            before = (folder, None)
            application.indexer.run_once()
            answer = application.search.find(Photo(picture("red")), Query())
            assert (answer.degraded_reason, answer.space.split("@")[0]) == (None, folder)
            assert [s.role for s in application.spaces.all() if s.role != "fallback"] == keys


def test_a_database_that_is_away_when_the_model_comes_is_waited_for(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The model is loaded again later; nothing ends for it."""
    monkeypatch.setattr("seesame.local_models._RETRY_S", (0,))
    with open_application(settings.model_copy(update={"model": str(GOLDENS / "immich")})) as application:
        add, refusals = application.spaces.add, [DatabaseUnavailable("away"), StorageFull("full")]

        def refusing(embedder: Embedder, **options: Any) -> Space | None:
            if refusals:
                raise refusals.pop()
            return add(embedder, **options)

        monkeypatch.setattr(application.spaces, "add", refusing)
        _fetch(application)
        application.indexer.run_once()
        assert application.spaces.answering().degraded_reason is None


def test_a_hub_that_is_away_is_told_and_the_fallback_answers(with_hub: Settings, hub: Hub) -> None:
    """The process starts and serves; the answer says why it is degraded."""
    hub.status = 503
    with open_application(with_hub) as application:
        _fill(application)
        application.indexer.run_once()
        with served(application) as client:
            _until(lambda: bool(hub.tokens))
            _until(lambda: _search(client)["degraded_reason"] == "clip_unavailable")


class _OtherFallback:
    """A fallback of another version: the same size, another space."""

    identity = SpaceIdentity("efficientnet-lite0", "f" * 64, 1280)
    bulk_size = 8
    has_text = False
    available = True

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        return [np.eye(1280, dtype=np.float32)[0] for _ in pictures]

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_two_versions_of_the_fallback_never_meet(application: Application) -> None:
    """A newer process brings its own fallback; an older one goes on with its own space and keeps filling it."""
    newer = Spaces(application.database, _OtherFallback())
    _fill(application)
    assert application.indexer.run_once()[0].done == 5
    for spaces, key in ((application.spaces, "efficientnet-lite0@"), (newer, "efficientnet-lite0@ffffffff")):
        answering = spaces.answering()
        assert answering.space.key == answering.embedder.identity.key
        assert answering.space.key.startswith(key)
    answer = application.search.find(Photo(picture("red")), Query())
    assert answer.page.hits[0].product.product_id == "red"
    assert (answer.page.hits[0].similarity or 0) > 0.97


@pytest.mark.parametrize("model", ["no such name!", str(GOLDENS / "pictures")])
def test_a_model_that_is_none_does_not_stop_the_server(settings: Settings, model: str) -> None:
    """A wrong SEESAME_MODEL is an error in the log, not the end of search."""
    with open_application(settings.model_copy(update={"model": model})) as application:
        _fill(application)
        application.indexer.run_once()
        with served(application) as client:
            assert _search(client)["degraded_reason"] == "clip_unavailable"
