"""A search by photo over HTTP, from `seesame api` beside a CLIP service, in a catalogue of 100,000 images."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import httpx2
import numpy as np

from bench import random_clip, synthetic
from bench.bench import Bench
from bench.clip_process import ClipProcess, clip
from bench.shop import SEESAME, ask, first_answer, free_port, running, unseen
from bench.table import Row, at_most
from bench.vectors import COUNT, add_products, fill
from seesame.db.embedded import EmbeddedPostgres
from seesame.db.migrate import migrate
from seesame.db.pool import Database
from seesame.embedding.local import LocalEmbedder
from seesame.embedding.remote import ClipService, RemoteEmbedder
from seesame.models.fallback import FallbackModel
from seesame.settings import Settings
from seesame.spaces import Spaces

REQUESTS = 40
OVERHEAD_MS, CACHED_MS = 10.0, 15.0


def rows(bench: Bench) -> Iterator[Row]:
    """What the API adds to embedding and database, and a photo that was searched for before."""
    folder = bench.scratch("api")
    random_clip.write(folder / "model")
    photos = bench.material.encoded(REQUESTS + 1)
    fresh = [unseen(photo) for photo in photos]
    with (
        clip(folder, folder / "model", photos[0], precision="fp32") as service,
        EmbeddedPostgres.start(folder / "data") as server,
    ):
        _fill(bench, server.dsn, service)
        port = free_port()
        ours = Settings.variables().values()
        environment = {name: value for name, value in os.environ.items() if name not in ours} | {
            "DATABASE_URL": server.dsn,
            "PYTHON_IMAGE_SERVICE_URL": service.url,
            "SEESAME_DATA_DIR": str(folder / "data"),
            "SEESAME_CACHE_DIR": str(bench.cache_dir),
            "SEESAME_CLIP_TIMEOUT_S": "30",
        }
        command = [*SEESAME, "api", "--port", str(port)]
        with (
            running(command, folder=folder, environment=environment),
            httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client,
        ):
            first_answer(client, photos[0])
            _await_clip(client)
            bench.say(f"{REQUESTS} photos, each by the service alone, by the API, and by the API again")
            yield from _measured(client, service, fresh)


def _fill(bench: Bench, dsn: str, service: ClipProcess) -> None:
    """A catalogue whose vectors are of the service's space."""
    with (
        closing(Database(dsn)) as database,
        closing(ClipService(service.url)) as asked,
        closing(LocalEmbedder(FallbackModel.load(bench.cache_dir))) as fallback,
    ):
        database.open()
        migrate(database)
        bench.say(f"Loading {COUNT:,} products")
        add_products(database)
        state = asked.check()
        assert state is not None
        assert state.identity is not None
        spaces = Spaces(database, fallback)
        space = spaces.add(RemoteEmbedder(asked, state.identity, has_text=state.has_text))
        results = fallback.embed_images([p.path.read_bytes() for p in bench.material.pictures], bulk=True)
        real = np.stack([result for result in results if not isinstance(result, Exception)])
        dimensions = state.identity.dimensions
        fill(bench, database, space, synthetic.mixtures(synthetic.projected(real, dimensions, seed=1), COUNT, seed=2))
        assert spaces.settle(space)


def _await_clip(client: httpx2.Client) -> None:
    for _ in range(100):
        if client.get("/health").json()["status"] == "ok":
            return
        time.sleep(0.1)
    raise RuntimeError("The API does not use the CLIP service.")


def _measured(client: httpx2.Client, service: ClipProcess, photos: list[bytes]) -> Iterator[Row]:
    alone, whole, again = [], [], []
    with httpx2.Client(base_url=service.url, timeout=60, trust_env=False) as direct:
        for photo in photos:
            alone.append(_ms(lambda photo=photo: direct.post("/extract-features", content=photo)))  # type: ignore[misc]
            whole.append(_ms(lambda photo=photo: ask(client, photo)))  # type: ignore[misc]
            again.append(_ms(lambda photo=photo: ask(client, photo)))  # type: ignore[misc]
    embedding, search, cached = (float(np.median(times[1:])) for times in (alone, whole, again))
    database = _database_ms(client)
    overhead = search - embedding - database
    name = f"search by a photo of 400×533 among {COUNT:,}, beside a CLIP service"
    yield Row(f"{name}: median", f"{search:.0f} ms, of which the service {embedding:.0f}, the database {database:.1f}")
    yield at_most(f"{name}: what the API adds", overhead, OVERHEAD_MS, f"{overhead:.1f} ms", f"{OVERHEAD_MS:g} ms")
    yield at_most(f"{name}: a photo again, in all", cached, CACHED_MS, f"{cached:.1f} ms", f"{CACHED_MS:g} ms")


def _database_ms(client: httpx2.Client) -> float:
    """A search's time in the database: what `took_ms` has where no vector had to be computed."""
    reply = client.get("/metrics").text
    sums = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in reply.splitlines() if line[0] != "#"}
    name = "seesame_search_seconds"
    searches = sums[f'{name}_count{{stage="total"}}']
    return 1000 * (sums[f'{name}_sum{{stage="total"}}'] - sums[f'{name}_sum{{stage="embedding"}}']) / searches


def _ms(ask: Callable[[], object]) -> float:
    started = time.perf_counter()
    ask()
    return (time.perf_counter() - started) * 1000
