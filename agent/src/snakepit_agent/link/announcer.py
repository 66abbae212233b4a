"""What replicas are told of the workers: the tools on offer, the reports, and which slots the calls of others take."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from snakepit._ipc.worker import Ready
from snakepit._wire.messages import tool_to_wire
from snakepit.v1 import link_pb2
from snakepit_agent.link.report import load, report
from snakepit_agent.link.uplink import Uplink
from snakepit_agent.model.lifecycle import Lifecycle
from snakepit_agent.model.slots import Ledger

ROUGHLY = 8
"""What waits at a worker behind its slots changes with every call, and no replica decides anything by a few more or less: it hears of so
many. Whether a slot is free, it hears at once."""


class Announcer:
    """Of the capsule with that name, whose workers have `slots` each. `worker_id` tells a worker's name.

    `reported` is called with each report that a change has called for.
    """

    def __init__(
        self,
        capsule: str,
        slots: int,
        uplink: Uplink,
        ledger: Ledger,
        lifecycle: Lifecycle,
        worker_id: Callable[[str], str],
        reported: Callable[[], None],
    ) -> None:
        self._capsule = capsule
        self._slots = slots
        self._uplink = uplink
        self._ledger = ledger
        self._lifecycle = lifecycle
        self._worker_id = worker_id
        self._reported = reported
        self._offer: link_pb2.Offer | None = None
        self._told: dict[tuple[str, str], int] = {}
        self._sequence = 0
        self._report_due = False
        self._loop = asyncio.get_running_loop()

    def linked(self, replica: str) -> None:
        """Tell a new link everything, from the start."""
        if self._offer is not None:
            self._uplink.send(replica, link_pb2.Frame(offer=self._offer))
        self._uplink.send(replica, self._report())
        self._ledger.touch_all()

    def unlinked(self, replica: str) -> None:
        """It has to be told anew, if it comes back."""
        self._told = {key: value for key, value in self._told.items() if key[0] != replica}
        self._ledger.owed = {key for key in self._ledger.owed if key[0] != replica}

    # ---- workers

    def offered(self, ready: Ready) -> None:
        """A worker is ready, and has these tools."""
        offer = link_pb2.Offer(tools=map(tool_to_wire, ready.tools), description=ready.description)
        if offer != self._offer:
            self._offer = offer
            self._uplink.broadcast(link_pb2.Frame(offer=offer))

    def changed(self) -> None:
        """Report in this turn of the loop, with whatever else changes in it."""
        if not self._report_due:
            self._report_due = True
            self._loop.call_soon(self._report_change)

    def _report_change(self) -> None:
        self._report_due = False
        self.report()
        self._reported()

    def report(self) -> None:
        """Send every replica a report: the heartbeat."""
        self._uplink.broadcast(self._report())

    def _report(self) -> link_pb2.Frame:
        self._sequence += 1
        return report(self._sequence, self._capsule, self._slots, self._lifecycle, self._ledger, time.monotonic())

    # ---- slots

    def touched(self) -> None:
        """Slots were taken or freed: say so in this turn of the loop."""
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Tell each replica of the slots that others' calls take, where that has changed."""
        touched = self._ledger.take_touched()
        for replica in self._uplink.linked if touched else ():
            changed = [incarnation for incarnation in touched if self._is_news(replica, incarnation)]
            if changed:
                self._uplink.send(replica, load(replica, self._ledger, changed, self._worker_id))

    def _is_news(self, replica: str, incarnation: str) -> bool:
        key, worker = (replica, incarnation), self._ledger.workers.get(incarnation)
        if worker is None:
            self._told.pop(key, None)
            self._ledger.owed.discard(key)
            return False
        elsewhere, told = worker.elsewhere(replica), self._told.get(key, 0)
        waiting = min(told, elsewhere) >= worker.slots
        if abs(elsewhere - told) < (ROUGHLY if waiting else 1) and key not in self._ledger.owed:
            return False
        self._ledger.owed.discard(key)
        self._told[key] = elsewhere
        return True
