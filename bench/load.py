"""The load: clients that post photos to a service, in a process of their own, so that they share no lock with it.

Two kinds. *Closed*: so many clients, each of which waits for its reply before it asks again. *Open*: requests leave at
a given rate, whatever comes back, as the requests of many strangers do.

It shares the cores with what it measures, so it has to be cheap: requests are made beforehand, and a reply is read only
as far as must be to know where it ends.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path

TIMEOUT_S = 30
PAUSE_S = 0.1  # of a client of a closed loop that was refused
FAILED = 0  # in place of a status: the connection broke, or no reply came in time
_REPOSITORY = Path(__file__).resolve().parent.parent
_BOUNDARY = b"photo-of-a-benchmark"


@dataclass(frozen=True, slots=True)
class Target:
    """Where photos are posted. `form`: as the part `image` of a form, not as the body itself."""

    host: str
    port: int
    path: str = "/extract-features"
    form: bool = False

    def request(self, photo: bytes) -> bytes:
        """The whole request, head and body."""
        kind = b"image/jpeg"
        if self.form:
            disposition = b'Content-Disposition: form-data; name="image"; filename="photo.jpg"'
            part = b"--%b\r\n%b\r\nContent-Type: image/jpeg\r\n\r\n" % (_BOUNDARY, disposition)
            photo = part + photo + b"\r\n--%b--\r\n" % _BOUNDARY
            kind = b"multipart/form-data; boundary=" + _BOUNDARY
        line = f"POST {self.path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n".encode()
        return line + b"Content-Type: %b\r\nContent-Length: %d\r\n\r\n" % (kind, len(photo)) + photo


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of an open loop."""

    per_second: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    """What became of a request. `sent_s` counts from the first request on, `late_s` from when it was due."""

    stage: int
    sent_s: float
    late_s: float
    took_s: float
    status: int
    retry_after: bool

    @property
    def done_s(self) -> float:
        return self.sent_s + self.took_s


@dataclass(frozen=True, slots=True)
class Load:
    """All replies, in the order they came; the processor time of the load itself, and its most connections at once."""

    replies: tuple[Reply, ...]
    cpu_s: float
    connections: int

    @property
    def seconds(self) -> float:
        """From the first request to the last reply."""
        return max(reply.done_s for reply in self.replies)

    @property
    def accepted(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.status == 200]

    @property
    def refused(self) -> list[Reply]:
        return [reply for reply in self.replies if reply.status != 200]

    @property
    def rate(self) -> float:
        """Vectors a second."""
        return len(self.accepted) / self.seconds

    def of(self, stage: int) -> "Load":
        """The replies to what one stage sent."""
        return Load(tuple(r for r in self.replies if r.stage == stage), self.cpu_s, self.connections)


def closed(target: Target, photos: Path, *, clients: int, requests: int) -> Load:
    """So many requests by so many clients, with the photos of a folder in turns."""
    return _run(target, photos, "--clients", str(clients), "--requests", str(requests))


def opened(target: Target, photos: Path, stages: Sequence[Stage]) -> Load:
    """Requests at the rates of the stages, one stage after the other."""
    return _run(target, photos, "--stages", *(f"{stage.per_second}:{stage.seconds}" for stage in stages))


def _run(target: Target, photos: Path, *arguments: str) -> Load:
    where = [target.host, str(target.port), target.path, str(photos), *(["--form"] if target.form else [])]
    command = [sys.executable, "-m", "bench.load", *where, *arguments]
    done = subprocess.run(command, cwd=_REPOSITORY, stdout=subprocess.PIPE, check=True)
    answer = json.loads(done.stdout)
    replies = tuple(Reply(*values) for values in answer.pop("replies"))
    return Load(replies, **answer)


