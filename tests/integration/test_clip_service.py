"""The CLIP service over real HTTP: its answers, its refusals, its model's life and its end."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.parser import text_string_to_metric_families

from seesame import images
from seesame.clip_service import engine as engine_module
from seesame.clip_service.app import create_app
from seesame.http.server import Server, listen
from seesame.models.clip import ClipModel
from seesame.models.image_model import ImageModel
from seesame.models.session import default_threads
from seesame.settings import ClipSettings
from seesame.types import Vectors
from tests import hostile
from tests.conftest import picture
from tests.hostile import bomb, exif, saved, slow_to_decode
from tests.hub_server import OWNER_NAME, Hub, serve_hub
from tests.integration.test_http_server import connect, running
from tests.models import BAD, WAIT_S, MeanColour, until
from tests.models import png as plain
from tests.unit.test_images import quadrants, sidelong

GOLDENS = Path(__file__).parents[1] / "goldens"
PICTURES = ("landscape", "portrait", "alpha", "small")
BINARY = {"Accept": "application/octet-stream"}
JSON = {"Content-Type": "application/json"}


class Service:
    """A running service and a client of it."""

    def __init__(self, server: Server, app: Any, client: httpx2.Client) -> None:
        self.server = server
        self.engine = app.state.engine
        self.client = client
        self.get, self.post = client.get, client.post

    def embed(self, data: bytes, **headers: str) -> httpx2.Response:
        """Sends a picture as the body."""
        return self.post("/extract-features", content=data, headers=headers)

    def health(self) -> dict[str, Any]:
        """What it says of itself."""
        reply = self.get("/health")
        assert reply.status_code == 200
        return dict(reply.json())

    def ready(self) -> int:
        """The status of the readiness; whatever it is, the process is alive."""
        assert self.get("/health/live").json() == {"status": "ok"}
        return int(self.get("/health/ready").status_code)

    def metric(self, name: str, **labels: str) -> float:
        """A sample's value; 0 while there is none."""
        families = text_string_to_metric_families(self.get("/metrics").text)
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def clip_settings(**chosen: Any) -> ClipSettings:
    """Settings of a service on any free port, from nothing but these."""
    settings: dict[str, Any] = {"_env_file": None, "port": 0, "model": str(GOLDENS / "immich")} | chosen
    return ClipSettings(**settings)


@contextmanager
def serving(given: ImageModel | None = None, *, ready: bool = True, **chosen: Any) -> Iterator[Service]:
    """A service over a real socket, by default when its model is loaded."""
    app = create_app(clip_settings(**chosen), model=given)
    with (
        running(app, on_drain=app.state.engine.drain) as server,
        httpx2.Client(base_url=server.url, timeout=WAIT_S) as client,
    ):
        service = Service(server, app, client)
        if ready:
            until(lambda: service.engine.ready)
        try:
            yield service
        finally:
            if isinstance(given, MeanColour):
                given.release()


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    """One service with a tiny CLIP, for requests that leave nothing behind."""
    with serving() as service:
        yield service


@pytest.fixture(scope="module")
def model() -> ClipModel:
    """The same model, asked directly."""
    return ClipModel.load(GOLDENS / "immich", name="immich")


def golden(name: str) -> bytes:
    return (GOLDENS / "pictures" / f"{name}.png").read_bytes()


def vector_of(model: ClipModel, data: bytes) -> Vectors:
    preprocessing = model.preprocessing
    decoded = images.decode(data, shortest_side=preprocessing.shortest_side)
    vector: Vectors = model.images(preprocessing.apply(decoded)[None])[0]
    return vector


def cosine(one: Any, other: Any) -> float:
    return float(np.asarray(one, np.float32) @ np.asarray(other, np.float32))


def rows(reply: httpx2.Response, dimensions: int) -> NDArray[np.float32]:
    assert reply.headers["content-type"] == "application/octet-stream"
    return np.frombuffer(reply.content, "<f4").reshape(-1, dimensions)


def files(*contents: bytes, name: str = "images") -> list[tuple[str, tuple[str, bytes]]]:
    return [(name, (f"{number}.jpg", content)) for number, content in enumerate(contents)]


def assert_problem(reply: httpx2.Response, status: int, code: str) -> None:
    """An error as all are, that tells nothing of the inside."""
    body = reply.json()
    assert (reply.status_code, body["status"], body["code"]) == (status, status, code), body
    assert reply.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "detail", "request_id"} <= body.keys()
    assert body["request_id"] == reply.headers["x-request-id"]
    assert ("retry-after" in reply.headers) == (status in (429, 503))
    assert_discreet(reply)


def assert_discreet(reply: httpx2.Response) -> None:
    """Neither exception text, nor a path, nor an address."""
    told = reply.text + str(reply.headers)
    assert not re.search(r"0x[0-9a-f]{6}", told)
    for secret in ("Traceback", "Error(", "Exception", ".py", "127.0.0.1", "PIL", "multipart.", "/tmp/", str(GOLDENS)):
        assert secret not in told, secret


