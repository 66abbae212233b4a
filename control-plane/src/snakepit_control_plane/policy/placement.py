"""Filter, score, pick: which worker a call goes to now, that it waits, or why it is refused. Pure; O(1) in the number of workers.

The first filter that leaves nothing names the refusal. It never sends, never waits and never touches a session's binding.

Where no slot is free, a call without large arguments may go ahead of one, by this table:

| its tool's mean duration | to a worker | as long as its work, with this call, is under |
|---|---|---|
| up to AHEAD_SECONDS | with any number of calls, AHEAD_CALLS at most | AHEAD_SECONDS |
| longer | whose slots are taken, and nothing more | SOON_SECONDS |
| longer, while others wait in the queue | whose slots are taken, and nothing more | NEXT_SECONDS |
"""

from __future__ import annotations

import math

import msgspec

from snakepit._ipc.sections import LARGE_BYTES
from snakepit._names import nearest
from snakepit._values.strings import quoted
from snakepit.errors import PoolNotReady, SnakepitError, ToolNotFound
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import AHEAD_SECONDS, NEXT_SECONDS, SOON_SECONDS, Worker
from snakepit_control_plane.model.pool import Pool

RETRY_NOT_READY_SECONDS = 1.0


class Wait(msgspec.Struct, frozen=True):
    """Wait in the queue, for `seconds` at most."""

    seconds: float


Outcome = Worker | Wait | SnakepitError


def route(pool: Pool, call: Call, now: float, *, others: bool = False) -> Outcome:
    """For a call that is bound to no worker. `others`: when it has gone, further calls wait."""
    if not pool.ready_workers:
        return no_worker(pool, now)
    tool = call.tool
    if tool not in pool.tools:
        return unknown_tool(pool, tool)
    # The SDK sends large ones apart from the call; who doesn't would have others wait behind them all the same.
    large = call.source is not None or call.bytes > LARGE_BYTES
    return pick(pool, tool, large=large, others=others) or Wait(pool.spec.queue.timeout_seconds)


def pick(pool: Pool, tool: str, *, large: bool = False, others: bool = False) -> Worker | None:
    """The least loaded worker with a free slot; else, for a tool known to be quick, one to send ahead to (but no `large` arguments)."""
    if not pool.uniform:
        return next((worker for worker in pool.index.free() if tool in worker.capsule.tools), None)
    seconds = pool.means.get(tool, math.inf)
    if seconds <= AHEAD_SECONDS and not large:
        return pool.index.pick_quick(seconds)
    free = pool.index.pick_free()
    most = NEXT_SECONDS if others else SOON_SECONDS
    return free if free is not None or seconds > most or large else pool.index.pick_next(seconds, most)


def goes_next(pool: Pool, tool: str) -> bool:
    """Might a call of it go ahead of a slot because others wait behind it?"""
    return AHEAD_SECONDS < pool.means.get(tool, math.inf) <= NEXT_SECONDS


def has_free(pool: Pool, tool: str) -> bool:
    """Is a slot free for that tool now?"""
    if pool.uniform:
        return pool.index.pick_free() is not None
    return pick(pool, tool) is not None


def patience(pool: Pool, now: float) -> float:
    """How long a call may wait in the queue: longer while it waits for a worker to come, and not for a slot to get free."""
    outcome = None if pool.ready_workers else no_worker(pool, now)
    return outcome.seconds if isinstance(outcome, Wait) else pool.spec.queue.timeout_seconds


def no_worker(pool: Pool, now: float) -> Wait | SnakepitError:
    """What becomes of a call to a pool without a ready worker."""
    activation = pool.spec.queue.activation_timeout_seconds
    if pool.spec.suspended:
        return PoolNotReady(f"pool {pool.name} is suspended: set spec.suspended to false")
    if pool.spec.least_replicas == 0 or now - pool.last_ready_at < activation:
        return Wait(activation)
    if now < pool.patient_until:
        return Wait(min(activation, pool.patient_until - now))
    return PoolNotReady(f"pool {pool.name} has no ready worker: {pool.why_not_ready()}", retry_after=RETRY_NOT_READY_SECONDS)


def unknown_tool(pool: Pool, tool: str) -> ToolNotFound:
    """The refusal of a tool that no worker offers."""
    names = nearest(tool, pool.tools)
    hint = f"did you mean {' or '.join(names)}?" if names else f"it has {', '.join(sorted(pool.tools)[:10]) or 'none'}"
    return ToolNotFound(f"pool {pool.name} has no tool {quoted(tool)}: {hint}", details={"nearest": ",".join(names)})
