"""The slots of a simulated agent's workers, counted by an agent's own ledger: it refuses what is too much."""

from __future__ import annotations

from snakepit.v1 import link_pb2
from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.slots import Ledger


class Slots:
    """Each worker has `count` of them."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._ledger = Ledger()
        self._held: dict[int, HeldCall] = {}

    def learn(self, seconds: float, *tools: str) -> None:
        """As if these had always taken so long here."""
        self._ledger.open("of before", 1)
        for tool in tools:
            held = HeldCall(self._ledger.next_id(), 0, "", "of before", "", tool)
            self._ledger.admit(held, 0.0)
            self._ledger.finish(held.id, seconds, seconds)
        self._ledger.remove("of before")

    def take(self, call: link_pb2.Call, replica: str, now: float) -> str:
        """Why it is refused; empty: it has a slot, or waits for one."""
        if call.incarnation not in self._ledger.workers:
            self._ledger.open(call.incarnation, self._count)
        if reason := self._ledger.refusal(call.incarnation, call.tool, ahead=call.ahead):
            self._ledger.refused(call.incarnation, replica)
            return reason
        held = HeldCall(self._ledger.next_id(), call.id, replica, call.incarnation, call.call_id, call.tool)
        self._ledger.admit(held, now)
        self._held[call.id] = held
        return ""

    def drop(self, call_id: int, run_seconds: float, now: float) -> None:
        """It has run for so long, or not to its end: 0."""
        if (held := self._held.pop(call_id, None)) is None:
            return
        if run_seconds:
            self._ledger.finish(held.id, run_seconds, now)
        else:
            self._ledger.release(held.id)

    def remove(self, incarnation: str) -> None:
        """That life of a worker is over."""
        self._ledger.remove(incarnation)

    def owe_word(self) -> bool:
        """Does somebody who was refused wait for word? It is owed once."""
        owed = bool(self._ledger.owed)
        self._ledger.owed.clear()
        return owed
