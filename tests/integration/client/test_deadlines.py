"""A deadline travels all the way and shrinks on the way: client, queue, worker, and the state and tool calls of what runs there."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import Any

import grpc
import pytest

import snakepit
from snakepit import Client
from snakepit._wire.status import to_frame
from snakepit.v1 import common_pb2, link_pb2
from snakepit_control_plane.store.memory import MemoryStore
from support.capsules import capsule, spec
from support.control_plane import Caller, eventually, may_use, replica
from support.nesting import ASKING, asking
from support.replica import replica as only_links
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import payload, success

TIMEOUT = 20.0
LARGE = bytes(300 * 1024)


def execute(client: Client, channel: grpc.aio.Channel) -> Any:
    return Caller(channel).call("note", timeout=TIMEOUT)


def call(client: Client, channel: grpc.aio.Channel) -> Any:
    return client.pool(POOL).call("note", timeout=TIMEOUT)


def large_call(client: Client, channel: grpc.aio.Channel) -> Any:
    return client.pool(POOL).call("note", {"value": LARGE}, timeout=TIMEOUT)


async def stream(client: Client, channel: grpc.aio.Channel) -> Any:
    return [chunk async for chunk in client.pool(POOL).stream("count", {"to": 1}, timeout=TIMEOUT)]


@pytest.mark.parametrize("make", [execute, call, large_call, stream], ids=lambda make: make.__name__)
async def test_what_a_call_waits_in_the_queue_is_gone_when_it_comes_to_a_worker(make: Any) -> None:
    async with (
        replica() as server,
        simulated_agent(server.address) as agent,
        Client(server.address) as client,
        grpc.aio.insecure_channel(server.address) as channel,
    ):

        async def note(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
            return success("noted")

        agent.tools["note"] = note
        agent.offer()
        await eventually(lambda: "note" in server.flow.pools[POOL].tools, "the tool is known")
        blocker = asyncio.create_task(client.pool(POOL).call("hang", timeout=TIMEOUT))
        await eventually(lambda: agent.running, "the only slot is taken")
        began = time.monotonic()
        waiting = asyncio.create_task(make(client, channel))
        await eventually(lambda: server.flow.pools[POOL].queue.depth, "it waits")
        queued = time.monotonic()
        await asyncio.sleep(0.3)
        waited = time.monotonic() - queued
        agent.let_go()
        await asyncio.gather(blocker, waiting)
        took = time.monotonic() - began
    # gRPC rounds a deadline up on its way, one of 20 s to a tenth of a second.
    rounded = 0.1 if make is execute else 0.0
    assert TIMEOUT - took - 0.01 <= agent.calls[-1].timeout_seconds <= TIMEOUT - waited + rounded + 0.01


async def test_a_call_that_goes_out_again_has_what_its_first_try_left() -> None:
    store = MemoryStore()
    options = {"idempotent": frozenset({"hang"})}
    async with (
        replica(store) as first,
        replica(store) as second,
        simulated_agent(first.address, name="a", **options) as a,
        simulated_agent(second.address, name="b", **options) as b,
        Client(f"{first.address},{second.address}") as client,
    ):
        await may_use(client, 2)
        call = asyncio.create_task(client.pool(POOL).call("hang", timeout=TIMEOUT))
        await eventually(lambda: a.running or b.running, "it runs")
        await asyncio.sleep(0.3)
        (server, was, then) = (first, a, b) if a.running else (second, b, a)
        then.let_go()
        await server.abort()
        assert await call == "late"
    assert then.calls[0].timeout_seconds < was.calls[0].timeout_seconds - 0.25


async def test_every_call_within_a_call_has_less_than_the_one_around_it() -> None:
    async with replica() as server, Client(server.address) as client, asking(server, client, processes=4) as pool:
        legs = await pool.call("legs", {"depth": 3, "seconds": 0.1}, timeout=TIMEOUT)
    assert legs[0] <= TIMEOUT
    assert len(legs) == 4
    assert all(inner <= outer - 0.1 for outer, inner in pairwise(legs))


async def test_a_workers_calls_and_state_operations_tell_the_control_plane_what_is_left() -> None:
    async with only_links() as control, capsule(spec(ASKING), control):
        (worker,) = await control.ready()
        fields = {"timeout_seconds": TIMEOUT, "session_id": "s", "session_uid": "u", "session_epoch": 1}
        await control.result(control.call(worker, "remember", {"key": "k", "value": 1}, **fields))
        (request,) = control.state_requests
        assert 0 < request.timeout_seconds < TIMEOUT
        control.call(worker, "legs", {"depth": 1, "seconds": 0.2}, timeout_seconds=TIMEOUT)
        (nested,) = await control.until(lambda: control.heard("nested_call"), "a nested call")
        assert 0 < nested.call.timeout_seconds <= TIMEOUT - 0.2


class Stuck(MemoryStore):
    """Writes and reads of state are never answered."""

    async def set_state(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()

    async def get_state(self, *_: Any, **__: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize(("operation", "started"), [("set", common_pb2.STARTED_MAYBE), ("get", common_pb2.STARTED_NO)])
async def test_the_control_plane_gives_a_state_operation_up_at_its_calls_deadline(operation: str, started: int) -> None:
    replies: list[link_pb2.StateReply] = []

    async def ask(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        asked = {"set": link_pb2.StateRequest.Set(key="k", value=payload(1)), "get": link_pb2.StateRequest.Get(key="k")}
        replies.append(await agent.ask_state(call, timeout_seconds=0.1, **{operation: asked[operation]}))
        return link_pb2.Result(error=to_frame(snakepit.DeadlineExceeded("late")))

    async with replica(Stuck()) as server, simulated_agent(server.address) as agent, Client(server.address) as client:
        agent.tools["ask"] = ask
        agent.offer()
        await eventually(lambda: "ask" in server.flow.pools[POOL].tools, "the tool is known")
        async with client.pool(POOL).session("s") as session:
            with pytest.raises(snakepit.DeadlineExceeded):
                await session.call("ask", timeout=TIMEOUT)
    assert (replies[0].error.reason, replies[0].error.started) == ("DEADLINE", started)
