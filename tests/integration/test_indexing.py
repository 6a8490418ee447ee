"""Indexing: complete whatever happens to the workers, and to single pictures."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import uuid4

import numpy as np
import psycopg
import pytest
from psycopg import sql

from seesame.application import Application
from seesame.catalogue import Source
from seesame.db import work
from seesame.embedding.local import LocalEmbedder
from seesame.errors import EmbedderBusy, EmbedderError, EmbedderTimeout, EmbedderUnavailable, ModelInvalid
from seesame.indexing import Indexer, Progress
from seesame.pictures import PictureStore
from seesame.spaces import Spaces
from seesame.types import Embedded, Product, ProductImage, Vector
from tests.conftest import picture

COLOURS = ["red", "green", "blue", "black", "orange", "purple", "brown", "pink", "grey", "teal"]

_WORKER = """
import sys
from seesame.application import open_application
from seesame.errors import EmbedderBusy, EmbedderError, EmbedderTimeout, EmbedderUnavailable, ModelInvalid
from seesame.indexing import Indexer
from seesame.pictures import PictureStore
from seesame.settings import Settings
with open_application(Settings.read()) as app:
    pictures = PictureStore(app.settings.data_dir / "pictures")
    indexer = Indexer(app.database, pictures, app.spaces, batch=4, lease_s=1)
    indexer.run_once(lambda progress: print(progress.done, flush=True))
"""


def _fill(application: Application, count: int) -> list[ProductImage]:
    images = []
    for number in range(count):
        product_id = f"p{number}"
        application.catalogue.put_many([Product(product_id)])
        data = picture(COLOURS[number % len(COLOURS)], spot=number % 50)
        images.append(application.catalogue.store(product_id, 0, Source(f"{number}.jpg", data)))
    application.catalogue.publish(images)
    return images


def _indexer(application: Application, *, batch: int = 16, lease_s: float = 60) -> Indexer:
    pictures = PictureStore(application.settings.data_dir / "pictures")
    return Indexer(application.database, pictures, application.spaces, batch=batch, lease_s=lease_s)


def _vectors(application: Application) -> dict[str, Vector]:
    with application.database.transaction() as connection:
        rows = connection.execute("SELECT product_id, image_embedding::real[] FROM seesame.embeddings_1").fetchall()
    return {product_id: np.asarray(vector, np.float32) for product_id, vector in rows}


def test_every_image_gets_its_vector_and_progress_is_told(application: Application, fallback: LocalEmbedder) -> None:
    """The vectors are those that the embedder makes of the stored pictures."""
    images = _fill(application, 20)
    seen: list[Progress] = []
    (progress,) = _indexer(application, batch=8).run_once(seen.append)
    assert (progress.done, progress.failed, progress.total) == (20, 0, 20)
    steps = np.diff([0, *(p.done for p in seen)])
    assert seen[-1] == progress
    assert steps.min() > 0  # lanes that claim at one moment share what is left
    assert steps.max() <= 8
    vectors = _vectors(application)
    stored = [PictureStore(application.settings.data_dir / "pictures").read(image.bytes_ref) for image in images]
    for image, expected in zip(images, fallback.embed_images(stored), strict=True):
        assert isinstance(expected, np.ndarray)
        assert float(vectors[image.product_id] @ expected) >= 0.9999
    assert _indexer(application).run_once()[0].done == 0


def test_workers_killed_in_the_middle_lose_and_double_nothing(application: Application) -> None:
    """Two workers at a time are killed again and again; what they held is claimed again when its lease ends."""
    images = _fill(application, 120)
    settings = application.settings
    environment = os.environ | {
        "DATABASE_URL": application.database.dsn,
        "SEESAME_DATA_DIR": str(settings.data_dir),
        "SEESAME_CACHE_DIR": str(settings.cache_dir),
    }
    kills = 0
    for _ in range(4):
        workers = [
            subprocess.Popen([sys.executable, "-c", _WORKER], env=environment, stdout=subprocess.PIPE, text=True)
            for _ in range(2)
        ]
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.readline()  # it is at work, or has found nothing more to do
        for worker in workers:
            kills += worker.poll() is None
            worker.kill()
            worker.communicate()
    assert kills > 0
    indexer = _indexer(application)
    with application.database.transaction() as connection:
        connection.execute("UPDATE seesame.image_work SET leased_until = now() WHERE leased_until IS NOT NULL")
    indexer.run_once()
    assert set(_vectors(application)) == {image.product_id for image in images}
    with application.database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM seesame.image_work").fetchone() == (0,)


def test_a_long_queue_is_not_sorted_for_a_claim(application: Application) -> None:
    """The next batch comes from the index, however much waits."""
    with application.database.transaction() as connection:
        connection.execute(
            "INSERT INTO seesame.image_work (product_id, image_id, space_id)"
            " SELECT i::text, gen_random_uuid(), 1 FROM generate_series(1, 20000) AS i"
        )
        connection.execute("ANALYZE seesame.image_work")
        values = {"space_id": 1, "token": uuid4(), "limit": 64, "lease_s": 60}
        rows = connection.execute(sql.SQL("EXPLAIN ") + work._SQL["claim"], values).fetchall()
    plan = "\n".join(row[0] for row in rows)
    assert "image_work_next" in plan
    assert "Sort" not in plan


def test_work_of_images_that_are_gone_holds_nobody_up(application: Application) -> None:
    """A shop that deletes rows by itself leaves work behind, which is passed over and forgotten."""
    _fill(application, 3)
    with application.database.transaction() as connection:
        connection.execute(
            "INSERT INTO seesame.image_work (product_id, image_id, space_id, next_try_at)"
            " SELECT i::text, gen_random_uuid(), 1, '-infinity' FROM generate_series(1, 200) AS i"
        )
    assert _indexer(application).run_once()[0].done == 3
    with application.database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM seesame.image_work").fetchone() == (0,)


def test_two_at_once_share_the_work(application: Application) -> None:
    """No image is embedded twice while both live."""
    _fill(application, 60)
    indexers = [_indexer(application, batch=4) for _ in range(2)]
    done: list[int] = []
    threads = [threading.Thread(target=lambda i=i: done.append(i.run_once()[0].done)) for i in indexers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(done) == 60
    assert len(_vectors(application)) == 60


def test_a_worker_that_was_thought_dead_writes_nothing(application: Application, fallback: LocalEmbedder) -> None:
    """After its lease ended and another claimed the image, the first one's result is not taken."""
    (image,) = _fill(application, 1)
    (space,) = application.spaces.all()
    slow, quick = (uuid4() for _ in range(2))
    vector = fallback.embed_images([picture()])[0]
    assert isinstance(vector, np.ndarray)
    with application.database.transaction() as connection:
        (item,) = work.claim(connection, space, slow, limit=1, lease_s=0)
    with application.database.transaction() as connection:
        assert work.claim(connection, space, quick, limit=1, lease_s=60) == [item]
        assert work.finish(connection, space, slow, [(item, vector)]) == 0
        assert work.finish(connection, space, quick, [(item, vector)]) == 1
    assert set(_vectors(application)) == {image.product_id}


