"""The CLIP service is killed, stopped, wedged or slow, while customers search."""

import signal
import time
from collections.abc import Callable

import numpy as np
import pytest

from tests.faults.conftest import Figures, Stack, clip_status, wait_for_clip
from tests.faults.processes import Process, eventually
from tests.faults.searches import Answered, Customers, searching
from tests.faults.sizes import SIZES

NOTICED_S, BACK_S, SEARCH_S = 2, 10, 10
WEDGED_S = 3  # the service itself takes up to two seconds to know that an inference does not end
STUCK_S, SLOW_S = 3600, 0.7
CALM_S = 0.3
Act = Callable[[Stack], None]


def _start(stack: Stack) -> None:
    stack.clip.start()


FAULTS: dict[str, tuple[Act, Act]] = {
    "killed": (lambda stack: stack.clip.kill(), _start),
    "stopped": (lambda stack: stack.clip.signal(signal.SIGSTOP), lambda stack: stack.clip.signal(signal.SIGCONT)),
    "wedged": (lambda stack: stack.pace(STUCK_S), lambda stack: stack.pace(0)),
    "slow": (lambda stack: stack.pace(SLOW_S), lambda stack: stack.pace(0)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_searches_go_on_without_clip(stack: Stack, api: Process, figures: Figures, fault: str) -> None:
    """Every search is answered in time, /health tells, and CLIP answers again as soon as it can."""
    strike, mend = FAULTS[fault]
    noticed: list[float] = []
    back: list[float] = []
    answers: list[Answered] = []
    for _ in range(SIZES.rounds):
        with searching(api.url, stack.photo) as customers:
            eventually(lambda customers=customers: _from_clip(customers, 0))  # type: ignore[misc]
            time.sleep(CALM_S)
            struck = time.monotonic()
            strike(stack)
            if fault != "slow":  # a service that is slow works; it refuses what would take too long
                eventually(lambda: clip_status(api) != "available")
                noticed.append(time.monotonic() - struck)
            time.sleep(SIZES.outage_s if fault != "slow" else max(2, SIZES.outage_s))
            mend(stack)
            eventually(stack.clip.is_ready)
            ready = time.monotonic()
            wait_for_clip(api)
            eventually(lambda customers=customers, ready=ready: _from_clip(customers, ready))  # type: ignore[misc]
            back.append(time.monotonic() - ready)
        answers += [answer for answer in customers.answers if answer.began > struck]
    name = f"CLIP service {fault}, {SIZES.rounds} ×"
    took = [answer.took_s for answer in answers]
    degraded = sum(answer.reason is not None for answer in answers)
    figures.none(f"{name}: searches that failed", sum(a.status != 200 for a in answers), f"{len(answers):,}")
    figures.tell(f"{name}: of them answered by the fallback", f"{degraded:,}; p99 {np.quantile(took, 0.99):.2f} s")
    figures.at_most(f"{name}: the slowest search", max(took), SEARCH_S, "s")
    if noticed:
        figures.at_most(
            f"{name}: until the API's /health says so", max(noticed), WEDGED_S if fault == "wedged" else NOTICED_S, "s"
        )
    figures.at_most(f"{name}: from ready again to an answer from CLIP", max(back), BACK_S, "s")
    assert degraded or fault == "slow"  # slow is not too slow: how many it refuses depends on who else searches


def _from_clip(customers: Customers, since: float) -> bool:
    return any(a.began > since and a.status == 200 and a.reason is None for a in customers.answers[-20:])
