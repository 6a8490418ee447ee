"""How much there is: counted now and then, not for each who asks."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from seesame.catalogue import Catalogue
from seesame.freshness import kept_until
from seesame.spaces import Spaces, SpaceState


@dataclass(frozen=True, slots=True)
class Counts:
    """What the catalogue and its spaces held when it was counted."""

    products: int
    images: int
    categories: Sequence[tuple[str, int]]
    spaces: Sequence[SpaceState]
    counted_at: datetime


class Statistics:
    """Counts anew now and then."""

    def __init__(self, catalogue: Catalogue, spaces: Spaces) -> None:
        self._catalogue = catalogue
        self._spaces = spaces
        self._counting = threading.Lock()
        self._counts: Counts | None = None
        self._until = 0.0

    def counts(self) -> Counts:
        """The latest counts; while they are taken anew, those before."""
        before = self._counts
        if before is not None and time.monotonic() < self._until:
            return before
        if not self._counting.acquire(blocking=before is None):
            assert before is not None
            return before
        try:
            if self._counts is before:  # nobody counted while this one waited
                started = time.monotonic()
                self._counts = self._count()
                self._until = kept_until(started, time.monotonic())
            assert self._counts is not None
            return self._counts
        finally:
            self._counting.release()

    def _count(self) -> Counts:
        counted_at = datetime.now(UTC)
        products, images = self._catalogue.totals()
        return Counts(products, images, self._catalogue.categories(), self._spaces.states(), counted_at)
