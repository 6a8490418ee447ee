"""Each picture is asked for once, and a host that is down is left alone."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from seesame import downloads
from seesame.downloads import LEFT_ALONE, Downloads
from seesame.errors import FetchFailed, UrlNotAllowed
from seesame.fetch import Fetched, Fetcher, FetchPolicy
from seesame.types import Validators
from tests.picture_host import PictureHost, picture_host


def _downloads(host: PictureHost, clock: list[float] | None = None) -> Downloads:
    fetcher = Fetcher(FetchPolicy(allowed_hosts=frozenset({host.name}), timeout_s=60))
    now = clock or [0.0]
    return Downloads(fetcher, clock=lambda: now[0])


def test_what_is_asked_for_at_once_and_again_is_fetched_once() -> None:
    """Also while the first request is under way, and also what failed."""
    with picture_host() as host:
        host.pictures["/a"] = b"picture"
        host.free_requests = 0
        ours = _downloads(host)
        with ThreadPoolExecutor(8) as pool:
            results = [pool.submit(ours.fetch, host.url("/a")) for _ in range(8)]
            assert host.reached.wait(30)
            host.opened.set()
            fetched = [result.result() for result in results]
        assert all(each is not None and each.data == b"picture" for each in fetched)
        for _ in range(3):
            with pytest.raises(FetchFailed, match="success"):
                ours.fetch(host.url("/none"))
        assert host.sent() == 2


def test_what_a_product_has_already_is_no_answer_for_another_one() -> None:
    """A picture that is unchanged for one is fetched for another that lacks it."""
    with picture_host() as host:
        host.pictures["/a"] = b"picture"
        first = _downloads(host).fetch(host.url("/a"))
        assert first is not None
        ours = _downloads(host)
        assert ours.fetch(host.url("/a"), first.validators) is None
        assert ours.fetch(host.url("/a")) == first
        assert host.sent() == 3


def test_a_host_that_fails_is_left_alone_and_tried_again_later() -> None:
    """After three failures in a row; one that answers is back, and other hosts are not touched by it."""
    clock = [0.0]
    with picture_host() as down, picture_host() as up:
        fetcher = Fetcher(FetchPolicy(allowed_hosts=frozenset({down.name, up.name})))
        ours = Downloads(fetcher, clock=lambda: clock[0])
        down.drops = True
        for number in range(20):
            with pytest.raises(FetchFailed, match="broke" if number < 3 else LEFT_ALONE):
                ours.fetch(down.url(f"/{number}"))
        assert down.sent() == 3
        up.pictures["/a"] = b"picture"
        assert ours.fetch(up.url("/a")) is not None
        clock[0] = 31
        down.drops, down.pictures["/b"], down.pictures["/c"] = False, b"b", b"c"
        assert [ours.fetch(down.url(path)) for path in ("/b", "/c")] != [None, None]


def test_answers_that_are_refusals_do_not_count_against_a_host() -> None:
    """A host that says 404 lives, and a URL that is forbidden was never asked for."""
    with picture_host() as host:
        ours = _downloads(host)
        for number in range(5):
            with pytest.raises(FetchFailed, match="success"):
                ours.fetch(host.url(f"/{number}"))
            with pytest.raises(UrlNotAllowed):
                ours.fetch(f"http://127.0.0.1/{number}")
        assert host.sent() == 5


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures that were not asked for of late go first; they are fetched again."""
    monkeypatch.setattr(downloads, "_KEPT_BYTES", 25)
    with picture_host() as host:
        host.pictures |= {f"/{name}": bytes(10) for name in "abc"}
        ours = _downloads(host)
        for name in ("a", "b", "a", "c", "a", "b"):
            assert ours.fetch(host.url(f"/{name}")) is not None
        assert [path for path, _ in host.asked] == ["/a", "/b", "/c", "/b"]


def test_validators_are_part_of_what_is_asked() -> None:
    """Another tag is another question."""
    with picture_host() as host:
        host.pictures["/a"] = b"picture"
        ours = _downloads(host)
        fetched = [ours.fetch(host.url("/a"), Validators(tag, None)) for tag in ('"x"', '"y"')]
        assert all(isinstance(each, Fetched) for each in fetched)
        assert [tag for _, tag in host.asked] == ['"x"', '"y"']
