"""What the pools promise of time, and whether a call that has run out of it had as much as it was promised, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulation.account import Attempt

QUEUE_SECONDS = 3.0
"""queue.timeoutSeconds."""

IDLE_SECONDS = 4.0
"""call.streamIdleSeconds."""

EARLY_SECONDS = 0.001
"""A time-out never comes earlier than that: sums of floats."""

LATE_SECONDS = 2.0
"""How long after its deadline an attempt may be answered: the router's patience, and the slowest links."""


def untimely(attempt: Attempt, message: str, *, steady: bool) -> str:
    """In words, or nothing. `steady`: a worker is always ready, so no call waits for one to come.

    A call under a key that others have used has the time of the first of them.
    """
    waited = attempt.ended - attempt.made
    if attempt.key:
        return ""
    if attempt.outcome == "DEADLINE" and "streamIdleSeconds" in message:
        return "" if waited >= IDLE_SECONDS - EARLY_SECONDS else f"{attempt.call_id} was given up as idle after {waited:.3f} s"
    if attempt.outcome == "DEADLINE":
        early = attempt.ended < _due(attempt) - EARLY_SECONDS
        return f"{attempt.call_id} met its deadline {waited:.3f} s after it was made" if early else ""
    if attempt.outcome == "QUEUE_TIMEOUT":
        late = steady and not attempt.patient and waited > QUEUE_SECONDS + LATE_SECONDS
        early = waited < QUEUE_SECONDS - EARLY_SECONDS
        return f"{attempt.call_id} was given up in the queue after {waited:.3f} s" if early or late else ""
    return ""


def _due(attempt: Attempt) -> float:
    """A tool's call ends with those around it; its worker takes them to end a little later, as what is left of a deadline travels."""
    around = [] if attempt.parent is None else [attempt.parent, *attempt.parent.around()]
    return min(attempt.due, *(run.attempt.due for run in around)) if around else attempt.due
