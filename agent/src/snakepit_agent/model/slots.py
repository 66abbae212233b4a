"""The capsule's calls and slots: what may be sent to which worker now, what must come back, what has run too long.

The agent alone counts slots. What may wait behind a worker's slots, and can be recalled until the worker has read it:

* one call, while the work there, with it, is estimated at SOON_SECONDS (NEXT_SECONDS, if it says itself that it goes ahead);
* up to AHEAD_CALLS, while all that work is estimated at AHEAD_SECONDS;
* none that is large, and nothing while too many large results wait for their callers.

Pure: no clock, no I/O; `now` is monotonic seconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from snakepit._ewma import next_mean
from snakepit_agent.model.call import HeldCall, Step

AHEAD_SECONDS = 0.001
"""Estimated work that may wait in a worker's inbox. Replicas aim at half of it; the other half covers two of them aiming at once."""

SOON_SECONDS = 0.006
"""One call may wait while the work there, with it, is estimated at this. Replicas aim at half of it."""

NEXT_SECONDS = 0.022
"""The same for a call that says that it goes ahead. Another, which its replica took to have a slot, is better off where one is free."""

AHEAD_CALLS = 128
"""Calls that may wait in a worker's inbox, however short they are."""

RECALL_AFTER_SECONDS = 0.005
"""A worker that ends no call for this long while calls wait behind it loses those that it has not begun."""

UNREAD_SECONDS = 0.5
"""A worker that leaves its calls unread for this long is stuck: they all go back."""

STRICT_IDLE_SECONDS = 5.0
"""A strict session without a call for so long does not keep the worker that is to be recycled."""

_TOOLS = 1024


@dataclass(slots=True)
class WorkerSlots:
    """One incarnation's slots and the calls in them, in the order of admission."""

    incarnation: str
    slots: int
    # Why nothing is admitted any more: the reason of the Reject.
    closed: str = ""
    # Strict sessions that are in use here may still call.
    kept: bool = False
    strict_used: float = -math.inf
    # It belongs to a session or call of an exclusive pool.
    taken: bool = False
    # Nothing is admitted until it shows a sign of life.
    suspended: bool = False
    served: int = 0
    backlog: float = 0.0
    progressed: float = 0.0
    looked: float = 0.0
    held: dict[int, HeldCall] = field(default_factory=dict)
    unanswered: dict[str, int] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)

    def elsewhere(self, replica: str) -> int:
        """Calls here that `replica` doesn't count itself: those of others, and its own that were answered but still run. Negative while
        some that it counts wait for their session's turn."""
        return len(self.held) - self.unanswered.get(replica, 0)


