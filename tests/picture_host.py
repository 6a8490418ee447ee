"""A web server of pictures that knows them again, and may be slow or broken."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

LAST_MODIFIED = "Wed, 25 Nov 2026 04:00:00 GMT"


@dataclass
class PictureHost:
    """What the server has, and what it was asked: each path, with the tag that the client had."""

    name: str = ""  # localhost:port
    pictures: dict[str, bytes] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    drops: bool = False  # connections, without an answer
    tags: bool = True
    free_requests: int = 1_000_000  # all later ones wait for `opened`
    opened: threading.Event = field(default_factory=threading.Event)
    reached: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        """Where a picture is."""
        return f"http://{self.name}{path}"

    def sent(self) -> int:
        """How many requests there were."""
        return len(self.asked)


@contextmanager
def picture_host() -> Iterator[PictureHost]:
    """A running server."""
    host = PictureHost()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            tag = self.headers.get("If-None-Match")
            host.asked.append((self.path, tag))
            if len(host.asked) > host.free_requests:
                host.reached.set()
                host.opened.wait()
            if host.drops:
                return
            data = host.pictures.get(self.path)
            own = f'"{hashlib.sha256(data or b"").hexdigest()[:8]}"'
            same = data is not None and tag == own
            self.send_response(404 if data is None else 304 if same else 200)
            if host.tags and data is not None:
                self.send_header("ETag", own)
                self.send_header("Last-Modified", LAST_MODIFIED)
            self.end_headers()
            if data is not None and not same:
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # the client was killed, as it should

    with Server(("127.0.0.1", 0), Handler) as server:
        host.name = f"localhost:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield host
        finally:
            host.opened.set()
            server.shutdown()
            thread.join()
