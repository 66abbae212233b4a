"""The stages of one replica, composed: each knows the next one. What is outside knows the doors: `intake`, `outcomes`, `calls.cancel`."""

from __future__ import annotations

import asyncio
import time

from snakepit_control_plane.flow.agents import AgentLinks
from snakepit_control_plane.flow.dispatcher import Dispatcher
from snakepit_control_plane.flow.idempotency import Idempotency
from snakepit_control_plane.flow.intake import Intake
from snakepit_control_plane.flow.log_lines import LogLines
from snakepit_control_plane.flow.nested import NestedCalls
from snakepit_control_plane.flow.open_calls import OpenCalls
from snakepit_control_plane.flow.outcomes import Outcomes
from snakepit_control_plane.flow.pools import Pools
from snakepit_control_plane.flow.recalls import Recalls
from snakepit_control_plane.flow.sessions import Sessions
from snakepit_control_plane.flow.transfers import Transfers
from snakepit_control_plane.model.quotas import Limits, MemoryBudget
from snakepit_control_plane.model.records import Records
from snakepit_control_plane.store.interface import Store
from snakepit_control_plane.telemetry import Telemetry


class Flow:
    """`replica` is this process's random name."""

    def __init__(self, telemetry: Telemetry, limits: Limits, store: Store, replica: str) -> None:
        self.telemetry = telemetry
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.clock = clock = self.loop.time
        self.pools = Pools(clock)
        self.agents = AgentLinks()
        self.log_lines = LogLines(self.agents)
        records = Records(limits.max_call_records, lambda: time.time() - clock())
        self.calls = OpenCalls(self.agents, telemetry, MemoryBudget(limits.max_waiting_bytes), records)
        self.recalls = Recalls(self.agents)
        self.dispatcher = Dispatcher(self.calls, self.agents, self.recalls)
        self.transfers = Transfers(self.calls, limits)
        self.outcomes = Outcomes(self.dispatcher, self.calls, self.transfers, telemetry)
        self.sessions = Sessions(self.dispatcher, self.calls, self.pools, self.agents, store, telemetry)
        self.idempotency = Idempotency(self.sessions, self.calls, self.transfers, store, replica, telemetry, limits)
        self.nested = NestedCalls(self.pools, self.calls, limits)
        self.intake = Intake(self.pools, self.calls, self.nested, limits, self.idempotency, self.dispatcher)

    async def stop(self) -> None:
        """No calls come any more."""
        await asyncio.gather(self.transfers.stop(), self.sessions.stop(), self.idempotency.stop())
        self.calls.stop()
        self.recalls.stop()
