"""Query vectors that were computed before: in this process and, with Redis, shared between processes."""

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from seesame.embedding.breaker import Breaker
from seesame.types import SpaceIdentity, Vector

if TYPE_CHECKING:
    from redis import Redis

WAIT_S = 0.05  # all that Redis may cost a request
MAX_WAITING = 256  # commands for the one connection
MAX_WAITING_PUTS = 64  # few enough not to make a get late
ENTRY_OVERHEAD = 512  # bytes that a vector in this process costs beside its numbers
UNIT_TOLERANCE = 1e-3

_log = logging.getLogger(__name__)
_Key = tuple[SpaceIdentity, bytes]
_Job = tuple[Future[object], Callable[[], object], int]  # and the breaker's period


def photo_digest(photo: bytes) -> bytes:
    """The content digest of an encoded photo."""
    return hashlib.sha256(photo).digest()


def text_digest(text: str) -> bytes:
    """The content digest of a text; longer than that of a photo, so that no upload can pass for a text."""
    return b"text" + hashlib.sha256(text.encode(errors="surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What happened so far. `redis_errors` counts one fault for each time that Redis was left alone."""

    hits_local: int
    hits_redis: int
    misses: int
    redis_errors: int


class VectorCache:
    """Unit vectors by space and content, shared through Redis where there is one. Safe to call from several threads.

    Whatever happens to Redis, nothing is raised and a get takes at most about 50 ms; after a fault Redis is left alone
    for a second, and for up to 30 while the fault lasts.

    One daemon thread does all that concerns Redis, over one connection, and a get waits for it by the clock. Timeouts
    of sockets promise less: they do not cover the lookup of a host's name, and start anew with every address, login
    and piece of a reply.

    `max_bytes` bounds what this process keeps, where the least recently used vectors go first; in Redis a vector stays
    for `ttl_s`. Raises ValueError for a `redis_url` that is none (`redis://`, `rediss://` and `unix://` are).
    """

    def __init__(self, *, redis_url: str | None = None, max_bytes: int = 32 * 2**20, ttl_s: int = 86_400) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._lock = threading.Lock()
        self._vectors: OrderedDict[_Key, Vector] = OrderedDict()
        self._bytes = 0
        self._hits_local = self._hits_redis = self._misses = self._redis_errors = 0
        self._breaker = Breaker(failures=1, pause_s=1, max_pause_s=30)
        self._write_breaker = Breaker(failures=1, pause_s=1, max_pause_s=30)  # a full Redis still answers reads
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._redis: Redis | None = None
        if redis_url is not None:
            self._redis = redis = redis_at(redis_url)
            self._worker = threading.Thread(target=self._work, args=(redis,), name="vector-cache", daemon=True)
            self._worker.start()
            if (period := self._breaker.admit(time.monotonic())) is not None:  # as a new one always does
                self._submit(redis.ping, period)  # connects before a request has to wait for it

    def close(self) -> None:
        """Leaves Redis, after the puts under way if it is quick. What this process keeps can still be got."""
        with self._lock:
            redis, self._redis = self._redis, None
        if redis is not None:
            self._jobs.put(None)
            self._worker.join(timeout=1)

    @property
    def counts(self) -> CacheCounts:
        """Hits, misses and faults so far."""
        with self._lock:
            return CacheCounts(self._hits_local, self._hits_redis, self._misses, self._redis_errors)

    @property
    def redis_works(self) -> bool | None:
        """Whether the last that asked Redis were answered; None where there is none."""
        if self._redis is None:
            return None
        now = time.monotonic()
        return all(breaker.state(now) == "closed" for breaker in (self._breaker, self._write_breaker))

    def get(self, identity: SpaceIdentity, content_digest: bytes) -> Vector | None:
        """The vector of a content in a space, read-only; None where it is unknown, or Redis cannot say in time."""
        key = (identity, content_digest)
        with self._lock:
            if (vector := self._vectors.get(key)) is not None:
                self._vectors.move_to_end(key)
                self._hits_local += 1
                return vector
        vector = _checked(self._fetch(key), identity)
        with self._lock:
            if vector is None:
                self._misses += 1
            else:
                self._hits_redis += 1
                self._keep(key, vector)
        return vector

    def put(self, identity: SpaceIdentity, content_digest: bytes, vector: Vector) -> None:
        """Keeps a copy of a vector, and sends it to Redis in time. One that is wrong for the space is not kept."""
        data = np.asarray(vector, "<f4").tobytes()
        copy = _checked(data, identity)
        if copy is None:
            return
        key = (identity, content_digest)
        with self._lock:
            self._keep(key, copy)
        now = time.monotonic()
        # Gets alone find out whether Redis is back: a put may be dropped, and nobody would report.
        if (redis := self._redis) is None or self._breaker.state(now) != "closed":
            return
        period, write_period = self._breaker.admit(now), self._write_breaker.admit(now)
        if period is not None and write_period is not None and self._jobs.qsize() < MAX_WAITING_PUTS:
            self._submit(lambda: self._store(redis, key, data, write_period), period)

    def _keep(self, key: _Key, vector: Vector) -> None:
        if (old := self._vectors.pop(key, None)) is not None:
            self._bytes -= old.nbytes + ENTRY_OVERHEAD
        self._vectors[key] = vector
        self._bytes += vector.nbytes + ENTRY_OVERHEAD
        while self._bytes > self._max_bytes:
            self._bytes -= self._vectors.popitem(last=False)[1].nbytes + ENTRY_OVERHEAD

    def _fetch(self, key: _Key) -> object:
        """What Redis holds under the key; None where that is nothing, or Redis cannot say in time."""
        redis = self._redis
        if redis is None or (period := self._breaker.admit(time.monotonic())) is None:
            return None
        # MGET because GET is an error where the value is no string.
        future = self._submit(lambda: redis.mget([_redis_key(key)]), period)
        try:
            reply = future.result(timeout=WAIT_S)
        except TimeoutError as error:
            self._failed(self._breaker, period, error)
            return None
        return reply[0] if isinstance(reply, list) else None

    def _store(self, redis: "Redis", key: _Key, data: bytes, period: int) -> None:
        from redis.exceptions import ResponseError

        try:
            redis.set(_redis_key(key), data, ex=self._ttl_s)
        except ResponseError as error:
            self._failed(self._write_breaker, period, error)
        else:
            self._succeeded(self._write_breaker, period)

    def _submit(self, job: Callable[[], object], period: int) -> Future[object]:
        future: Future[object] = Future()
        if self._jobs.qsize() < MAX_WAITING:
            self._jobs.put((future, job, period))
        else:
            future.set_exception(TimeoutError())
        return future

    def _work(self, redis: "Redis") -> None:
        """Does the jobs in order; those that were queued before a fault are dropped."""
        while (item := self._jobs.get()) is not None:
            future, job, period = item
            result = None
            if self._breaker.state(time.monotonic()) != "open":
                try:
                    result = job()
                except Exception as error:  # noqa: BLE001  # the thread must live, whatever a stranger's bytes raise
                    self._failed(self._breaker, period, error)
                else:
                    self._succeeded(self._breaker, period)
            future.set_result(result)
        redis.close()

    def _failed(self, breaker: Breaker, period: int, error: Exception) -> None:
        with self._lock:  # so that one of several threads sees the change
            now = time.monotonic()
            before = breaker.state(now)
            breaker.failed(period, now)
            opened = before != "open" and breaker.state(now) == "open"
            self._redis_errors += opened
        if opened and before == "closed":  # the error's name alone: its text may quote the password
            _log.warning(
                "⚠️ %s does not work, vectors stay in this process: %s", self._name(breaker), type(error).__name__
            )

    def _succeeded(self, breaker: Breaker, period: int) -> None:
        with self._lock:
            before = breaker.state(time.monotonic())
            breaker.succeeded(period)
            closed = before != "closed" and breaker.state(time.monotonic()) == "closed"
        if closed:
            _log.info("✅ %s works again", self._name(breaker))

    def _name(self, breaker: Breaker) -> str:
        return "Redis" if breaker is self._breaker else "Writing to Redis"


def redis_at(url: str) -> "Redis":
    """A client whose every step ends in time, not connected yet. Raises ValueError for a URL that is none."""
    from redis import Redis  # takes 0.1 s, and most shops have none
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError
    from redis.retry import Retry

    try:
        client = Redis.from_url(
            url,
            protocol=2,  # version 3 costs a round trip more to connect
            socket_timeout=WAIT_S,
            socket_connect_timeout=WAIT_S,
            retry=Retry(NoBackoff(), 0),
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # looks at the URL's options, which else waits until connecting
    except (ValueError, TypeError, RedisError):
        # Their texts may quote the password.
        raise ValueError("not a URL of a Redis, such as redis://:password@host:6379/0") from None
    return client


def _redis_key(key: _Key) -> str:
    identity, content_digest = key
    space = "\0".join((identity.key, identity.digest, str(identity.dimensions))).encode(errors="backslashreplace")
    return f"seesame:vector:{hashlib.sha256(space).hexdigest()[:32]}:{content_digest.hex()}"


def _checked(data: object, identity: SpaceIdentity) -> Vector | None:
    """The vector that the bytes hold, read-only; None where they hold none of this space."""
    if not isinstance(data, bytes) or len(data) != 4 * identity.dimensions:
        return None
    vector = np.frombuffer(data, "<f4").astype(np.float32, copy=False)
    with np.errstate(all="ignore"):  # of garbage
        length = np.linalg.norm(vector)
    if not abs(length - 1) <= UNIT_TOLERANCE:  # NaN is not
        return None
    vector.flags.writeable = False
    return vector
