"""worker.exclusive, carried out: workers that belong to a session or a call are recycled when that is done with them."""

from __future__ import annotations

import time

from snakepit_agent.model.call import HeldCall
from snakepit_agent.model.leases import ExclusiveLeases
from snakepit_agent.model.slots import Ledger
from snakepit_agent.workers.supervisor import Supervisor


class Leasing:
    """Of one capsule. In a pool that is not exclusive, every worker is anybody's."""

    def __init__(self, ledger: Ledger, supervisor: Supervisor, *, exclusive: bool) -> None:
        self.is_exclusive = exclusive
        self.leases = ExclusiveLeases()
        self._ledger = ledger
        self._supervisor = supervisor

    def take(self, held: HeldCall, now: float, *, within: bool) -> None:
        """The call has been admitted. `within`: it belongs to the turn of its parent."""
        if self.leases.take(held, now, within=within):
            self._tell(held.incarnation)

    def give_back(self, held: HeldCall) -> None:
        """The call never started."""
        if self.leases.give_back(held):
            self._tell(held.incarnation)

    def ended_a_call(self, incarnation: str) -> None:
        """Was it the last one that the worker was for?"""
        if self.leases.is_over(incarnation):
            self._retire(incarnation)

    def session_left(self, uid: str) -> None:
        """The session has ended, or moved: what was its own is recycled."""
        for incarnation in self.leases.leave(uid):
            self._retire(incarnation)

    def _tell(self, incarnation: str) -> None:
        self._ledger.workers[incarnation].taken = self.leases.owns(incarnation)
        self._supervisor.changed()

    def _retire(self, incarnation: str) -> None:
        worker = self._ledger.workers.get(incarnation)
        if worker is not None and not worker.held:
            self._supervisor.retire(incarnation, time.monotonic())
