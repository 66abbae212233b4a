"""Callers take turns and have limits, whichever way they come; priority is a field of the call; encodings are the pool's to allow."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest

import snakepit
from snakepit.errors import CallerLimit, InvalidArguments, PoolSaturated, Started
from snakepit.v1 import common_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, counted, eventually, rpc, waiting
from support.simulated_agent import POOL, settings, simulated_agent

LIMITED = settings(call={"maxConcurrentPerCaller": 2})


@asynccontextmanager
async def connection(server: Running) -> AsyncIterator[Caller]:
    """A caller with a connection of its own."""
    async with grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield Caller(channel)


async def test_a_caller_with_hundreds_of_waiting_calls_and_one_with_few_alternate(server: Running) -> None:
    roomy = settings(queue={"maxSize": 2000, "timeoutSeconds": 60})
    async with simulated_agent(server.address, settings=roomy) as agent, connection(server) as busy, connection(server) as modest:
        first = busy.start("hang")
        await eventually(lambda: agent.running)
        flood = [busy.start("echo", metadata={"who": "busy"}) for _ in range(900)]
        await eventually(lambda: waiting(server) == 900)
        few = [modest.start("echo", metadata={"who": "modest"}) for _ in range(3)]
        await eventually(lambda: waiting(server) == 903)
        agent.let_go()
        await asyncio.gather(first, *flood, *few)
        order = [call.metadata["who"] for call in agent.calls if call.tool == "echo"]
        assert order[:6] == ["busy", "modest"] * 3


async def test_who_fills_a_queue_leaves_places_for_others(server: Running) -> None:
    small = settings(queue={"maxSize": 18, "timeoutSeconds": 60})
    async with simulated_agent(server.address, settings=small) as agent, connection(server) as busy, connection(server) as modest:
        first = busy.start("hang")
        await eventually(lambda: agent.running)
        flood = [busy.start("echo") for _ in range(16)]
        await eventually(lambda: waiting(server) == 16)
        with pytest.raises(PoolSaturated, match=r"16 calls wait \(queue.maxSize 18\), 16 of them this caller's"):
            await busy.call("echo")
        few = [modest.start("echo") for _ in range(2)]
        await eventually(lambda: waiting(server) == 18)
        with pytest.raises(PoolSaturated, match=r"18 calls wait \(queue.maxSize 18\)$"):
            await modest.call("echo")
        agent.let_go()
        await asyncio.gather(first, *flood, *few)
        flood = [busy.start("echo") for _ in range(16)]
        await asyncio.gather(*flood)


async def test_callers_on_links_take_turns_too(server: Running) -> None:
    async with (
        simulated_agent(server.address) as agent,
        snakepit.Client(server.address) as busy,
        snakepit.Client(server.address) as modest,
    ):
        first = asyncio.create_task(busy.pool(POOL).call("hang"))
        await eventually(lambda: agent.running)
        flood = [asyncio.create_task(busy.pool(POOL).call("echo", metadata={"who": "busy"})) for _ in range(20)]
        await eventually(lambda: waiting(server) == 20)
        few = [asyncio.create_task(modest.pool(POOL).call("echo", metadata={"who": "modest"})) for _ in range(2)]
        await eventually(lambda: waiting(server) == 22)
        agent.let_go()
        await asyncio.gather(first, *flood, *few)
        order = [call.metadata["who"] for call in agent.calls if call.tool == "echo"]
        assert order[:4] == ["busy", "modest"] * 2


async def test_the_sdk_says_the_priority_in_a_word(server: Running) -> None:
    async with simulated_agent(server.address) as agent, snakepit.Client(server.address) as client:
        pool = client.pool(POOL)
        first = asyncio.create_task(pool.call("hang"))
        await eventually(lambda: agent.running)
        low = asyncio.create_task(pool.call("echo", {"who": "low"}, priority="low"))
        await eventually(lambda: waiting(server) == 1)
        high = asyncio.create_task(pool.call("echo", {"who": "high"}, priority="high"))
        await eventually(lambda: waiting(server) == 2)
        agent.let_go()
        await asyncio.gather(first, low, high)
        assert [call.priority for call in agent.calls[1:]] == [common_pb2.PRIORITY_HIGH, common_pb2.PRIORITY_LOW]
        with pytest.raises(InvalidArguments, match="'urgent' is unknown: use high, normal or low"):
            await pool.call("echo", priority="urgent")  # type: ignore[arg-type]


async def test_each_kind_of_call_of_the_sdk_has_a_priority(server: Running) -> None:
    async with simulated_agent(server.address) as agent, snakepit.Client(server.address) as client:
        agent.let_go()
        pool = client.pool(POOL)
        await pool.call("hang", {"value": bytes(2**20)}, priority="high")
        assert await anext(pool.stream("count", {"to": 1}, priority="high")) == 0
        async with pool.session() as session:
            await session.call("echo", priority="high")
            assert await anext(session.stream("count", {"to": 1}, priority="high")) == 0
        assert [call.priority for call in agent.calls] == [common_pb2.PRIORITY_HIGH] * 4


async def test_a_high_priority_goes_before_a_normal_and_a_normal_before_a_low_one(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        calls = []
        for number, priority in enumerate(["PRIORITY_LOW", "PRIORITY_UNSPECIFIED", "PRIORITY_NORMAL", "PRIORITY_HIGH"]):
            calls.append(caller.start("echo", priority=priority, metadata={"priority": priority}))
            await eventually(lambda number=number: waiting(server) == number + 1)
        agent.let_go()
        await asyncio.gather(first, *calls)
        order = [call.metadata["priority"].removeprefix("PRIORITY_") for call in agent.calls[1:]]
        assert order == ["HIGH", "UNSPECIFIED", "NORMAL", "LOW"]


async def test_calls_beyond_a_callers_limit_are_refused_at_once_and_others_are_not(server: Running) -> None:
    async with simulated_agent(server.address, settings=LIMITED) as agent, connection(server) as one, connection(server) as other:
        calls = [one.start("hang") for _ in range(2)]
        await eventually(lambda: agent.running and waiting(server) == 1)
        with pytest.raises(CallerLimit, match=r"call\.maxConcurrentPerCaller") as refused:
            await one.call("echo")
        assert (refused.value.details["limit"], refused.value.details["calls"]) == ("call.maxConcurrentPerCaller", "2")
        assert refused.value.started is Started.NO
        assert refused.value.retry_after
        assert counted(server, "snakepit_refusals_total", pool=POOL, reason="CALLER_LIMIT") == 1
        theirs = other.start("echo")
        await eventually(lambda: waiting(server) == 2)
        agent.let_go()
        await asyncio.gather(*calls, theirs)
        assert (await one.call("echo")).worker
        assert len(server.flow.pools[POOL].callers) == 0


async def test_a_cancelled_call_counts_for_its_caller_until_its_tool_has_stopped(server: Running) -> None:
    async with simulated_agent(server.address, workers=3, settings=LIMITED) as agent, connection(server) as one:
        agent.heeds_cancels = False
        calls = [one.start("hang") for _ in range(2)]
        await eventually(lambda: len(agent.running) == 2)
        for call in calls:
            call.cancel()
        await eventually(lambda: len(agent.cancelled) == 2)
        with pytest.raises(CallerLimit):
            await one.call("echo")
        agent.let_go()
        await eventually(lambda: len(server.flow.pools[POOL].callers) == 0)
        assert (await one.call("echo")).worker


async def test_a_stream_counts_for_its_caller_until_it_has_been_read(server: Running) -> None:
    async with simulated_agent(server.address, settings=settings(call={"maxConcurrentPerCaller": 1})), connection(server) as one:
        stream = one.stream("count", {"to": 2000})  # More than can be under way to who doesn't read.
        await stream.read()
        with pytest.raises(CallerLimit):
            await one.call("echo")
        while await stream.read() is not grpc.aio.EOF:  # type: ignore[attr-defined]
            pass

        async def admitted() -> bool:
            with contextlib.suppress(CallerLimit):  # the agent's word that the tool has ended may come after the last chunk
                return bool((await one.call("echo")).worker)
            return False

        await eventually(admitted)


async def test_calls_streams_and_large_calls_of_one_client_count_together_and_anothers_do_not(server: Running) -> None:
    limited = settings(call={"maxConcurrentPerCaller": 1})
    async with (
        simulated_agent(server.address, workers=3, settings=limited) as agent,
        snakepit.Client(server.address) as one,
        snakepit.Client(server.address) as other,
    ):
        mine = one.pool(POOL)
        call = asyncio.create_task(mine.call("hang"))
        await eventually(lambda: agent.running)
        with pytest.raises(CallerLimit):
            await anext(mine.stream("count", {"to": 1}))
        with pytest.raises(CallerLimit):
            await mine.call("echo", {"value": bytes(2**20)})
        assert await anext(other.pool(POOL).stream("count", {"to": 1})) == 0
        agent.let_go()
        await call
        stream = mine.stream("count", {"to": 2000})  # As above: it is not over while nobody reads.
        assert await anext(stream) == 0
        with pytest.raises(CallerLimit):
            await mine.call("echo")
        await stream.aclose()
        await eventually(lambda: len(server.flow.pools[POOL].callers) == 0)
        assert await mine.call("echo") is not None


@pytest.mark.parametrize("way", ["link", "plain gRPC"])
async def test_when_a_caller_goes_its_waiting_calls_leave_at_once_and_its_running_ones_slot_is_free_when_the_tool_stops(
    server: Running, caller: Caller, way: str
) -> None:
    async with simulated_agent(server.address) as agent:
        agent.heeds_cancels = False
        async with AsyncExitStack() as stack:
            if way == "link":
                client = await stack.enter_async_context(snakepit.Client(server.address))
                calls = [asyncio.create_task(client.pool(POOL).call("hang")) for _ in range(3)]
            else:
                gone = await stack.enter_async_context(connection(server))
                calls = [gone.start("hang") for _ in range(3)]
            await eventually(lambda: agent.running and waiting(server) == 2)
        await asyncio.gather(*calls, return_exceptions=True)
        await eventually(lambda: waiting(server) == 0 and agent.cancelled)
        waits = caller.start("echo")
        await eventually(lambda: waiting(server) == 1)
        agent.let_go()
        assert (await waits).worker
        assert [call.tool for call in agent.calls] == ["hang", "echo"]


@pytest.mark.parametrize(
    ("allowed", "content_type"),
    [
        (["json", "msgpack"], "application/msgpack"),
        (["pickle"], "application/x-python-pickle"),
        (["pickle"], "application/json"),
        (["json"], ""),
    ],
)
async def test_arguments_in_an_encoding_that_the_pool_lists_are_passed_on(
    server: Running, caller: Caller, allowed: list[str], content_type: str
) -> None:
    async with simulated_agent(server.address, settings=settings(call={"payloads": allowed})) as agent:
        await rpc(caller.router.Execute(request(content_type), timeout=5))
        assert agent.calls[0].arguments.content_type == content_type


@pytest.mark.parametrize("content_type", ["application/x-python-pickle", "application/msgpack", "text/plain"])
async def test_arguments_in_another_encoding_are_refused_and_the_pools_list_is_named(
    server: Running, caller: Caller, content_type: str
) -> None:
    async with simulated_agent(server.address, settings=settings(call={"payloads": ["json"]})) as agent:
        with pytest.raises(InvalidArguments, match=f"{content_type}.*call.payloads lists json") as refused:
            await rpc(caller.router.Execute(request(content_type), timeout=5))
        assert refused.value.details["payloads"] == "json"
        assert not agent.calls


def request(content_type: str) -> router_pb2.ExecuteRequest:
    payload = common_pb2.Payload(content_type=content_type, data=b"{}")
    return router_pb2.ExecuteRequest(pool=POOL, tool="echo", payload=payload)