def test_a_bad_picture_stops_nobody_and_can_be_retried(application: Application) -> None:
    """It fails with its reason, three times at most, and is tried again on request."""
    images = _fill(application, 10)
    pictures = application.settings.data_dir / "pictures"
    gone, broken = pictures / images[2].bytes_ref, pictures / images[5].bytes_ref
    odd = pictures / images[7].bytes_ref
    whole = broken.read_bytes()
    gone.unlink()
    odd.unlink()
    odd.mkdir()
    broken.write_bytes(whole[:200])
    indexer = _indexer(application)
    for attempt in range(1, work.MAX_ATTEMPTS + 1):
        (progress,) = indexer.run_once()
        assert progress.failed == 3
        assert {f.attempts for f in indexer.failures()} == {attempt}
        with application.database.transaction() as connection:
            connection.execute(
                "UPDATE seesame.image_work SET next_try_at = least(next_try_at, now()) WHERE next_try_at < 'infinity'"
            )
    assert indexer.run_once()[0].failed == 0
    assert len(_vectors(application)) == 7
    assert {(f.product_id, f.error_code) for f in indexer.failures()} == {
        ("p2", "picture_missing"),
        ("p5", "image_undecodable"),
        ("p7", "picture_unreadable"),
    }
    broken.write_bytes(whole)
    assert indexer.retry_failed() == 3
    assert indexer.run_once()[0].done == 1
    assert set(_vectors(application)) == {f"p{i}" for i in range(10)} - {"p2", "p7"}


class _Embedder:
    """The fallback, but for what `outcome` puts in the place of a picture's vector, or raises."""

    bulk_size = 8
    has_text = False
    available = True

    def __init__(self, inner: LocalEmbedder, outcome: Callable[[bytes], ModelInvalid | None]) -> None:
        self._inner = inner
        self._outcome = outcome
        self.identity = inner.identity
        self.embed_texts = inner.embed_texts
        self.asked = 0

    def embed_images(self, pictures: Sequence[bytes], *, bulk: bool = False) -> list[Embedded]:
        assert bulk
        self.asked += 1
        outcomes = [self._outcome(picture) for picture in pictures]
        results = self._inner.embed_images(pictures, bulk=bulk)
        return [outcome or result for outcome, result in zip(outcomes, results, strict=True)]

    def close(self) -> None:
        pass


