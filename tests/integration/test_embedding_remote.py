"""The client of the CLIP service, against servers on the loopback interface that behave and misbehave."""

import hashlib
import json
import logging
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedIOBase
from typing import ClassVar

import numpy as np
import pytest

from seesame.embedding.breaker import Breaker
from seesame.embedding.remote import (
    FAILED,
    MAX_BATCH_BYTES,
    NONSENSE,
    OTHER_SPACE,
    REFUSED,
    UNREACHABLE,
    ClipService,
    RemoteEmbedder,
    ServiceState,
)
from seesame.errors import (
    EmbedderBusy,
    EmbedderTimeout,
    EmbedderUnavailable,
    ImageError,
    ImageTooLarge,
    ImageUndecodable,
    ModelInvalid,
    UnsupportedFormat,
)
from seesame.types import Embedder, SpaceIdentity, Vector

DIMENSIONS = 8
SPACE = SpaceIdentity("tiny", "ab" * 32, DIMENSIONS)
DAMAGED = "The picture is damaged and cannot be decoded."
FAULTS = {b"text": "unsupported_format", b"huge": "image_too_large", b"cut": "image_undecodable",
          b"odd": "model_invalid", b"new": "a_code_of_tomorrow"}  # fmt: skip


def vector_of(item: bytes) -> Vector:
    """The unit vector that the servers here give to a picture or a text."""
    values = np.frombuffer(hashlib.sha256(item).digest(), np.uint8)[:DIMENSIONS].astype(np.float64) + 1
    vector: Vector = (values / np.linalg.norm(values)).astype(np.float32)
    return vector


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    def parts(self) -> list[bytes]:
        boundary = self.headers["content-type"].partition("boundary=")[2].encode()
        return [part.partition(b"\r\n\r\n")[2][:-2] for part in self.body.split(b"--" + boundary)[1:-1]]


Answer = Callable[[Asked, BufferedIOBase], bool]
"""Writes an answer; says whether the connection stays open."""


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    """A plain answer; header names are written with underscores."""

    def answer(asked: Asked, out: BufferedIOBase) -> bool:
        fields = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        out.write(f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body)
        return headers.get("Connection") != "close"

    return answer


def vectors(*rows: Vector, digest: str = SPACE.digest, **headers: str) -> Answer:
    return reply(200, b"".join(row.astype("<f4").tobytes() for row in rows), X_Seesame_Digest=digest, **headers)


def problem(status: int, code: str, detail: object = None, **headers: str) -> Answer:
    return reply(status, json.dumps({"status": status, "code": code, "detail": detail}).encode(), **headers)


def health(**changed: object) -> Answer:
    """What the service says of itself when all is well, with some of it changed."""
    facts = {"status": "ok", "ready": True, "model": "tiny", "digest": SPACE.digest, "dimensions": DIMENSIONS,
             "has_text": True, "detail": None}  # fmt: skip
    return reply(200, json.dumps(facts | changed).encode())


def proper(asked: Asked, out: BufferedIOBase) -> bool:
    """What the service does when all is well."""
    match asked.path:
        case "/health":
            answer = health()
        case "/extract-features":
            answer = vectors(vector_of(asked.body))
        case "/extract-features/batch":
            parts = asked.parts()
            faults = {str(index): FAULTS[part] for index, part in enumerate(parts) if part in FAULTS}
            nothing = np.full(DIMENSIONS, np.nan, np.float32)
            rows = [nothing if part in FAULTS else vector_of(part) for part in parts]
            answer = vectors(*rows, **({"X_Seesame_Errors": json.dumps(faults)} if faults else {}))
        case "/extract-text-features":
            answer = vectors(*(vector_of(text.encode()) for text in json.loads(asked.body)["texts"]))
        case _:
            answer = reply(404)
    return answer(asked, out)


