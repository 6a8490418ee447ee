"""What a method of the clients does, said once: `Client` does it and waits, `AsyncClient` does it and awaits.

A method builds a piece of work, and the client that it was called on does it:

Call[T]     one request                     T               or a coroutine that gives T
Pages[T]    one request after another       Iterator[T]     or AsyncIterator[T]
Waiting     the same request, with pauses   Job             or a coroutine that gives Job
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, cast, overload
from uuid import uuid4

import httpx2

from seesame_client.errors import DeadlineExceeded, InvalidReply, JobFailed
from seesame_client.reading import read
from seesame_client.results import Job

T = TypeVar("T")
P = ParamSpec("P")
S = TypeVar("S", covariant=True)
A = TypeVar("A", covariant=True)


class Sender(Protocol):
    """A client that waits."""

    def send(self, call: Call[T]) -> T:
        """Sends a call."""

    def clock(self) -> float:
        """Seconds, from any beginning."""

    def sleep(self, seconds: float) -> None:
        """Pauses."""


class AsyncSender(Protocol):
    """A client that is awaited."""

    async def send(self, call: Call[T]) -> T:
        """Sends a call."""

    def clock(self) -> float:
        """Seconds, from any beginning."""

    async def sleep(self, seconds: float) -> None:
        """Pauses."""


class Work(Protocol[S, A]):
    """What a method has to do."""

    def run(self, client: Sender) -> S:
        """Does it."""

    def run_async(self, client: AsyncSender) -> A:
        """Does it, in a coroutine."""


class Receiver(Protocol[S]):
    """Takes the body of a reply."""

    def write(self, chunk: bytes, /) -> object:
        """Takes a part of it."""

    def result(self) -> S:
        """What it is, when all of it has come. Raises InvalidReply."""


Place = Mapping[str, Any]
"""The parameters that name a page, such as its offset; none for the first."""

Receive = Callable[[httpx2.Response], AbstractContextManager[Receiver[T]]]
"""Begins to receive a reply; if it ends in an exception, nothing was received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request, and what its reply becomes.

    `stream` begins a body that is too large for memory. `repeatable`: sent twice, it does no more than sent once.
    `patient`: the client's deadline does not hold for it.
    """

    method: str
    path: str
    receive: Receive[T]
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    stream: Callable[[], Iterator[bytes]] | None = None
    repeatable: bool = True
    patient: bool = False

    def run(self, client: Sender) -> T:
        """The result."""
        return client.send(self)

    async def run_async(self, client: AsyncSender) -> T:
        """The result."""
        return await client.send(self)


@dataclass(frozen=True, slots=True)
class Pages(Generic[T]):
    """Items of all pages. `page` asks for the one at a place; it gives its items, and the place of the next if any."""

    page: Callable[[Place], Call[tuple[Sequence[T], Place | None]]]

    def run(self, client: Sender) -> Iterator[T]:
        """The items; a page is asked for when the one before is used up."""
        place: Place | None = {}
        while place is not None:
            items, place = client.send(self.page(place))
            yield from items

    async def run_async(self, client: AsyncSender) -> AsyncIterator[T]:
        """The items; a page is asked for when the one before is used up."""
        place: Place | None = {}
        while place is not None:
            items, place = await client.send(self.page(place))
            for item in items:
                yield item


@dataclass(frozen=True, slots=True)
class Waiting:
    """Looks at a job until it is over."""

    look: Call[Job]
    on_progress: Callable[[Job], object] | None
    every_s: float
    timeout_s: float | None

    def run(self, client: Sender) -> Job:
        """The job, when it has succeeded."""
        until = self._until(client.clock())
        while not self._is_over(job := client.send(self.look)):
            client.sleep(self._pause_s(until - client.clock()))
        return job

    async def run_async(self, client: AsyncSender) -> Job:
        """The job, when it has succeeded."""
        until = self._until(client.clock())
        while not self._is_over(job := await client.send(self.look)):
            await client.sleep(self._pause_s(until - client.clock()))
        return job

    def _until(self, now: float) -> float:
        return float("inf") if self.timeout_s is None else now + self.timeout_s

    def _is_over(self, job: Job) -> bool:
        if self.on_progress is not None:
            self.on_progress(job)
        if job.is_over and job.status != "succeeded":
            raise JobFailed(job)
        return job.is_over

    def _pause_s(self, left_s: float) -> float:
        if left_s <= 0:
            raise DeadlineExceeded("The job is not over in time; it goes on.")
        return min(self.every_s, left_s)


class Operation(Protocol[P, S, A]):
    """A method of both clients, as a type checker sees it: it gives what its work gives the client it is called on."""

    @overload
    def __get__(self, client: None, owner: object) -> Callable[Concatenate[Any, P], S | A]: ...
    @overload
    def __get__(self, client: Sender, owner: object) -> Callable[P, S]: ...
    @overload
    def __get__(self, client: AsyncSender, owner: object) -> Callable[P, A]: ...


def operation(build: Callable[Concatenate[Any, P], Work[S, A]]) -> Operation[P, S, A]:
    """Makes a function that builds work a method that does it."""

    @wraps(build)
    def method(client: Any, *args: P.args, **kwargs: P.kwargs) -> S | A:
        work = build(client, *args, **kwargs)
        return work.run_async(client) if client.is_async else work.run(client)

    return cast("Operation[P, S, A]", method)


class _Body(Generic[T]):
    """Keeps the body and reads it as a whole."""

    def __init__(self, reader: Callable[[bytes], T], response: httpx2.Response) -> None:
        self._reader = reader
        self._response = response
        self._body = bytearray()

    def write(self, chunk: bytes, /) -> None:
        self._body += chunk

    def result(self) -> T:
        try:
            return self._reader(bytes(self._body))
        except ValueError as error:
            raise InvalidReply(self._response.status_code, self._response.headers.get("X-Request-ID")) from error


class _File:
    """Writes the body to a file."""

    def __init__(self, path: Path, file: Any) -> None:
        self._path = path
        self.write = file.write

    def result(self) -> Path:
        return self._path


def parsed(reader: Callable[[bytes], T]) -> Receive[T]:
    """Receives a body as a whole, and reads it."""

    @contextmanager
    def receive(response: httpx2.Response) -> Iterator[Receiver[T]]:
        yield _Body(reader, response)

    return receive


def one(kind: type[T]) -> Receive[T]:
    """Receives a value of one of the kinds in `results`."""
    return parsed(partial(read, kind))


def saved(path: Path) -> Receive[Path]:
    """Receives a body into a file, which is never there in part."""

    @contextmanager
    def receive(_: httpx2.Response) -> Iterator[Receiver[Path]]:
        part = path.with_name(f".{path.name}.{uuid4().hex}")
        try:
            with part.open("xb") as file:
                yield _File(path, file)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise

    return receive
