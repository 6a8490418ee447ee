"""A real HTTP server on the loopback interface that answers by a script."""

import json
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request as it came; `complete` says whether all of its body did."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    complete: bool = True

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = Callable[[Asked], Iterable[bytes]]
"""The reply in parts, which are sent as they come; after `Connection: close`, or none at all, the server hangs up."""


def reply(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    fields = {"Content-Length": str(len(body))} | {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    message = f"HTTP/1.1 {status} Whatever\r\n{head}\r\n".encode() + body
    return lambda _: [message]


def value(body: object, status: int = 200, **headers: str) -> Answer:
    return reply(status, json.dumps(body).encode(), Content_Type="application/json", **headers)


def problem(status: int, code: str, detail: str = "No.", errors: object = None, **headers: str) -> Answer:
    body = {"type": "about:blank", "title": "?", "status": status, "code": code, "detail": detail}
    return value(body | ({"errors": errors} if errors else {}), status, X_Request_ID="server-1", **headers)


def hang_up(_: Asked) -> Iterable[bytes]:
    return []


@dataclass
class Server:
    """Answers the next of `script`, then `always`."""

    always: Answer = field(default_factory=reply)
    script: list[Answer] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0
    arrived: threading.Event = field(default_factory=threading.Event)
    stopped: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def hang(self, _: Asked) -> Iterable[bytes]:
        self.stopped.wait(20)
        return []

    def trickle(self, _: Asked) -> Iterable[bytes]:
        """A reply that never ends, though some of it comes all the time."""
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n"
        while not self.stopped.wait(0.02):
            yield b" "

    def answer(self, asked: Asked) -> Iterable[bytes]:
        with self.lock:
            self.asked.append(asked)
            answer = self.script.pop(0) if self.script else self.always
        return answer(asked)


class _Handler(socketserver.StreamRequestHandler):
    server_of: ClassVar[Server]

    def handle(self) -> None:
        self.server_of.connections += 1
        with suppress(OSError):
            while (asked := self._read()) is not None:
                goes_on = False
                for part in self.server_of.answer(asked):
                    self.wfile.write(part)
                    goes_on = b"\r\nConnection: close" not in part
                if not goes_on:
                    return

    def _read(self) -> Asked | None:
        line = self.rfile.readline().decode()
        if not line:
            return None
        headers = {}
        while header := self.rfile.readline().decode().strip():
            name, _, text = header.partition(":")
            headers[name.lower()] = text.strip()
        body, complete = self._body(headers)
        method, target, _ = line.split()
        return Asked(method, target, headers, body, complete)

    def _body(self, headers: dict[str, str]) -> tuple[bytes, bool]:
        if headers.get("transfer-encoding") != "chunked":
            length = int(headers.get("content-length", "0"))
            body = self.rfile.read(length)
            return body, len(body) == length
        body = b""
        while size := self.rfile.readline():
            if not (length := int(size, 16)):
                self.rfile.readline()
                return body, True
            body += self.rfile.read(length)
            self.rfile.readline()
            self.server_of.arrived.set()
        return body, False


class _TcpServer(socketserver.ThreadingTCPServer):
    request_queue_size = 64
    allow_reuse_address = True
    daemon_threads = True


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    handler = type("BoundHandler", (_Handler,), {"server_of": server})
    with _TcpServer(("127.0.0.1", 0), handler) as tcp:
        thread = threading.Thread(target=tcp.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            server.url = f"http://127.0.0.1:{tcp.server_address[1]}"
            yield server
        finally:
            server.stopped.set()
            tcp.shutdown()
            thread.join()