class Server:
    """A server that follows a script: one answer a request, and proper ones when the script is over."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.always: Answer = proper
        self.asked: list[Asked] = []
        self.connections = 0
        self.open: set[socket.socket] = set()
        self.stopped = threading.Event()
        self.lock = threading.Lock()
        self.url = ""

    def hang(self, *_: object) -> bool:
        self.stopped.wait(20)
        return False

    def trickle(self, message: bytes) -> Answer:
        """The message, a byte at a time; then a byte of nothing, for ever."""

        def answer(asked: Asked, out: BufferedIOBase) -> bool:
            for position in range(10_000):
                out.write(message[position : position + 1] or b"x")
                if self.stopped.wait(0.02):
                    break
            return False

        return answer

    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]

    def next_answer(self, asked: Asked) -> Answer:
        with self.lock:
            self.asked.append(asked)
            return self.script.pop(0) if self.script else self.always


class Handler(socketserver.StreamRequestHandler):
    server_of: ClassVar[Server]

    def handle(self) -> None:
        with self.server_of.lock:
            self.server_of.connections += 1
            self.server_of.open.add(self.connection)
        with suppress(OSError):
            while (asked := self.read()) is not None:
                if not self.server_of.next_answer(asked)(asked, self.wfile):
                    break
        with self.server_of.lock:
            self.server_of.open.remove(self.connection)

    def read(self) -> Asked | None:
        line = self.rfile.readline().decode()
        if not line:
            return None
        headers = {}
        while field := self.rfile.readline().decode().strip():
            name, _, value = field.partition(":")
            headers[name.lower()] = value.strip()
        return Asked(line.split()[1], headers, self.rfile.read(int(headers.get("content-length", "0"))))


class TcpServer(socketserver.ThreadingTCPServer):
    request_queue_size = 64
    allow_reuse_address = True


@contextmanager
def serving(server: Server, port: int = 0) -> Iterator[None]:
    handler = type("BoundHandler", (Handler,), {"server_of": server})
    with TcpServer(("127.0.0.1", port), handler) as tcp:
        thread = threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            server.url = f"http://127.0.0.1:{tcp.server_address[1]}"
            yield
        finally:
            server.stopped.set()
            tcp.shutdown()
            thread.join()
            with server.lock:
                for connection in server.open:
                    with suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def server() -> Iterator[Server]:
    """A server that is well."""
    server = Server()
    with serving(server):
        yield server


class Clock:
    """The real one, which can be put forward."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker() -> Breaker:
    return Breaker(failures=3, pause_s=100.0, max_pause_s=400.0)


@pytest.fixture
def service(server: Server, breaker: Breaker, clock: Clock) -> Iterator[ClipService]:
    """A client of it."""
    service = ClipService(server.url, breaker=breaker, clock=clock)
    yield service
    service.close()


@pytest.fixture
def embedder(service: ClipService) -> Embedder:
    return RemoteEmbedder(service, SPACE, has_text=True)


def available(asked: ClipService | Embedder) -> bool:
    """The property, as a call: a type checker takes it for constant between two assertions."""
    return asked.available


def assert_failures(breaker: Breaker, clock: Clock, count: int) -> None:
    """The breaker, which opens at three failures in a row, has counted so many: that many fewer are to come."""
    for _ in range(3 - count):
        assert breaker.state(clock()) == "closed"
        period = breaker.admit(clock())
        assert period is not None
        breaker.failed(period, clock())
    assert breaker.state(clock()) == "open"


# --- what goes well


def test_one_picture_is_its_raw_bytes(embedder: Embedder, server: Server) -> None:
    """The body is the picture, the answer a vector of float32 that owns its memory."""
    (vector,) = embedder.embed_images([b"shoe"])
    assert isinstance(vector, np.ndarray)
    np.testing.assert_array_equal(vector, vector_of(b"shoe"))
    assert (vector.dtype, vector.flags.owndata, vector.flags.writeable) == (np.dtype(np.float32), True, True)
    (asked,) = server.asked
    assert (asked.path, asked.body) == ("/extract-features", b"shoe")
    assert asked.headers["content-type"] == asked.headers["accept"] == "application/octet-stream"


def test_many_pictures_keep_their_order_over_requests(embedder: Embedder, server: Server) -> None:
    """Seventy pictures take requests of 32, 32 and 6, and the errors of some stand in their places."""
    pictures = [b"%d" % number for number in range(70)]
    pictures[3], pictures[40], pictures[69] = b"text", b"huge", b"cut"
    results = embedder.embed_images(pictures, bulk=True)
    assert server.paths() == ["/extract-features/batch"] * 3
    assert [len(asked.parts()) for asked in server.asked] == [32, 32, 6]
    kinds = {3: UnsupportedFormat, 40: ImageTooLarge, 69: ImageUndecodable}
    for index, (picture, result) in enumerate(zip(pictures, results, strict=True)):
        if index in kinds:
            assert type(result) is kinds[index]
            assert str(result)
        else:
            assert isinstance(result, np.ndarray)
            np.testing.assert_array_equal(result, vector_of(picture))