# Answers


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_gets_the_models_own_vector(service: Service, model: ClipModel, name: str) -> None:
    """As a form part or as the body, as JSON or as bytes: it is the same vector, and of the same space."""
    data, expected = golden(name), vector_of(model, golden(name))
    replies = [
        service.embed(data),
        service.post("/extract-features", files=files(data, name="image")),
        service.embed(data, **BINARY),
        service.post("/extract-features", files=files(data, name="image"), headers=BINARY),
    ]
    for reply in replies:
        assert reply.status_code == 200
        assert reply.headers["x-seesame-digest"] == model.identity.digest
        assert reply.headers["x-request-id"]
    for reply in replies[:2]:
        body = reply.json()
        assert cosine(body.pop("features"), expected) >= 0.9999
        assert body.pop("took_ms") >= 0
        identity = model.identity
        assert body == {
            "dimensions": identity.dimensions, "model": "immich", "space": identity.key, "normalized": True,
        }  # fmt: skip
    for reply in replies[2:]:
        assert len(reply.content) == 4 * model.identity.dimensions
        assert cosine(rows(reply, model.identity.dimensions)[0], expected) >= 0.9999


@pytest.mark.parametrize("kind", ["image/png", "text/plain", "application/json", "", "multipart/mixed"])
def test_the_type_is_told_by_the_content(service: Service, kind: str) -> None:
    """A JPEG that is announced as something else is taken all the same, in a part too."""
    assert service.embed(picture(), **{"Content-Type": kind}).status_code == 200
    part = [("image", ("../../x.exe", picture(), kind or "x/y"))]
    assert service.post("/extract-features", files=part).status_code == 200


def test_a_batch_comes_in_order(service: Service, model: ClipModel) -> None:
    """Each row is of its own picture, in both forms, and a picture that cannot be used has its error there."""
    sent = [
        golden("landscape"),
        b"no picture",
        golden("portrait"),
        b"",
        golden("alpha"),
        hostile.png(30_000, 30_000, b""),
    ]
    expected = {1: "unsupported_format", 3: "image_undecodable", 5: "image_too_large"}
    reply = service.post("/extract-features/batch", files=files(*sent))
    assert reply.status_code == 200
    results = reply.json()["results"]
    binary = service.post("/extract-features/batch", files=files(*sent), headers=BINARY)
    table = rows(binary, model.identity.dimensions)
    assert len(results) == len(table) == len(sent)
    for index, (data, result, row) in enumerate(zip(sent, results, table, strict=True)):
        if index in expected:
            assert result == {"error": {"code": expected[index], "detail": result["error"]["detail"]}}
            assert np.isnan(row).all()
        else:
            assert result.keys() == {"features"}
            assert cosine(result["features"], vector_of(model, data)) >= 0.9999
            assert cosine(row, vector_of(model, data)) >= 0.9999
    assert json.loads(binary.headers["x-seesame-errors"]) == {str(k): code for k, code in expected.items()}
    assert reply.headers["x-seesame-digest"] == binary.headers["x-seesame-digest"] == model.identity.digest
    assert_discreet(reply)


def test_a_batch_without_errors_says_none(service: Service) -> None:
    """The header is there only where something failed; 32 pictures are the most."""
    reply = service.post("/extract-features/batch", files=files(*[picture()] * 32), headers=BINARY)
    assert reply.status_code == 200
    assert "x-seesame-errors" not in reply.headers
    assert len(reply.content) == 32 * len(service.embed(picture(), **BINARY).content)


def test_texts_get_the_models_own_vectors(service: Service, model: ClipModel) -> None:
    """In order, as JSON and as bytes; what is odd but is text is answered."""
    texts = ["a red dress", "ein rotes Kleid", "\0", "x" * 1000, " ", "👗" * 100, "a" * 32 + "\u202e"]
    reply = service.post("/extract-text-features", json={"texts": texts})
    binary = service.post("/extract-text-features", json={"texts": texts}, headers=BINARY)
    assert (reply.status_code, binary.status_code) == (200, 200)
    assert reply.headers["x-seesame-digest"] == model.identity.digest
    table = rows(binary, model.identity.dimensions)
    for row, result, expected in zip(table, reply.json()["results"], model.texts(texts), strict=True):
        assert cosine(row, expected) >= 0.9999
        assert cosine(result["features"], expected) >= 0.9999


def test_health_tells_the_facts(service: Service, model: ClipModel) -> None:
    """All that one needs to know which vectors come from here."""
    identity = model.identity
    health = service.health()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", health.pop("since"))
    assert health == {
        "status": "ok", "ready": True, "model": "immich", "space": identity.key, "digest": identity.digest,
        "dimensions": identity.dimensions, "has_text": True, "precision": "fp32", "download": None, "detail": None,
        "queue": {"images": 0, "bytes": 0},
    }  # fmt: skip
    assert service.get("/health/ready").json() == {"status": "ok"}
    assert service.ready() == 200


