"""Processes that are told to end while they are at work: what they accepted is finished, what they refuse is told."""

import http.client
import itertools
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import psycopg

from tests.faults.conftest import Figures, Stack, wait_for_clip
from tests.faults.processes import Process, eventually
from tests.faults.sizes import SIZES

EXIT_S = 20
CLIENTS = 12
PICTURE_S = 0.03
MARGIN_S = 0.15  # from a request's last byte to its being accepted, on a busy machine
Outcome = Literal["answered", "refused", "closed", "lost"]
Ask = tuple[str, str, bytes, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a request. `status` 0: none came."""

    what: str
    sent: float
    done: float
    status: int
    outcome: Outcome


@dataclass
class Clients:
    """Requests so far, over connections that are kept."""

    port: int
    ask: Callable[[int], Ask]
    fates: list[Fate] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        while not self.stop.is_set():
            fate = self._one(connection)
            self.fates.append(fate)
            if fate.outcome in ("closed", "lost"):
                connection.close()
                self.stop.wait(0.05)
        connection.close()

    def _one(self, connection: http.client.HTTPConnection) -> Fate:
        method, path, body, headers = self.ask(next(self.numbers))
        sent, status, outcome = time.monotonic(), 0, "lost"
        try:
            connection.request(method, path, body, headers)
            sent = time.monotonic()
            reply = connection.getresponse()
            status = reply.status
            reply.read()
            outcome = "refused" if status in (429, 503) else "answered"
        except (http.client.IncompleteRead, TimeoutError):
            pass  # a part of an answer, or none for so long
        except (http.client.RemoteDisconnected, http.client.NotConnected, OSError):
            outcome = "closed" if not status else "lost"
        except http.client.HTTPException:
            pass
        return Fate(f"{method} {path}", sent, time.monotonic(), status, outcome)  # type: ignore[arg-type]


@contextmanager
def at_work(port: int, ask: Callable[[int], Ask]) -> Iterator[Clients]:
    """Clients at work until the block ends."""
    clients = Clients(port, ask)
    threads = [threading.Thread(target=clients.run) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    try:
        yield clients
    finally:
        clients.stop.set()
        for thread in threads:
            thread.join()


@dataclass
class Ends:
    """What was seen at all ends of one kind of process."""

    exits_s: list[float] = field(default_factory=list)
    codes: Counter[int] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    in_flight: int = 0
    lost: list[Fate] = field(default_factory=list)

    def told(self, figures: Figures, name: str) -> None:
        """Takes down the figures."""
        outcomes = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.most_common())
        figures.tell(f"{name}: requests", f"{outcomes}; {self.in_flight} in flight at the signal")
        figures.none(f"{name}: lost, or in flight and not answered with 200", len(self.lost))
        figures.at_most(f"{name}: from the signal to the end", max(self.exits_s), EXIT_S, "s")
        assert set(self.codes) == {0}
        assert self.in_flight


def _end(process: Process, ask: Callable[[int], Ask], ends: Ends, drawn: random.Random) -> list[Fate]:
    """Tells a process to end while clients ask it, and notes what became of their requests; all of these."""
    with at_work(process.port, ask) as clients:
        eventually(lambda: sum(fate.outcome == "answered" for fate in clients.fates) > CLIENTS)
        time.sleep(drawn.uniform(0, 0.5))
        signalled = time.monotonic()
        process.signal(signal.SIGTERM)
        ends.codes[process.popen.wait(EXIT_S * SIZES.slack)] += 1
        ends.exits_s.append(time.monotonic() - signalled)
        time.sleep(0.1)
    for fate in clients.fates:
        in_flight = fate.sent + MARGIN_S < signalled < fate.done
        ends.in_flight += in_flight
        ends.outcomes[fate.outcome] += 1
        if fate.outcome == "lost" or (in_flight and fate.status not in (200, 201)):
            ends.lost.append(fate)
    return clients.fates


def test_an_ending_clip_service_finishes_what_it_accepted(stack: Stack, figures: Figures) -> None:
    """Whoever was in flight at the signal gets a vector; whoever comes later is told, or finds the door closed."""
    ends, drawn = Ends(), random.Random(7)
    for _ in range(SIZES.terms):
        stack.pace(PICTURE_S)
        _end(stack.clip, lambda _: ("POST", "/extract-features", stack.photo, {}), ends, drawn)
        stack.clip.start()
        stack.clip.wait_ready()
    stack.pace(0)
    ends.told(figures, f"{SIZES.terms} × SIGTERM of the CLIP service, {CLIENTS} clients")


def test_an_ending_api_finishes_what_it_accepted(stack: Stack, api: Process, figures: Figures) -> None:
    """As the service; and every product whose writing was answered is there."""
    ends, drawn = Ends(), random.Random(7)
    written: list[str] = []

    def ask(number: int) -> Ask:
        if number % 4 == 0:
            body = b'{"title": "Written while the process ends"}'
            return "PUT", f"/v1/products/end-{round_}-{number}", body, {"Content-Type": "application/json"}
        part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="p.jpg"\r\n\r\n'
        body = part + stack.photo + f"{round_}-{number}".encode() + b"\r\n--x--\r\n"
        return "POST", "/v1/search/image", body, {"Content-Type": "multipart/form-data; boundary=x"}

    for round_ in range(SIZES.terms):
        if round_:
            api.start()
            api.wait_ready()
            wait_for_clip(api)
        stack.pace(PICTURE_S)
        fates = _end(api, ask, ends, drawn)
        written += [f.what.rsplit("/", 1)[1] for f in fates if f.what.startswith("PUT") and f.status in (200, 201)]
        stack.pace(0)
    with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
        there = {row[0] for row in connection.execute("SELECT product_id FROM seesame.products")}
        connection.execute("DELETE FROM seesame.products WHERE product_id LIKE 'end-%%'")
    name = f"{SIZES.terms} × SIGTERM of the API, {CLIENTS} clients"
    figures.none(f"{name}: products that were written and are gone", len(set(written) - there), f"{len(written):,}")
    ends.told(figures, name)
