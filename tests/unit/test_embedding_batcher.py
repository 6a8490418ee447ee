"""The queue in front of a model: what it batches, whom it refuses, and that every future is resolved."""

import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import numpy as np
import pytest

from seesame import images
from seesame.embedding import batcher as module
from seesame.embedding.batcher import Batcher, Bounds, Load
from seesame.errors import EmbedderBusy, EmbedderUnavailable, ImageError, ModelInvalid, UnsupportedFormat
from seesame.types import Vector
from tests.models import BAD, WAIT_S, MeanColour, png, until

PATIENT = Bounds(queue_s=1e6, run_s=1e6, batch_wait_s=0)
"""Whatever the clock says: nothing is refused for the time that it takes, and batches are as large as they may be."""


class Panic(BaseException):
    """What a Rust library throws when it is beside itself: no Exception."""


@pytest.fixture
def open_batcher() -> Iterator[Callable[..., Batcher]]:
    """Makes batchers and closes them at the end."""
    opened: list[tuple[MeanColour, Batcher]] = []

    def make(model: MeanColour, **options: Any) -> Batcher:
        chosen: dict[str, Any] = {"bounds": PATIENT, "workers": 2} | options
        opened.append((model, Batcher(model, **chosen)))
        return opened[-1][1]

    yield make
    for model, batcher in opened:
        model.release()
        batcher.close(wait_s=WAIT_S)
        assert not any(thread.is_alive() for thread in batcher._busy)
        assert batcher.load == Load(0, 0)


Open = Callable[..., Batcher]


def held() -> MeanColour:
    """A model whose runs wait to be let through."""
    model = MeanColour()
    model.held = True
    return model


def busy(model: MeanColour, batcher: Batcher) -> Future[Vector]:
    """Starts a run that is held, of the picture 1."""
    (first,) = batcher.submit([png(1)])
    assert model.begun.acquire(timeout=WAIT_S)
    return first


def decoded(batcher: Batcher, count: int) -> None:
    """Waits until so many pictures are decoded and wait for a run."""
    until(lambda: len(batcher._ready) == count and batcher._decoding == 0)


def outcome(future: Future[Vector]) -> Vector | BaseException | None:
    """The vector or the error, as it comes."""
    return future.exception(WAIT_S) or future.result()


def is_of(vector: object, red: int) -> bool:
    """Whether it is the vector of a picture of this colour."""
    return isinstance(vector, np.ndarray) and bool(np.isclose(vector[0] / vector[1], red / 100, atol=1e-5))


def test_a_batch_is_what_arrived_during_the_run_before(open_batcher: Open) -> None:
    """Pictures that come while a run is on are computed together in the next, as many as fit."""
    model = held()
    batcher = open_batcher(model)
    first = busy(model, batcher)
    rest = [future for red in range(2, 8) for future in batcher.submit([png(red)])]
    decoded(batcher, 6)
    model.let(3)
    assert is_of(outcome(first), 1)
    assert all(is_of(outcome(future), red) for red, future in enumerate(rest, start=2))
    assert model.runs == [[1], [2, 3, 4, 5], [6, 7]]


def test_a_single_picture_does_not_wait(open_batcher: Open) -> None:
    """With nobody else on the way it is computed at once, also after another, however long a wait is allowed."""
    model = MeanColour()
    batcher = open_batcher(model, bounds=Bounds(queue_s=1e9, run_s=1e9, batch_wait_s=1e9))
    for red in (1, 2):
        batcher._picture_s = 1e6
        assert is_of(outcome(batcher.submit([png(red)])[0]), red)
    assert model.runs == [[1], [2]]


