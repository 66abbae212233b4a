"""What keeps a pool from serving and its workers from starting, out of what the control plane says of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from snakepit.client.views import PoolInfo, WorkerInfo

CAPSULES_MISSING = "CapsulesMissing"
CAPSULE_SILENT = "CapsuleSilent"
QUEUE_FULL = "QueueFull"
SESSIONS_FULL = "SessionsFull"
SESSIONS_NEARLY_FULL = "SessionsNearlyFull"
STARTING = "Starting"
"""Reasons of findings; others are those of pools and workers."""

FEWER_SESSIONS = "delete some, shorten session.ttlSeconds, or raise session.maxSessions"
"""What to do where there are too many."""

_STARTING = "starting"
_IN_ORDER = ("starting", "ready", "draining", "stopped")


class Finding(msgspec.Struct, frozen=True):
    """One thing that is wrong. `reason` is one word, `message` a sentence that says what to do, `traceback` the author's own.

    `severity`: error, or note of what is worth knowing and nothing wrong.
    """

    about: str
    reason: str
    message: str
    traceback: str = ""
    severity: str = "error"


def causes(workers: Iterable[WorkerInfo]) -> Iterator[tuple[str, str]]:
    """Name each cause for which workers can't start once: whose it is and what it is, and its traceback."""
    of: dict[tuple[str, str], list[str]] = {}
    for each in workers:
        if each.traceback:
            of.setdefault((f"{each.reason}: {each.message}", each.traceback), []).append(each.id)
    for (what, traceback), ids in of.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        yield f"{ids[0]}{more}: {what}", traceback


def with_each_traceback_once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """The same findings for people, who read a traceback at the first worker that has it."""
    told: set[str] = set()
    for each in findings:
        yield msgspec.structs.replace(each, traceback="") if each.traceback in told else each
        told.add(each.traceback)


def of_pool(pool: PoolInfo, workers: Sequence[WorkerInfo]) -> list[Finding]:
    """What is wrong with a pool: nothing where it is well, or has been told to have no workers."""
    found = []
    if not pool.available and pool.desired_capsules:
        found.append(Finding(pool.name, pool.reason, _of(pool)))
    elif pool.live_capsules < pool.desired_capsules:
        found.append(Finding(pool.name, CAPSULES_MISSING, f"{_there(pool)}: the conditions of its SnakePool say why"))
    found += _of_limits(pool)
    return found + [each for worker in workers if (each := _of_worker(worker)) is not None]


def _of_limits(pool: PoolInfo) -> Iterator[Finding]:
    if 0 < pool.queue_limit <= pool.queue_depth:
        said = f"its queue is full: {pool.queue_depth} wait, with {_slots(pool)}, and more are refused (POOL_SATURATED)"
        yield Finding(pool.name, QUEUE_FULL, f"{said}: give it more capsules, or raise queue.maxSize")
    if pool.sessions_mark:
        full = pool.sessions_mark >= 100
        said = f"it has {pool.sessions} sessions, {pool.sessions_mark} % of what session.maxSessions allows"
        then = "new ones are refused (SESSION_QUOTA)" if full else "new ones will soon be refused (SESSION_QUOTA)"
        yield Finding(pool.name, SESSIONS_FULL if full else SESSIONS_NEARLY_FULL, f"{said}, {then}: {FEWER_SESSIONS}")


def _slots(pool: PoolInfo) -> str:
    return f"{pool.busy_slots} of {pool.total_slots} slots busy"


def _of(pool: PoolInfo) -> str:
    return f"{pool.message} ({_there(pool)})" if pool.message else _there(pool)


def _there(pool: PoolInfo) -> str:
    return f"{pool.live_capsules} of {pool.desired_capsules} capsules are there, with {pool.ready_workers} ready workers"


def _of_worker(worker: WorkerInfo) -> Finding | None:
    if worker.liveness != "live":
        said = f"its capsule is {worker.liveness}, as its agent says nothing: {worker.message or 'look at its pod and its node'}"
        return Finding(worker.id, CAPSULE_SILENT, f"{said}; if it stays silent, another takes its place")
    if worker.traceback or worker.state not in _IN_ORDER:
        return Finding(worker.id, worker.reason or worker.state, worker.message or f"it is in {worker.state}", worker.traceback)
    if worker.state == _STARTING and worker.reason == STARTING:
        return Finding(worker.id, STARTING, worker.message, severity="note")
    if worker.state == _STARTING and worker.reason:
        return Finding(worker.id, worker.reason, f"it is started again, as {worker.message}")
    return None
