"""How long until the first answer: of a shop that starts again, and of a fresh clone."""

import shutil
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from bench.bench import Bench
from bench.shop import Shop, first_answer, free_port, run
from bench.table import Row, at_most, skipped

STARTS = 5
SECOND_START_S = 6
CLONE_S = 120
_REPOSITORY = Path(__file__).resolve().parent.parent


def rows(bench: Bench) -> Iterator[Row]:
    """The second start, then the clone."""
    yield _second_start(bench)
    yield _clone(bench)


def _second_start(bench: Bench) -> Row:
    photo = bench.material.encoded(1)[0]
    shop = bench.filled
    seconds = []
    for number in range(STARTS):
        bench.say(f"Starting `seesame up` ({number + 1} of {STARTS})")
        started = time.perf_counter()
        with shop.up() as client:
            first_answer(client, photo)
            seconds.append(time.perf_counter() - started)
    median = statistics.median(seconds)
    return at_most(
        f"second start of `seesame up` to the first search by photo answered, {bench.material.name}",
        median,
        SECOND_START_S,
        f"{median:.1f} s (median of {STARTS}; longest {max(seconds):.1f} s)",
        f"{SECOND_START_S} s",
    )


def _clone(bench: Bench) -> Row:
    what = "`git clone` and `make demo EXIT=1` to the first result, packages in pip's cache"
    missing = [program for program in ("git", "make") if shutil.which(program) is None]
    if missing or not (_REPOSITORY / ".git").exists():
        return skipped(what, f"needs {' and '.join(missing) or 'a git checkout'}")
    folder = bench.scratch("clone")
    environment = dict(Shop(folder, folder).environment)
    del environment["SEESAME_DATA_DIR"], environment["SEESAME_CACHE_DIR"]
    environment |= {"SEESAME_PORT": str(free_port())}
    python = getattr(sys, "_base_executable", sys.executable)  # of this environment, not in it
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    bench.say("Filling pip's cache")
    requirements = str(_REPOSITORY / "requirements" / "run.txt")
    packages = str(bench.scratch("packages"))
    run([*pip, "download", "-r", requirements, "-d", packages], folder=folder, environment=environment)
    bench.say("Cloning, installing, drawing, searching")
    started = time.perf_counter()
    run(["git", "clone", "--quiet", str(_REPOSITORY), "clone"], folder=folder, environment=environment)
    run(["make", "demo", "EXIT=1", f"PYTHON={python}"], folder=folder / "clone", environment=environment)
    seconds = time.perf_counter() - started
    return at_most(what, seconds, CLONE_S, f"{seconds:.0f} s", f"{CLONE_S} s")
