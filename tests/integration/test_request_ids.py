"""Every answer has an id by which it is found in the log."""

import re
import socket
from collections.abc import Callable

import httpx2
import pytest

from tests.conftest import picture

_JSON = {"Content-Type": "application/json"}
_MADE = re.compile(r"[0-9a-f]{32}")

ANSWERS: dict[str, tuple[int, Callable[[httpx2.Client, dict[str, str]], httpx2.Response]]] = {
    "page": (200, lambda server, ids: server.get("/", headers=ids)),
    "static file": (200, lambda server, ids: server.get("/static/main.js", headers=ids)),
    "static file that is known": (
        304,
        lambda server, ids: server.get(
            "/static/main.js", headers=ids | {"If-None-Match": server.get("/static/main.js").headers["etag"]}
        ),
    ),
    "no static file": (404, lambda server, ids: server.get("/static/none.js", headers=ids)),
    "description": (200, lambda server, ids: server.get("/openapi.json", headers=ids)),
    "metrics": (200, lambda server, ids: server.get("/metrics", headers=ids)),
    "head": (200, lambda server, ids: server.head("/v1/stats", headers=ids)),
    "created": (201, lambda server, ids: server.put("/v1/products/made", json={}, headers=ids)),
    "deleted": (204, lambda server, ids: server.delete("/v1/products/made", headers=ids)),
    "no path": (404, lambda server, ids: server.get("/v1/nothing", headers=ids)),
    "no product": (404, lambda server, ids: server.get("/v1/products/none", headers=ids)),
    "line break": (404, lambda server, ids: server.get("/v1/products/a%0A", headers=ids)),
    "method": (405, lambda server, ids: server.patch("/v1/stats", headers=ids)),
    "no form": (400, lambda server, ids: server.post(
        "/v1/search/image", content=b"x", headers=ids | {"Content-Type": "multipart/form-data; boundary=x"}
    )),
    "body": (413, lambda server, ids: server.post("/v1/search", content=bytes(15_000_000), headers=ids | _JSON)),
    "kind": (415, lambda server, ids: server.post("/v1/search/image", files={"image": b"text"}, headers=ids)),
    "encoding": (415, lambda server, ids: server.post(
        "/v1/search", content=b"x", headers=ids | {"Content-Encoding": "gzip"}
    )),
    "input": (422, lambda server, ids: server.get("/v1/products", params={"limit": 0}, headers=ids)),
    "search": (200, lambda server, ids: server.post("/v1/search/image", files={"image": picture()}, headers=ids)),
}  # fmt: skip


@pytest.mark.parametrize("name", ANSWERS)
def test_every_answer_has_its_id(shared_server: httpx2.Client, name: str) -> None:
    """Its own, or the one that was sent if that is one; a problem has it in its body, too."""
    status, ask = ANSWERS[name]
    for sent, taken in (("order-17_B", True), ("x" * 64, True), ("x" * 65, False), ("a b", False), ("<b>", False)):
        if name in ("deleted", "created"):  # so that it is to be done each time
            shared_server.request("PUT" if name == "deleted" else "DELETE", "/v1/products/made", json={})
        reply = ask(shared_server, {"X-Request-ID": sent})
        assert reply.status_code == status
        (given,) = reply.headers.get_list("x-request-id")
        assert given == sent if taken else _MADE.fullmatch(given)
        if status >= 400:
            assert reply.headers["content-type"] == "application/problem+json"
            assert reply.json()["request_id"] == given


@pytest.mark.parametrize(("sent", "status"), [(b"nonsense\r\n\r\n", 400), (b"GET /" + b"a" * 40_000, 431)])
def test_what_is_no_request_gets_an_id_as_well(shared_server: httpx2.Client, sent: bytes, status: int) -> None:
    """And a problem: it never reached the application."""
    with socket.create_connection((shared_server.base_url.host, shared_server.base_url.port or 80)) as client:
        client.sendall(sent)
        received = b""
        while part := client.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    headers = [(name, value) for name, _, value in (line.partition(b": ") for line in head.split(b"\r\n")[1:])]
    reply = httpx2.Response(status, headers=headers, content=body)
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["request_id"] == reply.headers["x-request-id"]
    assert reply.json()["status"] == status