def test_metrics_move(service: Service) -> None:
    """Requests by route and status, stages, batches; ids and paths make no series of their own."""
    one = {"method": "POST", "route": "/extract-features", "status": "200"}
    before = service.metric("seesame_http_requests_total", **one)
    stages = [service.metric("seesame_clip_stage_seconds_count", stage=s) for s in ("queue", "decode", "inference")]
    batches = service.metric("seesame_clip_batch_size_count")
    assert service.embed(picture()).status_code == 200
    assert service.get("/nowhere/17").status_code == 404
    assert service.metric("seesame_http_requests_total", **one) == before + 1
    for stage, old in zip(("queue", "decode", "inference"), stages, strict=True):
        assert service.metric("seesame_clip_stage_seconds_count", stage=stage) > old
    assert service.metric("seesame_clip_batch_size_count") > batches
    assert service.metric("seesame_clip_ready") == 1
    assert service.metric("seesame_clip_queue_images") == service.metric("seesame_clip_queue_bytes") == 0
    assert service.metric("seesame_clip_model_info", model="immich", precision="fp32") == 1
    assert service.metric("seesame_http_request_seconds_count", route="/extract-features") >= 1
    assert service.metric("seesame_http_requests_total", route="none", status="404") >= 1
    assert "/nowhere" not in service.get("/metrics").text


# Requests that are wrong


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=b"}
PART = b'--b\r\nContent-Disposition: form-data; name="image"\r\n\r\n'


@pytest.mark.parametrize("names", ["", "image image", "photo", "image photo", "photo image", "images"])
def test_other_parts_than_one_image(service: Service, names: str) -> None:
    """None, two, or of another name: it is not clear what is meant."""
    parts = [PART.replace(b"image", name.encode()) + picture() + b"\r\n" for name in names.split()]
    reply = service.post("/extract-features", content=b"".join(parts) + b"--b--\r\n", headers=BOUNDARY)
    assert_problem(reply, 422, "invalid_input")
    assert reply.json()["errors"][0]["field"] == "image"


def test_parts_without_measure(service: Service) -> None:
    """No mistake of a client's."""
    for path in ("/extract-features", "/extract-features/batch"):
        reply = service.post(path, files={"image": picture()}, data={f"f{n}": "" for n in range(1_001)})
        assert_problem(reply, 400, "bad_request")


@pytest.mark.parametrize(("kind", "body"), hostile.NO_FORMS, ids=count())
@pytest.mark.parametrize("path", ["/extract-features", "/extract-features/batch"])
def test_what_is_no_form(service: Service, path: str, kind: str, body: bytes) -> None:
    """No boundary, no end, headers without number: refused as soon as that is clear."""
    reply = service.post(path, content=body, headers=[(b"Content-Type", kind.encode("latin-1"))])
    assert_problem(reply, 400, "bad_request")
    assert service.embed(picture()).status_code == 200


def test_other_parameters_do_not_matter(service: Service) -> None:
    """File names of any sort are never used, and a boundary may be quoted."""
    for filename in (b"../../x", b"a\x00b", b"n" * 3000, "‮gpj.exe".encode(), b'\\"', b"c:\\\\x"):
        head = b'--b b\r\nContent-Disposition: form-data; name="image"; filename="' + filename + b'"\r\n\r\n'
        headers = {"Content-Type": 'multipart/form-data; charset=utf-8; boundary="b b"'}
        reply = service.post("/extract-features", content=head + picture() + b"\r\n--b b--\r\n", headers=headers)
        assert reply.status_code in (200, 400)
        assert reply.status_code == 200 or b"\x00" in filename


def test_no_body(service: Service) -> None:
    """Nothing is not a picture; a batch that is no form is told what it should be."""
    assert_problem(service.embed(b""), 422, "invalid_input")
    assert_problem(service.post("/extract-features", content=b"", headers=BOUNDARY), 422, "invalid_input")
    assert_problem(service.post("/extract-features/batch", content=b"", headers=BOUNDARY), 422, "invalid_input")
    assert_problem(service.post("/extract-features/batch", content=picture()), 415, "unsupported_media_type")


def test_too_many_pictures(service: Service) -> None:
    """One more than 32 is refused, with none of them computed."""
    before = service.metric("seesame_clip_stage_seconds_count", stage="decode")
    assert_problem(service.post("/extract-features/batch", files=files(*[picture()] * 33)), 422, "invalid_input")
    assert service.metric("seesame_clip_stage_seconds_count", stage="decode") == before


def test_too_large(service: Service) -> None:
    """A picture over the limit, and a body over the limit, announced or not, get 413."""
    limit = clip_settings().max_upload_bytes
    assert_problem(service.embed(bytes(limit + 1)), 413, "image_too_large")
    part = files(saved("JPEG") + bytes(limit), name="image")
    assert_problem(service.post("/extract-features", files=part), 413, "image_too_large")
    assert_problem(service.embed(bytes(limit + 100_000)), 413, "request_too_large")
    chunks = (bytes(1 << 20) for _ in range(12))
    assert_problem(service.post("/extract-features", content=chunks), 413, "request_too_large")
    assert service.embed(picture()).status_code == 200


