"""What replicas are told about the workers: the heartbeat, and slots taken by others. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from snakepit._names import worker_id
from snakepit.v1 import link_pb2, pool_pb2
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.recycling import WORDS, Why
from snakepit_agent.model.seats import Seat, SeatState
from snakepit_agent.model.slots import Ledger

_STATES = {
    SeatState.ABSENT: pool_pb2.WORKER_STATE_STARTING,
    SeatState.STARTING: pool_pb2.WORKER_STATE_STARTING,
    SeatState.READY: pool_pb2.WORKER_STATE_READY,
    SeatState.REPLACING: pool_pb2.WORKER_STATE_READY,
    SeatState.DRAINING: pool_pb2.WORKER_STATE_DRAINING,
    SeatState.STOPPING: pool_pb2.WORKER_STATE_DRAINING,
    SeatState.BACKOFF: pool_pb2.WORKER_STATE_BACKOFF,
    SeatState.STOPPED: pool_pb2.WORKER_STATE_STOPPED,
}


def report(sequence: int, capsule: str, slots: int, lifecycle: Lifecycle, ledger: Ledger, now: float) -> link_pb2.Frame:
    """The heartbeat: every worker, also one that can't start."""
    workers = [_worker(capsule, slots, seat, lifecycle, ledger, now) for seat in lifecycle.seats.current]
    leaving = [_worker(capsule, slots, seat, lifecycle, ledger, now) for seat in lifecycle.seats.leaving.values()]
    _say_once(workers)
    body = link_pb2.Report(
        sequence=sequence,
        workers=workers,
        leaving=leaving,
        draining=lifecycle.draining,
        rss_bytes=sum(worker.rss_bytes for worker in (*workers, *leaving)),
        recycled=lifecycle.recycled,
        told_to_drain=lifecycle.told_to_drain,
    )
    return link_pb2.Frame(report=body)


def _say_once(workers: Iterable[pool_pb2.Worker]) -> None:
    """A capsule's workers mostly fail alike, and a heartbeat should stay small."""
    said: set[str] = set()
    for worker in workers:
        if worker.traceback in said:
            worker.ClearField("traceback")
        said.add(worker.traceback)


def _worker(capsule: str, slots: int, seat: Seat, lifecycle: Lifecycle, ledger: Ledger, now: float) -> pool_pb2.Worker:
    successor = lifecycle.seats.successors.get(seat.index) if seat.state is SeatState.REPLACING else None
    reason, message = _explain(seat, now) if successor is None else _explain_both(seat, successor)
    counted = ledger.workers.get(seat.incarnation)
    return pool_pb2.Worker(
        id=worker_id(capsule, seat.index),
        incarnation=seat.incarnation,
        state=_STATES[seat.state],
        slots=slots,
        running=ledger.running(seat.incarnation),
        served=counted.served if counted else 0,
        rss_bytes=seat.rss_bytes,
        restarts=max(0, seat.lives - 1),
        setup_seconds=seat.setup_seconds,
        oldest_running_seconds=ledger.oldest_seconds(seat.incarnation, now),
        reason=reason,
        message=message,
        pid=seat.pid if seat.has_process else 0,
        age_seconds=now - seat.since if seat.has_process else 0.0,
        own_bytes=seat.own_bytes,
        traceback=(successor or seat).traceback,
        taken=counted is not None and counted.taken,
        python=seat.python,
        ended=seat.ended,
    )


def _explain_both(old: Seat, successor: Seat) -> tuple[str, str]:
    """It serves, and is to be recycled: why, and what keeps its successor."""
    why = WORDS[Why(old.wish)]
    if successor.failures or successor.backoff:
        what = f"{successor.reason}: {successor.message}"
        due = "" if old.wish == Why.ASKED else f" (a successor is due: {why})"
        return "SuccessorFailed", f"it serves on, because its successor can't start: {what}{due}"
    return "Recycling", f"its successor is starting: {why}"


def _explain(seat: Seat, now: float) -> tuple[str, str]:
    """Why it isn't ready; a worker in a long setup() says so with its age."""
    if seat.state is SeatState.DRAINING:
        return "Recycled", f"finishing its calls: {WORDS[Why(seat.wish)]}" if seat.wish else "finishing its calls"
    if seat.state is SeatState.ABSENT and not seat.reason:
        return "Starting", "the worker container has not connected: it is still starting, or does not run snakepit-keeper"
    if seat.state is SeatState.STARTING and seat.fault:
        return seat.fault[:2]
    if seat.reason or seat.state is not SeatState.STARTING:
        return seat.reason, seat.message
    return "Starting", f"setup() has been running for {now - seat.since:.0f} s"


def load(replica: str, ledger: Ledger, incarnations: Iterable[str], worker_ids: Callable[[str], str]) -> link_pb2.Frame:
    """Slots of these workers that are taken by calls which `replica` doesn't count itself."""
    loads = [
        link_pb2.Load.WorkerLoad(
            worker=worker_ids(incarnation), incarnation=incarnation, elsewhere=ledger.workers[incarnation].elsewhere(replica)
        )
        for incarnation in incarnations
        if incarnation in ledger.workers
    ]
    return link_pb2.Frame(load=link_pb2.Load(workers=loads))