def test_a_picture_waits_for_one_that_is_being_decoded(open_batcher: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a run is long, one that is nearly there is taken along."""
    model, gate, slow = MeanColour(), threading.Event(), png(2)
    decode = images.decode

    def gated(data: bytes, **options: Any) -> Any:
        assert data != slow or gate.wait(WAIT_S)
        return decode(data, **options)

    monkeypatch.setattr(images, "decode", gated)
    batcher = open_batcher(model, bounds=Bounds(queue_s=1e9, run_s=1e9, batch_wait_s=1e9))
    batcher._picture_s = 1e6
    late, early = batcher.submit([slow, png(1)])
    until(lambda: len(batcher._ready) == 1)
    gate.set()
    assert is_of(outcome(early), 1)
    assert is_of(outcome(late), 2)
    assert sorted(model.runs) == [[1, 2]] or model.runs == [[2, 1]]


def test_those_who_were_answered_together_are_waited_for_together(open_batcher: Open) -> None:
    """Two clients that ask again and again share a run each time: the first waits for the second, not in vain."""
    model = held()
    batcher = open_batcher(model, bounds=Bounds(queue_s=1e9, run_s=1e9, batch_wait_s=1e9))
    busy(model, batcher)
    two = batcher.submit([png(2), png(3)])
    decoded(batcher, 2)
    model.let(2)
    wait(two, WAIT_S)
    batcher._picture_s = 1e6
    model.let()
    (fourth,) = batcher.submit([png(4)])
    decoded(batcher, 1)
    (fifth,) = batcher.submit([png(5)])
    wait([fourth, fifth], WAIT_S)
    assert model.runs[2:] == [[4, 5]]


def test_queries_go_before_bulk(open_batcher: Open) -> None:
    """A query that comes last is in the very next run, however much bulk is there, decoded or not."""
    model = held()
    batcher = open_batcher(model)
    busy(model, batcher)
    batcher.submit([png(100 + n) for n in range(30)], bulk=True)
    decoded(batcher, 8)  # as many as are decoded ahead
    (query,) = batcher.submit([png(2)])
    until(lambda: any(entry.number == batcher._number for entry in batcher._ready))
    model.let(2)
    assert is_of(outcome(query), 2)
    until(lambda: len(model.runs) >= 2)
    assert 2 in model.runs[1]


def test_bulk_is_not_starved(open_batcher: Open) -> None:
    """Bulk that is overdue is equal to queries: those that came after it go after it."""
    model = held()
    batcher = open_batcher(model)
    busy(model, batcher)
    batcher.submit([png(100)], bulk=True)
    decoded(batcher, 1)
    with batcher._changed:
        batcher._ready[0].due -= module.BULK_DELAY_S  # it is two seconds later
    batcher.submit([png(red) for red in range(2, 8)])
    decoded(batcher, 7)
    model.let(2)
    until(lambda: len(model.runs) == 3)
    assert model.runs[1] == [100, 2, 3, 4]


def test_runs_are_short_where_the_machine_is_slow(open_batcher: Open) -> None:
    """No more pictures go into a run than `run_s` allows, half of that in bulk, and always one."""
    model = held()
    batcher = open_batcher(model, bounds=Bounds(queue_s=1e6, run_s=3.0, batch_wait_s=0))
    for bulk, picture_s, most in ((False, 1.0, 3), (True, 1.0, 1), (False, 10.0, 1)):
        model.runs.clear()
        busy(model, batcher)
        futures = batcher.submit([png(red) for red in range(2, 6)], bulk=bulk)
        decoded(batcher, 4)
        with batcher._changed:
            batcher._picture_s = picture_s
            assert batcher._most() == most
        model.let(5)
        wait(futures, WAIT_S)
        until(lambda: batcher._runs == 0)
        while model.begun.acquire(blocking=False):
            pass
        while model._permits.acquire(blocking=False):
            pass


def test_too_many_pictures_are_refused(open_batcher: Open) -> None:
    """What would be over `max_images` is refused, all of it, and asked to come again in a second or more."""
    model = held()
    batcher = open_batcher(model, bounds=Bounds(max_images=4, queue_s=1e6, run_s=1e6))
    busy(model, batcher)
    batcher.submit([png(2)])
    before = batcher.load
    with pytest.raises(EmbedderBusy) as caught:
        batcher.submit([png(3), png(4), png(5)])
    assert caught.value.retry_after_s == 1
    assert batcher.load == before
    batcher.submit([png(3), png(4)])
    with pytest.raises(EmbedderBusy):
        batcher.refuse_if_full()
    model.release()
    until(lambda: batcher.load.images == 0)
    batcher.refuse_if_full()
    assert 5 not in model.seen


def test_too_many_bytes_are_refused(open_batcher: Open) -> None:
    """`max_bytes` bounds what is held, and what is answered is no longer counted."""
    model = held()
    size = len(png(1))
    batcher = open_batcher(model, bounds=Bounds(max_bytes=3 * size, queue_s=1e6, run_s=1e6))
    busy(model, batcher)
    with pytest.raises(EmbedderBusy):
        batcher.submit([png(2), png(3), png(4)])
    assert batcher.load == Load(1, size)
    batcher.submit([png(2), png(3)])
    assert batcher.load == Load(3, 3 * size)
    model.release()
    until(lambda: batcher.load == Load(0, 0))


def test_what_is_larger_than_the_bounds_is_accepted_alone(open_batcher: Open) -> None:
    """One call that is over a bound by itself would else never get in."""
    model = MeanColour()
    batcher = open_batcher(model, bounds=Bounds(max_images=2, max_bytes=10))
    assert all(is_of(outcome(future), 7) for future in batcher.submit([png(7)] * 5))


def test_a_query_that_would_wait_too_long_is_refused(open_batcher: Open) -> None:
    """The wait is expected from the pictures before it; it is told how long until there is room; bulk may wait."""
    model = held()
    batcher = open_batcher(model, bounds=Bounds(queue_s=10.0, run_s=1e6))
    busy(model, batcher)
    batcher.submit([png(100)] * 3, bulk=True)  # they do not count before a query
    batcher.submit([png(2), png(3)])
    decoded(batcher, 5)
    with batcher._changed:
        batcher._picture_s, batcher._decode_s = 4.0, 2.0  # each picture 4 s of the model and 2 s of one of 2 threads
    with pytest.raises(EmbedderBusy) as caught:
        batcher.submit([png(4)])
    assert caught.value.retry_after_s == 3 * 5.0 - 10
    with pytest.raises(EmbedderBusy):
        batcher.refuse_if_full()
    batcher.submit([png(100)], bulk=True)


def test_bulk_leaves_room_for_queries(open_batcher: Open) -> None:
    """However much bulk comes, a query is still accepted."""
    model = held()
    batcher = open_batcher(model, bounds=Bounds(max_images=8, queue_s=1e6, run_s=1e6))
    busy(model, batcher)
    batcher.submit([png(100)] * 5, bulk=True)
    with pytest.raises(EmbedderBusy):
        batcher.submit([png(100)], bulk=True)
    queries = batcher.submit([png(2), png(3)])
    model.release()
    assert all(is_of(outcome(future), red) for red, future in enumerate(queries, start=2))


def test_a_cancelled_picture_is_not_computed(open_batcher: Open) -> None:
    """Neither one that waits to be decoded, nor one that is decoded already; its bytes are given back at once."""
    model = held()
    batcher = open_batcher(model)
    first = busy(model, batcher)
    size = batcher.load.bytes
    futures = batcher.submit([png(red) for red in range(2, 14)])
    decoded(batcher, 8)
    assert len(batcher._waiting) == 4
    for future in futures:
        assert future.cancel()
    assert batcher.load == Load(1, size)
    assert all(not entry.content for entry in batcher._waiting)
    (last,) = batcher.submit([png(99)])
    model.release()
    assert is_of(outcome(first), 1)
    assert is_of(outcome(last), 99)
    assert model.seen == [1, 99]


def test_a_picture_that_is_being_computed_cannot_be_cancelled(open_batcher: Open) -> None:
    """Its result comes all the same, and nothing is lost."""
    model = held()
    first = busy(model, open_batcher(model))
    assert not first.cancel()
    model.release()
    assert is_of(outcome(first), 1)


@pytest.mark.parametrize(
    "fault", [ModelInvalid("Too red."), ValueError("shapes"), MemoryError(), Panic("at the disco")], ids=repr
)
def test_a_batch_that_fails_is_halved_until_the_culprit_is_alone(open_batcher: Open, fault: BaseException) -> None:
    """Whatever the model raises, one picture fails, its neighbours have their vectors and the next call works."""
    model = held()
    model.fault = fault
    batcher = open_batcher(model)
    busy(model, batcher)
    futures = batcher.submit([png(10), png(20), png(BAD), png(40)])
    decoded(batcher, 4)
    model.release()
    outcomes = [outcome(future) for future in futures]
    assert [is_of(vector, red) for vector, red in zip(outcomes, (10, 20, BAD, 40), strict=True)] == [1, 1, 0, 1]
    assert isinstance(outcomes[2], ModelInvalid)
    assert str(outcomes[2]) in ("Too red.", "The model failed.")
    assert model.runs[1:] == [[10, 20, BAD, 40], [10, 20], [BAD, 40], [BAD], [40]]
    assert is_of(outcome(batcher.submit([png(5)])[0]), 5)
    assert batcher.stalled_s() < WAIT_S


@pytest.mark.parametrize("rows", [0, 3])
def test_a_model_that_returns_another_number_of_vectors(open_batcher: Open, rows: int) -> None:
    """None of them can be trusted to belong to its picture: each fails, and the next call works."""
    model = MeanColour()
    batcher = open_batcher(model)
    honest = model.images
    model.images = lambda _, **__: np.ones((rows, 3), np.float32)  # type: ignore[method-assign]
    assert all(isinstance(outcome(future), ModelInvalid) for future in batcher.submit([png(1), png(2)]))
    model.images = honest  # type: ignore[method-assign]
    assert is_of(outcome(batcher.submit([png(5)])[0]), 5)


@pytest.mark.parametrize("fault", [ValueError("a path"), MemoryError(), Panic("in the decoder")], ids=repr)
def test_a_decoder_that_raises_something_unexpected(
    open_batcher: Open, monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    """The picture fails in words of ours, and the worker lives on."""
    model, bad = MeanColour(), png(9)
    decode = images.decode

    def failing(data: bytes, **options: Any) -> Any:
        if data == bad:
            raise fault
        return decode(data, **options)

    monkeypatch.setattr(images, "decode", failing)
    batcher = open_batcher(model)
    outcomes = [outcome(future) for future in batcher.submit([bad, png(1), bad, bad, png(2)])]
    assert [type(result) for result in outcomes] == [ModelInvalid, np.ndarray, ModelInvalid, ModelInvalid, np.ndarray]
    assert str(outcomes[0]) == "The model failed."
    assert batcher.stalled_s() < WAIT_S


def test_a_picture_that_cannot_be_decoded_reaches_no_model(open_batcher: Open) -> None:
    """Its error is in its place, and the others are computed."""
    model = MeanColour()
    outcomes = [outcome(future) for future in open_batcher(model).submit([b"text", png(1), b""])]
    assert isinstance(outcomes[0], UnsupportedFormat)
    assert isinstance(outcomes[2], ImageError)
    assert is_of(outcomes[1], 1)
    assert model.seen == [1]


def test_texts_and_pictures_never_share_a_run(open_batcher: Open) -> None:
    """They wait in one queue, in the order in which they came, and each run is of one kind."""
    model = held()
    batcher = open_batcher(model)
    busy(model, batcher)
    futures = [*batcher.submit(["a"]), *batcher.submit([png(2)]), *batcher.submit(["b", "c"])]
    decoded(batcher, 4)
    model.release()
    assert all(isinstance(outcome(future), np.ndarray) for future in futures)
    assert model.runs == [[1], ["a", "b", "c"], [2]]


def test_texts_for_a_model_without_a_text_tower(open_batcher: Open) -> None:
    """Each text fails as the model says; pictures beside them do not."""
    model = MeanColour()
    model.has_text = False
    batcher = open_batcher(model)
    texts, pictures = batcher.submit(["a", "b", "c"]), batcher.submit([png(1)])
    assert all(isinstance(outcome(future), ModelInvalid) for future in texts)
    assert is_of(outcome(pictures[0]), 1)


def test_a_stuck_run_is_told_and_an_idle_queue_is_not(open_batcher: Open) -> None:
    """`stalled_s` grows while a run does not end, counts anew with the next, and is 0 without work."""
    model = held()
    batcher = open_batcher(model)
    assert batcher.stalled_s() == 0
    first = busy(model, batcher)
    before = batcher.stalled_s()
    until(lambda: batcher.stalled_s() > before)
    model.release()
    wait([first], WAIT_S)
    until(lambda: batcher.stalled_s() == 0)


def test_a_run_that_bisects_is_not_stuck(open_batcher: Open) -> None:
    """Each half that is computed is a sign of life."""
    model = held()
    batcher = open_batcher(model)
    busy(model, batcher)
    batcher.submit([png(BAD), png(2)])
    decoded(batcher, 2)
    model.let()
    assert model.begun.acquire(timeout=WAIT_S)
    (whole,) = [act for act in batcher._busy.values() if act is not None]
    model.let()
    assert model.begun.acquire(timeout=WAIT_S)
    (half,) = [act for act in batcher._busy.values() if act is not None]
    assert whole[0] == half[0] == "inference"
    assert half[1] > whole[1]


def test_decoders_that_are_all_stuck_are_told(open_batcher: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every worker at one for longer than the largest takes, nothing moves any more; large ones are no fault."""
    gate, entered = threading.Event(), threading.Semaphore(0)
    decode = images.decode

    def gated(data: bytes, **options: Any) -> Any:
        entered.release()
        assert gate.wait(WAIT_S)
        return decode(data, **options)

    monkeypatch.setattr(images, "decode", gated)
    batcher = open_batcher(MeanColour())
    futures = batcher.submit([png(1)])
    assert entered.acquire(timeout=WAIT_S)
    assert batcher.stalled_s() == 0
    futures += batcher.submit([png(2)])
    assert entered.acquire(timeout=WAIT_S)
    assert batcher.stalled_s() == 0
    monkeypatch.setattr(module, "_DECODE_S", 0)
    until(lambda: batcher.stalled_s() > 0)
    gate.set()
    wait(futures, WAIT_S)
    until(lambda: batcher.stalled_s() == 0)


def test_close_finishes_what_was_accepted() -> None:
    """And takes nothing new."""
    model = held()
    batcher = Batcher(model, bounds=PATIENT, workers=2)
    first = busy(model, batcher)
    rest = batcher.submit([png(red) for red in range(2, 20)], bulk=True)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    until(lambda: batcher._closed)
    with pytest.raises(EmbedderUnavailable):
        batcher.submit([png(99)])
    model.release()
    closing.join(WAIT_S)
    assert is_of(first.result(0), 1)
    assert all(is_of(future.result(0), red) for red, future in enumerate(rest, start=2))
    assert not any(thread.is_alive() for thread in batcher._busy)


def test_close_does_not_wait_for_a_stuck_run() -> None:
    """After `wait_s` what is left is cancelled; when the run ends after all, the threads end too."""
    model = held()
    batcher = Batcher(model, bounds=PATIENT, workers=2)
    stuck = busy(model, batcher)
    rest = batcher.submit([png(red) for red in range(2, 15)])
    batcher.close(wait_s=0.05)
    assert all(future.cancelled() for future in rest)
    assert not stuck.done()
    model.release()
    assert is_of(outcome(stuck), 1)
    for thread in batcher._busy:
        thread.join(WAIT_S)
    assert not any(thread.is_alive() for thread in batcher._busy)
    assert model.seen == [1]
    assert batcher.load == Load(0, 0)


@pytest.mark.parametrize("stage", ["waiting", "ready"])
def test_the_last_one_is_cancelled_during_close(stage: str) -> None:
    """The workers that stay for it learn that there is nothing left."""
    model = held()
    batcher = Batcher(model, bounds=PATIENT, workers=2)
    first = busy(model, batcher)
    rest = batcher.submit([png(red) for red in range(2, 12 if stage == "waiting" else 4)])
    decoded(batcher, 8 if stage == "waiting" else 2)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    until(lambda: batcher._closed)
    for future in rest[:-1]:
        future.cancel()
    model.let()
    assert is_of(outcome(first), 1)
    rest[-1].cancel()
    model.release()
    closing.join(WAIT_S)
    assert not closing.is_alive()


@pytest.mark.parametrize("parallel_runs", [1, 2])
def test_many_threads_and_many_cancels(open_batcher: Open, parallel_runs: int) -> None:
    """Whoever asks, bulk or not, and whoever leaves: every future is done at the end, and nothing is left behind."""
    model = MeanColour(parallel_runs=parallel_runs, takes_s=0.001)
    batcher = open_batcher(model)

    def ask(seed: int) -> list[tuple[int, Future[Vector]]]:
        dice = random.Random(seed)
        asked: list[tuple[int, Future[Vector]]] = []
        for _ in range(5):
            reds = [dice.choice((5, 50, 100, BAD)) for _ in range(2)]
            futures = batcher.submit([png(red) for red in reds], bulk=dice.random() < 0.5)
            if dice.random() < 0.3:
                futures[0].cancel()
            asked += zip(reds, futures, strict=True)
        return asked

    with ThreadPoolExecutor(20) as pool:
        asked = [pair for pairs in pool.map(ask, range(20)) for pair in pairs]
    assert len(asked) == 200
    assert not wait([future for _, future in asked], WAIT_S).not_done
    for red, future in asked:
        if not future.cancelled():
            result = outcome(future)
            assert isinstance(result, ModelInvalid) if red == BAD else is_of(result, red)
    until(lambda: batcher.load == Load(0, 0))
    assert model.most_at_once <= parallel_runs


def test_two_runs_at_once_share_what_is_ready(open_batcher: Open) -> None:
    """Where the model allows two, six pictures that are ready together are computed three and three."""
    model = MeanColour(parallel_runs=2, pictures_per_run=16)
    model.held = True
    batcher = open_batcher(model, workers=3, bounds=Bounds(queue_s=1e9, run_s=1e9, batch_wait_s=1e9))
    batcher._picture_s = 1e6  # so that nothing begins while others are being decoded
    batcher.submit([png(red) for red in range(1, 7)])
    assert model.begun.acquire(timeout=WAIT_S)
    assert model.begun.acquire(timeout=WAIT_S)
    assert model.batches == [3, 3]
    assert sorted(map(int, model.seen)) == [1, 2, 3, 4, 5, 6]
    assert model.most_at_once == 2


def test_whoever_watches_is_told_each_stage(open_batcher: Open) -> None:
    """Decoding is told for each picture, waiting once before each of its two stages, computing once a run."""
    stages: list[str] = []
    sizes: list[int] = []
    model = held()
    batcher = open_batcher(
        model, on_stage=lambda stage, seconds: stages.append(stage) if seconds >= 0 else None, on_batch=sizes.append
    )
    busy(model, batcher)
    futures = [*batcher.submit([png(2), png(3)]), *batcher.submit(["a"])]
    decoded(batcher, 3)
    model.release()
    wait(futures, WAIT_S)
    until(lambda: len(sizes) == 3)
    assert sorted(sizes) == [1, 1, 2]
    assert (stages.count("decode"), stages.count("inference"), stages.count("queue")) == (3, 3, 7)


def test_a_run_is_alone_where_nothing_else_is_to_be_done(open_batcher: Open) -> None:
    """A picture by itself may use all cores; beside another run each takes its share."""
    model = MeanColour(parallel_runs=2)
    model.held = True
    batcher = open_batcher(model)
    batcher.submit([png(1)])
    assert model.begun.acquire(timeout=WAIT_S)
    batcher.submit([png(2)])
    assert model.begun.acquire(timeout=WAIT_S)
    assert model.alone == [True, False]


def test_a_run_leaves_to_the_others_their_share(open_batcher: Open) -> None:
    """Three pictures beside a run of one: two are taken, so that the other run's next is of two, too."""
    model = MeanColour(parallel_runs=2)
    model.held = True
    batcher = open_batcher(model, workers=3)
    for red in (1, 2):
        batcher.submit([png(red)])
        assert model.begun.acquire(timeout=WAIT_S)
    batcher.submit([png(red) for red in (3, 4, 5)])
    decoded(batcher, 3)
    model.let()
    assert model.begun.acquire(timeout=WAIT_S)
    assert model.batches[:3] == [1, 1, 2]


def test_runs_with_bulk_in_them_are_short(open_batcher: Open) -> None:
    """A query waits for the end of a run, and what a killed worker asked for is lost: a fifth of a second at most."""
    model = held()
    batcher = open_batcher(model, bounds=Bounds(queue_s=1e6, batch_wait_s=0))
    busy(model, batcher)
    batcher.submit([png(red) for red in range(2, 8)], bulk=True)
    decoded(batcher, 6)
    batcher._picture_s = 0.09
    model.let()
    assert model.begun.acquire(timeout=WAIT_S)
    assert model.batches == [1, 2]
