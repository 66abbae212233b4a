"""What one caller's sessions may hold in the store, whoever writes it, beside others of the same pool."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from snakepit.errors import CallerLimit
from snakepit.v1 import common_pb2, link_pb2, session_pb2
from snakepit_control_plane.server import Running
from support.callers import ADA
from support.control_plane import Caller, counted, eventually, rpc
from support.simulated_agent import POOL, SimulatedAgent

PART = common_pb2.Payload(content_type="application/json", data=b"1" * 6_000)


@pytest.fixture
def own_settings(asking_settings: dict[str, Any]) -> dict[str, Any]:
    return {**asking_settings, "max_state_bytes_per_caller": 20_000}


async def put(caller: Caller, session: str, key: str) -> None:
    request = session_pb2.SetStateRequest(pool=POOL, session_id=session, key=key, value=common_pb2.Value(payload=PART))
    await rpc(caller.sessions.SetState(request, metadata=caller.metadata))


async def test_what_one_callers_sessions_hold_is_bounded_whoever_writes_it_and_others_go_on(
    server: Running, agent: SimulatedAgent, ada_and_bob: tuple[Caller, Caller]
) -> None:
    ada, bob = ada_and_bob
    for caller, session in ((ada, "hers"), (bob, "his")):
        await caller.create(session)
        for key in ("a", "b"):
            await put(caller, session, key)
    running = asyncio.create_task(ada.call("hang", session_id="hers"))
    await eventually(lambda: agent.running)
    (call,) = agent.calls
    reply = await agent.ask_state(call, set=link_pb2.StateRequest.Set(key="c", value=PART))
    assert reply.written
    reply = await agent.ask_state(call, set=link_pb2.StateRequest.Set(key="d", value=PART))
    assert (reply.error.reason, reply.error.details["limit"]) == ("CALLER_LIMIT", "maxStateBytesPerCaller")
    agent.let_go()
    await running
    with pytest.raises(CallerLimit, match=f"^sessions of {ADA} hold .* maxStateBytesPerCaller allows 20000, delete keys") as refused:
        await put(ada, "hers", "d")
    assert (refused.value.started, refused.value.details["bytes"]) == ("no", "20000")
    with pytest.raises(CallerLimit, match="maxStateBytesPerCaller"):
        await ada.create("large", metadata={"about": "x" * 10_000})
    assert counted(server, "snakepit_sessions_refused_total", pool=POOL, limit="maxStateBytesPerCaller") == 1
    await put(bob, "his", "c")
    await rpc(ada.sessions.DeleteState(session_pb2.DeleteStateRequest(pool=POOL, session_id="hers", key="a"), metadata=ada.metadata))
    await put(ada, "hers", "d")
