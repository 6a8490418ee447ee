"""Another model takes over while the shop goes on: no search fails, is degraded, or finds less than one before it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import httpx2
import numpy as np
import psycopg
import pytest
from psycopg import sql

from seesame.application import Application, open_application
from seesame.catalogue import Source
from seesame.comparing import Comparer
from seesame.db import spaces as space_rows
from seesame.db import work
from seesame.errors import InvalidInput, NotFound, SpaceConflict, SpaceIncomplete
from seesame.queries import Photo, Query, Words
from seesame.settings import Settings
from seesame.spaces import Answering
from seesame.types import Embedded, Product, ProductImage, Space, SpaceIdentity, Vectors
from tests.catalogue_rows import add_images, unit
from tests.conftest import picture, served
from tests.hub_server import OWNER_NAME, Hub, serve_hub

GOLDENS = Path(__file__).parents[1] / "goldens"
OLD, NEW = "immich", "transformers_js"
COLOURS = ["red", "green", "blue", "black", "orange"]


def _folder(model: str) -> str:
    return str(GOLDENS / model)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings of a shop whose model is the old one."""
    return settings.model_copy(update={"model": _folder(OLD)})


@pytest.fixture
def shop(settings: Settings) -> Iterator[Application]:
    """A shop of five products that the old model answers for."""
    with open_application(settings) as application:
        _publish(application, COLOURS)
        application.use_model()
        application.indexer.run_once()
        assert _answers(application) == (OLD, None)
        yield application


def _publish(application: Application, colours: list[str], spot: int = 0) -> list[ProductImage]:
    names = [f"{colour}{spot or ''}" for colour in colours]
    application.catalogue.put_many([Product(name, title=f"A {name} thing", category="things") for name in names])
    sources = [
        (name, Source(f"{name}.jpg", picture(colour, spot=spot))) for name, colour in zip(names, colours, strict=True)
    ]
    images = [application.catalogue.store(name, 0, source) for name, source in sources]
    application.catalogue.publish(images)
    return images


def _answers(application: Application) -> tuple[str, str | None]:
    answering = application.spaces.answering()
    return answering.space.model, answering.degraded_reason


def _roles(application: Application) -> dict[str, str]:
    return {space.model: space.role for space in application.spaces.all() if space.role != "fallback"}


def _space(application: Application, model: str) -> Space:
    return next(space for space in application.spaces.all() if space.model == model)


def _vectors(application: Application, model: str) -> dict[UUID, str]:
    """The images that have a vector, with the transaction that wrote it."""
    table = space_rows.embeddings_table(_space(application, model).space_id)
    with application.database.transaction() as connection:
        statement = sql.SQL("SELECT image_id, xmin::text FROM {}").format(table)
        return dict(connection.execute(statement).fetchall())


def _until(condition: Callable[[], object]) -> None:
    for _ in range(600):  # 60 s at most
        if condition():
            return
        threading.Event().wait(0.1)
    raise AssertionError("it did not come true")


