"""What becomes of large calls and streams when somebody dies, leaves, stalls or brings too much."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import time
from collections.abc import Awaitable, Callable

import grpc
import pytest

import snakepit
from snakepit.errors import DeadlineExceeded, PayloadTooLarge, Started
from snakepit.v1 import common_pb2, pool_pb2
from snakepit_control_plane.server import Running
from support.bare_client import bare_client
from support.capsules import capsule, ready, spec
from support.control_plane import Caller, eventually, replica
from support.large import MIB, NARROW, POOL, SAMPLE, ByHand, open_memfds, tasks

pytestmark = [pytest.mark.timeout(150), pytest.mark.usefixtures("nothing_is_left")]


async def busy_pid(channel: grpc.aio.Channel) -> int:
    """Of the one worker that has a call."""
    async with asyncio.timeout(10):
        while True:
            known = await Caller(channel).pools.ListWorkers(pool_pb2.ListWorkersRequest(pool=POOL))
            for worker in known.workers:
                if worker.running:
                    return int(worker.pid)
            await asyncio.sleep(0.01)


async def until_idle(pool: snakepit.Pool) -> None:
    async with asyncio.timeout(10):
        while any(worker.running for worker in await pool.workers()):
            await asyncio.sleep(0.01)


def nothing_left(server: Running) -> bool:
    return not server.flow.calls.count and not open_memfds() and not tasks("arguments of") and not tasks("chunks of")


async def test_a_worker_killed_while_its_arguments_come_never_began_and_the_call_runs_elsewhere(server: Running) -> None:
    async with (
        capsule(spec(SAMPLE, worker={"processes": 2}), server, pool=POOL),
        snakepit.Client(server.address) as looks,
        bare_client(server.address) as client,
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        await ready(looks.pool(POOL), 2)
        call = ByHand(client, "size", {"value": bytes(8 * MIB)})
        assert await call.begin() == 1
        await call.send(1, pieces=3)
        os.kill(await busy_pid(channel), signal.SIGKILL)
        assert (await call.said()).wanted == 2
        await call.send(2)
        assert (await call.said()).result.payload.data == b"8388608"
        await eventually(lambda: nothing_left(server))


async def test_a_caller_that_leaves_while_its_arguments_go_up_leaves_nothing_behind(server: Running, pool: snakepit.Pool) -> None:
    async with bare_client(server.address) as client:
        call = ByHand(client, "size", {"value": bytes(8 * MIB)})
        await call.send(await call.begin(), pieces=3)
        assert open_memfds() == 1
        call.bulk.cancel()
        await eventually(lambda: nothing_left(server))
        await until_idle(pool)
    assert await pool.call("size", {"value": [1]}, timeout=10) == 1


async def test_a_caller_that_leaves_while_its_result_comes_down_leaves_nothing_behind(server: Running, pool: snakepit.Pool) -> None:
    for large in (bytes(MIB), 1):
        call = asyncio.create_task(pool.call("make", {"size": 60 * MIB, "unused": large}, timeout=30))
        await eventually(lambda: len(server.flow.transfers))
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await eventually(lambda: nothing_left(server))


async def test_a_stream_that_its_caller_leaves_is_stopped_and_its_slot_is_free(server: Running, pool: snakepit.Pool) -> None:
    stream = pool.stream("endless", {"size": 3 * MIB}, timeout=30)
    assert len(await anext(stream)) == 3 * MIB
    await stream.aclose()
    await eventually(lambda: nothing_left(server))
    await until_idle(pool)


async def test_a_slow_reader_holds_its_own_producer_back_within_a_mebibyte_at_each_program(pool: snakepit.Pool) -> None:
    for size in (1000, 64 * 1024, MIB):
        before = await pool.call("produced", timeout=10)
        stream = pool.stream("endless", {"size": size}, timeout=30)
        await anext(stream)
        ahead = await settled(pool, stream, before)
        assert ahead * size <= 3 * MIB + 2 * size, f"{ahead} chunks of {size} bytes were made for a reader that took one"


async def settled(pool: snakepit.Pool, stream: snakepit.Stream, before: int) -> int:
    """How many chunks the tool has made when it has come to a stop."""
    await asyncio.sleep(0.5)  # Its own rhythm: a reader that does nothing for so long.
    await stream.aclose()
    return int(await pool.call("produced", timeout=10)) - before


async def test_small_calls_go_on_at_their_speed_beside_a_large_one(server: Running) -> None:
    async with capsule(spec(SAMPLE, worker={"processes": 3}), server, pool=POOL), snakepit.Client(server.address) as client:
        pool = await ready(client.pool(POOL), 3)
        await small_calls(pool, 50)
        alone = await small_calls(pool, 200)
        content = bytes(64 * MIB)
        large = asyncio.create_task(pool.call("size", {"value": content}, timeout=30))
        beside = await small_calls(pool, 200)
        assert await large == len(content)
    assert beside < max(10 * alone, 0.05), f"a small call took {beside:.4f} s beside the large one, {alone:.4f} s without"


async def small_calls(pool: snakepit.Pool, count: int) -> float:
    """The median of their durations, eight at a time."""
    took: list[float] = []

    async def one(gate: asyncio.Semaphore) -> None:
        async with gate:
            began = time.perf_counter()
            await pool.call("size", {"value": [1]}, timeout=10)
            took.append(time.perf_counter() - began)

    gate = asyncio.Semaphore(8)
    await asyncio.gather(*[one(gate) for _ in range(count)])
    return statistics.median(took)


@contextlib.asynccontextmanager
async def impatient(server: Running):  # type: ignore[no-untyped-def]
    """A pool whose streams may idle for a moment only: one that a busy machine doesn't need until the first chunk."""
    async with (
        capsule(spec(SAMPLE, call={"streamIdleSeconds": 2.5}), server, pool=POOL),
        snakepit.Client(server.address) as client,
    ):
        yield await ready(client.pool(POOL))