def test_a_request_holds_no_more_bytes_than_the_limit(embedder: Embedder, server: Server) -> None:
    """Pictures of two fifths of the limit go in pairs, and one over the limit goes alone."""
    pictures = [bytes(MAX_BATCH_BYTES * 2 // 5)] * 3 + [bytes(MAX_BATCH_BYTES + 1), b"last"]
    assert len(embedder.embed_images(pictures, bulk=True)) == 5
    assert [len(asked.parts()) for asked in server.asked] == [2, 1, 1, 1]


@pytest.mark.parametrize(("count", "bulk"), [(1, True), (2, False)])
def test_bulk_and_several_go_the_slow_way(embedder: Embedder, server: Server, count: int, bulk: bool) -> None:
    """A single picture that nobody waits for does not take a query's way, nor do several."""
    assert len(embedder.embed_images([b"shoe"] * count, bulk=bulk)) == count
    assert server.paths() == ["/extract-features/batch"]


def test_texts_go_in_requests_of_32(embedder: Embedder, server: Server) -> None:
    """Forty texts take two requests; rows are in order."""
    texts = [f"schöne Schuhe {number}" for number in range(40)]
    found = embedder.embed_texts(texts)
    np.testing.assert_array_equal(found, np.stack([vector_of(text.encode()) for text in texts]))
    assert [len(json.loads(asked.body)["texts"]) for asked in server.asked] == [32, 8]


def test_nothing_asked_is_nothing_sent(embedder: Embedder, server: Server) -> None:
    """No pictures and no texts have no vectors, of the right shape."""
    assert embedder.embed_images([]) == embedder.embed_images([], bulk=True) == []
    assert embedder.embed_texts([]).shape == (0, DIMENSIONS)
    assert server.asked == []


def test_a_model_without_text_is_not_asked(service: ClipService, server: Server) -> None:
    """As an embedder in this process does."""
    with pytest.raises(ModelInvalid):
        RemoteEmbedder(service, SPACE, has_text=False).embed_texts(["shoe"])
    assert server.asked == []


def test_twenty_threads_get_their_own_vectors(server: Server) -> None:
    """All at once over one pool, several rounds; connections are kept."""
    service = ClipService(server.url, max_in_flight=20)
    embedder = RemoteEmbedder(service, SPACE, has_text=True)
    start = threading.Barrier(20)

    def ask(thread: int) -> None:
        start.wait()
        for number in range(20):
            item = f"{thread} {number}"
            (vector,) = embedder.embed_images([item.encode()])
            assert isinstance(vector, np.ndarray)
            np.testing.assert_array_equal(vector, vector_of(item.encode()))
            np.testing.assert_array_equal(embedder.embed_texts([item])[0], vector_of(item.encode()))

    with ThreadPoolExecutor(20) as pool:
        for future in [pool.submit(ask, thread) for thread in range(20)]:
            future.result()
    service.close()
    assert len(server.asked) == 800
    assert server.connections <= 24


def test_extra_headers_go_along(server: Server) -> None:
    """They are asked for at each request."""
    numbers = iter("12")
    service = ClipService(server.url, headers=lambda: {"X-Request-ID": f"request-{next(numbers)}"})
    service.check()
    service.embed_images([b"shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)
    service.close()
    assert [asked.headers["x-request-id"] for asked in server.asked] == ["request-1", "request-2"]


def test_a_path_in_the_url_is_kept(server: Server) -> None:
    """The service may stand behind a proxy, under a path."""
    service = ClipService(f"{server.url}/clip/")
    service.check()
    service.close()
    assert server.paths() == ["/clip/health"]


# --- what the service says of itself


READY = ServiceState("ok", ready=True, identity=SPACE, has_text=True, detail=None)


def test_check_tells_the_model(service: ClipService, server: Server) -> None:
    """One request tells what is loaded and that it works."""
    assert service.check() == READY
    assert server.paths() == ["/health"]


def test_check_tells_why_there_is_no_model_yet(service: ClipService, server: Server) -> None:
    """The model's facts are null until it is loaded."""
    nothing = {"model": None, "digest": None, "dimensions": None, "has_text": None}
    server.script = [health(status="downloading", ready=False, detail="Fetching the model.", **nothing)]
    state = ServiceState("downloading", ready=False, identity=None, has_text=False, detail="Fetching the model.")
    assert service.check() == state
    assert not available(service)


@pytest.mark.parametrize("answer", [reply(200, b'{"status":"ok"}'), health(ready="yes"), health(ready=1)])
def test_only_true_is_ready(service: ClipService, server: Server, answer: Answer) -> None:
    """A service that does not say that it is ready is not."""
    server.script = [answer]
    state = service.check()
    assert state is not None
    assert not state.ready
    assert not available(service)


@pytest.mark.parametrize(
    "answer",
    [
        reply(500),
        problem(503, "not_ready"),
        reply(200, b"<html>"),
        reply(200, b"[]"),
        reply(200, b"[" * 50_000),
        reply(200, b'{"ready":true}'),
        health(digest="ab"),
        health(dimensions=True),
        health(model=None),
        health(more="x" * 100_000),
    ],
)
def test_check_takes_no_nonsense(service: ClipService, server: Server, answer: Answer) -> None:
    """Another server at that address, or half an answer, is no service, even if it says that it is ready."""
    server.script = [answer]
    assert service.check() is None
    assert not available(service)


def test_check_opens_and_closes_the_breaker(service: ClipService, server: Server, clock: Clock) -> None:
    """Not ready opens at once; refused, nothing is asked; when the pause is over, ready closes."""
    assert service.check() == READY
    server.script = [health(status="wedged", ready=False)]
    assert service.check() == ServiceState("wedged", ready=False, identity=SPACE, has_text=True, detail=None)
    assert not available(service)
    assert service.check() is None
    assert len(server.asked) == 2
    clock.ahead_s += 100
    assert available(service)
    assert service.check() == READY
    assert available(service)
    assert server.paths() == ["/health"] * 3


def test_a_probe_that_is_not_ready_doubles_the_pause(service: ClipService, server: Server, clock: Clock) -> None:
    """A check is the breaker's probe as well."""
    server.always = health(ready=False)
    service.check()
    clock.ahead_s += 100
    service.check()
    assert len(server.asked) == 2
    clock.ahead_s += 199
    assert not available(service)
    clock.ahead_s += 1
    assert available(service)


@pytest.mark.parametrize(
    "misbehave",
    [
        pytest.param(lambda server: server.hang, id="hang"),
        pytest.param(lambda server: server.trickle(b"HTTP/1.1 200 OK\r\n\r\n{"), id="trickle"),
    ],
)
def test_check_of_a_service_that_hangs_ends(
    service: ClipService, server: Server, misbehave: Callable[[Server], Answer]
) -> None:
    """After about a second the service is known to be down."""
    server.always = misbehave(server)
    started = time.monotonic()
    assert service.check() is None
    assert time.monotonic() - started < 8
    assert not available(service)


# --- what goes wrong


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(reply(500), FAILED, id="500"),
        pytest.param(problem(500, "internal_error"), FAILED, id="500 with another code"),
        pytest.param(problem(500, "image_undecodable"), FAILED, id="500 with the code of another status"),
        pytest.param(problem(502, "model_invalid"), FAILED, id="502"),
        pytest.param(problem(503, "draining", Retry_After="1"), FAILED, id="503"),
        pytest.param(reply(302, Location="/elsewhere"), FAILED, id="redirect"),
        pytest.param(reply(204, X_Seesame_Digest=SPACE.digest), FAILED, id="no content"),
        pytest.param(vectors(np.full(8, np.nan, np.float32)), NONSENSE, id="NaN"),
        pytest.param(vectors(np.full(8, np.inf, np.float32)), NONSENSE, id="infinite"),
        pytest.param(vectors(np.zeros(8, np.float32)), NONSENSE, id="zero"),
        pytest.param(vectors(vector_of(b"shoe") * np.float32(1.01)), NONSENSE, id="not unit"),
        pytest.param(vectors(vector_of(b"shoe")[:7]), NONSENSE, id="short"),
        pytest.param(vectors(), NONSENSE, id="empty"),
        pytest.param(vectors(vector_of(b"shoe"), vector_of(b"shoe")), NONSENSE, id="long"),
        pytest.param(vectors(vector_of(b"shoe"), X_Seesame_Errors="?"), NONSENSE, id="errors that are no JSON"),
        pytest.param(reply(200, bytes(20_000_000), X_Seesame_Digest=SPACE.digest), NONSENSE, id="huge"),
        pytest.param(reply(400, bytes(20_000_000)), NONSENSE, id="huge problem"),
        pytest.param(
            reply(200, b"1234", X_Seesame_Digest=SPACE.digest, Content_Length="32", Connection="close"),
            UNREACHABLE,
            id="cut",
        ),
    ],
)
def test_failures_of_the_service_count(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock, answer: Answer, message: str
) -> None:
    """Each is EmbedderUnavailable with words of ours, and one failure for the breaker; the next call works."""
    server.always = answer
    with pytest.raises(EmbedderUnavailable) as caught:
        embedder.embed_images([b"shoe"])
    assert str(caught.value) == message
    assert len(server.asked) == 1
    assert_failures(breaker, clock, 1)
    clock.ahead_s += 100
    server.always = proper
    assert isinstance(embedder.embed_images([b"shoe"])[0], np.ndarray)


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (problem(415, "unsupported_format", "An SVG is no photo."), "unsupported_format", "An SVG is no photo."),
        (problem(413, "image_too_large", "x" * 301), "image_too_large", "The picture has too many bytes or pixels."),
        (problem(422, "image_undecodable", "a\nb"), "image_undecodable", DAMAGED),
        (problem(422, "image_undecodable", ["a"]), "image_undecodable", DAMAGED),
    ],
)
def test_a_fault_of_the_picture_is_its_result(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock, answer: Answer, code: str, text: str
) -> None:
    """Its words are the service's if they are fit to be shown; the service lives."""
    server.script = [reply(500), reply(500), answer]
    for _ in range(2):
        with pytest.raises(EmbedderUnavailable):
            embedder.embed_images([b"shoe"])
    (result,) = embedder.embed_images([b"shoe"])
    assert isinstance(result, ImageError)
    assert (result.code, str(result)) == (code, text)
    assert_failures(breaker, clock, 0)


