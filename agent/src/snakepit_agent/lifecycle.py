"""The life of every worker index: the rules for restart, backoff, drain and stop, over the table of states in `seats`.

Decides and never acts: each event returns the actions that it calls for, in order. Pure: no clock, no I/O; `now` is monotonic seconds.
A worker's process is an incarnation; an index outlives many of them.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Container
from dataclasses import dataclass

from snakepit_agent.seats import Event, Seat, State

FIRST_BACKOFF_SECONDS = 1.0
LONGEST_BACKOFF_SECONDS = 60.0
HEALTHY_SECONDS = 60.0
"""A worker that was ready for so long has forgotten its index's failures."""

DUMP_SECONDS = 0.5
"""Between the request for a stack dump and the kill of a worker whose setup() does not return."""


@dataclass(frozen=True)
class Start:
    """Ask the keeper for a process."""

    index: int
    incarnation: str


@dataclass(frozen=True)
class Signal:
    """Send a signal to a worker; `group`: to its children too."""

    incarnation: str
    signal: int
    group: bool = True


@dataclass(frozen=True)
class Close:
    """Admit no more calls there."""

    incarnation: str


@dataclass(frozen=True)
class Stop:
    """Tell the worker that no more calls will come."""

    incarnation: str


@dataclass(frozen=True)
class Finished:
    """Every worker has ended after a drain."""


Action = Start | Signal | Close | Stop | Finished


@dataclass(frozen=True)
class Policy:
    """The pool's settings that matter here; times in seconds."""

    workers: int
    max_restarts: int = 3
    window: float = 5.0
    drain_timeout: float = 60.0
    kill_after: float = 6.0
    setup_timeout: float = 600.0


