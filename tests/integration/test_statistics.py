"""How much there is, counted now and then."""

import threading
from collections.abc import Sequence

from seesame.application import Application
from seesame.statistics import Statistics
from seesame.types import Product
from tests.conftest import served
from tests.models import WAIT_S, until


def test_who_asks_often_gets_the_same_counts(application: Application) -> None:
    """They say when they were taken, and follow soon."""
    with served(application) as client:
        first = client.get("/v1/stats").json()
        application.catalogue.put(Product("a", category="shoes"))
        assert client.get("/v1/stats").json()["counted_at"] == first["counted_at"]
        until(lambda: client.get("/v1/stats").json()["products"] == 1)
        later = client.get("/v1/stats").json()
    assert later["counted_at"] > first["counted_at"]
    assert later["categories"] == [{"name": "shoes", "count": 1}]


class _Slow:
    """A catalogue that takes its time to count."""

    def __init__(self, application: Application) -> None:
        self._catalogue = application.catalogue
        self.counted = 0
        self.begun = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def totals(self) -> tuple[int, int]:
        self.counted += 1
        self.begun.set()
        assert self.go_on.wait(WAIT_S)
        return self._catalogue.totals()

    def categories(self) -> Sequence[tuple[str, int]]:
        return self._catalogue.categories()


def test_nobody_waits_for_counts_but_the_one_who_takes_them(application: Application) -> None:
    """A catalogue of millions is counted by one at a time; others get what was counted before."""
    slow = _Slow(application)
    statistics = Statistics(slow, application.spaces)  # type: ignore[arg-type]
    before = statistics.counts()
    statistics._until = 0.0
    slow.begun.clear()
    slow.go_on.clear()
    counting = threading.Thread(target=statistics.counts)
    counting.start()
    assert slow.begun.wait(WAIT_S)
    assert statistics.counts() is before
    slow.go_on.set()
    counting.join()
    assert statistics.counts() is not before
    assert slow.counted == 2


def test_the_first_counts_are_waited_for_by_all(application: Application) -> None:
    """And taken once."""
    slow = _Slow(application)
    slow.go_on.clear()
    statistics = Statistics(slow, application.spaces)  # type: ignore[arg-type]
    found = []
    threads = [threading.Thread(target=lambda: found.append(statistics.counts())) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert slow.begun.wait(WAIT_S)
    slow.go_on.set()
    for thread in threads:
        thread.join()
    assert slow.counted == 1
    assert len({id(counts) for counts in found}) == 1
