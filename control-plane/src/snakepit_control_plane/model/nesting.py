"""A call's place among the calls that tools make: who is around it, how deep it is, and whether it waits for itself. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from snakepit._values.strings import quoted
from snakepit.errors import CallTooDeep, WouldDeadlock
from snakepit.v1 import pool_pb2

if TYPE_CHECKING:
    from snakepit_control_plane.model.call import Call
    from snakepit_control_plane.model.capsule import Worker
    from snakepit_control_plane.model.pool import Pool

_MAY_SERVE = (pool_pb2.WORKER_STATE_STARTING, pool_pb2.WORKER_STATE_READY, pool_pb2.WORKER_STATE_BACKOFF)


class Nest:
    """One link of a chain. `call` is None for a call to a client's tool, which takes no slot; `turn`: the call, of the same session,
    within whose turn this one runs (its call_id; empty: it has to wait for its turn like any other); `by_client`: a client's own call,
    out of one of its tools."""

    __slots__ = ("by_client", "call", "children", "depth", "parent", "turn")

    def __init__(self, parent: Nest | None = None, call: Call | None = None) -> None:
        self.parent = parent
        self.call = call
        self.depth: int = 0 if parent is None else parent.depth + 1
        self.turn = ""
        self.by_client = False
        # What was called from within and has not ended, and how to give it up.
        self.children: dict[Nest, Callable[[], None]] = {}

    def twin(self, call: Call) -> Nest:
        """The place of a call that runs for this one, and may outlive it."""
        nest = Nest(self.parent, call)
        nest.turn, nest.by_client = self.turn, self.by_client
        return nest

    def around(self) -> Iterator[Call]:
        """The calls to workers that this one is nested in, the nearest first."""
        at = self.parent
        while at is not None:
            if at.call is not None:
                yield at.call
            at = at.parent

    def session(self) -> tuple[str, str]:
        """Pool and id of the session that this call is made in: its own, or the nearest around it."""
        calls = (self.call, *self.around()) if self.call is not None else self.around()
        return next(((each.pool, each.request.session_id) for each in calls if each.request.session_id), ("", ""))

    def holder(self, pool: str, session_id: str) -> str:
        """The call_id of the nearest call around that runs in that session; empty: none does."""
        return next((each.call_id for each in self.around() if each.request.session_id == session_id and each.pool == pool), "")

    def end(self) -> None:
        """The call has ended: nobody waits for what it called."""
        if self.parent is not None:
            self.parent.children.pop(self, None)
        self.desert()

    def desert(self) -> None:
        """Its tool does not run any more: give up what that has called."""
        while self.children:
            _, give_up = self.children.popitem()
            give_up()


def nest_of(call: Call) -> Nest:
    """Of a call whose tool begins to call others."""
    if call.nest is None:
        call.nest = Nest(call=call)
    return call.nest


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
    if call.nest is None or (pin is None and len(pool.capsules) < pool.spec.replicas):
        return None
    held = Counter(each.worker for each in call.nest.around() if each.worker is not None and not each.closed)
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
