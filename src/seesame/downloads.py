"""The pictures that one import asks for by URL: each is fetched once, and a host that is down is left alone."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache

from seesame.embedding.breaker import Breaker
from seesame.errors import FetchFailed, HostFailed
from seesame.fetch import Fetched, Fetcher
from seesame.types import Validators

_KEPT_BYTES = 64 * 1024 * 1024  # of pictures that may be asked for again
_KEPT = 10_000  # URLs, also those that failed
_HOSTS = 1_000
_FAILURES = 3
_PAUSE_S, _MAX_PAUSE_S = 30.0, 300.0
LEFT_ALONE = "The host of the picture failed several times in a row and is left alone for a while. Import it again."

_Result = Future[Fetched | None]


class Downloads:
    """Fetches for one import, from several threads at once."""

    def __init__(self, fetcher: Fetcher, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._fetcher = fetcher
        self._clock = clock
        self._lock = threading.Lock()
        self._results: OrderedDict[tuple[str, Validators | None], _Result] = OrderedDict()  # used last, last
        self._bytes = 0
        self._breaker = lru_cache(_HOSTS)(
            lambda host: Breaker(failures=_FAILURES, pause_s=_PAUSE_S, max_pause_s=_MAX_PAUSE_S)  # noqa: ARG005
        )

    def fetch(self, url: str, known: Validators | None = None) -> Fetched | None:
        """As `Fetcher.fetch_changed`; for what was asked lately, what came of it then.

        Raises:
            UrlNotAllowed: refused before any connection.
            FetchFailed: the remote side failed, or its host did several times in a row.
        """
        key = (url, known)
        with self._lock:
            result = self._results.get(key)
            mine = result is None
            if result is None:
                result = self._results[key] = Future()
            self._results.move_to_end(key)
        if mine:
            try:
                fetched = self._fetched(url, known)
            except BaseException as error:  # noqa: BLE001 - whoever waits for the same gets it, too
                result.set_exception(error)
            else:
                self._keep(key, result, fetched)
        return result.result()

    def _fetched(self, url: str, known: Validators | None) -> Fetched | None:
        breaker = self._breaker(url.partition("://")[2].partition("/")[0].lower())
        period = breaker.admit(self._clock())
        if period is None:
            raise FetchFailed(LEFT_ALONE)
        try:
            fetched = self._fetcher.fetch_changed(url, known)
        except HostFailed:
            breaker.failed(period, self._clock())
            raise
        except BaseException:
            breaker.succeeded(period)  # the host answered, or was not even asked
            raise
        breaker.succeeded(period)
        return fetched

    def _keep(self, key: tuple[str, Validators | None], result: _Result, fetched: Fetched | None) -> None:
        with self._lock:
            result.set_result(fetched)
            if self._results.get(key) is result:
                self._bytes += _size(result)
            while self._bytes > _KEPT_BYTES or len(self._results) > _KEPT:
                _, oldest = self._results.popitem(last=False)
                self._bytes -= _size(oldest)


def _size(result: _Result) -> int:
    """Bytes that are kept with a result; none while it is awaited, or where nothing came."""
    fetched = result.result() if result.done() and result.exception() is None else None
    return 0 if fetched is None else len(fetched.data)