def test_a_body_that_is_encoded_is_not_unpacked(service: Service) -> None:
    """Whatever is in it."""
    for path in ("/extract-features", "/extract-features/batch", "/extract-text-features"):
        reply = service.post(path, content=bomb(1 << 20), headers={"Content-Encoding": "gzip"})
        assert_problem(reply, 415, "unsupported_encoding")


@pytest.mark.parametrize(
    "body",
    [
        b'{"texts":[]}', b'{"texts":[""]}', b'{"texts":"a"}', b'{"texts":[1]}', b'{"texts":[null]}', b"{}", b"[]", b"1",
        b'{"texts":["a"],"more":1}', b'{"texts":["\\ud800"]}', b'{"\\ud800":["a"]}', b'{"texts":["\xff"]}',
        b'{"texts":["a"', b"", b"NaN", b'{"texts":[NaN]}', b"[" * 100_000, b'{"a":' * 100_000,
        json.dumps({"texts": ["x" * 1001]}).encode(), json.dumps({"texts": ["x"] * 33}).encode(),
    ],
    ids=count(),
)  # fmt: skip
def test_texts_that_are_none(service: Service, body: bytes) -> None:
    """Too many, too long, empty, half a character, no JSON: refused in words of ours."""
    assert_problem(service.post("/extract-text-features", content=body, headers=JSON), 422, "invalid_input")
    assert service.post("/extract-text-features", json={"texts": ["a"]}).status_code == 200


def test_a_large_body_is_no_text(service: Service) -> None:
    """Texts are small: what is larger than 32 of them can be is refused before it is parsed."""
    most = json.dumps({"texts": ["👗" * 1000] * 32}, indent=1).encode()
    assert service.post("/extract-text-features", content=most, headers=JSON).status_code == 200
    body = b'{"texts":[' + b"{}," * 1_000_000 + b"{}]}"
    assert_problem(service.post("/extract-text-features", content=body, headers=JSON), 413, "request_too_large")


def test_a_model_without_a_text_tower() -> None:
    """Says so, and embeds pictures."""
    model = MeanColour()
    model.has_text = False
    with serving(model) as service:
        reply = service.post("/extract-text-features", json={"texts": ["a"]})
        assert_problem(reply, 422, "no_text_model")
        assert service.health()["has_text"] is False
        assert service.embed(plain(10)).status_code == 200


# Pictures of strangers


@pytest.mark.parametrize("name", hostile.PICTURES)
def test_hostile_pictures(service: Service, name: str) -> None:
    """Each gets what it must, alone and beside others, and a valid picture afterwards gets its vector."""
    expected, make = hostile.PICTURES[name]
    data = make()
    reply = service.embed(data)
    if isinstance(expected, tuple):
        assert_problem(reply, *expected)
    else:
        assert reply.status_code == expected
        assert np.isfinite(reply.json()["features"]).all()
    assert_discreet(reply)
    assert reply.headers["x-content-type-options"] == "nosniff"
    batch = service.post("/extract-features/batch", files=files(picture(), data, picture("blue")), headers=BINARY)
    assert batch.status_code == 200
    codes = json.loads(batch.headers.get("x-seesame-errors", "{}"))
    code = expected[1] if isinstance(expected, tuple) else None
    # In a batch, where the body may be larger, it is the picture that is too large.
    wrong = {"1": "image_too_large" if code == "request_too_large" else code} if code else {}
    assert codes == wrong
    assert service.embed(picture()).status_code == 200


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_pictures(service: Service, orientation: int) -> None:
    """Whichever way the camera was held, it is the vector of the picture as one sees it."""
    upright = service.embed(saved("JPEG", quadrants(), quality=95)).json()["features"]
    turned = service.embed(saved("JPEG", sidelong(orientation), quality=95, exif=exif(orientation)))
    assert cosine(turned.json()["features"], upright) >= 0.99


# A model that is busy, stuck or wrong


@contextmanager
def gated(**chosen: Any) -> Iterator[tuple[MeanColour, Service]]:
    """A service whose model is held, once it has started."""
    model = MeanColour()
    with serving(model, **chosen) as service:
        model.held = True
        yield model, service


def send(service: Service, data: bytes, *, path: str = "/extract-features") -> Any:
    """A request on a connection of its own, whose reply is not waited for."""
    client = connect(service.server)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
    client.sendall(head.encode() + data)
    return client


