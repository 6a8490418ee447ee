"""Redis is absent, killed, silent, or of another password, while customers search."""

import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.faults.conftest import Figures, Stack, wait_for_clip
from tests.faults.processes import Process, free_port, running
from tests.faults.searches import Answered, Customers
from tests.faults.sizes import SIZES
from tests.redis_server import RedisServer

PASSWORD = "correct horse"
MORE_MS = 50


@pytest.fixture(scope="module")
def healthy(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Process]:
    """An API with a Redis that works, to compare with."""
    redis = RedisServer(tmp_path_factory.mktemp("redis"))
    try:
        with running(stack.folder, "api", stack.environment | {"REDIS_URL": redis.url}) as api:
            wait_for_clip(api)
            yield api
    finally:
        redis.stop()


@pytest.mark.parametrize("fault", ["absent", "killed", "black-holed", "wrong password"])
def test_searches_go_on_without_redis(
    stack: Stack, healthy: Process, figures: Figures, tmp_path: Path, fault: str
) -> None:
    """No search fails, and the slow ones are hardly slower than those of an API whose Redis works."""
    redis = RedisServer(tmp_path, "--requirepass", PASSWORD) if fault == "wrong password" else RedisServer(tmp_path)
    url = redis.url
    if fault == "absent":
        url = f"redis://127.0.0.1:{free_port()}"
    elif fault == "wrong password":
        url = f"redis://:wrong@127.0.0.1:{redis.port}"
    try:
        with running(stack.folder, "api", stack.environment | {"REDIS_URL": url}) as api:
            wait_for_clip(api)
            _compared(stack, healthy, api, SIZES.redis_requests // 10)
            if fault == "killed":
                redis.signal(signal.SIGKILL)
            elif fault == "black-holed":
                redis.signal(signal.SIGSTOP)
            usual, struck = _compared(stack, healthy, api, SIZES.redis_requests)
    finally:
        redis.stop()
    name = f"Redis {fault}, {SIZES.redis_requests:,} searches"
    usual_ms, struck_ms = (np.quantile([answer.took_s for answer in each], 0.99) * 1000 for each in (usual, struck))
    figures.none(f"{name}: not answered with 200", sum(answer.status != 200 for answer in struck))
    figures.tell(f"{name}: p99", f"{struck_ms:.0f} ms; with a Redis that works {usual_ms:.0f} ms")
    figures.at_most(f"{name}: p99 more than with a Redis that works", struck_ms - usual_ms, MORE_MS, "ms")


def _compared(stack: Stack, healthy: Process, api: Process, count: int) -> tuple[list[Answered], list[Answered]]:
    """Searches at both in turns, so that what else the machine does slows both alike."""
    usual, struck = Customers(healthy.url, stack.photo), Customers(api.url, stack.photo)
    with usual.client() as usual_client, struck.client() as struck_client:
        for _ in range(count):
            usual.search(usual_client)
            struck.search(struck_client)
    return usual.answers, struck.answers
