"""Pictures that lie elsewhere."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class ImageHost:
    """A web server that has one picture."""

    def __init__(self) -> None:
        self.data = b""
        host = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(host.data)))
                self.end_headers()
                self.wfile.write(host.data)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"localhost:{self._server.server_address[1]}"
        self.url = f"http://{self.address}/x.jpg"

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=self._server.serve_forever)
        thread.start()
        yield
        self._server.shutdown()
        thread.join()
        self._server.server_close()
