"""A worker process of an index, and the table of its states. Which event happens when is decided in `lifecycle`. Pure.

docs/workers.md has the table as a picture: `make docs` draws it from here.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field


class SeatState(enum.Enum):
    """Where the process of a worker index is in its life; the value says so to people."""

    ABSENT = "no process yet"
    STARTING = "setup() has not returned"
    READY = "serving"
    REPLACING = "serving until its successor is ready"
    DRAINING = "finishing its calls"
    STOPPING = "told to stop"
    BACKOFF = "can't start, waiting"
    STOPPED = "not wanted any more"


class SeatEvent(enum.Enum):
    """What moves a process from one state to the next."""

    START = "a process was asked for"
    READY = "setup() returned"
    RECYCLE = "a successor was asked for"
    GONE = "the process is dead, another is due at once"
    FAILING = "the process is dead, another is due later"
    ENDED = "the process is dead, none is due"
    DRAIN = "no new calls"
    STOP = "stop now"


TABLE: dict[SeatState, dict[SeatEvent, SeatState]] = {
    SeatState.ABSENT: {SeatEvent.START: SeatState.STARTING, SeatEvent.DRAIN: SeatState.STOPPED},
    SeatState.STARTING: {
        SeatEvent.READY: SeatState.READY,
        SeatEvent.GONE: SeatState.ABSENT,
        SeatEvent.FAILING: SeatState.BACKOFF,
        SeatEvent.DRAIN: SeatState.STOPPING,
    },
    SeatState.READY: {
        SeatEvent.RECYCLE: SeatState.REPLACING,
        SeatEvent.GONE: SeatState.ABSENT,
        SeatEvent.FAILING: SeatState.BACKOFF,
        SeatEvent.DRAIN: SeatState.DRAINING,
    },
    SeatState.REPLACING: {SeatEvent.DRAIN: SeatState.DRAINING, SeatEvent.GONE: SeatState.ABSENT, SeatEvent.ENDED: SeatState.STOPPED},
    SeatState.DRAINING: {SeatEvent.STOP: SeatState.STOPPING, SeatEvent.ENDED: SeatState.STOPPED},
    SeatState.STOPPING: {SeatEvent.ENDED: SeatState.STOPPED},
    SeatState.BACKOFF: {SeatEvent.START: SeatState.STARTING, SeatEvent.DRAIN: SeatState.STOPPED},
    SeatState.STOPPED: {SeatEvent.START: SeatState.STARTING},
}

_ALIVE = (SeatState.STARTING, SeatState.READY, SeatState.REPLACING, SeatState.DRAINING, SeatState.STOPPING)


@dataclass(eq=False)
class Seat:
    """One process of a worker index, or the wish for one: its state, and how it came to it.

    `share`: what of each recycling limit holds for this life. `wish`: why it is to be recycled. `calls`: how many it has ended.
    `own_bytes`: memory that it shares with no other process; 0: unknown, as is `rss_bytes`.
    """

    index: int
    state: SeatState = SeatState.ABSENT
    incarnation: str = ""
    pid: int = 0
    since: float = 0.0
    ready_at: float = 0.0
    setup_seconds: float = 0.0
    python: str = ""
    note: str = ""
    share: float = 1.0
    wish: str = ""
    calls: int = 0
    rss_bytes: int = 0
    own_bytes: int = 0
    lives: int = 0
    reason: str = ""
    message: str = ""
    traceback: str = ""
    failures: int = 0
    backoff: float = 0.0
    retry_at: float = 0.0
    term_at: float = float("inf")
    kill_at: float = float("inf")
    dumped: bool = False
    fault: tuple[str, str, str] | None = None
    exits: deque[float] = field(default_factory=lambda: deque(maxlen=64))

    @property
    def is_routable(self) -> bool:
        """May calls go there?"""
        return self.state in (SeatState.READY, SeatState.REPLACING)

    @property
    def is_at_rest(self) -> bool:
        """Will nothing happen there unless somebody asks for it?"""
        return self.state in (SeatState.READY, SeatState.STOPPED)

    @property
    def has_process(self) -> bool:
        """Is there a process, or one on its way?"""
        return self.state in _ALIVE

    def move(self, event: SeatEvent) -> None:
        """Follow the table. KeyError: the event is impossible in this state, which is a mistake of ours."""
        self.state = TABLE[self.state][event]