def test_a_picture_that_the_model_fails_on_has_that_as_its_result(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock
) -> None:
    """The service is well, though its status is 500, so the breaker hears of a success."""
    server.script = [reply(500), reply(500), problem(500, "model_invalid", "The model failed.")]
    for _ in range(2):
        with pytest.raises(EmbedderUnavailable):
            embedder.embed_images([b"shoe"])
    (result,) = embedder.embed_images([b"shoe"])
    assert type(result) is ModelInvalid
    assert_failures(breaker, clock, 0)


def test_a_model_that_fails_on_more_than_a_picture_is_a_failure(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock
) -> None:
    """Of several pictures, or for a text, there is none whose place the code could take."""
    server.script = [problem(500, "model_invalid")] * 2
    with pytest.raises(EmbedderUnavailable, match="failed"):
        embedder.embed_images([b"shoe", b"hat"])
    with pytest.raises(EmbedderUnavailable, match="failed"):
        embedder.embed_texts(["shoe"])
    assert_failures(breaker, clock, 2)


def test_codes_that_are_no_picture_faults_stay_with_their_picture(embedder: Embedder) -> None:
    """The model fails on one picture, and a newer service knows a reason that this release does not."""
    odd, new, good = embedder.embed_images([b"odd", b"new", b"shoe"], bulk=True)
    assert type(odd) is ModelInvalid
    assert type(new) is ImageError
    assert isinstance(good, np.ndarray)


