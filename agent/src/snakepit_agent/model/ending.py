"""How one worker's process comes to its end: its calls may finish, then TERM, then KILL. For `lifecycle`, and as pure."""

from __future__ import annotations

import signal

from snakepit_agent.model.actions import Action, Close, Policy, Signal, Stop
from snakepit_agent.model.seats import Seat, SeatEvent, SeatState

DUMP_SECONDS = 0.5
"""Between the request for a stack dump and the kill of a worker whose setup() does not return."""


def drain(seat: Seat, policy: Policy, now: float, *, keep: bool = False) -> list[Action]:
    """No more calls there, but for those of strict sessions that are in use there (`keep`). Repeating it can only shorten the time."""
    if seat.state is SeatState.DRAINING:
        seat.term_at = min(seat.term_at, now + policy.drain_timeout)
        return [Close(seat.incarnation)]
    if seat.state in (SeatState.STOPPING, SeatState.STOPPED):
        return []
    starting = seat.state is SeatState.STARTING
    seat.move(SeatEvent.DRAIN)
    if not seat.has_process:
        return []
    # What is still in setup() has nothing to finish, and reads nothing.
    seat.term_at = now if starting else now + policy.drain_timeout
    return _signals(seat, policy, now) if starting else [Close(seat.incarnation, keep)]


def press(seat: Seat, policy: Policy, now: float, *, busy: bool, kept: bool) -> list[Action]:
    """What time brings about for one that is to end, or whose setup() takes too long.

    `busy`: it holds calls; `kept`: sessions still need it.
    """
    if seat.state is SeatState.STARTING:
        return _setup(seat, policy, now)
    if seat.state is SeatState.DRAINING:
        return _calls(seat, policy, now, busy=busy, kept=kept)
    return _signals(seat, policy, now) if seat.state is SeatState.STOPPING else []


def kill(seat: Seat, reason: str, message: str) -> list[Action]:
    """At once, for a reason that is to be told; the first one counts."""
    seat.fault = seat.fault or (reason, message, "")
    return [Signal(seat.incarnation, signal.SIGKILL)]


def _calls(seat: Seat, policy: Policy, now: float, *, busy: bool, kept: bool) -> list[Action]:
    late = now >= seat.term_at
    if not late and (busy or kept):
        return []
    seat.move(SeatEvent.STOP)
    if busy:
        return _signals(seat, policy, now)
    if late:
        seat.term_at = now + policy.kill_after
    return [Stop(seat.incarnation)]


def _signals(seat: Seat, policy: Policy, now: float) -> list[Action]:
    """TERM at the end of the drain, KILL `kill_after` later; each once."""
    if now >= seat.kill_at:
        seat.kill_at = float("inf")
        return [Signal(seat.incarnation, signal.SIGKILL)]
    if now >= seat.term_at:
        seat.term_at, seat.kill_at = float("inf"), now + policy.kill_after
        seat.fault = seat.fault or ("Drained", "it was being stopped, and the time for running calls was over", "")
        return [Signal(seat.incarnation, signal.SIGTERM)]
    return []


def _setup(seat: Seat, policy: Policy, now: float) -> list[Action]:
    if seat.fault:
        # It has said why it ends, or was killed; a thread that its author has left would keep it for ever.
        seat.kill_at = min(seat.kill_at, now + policy.kill_after)
        return _signals(seat, policy, now)
    age = now - seat.since
    if age < policy.setup_timeout:
        return []
    if not seat.dumped:
        seat.dumped = True
        return [Signal(seat.incarnation, signal.SIGUSR1, group=False)]
    if age < policy.setup_timeout + DUMP_SECONDS:
        return []
    return kill(seat, "SetupTimeout", f"setup() did not return within {policy.setup_timeout:g} s")
