"""What is wrong with pools and their workers, worst first, with what to look at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from snakepit.client.views import PoolInfo, WorkerInfo

_STARTING = "starting"
_IN_ORDER = ("starting", "ready", "draining", "stopped")


class Finding(msgspec.Struct, frozen=True):
    """`about`: a pool or a worker. `reason` in one word, `message` in a sentence; `traceback`: the author's, where there is one."""

    about: str
    reason: str
    message: str
    traceback: str = ""


def causes(workers: Iterable[WorkerInfo]) -> Iterator[tuple[str, str]]:
    """Each cause for which workers can't start, with its traceback, once: of whom it is, and what."""
    of: dict[tuple[str, str], list[str]] = {}
    for each in workers:
        if each.traceback:
            of.setdefault((f"{each.reason}: {each.message}", each.traceback), []).append(each.id)
    for (what, traceback), ids in of.items():
        more = f" and {len(ids) - 1} more" if len(ids) > 1 else ""
        yield f"{ids[0]}{more}: {what}", traceback


def with_each_traceback_once(findings: Iterable[Finding]) -> Iterator[Finding]:
    """For people, who read it at the first worker that has it."""
    told: set[str] = set()
    for each in findings:
        yield msgspec.structs.replace(each, traceback="") if each.traceback in told else each
        told.add(each.traceback)


def of_pool(pool: PoolInfo, workers: Sequence[WorkerInfo]) -> list[Finding]:
    """Empty: it is well, or has been told to have no workers."""
    found = [] if pool.available or not pool.desired_capsules else [Finding(pool.name, pool.reason, _of(pool))]
    return found + [each for worker in workers if (each := _of_worker(worker)) is not None]


def _of(pool: PoolInfo) -> str:
    capsules = f"{pool.live_capsules} of {pool.desired_capsules} capsules are there, with {pool.ready_workers} ready workers"
    return f"{pool.message} ({capsules})" if pool.message else capsules


def _of_worker(worker: WorkerInfo) -> Finding | None:
    if worker.liveness != "live":
        return Finding(worker.id, worker.liveness, f"its capsule is silent: {worker.message or 'look at its agent and its node'}")
    if worker.traceback or worker.state not in _IN_ORDER:
        return Finding(worker.id, worker.reason or worker.state, worker.message or f"it is in {worker.state}", worker.traceback)
    if worker.state == _STARTING and worker.reason:
        return Finding(worker.id, worker.reason, f"it is started again, as {worker.message}")
    return None
