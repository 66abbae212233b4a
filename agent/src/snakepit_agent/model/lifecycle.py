"""The life of every worker index: the rules for restart, backoff, recycling, drain and stop, over the table of states in `seats`.

Decides and never acts: each event returns the actions that it calls for, in order. Pure: no clock, no I/O; `now` is monotonic seconds.
A worker's process is an incarnation; an index outlives many of them, and has two only while one takes the place of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container

from snakepit._retry import Backoff
from snakepit_agent.model.actions import Action, Close, Finished, Policy, Start
from snakepit_agent.model.ending import drain, kill, press
from snakepit_agent.model.recycling import WORDS, Why, due, most_at_once
from snakepit_agent.model.restarts import forgive, is_failing
from snakepit_agent.model.seats import Seat, SeatEvent, Seats, SeatState

BACKOFF_SECONDS = Backoff(1.0, 60.0)


class Lifecycle:
    """All workers of one capsule. `new_incarnation` names processes, `chance` draws a number from 0 to 1.

    `recycled` counts the successions by their reason.
    """

    def __init__(self, policy: Policy, new_incarnation: Callable[[], str], chance: Callable[[], float] = lambda: 0.0) -> None:
        self.policy = policy
        self.seats = Seats(policy.workers)
        self.recycled: Counter[str] = Counter()
        self.draining = False
        # A replica said so, which can't be taken back.
        self.told_to_drain = False
        self._has_keeper = False
        self._finished = False
        self._new_incarnation = new_incarnation
        self._chance = chance

    @property
    def is_drained(self) -> bool:
        """Is a drain over?"""
        return self._finished

    def configure(self, policy: Policy) -> None:
        """Whatever is decided from now on goes by other settings; a drain that has begun has the time that it had."""
        if policy.limits.jitter != self.policy.limits.jitter:
            for seat in self.seats:
                seat.share = policy.limits.share(self._chance())
        self.policy = policy

    # ---- the keeper

    def keeper_came(self, now: float) -> list[Action]:
        """A keeper is there, without processes: start the workers, unless the capsule is ending."""
        self._has_keeper = True
        wanted = [seat for seat in self.seats.current if seat.state in (SeatState.ABSENT, SeatState.STOPPED)]
        return [] if self.draining else [self._start(seat, now) for seat in wanted]

    def keeper_went(self, reason: str = "KeeperLost", message: str = "the worker's container ended") -> list[Action]:
        """The keeper is gone, and with it every process. That is no fault of a worker's: nothing counts towards a backoff."""
        self._has_keeper = False
        for seat in [seat for seat in self.seats.current if seat.has_process]:
            seat.move(SeatEvent.ENDED if seat.state in (SeatState.DRAINING, SeatState.STOPPING) else SeatEvent.GONE)
            seat.reason, seat.message, seat.traceback = reason, message, ""
        self.seats.clear()
        return self._finish()

    # ---- one worker

    def became_ready(self, incarnation: str, setup_seconds: float, now: float, python: str = "") -> list[Action] | None:
        """`setup()` has returned; None when it is too late, as the worker is being stopped. A predecessor that it has makes room."""
        seat = self.seats.of(incarnation)
        if seat is None or seat.state is not SeatState.STARTING:
            return None
        seat.move(SeatEvent.READY)
        seat.ready_at, seat.setup_seconds, seat.python = now, setup_seconds, python
        seat.reason, seat.message, seat.traceback = ("NotForked", seat.note, "") if seat.note else ("", "", "")
        return self._succeed(self.seats.current[seat.index], now) if self.seats.successors.get(seat.index) is seat else []

    def kill(self, incarnation: str, reason: str, message: str) -> list[Action]:
        """Kill the worker for a reason that is to be told."""
        seat = self.seats.of(incarnation)
        return kill(seat, reason, message) if seat is not None else []

    def memory_interest(self, incarnation: str) -> int:
        """From how many bytes of its own on the worker is recycled; 0: never."""
        seat = self.seats.of(incarnation)
        return int(self.policy.limits.memory * seat.share) if seat is not None else 0

    def died(self, incarnation: str, reason: str, how: str, now: float) -> list[Action]:
        """The process is dead, `how` in words: replace it now, later or not at all."""
        seat = self.seats.forget(incarnation)
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
        if self.seats.successors.get(seat.index) is seat or is_failing(seat, self.policy, now):
            seat.move(SeatEvent.FAILING)
            seat.backoff = BACKOFF_SECONDS.after(seat.backoff)
            seat.retry_at = now + seat.backoff
            return []
        seat.move(SeatEvent.GONE)
        return [self._start(seat, now)] if self._has_keeper else []

    # ---- recycling

    def recycle(self, incarnation: str, why: Why, now: float) -> list[Action]:
        """A successor takes the worker's place: at once, or when it is its turn. What can't start is tried again now."""
        seat = next((seat for seat in self.seats.current if seat.incarnation == incarnation), None)
        if seat is None:
            return []
        if seat.state is SeatState.BACKOFF:
            return self._hasten(seat, now)
        seat.wish = seat.wish or why
        if (successor := self.seats.successors.get(seat.index)) is not None:
            # One that is on its way began before this was asked: it may be of yesterday's code.
            successor.retry_at, successor.wish = now, why
        return self._recycle_due(now)

    def retire(self, incarnation: str, now: float) -> list[Action]:
        """The worker may serve nobody else: its place is taken at once, by a process that has yet to start."""
        seat = self.seats.of(incarnation)
        if seat is None or not seat.is_routable or self.draining:
            return []
        seat.wish = Why.SESSION
        if seat.index in self.seats.leaving:
            return [Close(incarnation)]  # Two processes are enough: as soon as the one before it has ended.
        if seat.state is SeatState.READY:
            self._call_successor(seat, now)
        return [*self._succeed(seat, now, keep=False), *self._hasten(self.seats.current[seat.index], now)]

    def _recycle_due(self, now: float) -> list[Action]:
        """Those whose time has come, as many as may."""
        if self.draining or not self._has_keeper:
            return []
        actions: list[Action] = []
        for seat in self.seats.current:
            why = due(seat, self.policy.limits, now)
            if why is None or seat.index in self.seats.leaving:
                continue
            if why is Why.SESSION:
                actions += self.retire(seat.incarnation, now)
            elif len(self.seats.successors) + len(self.seats.leaving) < most_at_once(self.policy.workers):
                seat.wish = why
                actions.append(self._start(self._call_successor(seat, now), now))
        return actions

    def _call_successor(self, seat: Seat, now: float) -> Seat:
        seat.move(SeatEvent.RECYCLE)
        successor = self.seats.successors[seat.index] = Seat(seat.index, lives=seat.lives, retry_at=now)
        return successor

    def _succeed(self, old: Seat, now: float, *, keep: bool = True) -> list[Action]:
        """The successor is what counts from now on; the old one finishes."""
        successor = self.seats.current[old.index] = self.seats.successors.pop(old.index)
        successor.ended = f"Recycled: {WORDS[Why(old.wish)]}"
        self.seats.leaving[old.index] = old
        self.recycled[old.wish] += 1
        return drain(old, self.policy, now, keep=keep)

    def _promote(self, old: Seat, now: float) -> list[Action]:
        """The old one has died before its successor was ready."""
        successor = self.seats.current[old.index] = self.seats.successors.pop(old.index)
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
        actions = [action for seat in self.seats for action in drain(seat, self.policy, now)]
        self.seats.forget_stopped()
        return actions + self._finish()

    def hurry(self, now: float) -> None:
        """What is being drained or stopped gets no more time than from TERM to KILL."""
        for seat in self.seats:
            if seat.state in (SeatState.DRAINING, SeatState.STOPPING) and seat.term_at < float("inf"):
                seat.term_at = min(seat.term_at, now)

    def undrain(self) -> None:
        """A new keeper came after a drain that its predecessor had asked for: begin anew."""
        self.draining = self._finished = False

    def drain_worker(self, incarnation: str, now: float) -> list[Action]:
        """One worker: its calls may finish, then it ends, and a fresh one takes its place."""
        seat = self.seats.of(incarnation)
        if seat is None:
            return []
        successor = self.seats.successors.get(seat.index) if self.seats.current[seat.index] is seat else None
        actions = drain(seat, self.policy, now) + (drain(successor, self.policy, now) if successor is not None else [])
        self.seats.forget_stopped()
        return actions

    def tick(self, now: float, busy: Container[str], kept: Container[str] = ()) -> list[Action]:
        """Whatever time alone brings about. `busy`: incarnations that hold calls; `kept`: those that sessions still need."""
        actions = [action for seat in self.seats for action in self._tick(seat, now, busy, kept)]
        return actions + self._recycle_due(now)

    def _tick(self, seat: Seat, now: float, busy: Container[str], kept: Container[str]) -> list[Action]:
        if seat.state is SeatState.BACKOFF:
            return [self._start(seat, now)] if now >= seat.retry_at and self._has_keeper else []
        if seat.state is SeatState.READY:
            forgive(seat, now)
        return press(seat, self.policy, now, busy=seat.incarnation in busy, kept=seat.incarnation in kept)

    def _start(self, seat: Seat, now: float) -> Start:
        if seat.lives and seat.reason:
            seat.ended = f"{seat.reason}: {seat.message}"
        seat.move(SeatEvent.START)
        self.seats.name(seat, self._new_incarnation())
        seat.lives += 1
        seat.since, seat.ready_at, seat.setup_seconds, seat.pid = now, 0.0, 0.0, 0
        seat.calls = seat.rss_bytes = seat.own_bytes = 0
        seat.term_at = seat.kill_at = float("inf")
        seat.wish, seat.dumped, seat.fault = "", False, None
        seat.note = seat.python = ""
        seat.share = self.policy.limits.share(self._chance())
        return Start(seat.index, seat.incarnation)

    def _left(self, seat: Seat, now: float) -> list[Action]:
        """What was drained has ended. Only the capsule's own end leaves its place empty."""
        seat.move(SeatEvent.ENDED)
        seat.reason, seat.message, seat.traceback = "Drained", "the worker was drained", ""
        self.seats.forget_stopped()
        if self.seats.current[seat.index] is seat and self._has_keeper and not self.draining:
            return [self._start(seat, now)]
        return self._finish()

    def _finish(self) -> list[Action]:
        if not self.draining or self._finished or any(seat.has_process for seat in self.seats):
            return []
        self._finished = True
        return [Finished()]
