"""The embedded PostgreSQL is killed while a shop writes and customers search."""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.conftest import picture
from tests.faults.conftest import Figures
from tests.faults.processes import GOLDENS, Process, eventually, postmaster
from tests.faults.searches import searching
from tests.faults.sizes import SIZES
from tests.faults.writes import missing_vectors, writing

BACK_S = 5
LEASE_S = 3
SEED = 7
CUSTOMERS = 2


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
    figures.at_most(f"{name}: from the kill to a write that succeeds", max(back_s), BACK_S, "s")
    figures.tell(f"{name}: from the last write to the last vector", f"{indexed_s:.1f} s, lease {LEASE_S} s")
