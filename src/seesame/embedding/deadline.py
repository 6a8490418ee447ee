"""A transport for HTTP with a deadline for the whole of a request, from dialling to the reply's last byte."""

import ssl
from collections.abc import Callable, Iterable
from typing import Any, Final

import httpcore2
import httpx2

_KEEP_S: Final = 5.0  # less than the service keeps an idle connection
_WRITE_BYTES: Final = 64 * 1024


class DeadlineTransport(httpx2.HTTPTransport):
    """HTTP whose "timeouts" are the time, by `clock`, at which everything must be over.

    The library gives a timeout to each single read and write, so a reply that trickles would never be over.
    """

    def __init__(self, url: httpx2.URL, *, max_kept: int, clock: Callable[[], float]) -> None:
        """For requests to `url`; up to `max_kept` idle connections are kept. Every request must have a deadline."""
        if url.scheme == "https":
            tls = httpx2.create_ssl_context(trust_env=False)
        else:
            tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # trusts nobody; reading all authorities takes 0.1 s
        super().__init__(verify=tls)
        self._pool = httpcore2.ConnectionPool(
            ssl_context=tls,
            max_connections=None,  # queries are counted elsewhere, and a probe must not wait for a place
            max_keepalive_connections=max_kept,
            keepalive_expiry=_KEEP_S,
            network_backend=_DeadlineBackend(clock),
        )


class _DeadlineBackend(httpcore2.NetworkBackend):
    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._sockets = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        left_s = _left_s(timeout, self._clock)
        return _DeadlineStream(
            self._sockets.connect_tcp(host, port, left_s, local_address, socket_options), self._clock
        )


class _DeadlineStream(httpcore2.NetworkStream):
    def __init__(self, stream: httpcore2.NetworkStream, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._clock = clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._stream.read(max_bytes, _left_s(timeout, self._clock))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        for start in range(0, len(buffer), _WRITE_BYTES):  # the other side may take it as slowly as it likes
            self._stream.write(buffer[start : start + _WRITE_BYTES], _left_s(timeout, self._clock))

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore2.NetworkStream:
        stream = self._stream.start_tls(ssl_context, server_hostname, _left_s(timeout, self._clock))
        return _DeadlineStream(stream, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _left_s(until: float | None, clock: Callable[[], float]) -> float:
    assert until is not None, "every request has a deadline"
    left_s = until - clock()
    if left_s <= 0:
        raise httpcore2.ReadTimeout
    return left_s
