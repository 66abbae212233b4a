"""Which calls go to another worker: those that may have run, those that none has begun, and those that wait behind another one. Pure.

Where a slot is free elsewhere, calls that were sent ahead of their worker's slots are called back. One of a tool that takes a while comes
back as soon as another worker gets free; the quick ones, whose way back would take longer than their wait, when their worker does not get
on.
"""

from __future__ import annotations

from collections.abc import Container

from snakepit.errors import PoolNotReady
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import AHEAD_SECONDS, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.placement import has_free

MOST_RERUNS = 2
"""A call whose worker is lost for the third time fails: its arguments may be what kills them."""

MOST_GONE = 4
"""The same for a call that none of its workers had begun, which is rarely to blame."""


def may_run_again(pool: Pool, call: Call, now: float) -> bool:
    """Its tool allows that, nothing of it has reached its caller, and there is time; whether the pool can afford it is not asked."""
    tool = pool.tools.get(call.tool)
    if tool is None or not tool.idempotent or call.answered or call.reruns >= MOST_RERUNS or now >= call.deadline:
        return False
    return call.sink is None or not call.sink.opened


def too_many_gone(pool: Pool, call: Call) -> PoolNotReady | None:
    """One worker that ends with calls unread says nothing of them. The refusal of a call that came back from one after the other."""
    gone = call.tried().workers_gone
    if gone <= MOST_GONE:
        return None
    return PoolNotReady(f"{gone} workers of pool {pool.name}, one after the other, ended before they had begun the call")


def behind(worker: Worker) -> list[Call]:
    """The calls that this replica has sent to the worker and that have not got a slot there, as far as can be known here.

    Those of sessions stay: whether they may go elsewhere is a question of their binding.
    """
    mine = [call for call in worker.capsule.inflight.values() if call.worker is worker]
    return [call for call in mine[max(0, worker.slots - worker.elsewhere) :] if call.session is None and not call.answered]


def slow_one(worker: Worker, tools: Container[str]) -> Call | None:
    """One call that waits there, of a tool that takes a while and is among `tools`."""
    if worker.backlog <= AHEAD_SECONDS * worker.slots:
        return None  # Quick ones only: the usual case, and many of them to look through.
    return next((call for call in behind(worker) if call.expected > AHEAD_SECONDS and call.tool in tools), None)


def all_for_others(pool: Pool, worker: Worker) -> list[Call]:
    """Calls that wait there though a slot is free elsewhere for their tools."""
    return [call for call in behind(worker) if has_free(pool, call.tool)]
