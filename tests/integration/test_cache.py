"""The cache of query vectors, against real Redis servers and what may be in their place."""

import logging
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from redis.exceptions import OutOfMemoryError

from seesame.cache import ENTRY_OVERHEAD, CacheCounts, VectorCache, photo_digest, text_digest
from seesame.types import SpaceIdentity, Vector
from tests.redis_server import RedisServer, eventually

SPACE = SpaceIdentity("tiny", "0123456789abcdef" * 4, 8)
PHOTO = photo_digest(b"a photo")
VECTOR_BYTES = 4 * SPACE.dimensions + ENTRY_OVERHEAD
GETS = 200


def vector(seed: int = 0) -> Vector:
    drawn = np.random.default_rng(seed).standard_normal(SPACE.dimensions)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def content(number: int) -> bytes:
    return photo_digest(str(number).encode())


@pytest.fixture
def start_redis(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """Starts a Redis with options; all end with the test."""
    servers: list[RedisServer] = []

    def start(*options: str) -> RedisServer:
        folder = tmp_path / f"redis{len(servers)}"
        folder.mkdir()
        servers.append(RedisServer(folder, *options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def redis(start_redis: Callable[..., RedisServer]) -> RedisServer:
    """A Redis that works."""
    return start_redis()


@pytest.fixture
def open_cache() -> Iterator[Callable[..., VectorCache]]:
    """Makes caches; all are closed with the test."""
    caches: list[VectorCache] = []

    def make(**options: Any) -> VectorCache:
        caches.append(VectorCache(**options))
        return caches[-1]

    yield make
    for cache in caches:
        cache.close()


OpenCache = Callable[..., VectorCache]
StartRedis = Callable[..., RedisServer]


def same(found: Vector | None, expected: Vector) -> bool:
    return found is not None and np.array_equal(found, expected)


def put_in_redis(redis: RedisServer, cache: VectorCache, space: SpaceIdentity, digest: bytes, value: Vector) -> None:
    """Puts until it is there: on a busy machine Redis may seem to fail for a moment."""
    size = redis.client.dbsize()

    def put() -> bool:
        cache.get(space, b"anything")  # a get alone finds out that Redis is back
        cache.put(space, digest, value)
        return redis.client.dbsize() > size

    eventually(put)


def works(cache: VectorCache, redis: RedisServer) -> bool:
    """Whether the cache finds in Redis what another process has put there."""
    fresh = photo_digest(str(time.monotonic_ns()).encode())
    other = VectorCache(redis_url=redis.url)
    try:
        put_in_redis(redis, other, SPACE, fresh, vector(1))
    finally:
        other.close()
    return same(cache.get(SPACE, fresh), vector(1))


def assert_harmless(cache: VectorCache) -> None:
    """Many gets and puts find and raise nothing, are fast, and try Redis a few times only."""
    before = cache.counts
    took_s = []
    for number in range(GETS):
        began = time.monotonic()
        assert cache.get(SPACE, content(number)) is None
        cache.put(SPACE, text_digest(str(number)), vector(number))
        took_s.append(time.monotonic() - began)
    assert max(took_s) < 1
    assert sum(took_s) < 10
    after = cache.counts
    assert after.misses - before.misses == GETS
    assert after.hits_redis == before.hits_redis
    assert after.redis_errors >= 1
    assert after.redis_errors - before.redis_errors <= 4
    assert all(same(cache.get(SPACE, text_digest(str(number))), vector(number)) for number in range(GETS))


def test_a_cache_without_redis_keeps_vectors(open_cache: OpenCache) -> None:
    """What was put is got, and counted; the rest is missed."""
    cache = open_cache()
    assert cache.get(SPACE, PHOTO) is None
    cache.put(SPACE, PHOTO, vector())
    assert same(cache.get(SPACE, PHOTO), vector())
    assert cache.counts == CacheCounts(hits_local=1, hits_redis=0, misses=1, redis_errors=0)


def test_what_is_kept_cannot_be_changed(open_cache: OpenCache, redis: RedisServer) -> None:
    """The vector given is copied and the vectors got are read-only, from either place."""
    cache = open_cache(redis_url=redis.url)
    given = vector()
    put_in_redis(redis, cache, SPACE, PHOTO, given)
    given[:] = 0
    other = open_cache(redis_url=redis.url)
    for found in (cache.get(SPACE, PHOTO), eventually(lambda: other.get(SPACE, PHOTO))):
        assert same(found, vector())
        assert found is not None
        with pytest.raises(ValueError, match="read-only"):
            found[0] = 1


@pytest.mark.parametrize("wrong", [np.zeros(8), np.full(8, np.nan), np.ones(8), np.ones(1), np.full(8, np.inf)])
def test_a_wrong_vector_is_not_kept(open_cache: OpenCache, wrong: Vector) -> None:
    """Neither a wrong length nor anything but a unit vector is worth keeping."""
    cache = open_cache()
    cache.put(SPACE, PHOTO, wrong.astype(np.float32))
    assert cache.get(SPACE, PHOTO) is None


def test_a_text_is_never_a_photo() -> None:
    """No bytes uploaded as a photo have the digest of a text."""
    assert photo_digest(b"red shoes") != text_digest("red shoes")
    assert len(photo_digest(b"")) != len(text_digest(""))
    assert text_digest("\ud800") != text_digest("?")


def test_the_least_recently_used_goes_first(open_cache: OpenCache) -> None:
    """Beyond its bytes, the cache drops what was not asked for longest; putting again does not count twice."""
    cache = open_cache(max_bytes=3 * VECTOR_BYTES)
    for number in (0, 1, 2, 2, 2):
        cache.put(SPACE, content(number), vector(number))
    assert cache.get(SPACE, content(0)) is not None
    cache.put(SPACE, content(3), vector(3))
    assert [cache.get(SPACE, content(number)) is not None for number in range(4)] == [True, False, True, True]


def test_a_cache_too_small_for_one_vector_keeps_none(open_cache: OpenCache) -> None:
    """A bound of no bytes switches the process's own part off."""
    cache = open_cache(max_bytes=0)
    cache.put(SPACE, PHOTO, vector())
    assert cache.get(SPACE, PHOTO) is None


def test_two_caches_share_through_redis(open_cache: OpenCache, redis: RedisServer) -> None:
    """What one process put, another finds, keeps for itself, and lets expire."""
    one, other = open_cache(redis_url=redis.url, ttl_s=100), open_cache(redis_url=redis.url)
    put_in_redis(redis, one, SPACE, PHOTO, vector())
    [key] = redis.client.keys("seesame:vector:*")
    assert redis.client.get(key) == vector().astype("<f4").tobytes()
    assert 0 < redis.client.ttl(key) <= 100
    assert eventually(lambda: same(other.get(SPACE, PHOTO), vector()))
    assert other.counts.hits_redis == 1
    redis.client.flushall()
    assert same(other.get(SPACE, PHOTO), vector())
    assert other.counts.hits_local == 1


@pytest.mark.parametrize(
    "other",
    [
        SpaceIdentity(SPACE.model, SPACE.digest[:-1] + "0", SPACE.dimensions),  # the same key
        SpaceIdentity("another", SPACE.digest, SPACE.dimensions),
        SpaceIdentity("tiny@\ud800", SPACE.digest, SPACE.dimensions),
    ],
)
def test_two_spaces_never_meet(open_cache: OpenCache, redis: RedisServer, other: SpaceIdentity) -> None:
    """The same photo in another space is another entry, in the process and in Redis."""
    writer, reader = open_cache(redis_url=redis.url), open_cache(redis_url=redis.url)
    put_in_redis(redis, writer, SPACE, PHOTO, vector(0))
    assert writer.get(other, PHOTO) is None
    put_in_redis(redis, writer, other, PHOTO, vector(1))
    assert eventually(lambda: same(reader.get(SPACE, PHOTO), vector(0)))
    assert eventually(lambda: same(reader.get(other, PHOTO), vector(1)))


@pytest.mark.parametrize(
    "garbage",
    [b"", b"short", bytes(32), b"\xff" * 32, b"\x00\x00\xa0\x7f" * 8, np.ones(8, "<f4").tobytes(), bytes(2**20)],
    ids=["empty", "short", "zeros", "nan", "signalling nan", "not unit", "long"],
)
def test_garbage_in_redis_is_missed_and_mended(open_cache: OpenCache, redis: RedisServer, garbage: bytes) -> None:
    """A value that is no vector of the space is not known, and is overwritten by the next put."""
    key = key_of_the_photo(redis)
    redis.client.set(key, garbage)
    check_mended(open_cache(redis_url=redis.url), redis, key)


def test_a_value_of_another_type_is_missed_and_mended(open_cache: OpenCache, redis: RedisServer) -> None:
    """A list under the key is no fault of Redis: others are found at once."""
    key = key_of_the_photo(redis)
    redis.client.delete(key)
    redis.client.rpush(key, "a", "b")
    check_mended(open_cache(redis_url=redis.url), redis, key)


def key_of_the_photo(redis: RedisServer) -> bytes | str:
    cache = VectorCache(redis_url=redis.url)
    try:
        put_in_redis(redis, cache, SPACE, PHOTO, vector())
    finally:
        cache.close()
    [key] = redis.client.keys()
    return key


def check_mended(cache: VectorCache, redis: RedisServer, key: bytes | str) -> None:
    def missed_without_a_fault() -> bool:
        return works(cache, redis) and cache.get(SPACE, PHOTO) is None and works(cache, redis)

    def mended() -> bool:
        cache.put(SPACE, PHOTO, vector())
        return redis.client.type(key) == b"string" and redis.client.get(key) == vector().tobytes()

    eventually(missed_without_a_fault)
    eventually(mended)


def test_a_killed_redis_is_done_without_and_found_again(
    open_cache: OpenCache, redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """While Redis is dead gets find nothing; restarted, it is used again. One line tells of each."""
    cache = open_cache(redis_url=redis.url)
    assert eventually(lambda: works(cache, redis))
    caplog.clear()
    caplog.set_level(logging.INFO, "seesame.cache")
    redis.stop()
    assert_harmless(cache)
    redis.start()
    assert eventually(lambda: works(cache, redis))
    assert [record.levelno for record in caplog.records][:2] == [logging.WARNING, logging.INFO]


def test_a_stopped_redis_is_left_alone_and_found_again(open_cache: OpenCache, redis: RedisServer) -> None:
    """A Redis that is connected but answers no more (SIGSTOP) costs a few short waits; then it is used again."""
    cache = open_cache(redis_url=redis.url)
    assert eventually(lambda: works(cache, redis))
    redis.signal(signal.SIGSTOP)
    assert_harmless(cache)
    redis.signal(signal.SIGCONT)
    assert eventually(lambda: works(cache, redis))


def test_a_wrong_password_is_not_tried_often(
    open_cache: OpenCache, start_redis: StartRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis refuses the login: nothing is found, and the password is in no log."""
    caplog.set_level(logging.DEBUG)
    redis = start_redis("--requirepass", "right")
    assert_harmless(open_cache(redis_url=f"redis://:wrong-secret@127.0.0.1:{redis.port}"))
    assert_harmless(open_cache(redis_url=f"redis://127.0.0.1:{redis.port}"))
    assert [record.levelno for record in caplog.records if record.name == "seesame.cache"] == [logging.WARNING] * 2
    assert "secret" not in caplog.text
    right = open_cache(redis_url=redis.url)
    assert eventually(lambda: works(right, redis))


def test_a_wrong_database_is_not_tried_often(open_cache: OpenCache, redis: RedisServer) -> None:
    """A database that Redis does not have is a fault like others."""
    assert_harmless(open_cache(redis_url=f"{redis.url}/99"))


def test_a_full_redis_still_answers(open_cache: OpenCache, redis: RedisServer) -> None:
    """With no memory left for writes, what is there is found, and writes are tried a few times only."""
    key_of_the_photo(redis)
    redis.client.config_set("maxmemory-policy", "noeviction")
    redis.client.config_set("maxmemory", "1kb")
    with pytest.raises(OutOfMemoryError):
        redis.client.set("more", "")
    check_reads_without_writes(open_cache(redis_url=redis.url), redis)


def test_a_read_only_replica_still_answers(open_cache: OpenCache, redis: RedisServer, start_redis: StartRedis) -> None:
    """A replica refuses writes only."""
    key_of_the_photo(redis)
    redis.client.config_set("repl-diskless-sync-delay", 0)
    replica = start_redis("--replicaof", "127.0.0.1", str(redis.port))
    eventually(lambda: replica.client.dbsize() == 1)
    check_reads_without_writes(open_cache(redis_url=replica.url), replica)


def check_reads_without_writes(cache: VectorCache, redis: RedisServer) -> None:
    size = redis.client.dbsize()
    for number in range(GETS):
        cache.put(SPACE, text_digest(str(number)), vector(number))
        cache.get(SPACE, content(number))
    assert redis.client.dbsize() == size
    assert 1 <= cache.counts.redis_errors <= 4
    assert eventually(lambda: same(cache.get(SPACE, PHOTO), vector()))


def test_a_port_that_nobody_listens_on(open_cache: OpenCache) -> None:
    """No Redis at all costs nothing but a line in the log."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    assert_harmless(open_cache(redis_url=f"redis://127.0.0.1:{port}"))


def test_a_port_that_never_answers_the_handshake(open_cache: OpenCache) -> None:
    """Connecting to a host that drops every packet ends by the clock."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        callers = [socket.socket() for _ in range(4)]
        try:
            for caller in callers:  # fill the queue of the listener, so that the system drops what comes after
                caller.setblocking(False)
                caller.connect_ex(listener.getsockname())
            assert_harmless(open_cache(redis_url=f"redis://127.0.0.1:{listener.getsockname()[1]}"))
        finally:
            for caller in callers:
                caller.close()


class Impostor:
    """A listener that is no Redis; it counts the connections and answers each read with the pieces given."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self.connections = 0
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopped.is_set():
                connection.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._answer, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _answer(self, connection: socket.socket) -> None:
        with connection:
            try:
                for piece in self._pieces:
                    connection.sendall(piece)
                    self._stopped.wait(0.03)
                while connection.recv(1024):
                    pass
            except OSError:
                pass

    def stop(self) -> None:
        self._stopped.set()
        socket.create_connection(self._listener.getsockname()).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([], id="silent"),
        pytest.param([b"+", *[b"x"] * 100], id="one byte at a time"),
        pytest.param([b"HTTP/1.1 400 Bad Request\r\n\r\n"], id="another protocol"),
        pytest.param([b"$nonsense\r\n" * 10], id="a length that is none"),
        pytest.param([b"*1\r\n" * 100_000], id="nested without end"),
        pytest.param([b"+OK\r\n" * 3 + b"$32\r\n" + vector().tobytes() + b"\r\n"], id="answers before the question"),
        pytest.param([b"-ERR unknown command 'AUTH', with args beginning with: 'secret'\r\n" * 9], id="refusing"),
    ],
)
def test_what_is_no_redis_is_left_alone(
    open_cache: OpenCache, pieces: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever a listener sends or does not send: no vector, no exception, and few connections."""
    impostor = Impostor(*pieces)
    try:
        cache = open_cache(redis_url=impostor.url.replace("://", "://:secret@"))
        assert_harmless(cache)
        assert 1 <= impostor.connections <= 4
        cache.close()
    finally:
        impostor.stop()
    assert "secret" not in caplog.text


def test_a_lookup_of_the_host_that_hangs(open_cache: OpenCache, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's resolver knows no deadline of ours: gets go on without it, and closing does not wait for it."""
    hanging, lookups = threading.Event(), []

    def resolve(host: str, *_: object, **__: object) -> None:
        lookups.append(host)
        hanging.wait(30)
        raise socket.gaierror("unknown")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    cache = open_cache(redis_url="redis://redis.shop.example:6379")
    try:
        assert_harmless(cache)
        assert lookups == ["redis.shop.example"]
        began = time.monotonic()
        cache.close()
        assert time.monotonic() - began < 10
    finally:
        hanging.set()


def test_what_was_put_before_a_fault_is_dropped(open_cache: OpenCache) -> None:
    """Puts that queue while Redis is silent are not tried one after the other."""
    impostor = Impostor()
    try:
        cache = open_cache(redis_url=impostor.url)
        for number in range(50):
            cache.put(SPACE, content(number), vector(number))
        cache.close()
        assert 1 <= impostor.connections <= 3
    finally:
        impostor.stop()


def test_after_a_fault_one_caller_tries_again(open_cache: OpenCache) -> None:
    """Of many threads that ask when the pause is over, one connects."""
    impostor = Impostor()
    try:
        cache = open_cache(redis_url=impostor.url)
        eventually(lambda: cache.counts.redis_errors > 0)
        before = impostor.connections
        until = time.monotonic() + 1.5
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda number: ask_until(cache, number, until), range(16)))
        assert impostor.connections - before <= 2
        assert cache.counts.redis_errors <= 3
        cache.close()
    finally:
        impostor.stop()


def ask_until(cache: VectorCache, number: int, until: float) -> None:
    while time.monotonic() < until:
        assert cache.get(SPACE, content(number)) is None
        time.sleep(0.001)


def test_many_threads(open_cache: OpenCache, redis: RedisServer) -> None:
    """Threads that get and put at once, in a cache too small for all, never see another's vector."""
    cache = open_cache(redis_url=redis.url, max_bytes=20 * VECTOR_BYTES)

    def use(thread: int) -> int:
        numbers = np.random.default_rng(thread).integers(0, 40, 200)
        hits = 0
        for number in map(int, numbers):
            found = cache.get(SPACE, content(number))
            assert found is None or same(found, vector(number))
            hits += found is not None
            cache.put(SPACE, content(number), vector(number))
        return hits

    with ThreadPoolExecutor(8) as pool:
        hits = sum(pool.map(use, range(8)))
    counts = cache.counts
    assert counts.hits_local + counts.hits_redis == hits
    assert hits + counts.misses == 8 * 200
    assert cache._bytes == len(cache._vectors) * VECTOR_BYTES <= 20 * VECTOR_BYTES


def test_a_closed_cache(open_cache: OpenCache, redis: RedisServer) -> None:
    """Closing sends what was put, ends the thread, and may be done twice; the process's own vectors stay."""
    cache = open_cache(redis_url=redis.url)
    assert eventually(lambda: works(cache, redis))
    size = redis.client.dbsize()
    cache.put(SPACE, PHOTO, vector())
    cache.close()
    cache.close()
    assert redis.client.dbsize() == size + 1
    assert same(cache.get(SPACE, PHOTO), vector())
    cache.put(SPACE, content(1), vector(1))
    assert same(cache.get(SPACE, content(1)), vector(1))
    assert cache.get(SPACE, content(2)) is None
    eventually(lambda: len(redis.client.client_list()) == 1)


def test_a_socket_in_the_file_system(open_cache: OpenCache, redis: RedisServer, tmp_path: Path) -> None:
    """A unix:// URL works too."""
    cache = open_cache(redis_url=f"unix://{tmp_path}/redis0/socket?db=0")
    assert eventually(lambda: works(cache, redis))


@pytest.mark.parametrize(
    "url",
    [
        "",
        "localhost:6379",
        "http://:secret@localhost",
        "redis://:sec/ret@localhost",
        "redis://:secret@localhost:99999",
        "redis://[::1",
        "redis://localhost?protocol=7",
        "redis://localhost?secret=1",
    ],
)
def test_a_url_that_makes_no_sense(url: str) -> None:
    """The error tells what is expected, without what may be a password."""
    with pytest.raises(ValueError, match="not a URL of a Redis") as caught:
        VectorCache(redis_url=url)
    assert "sec" not in str(caught.value)
