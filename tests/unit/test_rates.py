"""How often somebody may ask."""

import pytest

from seesame.rates import Rate, Rates

_RATE = Rate(6, 60)


class _Clock:
    def __init__(self) -> None:
        self.now = 60_000_000.0  # where a period begins

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> _Clock:
    """Time that passes when it is told."""
    return _Clock()


@pytest.mark.parametrize(
    ("text", "rate"), [("120/minute", Rate(120, 60)), ("5/second", Rate(5, 1)), ("9/hour", Rate(9, 3600))]
)
def test_rates_are_written_in_words(text: str, rate: Rate) -> None:
    """A number of requests in a second, a minute or an hour."""
    assert Rate.parse(text) == rate


@pytest.mark.parametrize(
    "text", ["", "120", "0/minute", "-1/minute", "1.5/minute", "5/day", "5 / minute", "9999999999/hour"]
)
def test_other_words_are_refused(text: str) -> None:
    """The error shows how it is written."""
    with pytest.raises(ValueError, match="120/minute"):
        Rate.parse(text)


def test_each_who_asks_has_a_rate_of_their_own(clock: _Clock) -> None:
    """What is over it is refused; what is refused is not counted, and counts for nobody else."""
    rates = Rates(clock=clock)
    assert [rates.take("a", _RATE) for _ in range(6)] == [0.0] * 6
    assert rates.take("a", _RATE) > 0
    assert rates.take("b", _RATE) == 0
    assert rates.take("a", Rate(100, 1)) == 0


@pytest.mark.parametrize("passed_s", [0.0, 13.0, 59.9])
@pytest.mark.parametrize("cost", [1, 4, 100])
def test_the_wait_that_is_told_is_just_long_enough(clock: _Clock, passed_s: float, cost: int) -> None:
    """Not until then is one more in time; also across the end of the period, and for what costs more."""
    rates = Rates(clock=clock)
    clock.now += passed_s
    while not rates.take("a", _RATE):
        pass
    for _ in range(3):
        before = clock.now
        wait_s = rates.take("a", _RATE, cost)
        assert 0 < wait_s <= 120
        clock.now = before + wait_s - 0.01
        assert rates.take("a", _RATE, cost) > 0
        clock.now = before + wait_s + 0.01
        assert rates.take("a", _RATE, cost) == 0


def test_the_window_slides(clock: _Clock) -> None:
    """The start of a period brings no burst: what was asked just before still counts."""
    rates = Rates(clock=clock)
    clock.now += 59
    assert sum(not rates.take("a", _RATE) for _ in range(10)) == 6
    clock.now += 2
    assert rates.take("a", _RATE) > 0
    clock.now += 120
    assert sum(not rates.take("a", _RATE) for _ in range(10)) == 6


def test_a_flood_of_addresses_takes_no_more_memory(clock: _Clock) -> None:
    """So many are remembered, those that asked last."""
    rates = Rates(clock=clock, max_subjects=10)
    for number in range(100):
        for _ in range(6):
            rates.take(str(number), _RATE)
    assert len(rates._counts) == 10
    assert rates.take("99", _RATE) > 0
    assert rates.take("1", _RATE) == 0
