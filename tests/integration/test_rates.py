"""Rates that several processes count together, on a real Redis."""

import signal
from collections.abc import Iterator

import pytest
from redis.exceptions import RedisError

from seesame.cache import redis_at
from seesame.rates import Rate, Rates
from tests.redis_server import RedisServer, eventually

_RATE = Rate(10, 3600)


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis for the tests of this module."""
    server = RedisServer(tmp_path_factory.mktemp("redis"), "--requirepass", "secret")
    yield server
    server.stop()


def test_processes_count_together(redis_server: RedisServer) -> None:
    """What one has let through, another counts as soon as both have told."""
    one, other = Rates(redis_url=redis_server.url), Rates(redis_url=redis_server.url)
    try:
        assert [one.take("a", _RATE) for _ in range(9)] == [0.0] * 9
        assert other.take("a", _RATE) == 0
        eventually(lambda: one.take("a", _RATE) > 0 and other.take("a", _RATE) > 0)
        with redis_at(redis_server.url) as redis:
            names = redis.keys("seesame:rate:*")
            assert isinstance(names, list)
            assert all(0 < redis.ttl(name) <= 7200 for name in names)
    finally:
        one.close()
        other.close()


def test_nobody_waits_for_a_redis_that_hangs(redis_server: RedisServer) -> None:
    """Each process counts for itself meanwhile, and together again when it is back."""
    rates, redis = Rates(), redis_at(redis_server.url)
    rates._is_shared = True  # by hand, and not by the thread
    redis_server.signal(signal.SIGSTOP)
    assert [rates.take("b", _RATE) for _ in range(10)] == [0.0] * 10
    assert rates.take("b", _RATE) > 0
    with pytest.raises(RedisError):
        rates.share(redis)
    redis_server.signal(signal.SIGCONT)
    rates.take("c", _RATE)
    rates.share(redis)
    assert rates.take("b", _RATE) > 0
    redis.close()


def test_the_log_tells_that_redis_is_away_without_its_password(caplog: pytest.LogCaptureFixture) -> None:
    """Once, with the kind of the fault alone."""
    rates = Rates(redis_url="redis://:secret@127.0.0.1:1")
    try:
        rates.take("a", _RATE)
        assert eventually(lambda: "each process counts requests by itself" in caplog.text)
        assert "secret" not in caplog.text
    finally:
        rates.close()
