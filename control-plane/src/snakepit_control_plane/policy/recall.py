"""Which calls that were sent ahead of a worker's slots are called back, while a slot is free elsewhere. Pure.

One of a tool that takes a while comes back as soon as another worker gets free; the quick ones, whose way back would take longer than
their wait, when their worker does not get on.
"""

from __future__ import annotations

from collections.abc import Container

from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import AHEAD_SECONDS, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.policy.placement import has_free


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
