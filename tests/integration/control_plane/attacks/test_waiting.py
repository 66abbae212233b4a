"""What calls that wait may hold: so many bytes, and nothing that came beside them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import grpc

from snakepit.errors import SnakepitError
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from support.attack import MIB, ByHand, Plane, attacker, executing, plane, victim
from support.control_plane import Caller, eventually, rpc
from support.simulated_agent import SimulatedAgent, simulated_agent

SLOW = "default/slow"


@contextlib.asynccontextmanager
async def slow(server: Plane) -> AsyncIterator[SimulatedAgent]:
    """Another pool, whose one worker is taken."""
    async with (
        simulated_agent(server.address, name="slow-0", pool=SLOW) as agent,
        grpc.aio.insecure_channel(server.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel,
    ):
        first = Caller(channel).start("hang", pool=SLOW)
        await eventually(lambda: agent.running)
        yield agent
        agent.let_go()
        assert (await first).json.string_value == "late"


async def until_deep(caller: Caller, depth: int) -> None:
    """Until so many calls of it wait."""
    async with asyncio.timeout(20):
        while (await rpc(caller.pools.GetPool(pool_pb2.GetPoolRequest(pool=SLOW)))).pool.queue_depth < depth:
            await asyncio.sleep(0.01)


async def test_calls_that_wait_hold_so_many_bytes_and_half_of_them_may_be_one_callers() -> None:
    with plane(SNAKEPIT_MAX_WAITING_BYTES=str(130 * MIB)) as small:
        before = small.held
        async with victim(small) as good, attacker(small) as channel, slow(small) as agent:
            bad, refusals = Caller(channel), list[SnakepitError]()
            large = executing(pool=SLOW, tool="hang", payload=common_pb2.Payload(data=bytes(4 * MIB)))

            async def call() -> None:
                try:
                    await rpc(bad.router.Execute(large, timeout=30))
                except SnakepitError as error:
                    refusals.append(error)

            calls = [asyncio.create_task(call()) for _ in range(4)]
            await until_deep(bad, 4)
            for _ in range(26):
                await call()
            assert len(refusals) == 26
            assert {error.details["limit"] for error in refusals} == {"maxWaitingBytes"}
            assert "half of it to one caller" in refusals[0].message
            assert small.held - before < 100
            other = good.start("hang", {"text": "x" * 10_000}, pool=SLOW)
            agent.let_go()
            await other
            await asyncio.gather(*calls)
            assert len(refusals) == 26
            await asyncio.gather(*[call() for _ in range(4)])
            assert len(refusals) == 26


async def test_what_came_with_a_call_that_waits_does_not_stay_with_it(server: Plane, channel: grpc.aio.Channel) -> None:
    async with slow(server):
        before = server.held
        link = await ByHand(channel).open()
        beside = link_pb2.Frame(progress=link_pb2.Progress(message="x" * MIB))
        for number in range(1, 301):
            call = link_pb2.Call(id=number, call_id=str(number), pool=SLOW, tool="hang", arguments=common_pb2.Payload(data=b"{}"))
            await link.stream.write(link_pb2.LinkRequest(frames=[link_pb2.Frame(call=call), beside]))

        await until_deep(Caller(channel), 300)
        assert server.held - before < 30
