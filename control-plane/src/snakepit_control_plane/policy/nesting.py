"""Which nested call is refused: it is too deep, or it would wait for itself. Pure."""

from __future__ import annotations

from collections import Counter

from snakepit._values.strings import quoted
from snakepit.errors import CallTooDeep, WouldDeadlock
from snakepit.v1 import pool_pb2
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Worker
from snakepit_control_plane.model.nesting import Nest
from snakepit_control_plane.model.pool import Pool

_MAY_SERVE = (pool_pb2.WORKER_STATE_STARTING, pool_pb2.WORKER_STATE_READY, pool_pb2.WORKER_STATE_BACKOFF)


def too_deep(nest: Nest, tool: str, most: int) -> CallTooDeep | None:
    """The refusal of a call that would be nested in `nest`'s own."""
    if nest.depth < most:
        return None
    around = " < ".join([call.tool for call in (nest.call, *nest.around()) if call is not None][:4])
    message = f"tool {quoted(tool)} would be nested in {nest.depth + 1} calls, maxNestingDepth allows {most}"
    return CallTooDeep(
        f"{message}: do tools call each other in a circle? (in {around} < …)", details={"limit": "maxNestingDepth", "depth": str(most)}
    )


def waits_for_itself(pool: Pool, call: Call, pin: Worker | None) -> WouldDeadlock | None:
    """The refusal of a call that could only get a slot which the calls around it hold, and which they hold until it has ended.

    Proven by this chain alone: the slots of every worker that may serve the call (the pinned one; else all that run or start) are held
    by it. A pool that has fewer capsules than it should have may get more, so nothing is proven. Chains that wait for each other
    are not looked for: the queue's time limit ends them.
    """
    if call.nest is None or (pin is None and len(pool.capsules) < pool.spec.most_replicas):
        return None
    held = Counter(each.worker for each in call.nest.around() if each.worker is not None and not each.answered)
    able = [pin] if pin is not None else _able(pool, call.tool, len(held))
    if not able or any(held[worker] < worker.slots for worker in able):
        return None
    slots = sum(worker.slots for worker in able)
    what = f"worker {pin.id} of its session" if pin is not None else f"pool {pool.name}"
    message = (
        f"tool {call.tool!r} can't run: the calls that wait for it hold {'the only slot' if slots == 1 else f'all {slots} slots'} of {what}"
    )
    return WouldDeadlock(f"{message}; give the pool more workers, or call the function directly", details={"slots": str(slots)})


def _able(pool: Pool, tool: str, most: int) -> list[Worker]:
    """The workers that may serve the tool now or soon; empty also when they are more than `most`, of which some must be free."""
    if len(pool.workers) > most and sum(_may_serve(each, tool) for each in pool.workers.values()) > most:
        return []
    return [each for each in pool.workers.values() if _may_serve(each, tool)]


def _may_serve(worker: Worker, tool: str) -> bool:
    capsule = worker.capsule
    if capsule.draining or capsule.cordoned or (capsule.tools and tool not in capsule.tools):
        return False
    return worker.info.state in _MAY_SERVE
