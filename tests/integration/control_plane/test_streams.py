"""Streams of tools: their order, and what their readers hold back and end."""

import asyncio

import grpc
import pytest

from snakepit import Client, ToolNotFound
from snakepit._wire.bulk import LaneBroken
from snakepit.client.stream import AT_ONCE
from snakepit.v1 import link_pb2
from snakepit_control_plane.server import Running
from support.control_plane import PATIENCE_SECONDS, Caller, collect, eventually, waiting
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import payload


async def test_streams_arrive_in_order_and_queue_like_unary_calls(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        stream = caller.stream("count", {"to": 5})
        reader = asyncio.create_task(collect(stream))
        await eventually(lambda: waiting(server) == 1)
        agent.let_go()
        await first
        chunks = await reader
        assert [chunk.json.number_value for chunk in chunks[:-1]] == [0, 1, 2, 3, 4]
        assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4, 5]
        assert [chunk.last for chunk in chunks] == [False] * 5 + [True]
        await caller.call("echo")


async def test_a_stream_that_asks_for_progress_and_is_refused_at_once_is_told(server: Running, caller: Caller) -> None:
    """Its end waited for more progress, for ever."""
    async with simulated_agent(server.address), Client(server.address) as client, asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(grpc.aio.AioRpcError, match="has no tool 'made up'"):
            await collect(caller.stream("made up", {}, progress=True))
        with pytest.raises(ToolNotFound):
            [_ async for _ in client.pool(POOL).stream("made up", on_progress=lambda fraction, message: None)]


async def test_a_slow_consumer_holds_back_its_own_stream_only(server: Running, caller: Caller) -> None:
    taken: list[int] = []

    async def many(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        chunks = [link_pb2.Chunk(payload=payload("x" * 100_000), last=i == 199) for i in range(200)]
        taken.append(await agent.pipe(call, chunks))
        return link_pb2.Result()

    async with simulated_agent(server.address, workers=2) as agent:
        agent.tools["many"] = many
        agent.offer()
        await eventually(lambda: "many" in server.flow.pools[POOL].tools)
        stream = caller.stream("many", {})
        assert (await stream.read()).index == 0
        await caller.call("echo")
        assert not taken
        chunks = await collect(stream)
        assert len(chunks) == 199
        await eventually(lambda: taken == [200])


async def test_whoever_reads_chunks_that_are_all_there_lets_others_have_their_turns(server: Running) -> None:
    chunks = [link_pb2.Chunk(payload=payload(number), last=number == 4999) for number in range(5000)]
    sent, turns = asyncio.Event(), 0

    async def many(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        await agent.pipe(call, chunks)
        sent.set()
        return link_pb2.Result()

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with (
        simulated_agent(server.address, tools={"many": many}),
        Client(server.address) as client,
        client.pool(POOL).stream("many") as stream,
    ):
        await anext(stream)
        await sent.wait()
        beside = asyncio.create_task(others())
        assert [number async for number in stream] == list(range(1, 5000))
        beside.cancel()
    assert turns >= len(chunks) // AT_ONCE


async def test_a_caller_that_leaves_its_stream_stops_the_producer(server: Running, caller: Caller) -> None:
    ends: list[str] = []

    async def endless(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        try:
            await agent.pipe(call, [link_pb2.Chunk(payload=payload(i)) for i in range(100_000)])
            ends.append("all was taken")
        except LaneBroken:
            ends.append("broken off")
        return link_pb2.Result()

    async with simulated_agent(server.address) as agent:
        agent.heeds_cancels = False  # The stream's own end must do.
        agent.tools["endless"] = endless
        agent.offer()
        await eventually(lambda: "endless" in server.flow.pools[POOL].tools)
        stream = caller.stream("endless", {})
        await stream.read()
        stream.cancel()
        await eventually(lambda: agent.cancelled)
        await caller.call("echo")
        assert ends == ["broken off"]


async def test_a_tools_exception_mid_stream_arrives_as_itself(server: Running, caller: Caller) -> None:
    async def broken(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        end = link_pb2.Chunk(tool_error={"type": "ValueError", "message": "no", "traceback": "tb"}, last=True)
        await agent.pipe(call, [link_pb2.Chunk(payload=payload(1)), end])
        return link_pb2.Result()

    async with simulated_agent(server.address, tools={"broken": broken}):
        chunks = await collect(caller.stream("broken", {}))
        assert chunks[0].json.number_value == 1
        assert (chunks[1].tool_error.type, chunks[1].last) == ("ValueError", True)
