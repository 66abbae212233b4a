"""Two replicas on one store, for calls with idempotency keys."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running, make_store
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import Caller, calling, eventually, replica
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import success


class Pair:
    """Two replicas on one store, with an agent and a caller each. `ran` has what the tool `work` was called with."""

    def __init__(self, servers: list[Running], agents: list[SimulatedAgent], callers: list[Caller], ran: list[Any]) -> None:
        self.servers, self.agents, self.callers, self.ran = servers, agents, callers, ran

    def waiting(self) -> int:
        """Callers with a key that wait for an outcome."""
        return sum(len(entry.callers) for server in self.servers for entry in server.flow.idempotency.upkeep.entries.values())

    def let_go(self) -> None:
        for agent in self.agents:
            agent.let_go()


@contextlib.asynccontextmanager
async def pair(url: str, **options: Any) -> AsyncIterator[Pair]:
    ran: list[Any] = []

    async def work(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        ran.append(json.loads(call.arguments.data))
        await agent.gate.wait()
        return success({"run": len(ran)})

    async with contextlib.AsyncExitStack() as stack:
        memory = MemoryStore()
        servers, agents, callers = [], [], []
        for number in range(2):
            server = await stack.enter_async_context(replica(make_store(url) if url else memory))
            agent = simulated_agent(server.address, name=f"capsule-{number}", slots=4, **options)
            servers.append(server)
            agents.append(await stack.enter_async_context(agent))
            agents[-1].tools["work"] = work
            agents[-1].offer()
            callers.append(await stack.enter_async_context(calling(server.address)))
        await eventually(lambda: all("work" in server.flow.pools[POOL].tools for server in servers))
        yield Pair(servers, agents, callers, ran)
        await eventually(lambda: not any(server.flow.idempotency.upkeep.entries for server in servers), "every key is let go")
        assert not any(server.flow.calls.count or server.flow.pools[POOL].queue.joined for server in servers)


def value(response: Any) -> Any:
    return response.json.struct_value.fields["run"].number_value
