"""The HTTP server over real sockets: clients that are slow, silent or wrong, and its end."""

import asyncio
import json
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI, Request, Response
from starlette.types import ASGIApp

from seesame.api.app import create_app
from seesame.application import Application
from seesame.errors import EmbedderBusy, EmbedderTimeout
from seesame.http import problems
from seesame.http.middleware import BodyLimits, RequestMiddleware
from seesame.http.protocol import ClientLimits
from seesame.http.server import Server, listen

_WAIT_S = 20  # for what must happen; only a failing test waits so long
_QUICK = ClientLimits(head_s=0.3, idle_s=0.3, unread_s=0.3)
_BIG = 20_000_000  # more than the kernel takes for a client that does not read
_POST = b"POST /length HTTP/1.1\r\nHost: x\r\n"


class Shop:
    """A small application, as ours are put together."""

    def __init__(self, *, body_s: float = 10) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        app = FastAPI()
        problems.install(app)
        files = {"/file": BodyLimits(2_000_000, body_s, every_bytes=1_000)}
        app.add_middleware(RequestMiddleware, max_body_bytes=1_000_000, body_s=body_s, files=files)
        app.get("/health/ready")(self._ok)
        app.get("/health/live")(self._ok)
        app.get("/wait")(self._wait)
        app.get("/big")(self._big)
        app.post("/length")(self._length)
        app.post("/file")(self._length)
        app.get("/fault/{name}")(self._fault)
        self.app = app

    def _ok(self) -> dict[str, str]:
        return {"status": "ok"}

    def _wait(self) -> dict[str, str]:
        self.begun.set()
        assert self.release.wait(_WAIT_S)
        return {"status": "done"}

    def _big(self) -> Response:
        return Response(bytes(_BIG))

    async def _length(self, request: Request) -> int:
        return len(await request.body())

    def _fault(self, name: str) -> None:
        raise {"busy": EmbedderBusy(2.1), "idle": EmbedderBusy(0.0), "timeout": EmbedderTimeout("Too late.")}[name]


