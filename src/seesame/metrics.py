"""What the API and the worker tell Prometheus."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from prometheus_client import Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from seesame.answers import Answer
from seesame.cache import VectorCache
from seesame.db.pool import PoolCounts
from seesame.embedding.remote import ClipService
from seesame.http.metrics import process_registry
from seesame.importing import Summary
from seesame.indexing import Batch
from seesame.parts import Health
from seesame.tracing import Tracing
from seesame.types import Space

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_LONG_SECONDS = (0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60)
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1)


class ShopMetrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        """`tracing` gets a span of each stage that belongs to a request or a batch."""
        self._tracing = tracing
        self.registry = process_registry()
        self._searches = Counter(
            "seesame_searches", "Searches answered.", ["method", "degraded_reason"], registry=self.registry
        )
        self._seconds = Histogram(
            "seesame_search_seconds",
            "Time of a search inside the process: until its vector is there (embedding), and in all (total).",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._ranking = Histogram(
            "seesame_search_ranking_seconds",
            "Time from a search's vector to its products: what the database takes.",
            ["method"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._recall = Histogram(
            "seesame_recall",
            "Share of the ten nearest images that the index found, of live queries that were sampled.",
            ["space"],
            buckets=_SHARES,
            registry=self.registry,
        )
        self._clip = Histogram(
            "seesame_clip_request_seconds",
            "Time of requests to the CLIP service: for a query or of the backfill (bulk), and what came of them.",
            ["kind", "outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._embedder = Histogram(
            "seesame_embedder_stage_seconds",
            "Time a picture or text spent in a stage of the models of this process; inference is counted once a batch.",
            ["model", "stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._fetch = Histogram(
            "seesame_fetch_seconds",
            "Time of fetching pictures from URLs, and what came of it.",
            ["outcome"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._indexed = Counter(
            "seesame_indexed_images", "Images embedded for the index.", ["space", "outcome"], registry=self.registry
        )
        self._failures = Counter(
            "seesame_indexing_failures",
            "Images that got no vector in a try, by the code of the reason.",
            ["code"],
            registry=self.registry,
        )
        self._indexing = Histogram(
            "seesame_indexing_batch_seconds",
            "Time of a batch of the index: in the embedder (embedding), and from the claim to the end (total).",
            ["stage"],
            buckets=_LONG_SECONDS,
            registry=self.registry,
        )
        self._imported = Counter(
            "seesame_imported_records", "Records of files that were sent.", ["outcome"], registry=self.registry
        )
        self._importing = Histogram(
            "seesame_import_batch_seconds",
            "Time of a batch of an import: reading or fetching pictures, storing them, writing rows.",
            ["stage"],
            buckets=_LONG_SECONDS,
            registry=self.registry,
        )

    def recalled(self, space: Space, share: float) -> None:
        """Counts a query whose recall was measured."""
        self._recall.labels(space.key).observe(share)

    def answered(self, answer: Answer) -> None:
        """Counts a search."""
        method = answer.page.method
        self._searches.labels(method, answer.degraded_reason or "none").inc()
        self._seconds.labels("embedding").observe(answer.embedding_ms / 1000)
        self._seconds.labels("total").observe(answer.took_ms / 1000)
        ranking_s = (answer.took_ms - answer.embedding_ms) / 1000
        self._ranking.labels(method).observe(ranking_s)
        if self._tracing is not None:
            self._tracing.ended("embedding", answer.embedding_ms / 1000, ago_s=ranking_s, space=answer.space)
            self._tracing.ended("ranking", ranking_s, method=method, results=len(answer.page.hits))

    def clip_asked(self, kind: str, outcome: str, seconds: float) -> None:
        """Counts a request to the CLIP service."""
        self._clip.labels(kind, outcome).observe(seconds)
        if self._tracing is not None:
            self._tracing.ended("clip", seconds, kind=kind, outcome=outcome)

    def fallback_stage(self, stage: str, seconds: float) -> None:
        """Counts the time of a stage of the fallback model."""
        self._embedder.labels("fallback", stage).observe(seconds)

    def clip_stage(self, stage: str, seconds: float) -> None:
        """Counts the time of a stage of the CLIP models of this process."""
        self._embedder.labels("clip", stage).observe(seconds)

    def fetched(self, outcome: str, seconds: float) -> None:
        """Counts a picture that was fetched, or was not."""
        self._fetch.labels(outcome).observe(seconds)
        if self._tracing is not None:
            self._tracing.ended("fetch", seconds, outcome=outcome)

    def indexed(self, batch: Batch) -> None:
        """Counts a batch."""
        self._indexed.labels(batch.space, "done").inc(batch.done)
        self._indexed.labels(batch.space, "failed").inc(len(batch.failed))
        for code in batch.failed:
            self._failures.labels(code).inc()
        self._indexing.labels("embedding").observe(batch.embedding_s)
        self._indexing.labels("total").observe(batch.took_s)
        if self._tracing is not None:
            self._tracing.ended(
                "index batch", batch.took_s, space=batch.space, done=batch.done, failed=len(batch.failed)
            )

    def imported(self, batch: Summary) -> None:
        """Counts a batch of a file that was sent."""
        self._imported.labels("done").inc(batch.records - batch.failed)
        self._imported.labels("failed").inc(batch.failed)

    def import_stage(self, stage: str, seconds: float) -> None:
        """Counts the time of a stage of a batch."""
        self._importing.labels(stage).observe(seconds)

    def watch(
        self,
        *,
        cache: VectorCache,
        clip_available: Callable[[], bool],
        pool: Callable[[], PoolCounts],
        services: Mapping[str, ClipService],
        health: Health,
    ) -> None:
        """Reads what is counted elsewhere whenever it is asked for the metrics; asks the database nothing."""

        def read() -> dict[str, list[_Sample]]:
            return {
                **_cache_samples(cache),
                "seesame_clip_available": [((), clip_available())],
                "seesame_clip_breaker": [
                    ((str(number), state), service.breaker == state)
                    for number, service in enumerate(services.values(), 1)
                    for state in ("closed", "half_open", "open")
                ],
                **_pool_samples(pool()),
                **_health_samples(health),
            }

        self.registry.register(Readings(read))


class _Reading(NamedTuple):
    """How what is counted elsewhere is told."""

    kind: type[CounterMetricFamily | GaugeMetricFamily]
    help: str
    labels: tuple[str, ...] = ()


_Sample = tuple[tuple[str, ...], float]  # of labels and value

_READINGS = {
    "seesame_cache_lookups": _Reading(CounterMetricFamily, "Query vectors looked up.", ("outcome",)),
    "seesame_redis_faults": _Reading(CounterMetricFamily, "Times that Redis was given up."),
    "seesame_redis_available": _Reading(
        GaugeMetricFamily, "1 while Redis answers. Absent where there is none in the settings."
    ),
    "seesame_clip_available": _Reading(GaugeMetricFamily, "1 while CLIP can be asked for vectors."),
    "seesame_clip_breaker": _Reading(
        GaugeMetricFamily,
        "1 for the state of the circuit breaker of each CLIP service, numbered as in the settings.",
        ("service", "state"),
    ),
    "seesame_database_connections": _Reading(GaugeMetricFamily, "Connections of the pool, idle or in use.", ("state",)),
    "seesame_database_waiting": _Reading(GaugeMetricFamily, "Requests that wait for a connection."),
    "seesame_database_requests": _Reading(CounterMetricFamily, "Times that a connection was asked for."),
    "seesame_database_wait_seconds": _Reading(CounterMetricFamily, "Time spent waiting for connections."),
    "seesame_database_lost_connections": _Reading(CounterMetricFamily, "Connections that were found dead."),
    "seesame_part_ok": _Reading(
        GaugeMetricFamily, "1 while /health says that a part is ok. Absent where the part is not used.", ("part",)
    ),
    "seesame_disk_free_bytes": _Reading(GaugeMetricFamily, "Room where pictures are stored."),
    "seesame_pending_images": _Reading(GaugeMetricFamily, "Images that wait for their vector.", ("space",)),
    "seesame_import_jobs": _Reading(GaugeMetricFamily, "Imports of the last 14 days.", ("status",)),
    "seesame_duplicates_timestamp_seconds": _Reading(
        GaugeMetricFamily, "When duplicates were last looked for, to the end. Absent where never."
    ),
}


class Readings:
    """Counted elsewhere, read when asked. What is not known, as while the database is away, is left out."""

    def __init__(self, read: Callable[[], dict[str, list[_Sample]]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """All that there may be."""
        return [reading.kind(name, reading.help, labels=reading.labels) for name, reading in _READINGS.items()]

    def collect(self) -> Iterable[Metric]:
        """The readings of this moment."""
        for name, samples in self._read().items():
            reading = _READINGS[name]
            family = reading.kind(name, reading.help, labels=reading.labels)
            for labels, value in samples:
                family.add_metric(labels, value)
            yield family


def _cache_samples(cache: VectorCache) -> dict[str, list[_Sample]]:
    counts, works = cache.counts, cache.redis_works
    return {
        "seesame_cache_lookups": [
            (("local",), counts.hits_local),
            (("redis",), counts.hits_redis),
            (("miss",), counts.misses),
        ],
        "seesame_redis_faults": [((), counts.redis_errors)],
        "seesame_redis_available": [] if works is None else [((), works)],
    }


def _pool_samples(pool: PoolCounts) -> dict[str, list[_Sample]]:
    return {
        "seesame_database_connections": [(("idle",), pool.idle), (("used",), pool.size - pool.idle)],
        "seesame_database_waiting": [((), pool.waiting)],
        "seesame_database_requests": [((), pool.requests)],
        "seesame_database_wait_seconds": [((), pool.wait_s)],
        "seesame_database_lost_connections": [((), pool.lost)],
    }


def _health_samples(health: Health) -> dict[str, list[_Sample]]:
    report = health.latest
    samples: dict[str, list[_Sample]] = {
        "seesame_part_ok": [
            ((name,), part.status == "ok") for name, part in report.parts.items() if part.status != "unused"
        ],
        "seesame_disk_free_bytes": [((), report.free_bytes)],
    }
    backlog = report.backlog
    if backlog is None:
        return samples
    found = backlog.duplicates_at
    return samples | {
        "seesame_pending_images": [((space,), count) for space, count in backlog.pending.items()],
        "seesame_import_jobs": [((status,), count) for status, count in backlog.jobs.items()],
        "seesame_duplicates_timestamp_seconds": [] if found is None else [((), found.timestamp())],
    }
