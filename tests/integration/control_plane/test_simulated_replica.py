"""The replica that capsules are tested against answers an agent's state operations as a real one does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from snakepit.v1 import link_pb2, pool_pb2
from snakepit_control_plane.server import Running
from support import replica as simulated
from support.control_plane import Caller
from support.simulated_agent import SimulatedAgent, simulated_agent
from support.simulated_tools import payload, success

Tool = Callable[[SimulatedAgent, link_pb2.Call], Awaitable[link_pb2.Result]]

SET = link_pb2.StateRequest.Set(key="k", value=payload(41))
GET = link_pb2.StateRequest.Get(key="k")


class Notes:
    """What a tool of a session's call was answered, as its own call and as others. `replies`: without the ids of the requests."""

    def __init__(self) -> None:
        self.replies: dict[str, link_pb2.StateReply] = {}

    async def remember(self, agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        older, newer, another = (link_pb2.Call() for _ in range(3))
        for each in (older, newer, another):
            each.CopyFrom(call)
        older.session_epoch -= 1
        newer.session_epoch += 1
        another.session_uid = "another life"
        for name, asker in {"its own": call, "an older": older, "a newer": newer, "another": another, "its own again": call}.items():
            for operation in ({"get": GET}, {"set": SET}):
                reply = await agent.ask_state(asker, **operation)
                reply.id = 0
                self.replies[f"{name}: {next(iter(operation))}"] = reply
        return success("noted")


async def of_real(server: Running, caller: Caller) -> dict[str, link_pb2.StateReply]:
    notes = Notes()
    async with simulated_agent(server.address, tools={"remember": notes.remember}):
        await caller.create("s")
        await caller.call("remember", session_id="s")
    return notes.replies


async def of_simulated() -> dict[str, link_pb2.StateReply]:
    notes = Notes()
    async with simulated.replica() as control:
        agent = SimulatedAgent(f"127.0.0.1:{control.port}", tools={"remember": notes.remember})
        agent.dial()
        try:
            async with asyncio.timeout(10):
                await agent.linked.wait()
            worker = pool_pb2.Worker(id="capsule-0/0", incarnation=agent.lives["capsule-0/0"])
            await control.value(control.call(worker, "remember", session_id="s", session_uid="u", session_epoch=7))
        finally:
            await agent.stop()
    return notes.replies


async def test_state_is_fenced_as_by_a_real_replica(server: Running, caller: Caller) -> None:
    real, fake = await of_real(server, caller), await of_simulated()
    assert fake == real
    assert {name for name, reply in real.items() if not reply.HasField("error")} == {
        f"{own}: {operation}" for own in ("its own", "its own again") for operation in ("get", "set")
    }
