"""A call that was sent ahead of a slot comes back as soon as a slot is free elsewhere."""

from __future__ import annotations

import asyncio

import pytest

from snakepit.v1 import link_pb2
from snakepit_control_plane.flow import recalls
from snakepit_control_plane.model.capsule import AHEAD_SECONDS
from snakepit_control_plane.server import Running
from support.control_plane import Caller, eventually
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import payload

SHORT = 8 * AHEAD_SECONDS
"""Long enough to be called back, and short enough to be sent ahead."""


class Gates:
    """Tools that end when they are let go, each by itself."""

    def __init__(self, *names: str) -> None:
        self.open = {name: asyncio.Event() for name in names}

    async def run(self, agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        await self.open[call.tool].wait()
        return link_pb2.Result(payload=payload(call.tool))

    def tools(self) -> dict[str, object]:
        return dict.fromkeys(self.open, self.run)


@pytest.fixture(autouse=True)
def without_the_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recalls, "QUIET_SECONDS", 60.0)


def recalled(agent: SimulatedAgent) -> list[str]:
    """The tools of calls that the agent was asked to give back."""
    tools = {call.id: call.tool for call in agent.calls}
    asked = [frame.recall for frame in agent.frames if frame.WhichOneof("kind") == "recall"]
    return [tools[id_] for recall in asked for id_ in (recall.id, *recall.others)]


def learn(server: Running, seconds: float, *tools: str) -> None:
    for tool in tools:
        server.flow.pools[POOL].learn(tool, seconds)


async def test_a_call_ahead_of_a_slot_comes_back_as_soon_as_another_worker_is_free(server: Running, caller: Caller) -> None:
    gates = Gates("first", "second", "third", "fourth")
    async with simulated_agent(server.address, workers=2, tools=gates.tools()) as agent:
        learn(server, SHORT, *gates.open)
        agent.learn(SHORT, *gates.open)
        queue = server.flow.pools[POOL].queue
        calls = {}
        for number, tool in enumerate(("first", "second")):
            calls[tool] = caller.start(tool)
            await eventually(lambda number=number: len(agent.calls) == number + 1)
        calls["third"] = caller.start("third")
        await eventually(lambda: queue.depth == 1)
        calls["fourth"] = caller.start("fourth")
        await eventually(lambda: len(agent.calls) == 3)
        third = agent.calls[2]
        assert (third.tool, third.ahead, queue.depth) == ("third", True, 1), "it goes ahead while another waits"
        assert third.worker == agent.calls[0].worker, "behind the one that began first"
        for tool in ("second", "fourth"):
            assert recalled(agent) == []
            gates.open[tool].set()
            await calls[tool]
        await eventually(lambda: recalled(agent) == ["third"])
        for gate in gates.open.values():
            gate.set()
        await asyncio.gather(*calls.values())


async def test_a_call_at_a_worker_that_another_replica_has_sent_one_to_comes_back_while_a_slot_is_free(
    server: Running, caller: Caller
) -> None:
    gates = Gates("first", "echo")
    async with simulated_agent(server.address, workers=2, tools=gates.tools()) as agent:
        learn(server, SHORT, "first")
        call = caller.start("first")
        await eventually(lambda: agent.calls)
        elsewhere = link_pb2.Load.WorkerLoad(worker=agent.calls[0].worker, incarnation=agent.calls[0].incarnation, elsewhere=1)
        agent.send(load=link_pb2.Load(workers=[elsewhere]))
        await eventually(lambda: recalled(agent) == ["first"])
        gates.open["first"].set()
        await call


async def test_a_quick_call_is_left_where_it_is_because_its_way_back_takes_longer_than_its_wait(server: Running, caller: Caller) -> None:
    gates = Gates("quick", "echo")
    gates.open["echo"].set()
    async with simulated_agent(server.address, workers=2, tools=gates.tools()) as agent:
        learn(server, AHEAD_SECONDS / 2, "quick")
        call = caller.start("quick")
        await eventually(lambda: agent.calls)
        elsewhere = link_pb2.Load.WorkerLoad(worker=agent.calls[0].worker, incarnation=agent.calls[0].incarnation, elsewhere=1)
        agent.send(load=link_pb2.Load(workers=[elsewhere]))
        await caller.call("echo")
        worker = server.flow.pools[POOL].workers[agent.calls[0].worker]
        await eventually(lambda: worker.elsewhere == 1)
        await caller.call("echo")
        assert recalled(agent) == []
        gates.open["quick"].set()
        await call
