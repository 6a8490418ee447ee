"""Workers that are killed again and again in the middle of a backfill."""

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import psycopg
import pytest

from seesame.application import Application, open_application
from seesame.catalogue import Source
from seesame.db.embedded import EmbeddedPostgres
from seesame.embedding.local import LocalEmbedder
from seesame.models.clip import ClipModel
from seesame.pictures import PictureStore
from seesame.types import Product, ProductImage, Vector
from tests.conftest import copied_database, picture, shop_settings
from tests.faults.conftest import Figures
from tests.faults.processes import GOLDENS, Process, eventually, running
from tests.faults.program import BEGUN, ENDED
from tests.faults.sizes import IS_LONG, SIZES

SHADES, STEP = 18, 14  # of red, green and blue, far enough apart to be different pictures once encoded
SPOTS = 50
WORKERS = 2
MODEL = GOLDENS / "transformers_js"  # it takes several pictures at once
CLIP_PICTURE_S = 0.09  # in one of two runs at once, as of ViT-B/32 on two cores
LOOK_S = 0.02
MOST_S = 900
SEED = 7
INDEXED = 'outcome="done"'


@dataclass(frozen=True)
class Backfill:
    """A catalogue without vectors, and what its processes are told."""

    folder: Path
    application: Application
    images: list[ProductImage]
    environment: dict[str, str]


