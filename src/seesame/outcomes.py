"""How something that may fail came out, for whoever counts."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from seesame.errors import SeesameError


@contextmanager
def outcome_told(tell: Callable[[str, float], None]) -> Iterator[None]:
    """Tells how the block ended - `ok`, the code of an error of ours, or `failed` - and its seconds."""
    started, outcome = time.monotonic(), "failed"
    try:
        yield
        outcome = "ok"
    except SeesameError as error:
        outcome = error.code
        raise
    finally:
        tell(outcome, time.monotonic() - started)