class Ledger:
    """Every call in the capsule, by worker. `changed` is called when a worker's slots were taken or freed and none was `touched` before."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self._changed = changed
        self.calls: dict[int, HeldCall] = {}
        self.workers: dict[str, WorkerSlots] = {}
        self.touched: set[str] = set()
        # (replica, incarnation): it waits for word of that worker since it was refused, and no result of its own brings it.
        self.owed: set[tuple[str, str]] = set()
        # Too many bytes of results wait for their callers: nothing more is taken.
        self.shut = False
        self._remote: dict[tuple[str, int], int] = {}
        self._means: dict[str, float] = {}
        self._last_id = 0

    def touch_all(self) -> None:
        """Somebody knows nothing yet."""
        for incarnation in self.workers:
            self._touch(incarnation)

    def _touch(self, incarnation: str) -> None:
        touched = self.touched
        if incarnation not in touched:
            is_first = not touched
            touched.add(incarnation)
            if is_first:
                self._changed()

    def take_touched(self) -> list[str]:
        """Workers whose slots were taken or freed since this was asked last."""
        touched, self.touched = sorted(self.touched), set()
        return touched

    def open(self, incarnation: str, slots: int) -> None:
        """A worker became ready."""
        self.workers[incarnation] = WorkerSlots(incarnation, slots)

    def close(self, incarnation: str, reason: str = "DRAINING", *, keep: bool = False) -> None:
        """Admit nothing more there; `keep`: but calls of strict sessions."""
        if worker := self.workers.get(incarnation):
            worker.closed, worker.kept = reason, keep

    def kept(self, now: float) -> set[str]:
        """Workers that admit strict sessions only, and had a call of one a moment ago."""
        return {w.incarnation for w in self.workers.values() if w.kept and now - w.strict_used < STRICT_IDLE_SECONDS}

    def remove(self, incarnation: str) -> list[HeldCall]:
        """The worker is dead: what it still held."""
        self._touch(incarnation)
        worker = self.workers.pop(incarnation, None)
        held = list(worker.held.values()) if worker else []
        for call in held:
            self._forget(call)
        return held

    def next_id(self) -> int:
        """The number of the next call; none is given twice."""
        self._last_id += 1
        return self._last_id

    def refusal(self, incarnation: str, tool: str, *, strict: bool = False, ahead: bool = False) -> str:
        """Why a call can't be admitted now (a Reject's reason); empty when it can. `ahead`: it does not count on a free slot."""
        worker = self.workers.get(incarnation)
        if worker is None:
            return "WORKER_GONE"
        if worker.closed and not (strict and worker.kept):
            return worker.closed
        held = len(worker.held)
        if self.shut or worker.suspended:
            return "NO_SLOT"
        if held < worker.slots:
            return ""
        mean = self._means.get(tool, math.inf)
        if held == worker.slots and worker.backlog / worker.slots + mean <= (NEXT_SECONDS if ahead else SOON_SECONDS):
            return ""
        work = (worker.backlog + mean) / worker.slots
        return "" if held < worker.slots + AHEAD_CALLS and work <= AHEAD_SECONDS else "NO_SLOT"

    def has_slot(self, incarnation: str) -> bool:
        """Large calls are not taken ahead of a free slot."""
        worker = self.workers.get(incarnation)
        return worker is not None and not worker.suspended and len(worker.held) < worker.slots

    def set_shut(self, shut: bool) -> None:
        """Whoever was refused hears when it ends."""
        if self.shut and not shut:
            for worker in self.workers.values():
                if worker.refused:
                    self._tell_refused(worker, "")
        self.shut = shut

    def suspend(self, incarnation: str, suspended: bool) -> None:
        """Admit nothing there for now, or again; whoever was refused hears when it ends."""
        worker = self.workers.get(incarnation)
        if worker is not None and worker.suspended != suspended:
            worker.suspended = suspended
            if not suspended and worker.refused:
                self._tell_refused(worker, "")

    def refused(self, incarnation: str, replica: str) -> None:
        """A call of that replica was rejected: it sends that worker nothing until it hears that something has changed there."""
        worker = self.workers.get(incarnation)
        if worker is not None:
            worker.refused.add(replica)

    def gave_back(self, incarnation: str, replica: str) -> None:
        """A call of that replica went back, which leaves a slot free: no later end of a call may be there to say so."""
        worker = self.workers.get(incarnation)
        if worker is not None and replica in worker.refused and self.has_slot(incarnation) and not self.shut and not worker.closed:
            worker.refused.discard(replica)
            self.owed.add((replica, incarnation))
            self._touch(incarnation)

    def _tell_refused(self, worker: WorkerSlots, answered: str) -> None:
        """`answered`: the replica whose own result is the word that it waits for."""
        self.owed.update((replica, worker.incarnation) for replica in worker.refused if replica != answered)
        worker.refused.clear()
        self._touch(worker.incarnation)

    def admit(self, call: HeldCall, now: float) -> None:
        """Take the call; `refusal` must have been empty."""
        worker = self.workers[call.incarnation]
        call.admitted = now
        call.estimate = self._means.get(call.tool, 1.0)
        if not worker.held:
            worker.progressed = now
        worker.held[call.id] = call
        if call.strict:
            worker.strict_used = now
        worker.backlog += call.estimate
        worker.unanswered[call.replica] = worker.unanswered.get(call.replica, 0) + 1
        self.calls[call.id] = call
        self._remote[call.replica, call.remote] = call.id
        self._touch(call.incarnation)

    def expect(self, incarnation: str, replica: str, change: int = 1) -> None:
        """A call of that replica waits for its session's turn: it takes no slot, though its replica counts it as if it did."""
        if (worker := self.workers.get(incarnation)) is not None:
            self._count(worker, replica, change)
            self._touch(incarnation)

    def finish(self, id_: int, run_seconds: float, now: float) -> HeldCall | None:
        """The call's tool has ended: its slot is free. None: unknown, as after a recall."""
        call = self.release(id_)
        if call is None:
            return None
        worker = self.workers[call.incarnation]
        worker.served += 1
        worker.progressed = now
        if call.strict:
            worker.strict_used = now
        self._learn(call.tool, run_seconds)
        return call

    def release(self, id_: int) -> HeldCall | None:
        """The call is not held here any more, and nothing is to be learnt from it: recalled, or never started."""
        call = self.calls.get(id_)
        if call is None:
            return None
        self._forget(call)
        worker = self.workers[call.incarnation]
        del worker.held[id_]
        worker.backlog = worker.backlog - call.estimate if worker.held else 0.0
        if not call.answered:
            self._count(worker, call.replica, -1)
        self._touch(call.incarnation)
        if worker.refused:
            self._tell_refused(worker, "" if call.answered else call.replica)
        return call

    def answer(self, call: HeldCall) -> None:
        """Its caller has been answered while its tool still runs: the slot stays taken, though its replica counts it no more."""
        if not call.answered:
            call.answered = True
            self._count(self.workers[call.incarnation], call.replica, -1)
            self._touch(call.incarnation)

    def find(self, replica: str, remote: int) -> HeldCall | None:
        """The call that a replica knows by `remote`."""
        id_ = self._remote.get((replica, remote))
        return self.calls.get(id_) if id_ is not None else None

    def of_replica(self, replica: str) -> list[HeldCall]:
        """The calls of that replica that it still waits for."""
        return [call for call in self.calls.values() if call.replica == replica and not call.answered]

    def overdue(self, now: float) -> Iterator[tuple[HeldCall, Step]]:
        """Calls for which something is due; each step is told once."""
        for call in [call for call in self.calls.values() if call.due <= now]:
            yield call, call.advance(now)

    def crowded(self, now: float) -> list[str]:
        """Workers whose waiting calls should come back: nothing has ended there for RECALL_AFTER_SECONDS."""
        return [
            worker.incarnation
            for worker in self.workers.values()
            if len(worker.held) > worker.slots and now - worker.progressed > RECALL_AFTER_SECONDS
        ]

    def stuck(self, now: float) -> list[str]:
        """Workers that may not have read what they hold: nothing has ended there for UNREAD_SECONDS. Each is told as often as that."""
        stuck = [w for w in self.workers.values() if w.held and now - max(w.progressed, w.looked) > UNREAD_SECONDS]
        for worker in stuck:
            worker.looked = now
        return [worker.incarnation for worker in stuck]

    def oldest_seconds(self, incarnation: str, now: float) -> float:
        """How long the worker's oldest call has been here."""
        worker = self.workers.get(incarnation)
        return now - next(iter(worker.held.values())).admitted if worker and worker.held else 0.0

    def running(self, incarnation: str) -> int:
        """Slots taken; what waits in the inbox takes none."""
        worker = self.workers.get(incarnation)
        return min(len(worker.held), worker.slots) if worker else 0

    @staticmethod
    def _count(worker: WorkerSlots, replica: str, change: int) -> None:
        count = worker.unanswered.get(replica, 0) + change
        if count:
            worker.unanswered[replica] = count
        else:
            del worker.unanswered[replica]

    def _forget(self, call: HeldCall) -> None:
        self.calls.pop(call.id, None)
        key = call.replica, call.remote
        if self._remote.get(key) == call.id:
            del self._remote[key]

    def _learn(self, tool: str, run_seconds: float) -> None:
        mean = self._means.get(tool)
        if mean is None and len(self._means) >= _TOOLS:
            self._means.clear()
        self._means[tool] = next_mean(mean, run_seconds)