class _Connection:
    """One connection, and the few things of HTTP that it has to know."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._last = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent: neither side has closed or said that it will."""
        return not self._last and not self._reader.at_eof()

    async def ask(self, request: bytes) -> tuple[int, bool]:
        """The reply's status, and whether it says when to come again. Raises OSError, EOFError or ValueError."""
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0])
        await self._reader.readexactly(length)
        self._last = b"\r\nconnection: close" in head
        return int(head[9:12]), b"\r\nretry-after:" in head

    def close(self) -> None:
        self._writer.close()


@dataclass
class _Clients:
    """Sends, and notes what came back."""

    target: Target
    requests: list[bytes]
    replies: list[Reply] = field(default_factory=list)
    connections: int = 0
    most: int = 0
    started: float = 0.0
    _idle: list[_Connection] = field(default_factory=list)

    async def closed(self, clients: int, requests: int) -> None:
        numbers = iter(range(requests))
        self.started = time.monotonic()

        async def client() -> None:
            for number in numbers:
                if await self._send(number, 0, time.monotonic()) != 200:
                    await asyncio.sleep(PAUSE_S)

        await asyncio.gather(*(client() for _ in range(clients)))

    async def open(self, stages: Sequence[Stage]) -> None:
        self.started = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number, stage, due_s in _schedule(stages):
                due = self.started + due_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                group.create_task(self._send(number, stage, due))

    async def _send(self, number: int, stage: int, due: float) -> int:
        """One request, over a connection that is idle or else a new one; the status of its reply."""
        connection = None
        status, retry_after = FAILED, False
        sent = time.monotonic()
        with contextlib.suppress(OSError, EOFError, ValueError):  # TimeoutError is an OSError
            async with asyncio.timeout(TIMEOUT_S):
                connection = self._taken() or await self._connected()
                status, retry_after = await connection.ask(self.requests[number % len(self.requests)])
        done = time.monotonic()
        self.replies.append(Reply(stage, sent - self.started, sent - due, done - sent, status, retry_after))
        if connection is not None and status != FAILED and connection.usable:
            self._idle.append(connection)
        elif connection is not None:
            self._drop(connection)
        return status

    def _taken(self) -> _Connection | None:
        while self._idle:  # the one used last: those that are long idle, the server closes
            connection = self._idle.pop()
            if connection.usable:
                return connection
            self._drop(connection)
        return None

    async def _connected(self) -> _Connection:
        connection = _Connection(*await asyncio.open_connection(self.target.host, self.target.port))
        self.connections += 1
        self.most = max(self.most, self.connections)
        return connection

    def _drop(self, connection: _Connection) -> None:
        self.connections -= 1
        connection.close()


def _schedule(stages: Sequence[Stage]) -> Iterator[tuple[int, int, float]]:
    """The number, the stage and the time of each request of an open loop."""
    numbers = itertools.count()
    begins = 0.0
    for index, stage in enumerate(stages):
        for step in range(round(stage.per_second * stage.seconds)):
            yield next(numbers), index, begins + step / stage.per_second
        begins += stage.seconds


def main() -> None:
    """The command line: prints JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.load", description="Post photos to a service.")
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("photos", type=Path, help="folder")
    parser.add_argument("--form", action="store_true", help="post forms")
    parser.add_argument("--clients", type=int, default=1)
    parser.add_argument("--requests", type=int, default=1)
    parser.add_argument("--stages", nargs="*", metavar="RATE:SECONDS", help="an open loop")
    options = parser.parse_args()
    target = Target(options.host, options.port, options.path, options.form)
    clients = _Clients(target, [target.request(path.read_bytes()) for path in sorted(options.photos.iterdir())])
    before = _cpu_s()
    if options.stages is None:
        asyncio.run(clients.closed(options.clients, options.requests))
    else:
        asyncio.run(clients.open([Stage(*map(float, stage.split(":"))) for stage in options.stages]))
    answer = {"cpu_s": _cpu_s() - before, "connections": clients.most}
    json.dump(answer | {"replies": [astuple(reply) for reply in clients.replies]}, sys.stdout)


def _cpu_s() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
