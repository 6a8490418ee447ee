"""How often somebody may ask: a sliding window for each who asks.

Requests are counted in this process, so none waits for anything. Where there is a Redis, a thread adds up what all
processes counted, several times a second; while it is away, each counts for itself.

The window slides by weighing: of the period before as much counts as the sliding window still covers, as if its
requests had come evenly. That takes two numbers for each who asks, however much they ask.
"""

import logging
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Self

from seesame.cache import redis_at

if TYPE_CHECKING:
    from redis import Redis

MAX_SUBJECTS = 50_000  # 16 MB; those who asked last are kept, so a flood of addresses forgets others, not itself
_SHARE_S = 0.2
_PAUSE_S = 2.0  # after a fault of Redis
_AT_ONCE = 200  # of one exchange with Redis
_PERIODS = {"second": 1, "minute": 60, "hour": 3600}
_WRITTEN = re.compile(r"([1-9][0-9]{0,8})/(second|minute|hour)")

_log = logging.getLogger(__name__)


class Rate(NamedTuple):
    """So many requests in so many seconds."""

    limit: int
    period_s: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From words such as `120/minute`; raises ValueError for others."""
        written = _WRITTEN.fullmatch(text)
        if written is None:
            raise ValueError("must be a number of requests a second, minute or hour, such as 120/minute")
        return cls(int(written[1]), _PERIODS[written[2]])


class _Count:
    __slots__ = ("before", "now", "unsent", "window")

    def __init__(self, window: int) -> None:
        self.window = window
        self.before = 0
        self.now = 0
        self.unsent = 0

    def move_to(self, window: int) -> None:
        if window != self.window:
            self.before = self.now if window == self.window + 1 else 0
            self.window, self.now, self.unsent = window, 0, 0


_Key = tuple[str, int]  # who asks, and the period


class Rates:
    """Counts who asks. Safe to call from several threads; nothing is raised, whatever happens to Redis."""

    def __init__(
        self,
        *,
        redis_url: str | None = None,
        max_subjects: int = MAX_SUBJECTS,
        clock: Callable[[], float] = time.time,  # of all machines, so that their windows are the same
    ) -> None:
        """Raises ValueError for a `redis_url` that is none."""
        self._max_subjects = max_subjects
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: OrderedDict[_Key, _Count] = OrderedDict()
        self._unsent: set[_Key] = set()
        self._is_shared = redis_url is not None
        self._stop = threading.Event()
        if redis_url is not None:
            redis = redis_at(redis_url)
            threading.Thread(target=self._share_forever, args=(redis,), name="rates", daemon=True).start()

    def close(self) -> None:
        """Leaves Redis."""
        self._stop.set()

    def take(self, subject: str, rate: Rate, cost: int = 1) -> float:
        """Counts a request (as `cost` of them) and returns 0; or, where it is one too many, in how many seconds it
        would not be."""
        cost = min(cost, rate.limit)
        window, since_s = divmod(self._clock(), rate.period_s)
        passed = since_s / rate.period_s
        key = (subject, rate.period_s)
        with self._lock:
            count = self._counts.get(key)
            if count is None:
                count = self._counts[key] = _Count(int(window))
                if len(self._counts) > self._max_subjects:
                    self._unsent.discard(self._counts.popitem(last=False)[0])
            else:
                self._counts.move_to_end(key)
                count.move_to(int(window))
            if count.before * (1 - passed) + count.now + cost > rate.limit:
                return _wait_s(count.before, count.now, rate, cost, passed)
            count.now += cost
            if self._is_shared:
                count.unsent += cost
                self._unsent.add(key)
            return 0.0

    def share(self, redis: "Redis") -> None:
        """Tells Redis what was counted since the last time, and learns what all have counted. Raises its errors."""
        with self._lock:
            told = [(key, count.window, count.unsent) for key in self._unsent if (count := self._counts[key]).unsent]
            for key, _, _ in told:
                self._counts[key].unsent = 0
            self._unsent.clear()
        for start in range(0, len(told), _AT_ONCE):
            part = told[start : start + _AT_ONCE]
            exchange = redis.pipeline(transaction=False)
            for (subject, period_s), window, counted in part:
                name = f"seesame:rate:{subject}:{period_s}"
                exchange.incrby(f"{name}:{window}", counted)
                exchange.expire(f"{name}:{window}", 2 * period_s)
                exchange.get(f"{name}:{window - 1}")
            replies = exchange.execute()
            for (key, window, _), total, before in zip(part, replies[::3], replies[2::3], strict=True):
                self._learn(key, window, int(total), int(before or 0))

    def _learn(self, key: _Key, window: int, total: int, before: int) -> None:
        with self._lock:
            count = self._counts.get(key)
            if count is not None and count.window == window:
                count.now = max(count.now, total + count.unsent)  # a Redis that was emptied knows less
                count.before = max(count.before, before)

    def _share_forever(self, redis: "Redis") -> None:
        works = True
        while not self._stop.wait(_SHARE_S if works else _PAUSE_S):
            try:
                self.share(redis)
            except Exception as error:  # noqa: BLE001  # the thread must live, whatever a stranger's bytes raise
                if works:  # the error's name alone: its text may quote the password
                    name = type(error).__name__
                    _log.warning("⚠️ Redis does not work, each process counts requests by itself: %s", name)
                works = False
            else:
                if not works:
                    _log.info("✅ Redis works again, requests are counted together")
                works = True
        redis.close()


def _wait_s(before: int, now: int, rate: Rate, cost: int, passed: float) -> float:
    """In how many seconds enough of what was counted has left the window."""
    room = rate.limit - now - cost
    if room >= 0:  # in this period, of which the one before counts less and less
        return (1 - room / before - passed) * rate.period_s
    return (2 - (rate.limit - cost) / now - passed) * rate.period_s
