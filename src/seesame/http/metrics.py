"""Requests as Prometheus counts them and the log tells them, and the reply that tells all metrics of a process."""

import logging
import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame import __version__
from seesame.decoding.pool import DecoderPool
from seesame.http.probes import HEALTH
from seesame.images import Decoder

_log = logging.getLogger(__name__)

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class RequestMetrics:
    """Counts requests and their time by route and status, and writes a line of each into the log.

    Lines of health checks, static files and the like are for `LOG_LEVEL=debug` alone. None has the path as it was
    sent, a query or a header: they may hold what is nobody else's business.
    """

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self._app = app
        self._requests = Counter(
            "seesame_http_requests", "Requests answered.", ["method", "route", "status"], registry=registry
        )
        self._seconds = Histogram(
            "seesame_http_request_seconds",
            "Time from a request's headers to the end of its reply.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._uploads = Histogram(
            "seesame_http_upload_seconds",
            "Time that the body of a request took to arrive.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "seesame_http_requests_in_flight", "Requests that are being answered.", registry=registry
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status, request_id = 500, None
        has_body, arrived = False, started

        async def watched(message: Message) -> None:
            nonlocal status, request_id
            if message["type"] == "http.response.start":
                status = message["status"]
                request_id = Headers(raw=message["headers"]).get("x-request-id")
            await send(message)

        async def arriving() -> Message:
            nonlocal has_body, arrived
            message = await receive()
            if message["type"] == "http.request":
                has_body |= bool(message.get("body"))
                arrived = time.perf_counter()
            return message

        self._in_flight.inc()
        try:
            await self._app(scope, arriving, watched)
        finally:
            self._in_flight.dec()
            # The route's template, not the path: ids would make a series each.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" else "none"
            seconds = time.perf_counter() - started
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(route).observe(seconds)
            if has_body:
                self._uploads.labels(route).observe(arrived - started)
            quiet = route in HEALTH or (route == "none" and status < 400)
            fields = {"method": method, "route": route, "status": status, "took_ms": round(seconds * 1000, 1)}
            _log.log(
                logging.DEBUG if quiet else logging.INFO,
                "%s %s %d in %.0f ms",
                method,
                route,
                status,
                seconds * 1000,
                extra=fields if request_id is None else fields | {"request_id": request_id},
            )


def process_registry() -> CollectorRegistry:
    """A registry with what every process tells: its memory, time and open files, and which release it is."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    release = Gauge("seesame_build_info", "1; the release is in the label.", ["version"], registry=registry)
    release.labels(__version__).set(1)
    return registry


class DecoderReadings:
    """What a pool of decoding processes counts, read when asked; nothing where there is none."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def describe(self) -> Iterable[Metric]:
        """All that there may be."""
        return _decoder_families()

    def collect(self) -> Iterable[Metric]:
        """The readings of this moment."""
        if not isinstance(self._decoder, DecoderPool):
            return
        counts = self._decoder.counts
        ends, pictures, busy = _decoder_families()
        ends.add_metric(["died"], counts.died)
        ends.add_metric(["timed_out"], counts.timed_out)
        pictures.add_metric([], counts.decoded)
        busy.add_metric([], counts.busy)
        yield from (ends, pictures, busy)


def _decoder_families() -> tuple[CounterMetricFamily, CounterMetricFamily, GaugeMetricFamily]:
    return (
        CounterMetricFamily("seesame_decoder_ends", "Decoding processes that a picture cost.", labels=["reason"]),
        CounterMetricFamily("seesame_decoder_pictures", "Pictures that were decoded.", labels=[]),
        GaugeMetricFamily("seesame_decoder_busy", "Decoding processes at work.", labels=[]),
    )


def exposition(registry: CollectorRegistry) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
