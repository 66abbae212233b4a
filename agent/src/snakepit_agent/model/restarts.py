"""Whether a worker that died is replaced at once or after a while: the failures of its index, and what forgives them. Pure."""

from __future__ import annotations

from snakepit_agent.model.actions import Policy
from snakepit_agent.model.seats import Seat

HEALTHY_SECONDS = 60.0
"""A worker that was ready for so long has forgotten its index's failures."""


def is_failing(seat: Seat, policy: Policy, now: float) -> bool:
    """Too many lives of this index ended before a first call. What dies of a call, or after a healthy minute, is replaced at once."""
    forgive(seat, now)
    if seat.calls:
        return False
    seat.exits.append(now)
    seat.failures += 1
    recent = sum(1 for at in seat.exits if now - at <= policy.window)
    never_ready = seat.ready_at == 0 and seat.failures > policy.max_restarts
    return seat.backoff > 0 or recent > policy.max_restarts or never_ready


def forgive(seat: Seat, now: float) -> None:
    """Forget the failures of one that has been well for long enough."""
    if seat.failures and seat.ready_at and now - seat.ready_at >= HEALTHY_SECONDS:
        seat.failures, seat.backoff = 0, 0.0
        seat.exits.clear()
