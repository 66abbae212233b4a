"""How many calls each caller has open in one pool, where the pool sets a limit (`call.maxConcurrentPerCaller`). Pure.

A call counts until its caller has been answered and its slot is free again: who cancels a call that doesn't stop has not got rid of it.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snakepit_control_plane.router.calls import Call


class Callers:
    """`limit` 0: none, and nothing is counted. A caller without an open call is forgotten."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, call: Call) -> bool:
        """Count the call, unless its caller has as many as it may have."""
        count = self._open.get(call.caller, 0)
        if count >= self.limit:
            return False
        self._open[call.caller] = count + 1
        call.capped = True
        return True

    def done(self, call: Call) -> None:
        """The call was counted, and is over."""
        call.capped = False
        left = self._open[call.caller] - 1
        if left:
            self._open[call.caller] = left
        else:
            del self._open[call.caller]
