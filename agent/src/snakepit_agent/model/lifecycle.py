"""The life of every worker index: the rules for restart, backoff, recycling, drain and stop, over the table of states in `seats`.

Decides and never acts: each event returns the actions that it calls for, in order. Pure: no clock, no I/O; `now` is monotonic seconds.
A worker's process is an incarnation; an index outlives many of them, and has two only while one takes the place of the other.
"""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable, Container, Iterator

from snakepit._retry import Backoff
from snakepit_agent.model.actions import Action, Close, Finished, Policy, Signal, Start, Stop
from snakepit_agent.model.recycling import Why, due, most_at_once
from snakepit_agent.model.seats import Seat, SeatEvent, SeatState

BACKOFF_SECONDS = Backoff(1.0, 60.0)
HEALTHY_SECONDS = 60.0
"""A worker that was ready for so long has forgotten its index's failures."""

DUMP_SECONDS = 0.5
"""Between the request for a stack dump and the kill of a worker whose setup() does not return."""


class Lifecycle:
    """All workers of one capsule. `new_incarnation` names processes, `chance` draws a number from 0 to 1.

    `seats`: of each index what serves there, or should. `successors`: what will, when it is ready. `leaving`: what did, until it has ended.
    An index is in one of the two at most. `recycled` counts the successions by their reason.
    """

    def __init__(self, policy: Policy, new_incarnation: Callable[[], str], chance: Callable[[], float] = lambda: 0.0) -> None:
        self.policy = policy
        self.seats = [Seat(index) for index in range(policy.workers)]
        self.successors: dict[int, Seat] = {}
        self.leaving: dict[int, Seat] = {}
        self.recycled: Counter[str] = Counter()
        self.draining = False
        self._has_keeper = False
        self._finished = False
        self._new_incarnation = new_incarnation
        self._chance = chance
        self._by_incarnation: dict[str, Seat] = {}

    def seat(self, incarnation: str) -> Seat | None:
        """The seat of a living process."""
        return self._by_incarnation.get(incarnation)

    def all_seats(self) -> Iterator[Seat]:
        """Those that serve, their successors, and those that leave."""
        yield from self.seats
        yield from list(self.successors.values())
        yield from list(self.leaving.values())

    @property
    def is_drained(self) -> bool:
        """Is a drain over?"""
        return self._finished

    @property
    def is_ready(self) -> bool:
        """Does a worker take calls?"""
        return any(seat.is_routable for seat in self.seats)

    @property
    def is_failing(self) -> bool:
        """Did the last try to start some worker fail?"""
        return any(not seat.ready_at and (seat.failures or seat.backoff) for seat in self.all_seats())

    @property
    def is_at_rest(self) -> bool:
        """Nothing is about to happen by the passing of time alone, but for what has seconds to spare."""
        return all(seat.is_at_rest for seat in self.all_seats())

    # ---- the keeper

    def keeper_came(self, now: float) -> list[Action]:
        """A keeper is there, without processes: start the workers, unless the capsule is ending."""
        self._has_keeper = True
        wanted = [seat for seat in self.seats if seat.state in (SeatState.ABSENT, SeatState.STOPPED)]
        return [] if self.draining else [self._start(seat, now) for seat in wanted]

    def keeper_went(self, reason: str = "KeeperLost", message: str = "the worker's container ended") -> list[Action]:
        """The keeper is gone, and with it every process. That is no fault of a worker's: nothing counts towards a backoff."""
        self._has_keeper = False
        for seat in [seat for seat in self.seats if seat.has_process]:
            seat.move(SeatEvent.ENDED if seat.state in (SeatState.DRAINING, SeatState.STOPPING) else SeatEvent.GONE)
            seat.reason, seat.message, seat.traceback = reason, message, ""
        self.successors.clear()
        self.leaving.clear()
        self._by_incarnation.clear()
        return self._finish()

    # ---- one worker

    def started(self, incarnation: str, pid: int, note: str = "") -> None:
        """The process exists. `note`: what is to be said of it for as long as it lives."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.pid, seat.note = pid, note

    def became_ready(self, incarnation: str, setup_seconds: float, now: float, python: str = "") -> list[Action] | None:
        """`setup()` has returned; None when it is too late, as the worker is being stopped. A predecessor that it has makes room."""
        seat = self._by_incarnation.get(incarnation)
        if seat is None or seat.state is not SeatState.STARTING:
            return None
        seat.move(SeatEvent.READY)
        seat.ready_at, seat.setup_seconds, seat.python = now, setup_seconds, python
        seat.reason, seat.message, seat.traceback = ("NotForked", seat.note, "") if seat.note else ("", "", "")
        return self._succeed(self.seats[seat.index], now) if self.successors.get(seat.index) is seat else []

    def could_not_start(self, incarnation: str, reason: str, message: str, traceback: str = "") -> None:
        """Why the worker will exit; the first word counts."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.fault = seat.fault or (reason, message, traceback)

    def suspect(self, incarnation: str, suspect: bool) -> None:
        """It does not answer, or does again; for whoever looks at the workers."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None and seat.state is SeatState.READY:
            seat.reason = "NotAnswering" if suspect else ""
            seat.message = "it runs no call and does not answer: it gets no new ones" if suspect else ""

    def kill(self, incarnation: str, reason: str, message: str) -> list[Action]:
        """Kill the worker for a reason that is to be told."""
        self.could_not_start(incarnation, reason, message)
        return [Signal(incarnation, signal.SIGKILL)]

    def ended_a_call(self, incarnation: str) -> None:
        """The worker has served one more, which counts for `recycle.maxCalls`."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.calls += 1

    def measured(self, incarnation: str, rss_bytes: int, own_bytes: int) -> None:
        """The process's memory; 0: unknown."""
        seat = self._by_incarnation.get(incarnation)
        if seat is not None:
            seat.rss_bytes, seat.own_bytes = rss_bytes, own_bytes

    def memory_interest(self, incarnation: str) -> int:
        """From how many bytes of its own on the worker is recycled; 0: never."""
        seat = self._by_incarnation.get(incarnation)
        return int(self.policy.limits.memory * seat.share) if seat is not None else 0

    def died(self, incarnation: str, reason: str, how: str, now: float) -> list[Action]:
        """The process is dead, `how` in words: replace it now, later or not at all."""
        seat = self._by_incarnation.pop(incarnation, None)
        if seat is None:
            return []
        was_ready = seat.ready_at > 0
        seat.reason, seat.message, seat.traceback = seat.fault or (
            reason,
            f"the worker ended: {how}" if was_ready else f"the worker ended before it was ready: {how}",
            "",
        )
        if seat.state in (SeatState.DRAINING, SeatState.STOPPING):
            return self._left(seat, now)
        if seat.state is SeatState.REPLACING:
            seat.move(SeatEvent.ENDED)
            return self._promote(seat, now)
        if self.successors.get(seat.index) is seat or self._is_failing(seat, now):
            seat.move(SeatEvent.FAILING)
            seat.backoff = BACKOFF_SECONDS.after(seat.backoff)
            seat.retry_at = now + seat.backoff
            return []
        seat.move(SeatEvent.GONE)
        return [self._start(seat, now)] if self._has_keeper else []

    # ---- recycling

    def recycle(self, incarnation: str, why: Why, now: float) -> list[Action]:
        """A successor takes the worker's place: at once, or when it is its turn. What can't start is tried again now."""
        seat = next((seat for seat in self.seats if seat.incarnation == incarnation), None)
        if seat is None:
            return []
        if seat.state is SeatState.BACKOFF:
            return self._hasten(seat, now)
        seat.wish = seat.wish or why
        if (successor := self.successors.get(seat.index)) is not None:
            # One that is on its way began before this was asked: it may be of yesterday's code.
            successor.retry_at, successor.wish = now, why
        return self._recycle_due(now)

    def retire(self, incarnation: str, now: float) -> list[Action]:
        """The worker may serve nobody else: its place is taken at once, by a process that has yet to start."""
        seat = self._by_incarnation.get(incarnation)
        if seat is None or not seat.is_routable or self.draining:
            return []
        seat.wish = Why.SESSION
        if seat.index in self.leaving:
            return [Close(incarnation)]  # Two processes are enough: as soon as the one before it has ended.
        if seat.state is SeatState.READY:
            self._call_successor(seat, now)
        return [*self._succeed(seat, now, keep=False), *self._hasten(self.seats[seat.index], now)]

    def _recycle_due(self, now: float) -> list[Action]:
        """Those whose time has come, as many as may."""
        if self.draining or not self._has_keeper:
            return []
        actions: list[Action] = []
        for seat in self.seats:
            why = due(seat, self.policy.limits, now)
            if why is None or seat.index in self.leaving:
                continue
            if why is Why.SESSION:
                actions += self.retire(seat.incarnation, now)
            elif len(self.successors) + len(self.leaving) < most_at_once(self.policy.workers):
                seat.wish = why
                actions.append(self._start(self._call_successor(seat, now), now))
        return actions

    def _call_successor(self, seat: Seat, now: float) -> Seat:
        seat.move(SeatEvent.RECYCLE)
        successor = self.successors[seat.index] = Seat(seat.index, lives=seat.lives, retry_at=now)
        return successor

    def _succeed(self, old: Seat, now: float, *, keep: bool = True) -> list[Action]:
        """The successor is what counts from now on; the old one finishes."""
        self.seats[old.index] = self.successors.pop(old.index)
        self.leaving[old.index] = old
        self.recycled[old.wish] += 1
        return self._drain(old, now, keep=keep)

    def _promote(self, old: Seat, now: float) -> list[Action]:
        """The old one has died before its successor was ready."""
        successor = self.seats[old.index] = self.successors.pop(old.index)
        if not successor.reason:
            successor.reason, successor.message = old.reason, old.message
        return self._hasten(successor, now)

    def _hasten(self, seat: Seat, now: float) -> list[Action]:
        waits = seat.state in (SeatState.ABSENT, SeatState.BACKOFF)
        return [self._start(seat, now)] if waits and self._has_keeper and not self.draining else []

    # ---- maintenance

    def drain(self, now: float) -> list[Action]:
        """The whole capsule: running calls may finish, then everything ends. Repeating it changes nothing."""
        if self.draining:
            return []
        self.draining = True
        actions = [action for seat in self.all_seats() for action in self._drain(seat, now)]
        self._forget_stopped()
        return actions + self._finish()

    def hurry(self, now: float) -> None:
        """What is being drained or stopped gets no more time than from TERM to KILL."""
        for seat in self.all_seats():
            if seat.state in (SeatState.DRAINING, SeatState.STOPPING) and seat.term_at < float("inf"):
                seat.term_at = min(seat.term_at, now)

    def undrain(self) -> None:
        """A new keeper came after a drain that its predecessor had asked for: begin anew."""
        self.draining = self._finished = False

    def drain_worker(self, incarnation: str, now: float) -> list[Action]:
        """One worker: its calls may finish, then it ends, and a fresh one takes its place."""
        seat = self._by_incarnation.get(incarnation)
        if seat is None:
            return []
        successor = self.successors.get(seat.index) if self.seats[seat.index] is seat else None
        actions = self._drain(seat, now) + (self._drain(successor, now) if successor is not None else [])
        self._forget_stopped()
        return actions

    def tick(self, now: float, busy: Container[str], kept: Container[str] = ()) -> list[Action]:
        """Whatever time alone brings about. `busy`: incarnations that hold calls; `kept`: those that sessions still need."""
        actions = [action for seat in self.all_seats() for action in self._tick(seat, now, busy, kept)]
        return actions + self._recycle_due(now)

    def _tick(self, seat: Seat, now: float, busy: Container[str], kept: Container[str]) -> list[Action]:
        if seat.state is SeatState.BACKOFF:
            return [self._start(seat, now)] if now >= seat.retry_at and self._has_keeper else []
        if seat.state is SeatState.STARTING:
            return self._check_setup(seat, now)
        if seat.state is SeatState.READY and seat.failures and now - seat.ready_at >= HEALTHY_SECONDS:
            self._forgive(seat)
        if seat.state is SeatState.DRAINING:
            return self._finish_calls(seat, now, busy=seat.incarnation in busy, kept=seat.incarnation in kept)
        return self._press(seat, now) if seat.state is SeatState.STOPPING else []

    def _finish_calls(self, seat: Seat, now: float, *, busy: bool, kept: bool) -> list[Action]:
        late = now >= seat.term_at
        if not late and (busy or kept):
            return []
        seat.move(SeatEvent.STOP)
        if busy:
            return self._press(seat, now)
        if late:
            seat.term_at = now + self.policy.kill_after
        return [Stop(seat.incarnation)]

    def _press(self, seat: Seat, now: float) -> list[Action]:
        """TERM at the end of the drain, KILL `kill_after` later; each once."""
        if now >= seat.kill_at:
            seat.kill_at = float("inf")
            return [Signal(seat.incarnation, signal.SIGKILL)]
        if now >= seat.term_at:
            seat.term_at, seat.kill_at = float("inf"), now + self.policy.kill_after
            seat.fault = seat.fault or ("Drained", "it was being stopped, and the time for running calls was over", "")
            return [Signal(seat.incarnation, signal.SIGTERM)]
        return []

    def _check_setup(self, seat: Seat, now: float) -> list[Action]:
        if seat.fault:
            # It has said why it ends, or was killed; a thread that its author has left would keep it for ever.
            seat.kill_at = min(seat.kill_at, now + self.policy.kill_after)
            return self._press(seat, now)
        age = now - seat.since
        if age < self.policy.setup_timeout:
            return []
        if not seat.dumped:
            seat.dumped = True
            return [Signal(seat.incarnation, signal.SIGUSR1, group=False)]
        if age < self.policy.setup_timeout + DUMP_SECONDS:
            return []
        return self.kill(seat.incarnation, "SetupTimeout", f"setup() did not return within {self.policy.setup_timeout:g} s")

    def _start(self, seat: Seat, now: float) -> Start:
        seat.move(SeatEvent.START)
        seat.incarnation = self._new_incarnation()
        seat.lives += 1
        seat.since, seat.ready_at, seat.setup_seconds, seat.pid = now, 0.0, 0.0, 0
        seat.calls = seat.rss_bytes = seat.own_bytes = 0
        seat.term_at = seat.kill_at = float("inf")
        seat.wish, seat.dumped, seat.fault = "", False, None
        seat.note = seat.python = ""
        seat.share = self.policy.limits.share(self._chance())
        self._by_incarnation[seat.incarnation] = seat
        return Start(seat.index, seat.incarnation)

    def _drain(self, seat: Seat, now: float, *, keep: bool = False) -> list[Action]:
        if seat.state is SeatState.DRAINING:
            seat.term_at = min(seat.term_at, now + self.policy.drain_timeout)
            return [Close(seat.incarnation)]
        if seat.state in (SeatState.STOPPING, SeatState.STOPPED):
            return []
        starting = seat.state is SeatState.STARTING
        seat.move(SeatEvent.DRAIN)
        if not seat.has_process:
            return []
        # What is still in setup() has nothing to finish, and reads nothing.
        seat.term_at = now if starting else now + self.policy.drain_timeout
        return self._press(seat, now) if starting else [Close(seat.incarnation, keep)]

    def _left(self, seat: Seat, now: float) -> list[Action]:
        """What was drained has ended. Only the capsule's own end leaves its place empty."""
        seat.move(SeatEvent.ENDED)
        seat.reason, seat.message, seat.traceback = "Drained", "the worker was drained", ""
        self._forget_stopped()
        if self.seats[seat.index] is seat and self._has_keeper and not self.draining:
            return [self._start(seat, now)]
        return self._finish()

    def _forget_stopped(self) -> None:
        for beside in (self.successors, self.leaving):
            for index in [index for index, seat in beside.items() if seat.state is SeatState.STOPPED]:
                del beside[index]

    def _finish(self) -> list[Action]:
        if not self.draining or self._finished or any(seat.has_process for seat in self.all_seats()):
            return []
        self._finished = True
        return [Finished()]

    def _is_failing(self, seat: Seat, now: float) -> bool:
        """Too many lives of this index ended before a first call. What dies of a call, or after a healthy minute, is replaced at once."""
        if seat.ready_at and now - seat.ready_at >= HEALTHY_SECONDS:
            self._forgive(seat)
        if seat.calls:
            return False
        seat.exits.append(now)
        seat.failures += 1
        recent = sum(1 for at in seat.exits if now - at <= self.policy.window)
        never_ready = seat.ready_at == 0 and seat.failures > self.policy.max_restarts
        return seat.backoff > 0 or recent > self.policy.max_restarts or never_ready

    def _forgive(self, seat: Seat) -> None:
        seat.failures, seat.backoff = 0, 0.0
        seat.exits.clear()
