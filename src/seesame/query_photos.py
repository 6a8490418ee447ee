"""Photos of late searches, so that another region of one needs no second upload. In memory alone, and not for long."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from seesame.errors import NotFound

PREFIX = "q_"
KEEP_S = 15 * 60.0


class QueryPhotos:
    """Encoded photos by an id that nobody guesses. Safe to use from several threads."""

    def __init__(self, *, max_bytes: int, keep_s: float = KEEP_S, clock: Callable[[], float] = time.monotonic) -> None:
        """Keeps each for `keep_s` after its last use; those unused for longest go first where `max_bytes` are full."""
        self._max_bytes = max_bytes
        self._keep_s = keep_s
        self._clock = clock
        self._lock = threading.Lock()
        self._photos: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._bytes = 0

    def keep(self, photo: bytes) -> str | None:
        """The id that it can be had by; None where it is too large to be kept."""
        if len(photo) > self._max_bytes:
            return None
        photo_id = PREFIX + secrets.token_urlsafe(16)
        with self._lock:
            self._sweep()
            self._photos[photo_id] = photo, self._clock() + self._keep_s
            self._bytes += len(photo)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._photos)))
        return photo_id

    def get(self, photo_id: str) -> bytes:
        """The photo.

        Raises:
            NotFound: it was forgotten, or never here.
        """
        with self._lock:
            self._sweep()
            if photo_id not in self._photos:
                raise NotFound("The photo of that search is no longer kept. Send it again.")
            photo, _ = self._photos[photo_id]
            self._photos[photo_id] = photo, self._clock() + self._keep_s
            self._photos.move_to_end(photo_id)
            return photo

    def forget(self, photo_id: str) -> None:
        """Drops a photo; one that is gone already is no fault."""
        with self._lock:
            if photo_id in self._photos:
                self._drop(photo_id)

    def _sweep(self) -> None:
        """In the order of their last use they end, too."""
        now = self._clock()
        while self._photos and (first := next(iter(self._photos.items())))[1][1] <= now:
            self._drop(first[0])

    def _drop(self, photo_id: str) -> None:
        photo, _ = self._photos.pop(photo_id)
        self._bytes -= len(photo)