class Lifecycle:
    """All seats of one capsule. `new_incarnation` names processes."""

    def __init__(self, policy: Policy, new_incarnation: Callable[[], str]) -> None:
        self.policy = policy
        self.seats = [Seat(index) for index in range(policy.workers)]
        self.draining = False
        self._has_keeper = False
        self._finished = False
        self._new_incarnation = new_incarnation
        self._by_incarnation: dict[str, Seat] = {}

    def seat(self, incarnation: str) -> Seat | None:
        """The seat of a living process."""
        return self._by_incarnation.get(incarnation)

    @property
    def is_drained(self) -> bool:
        """Is a drain over?"""
        return self._finished

    @property
    def is_ready(self) -> bool:
        return any(seat.is_routable for seat in self.seats)

    # ---- the keeper

    def keeper_came(self, now: float) -> list[Action]:
        """A keeper is there, without processes: start the workers, unless the capsule is ending."""
        self._has_keeper = True
        return [] if self.draining else [self._start(seat, now) for seat in self.seats if seat.state in (State.ABSENT, State.STOPPED)]

    def keeper_went(self, reason: str = "KeeperLost", message: str = "the worker's container ended") -> list[Action]:
        """The keeper is gone, and with it every process. That is no fault of a worker's: nothing counts towards a backoff."""
        self._has_keeper = False
        for seat in [seat for seat in self.seats if seat.has_process]:
            del self._by_incarnation[seat.incarnation]
            leaving = seat.state in (State.DRAINING, State.STOPPING) and (self.draining or not seat.again)
            seat.move(Event.ENDED if leaving else Event.GONE)
            seat.reason, seat.message = reason, message
        return self._finish()

    # ---- one worker

    def started(self, incarnation: str, pid: int) -> list[Action]:
        """The process exists."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.pid = pid
        return []

    def became_ready(self, incarnation: str, setup_seconds: float, now: float) -> bool:
        """`setup()` has returned; False when it is too late, as the worker is being stopped."""
        seat = self._by_incarnation.get(incarnation)
        if seat is None or seat.state is not State.STARTING:
            return False
        seat.move(Event.READY)
        seat.ready_at, seat.setup_seconds = now, setup_seconds
        seat.reason = seat.message = ""
        return True

    def could_not_start(self, incarnation: str, reason: str, message: str) -> None:
        """The worker's own word why it will exit."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.fault = (reason, message)

    def kill(self, incarnation: str, reason: str, message: str) -> list[Action]:
        """Kill the worker for a reason that is to be told."""
        self.could_not_start(incarnation, reason, message)
        return [Signal(incarnation, signal.SIGKILL)]

    def ended_a_call(self, incarnation: str) -> None:
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.served_one = True

    def died(self, incarnation: str, reason: str, how: str, now: float) -> list[Action]:
        """The process is dead, `how` in words: replace it now, later or not at all."""
        seat = self._by_incarnation.pop(incarnation, None)
        if seat is None:
            return []
        was_ready = seat.ready_at > 0
        seat.reason, seat.message = seat.fault or (
            reason,
            f"the worker ended: {how}" if was_ready else f"the worker ended before it was ready: {how}",
        )
        if seat.state in (State.DRAINING, State.STOPPING):
            return self._left(seat, now)
        if self._is_failing(seat, now):
            seat.move(Event.FAILING)
            seat.backoff = min(LONGEST_BACKOFF_SECONDS, seat.backoff * 2) if seat.backoff else FIRST_BACKOFF_SECONDS
            seat.retry_at = now + seat.backoff
            return []
        seat.move(Event.GONE)
        return [self._start(seat, now)] if self._has_keeper else []

    # ---- maintenance

    def drain(self, now: float) -> list[Action]:
        """The whole capsule: running calls may finish, then everything ends. Repeating it changes nothing."""
        if self.draining:
            return []
        self.draining = True
        actions = [action for seat in self.seats for action in self._drain(seat, now, again=False)]
        return actions + self._finish()

    def undrain(self) -> None:
        """A new keeper came after a drain that its predecessor had asked for: begin anew."""
        self.draining = self._finished = False

    def drain_worker(self, incarnation: str, now: float, *, again: bool) -> list[Action]:
        """One worker: its calls may finish, then it ends; `again`: and another takes its place."""
        seat = self._by_incarnation.get(incarnation)
        return self._drain(seat, now, again=again) if seat is not None else []

    def tick(self, now: float, busy: Container[str]) -> list[Action]:
        """Whatever time alone brings about. `busy`: incarnations that hold calls."""
        actions: list[Action] = []
        for seat in self.seats:
            actions += self._tick(seat, now, busy)
        return actions

    def _tick(self, seat: Seat, now: float, busy: Container[str]) -> list[Action]:
        if seat.state is State.BACKOFF:
            return [self._start(seat, now)] if now >= seat.retry_at and self._has_keeper else []
        if seat.state is State.STARTING:
            return self._check_setup(seat, now)
        if seat.state is State.READY and seat.failures and now - seat.ready_at >= HEALTHY_SECONDS:
            self._forgive(seat)
        if seat.state is State.DRAINING and (seat.incarnation not in busy or now >= seat.term_at):
            seat.move(Event.STOP)
            return [Stop(seat.incarnation)] if now < seat.term_at else self._press(seat, now)
        return self._press(seat, now) if seat.state is State.STOPPING else []

    def _press(self, seat: Seat, now: float) -> list[Action]:
        """TERM at the end of the drain, KILL `kill_after` later; each once."""
        if now >= seat.kill_at:
            seat.kill_at = float("inf")
            return [Signal(seat.incarnation, signal.SIGKILL)]
        if now >= seat.term_at:
            seat.term_at, seat.kill_at = float("inf"), now + self.policy.kill_after
            return [Signal(seat.incarnation, signal.SIGTERM)]
        return []

    def _check_setup(self, seat: Seat, now: float) -> list[Action]:
        age = now - seat.since
        if age < self.policy.setup_timeout:
            return []
        if not seat.dumped:
            seat.dumped = True
            return [Signal(seat.incarnation, signal.SIGUSR1, group=False)]
        if age < self.policy.setup_timeout + DUMP_SECONDS or seat.fault:
            return []
        return self.kill(seat.incarnation, "SetupTimeout", f"setup() did not return within {self.policy.setup_timeout:g} s")

    def _start(self, seat: Seat, now: float) -> Start:
        seat.move(Event.START)
        seat.incarnation = self._new_incarnation()
        seat.lives += 1
        seat.since, seat.ready_at, seat.setup_seconds, seat.pid = now, 0.0, 0.0, 0
        seat.term_at = seat.kill_at = float("inf")
        seat.served_one, seat.dumped, seat.again, seat.fault = False, False, True, None
        self._by_incarnation[seat.incarnation] = seat
        return Start(seat.index, seat.incarnation)

    def _drain(self, seat: Seat, now: float, *, again: bool) -> list[Action]:
        seat.again = seat.again and again
        if seat.state not in (State.ABSENT, State.BACKOFF, State.STARTING, State.READY):
            return []
        starting = seat.state is State.STARTING
        seat.move(Event.DRAIN)
        if not seat.has_process:
            return []
        # What is still in setup() has nothing to finish, and reads nothing.
        seat.term_at = now if starting else now + self.policy.drain_timeout
        return self._press(seat, now) if starting else [Close(seat.incarnation)]

    def _left(self, seat: Seat, now: float) -> list[Action]:
        if seat.again and self._has_keeper and not self.draining:
            if seat.fault is None:
                seat.reason, seat.message = "Recycled", "the worker before it was recycled"
            seat.move(Event.GONE)
            return [self._start(seat, now)]
        seat.move(Event.ENDED)
        seat.reason, seat.message = "Drained", "the worker was drained"
        return self._finish()

    def _finish(self) -> list[Action]:
        if not self.draining or self._finished or any(seat.has_process for seat in self.seats):
            return []
        self._finished = True
        return [Finished()]

    def _is_failing(self, seat: Seat, now: float) -> bool:
        """Too many lives of this index ended before a first call. What dies of a call, or after a healthy minute, is replaced at once."""
        if seat.ready_at and now - seat.ready_at >= HEALTHY_SECONDS:
            self._forgive(seat)
        if seat.served_one:
            return False
        seat.exits.append(now)
        seat.failures += 1
        recent = sum(1 for at in seat.exits if now - at <= self.policy.window)
        never_ready = seat.ready_at == 0 and seat.failures > self.policy.max_restarts
        return seat.backoff > 0 or recent > self.policy.max_restarts or never_ready

    def _forgive(self, seat: Seat) -> None:
        seat.failures, seat.backoff = 0, 0.0
        seat.exits.clear()
