"""How long counts are kept, which look at the whole catalogue: the larger it is, the longer."""

_KEPT_S = 2.0
_SHARE = 0.05  # of the time is spent on counting the same again, at most


def kept_until(started: float, ended: float) -> float:
    """Until when to keep what was counted from `started` to `ended`: two seconds, or 20 times as long as it took."""
    return ended + max(_KEPT_S, (ended - started) / _SHARE)
