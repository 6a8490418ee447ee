"""The two clients, which differ in how they send alone. What they can be asked is in `api`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any, ClassVar, Self, TypedDict, TypeVar, Unpack
from uuid import uuid4

import httpx2

from seesame_client.api import Api, ClipApi
from seesame_client.calls import Call
from seesame_client.retrying import Retry, Tries
from seesame_client.version import __version__

T = TypeVar("T")

_TIMEOUT = httpx2.Timeout(30.0, connect=5.0)
_CONNECTIONS = 20


class Options(TypedDict, total=False):
    """What every client can be given."""

    key: str | None
    """A key of the API, as `seesame keys create` prints; of a CLIP service, what its SEESAME_CLIP_KEY holds."""
    headers: Mapping[str, str]
    """Sent with every request, such as what a proxy before Seesame asks for."""
    timeout: httpx2.Timeout
    """How long a single step may take: to connect (5 s), to send or to get some bytes (30 s)."""
    deadline_s: float | None
    """How long a call may take in all, tries and pauses included: 60 s. It does not hold for `start_import`, nor for
    `activate_space` and `roll_back_space`, which may build an index: each step of those may take ten minutes."""
    retry: Retry
    """How often a call is tried, and the pauses between. `Retry(tries=1)` tries once."""
    connections: int
    """How many there may be at a time: 20. They are kept and used again."""
    request_id: Callable[[], str | None]
    """Gives the id of the request that the shop is answering (`[A-Za-z0-9_-]{1,64}`); Seesame's log has it, too."""
    clock: Callable[[], float]
    """Seconds, as `time.monotonic`."""


class _Settings:
    """What all clients have."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: httpx2.Timeout = _TIMEOUT,
        deadline_s: float | None = 60.0,
        retry: Retry | None = None,
        connections: int = _CONNECTIONS,
        request_id: Callable[[], str | None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        base = httpx2.URL(url)
        if base.scheme not in ("http", "https") or not base.host:
            raise ValueError("the URL must be http://HOST:PORT or https://HOST:PORT")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise ValueError("the key holds characters that no key has, such as the end of a line")
        authorization = {} if key is None else {"Authorization": f"Bearer {key}"}
        self.clock = clock
        self._timeout = timeout
        self._deadline_s = deadline_s
        self._retry = retry or Retry()
        self._request_id = request_id
        self._http_options: dict[str, Any] = {
            "base_url": base,
            "headers": {"User-Agent": f"seesame-client/{__version__}", **authorization, **(headers or {})},
            "limits": httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
        }

    def _tries(self, call: Call[Any]) -> Tries:
        request_id = (self._request_id() if self._request_id else None) or uuid4().hex
        return Tries(
            call,
            retry=self._retry,
            request_id=request_id,
            timeout=self._timeout,
            deadline_s=self._deadline_s,
            clock=self.clock,
        )


class _Sync(_Settings):
    """Sends and waits."""

    is_async: ClassVar = False

    def __init__(
        self,
        url: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, **options)
        self._sleep = sleep
        self._http = httpx2.Client(transport=transport, **self._http_options)

    def send(self, call: Call[T]) -> T:
        """Sends a call, again if need be. The methods do it; it is here for what they do not know yet."""
        tries = self._tries(call)
        while True:
            stream = None if call.stream is None else call.stream()
            request = self._http.build_request(**tries.request(stream))
            try:
                with closing(self._http.send(request, stream=True)) as response:
                    if not tries.is_done(response):
                        pause_s = tries.refused(response, response.read())
                    else:
                        with call.receive(response) as receiver:
                            for chunk in response.iter_bytes():
                                tries.left_s()
                                receiver.write(chunk)
                            return receiver.result()
            except httpx2.RequestError as error:
                pause_s = tries.lost(error)
            self.sleep(pause_s)

    def sleep(self, seconds: float) -> None:
        """Pauses."""
        self._sleep(seconds)

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Async(_Settings):
    """Sends and is awaited. Runs on asyncio."""

    is_async: ClassVar = True

    def __init__(
        self,
        url: str,
        *,
        transport: httpx2.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        **options: Unpack[Options],
    ) -> None:
        super().__init__(url, **options)
        self._sleep = sleep
        self._http = httpx2.AsyncClient(transport=transport, **self._http_options)

    async def send(self, call: Call[T]) -> T:
        """Sends a call, again if need be. The methods do it; it is here for what they do not know yet."""
        tries = self._tries(call)
        while True:
            stream = None if call.stream is None else _in_thread(call.stream())
            request = self._http.build_request(**tries.request(stream))
            try:
                async with (
                    asyncio.timeout(tries.left_s()) as timer,
                    aclosing(await self._http.send(request, stream=True)) as response,
                ):
                    if not tries.is_done(response):
                        pause_s = tries.refused(response, await response.aread())
                    else:
                        with call.receive(response) as receiver:
                            async for chunk in response.aiter_bytes():
                                receiver.write(chunk)
                            return receiver.result()
            except TimeoutError as error:
                if not timer.expired():
                    raise
                raise tries.too_late() from error
            except httpx2.RequestError as error:
                pause_s = tries.lost(error)
            await self.sleep(pause_s)

    async def sleep(self, seconds: float) -> None:
        """Pauses."""
        await self._sleep(seconds)

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """The chunks, made outside the event loop: they come from a disk, or from a cursor of the shop's database."""
    while chunk := await asyncio.to_thread(next, chunks, b""):
        yield chunk


class Client(Api, _Sync):
    """A client of the API. Safe to share between threads; one for the whole process is best."""


class AsyncClient(Api, _Async):
    """A client of the API for asyncio. One for the whole process is best."""


class ClipClient(ClipApi, _Sync):
    """A client of the CLIP service."""


class AsyncClipClient(ClipApi, _Async):
    """A client of the CLIP service for asyncio."""
