"""What the CLIP service tells Prometheus."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from seesame.embedding.batcher import Load, Stage
from seesame.types import SpaceIdentity

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_SIZES = (1, 2, 4, 8, 12, 16, 24, 32)


class ClipMetrics:
    """The metrics of one service, in a registry of its own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._stages = Histogram(
            "seesame_clip_stage_seconds",
            "Time a picture or text spent in a stage; inference is counted once a batch.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batches = Histogram(
            "seesame_clip_batch_size", "Pictures or texts computed in one run.", buckets=_SIZES, registry=registry
        )
        self._rejected = Counter(
            "seesame_clip_rejected", "Requests refused because the queue was full.", registry=registry
        )
        self._abandoned = Counter(
            "seesame_clip_abandoned", "Requests whose client left before the answer.", registry=registry
        )
        self._remembered = Counter(
            "seesame_clip_remembered",
            "Pictures of batches that had been computed shortly before, and were not again.",
            registry=registry,
        )
        self._images = Gauge("seesame_clip_queue_images", "Accepted and not yet answered.", registry=registry)
        self._bytes = Gauge("seesame_clip_queue_bytes", "Bytes of what is in the queue.", registry=registry)
        self._ready = Gauge("seesame_clip_ready", "1 while inferences succeed.", registry=registry)
        self._model = Gauge(
            "seesame_clip_model_info",
            "The model that is loaded, in the labels.",
            ["model", "space", "dimensions", "precision"],
            registry=registry,
        )

    def watch(self, load: Callable[[], Load], ready: Callable[[], bool]) -> None:
        """Reads the queue and the readiness whenever it is asked for the metrics."""
        self._images.set_function(lambda: load().images)
        self._bytes.set_function(lambda: load().bytes)
        self._ready.set_function(ready)

    def loaded(self, identity: SpaceIdentity, precision: str) -> None:
        """Tells which model is loaded."""
        self._model.labels(identity.model, identity.key, str(identity.dimensions), precision).set(1)

    def stage(self, stage: Stage, seconds: float) -> None:
        """Counts the time of a stage."""
        self._stages.labels(stage).observe(seconds)

    def remembered(self, count: int) -> None:
        """Counts pictures that were not computed again."""
        self._remembered.inc(count)

    def batch(self, size: int) -> None:
        """Counts a run."""
        self._batches.observe(size)

    def rejected(self) -> None:
        """Counts a refusal."""
        self._rejected.inc()

    def abandoned(self) -> None:
        """Counts a client that left."""
        self._abandoned.inc()
