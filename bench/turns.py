"""Contenders measured in turns, there and back, so that a noisy minute hits all alike."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Key = TypeVar("Key")
Result = TypeVar("Result")


def in_turns(contenders: Mapping[Key, Callable[[], Result]], rounds: int) -> dict[Key, list[Result]]:
    """What each contender returned, round by round; a first round, which warms up, is left out."""
    results: dict[Key, list[Result]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name in list(contenders)[:: 1 if number % 2 else -1]:
            result = contenders[name]()
            if number:
                results[name].append(result)
    return results


def medians(contenders: Mapping[Key, Callable[[], object]], rounds: int) -> dict[Key, float]:
    """The median seconds of each contender."""
    results = in_turns({name: _timed(work) for name, work in contenders.items()}, rounds)
    return {name: statistics.median(values) for name, values in results.items()}


def _timed(work: Callable[[], object]) -> Callable[[], float]:
    return lambda: seconds(work)


def seconds(work: Callable[[], object]) -> float:
    """How long it takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
