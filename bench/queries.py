"""A search by photo as a client sees it: over HTTP, from `seesame up` in a process of its own."""

import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np

from bench.bench import Bench
from bench.shop import ask, first_answer, unseen
from bench.table import Row

REQUESTS = 300
WARM_UP = 20
CLIENTS = 4
SECONDS = 15


def rows(bench: Bench) -> Iterator[Row]:
    """Latency of one client, throughput of four."""
    photos = bench.material.encoded(REQUESTS + WARM_UP)
    name = f"search by a photo of 400×533 over HTTP, fallback, {bench.material.name}"
    with bench.filled.up() as client:
        first_answer(client, photos[0])
        bench.say(f"{REQUESTS} requests, one after the other")
        wall, inside = _latency(client, photos)
        bench.say(f"{CLIENTS} clients for {SECONDS} s")
        count, seconds = _throughput(str(client.base_url), photos)
    median, p99 = np.quantile(wall, (0.5, 0.99))
    yield Row(f"{name}: one client", f"median {median:.0f} ms, p99 {p99:.0f} ms")
    yield Row(f"{name}: of which the service itself (the answer's took_ms)", f"median {np.median(inside):.0f} ms")
    yield Row(f"{name}: {CLIENTS} clients", f"{count / seconds:.0f} requests/s")


def _latency(client: httpx2.Client, photos: Sequence[bytes]) -> tuple[list[float], list[float]]:
    """The milliseconds of each request, and those that the server counted."""
    wall, inside = [], []
    for number, photo in enumerate(photos, start=-WARM_UP):
        started = time.perf_counter()
        took_ms = ask(client, unseen(photo))
        if number >= 0:
            wall.append((time.perf_counter() - started) * 1000)
            inside.append(took_ms)
    return wall, inside


def _throughput(url: str, photos: Sequence[bytes]) -> tuple[int, float]:
    """How many requests were answered, and in how many seconds."""
    ended = threading.Event()

    def work(number: int) -> int:
        with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
            for count in itertools.count():
                if ended.is_set():
                    return count
                ask(client, unseen(photos[(number * len(photos) // CLIENTS + count) % len(photos)]))
        return 0

    started = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        workers = [pool.submit(work, number) for number in range(CLIENTS)]
        ended.wait(SECONDS)
        ended.set()
        counts = [worker.result() for worker in workers]
    return sum(counts), time.perf_counter() - started
