"""What agents say of the calls they were sent: done, rejected, lost. A call goes back to its caller, or to another worker."""

from __future__ import annotations

import asyncio
import random

from snakepit._retry import CALLS
from snakepit.errors import WorkerLost
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.flow.dispatcher import Dispatcher
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.transfers import Transfers
from snakepit_control_plane.model.call import FORGOTTEN, RECALLED, RERUN, Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.states import RETURNED
from snakepit_control_plane.policy.reruns import may_run_again, too_many_gone
from snakepit_control_plane.telemetry import Telemetry

_OF_THE_SESSION = ("RELEASED", "BUSY")
"""Rejections that say something of a call's session, and nothing of its worker."""


class Outcomes:
    """One for each replica."""

    def __init__(self, dispatcher: Dispatcher, calls: OpenCalls, transfers: Transfers, telemetry: Telemetry) -> None:
        self._dispatcher = dispatcher
        self._calls = calls
        self._transfers = transfers
        self._telemetry = telemetry
        self._loop = asyncio.get_running_loop()
        self._clock = self._loop.time
        self._free: dict[Worker, Pool] = {}

    def give_slots_out(self) -> None:
        """To be called when everything is taken in that an agent has said in one message: slots that are free now are for who waits."""
        now, free = self._clock(), list(self._free.items())
        self._free.clear()
        for worker, pool in free:
            self._dispatcher.slot_free(pool, worker, now)

    # ---- done

    def answered(self, capsule: Capsule, frame: link_pb2.Frame) -> None:
        """A Result. One for a call that is not in flight (a fenced agent's, a late one) is dropped."""
        result = frame.result
        call = capsule.inflight.pop(result.id, None)
        if call is None or call.pool is None:
            return
        now, pool, worker = self._clock(), call.pool, call.worker
        outcome = result.WhichOneof("outcome")
        failed = outcome == "tool_error" or outcome == "error"
        if worker is not None:
            worker.full = False
            worker.progressed = now
            if failed or worker.failure_share:
                self._count_failure(pool, worker, call, failed, now)
        seconds = result.run_seconds
        pool.demand.serve(seconds)
        if not failed:
            pool.learn(call.tool, seconds)
        self._dispatcher.release(pool, call, now)
        if outcome == "error" and self._failed(pool, call, result.error, now):
            if worker is not None:
                self._free[worker] = pool
            return
        has_more = call.sink is not None or result.HasField("pieces")
        if not (has_more and self._transfers.take(capsule, call, frame)):
            self._calls.answer(call, frame)
        self._calls.left(call, now)
        if worker is not None:
            self._free[worker] = pool

    def _count_failure(self, pool: Pool, worker: Worker, call: Call, failed: bool, now: float) -> None:
        """One that fails while its peers don't rests for a while."""
        rest = pool.count_outcome(worker, call.tool, call.sent_at, failed)
        if rest > now:
            worker.resting_until = rest
            self._loop.call_at(rest + 0.001, self._rested, pool, worker)

    def _failed(self, pool: Pool, call: Call, error: common_pb2.Error, now: float) -> bool:
        """The agent reports a failure. True: its worker has died, and the call runs again."""
        if error.reason == WorkerLost.reason and self._runs_again(pool, call, now):
            return True
        if call.reruns and error.started == common_pb2.STARTED_NO:
            error.started = common_pb2.STARTED_MAYBE
        return False

    def _rested(self, pool: Pool, worker: Worker) -> None:
        now = self._loop.time()
        if pool.workers.get(worker.id) is worker:
            pool.index.place(worker, now)
            self._dispatcher.freed(pool, worker, now)

    # ---- rejected

    def rejected(self, capsule: Capsule, reject: link_pb2.Reject) -> None:
        """The agent has not started the call and does not hold it: it gets its old place in the queue again."""
        call = capsule.inflight.pop(reject.id, None)
        if call is None or call.pool is None:
            return
        now, pool, worker, reason = self._loop.time(), call.pool, call.worker, reject.reason
        self._telemetry.returned.add(pool.name, "recalled" if reason == RECALLED else "refused")
        if worker is not None and not (call.session is not None and reason in _OF_THE_SESSION):
            self._mark(pool, capsule, worker, reason, now)
        self._take_off(pool, call, reason, now)
        if call.answered:
            self._calls.end(call, now)
        elif reason == "NO_ARGUMENTS":
            self._pause(call)
        elif reason != "WORKER_GONE" or not self._was_last_try(pool, call):
            self._dispatcher.place_again(call, reason, now)
        if worker is not None:
            self._free[worker] = pool

    @staticmethod
    def _mark(pool: Pool, capsule: Capsule, worker: Worker, reason: str, now: float) -> None:
        """What the rejection says of the worker: no more calls, until its agent says otherwise."""
        if reason == "WORKER_GONE":
            worker.ready = False
            pool.refresh(capsule, now)
        elif reason == "DRAINING":
            capsule.draining = True
            pool.refresh(capsule, now)
        else:
            worker.full = True

    def _was_last_try(self, pool: Pool, call: Call) -> bool:
        """Has the call come back from so many workers that it fails?"""
        call.tried().workers_gone += 1
        refusal = too_many_gone(pool, call)
        if refusal is not None:
            call.worker = None
            self._calls.fail(call, refusal)
        return refusal is not None

    def _pause(self, call: Call) -> None:
        """Its large arguments did not get there, which may last; meanwhile it has no slot."""
        call.worker = None
        tried = call.tried()
        tried.fetches += 1
        self._calls.deadlines.set(call, call.deadline)
        self._loop.call_later(CALLS.jittered(tried.fetches, random.random), self._go_on, call)

    def again(self, pool: Pool, call: Call, now: float) -> None:
        """A call that never started, whose agent has forgotten it, goes to somebody else."""
        self._take_off(pool, call, FORGOTTEN, now)
        if call.answered:
            self._calls.end(call, now)
        else:
            self._dispatcher.place_again(call, "", now)

    def _take_off(self, pool: Pool, call: Call, why: str, now: float) -> None:
        self._dispatcher.release(pool, call, now)
        call.come_back(now, why)

    # ---- lost

    def worker_lost(self, pool: Pool, call: Call, how: str, now: float) -> None:
        """The call may have run and will never be answered. An idempotent tool runs again."""
        self._dispatcher.release(pool, call, now)
        if self._runs_again(pool, call, now):
            return
        where = call.worker.id if call.worker else "its worker"
        self._calls.fail(call, WorkerLost(f"{where} was lost during the call: {how}", details={"how": how}))
        self._calls.left(call, now)

    def _runs_again(self, pool: Pool, call: Call, now: float) -> bool:
        """Send a call that may have run to another worker, after a moment, if its tool allows that and the pool can afford it."""
        if not may_run_again(pool, call, now) or pool.budget is None or not pool.budget.spend(now):
            return False
        call.come_back(now, RERUN)
        tried = call.tried()
        tried.reruns += 1
        if call.place is not None:
            call.place.begin_anew()
        if call.nest is not None:
            call.nest.abandon_children()
        self._telemetry.reruns.add(pool.name)
        self._loop.call_later(CALLS.jittered(tried.reruns, random.random), self._go_on, call)
        return True

    def _go_on(self, call: Call) -> None:
        """The pause is over."""
        if call.state is RETURNED:
            self._dispatcher.place_again(call, "", self._loop.time())
