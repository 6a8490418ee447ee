"""Far more work than the CLIP service can do."""

from pathlib import Path

import numpy as np
from bench.load import Stage, Target

from bench import load
from seesame.models.session import default_threads
from tests.faults.conftest import Figures, Stack
from tests.faults.processes import eventually
from tests.faults.sizes import SIZES

PICTURE_S = 0.05
CAPACITY = min(2, default_threads()) / PICTURE_S  # two runs at once
TIMES = 10
REFUSED_S, BACK_S = 0.1, 5


def test_too_much_is_refused_and_the_rest_answered(stack: Stack, figures: Figures, tmp_path: Path) -> None:
    """Each request gets its vector, or 429 and when to come again; after the storm, the next one is answered."""
    (tmp_path / "photo.jpg").write_bytes(stack.photo)
    target = Target("127.0.0.1", stack.clip.port)
    stack.pace(PICTURE_S)
    try:
        storm = load.opened(target, tmp_path, [Stage(CAPACITY, 1), Stage(TIMES * CAPACITY, SIZES.storm_s)]).of(1)
        (after,) = load.closed(target, tmp_path, clients=1, requests=1).replies
    finally:
        stack.pace(0)
    eventually(stack.clip.is_ready)
    name = f"CLIP service at {TIMES} times its capacity for {SIZES.storm_s:g} s"
    odd = sum(reply.status != 429 or not reply.retry_after for reply in storm.refused)
    figures.none(f"{name}: refused otherwise than by 429 with Retry-After", odd, f"{len(storm.refused):,}")
    slow = float(np.quantile([reply.took_s for reply in storm.refused], 0.99))
    figures.at_most(f"{name}: 99 % of what is refused", slow, REFUSED_S, "s")
    rate = len(storm.accepted) / SIZES.storm_s
    figures.tell(f"{name}: answered", f"{rate:.1f} a second of the {CAPACITY:.0f} that the model can do")
    figures.at_most(f"{name}: a request after it", after.took_s, BACK_S, "s")
    assert after.status == 200
    assert storm.refused
    assert rate > 0.5 * CAPACITY