@pytest.fixture(scope="module")
def backfill(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, cache_dir: Path
) -> Iterator[Backfill]:
    """Images of which each shows something else, so that a vector of the wrong picture is seen."""
    folder = tmp_path_factory.mktemp("backfill")
    with copied_database(postgres) as dsn, open_application(shop_settings(dsn, folder, cache_dir)) as application:

        def store(number: int) -> ProductImage:
            red, green, blue = (number // SHADES**place % SHADES * STEP for place in range(3))
            data = picture(f"rgb({red},{green},{blue})", spot=number % SPOTS)
            return application.catalogue.store(f"p{number}", 0, Source(f"{number}.jpg", data))

        application.catalogue.put_many([Product(f"p{number}") for number in range(SIZES.images)])
        with ThreadPoolExecutor(2) as pool:
            images = list(pool.map(store, range(SIZES.images)))
        application.catalogue.publish(images)
        environment = {
            "DATABASE_URL": dsn,
            "SEESAME_DATA_DIR": str(folder / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "SEESAME_MODEL": str(MODEL),
        }
        yield Backfill(folder, application, images, environment)


@dataclass
class Watch:
    """What the database says of the backfill of one space, looked at all the time."""

    dsn: str
    key: str
    done: int = 0  # images that have their vector
    overdue_s: float = 0.0  # of the lease that was longest held beyond its end
    _ended: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def looking(self) -> Iterator["Watch"]:
        """Looks until the block ends."""
        thread = threading.Thread(target=self._look)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join()

    def _look(self) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            while not self._ended.wait(LOOK_S):
                row = connection.execute("SELECT space_id FROM seesame.spaces WHERE key = %s", [self.key]).fetchone()
                if row is None:
                    continue
                counted = f"""
                    SELECT (SELECT count(*) FROM seesame.embeddings_{row[0]}),
                        (SELECT max(extract(epoch FROM now() - leased_until)) FROM seesame.image_work
                         WHERE space_id = {row[0]})"""
                done, overdue_s = connection.execute(counted.encode()).fetchone() or (0, 0)
                self.done, self.overdue_s = done, max(self.overdue_s, float(overdue_s or 0))


def _kill(workers: list[Process], watch: Watch) -> int:
    """Kills workers at random moments, spread over the backfill, and starts them again at once; how many."""
    drawn = random.Random(SEED)
    moments = sorted(drawn.uniform(0, SIZES.images * 0.95) for _ in range(SIZES.kills))
    kills = 0
    for moment in moments:
        eventually(partial(_has_come, watch, moment), within_s=MOST_S)
        victim = eventually(lambda: _at_work(workers, drawn), within_s=MOST_S, every_s=0.001)  # leases may have to end
        time.sleep(drawn.uniform(0, 0.1))
        victim.kill()
        kills += 1
        victim.start()
    return kills


def _has_come(watch: Watch, moment: float) -> bool:
    return watch.done >= moment


def _at_work(workers: list[Process], drawn: random.Random) -> Process | None:
    """One of those that have finished a batch since they were started."""
    busy = [worker for worker in workers if (reply := worker.get("/metrics")) and INDEXED in reply.text]
    return drawn.choice(busy) if busy else None


@pytest.mark.parametrize("embedder", ["in its own process", "the CLIP service"])
def test_killed_workers_lose_and_double_nothing(
    backfill: Backfill, figures: Figures, embedder: str, fallback: LocalEmbedder
) -> None:
    """Two workers at once, killed and started again: every image has its vector once, and little is done twice."""
    application, folder = backfill.application, backfill.folder
    name = f"{SIZES.kills} × kill -9 of one of {WORKERS} workers, {SIZES.images:,} images, {embedder}"
    computed = folder / f"computed-{embedder}"
    log = {"FAULTS_COMPUTED": str(computed)}
    lease = {"FAULTS_LEASE_S": str(SIZES.lease_s)}
    with ExitStack() as ending:
        if embedder == "the CLIP service":
            application.indexer.run_once()  # what the fallback lacks
            (folder / "pace").write_text(str(CLIP_PICTURE_S), encoding="ascii")
            pace = {"FAULTS_PACE": str(folder / "pace")}
            clip = ending.enter_context(running(folder, "clip", backfill.environment | log | pace))
            expected: LocalEmbedder = LocalEmbedder(ClipModel.load(MODEL, name=MODEL.name))
            told = backfill.environment | lease | {"PYTHON_IMAGE_SERVICE_URL": clip.url}
        else:
            expected = fallback
            told = backfill.environment | log | lease | {"PYTHON_IMAGE_SERVICE_URL": "http://127.0.0.1:9"}
        before = _computed(computed)
        workers = [Process(folder, "worker", **told) for _ in range(WORKERS)]
        for worker in workers:
            ending.callback(worker.close)
            worker.start()
        watch = Watch(application.database.dsn, expected.identity.key)
        started = time.monotonic()
        with watch.looking():
            kills = _kill(workers, watch)
            eventually(lambda: watch.done == SIZES.images, within_s=MOST_S)
        took_s = time.monotonic() - started
        begun, ended = (now - then for now, then in zip(_computed(computed), before, strict=True))
    assert kills == SIZES.kills
    vectors = _vectors(application, expected.identity.key)
    figures.tell(f"{name}: time", f"{took_s:.0f} s, lease {SIZES.lease_s:g} s")
    figures.none(f"{name}: images without a vector", SIZES.images - len({p for p, _ in vectors}))
    figures.none(f"{name}: images with two", len(vectors) - len({product_id for product_id, _ in vectors}))
    figures.at_least(f"{name}: cosine", _worst_cosine(backfill, expected, vectors), 0.9999)
    figures.at_most(f"{name}: from a claim to the next one", SIZES.lease_s + watch.overdue_s, 2 * SIZES.lease_s, "s")
    # What was cut short in the middle is half of a picture's work, on average.
    repeated = (begun + ended) / 2 - SIZES.images
    figures.tell(f"{name}: pictures computed", f"{ended:,} to the end, {begun - ended} not")
    share = 100 * repeated / SIZES.images
    if IS_LONG:
        figures.at_most(f"{name}: work repeated", share, 5, "%")
    else:  # with so few images one batch more or less is two per cent
        figures.tell(f"{name}: work repeated", f"{share:.3g} %")


def _computed(log: Path) -> tuple[int, int]:
    """How many pictures' computations were begun, and ended."""
    written = log.read_bytes() if log.exists() else b""
    return written.count(BEGUN), written.count(ENDED)


def _vectors(application: Application, key: str) -> list[tuple[str, Vector]]:
    space = next(space for space in application.spaces.all() if space.key == key)
    with application.database.transaction() as connection:
        rows = connection.execute(
            f"SELECT product_id, image_embedding::real[] FROM seesame.embeddings_{space.space_id}".encode()
        ).fetchall()
    return [(product_id, np.asarray(vector, np.float32)) for product_id, vector in rows]


def _worst_cosine(backfill: Backfill, embedder: LocalEmbedder, vectors: list[tuple[str, Vector]]) -> float:
    pictures = PictureStore(backfill.application.settings.data_dir / "pictures")
    contents = {image.product_id: pictures.read(image.bytes_ref) for image in backfill.images}
    different = list(set(contents.values()))
    embedded = dict(zip(different, embedder.embed_images(different, bulk=True), strict=True))
    cosines = []
    for product_id, vector in vectors:
        expected = embedded[contents[product_id]]
        assert isinstance(expected, np.ndarray)
        cosines.append(float(vector @ expected / np.linalg.norm(vector)))
    return min(cosines)
