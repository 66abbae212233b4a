"""How long a tool usually takes: the running mean that sending ahead goes by. Pure; seconds."""

from __future__ import annotations

WEIGHT = 0.1

_USUAL = 20.0
_GRACE_SECONDS = 0.0002


def next_mean(mean: float | None, seconds: float) -> float:
    """The mean after one more call; None: there was none before.

    A call that the machine kept waiting for the processor says nothing of its tool. So one that took far longer than usual counts
    in part; when more than one in twenty does, the mean follows in full.
    """
    if mean is None:
        return seconds
    most = _USUAL * mean + _GRACE_SECONDS
    return mean + WEIGHT * ((seconds if seconds < most else most) - mean)