@contextmanager
def running(app: ASGIApp, **options: Any) -> Iterator[Server]:
    """A server on any free port, until the block ends."""
    server = Server(app, listen("127.0.0.1", 0), **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        assert not server._thread.is_alive()


@pytest.fixture(scope="module")
def plain() -> Iterator[Server]:
    """A server with the usual limits, for requests that leave nothing behind."""
    with running(Shop().app) as server:
        yield server


def connect(server: Server, *, buffer: int | None = None) -> socket.socket:
    """A bare connection."""
    client = socket.socket()
    if buffer is not None:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    client.settimeout(_WAIT_S)
    try:
        client.connect(("127.0.0.1", int(server.url.rsplit(":", 1)[1])))
    except OSError:
        client.close()
        raise
    return client


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    received = b""
    while part := client.recv(65_536):
        received += part
    return received


def exchange(server: Server, sent: bytes) -> bytes:
    """The replies to these bytes, on a connection that the server has to close."""
    with connect(server) as client:
        client.sendall(sent)
        return read_to_end(client)


def wait_for_reset(client: socket.socket) -> bool:
    """Whether the server cut the connection, without reading from it."""
    poll = select.poll()
    poll.register(client, 0)
    return bool(poll.poll(_WAIT_S * 1000))


def trickle(client: socket.socket, byte: bytes) -> bytes:
    """Sends a byte now and then until the server has had enough; what it said."""
    client.settimeout(0.02)
    received = b""
    for _ in range(_WAIT_S * 50):
        try:
            client.sendall(byte)
            part = client.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return received
        if not part:
            return received
        received += part
    raise AssertionError("still open")


def status_of(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


@pytest.mark.parametrize("sent", [b"", b"GE", b"GET /health/live HTTP/1.1\r\nHost:"])
def test_a_head_that_does_not_come_ends_the_connection(sent: bytes) -> None:
    """Silence after the connection, or in the middle of the first line or of a header."""
    with running(Shop().app, limits=_QUICK) as server:
        assert exchange(server, sent) == b""


def test_a_head_that_trickles_ends_the_connection() -> None:
    """Each byte does not begin the time anew, neither in the first request nor in a later one."""
    with running(Shop().app, limits=_QUICK) as server:
        with connect(server) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nA: ")
            assert trickle(client, b"a") == b""
        with connect(server) as client:
            client.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\nGET /health/live HTTP/1.1\r\nA: ")
            assert status_of(trickle(client, b"a")) == 200


def test_a_body_that_does_not_come_gets_408() -> None:
    """A problem, and the connection is closed; a body that trickles gets no more time than one that stops."""
    with running(Shop(body_s=0.3).app) as server:
        head, _, body = exchange(server, _POST + b"Content-Length: 10\r\n\r\nabc").partition(b"\r\n\r\n")
        assert (status_of(head), json.loads(body)["code"]) == (408, "request_timeout")
        assert b"connection: close" in head
        with connect(server) as client:
            client.sendall(_POST + b"Transfer-Encoding: chunked\r\n\r\n")
            assert status_of(trickle(client, b"1\r\na\r\n")) == 408


def test_a_file_gets_more_time_as_long_as_it_comes() -> None:
    """So much in so long: one that comes steadily may take longer than that in all, one that trickles may not."""
    post = _POST.replace(b"length", b"file") + b"Transfer-Encoding: chunked\r\n\r\n"
    with running(Shop(body_s=0.5).app) as server:
        with connect(server) as client:
            began = time.monotonic()
            client.sendall(post)
            while time.monotonic() < began + 0.8:
                client.sendall(b"3e8\r\n" + bytes(1_000) + b"\r\n")
                time.sleep(0.02)
            client.sendall(b"0\r\n\r\n")
            assert status_of(client.recv(1_000)) == 200
        with connect(server) as client:
            client.sendall(post + b"1f4\r\n" + bytes(500) + b"\r\n")
            assert status_of(trickle(client, b"1\r\na\r\n")) == 408
        large = exchange(server, _POST.replace(b"length", b"file") + b"Content-Length: 2000001\r\n\r\n")
        assert status_of(large) == 413


def test_a_body_that_goes_on_after_its_reply_ends_the_connection() -> None:
    """A refusal from the head alone leaves nobody to time the rest."""
    with running(Shop().app, limits=_QUICK) as server, connect(server) as client:
        client.sendall(_POST.replace(b"length", b"nothing") + b"Content-Length: 100000\r\n\r\n")
        assert status_of(trickle(client, b"a")) == 404


def test_a_reply_that_is_not_read_ends_the_connection() -> None:
    """Whether it is sent as a whole, or in parts by an application that waits for the client."""
    gone = threading.Event()

    async def stream(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        disconnected = asyncio.ensure_future(receive())
        await receive()  # the request, which has no body
        while not disconnected.done():
            await send({"type": "http.response.body", "body": bytes(100_000), "more_body": True})
        gone.set()

    get = b"GET /big HTTP/1.1\r\nHost: x\r\n"
    with running(Shop().app, limits=_QUICK) as server:
        for more in (b"\r\n", b"Connection: close\r\n\r\n"):
            with connect(server, buffer=4096) as client:
                client.sendall(get + more)
                assert wait_for_reset(client)
    with running(stream, limits=_QUICK) as server, connect(server, buffer=4096) as client:
        client.sendall(get + b"\r\n")
        assert wait_for_reset(client)
        assert gone.wait(_WAIT_S)


def test_a_reply_that_is_read_in_its_own_time_comes_whole() -> None:
    """The time between requests does not run against a client that still reads."""
    with (
        running(Shop().app, limits=ClientLimits(idle_s=0.1, unread_s=_WAIT_S)) as server,
        connect(server, buffer=65_536) as client,
    ):
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n")
        received = 0
        for _ in range(20):
            threading.Event().wait(0.02)
            received += len(client.recv(65_536))
        assert received + len(read_to_end(client)) > _BIG


def test_a_good_client_is_answered_beside_bad_ones() -> None:
    """Fifty of each kind hold their connections meanwhile."""
    with running(Shop().app) as server, ExitStack() as stack:
        for sent in (b"", b"GET / HT", _POST + b"Content-Length: 10\r\n\r\nabc", b"GET /big HTTP/1.1\r\n\r\n") * 50:
            client = stack.enter_context(connect(server, buffer=4096))
            client.sendall(sent)
        with httpx2.Client(base_url=server.url, timeout=_WAIT_S) as good:
            for size in (0, 10, 500_000):
                assert good.post("/length", content=bytes(size)).json() == size
        stack.close()


_HEAD = b"GET /health/live HTTP/1.1\r\n"
_WRONG = {
    "length and chunked": (_POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked and length": (_POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n", 400),
    "length twice": (_POST + b"Content-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "two lengths": (_POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcd", 400),
    "list of lengths": (_POST + b"Content-Length: 4, 4\r\n\r\nabcd", 400),
    "two codings": (_POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    "bad chunk": (_POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n", 400),
    "tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01", 400),
    "large header": (_HEAD + b"A: " + b"a" * 65_536 + b"\r\n\r\n", 431),
    "header without an end": (_HEAD + b"A: " + b"a" * 65_536, 431),
    "many headers": (_HEAD + b"A: a\r\n" * 11_000 + b"\r\n", 431),
    "long URL": (b"GET /" + b"a" * 65_536 + b" HTTP/1.1\r\n\r\n", 431),
    "trailer without an end": (_POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\nA: " + b"a" * 600_000, 431),
}


@pytest.mark.parametrize("name", _WRONG)
def test_a_wrong_request_is_refused(plain: Server, name: str) -> None:
    """One reply, nothing behind it is taken for a request, and the connection is closed."""
    sent, status = _WRONG[name]
    reply = exchange(plain, sent + (_HEAD + b"\r\n") * (status == 400))
    assert (status_of(reply), reply.count(b"HTTP/1.1")) == (status, 1)


def test_a_refusal_is_no_part_of_another_reply(plain: Server) -> None:
    """What was asked before the nonsense is answered whole or not at all."""
    reply = exchange(plain, (_HEAD + b"\r\n") * 2 + b"nonsense\r\n\r\n")
    assert reply.count(b'{"status":"ok"}') == reply.count(b"HTTP/1.1 200")


@pytest.mark.parametrize("apart", [False, True])
def test_a_request_that_asks_for_http2_keeps_its_body(plain: Server, apart: bool) -> None:
    """Clients in Java ask with their first request; the body belongs to it also when it comes later."""
    with connect(plain) as client:
        client.sendall(_POST + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n")
        if apart:
            threading.Event().wait(0.1)
        client.sendall(b"abcd" + _HEAD + b"Connection: close\r\n\r\n")
        first, second = read_to_end(client).split(b"HTTP/1.1 200")[1:]
        assert first.endswith(b"\r\n\r\n4")
        assert second.endswith(b'{"status":"ok"}')


@pytest.mark.parametrize(
    ("name", "status", "code", "retry_after"),
    [("busy", 429, "clip_busy", "3"), ("idle", 429, "clip_busy", "1"), ("timeout", 503, "clip_timeout", "2")],
)
def test_what_can_be_tried_again_says_when(plain: Server, name: str, status: int, code: str, retry_after: str) -> None:
    """Whole seconds, rounded up, never none."""
    reply = httpx2.get(f"{plain.url}/fault/{name}")
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert reply.headers["retry-after"] == retry_after


def test_draining_finishes_what_was_accepted() -> None:
    """Meanwhile it is alive but not ready, refuses new work, and closes each connection; then nobody listens."""
    shop = Shop()
    draining = threading.Event()
    with running(shop.app, on_drain=draining.set, drain_s=_WAIT_S) as server, connect(server) as accepted:
        accepted.sendall(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
        assert shop.begun.wait(_WAIT_S)
        end = threading.Thread(target=server.stop)
        end.start()
        assert draining.wait(_WAIT_S)
        with httpx2.Client(base_url=server.url, timeout=_WAIT_S) as client:
            assert client.get("/health/live").status_code == 200
            for reply in (client.get("/health/ready"), client.post("/length", content=bytes(900_000))):
                assert (reply.status_code, reply.json()["code"]) == (503, "draining")
                assert reply.json()["request_id"] == reply.headers["x-request-id"]
                assert reply.headers["retry-after"]
                assert reply.headers["connection"] == "close"
        shop.release.set()
        reply_of_accepted = read_to_end(accepted)
        assert status_of(reply_of_accepted) == 200
        assert b"connection: close" in reply_of_accepted
        end.join(_WAIT_S)
        with pytest.raises(ConnectionRefusedError):
            connect(server)


def test_draining_ends_with_stalled_clients() -> None:
    """Neither half a request nor a reply that nobody reads keeps the server; idle connections do not either."""
    with ExitStack() as stack:
        server = stack.enter_context(running(Shop().app, drain_s=0.3))
        for sent in (b"", b"GET / HT", _POST + b"Content-Length: 10\r\n\r\nabc", b"GET /big HTTP/1.1\r\n\r\n"):
            client = stack.enter_context(connect(server, buffer=4096))
            client.sendall(sent)
        with httpx2.Client(base_url=server.url, timeout=_WAIT_S) as idle:
            assert idle.get("/health/live").status_code == 200
            server.stop()
        assert not server._thread.is_alive()


def test_the_api_drains(application: Application) -> None:
    """Its own routes, while `on_drain` runs."""
    seen: list[tuple[int, str]] = []

    def ask() -> None:
        for path in ("/health/ready", "/v1/stats", "/"):
            reply = httpx2.get(server.url + path, timeout=_WAIT_S)
            seen.append((reply.status_code, reply.json()["code"]))

    with running(create_app(application), on_drain=ask) as server:
        assert httpx2.get(f"{server.url}/health/ready", timeout=_WAIT_S).status_code == 200
    assert seen == [(503, "draining")] * 3


_PROCESS = """
import asyncio, sys, threading, time
from fastapi import FastAPI
from seesame.http import server as http
app = FastAPI()

@app.get("/pause")
async def pause(s: float):
    print("begun", flush=True)
    await asyncio.sleep(s)

@app.get("/hang")
def hang():
    print("begun", flush=True)
    time.sleep(60)

@app.get("/fail")
def fail():
    server.fail("a part")

drain_s, http._END_S = float(sys.argv[1]), float(sys.argv[2])
server = http.Server(app, http.listen("127.0.0.1", 0), drain_s=drain_s, on_drain=lambda: print("drain", flush=True))
server.start()
print(server.url, flush=True)
server.wait()
server.stop()
print("ended", flush=True)
"""


class Process:
    """A process with a server, and what it prints."""

    def __init__(self, folder: Path, *, drain_s: float, end_s: float) -> None:
        script = folder / "process.py"
        script.write_text(_PROCESS)
        command = [sys.executable, "-W", "error", str(script), str(drain_s), str(end_s)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._lines = self._process.stdout
        self.url = self.line()
        self.signal = self._process.send_signal

    def line(self) -> str:
        """The next line."""
        return self._lines.readline().strip()

    def get(self, path: str) -> threading.Thread:
        """Asks, and waits until the handler is at work."""

        def ask() -> None:
            try:
                self.status = httpx2.get(self.url + path, timeout=_WAIT_S).status_code
            except httpx2.HTTPError:
                self.status = 0

        asking = threading.Thread(target=ask)
        asking.start()
        assert self.line() == "begun"
        return asking

    def code(self) -> int:
        """How it ended."""
        return self._process.wait(_WAIT_S)

    def close(self) -> None:
        """No process outlives its test."""
        self._process.kill()
        self._process.wait()
        self._lines.close()


@pytest.fixture
def process(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Process]:
    """A process with the parameters of the test."""
    drain_s, end_s = request.param
    process = Process(tmp_path, drain_s=drain_s, end_s=end_s)
    yield process
    process.close()


@pytest.mark.parametrize("process", [(60, 60)], indirect=True)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains(process: Process, number: int) -> None:
    """The request that was accepted is answered; the code is 0."""
    asking = process.get("/pause?s=0.5")
    process.signal(number)
    asking.join()
    assert process.status == 200
    assert [process.line(), process.line(), process.code()] == ["drain", "ended", 0]


@pytest.mark.parametrize("process", [(60, 60)], indirect=True)
def test_a_second_signal_ends_it_at_once(process: Process) -> None:
    """What was accepted is dropped, the rest of the process ends in order."""
    asking = process.get("/pause?s=60")
    process.signal(signal.SIGINT)
    assert process.line() == "drain"
    process.signal(signal.SIGINT)
    assert [process.line(), process.code()] == ["ended", 0]
    asking.join()
    assert process.status in (0, 500)


@pytest.mark.parametrize("process", [(0.2, 1)], indirect=True)
def test_a_request_that_hangs_does_not_keep_the_process(process: Process) -> None:
    """No thread can be ended from outside, so the process is."""
    asking = process.get("/hang")
    process.signal(signal.SIGTERM)
    assert process.code() == 1
    asking.join()


@pytest.mark.parametrize("process", [(60, 60)], indirect=True)
def test_a_part_that_dies_ends_the_process(process: Process) -> None:
    """Exit code 1, without a signal."""
    httpx2.get(f"{process.url}/fail", timeout=_WAIT_S)
    assert process.code() == 1
