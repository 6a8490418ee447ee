"""Photos of late searches are kept, but not for long."""

import pytest

from seesame.errors import NotFound
from seesame.query_photos import QueryPhotos


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_photo_is_had_by_its_id_until_it_is_forgotten() -> None:
    """Each has an id of its own, even where the bytes are the same."""
    photos = QueryPhotos(max_bytes=100)
    first, second = photos.keep(b"one"), photos.keep(b"one")
    assert first is not None
    assert second is not None
    assert first != second
    assert photos.get(first) == b"one"
    photos.forget(first)
    photos.forget(first)
    with pytest.raises(NotFound):
        photos.get(first)
    assert photos.get(second) == b"one"


def test_a_photo_goes_some_time_after_its_last_use() -> None:
    """Whoever still works with it keeps it."""
    clock = _Clock()
    photos = QueryPhotos(max_bytes=100, keep_s=10, clock=clock)
    used, unused = photos.keep(b"one"), photos.keep(b"two")
    assert used is not None
    assert unused is not None
    clock.now = 6
    assert photos.get(used) == b"one"
    clock.now = 12
    assert photos.get(used) == b"one"
    with pytest.raises(NotFound):
        photos.get(unused)
    clock.now = 22
    with pytest.raises(NotFound):
        photos.get(used)


def test_the_memory_is_bounded() -> None:
    """Those unused for longest go; one that is larger than all of it is not kept, and displaces none."""
    photos = QueryPhotos(max_bytes=10)
    ids = [photos.keep(b"12345") for _ in range(3)]
    assert photos.keep(b"x" * 11) is None
    assert None not in ids
    with pytest.raises(NotFound):
        photos.get(str(ids[0]))
    assert photos.get(str(ids[1])) == photos.get(str(ids[2])) == b"12345"
    assert QueryPhotos(max_bytes=0).keep(b"x") is None
