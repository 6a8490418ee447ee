"""Customers who search by photo, again and again."""

import itertools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx2

from tests.faults.processes import again_and_again, client_of

_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Answered:
    """What became of a search. `status` 0: no answer came."""

    began: float
    took_s: float
    status: int
    reason: str | None = None


@dataclass
class Customers:
    """Searches so far."""

    url: str
    photo: bytes
    answers: list[Answered] = field(default_factory=list)

    def search(self, client: httpx2.Client) -> Answered:
        """Searches once, by a photo that nobody has searched by before."""
        photo = self.photo + f"{next(_NUMBERS)}".encode()  # what follows a JPEG's end makes it another one
        began = time.monotonic()
        try:
            reply = client.post("/v1/search/image", files={"image": ("photo.jpg", photo)})
        except httpx2.HTTPError:
            answered = Answered(began, time.monotonic() - began, 0)
        else:
            reason = reply.json()["degraded_reason"] if reply.status_code == 200 else None
            answered = Answered(began, time.monotonic() - began, reply.status_code, reason)
        self.answers.append(answered)
        return answered

    def client(self) -> httpx2.Client:
        """A connection of one customer."""
        return client_of(self.url)


@contextmanager
def searching(url: str, photo: bytes, *, customers: int = 4) -> Iterator[Customers]:
    """Customers at work until the block ends."""
    shared = Customers(url, photo)
    with again_and_again(url, shared.search, clients=customers):
        yield shared
