"""The sentences of the router's own refusals, with the advice that goes with them. Pure."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import TYPE_CHECKING

from snakepit._names import nearest
from snakepit._values.strings import quoted
from snakepit.errors import CallerLimit, PoolNotFound, PoolNotReady, PoolSaturated, QueueTimeout
from snakepit_control_plane.model.capsule import UNKNOWN_SECONDS

if TYPE_CHECKING:
    from snakepit_control_plane.model.call import Call
    from snakepit_control_plane.model.pool import Pool

RETRY_NOT_KNOWN_SECONDS = 1.0


def no_pool(name: str, known: Collection[str]) -> PoolNotFound:
    """Names the nearest ones."""
    names = nearest(name, known)
    hint = f"did you mean {' or '.join(names)}?" if names else f"known: {', '.join(sorted(known)[:10]) or 'none'}"
    return PoolNotFound(f"there is no pool {quoted(name)}: {hint}", details={"nearest": ",".join(names)})


def not_known_yet(name: str) -> PoolNotReady:
    """By a replica that has just started: another one may know better, and so may this one soon."""
    message = (
        f"whether there is a pool {quoted(name)} is not known here yet: this replica has just started, and waits for the agents to link"
    )
    return PoolNotReady(message, retry_after=RETRY_NOT_KNOWN_SECONDS)


def saturated(pool: Pool) -> PoolSaturated:
    """Advises to come back when what waits now will have been done."""
    slots = pool.slots or 1
    known = [seconds for tool in pool.tools if (seconds := pool.mean_seconds(tool)) < math.inf]
    mean = sum(known) / len(known) if known else UNKNOWN_SECONDS
    advice = min(max(0.1, pool.queue.depth * mean / slots), pool.spec.queue.timeout_seconds)
    message = f"pool {pool.name} is saturated: {pool.queue.depth} calls wait (queue.maxSize {pool.queue.max_size})"
    return PoolSaturated(message, retry_after=advice, details={"limit": "queue.maxSize", "calls": str(pool.queue.max_size)})


def too_many(pool: Pool, call: Call) -> CallerLimit:
    """Advises to come back when a call of that tool will have ended."""
    limit = pool.callers.limit
    message = f"this caller has {limit} calls open in pool {pool.name}, as many as call.maxConcurrentPerCaller allows: wait for one to end"
    details = {"limit": "call.maxConcurrentPerCaller", "calls": str(limit)}
    return CallerLimit(message, retry_after=min(max(0.1, pool.mean_seconds(call.tool)), UNKNOWN_SECONDS), details=details)


def waited_too_long(call: Call, now: float) -> QueueTimeout:
    return QueueTimeout(f"the call waited {call.waited + now - call.queued_at:.3g} s in the queue of pool {call.pool}", retry_after=1.0)
