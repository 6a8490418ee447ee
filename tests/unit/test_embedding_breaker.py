"""The circuit breaker: its transitions, the single probe, late and lost reports."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from seesame.embedding.breaker import Breaker


def _admitted(breaker: Breaker, now: float) -> int:
    period = breaker.admit(now)
    assert period is not None
    return period


def _opened(now: float = 0.0) -> Breaker:
    """A breaker that was tripped at `now`; its pause is 1 s, doubling up to 5 s."""
    breaker = Breaker(failures=3, pause_s=1.0, max_pause_s=5.0)
    breaker.trip(now)
    return breaker


@pytest.mark.parametrize(
    ("steps", "state"),
    [
        ("", "closed"),
        ("FF", "closed"),
        ("FFF", "open"),
        ("FFSFF", "closed"),
        ("FFSFFF", "open"),
        ("T", "open"),
        ("TT", "open"),
        ("Tw", "open"),
        ("TW", "half_open"),
        ("TWS", "closed"),
        ("TWF", "open"),
        ("TWT", "open"),
        ("TWSFF", "closed"),
        ("TWSFFF", "open"),
        ("FFTWSFF", "closed"),
    ],
)
def test_transitions(steps: str, state: str) -> None:
    """F: a call fails, S: one succeeds, T: trip, w: half the pause goes by, W: all of it."""
    breaker, now = Breaker(failures=3, pause_s=1.0, max_pause_s=5.0), 100.0
    for step in steps:
        match step:
            case "F":
                breaker.failed(_admitted(breaker, now), now)
            case "S":
                breaker.succeeded(_admitted(breaker, now))
            case "T":
                breaker.trip(now)
            case "w":
                now += 0.5
            case "W":
                now += 1.0
    assert breaker.state(now) == state
    assert breaker.refuses(now) == (state == "open")
    assert (breaker.admit(now) is None) == (state == "open")


def test_to_ask_whether_it_refuses_takes_no_probe() -> None:
    """After any number of questions the probe is still to be had; then it is out, and all others are refused."""
    breaker = _opened()
    assert not any(breaker.refuses(1.0) for _ in range(10))
    assert breaker.admit(1.0) is not None
    assert breaker.refuses(1.0)
    assert breaker.state(1.0) == "half_open"


def test_one_of_fifty_threads_is_the_probe() -> None:
    """They all ask at once when the pause is over, in each of many rounds."""
    threads = 50
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(20):
            breaker, start = _opened(), threading.Barrier(threads)

            def ask(breaker: Breaker = breaker, start: threading.Barrier = start) -> int | None:
                start.wait()
                return breaker.admit(1.0)

            answers = [future.result() for future in [pool.submit(ask) for _ in range(threads)]]
            assert sum(answer is not None for answer in answers) == 1


def test_each_failed_probe_doubles_the_pause_up_to_its_limit() -> None:
    """1, 2, 4, 5, 5 seconds, and 1 again after a success."""
    breaker, now = _opened(), 0.0
    for pause_s in (1.0, 2.0, 4.0, 5.0, 5.0):
        assert breaker.admit(now + pause_s - 0.01) is None
        now += pause_s
        breaker.failed(_admitted(breaker, now), now)
    breaker.succeeded(_admitted(breaker, now + 5))
    breaker.trip(now + 5)
    assert breaker.refuses(now + 5.99)
    assert not breaker.refuses(now + 6)


def test_a_trip_does_not_prolong_a_pause_that_runs() -> None:
    """Several who notice the same outage open it once."""
    breaker = _opened()
    breaker.trip(0.9)
    assert breaker.admit(1.0) is not None


def test_a_trip_while_the_probe_is_out_is_its_failure() -> None:
    """The pause doubles, and what the probe itself says afterwards is of the past."""
    breaker = _opened()
    probe = _admitted(breaker, 1.0)
    breaker.trip(1.5)
    breaker.succeeded(probe)
    assert breaker.refuses(3.4)
    assert not breaker.refuses(3.5)


def test_a_late_success_does_not_close() -> None:
    """It began before the breaker opened, so it says nothing of now: neither in the pause nor while a probe is out."""
    breaker = Breaker(failures=1)
    early = _admitted(breaker, 0.0)
    breaker.failed(_admitted(breaker, 0.0), 0.0)
    breaker.succeeded(early)
    assert breaker.state(0.5) == "open"
    probe = _admitted(breaker, 1.0)
    breaker.succeeded(early)
    assert breaker.state(1.0) == "half_open"
    breaker.succeeded(probe)
    assert breaker.state(1.0) == "closed"


def test_late_failures_do_not_count() -> None:
    """Calls that began before the breaker opened fail one after another: neither the pause nor the probe suffers."""
    breaker = Breaker(failures=1)
    early = [_admitted(breaker, 0.0) for _ in range(5)]
    breaker.failed(early[0], 0.0)
    breaker.failed(early[1], 0.9)
    probe = _admitted(breaker, 1.0)
    breaker.failed(early[2], 1.0)
    assert breaker.state(1.0) == "half_open"
    breaker.succeeded(probe)
    breaker.failed(early[3], 1.1)
    assert breaker.state(1.1) == "closed"


def test_a_probe_that_never_reports_blocks_for_the_longest_pause_only() -> None:
    """Then another goes out, alone again; the first one's report no longer counts."""
    breaker = _opened()
    lost = _admitted(breaker, 1.0)
    assert breaker.admit(5.99) is None
    second = _admitted(breaker, 6.0)
    assert breaker.admit(6.0) is None
    breaker.failed(lost, 6.1)
    breaker.succeeded(lost)
    assert breaker.state(6.1) == "half_open"
    breaker.succeeded(second)
    assert breaker.state(6.2) == "closed"


@pytest.mark.parametrize("options", [{"failures": 0}, {"pause_s": 0.0}, {"pause_s": 6.0}])
def test_settings_that_cannot_work_are_refused(options: dict[str, float]) -> None:
    """A mistake of the caller."""
    with pytest.raises(ValueError, match="at least 1"):
        Breaker(**options)  # type: ignore[arg-type]
