"""Clients that dawdle, beside clients that do not."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from bench.load import Target

from bench import load
from tests.faults.conftest import Figures, Stack
from tests.faults.sizes import IS_LONG, SIZES

SLOW = 50
CLOSED_S, SLOWER = 15, 20
REQUESTS = 1_500
HEADS = (
    b"",
    b"POST /extract-features HTTP/1.1\r\nX: ",
    b"POST /extract-features HTTP/1.1\r\nContent-Length: 9999\r\n\r\n",
)


@dataclass
class Slow:
    """How long each connection was let be, in seconds."""

    lasted_s: list[float] = field(default_factory=list)
    open: int = 0


@contextmanager
def dawdling(port: int) -> Iterator[Slow]:
    """Connections that send a byte a second, or nothing at all; one that is closed is opened again."""
    slow, stop = Slow(), threading.Event()

    async def client(number: int) -> None:
        head = HEADS[number % len(HEADS)]
        while not stop.is_set():
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            opened = time.monotonic()
            slow.open += 1
            writer.write(head)
            with_end = asyncio.ensure_future(reader.read())
            while not with_end.done() and not stop.is_set():
                if head:
                    writer.write(b"a")
                await asyncio.wait([with_end], timeout=1)
            if with_end.done():
                slow.lasted_s.append(time.monotonic() - opened)
                with_end.exception()
            slow.open -= 1
            with_end.cancel()
            writer.transport.abort()

    async def all_of_them() -> None:
        await asyncio.gather(*(client(number) for number in range(SLOW)))

    thread = threading.Thread(target=lambda: asyncio.run(all_of_them()))
    thread.start()
    try:
        yield slow
    finally:
        stop.set()
        thread.join()


@pytest.mark.skipif(not IS_LONG, reason="compares speeds, for which a machine has to be quiet: `make faults` does")
def test_slow_clients_slow_nobody_else(stack: Stack, figures: Figures, tmp_path: Path) -> None:
    """They lose their connections, and the others hardly notice."""
    (tmp_path / "photo.jpg").write_bytes(stack.photo)
    target = Target("127.0.0.1", stack.clip.port)

    def rate() -> float:
        done = load.closed(target, tmp_path, clients=4, requests=REQUESTS)
        assert not done.refused
        return done.rate

    rate()
    alone, beside, lasted_s = [], [], []
    for _ in range(SIZES.drip_rounds):
        alone.append(rate())
        with dawdling(stack.clip.port) as slow:
            time.sleep(1)
            assert slow.open == SLOW
            beside.append(rate())
            time.sleep(CLOSED_S)
        lasted_s += slow.lasted_s
        alone.append(rate())
    name = f"CLIP service beside {SLOW} clients that send nothing, or a byte a second"
    usual, slowed = float(np.median(alone)), float(np.median(beside))
    figures.tell(f"{name}: what 4 others get", f"{slowed:.0f} answers a second; alone {usual:.0f}")
    figures.at_most(f"{name}: the others are slower by", 100 * (1 - slowed / usual), SLOWER, "%")
    figures.at_most(f"{name}: the longest that was let be", max(lasted_s), CLOSED_S, "s")
    assert len(lasted_s) >= SLOW
