"""Requests as Prometheus counts them, and the reply that tells all metrics of a process."""

import time
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from seesame.decoding.pool import DecoderPool
from seesame.images import Decoder

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class RequestMetrics:
    """Counts requests and their time by route and status."""

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            # The route's template, not the path: ids would make a series each.
            route = getattr(scope.get("route"), "path", "none")
            method = scope["method"] if route != "none" else "none"
            self._requests.labels(method, route, str(status)).inc()
            self._seconds.labels(route).observe(time.perf_counter() - started)


class DecoderReadings:
    """What a pool of decoding processes counts, read when asked; nothing where there is none."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder

    def describe(self) -> Iterable[Metric]:
        """Nothing that needs to be known before."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The readings of this moment."""
        if not isinstance(self._decoder, DecoderPool):
            return
        counts = self._decoder.counts
        ends = CounterMetricFamily("seesame_decoder_ends", "Decoding processes that a picture cost.", labels=["reason"])
        ends.add_metric(["died"], counts.died)
        ends.add_metric(["timed_out"], counts.timed_out)
        yield ends
        yield CounterMetricFamily("seesame_decoder_pictures", "Pictures that were decoded.", value=counts.decoded)
        yield GaugeMetricFamily("seesame_decoder_busy", "Decoding processes at work.", value=counts.busy)


def exposition(registry: CollectorRegistry) -> Response:
    """All metrics in Prometheus' text format."""
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})