def test_a_picture_that_the_model_fails_on_fails_alone(application: Application, fallback: LocalEmbedder) -> None:
    """All others of its batch get their vectors."""
    images = _fill(application, 10)
    pictures = PictureStore(application.settings.data_dir / "pictures")
    culprit = pictures.read(images[3].bytes_ref)
    choking = _Embedder(fallback, lambda picture: ModelInvalid("NaN") if picture == culprit else None)
    indexer = Indexer(application.database, pictures, Spaces(application.database, choking))
    (progress,) = indexer.run_once()
    assert (progress.done, progress.failed) == (9, 1)
    assert [(f.product_id, f.error_code) for f in indexer.failures()] == [("p3", "model_invalid")]


@pytest.mark.parametrize("fault", [EmbedderUnavailable("down"), EmbedderTimeout("slow"), EmbedderBusy(0.05)])
def test_faults_of_the_service_pause_and_cost_no_attempt(
    application: Application, fallback: LocalEmbedder, fault: EmbedderError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the embedder cannot be used its images are left alone; when it can again, all of them are done."""
    monkeypatch.setattr("seesame.indexing._PAUSE_S", (0.05,))
    _fill(application, 20)
    away = threading.Event()
    away.set()

    def outcome(_: bytes) -> None:
        if away.is_set():
            raise fault

    embedder = _Embedder(fallback, outcome)
    pictures = PictureStore(application.settings.data_dir / "pictures")
    indexer = Indexer(application.database, pictures, Spaces(application.database, embedder))
    (progress,) = indexer.run_once(finish=True)
    assert (progress.paused, progress.done, progress.failed) == (True, 0, 0)
    asked = embedder.asked
    assert indexer.run_once()[0].paused or embedder.asked > asked
    thread = threading.Thread(target=indexer.run_forever)
    thread.start()
    try:
        away.clear()
        for _ in range(300):
            if len(_vectors(application)) == 20:
                break
            threading.Event().wait(0.1)
    finally:
        indexer.stop()
        thread.join(10)
    assert len(_vectors(application)) == 20
    assert indexer.failures() == []
    with application.database.transaction() as connection:
        assert connection.execute("SELECT count(*) FROM seesame.image_work").fetchone() == (0,)


def test_what_no_list_of_work_knows_is_found(application: Application) -> None:
    """The work is what lacks a vector: a lost row of work, or a lost vector, is made good."""
    images = _fill(application, 5)
    with application.database.transaction() as connection:
        connection.execute("DELETE FROM seesame.image_work")
    assert _indexer(application).run_once()[0].done == 5
    with application.database.transaction() as connection:
        connection.execute("DELETE FROM seesame.embeddings_1 WHERE product_id = %s", [images[0].product_id])
    assert _indexer(application).run_once()[0].done == 1


def test_it_wakes_when_a_picture_arrives(application: Application) -> None:
    """A running indexer hears of new work; nobody has to poll for it."""
    indexer = _indexer(application)
    thread = threading.Thread(target=indexer.run_forever)
    with psycopg.connect(application.database.dsn, autocommit=True) as watcher:
        thread.start()
        try:
            _fill(application, 3)
            for _ in range(200):  # 20 s at most; far less than the poll
                row = watcher.execute("SELECT count(*) FROM seesame.embeddings_1").fetchone()
                if row == (3,):
                    break
                threading.Event().wait(0.1)
            assert row == (3,)
        finally:
            indexer.stop()
            thread.join(10)
    assert not thread.is_alive()


def test_a_deleted_image_leaves_neither_vector_nor_work(application: Application, tmp_path: Path) -> None:
    """Deleting a product takes all that belongs to it, also while its image waits for its vector."""
    first, second = _fill(application, 2)
    _indexer(application).run_once()
    application.catalogue.delete(first.product_id)
    application.catalogue.delete_image(second.product_id, second.image_id)
    with application.database.transaction() as connection:
        for table in ("embeddings_1", "image_work", "product_images"):
            assert connection.execute(f"SELECT count(*) FROM seesame.{table}".encode()).fetchone() == (0,), table
    assert not [p for p in (application.settings.data_dir / "pictures").rglob("*") if p.is_file()]
