"""Traces for OpenTelemetry: none, at no cost, unless the variables `OTEL_*` ask for them.

The spans of stages are told when these have ended, by what counts them for Prometheus as well: so there is one place
for both, and no span in the services. They hold routes, codes and counts; no URL, header, picture, word or id of a
product.
"""

import logging
import os
import time
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame import __version__
from seesame.http.probes import HEALTH

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_log = logging.getLogger(__name__)

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def open_tracing(service: str) -> "Tracing | None":
    """Begins to send traces if the environment names where to; None where it does not, or the extra is missing.

    `service` is its name in them, unless `OTEL_SERVICE_NAME` has another.
    """
    if not any(map(os.environ.get, _ENDPOINTS)) or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("OTEL_* asks for traces, but what sends them is not here: install seesame with its extra `otel`")
        return None
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracing(provider)


class Tracing:
    """The spans of one process. Close it, so that the last are sent."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("seesame", __version__)

    def close(self) -> None:
        """Sends what is left."""
        self._provider.shutdown()

    def ended(self, name: str, seconds: float, *, ago_s: float = 0.0, **attributes: str | int) -> None:
        """A span of a stage that ended just now, or so long ago, in the request that this thread answers."""
        end = time.time_ns() - round(ago_s * 1e9)
        self._tracer.start_span(name, attributes=attributes, start_time=end - round(seconds * 1e9)).end(end)

    def headers(self) -> dict[str, str]:
        """What goes along to another process, so that its spans belong to the same trace."""
        from opentelemetry.propagate import inject

        carried: dict[str, str] = {}
        inject(carried)
        return carried

    def requests(self, app: ASGIApp) -> ASGIApp:
        """The application with a span of each request, of the trace that its headers name."""
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, Status, StatusCode

        async def traced(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["path"] in HEALTH:
                await app(scope, receive, send)
                return
            status = 500

            async def watched(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = message["status"]
                await send(message)

            parent = extract(dict(Headers(scope=scope)))
            with self._tracer.start_as_current_span(
                scope["method"], parent, kind=SpanKind.SERVER, record_exception=False
            ) as span:
                try:
                    await app(scope, receive, watched)
                finally:
                    route = getattr(scope.get("route"), "path", "none")
                    span.update_name(f"{scope['method']} {route}")
                    span.set_attribute("http.request.method", scope["method"])
                    span.set_attribute("http.route", route)
                    span.set_attribute("http.response.status_code", status)
                    if status >= 500:
                        span.set_status(Status(StatusCode.ERROR))

        return traced
