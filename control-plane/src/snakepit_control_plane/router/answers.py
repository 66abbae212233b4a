"""What agents say of the calls they were sent: done, rejected, lost. A call goes back to its caller, or to another worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from snakepit.errors import WorkerLost
from snakepit.v1 import link_pb2
from snakepit_control_plane.router.calls import Call
from snakepit_control_plane.router.pool import Pool
from snakepit_control_plane.router.workers import Capsule, Worker

if TYPE_CHECKING:
    from snakepit_control_plane.router.pools import Router


class Answers:
    """One for each router."""

    def __init__(self, router: Router) -> None:
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
            rest = pool.count_outcome(worker, call.tool, call.sent_at, failed)
            if rest > now:
                worker.resting_until = rest
                self._router.loop.call_at(rest + 0.001, self._rested, pool, worker)
        if not failed:
            pool.learn(call.tool, result.run_seconds)
        self._router.release(pool, call, now)
        if call.sink is not None and not call.closed:
            self._end_stream(capsule, call, frame)
        else:
            self._router.close(call, frame)
        self._settled(pool, call, worker, now)

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
        if worker is not None:
            if reject.reason == "WORKER_GONE":
                worker.ready = False
                pool.refresh(now)
            elif reject.reason == "DRAINING":
                capsule.draining = True
                pool.refresh(now)
            else:
                worker.full = True
        self.again(pool, call, now)

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
        tool = pool.tools.get(call.tool)
        if tool is not None and tool.idempotent and not call.closed and not (call.sink and call.sink.opened):
            self._requeue(pool, call, now)
            return
        where = call.worker.id if call.worker else "its worker"
        self._router.fail(call, WorkerLost(f"{where} was lost during the call: {how}", details={"how": how}))
        self._settled(pool, call, None, now)

    def _settled(self, pool: Pool, call: Call, worker: Worker | None, now: float) -> None:
        if call.capped and call.closed:
            pool.callers.done(call)
        if call.session is not None:
            self._router.sessions.done(pool, call.session, call, now)
        if worker is not None and pool.queue.depth:
            self._router.freed(pool, worker, now)