def test_a_row_without_a_vector_and_without_a_code_is_nonsense(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock
) -> None:
    """One NaN row of two, and the code is for the other."""
    row = vector_of(b"shoe")
    server.script = [vectors(row, row * np.float32(np.nan), X_Seesame_Errors='{"0": "image_undecodable"}')]
    with pytest.raises(EmbedderUnavailable, match="no sense"):
        embedder.embed_images([b"one", b"two"])
    assert_failures(breaker, clock, 1)


def test_texts_have_no_picture_faults(embedder: Embedder, server: Server) -> None:
    """Whatever the service says, the caller gets rows or an error of the embedder."""
    row = vector_of(b"shoe")
    server.script = [
        problem(422, "image_undecodable"),
        vectors(row * np.float32(np.nan), X_Seesame_Errors='{"0": "image_undecodable"}'),
    ]
    for _ in range(2):
        with pytest.raises(EmbedderUnavailable):
            embedder.embed_texts(["shoe"])


@pytest.mark.parametrize(
    ("answer", "count"),
    [
        (problem(422, "invalid_input"), 1),
        (problem(404, "image_undecodable"), 1),
        (reply(404, b"<html>"), 1),
        (reply(413), 1),
        (problem(415, "unsupported_format"), 2),
    ],
)
def test_any_other_refusal_is_a_fault_between_the_two(
    embedder: Embedder,
    server: Server,
    breaker: Breaker,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    count: int,
) -> None:
    """The service lives, so the breaker stays closed; it is logged, but not at every request."""
    server.always = answer
    for _ in range(5):
        with pytest.raises(EmbedderUnavailable, match="refused"):
            embedder.embed_images([b"shoe"] * count)
    assert [record.getMessage() for record in caplog.records if record.name.startswith("seesame")] == [REFUSED]
    assert_failures(breaker, clock, 0)


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [("7", 7.0), ("0", 0.0), ("99999", 60.0), ("soon", 1.0), ("-1", 1.0), ("", 1.0)]
)
def test_busy_says_when_to_come_again(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock, retry_after: str, seconds: float
) -> None:
    """It is not asked again, its connection is kept, and the breaker hears of a success."""
    server.script = [reply(500), reply(500), problem(429, "clip_busy", Retry_After=retry_after)]
    for _ in range(2):
        with pytest.raises(EmbedderUnavailable):
            embedder.embed_images([b"shoe"])
    with pytest.raises(EmbedderBusy) as caught:
        embedder.embed_images([b"shoe"])
    assert caught.value.retry_after_s == seconds
    assert len(server.asked) == 3
    connections = server.connections
    embedder.embed_images([b"shoe"])
    assert server.connections == connections
    assert_failures(breaker, clock, 0)


