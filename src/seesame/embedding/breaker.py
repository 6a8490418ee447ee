"""The circuit breaker: whether it is worth asking a service that may be down.

closed ──a few failures in a row, or `trip`──▶ open ──the pause is over──▶ half-open ──the probe succeeded──▶ closed
                                               open ◀──the probe failed: twice the pause── half-open

Pure: every call is told the time, in seconds of a monotonic clock.
"""

import threading
from typing import Literal


class Breaker:
    """Refuses calls while a service is down, and lets one probe at a time find out whether it is back. Thread-safe.

    `admit` numbers the periods between two changes, and whoever was admitted reports with that number. So a call that
    began before the breaker opened cannot close it again, nor does its failure count against the probe.
    """

    def __init__(self, *, failures: int = 3, pause_s: float = 1.0, max_pause_s: float = 5.0) -> None:
        """`failures` in a row open it for `pause_s`; each failed probe doubles the pause, up to `max_pause_s`."""
        if failures < 1 or not 0 < pause_s <= max_pause_s:
            raise ValueError("failures must be at least 1, and pause_s above 0 and at most max_pause_s")
        self._failures_to_open = failures
        self._first_pause_s = pause_s
        self._max_pause_s = max_pause_s
        self._lock = threading.Lock()
        self._closed = True
        self._failures = 0
        self._pause_s = pause_s
        self._probing = False
        self._refused_until = 0.0  # of no meaning while closed
        self._period = 0

    def admit(self, now: float) -> int | None:
        """The number to report with, or None: do not call now.

        Once the pause is over, the first caller is the probe, and all others are refused until it has reported, or for
        `max_pause_s` if it never does.
        """
        with self._lock:
            if self._closed:
                return self._period
            if now < self._refused_until:
                return None
            self._probing = True
            self._refused_until = now + self._max_pause_s
            self._period += 1  # what a probe given up for lost reports later is of the past
            return self._period

    def succeeded(self, period: int) -> None:
        """The call admitted in `period` succeeded: no failures in a row any more; a probe closes the breaker."""
        with self._lock:
            if period == self._period:
                self._closed = True
                self._failures = 0

    def failed(self, period: int, now: float) -> None:
        """The call admitted in `period` failed: one more in a row; a probe opens the breaker for twice the pause."""
        with self._lock:
            if period != self._period:
                return
            self._failures += 1
            if not self._closed or self._failures >= self._failures_to_open:
                self._open(now)

    def trip(self, now: float) -> None:
        """Opens at once, whoever knows it: the service said that it is not ready. A pause that runs is not changed."""
        with self._lock:
            if self._state(now) != "open":
                self._open(now)

    def state(self, now: float) -> Literal["closed", "open", "half_open"]:
        """Half-open once the pause is over, whether a probe is out or not."""
        with self._lock:
            return self._state(now)

    def refuses(self, now: float) -> bool:
        """Whether `admit` would say no; unlike it, this takes no probe away."""
        with self._lock:
            return not self._closed and now < self._refused_until

    def _state(self, now: float) -> Literal["closed", "open", "half_open"]:
        if self._closed:
            return "closed"
        return "half_open" if self._probing or now >= self._refused_until else "open"

    def _open(self, now: float) -> None:
        self._pause_s = self._first_pause_s if self._closed else min(2 * self._pause_s, self._max_pause_s)
        self._refused_until = now + self._pause_s
        self._closed = self._probing = False
        self._failures = 0
        self._period += 1
