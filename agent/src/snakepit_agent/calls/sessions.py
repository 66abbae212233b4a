"""Sessions in this capsule, carried out: calls that wait for their turn, sessions that move away, workers that are told of their end.

Whose turn it is, is decided in `turns`; how a call gets to a worker and back, in `execution`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

from snakepit._ipc.worker import EndSession
from snakepit.errors import Started
from snakepit.v1 import link_pb2
from snakepit_agent.calls.execution import Execution
from snakepit_agent.calls.leasing import Leasing
from snakepit_agent.calls.stopping import Stopping
from snakepit_agent.link.translate import failure, reject_to_wire
from snakepit_agent.link.uplink import Uplink
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.slots import Ledger
from snakepit_agent.model.turns import Admission, Key, Turns, Waiting
from snakepit_agent.workers.processes import Processes

_MOVED = "the session has moved to another worker: what this call still does or says does not count"


class Sessions:
    """All sessions of one capsule. Calls whose turn it is go on to `execution`."""

    def __init__(
        self, ledger: Ledger, uplink: Uplink, processes: Processes, leasing: Leasing, execution: Execution, stopping: Stopping
    ) -> None:
        self.turns = Turns()
        self._ledger = ledger
        self._uplink = uplink
        self._processes = processes
        self._leasing = leasing
        self._execution = execution
        self._stopping = stopping

    # ---- calls

    def take(self, held: HeldCall, call: link_pb2.Call, now: float) -> None:
        """A call of a session begins, waits here for its turn, or is rejected."""
        admission = self.turns.judge(held, call.turn)
        if admission is Admission.BEGIN:
            if old := self.turns.superseded(held):
                self._fence(old, now)
            self._begin(held, call)
        elif admission is Admission.WAIT:
            self.turns.wait(Waiting(held, call))
            self._expect(held)
        else:
            self._uplink.send(held.replica, reject_to_wire(held.remote, admission.value))

    def _begin(self, held: HeldCall, call: link_pb2.Call, *, in_turn: bool = False) -> None:
        if self._execution.admit(held, call, in_turn=in_turn):
            self.turns.begin(held)
            held.then(self._left)
            self._execution.start(held, call)

    def _left(self, held: HeldCall) -> None:
        """The call runs here no more: on to the next one."""
        self.turns.leave(held)
        self._advance((held.session_uid, held.session_epoch))

    def _advance(self, key: Key) -> None:
        while (waiting := self.turns.next(key)) is not None:
            self._expect(waiting.held, -1)
            self._begin(waiting.held, waiting.call, in_turn=True)
        now = time.monotonic()
        askers = self.turns.idle(key, now)
        for replica in sorted(askers):
            self._answer(replica, key, released=True)
        if askers:
            self._leasing.session_left(key[0])

    # ---- calls that wait

    def cancel(self, replica: str, cancel: link_pb2.Cancel) -> None:
        """The caller of a call that waits for its turn has gone."""
        if (waiting := self.turns.find(replica, cancel.id)) is not None:
            self._give_up(waiting, cancel.reason or "CANCELLED")

    def recall(self, replica: str, ids: Iterable[int]) -> None:
        """The replica wants these calls back, as far as they wait for their turn."""
        for waiting in [found for id_ in ids if (found := self.turns.find(replica, id_)) is not None]:
            self._drop(waiting)
            self._uplink.send(replica, reject_to_wire(waiting.held.remote, "RECALLED"))

    def tick(self, now: float) -> None:
        """Calls that wait end at their deadlines."""
        for waiting in list(self.turns.overdue(now)):
            self._give_up(waiting, "DEADLINE")

    def replica_unlinked(self, replica: str) -> None:
        """It will send its calls again; they have not begun."""
        self.turns.unlinked(replica)
        for waiting in self.turns.of_replica(replica):
            self._drop(waiting)

    def _drop(self, waiting: Waiting) -> None:
        held = waiting.held
        self.turns.drop(waiting)
        self._expect(held, -1)
        self._advance((held.session_uid, held.session_epoch))

    def _give_up(self, waiting: Waiting, reason: str) -> None:
        self._drop(waiting)
        self._stopping.give_up(waiting.held, reason)

    # ---- sessions that move away or end

    def on_release(self, replica: str, ask: link_pb2.SessionRelease) -> None:
        """May the session move? Not while a call of it is here, nor from a worker that has room, unless the replica insists."""
        key, now = (ask.session_uid, ask.session_epoch), time.monotonic()
        if ask.look:
            self._answer(replica, key, released=not self.turns.has_calls(key), look=True)
            return
        known = self.turns.has_released(key)
        if not (known or ask.wait or ask.force or self._ledger.refusal(ask.incarnation, "")):
            # The replica asks because it takes the worker for busy: word of the call that has just ended is on its way.
            self._answer(replica, key, released=False)
            return
        if ask.force:
            self._fence(key, now)
        released = self.turns.release(key, now)
        if released and not known:
            self._processes.tell(ask.incarnation, EndSession(ask.session_id, *key))
            self._leasing.session_left(ask.session_uid)
        if not released and ask.wait:
            self.turns.ask(key, replica)
            return
        self._answer(replica, key, released=released)

    def on_end(self, _replica: str, end: link_pb2.SessionEnd) -> None:
        """The control plane says that the session has ended, or has left the worker."""
        self._processes.tell(end.incarnation, EndSession(end.session_id, end.session_uid))
        if end.session_epoch:
            self._come_back(self.turns.end((end.session_uid, end.session_epoch), time.monotonic()))
        self._leasing.session_left(end.session_uid)

    def _fence(self, key: Key, now: float) -> None:
        running, waiting, askers = self.turns.fence(key, now)
        self._come_back(waiting)
        for id_ in running:
            if (held := self._ledger.calls.get(id_)) is not None:
                self._stopping.fence(held, failure("STALE_EPOCH", _MOVED, Started.YES))
        for replica in sorted(askers):
            self._answer(replica, key, released=True)
        self._leasing.session_left(key[0])

    def _come_back(self, waiting: Iterable[Waiting]) -> None:
        for each in waiting:
            self._expect(each.held, -1)
            self._uplink.send(each.held.replica, reject_to_wire(each.held.remote, "RELEASED"))

    def _expect(self, held: HeldCall, change: int = 1) -> None:
        """It waits for its turn, or no more: its replica counts it, and has to hear that it takes no slot."""
        self._ledger.expect(held.incarnation, held.replica, change)

    def _answer(self, replica: str, key: Key, *, released: bool, look: bool = False) -> None:
        body = link_pb2.SessionReleased(session_uid=key[0], session_epoch=key[1], released=released, look=look)
        self._uplink.send(replica, link_pb2.Frame(session_released=body))