@pytest.mark.parametrize("digest", ["cd" * 32, ""])
def test_vectors_of_another_model_are_never_taken(
    embedder: Embedder,
    server: Server,
    breaker: Breaker,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    digest: str,
) -> None:
    """Also if they are longer; it is logged once a minute and is no failure for the breaker."""
    server.always = vectors(vector_of(b"shoe"), vector_of(b"shoe"), digest=digest)
    for ahead_s in (0, 1, 1, 1, 70):
        clock.ahead_s += ahead_s
        with pytest.raises(EmbedderUnavailable, match="another model"):
            embedder.embed_images([b"shoe"])
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [OTHER_SPACE] * 2
    assert_failures(breaker, clock, 0)


# --- deadlines


def _trickled_body(server: Server) -> Answer:
    head = f"HTTP/1.1 200 OK\r\nX-Seesame-Digest: {SPACE.digest}\r\nContent-Length: 1000000\r\n\r\n"

    def answer(asked: Asked, out: BufferedIOBase) -> bool:
        out.write(head.encode())
        return server.trickle(b"")(asked, out)

    return answer


@pytest.mark.parametrize("dimensions", [8, 100_000])
@pytest.mark.parametrize(
    "misbehave",
    [
        pytest.param(lambda server: server.hang, id="hang"),
        pytest.param(lambda server: server.trickle(b"HTTP/1.1 200 OK\r\nX-Long: "), id="trickled headers"),
        pytest.param(lambda server: server.trickle(b"HTTP/1.1 100 Continue\r\n\r\n" * 400), id="endless 100s"),
        pytest.param(_trickled_body, id="trickled body"),
    ],
)
def test_the_deadline_holds_for_the_whole_reply(
    server: Server, breaker: Breaker, clock: Clock, misbehave: Callable[[Server], Answer], dimensions: int
) -> None:
    """Each byte comes soon after the last, and still the call ends; it is a failure, and is not tried again."""
    server.always = misbehave(server)
    service = ClipService(server.url, deadline_s=0.3, breaker=breaker, clock=clock)
    started = time.monotonic()
    with pytest.raises(EmbedderUnavailable) as caught:
        service.embed_images([b"shoe"], digest=SPACE.digest, dimensions=dimensions)
    took_s = time.monotonic() - started
    service.close()
    if dimensions > 8 or misbehave is not _trickled_body:  # else the reply is too long before it is too late
        assert type(caught.value) is EmbedderTimeout
    assert took_s < 5
    assert len(server.asked) == 1
    assert_failures(breaker, clock, 1)


def test_the_deadline_holds_for_all_requests_of_a_query(server: Server) -> None:
    """Each of four requests alone would be in time."""

    def slowly(asked: Asked, out: BufferedIOBase) -> bool:
        server.stopped.wait(0.2)
        return proper(asked, out)

    server.always = slowly
    service = ClipService(server.url, deadline_s=0.5, bulk_deadline_s=10)
    with pytest.raises(EmbedderTimeout):
        service.embed_texts(["shoe"] * 128, digest=SPACE.digest, dimensions=DIMENSIONS)
    asked = len(server.asked)
    assert asked <= 3
    results = service.embed_images([b"shoe"] * 128, digest=SPACE.digest, dimensions=DIMENSIONS, bulk=True)
    service.close()
    assert len(results) == 128
    assert len(server.asked) == asked + 4


