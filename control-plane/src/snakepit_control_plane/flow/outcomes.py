"""What agents say of the calls they were sent: done, rejected, lost. A call goes back to its caller, or to another worker."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from snakepit._retry import CALLS
from snakepit.errors import PoolNotReady, WorkerBusy, WorkerLost
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.store.interface import Fence

if TYPE_CHECKING:
    from snakepit_control_plane.flow.dispatcher import Dispatcher

MOST_RERUNS = 2
"""A call whose worker is lost for the third time fails: its arguments may be what kills them."""

MOST_GONE = 4
"""The same for a call that none of its workers had begun, which is rarely to blame."""


class Answers:
    """One for each router."""

    def __init__(self, router: Dispatcher) -> None:
        self._router = router

    def answered(self, capsule: Capsule, frame: link_pb2.Frame) -> None:
        """A Result. One for a call that is not in flight (a fenced agent's, a late one) is dropped."""
        result = frame.result
        call = capsule.inflight.pop(result.id, None)
        if call is None or call.home is None:
            return
        now, pool, worker = self._router.clock(), call.home, call.worker
        outcome = result.WhichOneof("outcome")
        failed = outcome == "tool_error" or outcome == "error"
        if worker is not None:
            worker.full = False
            worker.progressed = now
            rest = pool.count_outcome(worker, call.tool, call.sent_at, failed) if failed or worker.failure_share else 0.0
            if rest > now:
                worker.resting_until = rest
                self._router.loop.call_at(rest + 0.001, self._rested, pool, worker)
        if not failed:
            pool.learn(call.tool, result.run_seconds)
        self._router.release(pool, call, now)
        if outcome == "error" and self._failed(pool, call, result.error, now):
            self._free(pool, worker, now)
            return
        if result.HasField("pieces") and not call.closed:
            self._router.transfers.begin(capsule, call, frame)
        elif call.is_stream and call.sink is not None and not call.closed:
            self._end_stream(capsule, call, frame)
        else:
            # A large result was on its way, and won't come: its worker has died, say.
            self._router.transfers.give_up(call)
            self._router.close(call, frame)
        self._settled(pool, call, worker, now)

    def _failed(self, pool: Pool, call: Call, error: common_pb2.Error, now: float) -> bool:
        """The agent reports a failure. True: its worker has died, and the call runs again."""
        if error.reason == WorkerLost.reason and self._runs_again(pool, call, now):
            return True
        if call.reruns and error.started == common_pb2.STARTED_NO:
            error.started = common_pb2.STARTED_MAYBE
        return False

    def _rested(self, pool: Pool, worker: Worker) -> None:
        now = self._router.clock()
        if pool.workers.get(worker.id) is worker:
            pool.index.place(worker, now)
            self._router.freed(pool, worker, now)

    def _end_stream(self, capsule: Capsule, call: Call, frame: link_pb2.Frame) -> None:
        """The slot is free; the chunks have their own way, and may still be on it. The sink closes the call."""
        result = frame.result
        capsule.trailing[result.id] = call
        if result.WhichOneof("outcome") == "error" and call.sink is not None:
            call.sink.fail(result.error)

    def rejected(self, capsule: Capsule, reject: link_pb2.Reject) -> None:
        """The agent has not started the call and does not hold it: it gets its old place in the queue again."""
        call = capsule.inflight.pop(reject.id, None)
        if call is None or call.home is None:
            return
        now, pool, worker = self._router.clock(), call.home, call.worker
        if call.session is not None and self._of_session(pool, call, reject.reason, now):
            self._free(pool, worker, now)
            return
        if worker is not None:
            if reject.reason == "WORKER_GONE":
                worker.ready = False
                pool.refresh(capsule, now)
            elif reject.reason == "DRAINING":
                capsule.draining = True
                pool.refresh(capsule, now)
            else:
                worker.full = True
        if reject.reason == "WORKER_GONE" and self._has_cost_too_many(pool, call, now):
            self._free(pool, worker, now)
        elif reject.reason == "NO_ARGUMENTS" and not call.closed:
            self._pause(pool, call, worker, now)
        else:
            self.again(pool, call, now)

    def _has_cost_too_many(self, pool: Pool, call: Call, now: float) -> bool:
        """One worker that ends with calls unread says nothing of them. A call that comes back from one after the other ends here."""
        call.gone += 1
        if call.gone <= MOST_GONE or call.closed:
            return False
        self._router.release(pool, call, now)
        call.worker, call.sent_at = None, 0.0
        message = f"{call.gone} workers of pool {pool.name}, one after the other, ended before they had begun the call"
        self._router.fail(call, PoolNotReady(message))
        self._settled(pool, call, None, now)
        return True

    def _of_session(self, pool: Pool, call: Call, reason: str, now: float) -> bool:
        """A rejection that says something of the call's session, and nothing of its worker."""
        if reason == "RELEASED" and call.session is not None:
            self._router.sessions.moved_on(call.session, Fence(call.request.session_uid, call.request.session_epoch))
            self.again(pool, call, now)
        elif reason == "BUSY":
            self._router.release(pool, call, now)
            call.worker, call.sent_at = None, 0.0
            self._router.fail(call, WorkerBusy(f"session {call.request.session_id!r} is ordered, and runs a call", retry_after=0.1))
            self._settled(pool, call, None, now)
        else:
            return False
        return True

    def _pause(self, pool: Pool, call: Call, worker: Worker | None, now: float) -> None:
        """Its large arguments did not get there, which may last; meanwhile it has no slot."""
        self._router.release(pool, call, now)
        call.worker, call.sent_at = None, 0.0
        call.fetches += 1
        self._router.remind(call, call.deadline)
        self._router.loop.call_later(CALLS.jittered(call.fetches, random.random), self._rerun, pool, call)
        self._free(pool, worker, now)

    def again(self, pool: Pool, call: Call, now: float) -> None:
        """A call that never started goes to somebody else."""
        self._router.release(pool, call, now)
        if call.closed:
            self._settled(pool, call, None, now)
        else:
            self._requeue(pool, call, now)

    def _requeue(self, pool: Pool, call: Call, now: float) -> None:
        call.requeued = True
        if call.session is not None:
            self._router.sessions.again(pool, call.session, call, now)
            return
        call.worker = None
        call.sent_at = 0.0
        self._router.wait(pool, call, now, pool.spec.queue.timeout_seconds)
        self._router.pump(pool, now)

    def worker_lost(self, pool: Pool, call: Call, how: str, now: float) -> None:
        """The call may have run and will never be answered. An idempotent tool runs again."""
        self._router.release(pool, call, now)
        if self._runs_again(pool, call, now):
            return
        where = call.worker.id if call.worker else "its worker"
        self._router.fail(call, WorkerLost(f"{where} was lost during the call: {how}", details={"how": how}))
        self._settled(pool, call, None, now)

    def _runs_again(self, pool: Pool, call: Call, now: float) -> bool:
        """Send a call that may have run to another worker, after a moment, if its tool allows that and the pool can afford it."""
        tool = pool.tools.get(call.tool)
        if tool is None or not tool.idempotent or call.closed or call.reruns >= MOST_RERUNS or now >= call.deadline:
            return False
        if (call.sink is not None and call.sink.opened) or pool.budget is None or not pool.budget.spend(now):
            return False
        call.reruns += 1
        call.waited = 0.0
        if call.nest is not None:
            call.nest.desert()
        self._router.telemetry.reruns.labels(pool.name).inc()
        self._router.loop.call_later(CALLS.jittered(call.reruns, random.random), self._rerun, pool, call)
        return True

    def _rerun(self, pool: Pool, call: Call) -> None:
        now = self._router.clock()
        if call.closed:
            self._settled(pool, call, None, now)
        else:
            self._requeue(pool, call, now)

    def _settled(self, pool: Pool, call: Call, worker: Worker | None, now: float) -> None:
        if call.capped and call.closed:
            pool.callers.done(call)
        if call.session is not None:
            self._router.sessions.done(pool, call.session, call, now)
        self._free(pool, worker, now)

    def _free(self, pool: Pool, worker: Worker | None, now: float) -> None:
        if worker is None:
            return
        if pool.queue.depth:
            self._router.freed(pool, worker, now)
        if not pool.queue.anybody:
            self._router.recalls.slot_free(pool, worker, now)