def test_a_full_queue_is_refused_and_the_watch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Too much gets 429 and when to come again; full is not stuck, so it stays ready; then all goes on."""
    monkeypatch.setattr(engine_module, "_STALL_S", 60)
    with gated(queue_images=32, queue_s=60) as (model, service), ExitStack() as stack:
        clients = [stack.enter_context(send(service, plain(red))) for red in range(32)]
        until(lambda: service.engine.load.images == 32)
        before = service.metric("seesame_clip_rejected_total")
        for reply in (
            service.embed(plain(99)),
            service.post("/extract-features/batch", files=files(plain(99), plain(99))),
            service.post("/extract-text-features", json={"texts": ["a"]}),
        ):
            assert_problem(reply, 429, "clip_busy")
            assert int(reply.headers["retry-after"]) >= 1
        assert service.ready() == 200
        assert service.metric("seesame_clip_rejected_total") == before + 3
        assert service.metric("seesame_http_requests_total", route="/extract-features", status="429") == 1
        large = service.post("/extract-features", content=bytes(9_000_000), headers={"Connection": "close"})
        assert_problem(large, 429, "clip_busy")
        assert service.health()["queue"]["images"] == 32
        model.release()
        for client in clients:
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        assert 99 not in model.seen


@pytest.mark.parametrize("path", ["/extract-features", "/extract-features/batch", "/extract-text-features"])
def test_who_leaves_is_not_computed(
    path: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The picture of a client that closed its connection reaches no model, and nobody is alarmed."""
    monkeypatch.setattr(engine_module, "_STALL_S", 60)
    form = PART.replace(b"image", b"images") + plain(77) + b"\r\n--b--\r\n"
    body, kind = {
        "/extract-features": (plain(77), "image/png"),
        "/extract-features/batch": (form, BOUNDARY["Content-Type"]),
        "/extract-text-features": (b'{"texts":["77"]}', "application/json"),
    }[path]
    with gated() as (model, service):
        with send(service, plain(1)) as stays:
            assert model.begun.acquire(timeout=WAIT_S)
            with connect(service.server) as leaves:
                head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n"
                leaves.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
                until(lambda: service.engine.load.images == 2)
            until(lambda: service.engine.load.images == 1)
            until(lambda: service.metric("seesame_clip_abandoned_total") == 1)
            model.release()
            assert stays.recv(65_536).startswith(b"HTTP/1.1 200")
        assert service.embed(plain(5)).status_code == 200
        assert not {77, "77"} & set(model.seen)
    assert [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")] == []


def test_what_was_computed_for_a_batch_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks again after a worker was killed in the middle of a run gets the vectors of that run."""
    monkeypatch.setattr(engine_module, "_STALL_S", 60)
    form = PART.replace(b"image", b"images") + plain(77) + b"\r\n--b--\r\n"
    kind = BOUNDARY["Content-Type"]
    with gated() as (model, service):
        with connect(service.server) as killed:
            head = "POST /extract-features/batch HTTP/1.1\r\nHost: localhost\r\n"
            killed.sendall(f"{head}Content-Type: {kind}\r\nContent-Length: {len(form)}\r\n\r\n".encode() + form)
            assert model.begun.acquire(timeout=WAIT_S)
        until(lambda: service.metric("seesame_clip_abandoned_total") == 1)
        model.release()
        until(lambda: service.engine.load.images == 0)
        again = service.post("/extract-features/batch", files=files(plain(50), plain(77), b"no picture"))
        assert again.json()["results"][1] == {"features": service.embed(plain(77)).json()["features"]}
        assert model.seen.count(77) == 2  # the second time for the single picture, which is never remembered
        assert service.metric("seesame_clip_remembered_total") == 1
        fault = service.post("/extract-features/batch", files=files(b"no picture")).json()["results"][0]
        assert fault["error"]["code"] == "unsupported_format"


def test_a_model_that_is_stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready until it moves again, and then ready by itself; alive all the time."""
    monkeypatch.setattr(engine_module, "_STALL_S", 0.2)
    with gated() as (model, service):
        with send(service, plain(1)) as client:
            until(lambda: service.health()["status"] == "wedged")
            assert service.ready() == 503
            assert_problem(service.get("/health/ready"), 503, "not_ready")
            assert service.health()["ready"] is False
            assert_problem(service.embed(plain(2)), 503, "clip_unavailable")
            assert service.metric("seesame_clip_ready") == 0
            model.release()
            assert client.recv(65_536).startswith(b"HTTP/1.1 200")
        until(lambda: service.ready() == 200)
        assert service.health()["detail"] is None
        assert service.embed(plain(2)).status_code == 200


def test_an_idle_model_that_got_stuck_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a request the service asks itself."""
    monkeypatch.setattr(engine_module, "_STALL_S", 0.2)
    monkeypatch.setattr(engine_module, "_CANARY_S", 0.1)
    with gated() as (model, service):
        until(lambda: service.ready() == 503)
        assert service.health()["status"] == "wedged"
        model.release()
        until(lambda: service.ready() == 200)


def test_pages_that_a_browser_shows_cannot_use_it(service: Service) -> None:
    """Neither from their own name nor from one that was made to point here; with a key the names are its owner's."""
    assert_problem(service.embed(plain(1), Origin="https://evil.example"), 403, "cross_origin")
    assert_problem(service.get("/health", headers={"Host": "evil.example"}), 421, "host_not_allowed")
    assert service.get("/health/ready", headers={"Host": "evil.example"}).status_code == 200
    with serving(MeanColour(), clip_key="k" * 32) as closed:
        named = {"Host": "python-service", "Authorization": f"Bearer {'k' * 32}"}
        assert closed.get("/health", headers=named).status_code == 200


def test_pictures_that_take_long_to_decode_are_no_fault_of_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are at once, others are answered in their turn."""
    monkeypatch.setattr(engine_module, "_STALL_S", 0.3)
    monkeypatch.setattr(engine_module, "_CANARY_S", 0.1)
    slow, pictures = slow_to_decode(), 2 * default_threads()
    with serving(MeanColour()) as service, ThreadPoolExecutor(pictures) as clients:
        replies = [clients.submit(service.embed, slow) for _ in range(pictures)]
        seen = set()
        while not all(reply.done() for reply in replies):
            seen.add(service.health()["status"])
        assert seen == {"ok"}
        assert [reply.result().status_code for reply in replies] == [200] * pictures


@pytest.mark.parametrize("wrong", [[0, 0, 1], [float("nan")] * 3])
def test_a_model_whose_vectors_change_is_not_ready(monkeypatch: pytest.MonkeyPatch, wrong: list[float]) -> None:
    """The same picture must get the same vector; when it does again, the service is ready again."""
    monkeypatch.setattr(engine_module, "_CANARY_S", 0.1)
    model = MeanColour()
    with serving(model) as service:
        honest = model.images
        model.images = lambda tensors, **_: np.array([wrong] * len(tensors), np.float32)  # type: ignore[method-assign]
        until(lambda: service.health()["status"] == "failed")
        assert service.ready() == 503
        assert_problem(service.embed(plain(1)), 503, "clip_unavailable")
        assert service.health()["detail"] == "The same picture got another vector than before."
        model.images = honest  # type: ignore[method-assign]
        until(lambda: service.ready() == 200)


def test_a_model_that_raises_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it raises: the service says that it failed, and not how."""
    monkeypatch.setattr(engine_module, "_CANARY_S", 0.1)
    model = MeanColour()
    with serving(model) as service:
        honest = model.images

        def failing(_: NDArray[np.float32]) -> Vectors:
            raise ValueError("/secret/path")

        model.images = failing  # type: ignore[method-assign, assignment]
        until(lambda: service.health()["status"] == "failed")
        assert "secret" not in service.get("/health").text + service.get("/health/ready").text
        model.images = honest  # type: ignore[method-assign]
        until(lambda: service.ready() == 200)


def test_requests_that_fail_prove_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that fails on all that comes is found out also while requests come all the time."""
    monkeypatch.setattr(engine_module, "_CANARY_S", 0.3)
    model = MeanColour()
    with serving(model) as service:

        def failing(_: NDArray[np.float32]) -> Vectors:
            raise ValueError

        model.images = failing  # type: ignore[method-assign, assignment]
        until(lambda: service.embed(plain(1)).status_code == 503)
        assert service.health()["status"] == "failed"


@pytest.mark.parametrize("fault", ["Too red.", "/secret/path"])
def test_a_picture_that_the_model_fails_on(fault: str) -> None:
    """It gets 500 and a code, its neighbours their vectors, and the service stays ready."""
    model = MeanColour()
    if fault != "Too red.":
        model.fault = ValueError(fault)
    with serving(model) as service:
        assert_problem(service.embed(plain(BAD)), 500, "model_invalid")
        reply = service.post("/extract-features/batch", files=files(plain(1), plain(BAD), plain(2)), headers=BINARY)
        assert json.loads(reply.headers["x-seesame-errors"]) == {"1": "model_invalid"}
        assert np.isnan(rows(reply, 3)).any(axis=1).tolist() == [False, True, False]
        assert service.ready() == 200
        assert service.embed(plain(1)).status_code == 200


def test_single_pictures_overtake_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is sent after a batch is answered before it."""
    monkeypatch.setattr(engine_module, "_STALL_S", 60)
    with gated(queue_s=60) as (model, service), ExitStack() as stack:
        stack.enter_context(send(service, plain(1)))
        assert model.begun.acquire(timeout=WAIT_S)
        form = b"".join(PART.replace(b"image", b"images") + plain(100 + n) + b"\r\n" for n in range(30)) + b"--b--\r\n"
        head = (
            f"POST /extract-features/batch HTTP/1.1\r\nHost: localhost\r\nContent-Type: {BOUNDARY['Content-Type']}\r\n"
        )
        batch = stack.enter_context(connect(service.server))
        batch.sendall(f"{head}Content-Length: {len(form)}\r\n\r\n".encode() + form)
        until(lambda: service.engine.load.images == 31)
        query = stack.enter_context(send(service, plain(7)))
        until(lambda: any(not entry.bulk for entry in service.engine._batcher._ready))
        model.let(2)
        assert query.recv(65_536).startswith(b"HTTP/1.1 200")
        assert len(model.seen) < 20
        model.release()
        assert batch.recv(65_536).startswith(b"HTTP/1.1 200")


# The model's life


def test_before_the_model_is_there() -> None:
    """It starts and says so; features are refused with a time to come again, and come when the model does."""
    model = MeanColour()
    model.held = True
    with serving(model, ready=False) as service:
        assert service.health()["status"] == "starting"
        facts = service.health()
        assert [facts[name] for name in ("space", "digest", "dimensions", "has_text", "download")] == [None] * 5
        assert facts["ready"] is False
        assert facts["queue"]["images"] in (0, 1)
        assert service.ready() == 503
        for reply in (
            service.embed(plain(1)),
            service.post("/extract-features/batch", files=files(plain(1))),
            service.post("/extract-text-features", json={"texts": ["a"]}),
        ):
            assert_problem(reply, 503, "clip_unavailable")
        model.release()
        until(lambda: service.ready() == 200)
        assert service.embed(plain(1)).status_code == 200


def test_a_folder_that_is_no_model(tmp_path: Path) -> None:
    """The service lives, and says why it is not ready, without a path."""
    with serving(ready=False, model=str(tmp_path)) as service:
        until(lambda: service.health()["status"] == "failed")
        assert "onnx/vision_model.onnx" in service.health()["detail"]
        assert_discreet(service.get("/health"))
        assert service.ready() == 503
        assert_problem(service.embed(picture()), 503, "clip_unavailable")


def tiny_clip() -> dict[str, bytes]:
    """The files of the tiny CLIP, as a hub has them."""
    folder = GOLDENS / "immich"
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that has the tiny CLIP."""
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(engine_module, "_RETRY_S", (0.05,))
    with serve_hub(Hub(tiny_clip())) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def of_hub(cache_dir: Path) -> Any:
    """A service of the hub's model, from its first moment on."""
    return serving(ready=False, model=OWNER_NAME, cache_dir=cache_dir)


def test_a_download_is_told(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its progress is in /health while it goes on, and afterwards the model answers."""
    gate, halfway = threading.Event(), threading.Event()
    downloading = engine_module.Engine._downloading

    def told(engine: engine_module.Engine, done: int, total: int) -> None:
        downloading(engine, done, total)
        if 0 < done < total:
            halfway.set()
            assert gate.wait(WAIT_S)

    monkeypatch.setattr(engine_module.Engine, "_downloading", told)
    with of_hub(tmp_path) as service:
        assert halfway.wait(WAIT_S)
        during = service.health()
        assert (during["status"], during["ready"], service.ready()) == ("downloading", False, 503)
        assert 0 < during["download"]["done_bytes"] < during["download"]["total_bytes"]
        assert_problem(service.embed(picture()), 503, "clip_unavailable")
        gate.set()
        until(lambda: service.ready() == 200)
        assert service.health()["download"] is None
        assert service.health()["model"] == OWNER_NAME
        assert service.embed(picture()).status_code == 200


@pytest.mark.parametrize("offline", [False, True])
def test_the_second_start_needs_no_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, offline: bool
) -> None:
    """What is in the cache is used without a question, and gives the same vectors in the same space."""
    with of_hub(tmp_path) as service:
        until(lambda: service.ready() == 200)
        first = service.embed(picture()).json()
    hub.status = 500
    hub.tokens.clear()
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with of_hub(tmp_path) as service:
        until(lambda: service.ready() == 200)
        again = service.embed(picture()).json()
    assert (again["features"], again["space"]) == (first["features"], first["space"])
    assert hub.tokens == []


def test_a_file_that_rotted_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    """One whose content changed, but not its size, is found at the next start."""
    with of_hub(tmp_path) as service:
        until(lambda: service.ready() == 200)
        first = service.embed(picture()).json()
    (graph,) = tmp_path.rglob("visual/model.onnx")
    content = bytearray(graph.read_bytes())
    content[len(content) // 2] ^= 1
    graph.resolve().write_bytes(content)
    hub.got.clear()
    with of_hub(tmp_path) as service:
        until(lambda: service.ready() == 200)
        again = service.embed(picture()).json()
    assert (again["features"], again["space"]) == (first["features"], first["space"])
    assert hub.got == ["visual/model.onnx"]


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_comes_later(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, offline: bool) -> None:
    """Without the model the service says why, tries again by itself and comes up when it can."""
    hub.status = 500
    if offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with of_hub(tmp_path) as service:
        until(lambda: service.health()["status"] == "failed")
        health = service.health()
        assert "Next try in" in health["detail"]
        assert_discreet(service.get("/health"))
        assert_problem(service.embed(picture()), 503, "clip_unavailable")
        hub.status = None
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        until(lambda: service.ready() == 200)
        assert service.health()["detail"] is None


def test_a_model_that_there_is_not(hub: Hub, tmp_path: Path) -> None:
    """A repository that does not exist will not exist in a minute either."""
    with serving(ready=False, model="shop/nothing", cache_dir=tmp_path) as service:
        until(lambda: service.health()["status"] == "failed")
        assert "shop/nothing" in service.health()["detail"]
        assert "Next try" not in service.health()["detail"]


# Its end


def test_a_drain_finishes_what_was_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not ready at once, no new work, and the request that is in flight is answered."""
    monkeypatch.setattr(engine_module, "_STALL_S", 60)
    with gated() as (model, service), send(service, plain(9)) as accepted:
        assert model.begun.acquire(timeout=WAIT_S)
        ending = threading.Thread(target=service.server.stop)
        ending.start()
        until(lambda: service.engine.status == "draining")
        assert_problem(service.get("/health/ready"), 503, "draining")
        assert service.get("/health/live").status_code == 200
        assert (service.health()["status"], service.health()["ready"]) == ("draining", False)
        assert_problem(service.embed(plain(10)), 503, "draining")
        assert ending.is_alive()
        model.release()
        assert accepted.recv(65_536).startswith(b"HTTP/1.1 200")
        ending.join(WAIT_S)
        assert not ending.is_alive()
        assert not any(thread.is_alive() for thread in service.engine._batcher._busy)
        assert 10 not in model.seen


def test_an_end_while_the_model_comes(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A download in progress is given up, and nothing is computed any more."""
    halfway = threading.Event()
    downloading = engine_module.Engine._downloading

    def told(engine: engine_module.Engine, done: int, total: int) -> None:
        if done:
            halfway.set()
            assert engine._stopped.wait(WAIT_S)
        downloading(engine, done, total)

    monkeypatch.setattr(engine_module.Engine, "_downloading", told)
    with of_hub(tmp_path) as service:
        assert halfway.wait(WAIT_S)
        engine = service.engine
    assert not engine._loader.is_alive()
    assert engine.model is None
    assert engine._batcher is None


def environment(**more: str) -> dict[str, str]:
    """A process' surroundings, with nothing that could reach a hub."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1", **more}


def test_importing_the_package_does_nothing() -> None:
    """No settings are read, nothing is built: the application is made when it is asked for."""
    code = (
        "import sys, threading, seesame.clip_service as service\n"
        "assert 'seesame.settings' not in sys.modules and 'onnxruntime' not in sys.modules\n"
        "assert threading.active_count() == 1\n"
        "try: service.other\n"
        "except AttributeError: pass\n"
        "else: sys.exit('other')\n"
        "try: service.app\n"
        "except Exception as error: sys.exit(0 if 'SEESAME_QUEUE_S' in str(error) else str(error))\n"
        "sys.exit('read')"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(SEESAME_QUEUE_S="x"), check=False)
    assert done.returncode == 0


def test_uvicorn_runs_it(tmp_path: Path) -> None:
    """`uvicorn seesame.clip_service:app` answers, and ends in order when it is told to."""
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "seesame.clip_service:app", "--port", str(port), "--no-access-log"]
    settings = environment(SEESAME_MODEL=str(GOLDENS / "transformers_js"), SEESAME_CACHE_DIR=str(tmp_path))
    with (
        subprocess.Popen(command, env=settings, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S) as client,
    ):
        try:

            def ready() -> bool:
                assert process.poll() is None
                try:
                    return client.get("/health/ready").status_code == 200
                except httpx2.TransportError:
                    return False

            until(ready)
            reply = client.post("/extract-features", content=picture())
            assert (reply.status_code, reply.json()["model"]) == (200, "transformers_js")
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    # Once it has ended, uvicorn sends itself the signal that it had caught.
    assert process.returncode in (0, -signal.SIGTERM)
    assert "Finished server process" in told
    assert "Traceback" not in told


def test_others_are_let_in_with_a_key_or_in_so_many_words(tmp_path: Path) -> None:
    """Without either it does not start, and says what would mend that."""
    command = [sys.executable, "-m", "seesame", "clip", "--host", "0.0.0.0", "--port", "0"]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "SEESAME_CLIP_KEY" in done.stderr
    assert "SEESAME_WITHOUT_KEY" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="reads the limits of another process")
def test_it_takes_as_many_connections_as_it_may(tmp_path: Path) -> None:
    """Not only those that a shell or systemd begins with."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    command = ["sh", "-c", 'ulimit -Sn 100; exec "$0" -m seesame clip --port 0', sys.executable]
    settings = environment(SEESAME_MODEL=str(GOLDENS / "immich"), SEESAME_CACHE_DIR=str(tmp_path))
    with subprocess.Popen(command, env=settings, cwd=tmp_path, stderr=subprocess.DEVNULL) as process:
        try:
            until(lambda: resource.prlimit(process.pid, resource.RLIMIT_NOFILE)[0] == min(most, 65_536))
        finally:
            process.kill()


def test_a_signal_during_the_start_ends_it(tmp_path: Path) -> None:
    """While the model is being loaded, too, and without a word of alarm."""
    command = [sys.executable, "-m", "seesame", "clip", "--port", "0"]
    settings = environment(SEESAME_MODEL=str(GOLDENS / "immich"), SEESAME_CACHE_DIR=str(tmp_path))
    with subprocess.Popen(command, env=settings, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            assert any("is up" in line for line in process.stderr)
            process.send_signal(signal.SIGTERM)
            _, told = process.communicate(timeout=WAIT_S)
        finally:
            process.kill()
    assert process.returncode in (0, 128 + signal.SIGTERM)  # the latter until the server waits for the signal
    assert "Traceback" not in told