async def test_a_tool_that_says_nothing_for_the_idle_time_is_stopped(server: Running) -> None:
    async with impatient(server) as pool:
        stream = pool.stream("pause", {"seconds": 20}, timeout=60)
        assert await anext(stream) == 1
        with pytest.raises(DeadlineExceeded, match="streamIdleSeconds") as caught:
            await anext(stream)
        assert caught.value.details["limit"] == "call.streamIdleSeconds"
        await until_idle(pool)


async def test_a_caller_that_takes_nothing_for_the_idle_time_loses_its_stream(server: Running) -> None:
    async with impatient(server) as pool, grpc.aio.insecure_channel(server.address, options=NARROW) as channel:
        plain = Caller(channel).stream("endless", {"size": 300_000}, timeout=30, pool=POOL)
        stream = pool.stream("endless", {"size": 300_000}, timeout=30)
        await plain.read()
        await eventually(lambda: not server.flow.calls.count)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await drained(plain.read)
        assert refused.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await anext(stream)
        await eventually(lambda: not server.flow.calls.count)
        with pytest.raises(DeadlineExceeded, match="streamIdleSeconds"):
            await drained(stream.__anext__)
        await eventually(lambda: nothing_left(server))


async def drained(read: Callable[[], Awaitable[object]]) -> None:
    """Read to the end, which raises."""
    for _ in range(1000):
        await read()


async def test_arguments_that_stop_coming_end_the_call_before_it_began(server: Running) -> None:
    async with impatient(server), bare_client(server.address) as client:
        call = ByHand(client, "size", {"value": bytes(8 * MIB)})
        await call.send(await call.begin(), pieces=2)
        error = (await call.said()).result.error
        assert (error.reason, error.started, error.details["limit"]) == ("DEADLINE", common_pb2.STARTED_NO, "call.streamIdleSeconds")
        await eventually(lambda: nothing_left(server))


async def test_large_arguments_wait_for_room_at_the_agent_and_what_never_fits_is_refused(server: Running) -> None:
    four = spec(SAMPLE, worker={"processes": 4})
    async with capsule(four, server, pool=POOL, large_bytes=3 * MIB), snakepit.Client(server.address) as client:
        pool = await ready(client.pool(POOL), 4)
        calls = [pool.call("size", {"value": bytes(2 * MIB)}, timeout=30) for _ in range(8)]
        assert await asyncio.gather(*calls) == [2 * MIB] * 8
        with pytest.raises(PayloadTooLarge) as refused:
            await pool.call("size", {"value": bytes(3 * MIB)}, timeout=30)
        assert (refused.value.details["limit"], refused.value.started) == ("SNAKEPIT_LARGE_BYTES", Started.NO)
        await eventually(lambda: nothing_left(server))


async def test_a_replica_that_stops_brings_a_large_result_to_its_caller_first() -> None:
    async with replica() as server, capsule(spec(SAMPLE), server, pool=POOL), snakepit.Client(server.address) as client:
        pool = await ready(client.pool(POOL))
        call = asyncio.create_task(pool.call("make", {"size": 60 * MIB}, timeout=30))
        await eventually(lambda: len(server.flow.transfers))
        await server.stop(linger=0, drain=20)
        assert len(await call) == 60 * MIB


@pytest.mark.parametrize("lanes", [True, False], ids=["bulk lanes", "the stream alone"])
async def test_a_replica_that_stops_leaves_a_slow_reader_all_of_its_stream(lanes: bool) -> None:
    async with (
        replica() as server,
        capsule(spec(SAMPLE), server, pool=POOL),
        snakepit.Client(server.address, lanes=lanes) as client,
    ):
        pool = await ready(client.pool(POOL))
        sizes = [20_000] * 100
        stream = pool.stream("chunks", {"sizes": sizes}, timeout=30)
        got = [len(await anext(stream))]
        stopping = asyncio.create_task(server.stop(linger=0, drain=20))
        while server.flow.calls.count:
            got.append(len(await anext(stream)))
            await asyncio.sleep(0.01)  # Its own rhythm: slower than whoever writes.
        await asyncio.wait([stopping], timeout=0.3)  # What is left lies in buffers; nobody may be cut off meanwhile.
        assert len(got) < len(sizes)
        assert got + [len(chunk) async for chunk in stream] == sizes
        await stopping