def _never_accepting() -> socket.socket:
    """Connections wait in the kernel's queue, unanswered."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(8)
    return listening


@pytest.mark.parametrize("size", [4, 30_000_000])
def test_a_service_that_never_accepts_is_too_slow(size: int) -> None:
    """Neither a small request, nor one too large for the kernel to take, waits for ever."""
    with _never_accepting() as listening:
        service = ClipService(f"http://127.0.0.1:{listening.getsockname()[1]}", deadline_s=0.3)
        started = time.monotonic()
        with pytest.raises(EmbedderTimeout):
            service.embed_images([bytes(size)], digest=SPACE.digest, dimensions=DIMENSIONS)
        assert time.monotonic() - started < 5
        service.close()


def test_a_service_that_takes_the_request_byte_by_byte_is_too_slow() -> None:
    """Each write succeeds after a while, so only the deadline of the whole ends it."""
    stopped = threading.Event()

    def drain(listening: socket.socket) -> None:
        connection = listening.accept()[0]
        with connection, suppress(OSError):
            while not stopped.wait(0.02):
                connection.recv(20_000)

    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 50_000)
        listening.bind(("127.0.0.1", 0))
        listening.listen(8)
        thread = threading.Thread(target=drain, args=(listening,))
        thread.start()
        service = ClipService(f"http://127.0.0.1:{listening.getsockname()[1]}", deadline_s=0.5)
        started = time.monotonic()
        with pytest.raises(EmbedderTimeout):
            service.embed_images([bytes(30_000_000)], digest=SPACE.digest, dimensions=DIMENSIONS)
        took_s = time.monotonic() - started
        stopped.set()
        thread.join()
        service.close()
    assert took_s < 5


# --- connections


def _hang_up(asked: Asked, out: BufferedIOBase) -> bool:
    return False


def test_a_kept_connection_that_was_closed_is_replaced(embedder: Embedder, server: Server) -> None:
    """The server hangs up when the second request comes: it is sent once more, on another connection."""
    embedder.embed_images([b"shoe"])
    server.script = [_hang_up]
    (vector,) = embedder.embed_images([b"hat"])
    assert isinstance(vector, np.ndarray)
    np.testing.assert_array_equal(vector, vector_of(b"hat"))
    assert [asked.body for asked in server.asked] == [b"shoe", b"hat", b"hat"]
    assert server.connections == 2


def _speak_another_protocol(asked: Asked, out: BufferedIOBase) -> bool:
    out.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    return False


@pytest.mark.parametrize("answer", [_hang_up, _speak_another_protocol])
def test_a_request_is_repeated_once(
    embedder: Embedder, server: Server, breaker: Breaker, clock: Clock, answer: Answer
) -> None:
    """A server that always hangs up, or makes no sense, is asked twice, which is one failure."""
    server.always = answer
    with pytest.raises(EmbedderUnavailable, match="cannot be reached"):
        embedder.embed_images([b"a", b"b"])
    assert len(server.asked) == 2
    assert server.asked[0].parts() == server.asked[1].parts() == [b"a", b"b"]
    assert_failures(breaker, clock, 1)


def test_a_service_that_restarts_is_found_again(clock: Clock) -> None:
    """Refused connections open the breaker; then nothing is asked until the pause is over and the service is back."""
    first, second = Server(), Server()
    with serving(first):
        port = int(first.url.rpartition(":")[2])
        service = ClipService(first.url, breaker=Breaker(pause_s=100, max_pause_s=400), clock=clock)
        embedder = RemoteEmbedder(service, SPACE, has_text=True)
        embedder.embed_images([b"shoe"])
    for _ in range(4):
        with pytest.raises(EmbedderUnavailable, match="cannot be reached"):
            embedder.embed_images([b"shoe"])
    assert not available(embedder)
    with serving(second, port):
        with pytest.raises(EmbedderUnavailable):
            embedder.embed_images([b"shoe"])
        assert service.check() is None
        assert second.asked == []
        clock.ahead_s += 100
        assert available(embedder)
        assert isinstance(embedder.embed_images([b"shoe"])[0], np.ndarray)
        assert available(embedder)
        service.close()


def test_no_words_of_the_network_reach_the_caller() -> None:
    """The cause is kept for the log; the message names no address."""
    with socket.socket() as bound:  # bound and not listening: refused
        bound.bind(("127.0.0.1", 0))
        service = ClipService(f"http://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(EmbedderUnavailable) as caught:
            service.embed_texts(["shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)
        service.close()
    assert str(caught.value) == UNREACHABLE
    assert caught.value.__cause__ is not None


def test_an_open_breaker_sends_nothing(service: ClipService, server: Server, breaker: Breaker, clock: Clock) -> None:
    """Pictures, in bulk or not, and texts are refused at once."""
    breaker.trip(clock())
    embedder = RemoteEmbedder(service, SPACE, has_text=True)
    calls: list[Callable[[], object]] = [
        lambda: embedder.embed_images([b"shoe"]),
        lambda: embedder.embed_images([b"shoe"], bulk=True),
        lambda: embedder.embed_texts(["shoe"]),
    ]
    for call in calls:
        with pytest.raises(EmbedderUnavailable):
            call()
    assert server.asked == []


def test_queries_in_flight_are_limited_and_bulk_is_not(server: Server) -> None:
    """While two queries wait, a third is refused at once; bulk calls and checks still get through."""
    service = ClipService(server.url, max_in_flight=2, deadline_s=20)
    go_on = threading.Event()

    def wait(asked: Asked, out: BufferedIOBase) -> bool:
        go_on.wait(20)
        return proper(asked, out)

    def query() -> object:
        return service.embed_images([b"shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)

    server.script = [wait, wait]
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(query) for _ in range(2)]
        while len(server.asked) < 2:
            time.sleep(0.01)
        with pytest.raises(EmbedderBusy):
            query()
        with pytest.raises(EmbedderBusy):
            service.embed_texts(["shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)
        assert len(service.embed_images([b"a", b"b"], digest=SPACE.digest, dimensions=DIMENSIONS, bulk=True)) == 2
        assert service.check() == READY
        go_on.set()
        for future in waiting:
            future.result()
    query()
    service.close()


def test_places_are_given_back_after_failures(server: Server) -> None:
    """Whatever ended a query, the next one has its place."""
    service = ClipService(server.url, max_in_flight=1, breaker=Breaker(failures=100))
    server.script = [reply(500), problem(429, "clip_busy"), problem(415, "unsupported_format"), reply(404)]
    for _ in range(4):
        with suppress(EmbedderUnavailable, EmbedderBusy):
            service.embed_images([b"shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)
    assert len(service.embed_images([b"shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)) == 1
    service.close()


def test_a_closed_service_refuses(service: ClipService, server: Server) -> None:
    """An embedder over it does not close it, since it may be shared; closed by its owner, it is not available."""
    embedder = RemoteEmbedder(service, SPACE, has_text=True)
    embedder.close()
    assert available(embedder)
    service.close()
    assert not available(embedder)
    assert service.check() is None
    for bulk in (False, True):
        with pytest.raises(EmbedderUnavailable):
            embedder.embed_images([b"shoe"], bulk=bulk)
    assert server.asked == []


def test_closing_during_a_query_ends_it_in_time(server: Server) -> None:
    """The query gets an error of ours, not one of a connection that vanished."""
    server.always = server.hang
    service = ClipService(server.url, deadline_s=1)
    with ThreadPoolExecutor(1) as pool:
        query = pool.submit(service.embed_images, [b"shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)
        while not server.asked:
            time.sleep(0.01)
        service.close()
        with pytest.raises(EmbedderUnavailable):
            query.result(timeout=10)


def test_a_certificate_that_is_none_is_refused(server: Server) -> None:
    """An https URL of a server that speaks plain HTTP gets no request."""
    service = ClipService(server.url.replace("http:", "https:"))
    with pytest.raises(EmbedderUnavailable, match="cannot be reached"):
        service.embed_images([b"shoe"], digest=SPACE.digest, dimensions=DIMENSIONS)
    service.close()
    assert service.check() is None


@pytest.mark.parametrize("url", ["", "localhost:8001", "ftp://localhost", "http://", "http://[::1"])
def test_a_url_that_cannot_be_one_is_refused(url: str) -> None:
    """At once, not at the first request."""
    with pytest.raises(ValueError, match="CLIP service's URL"):
        ClipService(url)
