"""Both clients for every test: the one that waits, and the one that is awaited."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack
from functools import wraps
from typing import Any, Protocol, cast

import pytest

from seesame_client import AsyncClient, Client
from tests.client.scripted import Server, serving


class Connect(Protocol):
    """Makes a client of a server."""

    def __call__(self, url: str, **options: Any) -> Client: ...


class _Awaited:
    """An `AsyncClient` with the face of a `Client`: what it gives is awaited in an event loop of its own."""

    def __init__(self, url: str, *, sleep: Callable[[float], None] | None = None, **options: Any) -> None:
        async def pause(seconds: float) -> None:
            assert sleep is not None
            sleep(seconds)

        self._runner = asyncio.Runner()
        self._client = AsyncClient(url, **options | ({"sleep": pause} if sleep else {}))

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        @wraps(method)
        def waiting(*args: Any, **kwargs: Any) -> Any:
            work = method(*args, **kwargs)
            return self._items(work) if hasattr(work, "__aiter__") else self._runner.run(work)

        return waiting

    def _items(self, work: AsyncIterator[Any]) -> Iterator[Any]:
        async def following() -> Any:
            return await anext(work, self)

        while (item := self._runner.run(following())) is not self:
            yield item

    def close(self) -> None:
        closing: Coroutine[Any, Any, None] = self._client.aclose()
        self._runner.run(closing)
        self._runner.close()


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of one kind, and closes them."""
    with ExitStack() as stack:

        def make(url: str, **options: Any) -> Client:
            client: Any = Client(url, **options) if request.param == "sync" else _Awaited(url, **options)
            stack.callback(client.close)
            return cast("Client", client)

        yield make


@pytest.fixture
def scripted() -> Iterator[Server]:
    """A server that follows a script."""
    with serving(Server()) as server:
        yield server
