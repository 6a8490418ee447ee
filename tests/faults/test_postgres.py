"""PostgreSQL is killed, or restarted, while a shop writes and customers search."""

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx2
import psutil
import pytest

from seesame.db.embedded import EmbeddedPostgres
from tests.conftest import picture
from tests.faults.conftest import Figures
from tests.faults.processes import GOLDENS, Process, eventually, free_port, postmaster, running
from tests.faults.searches import Customers, searching
from tests.faults.sizes import SIZES
from tests.faults.writes import Writers, missing_vectors, writing

BACK_S = 5
LEASE_S = 3
SEED = 7
CUSTOMERS = 2
RESTARTS = 3


@pytest.fixture
def up(tmp_path: Path, cache_dir: Path) -> Iterator[Process]:
    """`seesame up` with a PostgreSQL of its own."""
    environment = {
        "SEESAME_DATA_DIR": str(tmp_path / "data"),
        "SEESAME_CACHE_DIR": str(cache_dir),
        "SEESAME_MODEL": str(GOLDENS / "immich"),
        "FAULTS_LEASE_S": str(LEASE_S),
    }
    process = Process(tmp_path, "up", **environment)
    try:
        process.start()
        process.wait_ready()
        yield process
        process.end()
    finally:
        process.close()


def _kill(data_dir: Path) -> float:
    """Kills the server with all its processes; when."""
    server = eventually(lambda: postmaster(data_dir))
    family = [server, *server.children(recursive=True)]
    killed = time.monotonic()
    for process in family:
        process.kill()
    psutil.wait_procs(family, timeout=30)
    return killed


def test_a_killed_postgresql_loses_nothing_that_was_acknowledged(up: Process, tmp_path: Path, figures: Figures) -> None:
    """The API says 503 until the server is back by itself; then all is there, and indexing goes on."""
    drawn = random.Random(SEED)
    photo = picture("teal", spot=3)
    back_s = []
    with httpx2.Client(base_url=up.url, timeout=30, trust_env=False) as client:
        with writing(up.url, photo) as writers, searching(up.url, photo, customers=CUSTOMERS) as customers:
            eventually(lambda: len(writers.images) > 10)
            for _ in range(SIZES.postgres_kills):
                time.sleep(drawn.uniform(0.1, 1.5))
                killed = _kill(tmp_path / "data")
                back_s.append(eventually(lambda: writers.done_since(killed)) - killed)  # noqa: B023
        began = time.monotonic()
        eventually(lambda: not any(missing_vectors(client)))
        indexed_s = time.monotonic() - began
        gone = writers.gone(client)
    name = f"{SIZES.postgres_kills} × kill -9 of PostgreSQL, all its processes"
    _tell(name, writers, customers, gone, figures)
    figures.at_most(f"{name}: from the kill to a write that succeeds", max(back_s), BACK_S, "s")
    figures.tell(f"{name}: from the last write to the last vector", f"{indexed_s:.1f} s, lease {LEASE_S} s")


def _tell(name: str, writers: Writers, customers: Customers, gone: list[str], figures: Figures) -> None:
    """What holds whatever was done to the server."""
    acknowledged = f"{len(writers.products):,} products and {len(writers.images):,} pictures"
    refused = [write for write in writers.writes if not write.done]
    figures.none(f"{name}: acknowledged and gone", len(gone), acknowledged)
    figures.none(
        f"{name}: refused otherwise than by 503 with Retry-After",
        sum(write.status != 503 or not write.is_problem for write in refused),
        f"{len(refused):,}",
    )
    figures.none(
        f"{name}: searches answered neither by 200 nor by 503",
        sum(answer.status not in (200, 503) for answer in customers.answers),
        f"{len(customers.answers):,}",
    )


def test_a_postgresql_beside_them_may_be_restarted(tmp_path: Path, cache_dir: Path, figures: Figures) -> None:
    """`seesame api` and a worker, which start no PostgreSQL, connect again by themselves."""
    photo = picture("teal", spot=3)
    with ExitStack() as stack:
        server = EmbeddedPostgres.start(tmp_path / "server")
        stack.callback(lambda: server.stop())
        environment = {
            "DATABASE_URL": server.dsn,
            "SEESAME_DATA_DIR": str(tmp_path / "data"),
            "SEESAME_CACHE_DIR": str(cache_dir),
            "PYTHON_IMAGE_SERVICE_URL": f"http://127.0.0.1:{free_port()}",
            "FAULTS_LEASE_S": str(LEASE_S),
        }
        api = stack.enter_context(running(tmp_path, "api", environment))
        stack.enter_context(running(tmp_path, "worker", environment))
        client = stack.enter_context(httpx2.Client(base_url=api.url, timeout=30, trust_env=False))
        back_s = []
        with writing(api.url, photo) as writers, searching(api.url, photo, customers=CUSTOMERS) as customers:
            for _ in range(RESTARTS):
                written = len(writers.images)
                eventually(lambda: len(writers.images) > written + 10)  # noqa: B023
                server.stop()
                server = EmbeddedPostgres.start(tmp_path / "server")
                started = time.monotonic()
                back_s.append(eventually(lambda: writers.done_since(started)) - started)  # noqa: B023
        eventually(lambda: not any(missing_vectors(client)))
        gone = writers.gone(client)
    name = f"{RESTARTS} × restart of a PostgreSQL beside `api` and `worker`"
    _tell(name, writers, customers, gone, figures)
    figures.at_most(f"{name}: from its start to a write that succeeds", max(back_s), BACK_S, "s")
