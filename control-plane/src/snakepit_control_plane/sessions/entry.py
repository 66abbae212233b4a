"""One session as this replica has it in its cache. Pure: state, and the questions that it answers by itself."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakepit_control_plane.router.calls import Call
    from snakepit_control_plane.store.interface import SessionRecord

IDLE_SECONDS = 60.0
"""A session that nobody used for this long is forgotten by the replica (it stays in the store)."""


class SessionEntry:
    """`active`: calls whose turn it is; `running`: those of them that are on a worker."""

    __slots__ = ("active", "busy", "dirty", "id", "last_used", "pool", "record", "running", "waiting")

    def __init__(self, pool: str, session: str) -> None:
        self.pool = pool
        self.id = session
        self.record: SessionRecord | None = None
        self.active = 0
        self.running = 0
        # Somebody is being asked about it; calls wait for the answer.
        self.busy = False
        self.dirty = False
        self.last_used = 0.0
        self.waiting: deque[Call] = deque()

    def is_idle(self, now: float) -> bool:
        return not (self.active or self.waiting or self.busy) and now - self.last_used > IDLE_SECONDS
