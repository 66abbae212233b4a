"""How many bytes calls that wait may hold at this replica, whatever pool they wait in; half of it may be one caller's. Pure."""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

from snakepit.errors import PoolSaturated

if TYPE_CHECKING:
    from snakepit_control_plane.router.calls import Call

SMALL_BYTES = 4 * 1024
"""A call up to here is not counted: the queues bound how many there are."""

RETRY_SECONDS = 1.0


class Room:
    """`most`: bytes."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0
        self._callers: dict[Hashable, int] = {}

    def take(self, call: Call, *, anyway: bool = False) -> bool:
        """Count the call, which begins to wait. False: there is no room. `anyway`: it has waited before, and came back."""
        size = call.bytes
        if size <= SMALL_BYTES or call.room:
            return True
        mine = self._callers.get(call.caller, 0) + size
        if not anyway and (self.taken + size > self.most or (mine > size and mine > self.most // 2)):
            return False
        self.taken += size
        self._callers[call.caller] = mine
        call.room = size
        return True

    def give_back(self, call: Call) -> None:
        """It waits no more."""
        size, call.room = call.room, 0
        self.taken -= size
        left = self._callers.pop(call.caller) - size
        if left:
            self._callers[call.caller] = left

    def full(self, call: Call) -> PoolSaturated:
        """The refusal of a call that found none."""
        limit = f"maxWaitingBytes allows {self.most}, half of it to one caller"
        message = f"calls that wait hold {self.taken} bytes here, and this one has {call.bytes}: {limit}"
        return PoolSaturated(message, retry_after=RETRY_SECONDS, details={"limit": "maxWaitingBytes", "bytes": str(self.most)})
