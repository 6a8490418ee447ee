"""Traces, as a collector of OpenTelemetry gets them."""

import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from seesame.application import open_application
from seesame.settings import Settings
from seesame.tracing import open_tracing
from tests.conftest import picture, served
from tests.integration.test_clip_service import serving
from tests.models import until

_TRACE, _PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
_Spans = list[tuple[str, Span]]  # with the name of the service


@contextmanager
def _collector(spans: _Spans) -> Iterator[str]:
    """A collector; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                (name,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
                spans.extend((name, span) for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def test_nothing_is_traced_unless_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor where it says that it does not want it."""
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    assert open_tracing("seesame") is None
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_tracing("seesame") is None


def test_a_search_is_one_trace_through_both_processes(
    settings: Settings, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's, with each stage, and with nothing in it that is nobody else's business."""
    spans: _Spans = []
    with _collector(spans) as url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
        with serving(cache_dir=cache_dir) as clip:
            asking = settings.model_copy(update={"clip_url": clip.server.url})
            with open_application(asking) as application, served(application) as client:
                until(lambda: client.get("/health").json()["status"] == "ok")
                reply = client.post(
                    "/v1/search/image?key=s3cret",
                    files={"image": picture("teal")},
                    headers={"traceparent": f"00-{_TRACE}-{_PARENT}-01", "Authorization": "Bearer s3cret"},
                )
                assert reply.json()["degraded"] is False
    mine = {(service, span.name): span for service, span in spans if span.trace_id.hex() == _TRACE}
    request = mine["seesame", "POST /v1/search/image"]
    assert request.parent_span_id.hex() == _PARENT
    of_shop = {("seesame", name) for name in ("clip", "embedding", "ranking")}
    assert mine.keys() == {*of_shop, ("seesame", request.name), ("seesame-clip", "POST /extract-features")}
    for key, span in mine.items():
        if span is not request:
            assert span.parent_span_id == request.span_id, key
        assert request.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert {a.key: a.value.int_value for a in request.attributes}["http.response.status_code"] == 200
    assert "s3cret" not in str(spans)
    assert not any("/health" in span.name for _, span in spans)
