"""What the API and the worker tell Prometheus."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from seesame.answers import Answer
from seesame.cache import CacheCounts
from seesame.errors import DatabaseError
from seesame.importing import Summary
from seesame.indexing import Indexer, Progress
from seesame.types import Space

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SHARES = (0.5, 0.6, 0.7, 0.8, 0.9, 1)


class ShopMetrics:
    """The metrics of one process, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._searches = Counter(
            "seesame_searches", "Searches answered.", ["method", "degraded_reason"], registry=self.registry
        )
        self._seconds = Histogram(
            "seesame_search_seconds",
            "Time of a search inside the process, by what took it.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._indexed = Counter(
            "seesame_indexed_images", "Images embedded for the index.", ["space", "outcome"], registry=self.registry
        )

        self._imported = Counter(
            "seesame_imported_records", "Records of files that were sent.", ["outcome"], registry=self.registry
        )
        self._refusals = Counter("seesame_refusals", "Requests not let in, by why.", ["code"], registry=self.registry)
        self._recall = Histogram(
            "seesame_recall",
            "Share of the ten nearest images that the index found, of live queries that were sampled.",
            ["space"],
            buckets=_SHARES,
            registry=self.registry,
        )

    def refused(self, code: str) -> None:
        """Counts a request that was not let in."""
        self._refusals.labels(code).inc()

    def recalled(self, space: Space, share: float) -> None:
        """Counts a query whose recall was measured."""
        self._recall.labels(space.key).observe(share)

    def answered(self, answer: Answer) -> None:
        """Counts a search."""
        self._searches.labels(answer.page.method, answer.degraded_reason or "none").inc()
        self._seconds.labels("embedding").observe(answer.embedding_ms / 1000)
        self._seconds.labels("total").observe(answer.took_ms / 1000)

    def indexed(self, batch: Progress) -> None:
        """Counts a batch."""
        self._indexed.labels(batch.space, "done").inc(batch.done)
        self._indexed.labels(batch.space, "failed").inc(batch.failed)

    def imported(self, batch: Summary) -> None:
        """Counts a batch of a file that was sent."""
        self._imported.labels("done").inc(batch.records - batch.failed)
        self._imported.labels("failed").inc(batch.failed)

    def watch(self, cache: Callable[[], CacheCounts], clip_available: Callable[[], bool], indexer: Indexer) -> None:
        """Reads what is counted elsewhere whenever it is asked for the metrics."""
        self.registry.register(_Readings(cache, clip_available, indexer))


class _Readings:
    """Counted elsewhere, read when asked."""

    def __init__(self, cache: Callable[[], CacheCounts], clip_available: Callable[[], bool], indexer: Indexer) -> None:
        self._cache = cache
        self._clip_available = clip_available
        self._indexer = indexer

    def describe(self) -> Iterable[Metric]:
        """Nothing: to name them is not worth a look at the database when the process starts."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """The readings of this moment; what waits for its vector is left out while the database is away."""
        counts = self._cache()
        lookups = CounterMetricFamily("seesame_cache_lookups", "Query vectors looked up.", labels=["outcome"])
        lookups.add_metric(["local"], counts.hits_local)
        lookups.add_metric(["redis"], counts.hits_redis)
        lookups.add_metric(["miss"], counts.misses)
        yield lookups
        yield CounterMetricFamily("seesame_redis_faults", "Times that Redis was given up.", value=counts.redis_errors)
        available = float(self._clip_available())
        yield GaugeMetricFamily("seesame_clip_available", "1 while CLIP can be asked for vectors.", value=available)
        try:
            pending = self._indexer.pending()
        except DatabaseError:
            return
        waiting = GaugeMetricFamily("seesame_pending_images", "Images that wait for their vector.", labels=["space"])
        for space, count in pending.items():
            waiting.add_metric([space], count)
        yield waiting
