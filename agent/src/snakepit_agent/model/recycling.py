"""When a worker that is well gives its place to a fresh one, and how many may do so at a time. Pure; carried out by `lifecycle`."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from snakepit_agent.model.seats import Seat, SeatState


class Why(enum.StrEnum):
    """The `reason` of the metric; the value is also what `snakepit workers` shows."""

    AGE = "age"
    CALLS = "calls"
    MEMORY = "memory"
    ASKED = "asked"
    SESSION = "session"


WORDS = {
    Why.AGE: "it has served for recycle.maxAgeSeconds",
    Why.CALLS: "it has served recycle.maxCalls calls",
    Why.MEMORY: "its own memory is above recycle.maxMemory",
    Why.ASKED: "somebody asked for it",
    Why.SESSION: "it has served its session (worker.exclusive)",
}


@dataclass(frozen=True)
class RecycleLimits:
    """Of one life; 0: none. `jitter`: up to this share of each limit is taken off, another one in each life."""

    age: float = 0.0
    calls: int = 0
    memory: int = 0
    jitter: float = 0.1

    def share(self, chance: float) -> float:
        """What of the limits holds for a life; `chance` from 0 to 1."""
        return 1.0 - self.jitter * chance


NO_LIMITS = RecycleLimits()


def due(seat: Seat, limits: RecycleLimits, now: float) -> Why | None:
    """Why the worker should be recycled now; None while it need not.

    Memory counts from the first call on: what a worker has right after setup(), its successor would have too.
    """
    if seat.state is not SeatState.READY:
        return None
    if seat.wish:
        return Why(seat.wish)
    if limits.memory and seat.calls and seat.own_bytes >= limits.memory * seat.share:
        return Why.MEMORY
    if limits.calls and seat.calls >= max(1.0, limits.calls * seat.share):
        return Why.CALLS
    return Why.AGE if limits.age and now - seat.ready_at >= limits.age * seat.share else None


def most_at_once(workers: int) -> int:
    """How many workers of a capsule may have two processes at a time."""
    return max(1, workers // 4)
