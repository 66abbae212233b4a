"""Whether a call that may have run runs again on another worker, and when one that never began is given up. Pure."""

from __future__ import annotations

from snakepit.errors import PoolNotReady
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.pool import Pool

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
