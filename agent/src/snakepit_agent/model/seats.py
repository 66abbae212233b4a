"""A worker process of an index, the table of its states, and all of a capsule. Which event happens when is decided in `lifecycle`. Pure.

docs/workers.md has the table as a picture: `make docs` draws it from here.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Iterator
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
    `own_bytes`: memory that it shares with no other process; 0: unknown, as is `rss_bytes`. `ended`: how the life before this one did.
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
    ended: str = ""
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


class Seats:
    """All of a capsule, and what was heard of each; a word about a process that is gone is passed over.

    `current`: of each index what serves there, or should. `successors`: what will, when it is ready. `leaving`: what did, until it has
    ended. An index is in one of the latter two at most.
    """

    def __init__(self, workers: int) -> None:
        self.current = [Seat(index) for index in range(workers)]
        self.successors: dict[int, Seat] = {}
        self.leaving: dict[int, Seat] = {}
        self._by_incarnation: dict[str, Seat] = {}

    def __iter__(self) -> Iterator[Seat]:
        yield from self.current
        yield from list(self.successors.values())
        yield from list(self.leaving.values())

    def of(self, incarnation: str) -> Seat | None:
        """The seat of a living process."""
        return self._by_incarnation.get(incarnation)

    def name(self, seat: Seat, incarnation: str) -> None:
        """A process of that name is about to sit there."""
        seat.incarnation = incarnation
        self._by_incarnation[incarnation] = seat

    def forget(self, incarnation: str) -> Seat | None:
        """The process is dead; the seat that it had."""
        return self._by_incarnation.pop(incarnation, None)

    def forget_stopped(self) -> None:
        """What was beside another, and has ended."""
        for beside in (self.successors, self.leaving):
            for index in [index for index, seat in beside.items() if seat.state is SeatState.STOPPED]:
                del beside[index]

    def clear(self) -> None:
        """Every process is dead."""
        self.successors.clear()
        self.leaving.clear()
        self._by_incarnation.clear()

    @property
    def is_ready(self) -> bool:
        """Does a worker take calls?"""
        return any(seat.is_routable for seat in self.current)

    @property
    def is_failing(self) -> bool:
        """Did the last try to start some worker fail?"""
        return any(not seat.ready_at and (seat.failures or seat.backoff) for seat in self)

    @property
    def is_at_rest(self) -> bool:
        """Nothing is about to happen by the passing of time alone, but for what has seconds to spare."""
        return all(seat.is_at_rest for seat in self)

    def started(self, incarnation: str, pid: int, note: str = "") -> None:
        """The process exists. `note`: what is to be said of it for as long as it lives."""
        if (seat := self.of(incarnation)) is not None:
            seat.pid, seat.note = pid, note

    def could_not_start(self, incarnation: str, reason: str, message: str, traceback: str = "") -> None:
        """Why the worker will exit; the first word counts."""
        if (seat := self.of(incarnation)) is not None:
            seat.fault = seat.fault or (reason, message, traceback)

    def suspect(self, incarnation: str, suspect: bool) -> None:
        """It does not answer, or does again; for whoever looks at the workers."""
        seat = self.of(incarnation)
        if seat is not None and seat.state is SeatState.READY:
            seat.reason = "NotAnswering" if suspect else ""
            seat.message = "it runs no call and does not answer: it gets no new ones" if suspect else ""

    def ended_a_call(self, incarnation: str) -> None:
        """The worker has served one more, which counts for `recycle.maxCalls`."""
        if (seat := self._by_incarnation.get(incarnation)) is not None:
            seat.calls += 1

    def measured(self, incarnation: str, rss_bytes: int, own_bytes: int) -> None:
        """The process's memory; 0: unknown."""
        if (seat := self.of(incarnation)) is not None:
            seat.rss_bytes, seat.own_bytes = rss_bytes, own_bytes
