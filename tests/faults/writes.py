"""Shops that write products and pictures, again and again, and remember what was acknowledged."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from tests.faults.processes import again_and_again

_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Write:
    """What became of a request. `status` 0: no answer came."""

    began: float
    ended: float
    status: int
    is_problem: bool  # as `application/problem+json`, a 503 with `Retry-After`

    @property
    def done(self) -> bool:
        return self.status in (200, 201)


@dataclass
class Writers:
    """Requests so far, the products that were acknowledged, and the pictures, as (product_id, image_id)."""

    url: str
    photo: bytes
    writes: list[Write] = field(default_factory=list)
    products: set[str] = field(default_factory=set)
    images: set[tuple[str, str]] = field(default_factory=set)

    def write(self, client: httpx2.Client) -> None:
        """Writes a new product, and a picture of it if that was acknowledged."""
        number = next(_NUMBERS)
        product_id = f"written-{number}"
        if self._send(client, "PUT", f"/v1/products/{product_id}", json={"title": f"Number {number}"}) is None:
            return
        self.products.add(product_id)
        photo = self.photo + f"{number}".encode()  # what follows a JPEG's end makes it another one
        added = self._send(client, "POST", f"/v1/products/{product_id}/images", files={"image": ("p.jpg", photo)})
        if added is not None:
            self.images.add((product_id, added.json()["id"]))

    def done_since(self, moment: float) -> float | None:
        """When the first of the writes that began after a moment was acknowledged; None if none was."""
        return min((write.ended for write in list(self.writes) if write.began > moment and write.done), default=None)

    def gone(self, client: httpx2.Client) -> list[str]:
        """What was acknowledged and cannot be read, pictures with their bytes."""
        paths = [f"/v1/products/{product_id}" for product_id in self.products]
        paths += [f"/v1/images/{image_id}" for _, image_id in self.images]
        return [path for path in paths if client.get(path).status_code != 200]

    def _send(self, client: httpx2.Client, method: str, path: str, **body: object) -> httpx2.Response | None:
        began = time.monotonic()
        try:
            reply = client.request(method, path, **body)  # type: ignore[arg-type]
        except httpx2.HTTPError:
            self.writes.append(Write(began, time.monotonic(), 0, is_problem=False))
            return None
        told = reply.headers["content-type"] == "application/problem+json"
        is_problem = told and (reply.status_code != 503 or "retry-after" in reply.headers)
        write = Write(began, time.monotonic(), reply.status_code, is_problem)
        self.writes.append(write)
        return reply if write.done else None


def missing_vectors(client: httpx2.Client) -> list[int]:
    """How many images lack their vector, in each space."""
    return [space["missing"] for space in client.get("/v1/stats").raise_for_status().json()["spaces"]]


@contextmanager
def writing(url: str, photo: bytes, *, writers: int = 3) -> Iterator[Writers]:
    """Writers at work until the block ends."""
    shared = Writers(url, photo)
    with again_and_again(url, shared.write, clients=writers):
        yield shared
