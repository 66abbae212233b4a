"""What a pool can do follows its workers as they come, change and go, for whoever lists tools and for whoever calls one."""

from __future__ import annotations

import asyncio
import json

import pytest

import snakepit
from snakepit.errors import ToolNotFound
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, tool_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, eventually, rpc
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import TOOLS, echo


async def names(caller: Caller) -> list[str]:
    return [tool.name for tool in (await rpc(caller.tools.ListTools(tool_pb2.ListToolsRequest(pool=POOL)))).tools]


async def tool(caller: Caller, name: str) -> common_pb2.Tool:
    return (await rpc(caller.tools.GetTool(tool_pb2.GetToolRequest(pool=POOL, tool=name)))).tool


def offer(agent: SimulatedAgent, description: str, schema: dict[str, object]) -> None:
    extra = common_pb2.Tool(name="extra", description=description, input_schema=json.dumps(schema))
    agent.send(offer=link_pb2.Offer(tools=[common_pb2.Tool(name="echo"), extra]))


@pytest.mark.parametrize("how", ["lost", "drained"])
async def test_the_catalogue_follows_workers_as_they_come_change_and_go(server: Running, caller: Caller, how: str) -> None:
    known = sorted(TOOLS)
    quick = settings(heartbeat={"intervalSeconds": 0.1, "timeoutSeconds": 0.5, "missThreshold": 3})
    async with simulated_agent(server.address, settings=quick):
        assert await names(caller) == known
        async with simulated_agent(server.address, settings=quick, name="capsule-1", tools={**TOOLS, "extra": echo}) as newer:
            assert await names(caller) == sorted([*known, "extra"])
            assert {(await caller.call("extra")).worker for _ in range(6)} == {"capsule-1/0"}
            offer(newer, "First.", {"type": "object"})
            await eventually(lambda: server.flow.pools[POOL].tools["extra"].description == "First.")
            offer(newer, "Second.", {"type": "object", "required": ["a"]})
            await eventually(lambda: server.flow.pools[POOL].tools["extra"].description == "Second.")
            assert json.loads((await tool(caller, "extra")).input_schema)["required"] == ["a"]
            if how == "drained":
                newer.draining, newer.state = True, pool_pb2.WORKER_STATE_DRAINING
                newer.report()
                await eventually(lambda: "extra" not in server.flow.pools[POOL].tools)
        await eventually(lambda: "extra" not in server.flow.pools[POOL].tools)
        assert await names(caller) == known
        for gone in (caller.call("extra"), tool(caller, "extra")):
            with pytest.raises(ToolNotFound):
                await gone


async def test_a_name_that_workers_come_to_have_after_a_client_has_offered_it_is_the_workers(server: Running, caller: Caller) -> None:
    async def extra() -> str:
        return "the client's"

    async with simulated_agent(server.address) as agent, snakepit.Client(server.address) as client:
        hangs = caller.start("hang")
        await eventually(lambda: agent.running)
        (parent,) = next(iter(server.flow.pools[POOL].capsules.values())).inflight.values()

        def who() -> str:
            return "client" if server.flow.nested.resolve(parent, link_pb2.Call(tool="extra")).offered else "worker"

        async with client.offer(extra, pool=POOL):
            assert (await names(caller)).count("extra") == 1
            assert who() == "client"
            offer(agent, "The workers'.", {})
            await eventually(lambda: "extra" in server.flow.pools[POOL].tools)
            assert (await names(caller)).count("extra") == 1
            assert (await tool(caller, "extra")).provider == common_pb2.PROVIDER_WORKER
            assert who() == "worker"
        agent.let_go()
        await hangs


@pytest.mark.parametrize("what", ["link breaks", "worker dies"])
async def test_a_tool_is_waited_for_while_the_only_worker_that_has_it_is_away_for_a_moment(
    server: Running, caller: Caller, what: str
) -> None:
    async with (
        simulated_agent(server.address),
        simulated_agent(server.address, name="capsule-1", tools={**TOOLS, "extra": echo}) as only,
    ):
        if what == "link breaks":
            only.break_link()
        else:
            only.state = pool_pb2.WORKER_STATE_STARTING
            only.replace_worker("capsule-1/0")
        async with asyncio.timeout(20):
            while server.flow.pools[POOL].ready_workers != 1:
                await asyncio.sleep(0)  # At every turn of the loop: it links anew within milliseconds.
        waits = caller.start("extra")
        if what == "worker dies":
            await eventually(lambda: server.flow.pools[POOL].queue.depth == 1)
            only.state = pool_pb2.WORKER_STATE_READY
            only.report()
        assert (await waits).worker == "capsule-1/0"