def _command(settings: Settings, *arguments: str) -> "subprocess.Popen[str]":
    """`seesame` in a process of its own, on the same database."""
    assert settings.database_url is not None
    environment = os.environ | {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "SEESAME_DATA_DIR": str(settings.data_dir),
        "SEESAME_CACHE_DIR": str(settings.cache_dir),
        "SEESAME_MODEL": settings.model,
        "COLUMNS": "200",
        "PYTHONWARNINGS": "error",
    }
    return subprocess.Popen(
        [sys.executable, "-m", "seesame", *arguments],
        env=environment, cwd=settings.data_dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def _run(settings: Settings, *arguments: str, code: int = 0) -> str:
    process = _command(settings, *arguments)
    out, error = process.communicate(timeout=120)
    assert process.returncode == code, out + error
    assert "Traceback" not in error
    return out + error


class _Shopper(threading.Thread):
    """Searches in all ways, one after the other, and writes down what no shopper should see."""

    def __init__(self, client: httpx2.Client) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._ended = threading.Event()
        self.faults: list[str] = []
        self.spaces: list[str] = []

    def run(self) -> None:
        most = [0, 0, 0]
        spot = 0
        while not self._ended.is_set():
            spot += 1
            body = {"queries": [{"text": f"red thing {spot}"}], "limit": 50}
            photo = picture("red", spot=spot % 40)
            replies = [
                self._client.post("/v1/search/image", files={"image": photo}, data={"limit": "50"}),
                self._client.get("/v1/products/red/similar", params={"limit": 50}),
                self._client.post("/v1/search", json=body),
            ]  # fmt: skip
            for way, reply in enumerate(replies):
                if reply.status_code != 200:
                    self.faults.append(reply.text)
                    continue
                answer = reply.json()
                found = len(answer["results"])
                if answer["degraded"] or found < most[way]:
                    self.faults.append(f"{answer['space']}, {answer['degraded_reason']}, {found} of {most[way]}")
                most[way] = max(most[way], found)
                self.spaces.append(answer["space"].split("@")[0])

    def end(self) -> None:
        self._ended.set()
        self.join(30)


@contextmanager
def _shopping(client: httpx2.Client) -> Iterator[_Shopper]:
    shopper = _Shopper(client)
    shopper.start()
    try:
        yield shopper
    finally:
        shopper.end()
    assert shopper.faults == []


def _add_product(client: httpx2.Client, name: str, colour: str) -> None:
    assert client.put(f"/v1/products/{name}", json={"category": "things"}).status_code == 201
    assert client.post(f"/v1/products/{name}/images", files={"image": picture(colour)}).status_code == 201


def _filled(client: httpx2.Client, count: int) -> bool:
    spaces = client.get("/v1/spaces").json()["spaces"]
    return all(space["vectors"] == count for space in spaces)


def test_the_model_is_changed_and_changed_back_while_shoppers_search(shop: Application, tmp_path: Path) -> None:
    """From the command line and over HTTP, beside a running server, which follows without a restart."""
    settings = shop.settings
    page = tmp_path / "page.html"
    with served(shop) as client, _shopping(client) as shopper:
        _until(lambda: len(shopper.spaces) > 5)
        assert "fill it" in _run(settings, "spaces", "add", _folder(NEW), "--no-wait")
        _add_product(client, "early", "purple")
        _until(lambda: _filled(client, 6))
        assert "is complete" in _run(settings, "spaces", "add", _folder(NEW))
        assert set(shopper.spaces) == {OLD}

        shown = _run(settings, "spaces", "compare", "--report", str(page))
        assert re.search(r"things +6 +[01]\.\d{3} +[01]\.\d{3}", shown)
        assert re.search(rf"{NEW}@\w+ +candidate +32 +6 +0", _run(settings, "spaces", "list"))

        assert "answers from now on" in _run(settings, "spaces", "activate")
        _until(lambda: shopper.spaces[-1] == NEW)
        _add_product(client, "late", "teal")
        _until(lambda: _filled(client, 7))

        key = _space(shop, NEW).key
        assert client.post(f"/v1/spaces/{key}/rollback").json()["key"].startswith(f"{OLD}@")
        assert client.post(f"/v1/spaces/{key}/rollback").status_code == 409  # said twice by mistake
        _until(lambda: shopper.spaces[-1] == OLD)
        assert client.post(f"/v1/spaces/{key}/activate").json() == {"key": key}
        _until(lambda: shopper.spaces[-1] == NEW)

        assert "was retired" in _run(settings, "spaces", "retire", OLD, "--yes")
        before = len(shopper.spaces)
        _until(lambda: len(shopper.spaces) > before + 9)
        assert set(shopper.spaces[before + 3 :]) == {NEW}
    with shop.database.transaction() as connection:
        assert connection.execute("SELECT to_regclass('seesame.embeddings_2') IS NULL").fetchone() == (True,)
        assert connection.execute("SELECT count(*) FROM seesame.image_work").fetchone() == (0,)
    _check_page(page.read_text(), 6)


def _check_page(page: str, queries: int) -> None:
    assert page.count("<article>") == queries
    assert set(re.findall(r'src="(.{11})', page)) == {"data:image/"}
    assert not re.search(r"https?:|url\(|<script|<link|@import", page)


def test_nothing_is_activated_that_would_find_less(shop: Application, settings: Settings) -> None:
    """It is refused while images lack their vector, with how many, and also where the old model knows more of them."""
    _run(settings, "spaces", "add", _folder(NEW), "--no-wait")
    with pytest.raises(SpaceIncomplete) as incomplete:
        shop.spaces.activate(NEW)
    assert incomplete.value.missing == 5
    assert "5 images lack their vector" in _run(settings, "spaces", "activate", code=1)
    with served(shop) as client:
        _until(lambda: _filled(client, 5))
    space = _space(shop, NEW)
    table = space_rows.embeddings_table(space.space_id)
    with shop.database.transaction() as connection:  # as if the new model could not read a picture
        row = connection.execute(sql.SQL("DELETE FROM {} RETURNING product_id, image_id").format(table)).fetchone()
        connection.execute(
            "INSERT INTO seesame.image_work (product_id, image_id, space_id, attempts, error_code, next_try_at)"
            " SELECT product_id, image_id, %s, 3, 'model_invalid', 'infinity' FROM seesame.product_images",
            [space.space_id],
        )
        assert row is not None
        assert space_rows.is_complete(connection, space.space_id)
    with pytest.raises(SpaceIncomplete):
        shop.spaces.activate(NEW)
    assert _answers(shop) == (OLD, None)


def test_a_killed_command_goes_on_where_it_was(shop: Application, settings: Settings) -> None:
    """What was written before the kill is not computed again; only what was in its hands is."""
    images = [image for spot in range(1, 13) for image in _publish(shop, COLOURS, spot)]
    shop.indexer.run_once()
    locked = [image.image_id for image in images[4::10]]
    with psycopg.connect(shop.database.dsn) as connection:
        # Vectors of these cannot be written, so the command stands still with all of its lanes when it comes to them.
        connection.execute("SELECT FROM seesame.product_images WHERE image_id = ANY(%s) FOR UPDATE", [locked])
        process = _command(settings, "spaces", "add", _folder(NEW))
        _until(lambda: NEW in _roles(shop) and _leased(shop) == 4 and _waiting_for_locks(shop) == 4)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    before = _vectors(shop, NEW)
    assert 0 < len(before) < len(images) + 5
    _until(lambda: _waiting_for_locks(shop) == 0)
    with shop.database.transaction() as connection:  # a minute later
        connection.execute("UPDATE seesame.image_work SET leased_until = now() WHERE leased_until IS NOT NULL")
    assert "is complete" in _run(settings, "spaces", "add", _folder(NEW))
    after = _vectors(shop, NEW)
    assert set(after) == set(_vectors(shop, OLD))
    assert {image_id: after[image_id] for image_id in before} == before
    assert _answers(shop) == (OLD, None)


def _leased(application: Application) -> int:
    with application.database.transaction() as connection:
        row = connection.execute("SELECT count(*) FROM seesame.image_work WHERE leased_until IS NOT NULL").fetchone()
    return int(row[0]) if row else 0


def _waiting_for_locks(application: Application) -> int:
    with application.database.transaction() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return int(row[0]) if row else 0


def _restarted(settings: Settings, model: str) -> dict[str, str]:
    """The roles after a process with this model was there and had all the time that it needs."""
    with open_application(settings.model_copy(update={"model": _folder(model)})) as application:
        application.use_model()
        application.indexer.run_once()
        return _roles(application)


def test_a_choice_by_hand_stands_whatever_a_process_is_configured_for(shop: Application, settings: Settings) -> None:
    """Neither the model that was there before nor one that nobody has seen takes the place of one chosen by hand."""
    shop.add_space(_folder(NEW))
    shop.indexer.run_once()
    assert _roles(shop) == {OLD: "primary", NEW: "candidate"}
    shop.spaces.activate(NEW)
    assert _restarted(settings, OLD) == {OLD: "candidate", NEW: "primary"}
    assert _restarted(settings, "siglip") == {OLD: "candidate", NEW: "primary", "siglip": "candidate"}
    shop.spaces.rollback()
    assert _restarted(settings, NEW) == {OLD: "primary", NEW: "candidate", "siglip": "candidate"}


def test_processes_with_different_settings_do_not_switch_back_and_forth(shop: Application, settings: Settings) -> None:
    """A changed setting takes over once; a process that still has the old one leaves it at that."""
    assert _restarted(settings, NEW) == {OLD: "candidate", NEW: "primary"}
    for model in (OLD, NEW, OLD):
        assert _restarted(settings, model) == {OLD: "candidate", NEW: "primary"}
    assert _answers(shop) == (OLD, None)  # the process that has but the old model goes on with it
    shop.use_model()
    assert _answers(shop) == (NEW, None)


def test_the_last_setting_wins_before_any_is_complete(settings: Settings) -> None:
    """Who changed their mind on the first day gets the model that they named last."""
    with open_application(settings) as application:
        application.models.load(_folder(OLD))
    with open_application(settings.model_copy(update={"model": _folder(NEW)})) as application:
        _publish(application, COLOURS)
        application.use_model()
        application.indexer.run_once()
        assert _roles(application) == {OLD: "candidate", NEW: "primary"}


def test_retiring_gives_the_disk_back_and_is_for_good(shop: Application, settings: Settings) -> None:
    """Not the primary, not the fallback; a process that is configured for it does not bring it back, a person does."""
    for name in (OLD, "efficientnet-lite0"):
        with pytest.raises(SpaceConflict, match="cannot be retired"):
            shop.spaces.retire(name)
    shop.add_space(_folder(NEW))
    shop.indexer.run_once()
    shop.spaces.activate(NEW)
    assert "Aborted" in _run(settings, "spaces", "retire", OLD, code=1)  # nobody said yes
    retired = shop.spaces.retire(OLD)
    _publish(shop, ["pink"])
    assert _restarted(settings, OLD) == {NEW: "primary"}
    with pytest.raises(NotFound):
        shop.spaces.find(retired.key)
    with pytest.raises(SpaceConflict):
        shop.spaces.rollback()

    assert "is complete" in _run(settings, "spaces", "add", _folder(OLD))
    again = _space(shop, OLD)
    assert (again.space_id, again.role, again.is_former) == (retired.space_id, "candidate", False)
    assert len(_vectors(shop, OLD)) == 6


def test_a_space_is_retired_beside_a_long_transaction(shop: Application) -> None:
    """It waits for that one to end, again and again, and no search waits for long behind it."""
    shop.add_space(_folder(NEW))
    shop.indexer.run_once()
    with psycopg.connect(shop.database.dsn) as reader, ThreadPoolExecutor(1) as pool:
        reader.execute("SELECT count(*) FROM seesame.product_images")
        retiring = pool.submit(shop.spaces.retire, NEW)
        _until(lambda: _waiting_for_locks(shop) or retiring.done())
        for _ in range(3):
            assert len(shop.search.find(Photo(picture("red")), Query()).page.hits) == 5
        assert not retiring.done()
        reader.rollback()
        retiring.result(30)
    assert _roles(shop) == {OLD: "primary"}


def test_a_search_whose_space_is_retired_meanwhile_begins_anew(
    shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its query is of no use in the space that answers now."""
    before = shop.spaces.answering()
    shop.add_space(_folder(NEW))
    shop.indexer.run_once()
    shop.spaces.activate(NEW)
    shop.spaces.retire(OLD)
    answering = shop.spaces.answering
    late = [before]

    def told_late(*, max_age_s: float) -> Answering:
        return late.pop() if late else answering(max_age_s=max_age_s)

    monkeypatch.setattr(shop.spaces, "answering", told_late)
    photo = shop.search.find(Photo(picture("red")), Query())
    late.append(before)
    words = shop.search.find(Words("red"), Query())
    assert late == []
    for answer in (photo, words):
        assert (answer.space.split("@")[0], answer.degraded_reason, len(answer.page.hits)) == (NEW, None, 5)


def test_workers_survive_that_a_space_is_retired_while_they_fill_it(shop: Application) -> None:
    """They go on with the others."""
    space = shop.add_space(_folder(NEW))
    live = shop.spaces.live()
    shop.spaces.retire(NEW)
    assert space.key in {live_space.key for live_space, _ in live}
    _publish(shop, ["pink"])
    stale = iter([live])
    shop.spaces.live = lambda: next(stale, live[:2])  # type: ignore[method-assign]
    assert [run.done for run in shop.indexer.run_once()] == [1, 1, 0]


class _Watched:
    """An embedder that is told of each picture that it computes."""

    identity = SpaceIdentity("watched", "e" * 64, 3)
    bulk_size = 1
    has_text = False
    available = True

    def __init__(self, on_picture: Callable[[], None]) -> None:
        self._on_picture = on_picture

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        self._on_picture()
        return [np.eye(3, dtype=np.float32)[0] for _ in pictures]

    def embed_texts(self, texts: Sequence[str]) -> Vectors:
        raise NotImplementedError

    def close(self) -> None:
        pass


def test_a_new_picture_is_found_while_another_model_is_still_filled(
    shop: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait until the backfill is through."""
    monkeypatch.setattr("seesame.indexing._TURN_S", 0.0)
    for spot in range(1, 9):
        _publish(shop, COLOURS, spot)
    shop.indexer.run_once()
    found: list[bool] = []
    new: list[UUID] = []

    def look() -> None:
        if not new:
            new.extend(image.image_id for image in _publish(shop, ["pink"]))
        found.append(new[0] in _vectors(shop, OLD))

    shop.spaces.add(_Watched(look), automatic=False)
    working = threading.Thread(target=shop.indexer.run_forever)
    working.start()
    try:
        _until(lambda: len(_vectors(shop, "watched")) == 46)
    finally:
        shop.indexer.stop()
        working.join(30)
    assert found.count(True) > 20


def test_a_published_model_is_added_over_http(
    shop: Application, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It is downloaded, filled beside the other, and answers when someone says so; folders are not for strangers."""
    files = {
        path.relative_to(GOLDENS / NEW).as_posix(): path.read_bytes()
        for path in (GOLDENS / NEW).rglob("*")
        if path.is_file() and path.suffix != ".npz"
    }
    monkeypatch.delenv("HF_HUB_OFFLINE")
    changed = shop.settings.model_copy(update={"cache_dir": tmp_path / "cache"})
    with serve_hub(Hub(files)) as hub, open_application(changed) as application, served(application) as client:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        _until(lambda: client.get("/health").json()["status"] == "ok")
        for refused in (_folder(NEW), "/nowhere", "no such name!"):
            assert client.post("/v1/spaces", json={"model": refused}).status_code == 422
        assert client.post("/v1/spaces", json={"model": "nobody/nothing"}).status_code == 202
        with _shopping(client) as shopper:
            assert client.post("/v1/spaces", json={"model": OWNER_NAME}).status_code == 202
            _until(lambda: OWNER_NAME in _roles(application) and _filled(client, 5))
            listed = client.get("/v1/spaces").json()
            assert [one["model"] for one in listed["arriving"]] == ["nobody/nothing"]
            _until(lambda: client.get("/v1/spaces").json()["arriving"][0]["error"])
            key = _space(application, OWNER_NAME).key
            assert client.post("/v1/spaces/nothing@0/activate").status_code == 404
            assert client.post(f"/v1/spaces/{key}/activate").json() == {"key": key}
            _until(lambda: shopper.spaces[-1] == OWNER_NAME)
            spaces = {one["model"]: one for one in client.get("/v1/spaces").json()["spaces"]}
            assert (spaces[OLD]["role"], spaces[OLD]["former"], spaces[OWNER_NAME]["role"]) == (
                "candidate",
                True,
                "primary",
            )


def _constructed(application: Application, vectors: dict[str, Vectors], categories: list[str]) -> None:
    """Spaces of these names with these vectors of the same images; the first one answers."""
    products = [Product(f"p{i}", category=category) for i, category in enumerate(categories)]
    images: list[ProductImage] = []
    with application.database.transaction() as connection:
        for number, (name, rows) in enumerate(vectors.items()):
            identity = SpaceIdentity(name, str(number) * 64, rows.shape[1])
            space = space_rows.register(connection, identity, "candidate")
            if not images:
                images = add_images(connection, space, rows, products=products)
                assert space_rows.activate(connection, space, by_hand=True)
                continue
            work.reconcile(connection, space)
            token = UUID(int=number)
            items = {i.image_id: i for i in work.claim(connection, space, token, limit=len(images), lease_s=60)}
            done = [(items[image.image_id], row) for image, row in zip(images, rows, strict=True)]
            work.finish(connection, space, token, done)


def test_a_comparison_counts_what_two_spaces_find(application: Application) -> None:
    """Two that are the same agree wholly; of two that differ in one category, the other agrees still."""
    angles = np.array([0.0, 0.1, 0.3, 0.6, 2.0, 2.1, 2.3, 2.65])
    old = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    angles[4:] = [2.0, 2.7, 2.3, 2.1]  # the second half stands in another order
    new = unit(np.stack([np.cos(angles), np.sin(angles)], axis=1))
    _constructed(application, {"old": old, "same": old, "other": new}, ["hats"] * 4 + ["shoes"] * 4)
    comparer = Comparer(application.database, application.spaces, application.search)

    same = comparer.run("same", queries=8, k=2)
    assert same.agreement() == (8, 1.0, 1.0)

    other = comparer.run("other", queries=8, k=2)
    found = {
        c.subject.product_id: [[h.product.product_id for h in hits] for hits in (c.old, c.new)] for c in other.queries
    }
    assert found["p0"] == [["p1", "p2"], ["p1", "p2"]]
    assert found["p4"] == [["p5", "p6"], ["p7", "p6"]]
    assert found["p5"] == [["p4", "p6"], ["p6", "p7"]]
    assert found["p6"] == [["p5", "p4"], ["p7", "p4"]]
    assert found["p7"] == [["p6", "p5"], ["p4", "p6"]]
    assert other.by_category() == {"shoes": (4, 0.5, 0.0), "hats": (4, 1.0, 1.0)}
    assert list(other.by_category()) == ["shoes", "hats"]
    assert other.agreement() == (8, 0.75, 0.5)

    drawn = [[c.subject.product_id for c in comparer.run("other", queries=4, seed=s).queries] for s in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]
    for names in drawn:
        assert sorted(name >= "p4" for name in names) == [False, False, True, True]  # of each category its share
    with pytest.raises(SpaceConflict, match="answers"):
        comparer.run("old")
    for wrong in ({"queries": 0}, {"k": 0}, {"k": 201}):
        with pytest.raises(InvalidInput):
            comparer.run("other", **wrong)  # type: ignore[arg-type]


def test_texts_of_the_catalogue_are_no_markup_on_the_page(shop: Application, tmp_path: Path) -> None:
    """Whatever a product is called."""
    evil = '<img src=x onerror="alert(1)">&$title'
    shop.catalogue.put_many([Product("red", title=evil, category=evil)])
    shop.add_space(_folder(NEW))
    shop.indexer.run_once()
    page = tmp_path / "page.html"
    _run(shop.settings, "spaces", "compare", "-k", "3", "--report", str(page))
    text = page.read_text()
    assert "<img src=x" not in text
    assert "&lt;img src=x onerror=&quot;alert(1)&quot;&gt;&amp;$title" in text
    _check_page(text.replace("onerror", ""), 5)
