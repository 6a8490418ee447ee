"""Whether a call that failed is tried again, and when."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from seesame_client.calls import Call
from seesame_client.errors import DeadlineExceeded, SeesameError, Unreachable, refusal

_AGAIN = frozenset({429, 502, 503, 504})
_MAX_RETRY_AFTER_S = 60.0  # a call that is to come again later than that fails at once
_PATIENT_READ_S = 600.0
_UNCONNECTED = (httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a call is tried, and the pauses between: any length up to a bound that doubles each time.

    That is "full jitter": clients that failed together do not come back together
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/).
    """

    tries: int = 4
    first_s: float = 0.25
    longest_s: float = 8.0

    def pause_s(self, failed: int) -> float:
        """The pause after so many failures."""
        return random.uniform(0, min(self.longest_s, self.first_s * 2 ** (failed - 1)))  # noqa: S311 - no secret


class Tries:
    """The tries of one call. After each failure: the pause before the next one, or the error that ends the call."""

    def __init__(
        self,
        call: Call[Any],
        *,
        retry: Retry,
        request_id: str,
        timeout: httpx2.Timeout,
        deadline_s: float | None,
        clock: Callable[[], float],
    ) -> None:
        self._call = call
        self._retry = retry
        self._id = request_id
        self._timeout = timeout
        self._clock = clock
        self._until = None if deadline_s is None or call.patient else clock() + deadline_s
        self._failed = 0

    def request(self, stream: Any = None) -> dict[str, Any]:
        """The arguments of the next request, no single step of which outlasts the deadline."""
        timeout = self._timeout.as_dict()
        if self._call.patient:
            timeout["read"] = _PATIENT_READ_S
        left_s = self.left_s()
        if left_s is not None:
            timeout = {step: left_s if each is None else min(each, left_s) for step, each in timeout.items()}
        options = dict(self._call.options)
        headers = {**options.pop("headers", {}), "X-Request-ID": self._id}
        about = {"method": self._call.method, "url": self._call.path, "timeout": httpx2.Timeout(**timeout)}
        return {**about, "headers": headers, **options, **({} if stream is None else {"content": stream})}

    def left_s(self) -> float | None:
        """The time that is left; None if it has no end. Raises DeadlineExceeded."""
        if self._until is None:
            return None
        left_s = self._until - self._clock()
        if left_s <= 0:
            raise self.too_late()
        return left_s

    def too_late(self) -> DeadlineExceeded:
        """The error of a call that took too long."""
        return DeadlineExceeded("Seesame did not answer in time.", request_id=self._id)

    def lost(self, error: httpx2.RequestError) -> float:
        """After no reply, or a part of one: the pause. Raises Unreachable."""
        if isinstance(error, httpx2.TimeoutException) and not isinstance(error, _UNCONNECTED):
            return self._pause_s(self.too_late(), cause=error)
        message = "Seesame cannot be reached, or cut the connection."
        return self._pause_s(Unreachable(message, request_id=self._id), cause=error)

    def is_done(self, response: httpx2.Response) -> bool:
        """Whether it succeeded; what an earlier try may have deleted, and this one does not find, is deleted."""
        gone = self._failed > 0 and self._call.method == "DELETE" and response.status_code == 404
        return response.is_success or gone

    def refused(self, response: httpx2.Response, body: bytes) -> float:
        """After a reply that is no success: the pause. Raises Refused."""
        wait_s = _retry_after_s(response.headers)
        request_id = response.headers.get("X-Request-ID", self._id)
        error = refusal(response.status_code, _problem(response, body), request_id=request_id, retry_after_s=wait_s)
        if response.status_code not in _AGAIN or (wait_s or 0) > _MAX_RETRY_AFTER_S:
            raise error
        return self._pause_s(error, least_s=wait_s or 0)

    def _pause_s(self, error: SeesameError, *, cause: Exception | None = None, least_s: float = 0) -> float:
        self._failed += 1
        pause_s = least_s + self._retry.pause_s(self._failed)
        over = self._until is not None and self._clock() + pause_s >= self._until
        if over or not self._call.repeatable or self._failed >= self._retry.tries:
            raise error from cause
        return pause_s


def _problem(response: httpx2.Response, body: bytes) -> dict[str, Any]:
    """The problem that a reply holds; perhaps something between here and the server answered instead of it."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and "code" in problem:
        return problem
    elsewhere = f" It is at {response.headers['Location']}." if response.has_redirect_location else ""
    return {"detail": f"{response.reason_phrase}.{elsewhere}"}


def _retry_after_s(headers: httpx2.Headers) -> float | None:
    """Seconds, whether the server names them or a date; a date counts from the server's own."""
    value = headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,9}", value):
        return float(value)
    at = _date(value)
    if at is None:
        return None
    now = _date(headers.get("Date", "")) or datetime.now(UTC)
    return max(0.0, (at - now).total_seconds())


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)
