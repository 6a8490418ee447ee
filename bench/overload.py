"""The CLIP service under ten times what it can do, for a minute: whom it refuses, and how the others fare."""

import itertools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bench import load, random_clip
from bench.bench import Bench
from bench.clip_process import clip
from bench.load import Load, Reply, Stage, Target
from bench.service import written
from bench.table import Row, at_least, at_most

CLIENTS = 16  # of the closed loop that finds the peak
PEAK_PHOTOS = 192
TIMES = 10
SECONDS = 60
CALM = 4  # requests a second, before and after
CALM_BEFORE_S, CALM_AFTER_S = 8, 15
QUEUE_S = 2
REFUSED_MS, REFUSED, GOODPUT, BACK_S = 100, 0.99, 0.90, 5
_IN_A_ROW = 5  # good replies that show that all is as it was
_SLOWER = 1.5  # than the slow tenth of those before the overload: not yet as it was


def rows(bench: Bench) -> Iterator[Row]:
    """The peak, the overload, the peak again."""
    folder = bench.scratch("clip")
    random_clip.write(folder)
    photos = bench.material.encoded(PEAK_PHOTOS)
    files = written(bench, photos)
    with clip(bench.scratch("overload"), folder, photos[0], queue_s=str(QUEUE_S)) as service:
        bench.say(f"The peak: {CLIENTS} clients")
        _peak(service.target, files)  # warms up
        before = _peak(service.target, files)
        bench.say(f"{TIMES * before.rate:.0f} requests a second for {SECONDS} s")
        stages = (Stage(CALM, CALM_BEFORE_S), Stage(TIMES * before.rate, SECONDS), Stage(CALM, CALM_AFTER_S))
        done = load.opened(service.target, files, stages)
        bench.say("The peak again")
        after = _peak(service.target, files)
    refused = len(before.refused) + len(after.refused)
    yield Row(
        f"CLIP service, fp32: its peak, {CLIENTS} clients, before and after the overload",
        f"{before.rate:.1f} and {after.rate:.1f} images/s ({refused} of {2 * PEAK_PHOTOS} requests refused)",
    )
    yield from _judged(done, max(before.rate, after.rate), TIMES * before.rate)


def _peak(target: Target, files: Path) -> Load:
    """A closed loop. Where this many clients are too many already, those refused pause for a moment."""
    return load.closed(target, files, clients=CLIENTS, requests=PEAK_PHOTOS)


def _judged(done: Load, peak: float, sent: float) -> Iterator[Row]:
    calm, storm, rest = (done.of(stage) for stage in range(3))
    name = f"CLIP service at {TIMES} times its peak for {SECONDS} s"
    late = np.quantile([reply.late_s for reply in storm.replies], 0.99) * 1000
    share = done.cpu_s / SECONDS  # all of it, though a little was for what came before and after
    yield Row(
        f"{name}: what was sent",
        f"{sent:.0f} requests/s, p99 {late:.0f} ms late; {done.connections} connections; {share:.0%} of a core",
    )
    good = sum(
        reply.status == 429 and reply.retry_after and reply.took_s * 1000 <= REFUSED_MS for reply in storm.refused
    )
    refused = good / max(1, len(storm.refused))
    kinds = ", ".join(f"{status or 'broken'}: {n}" for status, n in Counter(r.status for r in storm.refused).items())
    slowest = np.quantile([reply.took_s for reply in storm.refused] or [0.0], 0.99) * 1000
    yield at_least(
        f"{name}: of what is refused, 429 with Retry-After within {REFUSED_MS} ms",
        refused, REFUSED, f"{refused:.1%} (p99 {slowest:.0f} ms; {kinds})", f"{REFUSED:.0%}",
    )  # fmt: skip
    goodput = sum(CALM_BEFORE_S <= reply.done_s <= CALM_BEFORE_S + SECONDS for reply in storm.accepted) / SECONDS
    measured = f"{goodput:.1f} of {peak:.1f} images/s = {goodput / peak:.0%}"
    yield at_least(f"{name}: goodput, of the peak", goodput / peak, GOODPUT, measured, f"{GOODPUT:.0%}")
    median, p99 = np.quantile([reply.took_s for reply in storm.accepted] or [np.inf], (0.5, 0.99))
    most = 2 * QUEUE_S
    yield at_most(f"{name}: p99 of what is accepted", p99, most, f"{p99:.2f} s (median {median:.2f} s)", f"{most} s")
    usual, slow = np.quantile([reply.took_s for reply in calm.replies], (0.5, 0.9))
    back = _back_s(rest.replies, slow * _SLOWER)
    measured = f"after {back:.1f} s (before: median {usual * 1000:.0f} ms, a tenth above {slow * 1000:.0f} ms)"
    what = f"{name}: {_IN_A_ROW} replies in a row at most {_SLOWER:g} times as slow as the slow tenth before"
    yield at_most(what, back, BACK_S, measured, f"{BACK_S} s")


def _back_s(replies: tuple[Reply, ...], most_s: float) -> float:
    """When replies are as they were before, counted from the end of the overload; infinite if they never are."""
    ordered = sorted(replies, key=lambda reply: reply.sent_s)
    good = [reply.status == 200 and reply.took_s <= most_s for reply in ordered]
    for first, reply in enumerate(ordered):
        if first + _IN_A_ROW <= len(good) and all(itertools.islice(good, first, first + _IN_A_ROW)):
            return reply.done_s - CALM_BEFORE_S - SECONDS
    return float("inf")
