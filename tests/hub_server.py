"""A server that speaks as much of a model hub's protocol as a download needs."""

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlparse

COMMIT = "5f3a9c1e2b4d6f8091a2b3c4d5e6f708192a3b4c"
OWNER_NAME = "shop/tiny-clip"
LARGE = bytes(range(256)) * 12_000
TRANSFORMERS_JS = {
    "README.md": b"# Tiny",
    "config.json": b"{}",
    "preprocessor_config.json": b'{"size": 224}',
    "tokenizer.json": b'{"version": "1.0"}',
    "onnx/vision_model.onnx": LARGE,
    "onnx/vision_model.onnx_data": b"weights" * 100,
    "onnx/vision_model_fp16.onnx": b"half" * 100,
    "onnx/text_model.onnx": b"text" * 1000,
    "onnx/text_model_fp16.onnx": b"text half" * 100,
    "onnx/model.onnx": b"both" * 1000,
    "model.safetensors": b"torch" * 1000,
}


@dataclass
class Hub:
    """A hub with one repository: what it serves, how it misbehaves and what it was asked."""

    files: dict[str, bytes] = field(default_factory=lambda: dict(TRANSFORMERS_JS))
    endpoint: str = ""
    cut_once_after: int | None = None
    garble_once: set[str] = field(default_factory=set)
    garble: set[str] = field(default_factory=set)
    status: int | None = None
    gated: bool = False
    tokens: list[str | None] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)

    def listing(self) -> bytes:
        siblings = []
        for name, content in self.files.items():
            git = hashlib.sha1(f"blob {len(content)}\0".encode() + content).hexdigest()
            sibling: dict[str, object] = {"rfilename": name, "size": len(content), "blobId": git}
            if _is_large(name):
                sha256 = hashlib.sha256(content).hexdigest()
                sibling["lfs"] = {"size": len(content), "sha256": sha256, "pointerSize": 130}
            siblings.append(sibling)
        return json.dumps({"_id": "1", "id": OWNER_NAME, "modelId": OWNER_NAME, "sha": COMMIT, "private": False,
                           "tags": [], "downloads": 0, "likes": 0, "siblings": siblings}).encode()  # fmt: skip


def _is_large(name: str) -> bool:
    return ".onnx" in name or name.startswith("visual/onnx")


class Handler(BaseHTTPRequestHandler):
    """The two routes that a download needs."""

    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *args: object) -> None:
        """Keep the tests' output quiet."""

    def answer(self, *, body: bool) -> None:
        path = urlparse(self.path).path
        self.hub.tokens.append(self.headers.get("Authorization"))
        if self.hub.status is not None:
            self.fail(self.hub.status, None)
        elif self.hub.gated:
            self.fail(403, "GatedRepo")
        elif path in (f"/api/models/{OWNER_NAME}", f"/api/models/{OWNER_NAME}/revision/main"):
            listing = self.hub.listing()
            self.begin(200, {"Content-Type": "application/json", "Content-Length": str(len(listing))})
            self.wfile.write(listing)
        elif path.startswith(f"/{OWNER_NAME}/resolve/{COMMIT}/"):
            self.file(path.removeprefix(f"/{OWNER_NAME}/resolve/{COMMIT}/"), body=body)
        else:
            self.fail(404, "RepoNotFound")

    def file(self, name: str, *, body: bool) -> None:
        content = self.hub.files[name]
        digest = hashlib.sha256(content) if _is_large(name) else hashlib.sha1(content)
        headers = {"ETag": f'"{digest.hexdigest()}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        if _is_large(name):
            headers |= {"X-Linked-Size": str(len(content)), "X-Linked-ETag": headers["ETag"]}
        if not body:
            self.begin(200, headers | {"Content-Length": str(len(content))})
            return
        self.hub.got.append(name)
        if name in self.hub.garble or name in self.hub.garble_once:
            self.hub.garble_once.discard(name)
            content = b"?" * len(content)
        start = self.start(len(content), headers)
        part = content[start:]
        self.begin(206 if start else 200, headers | {"Content-Length": str(len(part))})
        cut, self.hub.cut_once_after = self.hub.cut_once_after, None
        self.wfile.write(part if cut is None else part[:cut])
        self.close_connection = cut is not None

    def start(self, length: int, headers: dict[str, str]) -> int:
        wanted = self.headers.get("Range")
        if wanted is None:
            return 0
        self.hub.ranges.append(wanted)
        start = int(wanted.removeprefix("bytes=").partition("-")[0])
        headers["Content-Range"] = f"bytes {start}-{length - 1}/{length}"
        return start

    def fail(self, status: int, code: str | None) -> None:
        headers = {"Content-Length": "0"}
        if code is not None:
            headers["X-Error-Code"] = code
        self.begin(status, headers)

    def begin(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()


@contextmanager
def serve_hub(hub: Hub) -> Iterator[Hub]:
    handler = type("BoundHandler", (Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            hub.endpoint = f"http://127.0.0.1:{server.server_port}"
            yield hub
        finally:
            server.shutdown()
            thread.join()
