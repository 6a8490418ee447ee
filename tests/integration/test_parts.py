"""How the parts are, and since when."""

import sys
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NoReturn

import httpx2
import pytest

from seesame import images
from seesame.application import Application
from seesame.cli.serve import serving
from seesame.decoding import pool
from seesame.errors import DatabaseUnavailable
from seesame.parts import Health
from seesame.types import Product
from seesame.worker import create_app
from tests.conftest import picture
from tests.models import WAIT_S, until

_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def health(application: Application) -> Health:
    """A look at a shop without a worker, by a clock that goes on a second with each look."""
    looks = iter(range(1_000_000))
    return Health(
        application.spaces,
        application.cache,
        application.indexer,
        application.jobs,
        application.duplicates,
        None,
        images,
        folder=application.settings.data_dir,
        clock=lambda: _BEGIN + timedelta(seconds=next(looks)),
    )


def _seconds(since: datetime) -> float:
    return (since - _BEGIN).total_seconds()


def test_a_part_changes_by_itself(application: Application, health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database goes and comes back; what has nothing to do with it keeps its time."""
    assert health.look().parts["database"].status == "ok"

    def away(**_: object) -> NoReturn:
        raise DatabaseUnavailable("The database cannot be reached.")

    with monkeypatch.context() as patch:
        patch.setattr(application.spaces, "answering", away)
        for _ in range(2):
            gone = health.look()
    assert (gone.parts["database"].status, _seconds(gone.parts["database"].since)) == ("down", 1)
    assert {gone.parts[name].status for name in ("index", "backfill", "fallback")} == {"unknown"}
    assert gone.answering is None
    back = health.look()
    assert (back.parts["database"].status, _seconds(back.parts["database"].since)) == ("ok", 3)
    assert _seconds(back.parts["disk"].since) == _seconds(back.parts["clip"].since) == 0
    assert health.latest is back


def test_images_that_nobody_is_at_are_told(application: Application, health: Health) -> None:
    """Until a worker has done them."""
    application.catalogue.put(Product("a"))
    application.catalogue.add_image("a", picture())
    waiting = health.look()
    assert waiting.parts["backfill"].status == "degraded"
    assert waiting.parts["backfill"].detail.startswith("Vectors that are missing: 1.")
    assert waiting.backlog is not None
    assert sum(waiting.backlog.pending.values()) == 1
    application.indexer.run_once()
    health._backlog_until = 0.0  # it is counted again two seconds later
    assert health.look().parts["backfill"].status == "ok"


def test_processes_that_cannot_be_started_are_told(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until one can."""
    assert health.look().parts["decoders"].status == "unused"
    with monkeypatch.context() as broken:
        broken.setattr(pool, "_COMMAND", (sys.executable, "-c", "raise SystemExit"))
        decoder = pool.DecoderPool(processes=1).start()
        with closing(decoder):
            health._decoder = decoder
            until(lambda: health.look().parts["decoders"].status == "down")
            broken.undo()
            until(lambda: health.look().parts["decoders"].status == "ok")


def test_a_look_that_hangs_keeps_nobody_waiting(
    application: Application, health: Health, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others get what was seen before."""
    before = health.look()
    hanging, go_on = threading.Event(), threading.Event()
    answering = application.spaces.answering

    def slow() -> object:
        hanging.set()
        assert go_on.wait(WAIT_S)
        return answering()

    monkeypatch.setattr(application.spaces, "answering", slow)
    looking = threading.Thread(target=health.look)
    looking.start()
    assert hanging.wait(WAIT_S)
    assert health.look() is before
    go_on.set()
    looking.join()
    assert health.latest is not before


def test_a_worker_tells_the_same(application: Application) -> None:
    """At its own port."""
    with serving(application, app=create_app(application), fetch_model=False) as worker:
        told = httpx2.get(f"{worker.url}/health", timeout=WAIT_S).json()
    assert told["status"] == "ok"
    assert told["parts"]["database"]["status"] == "ok"
    assert datetime.fromisoformat(told["parts"]["disk"]["since"]) <= datetime.now(UTC)
