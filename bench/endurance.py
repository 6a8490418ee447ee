"""A hundred thousand requests of all kinds, good and bad: whether memory and file descriptors stay. Half an hour."""

import os
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import httpx2
import numpy as np
import psutil

from bench.bench import Bench
from bench.shop import first_answer, unseen
from bench.table import Row, at_most
from bench.usage import memory_bytes

REQUESTS = int(os.environ.get("SEESAME_BENCH_COUNT", "100000"))
CLIENTS = 4
PARTS = 20
SETTLED = 4  # parts after which caches, pools and threads have the size that they keep
GROWTH_MB, GROWTH_FILES = 50, 20
SEED = 7

_WORDS = ("dress", "blue shirt", "shoes", "t-shirt with stripes", "hat", "long skirt", "jacket", "trousers")
_PAGES = ("/", "/admin", "/health", "/metrics", "/v1/products?limit=20", "/v1/stats")
_WRONG: tuple[Any, ...] = (
    [[]],
    {"limit": -1},
    {"queries": []},
    {"queries": [{"text": "x" * 5_000}]},
    *(
        {"queries": [{"image": {"url": url}}]}
        for url in ("http://127.0.0.1:1/x.jpg", "file:///etc/passwd", "http://[::1]/")
    ),
)


def rows(bench: Bench) -> Iterator[Row]:
    """After each twentieth of the requests."""
    photos = bench.material.encoded(200)
    with bench.filled.process() as (client, pid):
        first_answer(client, photos[0])
        listed = client.get("/v1/products", params={"limit": 50}).raise_for_status().json()["products"]
        statuses: Counter[int] = Counter()
        taken = []
        for part in range(PARTS):
            bench.say(f"{REQUESTS // PARTS:,} requests, {part + 1} of {PARTS} times")
            with ThreadPoolExecutor(CLIENTS) as pool:
                ask = partial(_ask, str(client.base_url), photos, listed, REQUESTS // PARTS // CLIENTS)
                for counted in pool.map(ask, range(part * CLIENTS, (part + 1) * CLIENTS)):
                    statuses += counted
            megabytes, open_files = _taken(pid)
            bench.say(f"{megabytes:.0f} MB and {open_files} files")
            taken.append((megabytes, open_files))
    name = f"{REQUESTS:,} mixed requests of {CLIENTS} clients"
    told = ", ".join(f"{status}: {count:,}" for status, count in sorted(statuses.items()))
    faults = sum(count for status, count in statuses.items() if status >= 500)
    yield at_most(f"{name}: 5xx", faults, 0, f"{faults} ({told})", "0")
    memory, files = np.array(taken).T
    for what, values, most, unit in (
        ("memory of the process and those below it (PSS)", memory, GROWTH_MB, " MB"),
        ("open files", files, GROWTH_FILES, ""),
    ):
        first, last = values[SETTLED], values[-1]
        grown = f"{first:.0f} to {last:.0f}{unit}, at most {values.max():.0f}"
        yield at_most(f"{name}: {what}, after a fifth and at the end", last - first, most, grown, f"+{most}{unit}")


Replies = list[httpx2.Response]


class _Visitor:
    """One client, and the kinds of requests that it makes."""

    def __init__(self, client: httpx2.Client, number: int, photos: Sequence[bytes], products: Sequence[Any]) -> None:
        self.random = random.Random(SEED + number)
        self._client = client
        self._photos = photos
        self._products = products

    def photo(self) -> Replies:
        return self._search(unseen(self._photo))

    def photo_again(self) -> Replies:
        return self._search(self._photo, facets="category")

    def region(self) -> Replies:
        return self._search(unseen(self._photo), region="0.2,0.2,0.5,0.5")

    def words(self) -> Replies:
        return [self._client.post("/v1/search", json={"queries": [{"text": self.random.choice(_WORDS)}]})]

    def similar(self) -> Replies:
        return [self._client.get(f"/v1/products/{self._product['product_id']}/similar")]

    def picture(self) -> Replies:
        size = self.random.choice(("thumb", "full"))
        return [self._client.get(self._product["images"][0]["url"], params={"size": size})]

    def page(self) -> Replies:
        return [self._client.get(self.random.choice(_PAGES))]

    def product(self) -> Replies:
        """One that comes and goes."""
        path = f"/v1/products/endurance-{self.random.randrange(10**12)}"
        made = self._client.put(path, json={"title": "A product that comes and goes"})
        image = self._client.post(f"{path}/images", files={"image": ("photo", self._photo)})
        return [made, image, self._client.delete(path)]

    def damaged(self) -> Replies:
        whole, noise = self._photo, self.random.randbytes(10_000)
        cut = whole[: self.random.randrange(len(whole))]
        return self._search(self.random.choice((cut, noise, b"", whole[:2] + noise)))

    def wrong(self) -> Replies:
        unknown = self._client.get(f"/v1/products/none-{self.random.random()}")
        return [unknown, self._client.post("/v1/search", json=self.random.choice(_WRONG))]

    def gone(self) -> Replies:
        """A client that does not wait for its answer."""
        with suppress(httpx2.TimeoutException):
            self._client.post("/v1/search/image", files={"image": ("photo", unseen(self._photo))}, timeout=0.005)
        return []

    def _search(self, photo: bytes, **fields: str) -> Replies:
        return [self._client.post("/v1/search/image", files={"image": ("photo", photo)}, data=fields)]

    @property
    def _photo(self) -> bytes:
        return self.random.choice(self._photos)

    @property
    def _product(self) -> Any:
        return self.random.choice(self._products)


_SHARES: dict[Callable[[_Visitor], Replies], int] = {  # of a hundred
    _Visitor.photo: 15,
    _Visitor.photo_again: 20,
    _Visitor.region: 3,
    _Visitor.words: 15,
    _Visitor.similar: 15,
    _Visitor.picture: 12,
    _Visitor.page: 6,
    _Visitor.product: 3,
    _Visitor.damaged: 5,
    _Visitor.wrong: 4,
    _Visitor.gone: 2,
}


def _ask(url: str, photos: Sequence[bytes], products: Sequence[Any], count: int, number: int) -> Counter[int]:
    """One client's requests; how many were answered with each status."""
    statuses: Counter[int] = Counter()
    with httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        visitor = _Visitor(client, number, photos, products)
        for request in visitor.random.choices(list(_SHARES), list(_SHARES.values()), k=count):
            statuses.update(reply.status_code for reply in request(visitor))
    return statuses


def _taken(pid: int) -> tuple[float, int]:
    """Megabytes and open files of a process and those below it."""
    process = psutil.Process(pid)
    processes = (process, *process.children(recursive=True))
    return sum(memory_bytes(one.pid) for one in processes) / 2**20, sum(one.num_fds() for one in processes)
