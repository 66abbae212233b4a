"""Calls whose arguments are small, and whose names, metadata or many parts are not: answered, and no worker is lost over them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import numpy
import pytest
import pytest_asyncio

import snakepit
from snakepit._values.payloads import encode
from snakepit._wire.channels import MOST_ATTACHMENTS
from snakepit.errors import InvalidArguments, PayloadTooLarge
from snakepit.v1 import link_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.attack import ANY_SIZE, ByHand
from support.capsules import capsule, ready, spec
from support.control_plane import Caller, replica, rpc
from support.large import POOL, SAMPLE

pytestmark = [pytest.mark.timeout(150), pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server() -> AsyncIterator[Running]:
    async with replica() as running:
        yield running
        assert len(running.flow.transfers) == 0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def pool(server: Running) -> AsyncIterator[snakepit.Pool]:
    async with capsule(spec(SAMPLE, worker={"processes": 2}), server, pool=POOL), snakepit.Client(server.address) as client:
        yield await ready(client.pool(POOL), 2)


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def no_worker_is_lost(pool: snakepit.Pool) -> AsyncIterator[None]:
    before = {worker.incarnation for worker in await pool.workers()}
    yield
    assert {worker.incarnation for worker in await pool.workers()} == before


@pytest.mark.parametrize("count", [1_000, 2_500, 4_000, 5_500, 9_000])
async def test_thousands_of_small_arrays_go_in_and_out(pool: snakepit.Pool, count: int) -> None:
    arrays = [numpy.full(2, n % 7, dtype=numpy.float64) for n in range(count)]
    back = await pool.call("echo", {"value": arrays}, timeout=30)
    assert [float(each.sum()) for each in back] == [float(each.sum()) for each in arrays]


async def test_more_parts_than_travel_are_refused_both_ways(pool: snakepit.Pool) -> None:
    with pytest.raises(InvalidArguments, match="attachments"):
        await pool.call("echo", {"value": [b"x"] * (MOST_ATTACHMENTS + 1)}, timeout=30)
    with pytest.raises(PayloadTooLarge, match=f"{MOST_ATTACHMENTS + 1} attachments, {MOST_ATTACHMENTS} is the most"):
        await pool.call("parts", {"count": MOST_ATTACHMENTS + 1}, timeout=30)


@pytest.mark.parametrize("arguments", [10, 100_000, 300_000])
@pytest.mark.parametrize("metadata", [10, 60_000, 130_000, 210_000, 300_000])
async def test_arguments_and_metadata_of_any_size_are_taken_or_refused_and_cost_no_worker(
    server: Running, pool: snakepit.Pool, arguments: int, metadata: int
) -> None:
    async with grpc.aio.insecure_channel(server.address) as channel:
        request = router_pb2.ExecuteRequest(pool=POOL, tool="size", metadata={"key": "m" * metadata})
        given = encode({"value": "x" * arguments})
        request.payload.content_type, request.payload.data = given.content_type, given.data
        answers = await asyncio.gather(
            *[rpc(Caller(channel).router.Execute(request, timeout=30)) for _ in range(4)], return_exceptions=True
        )
    refused = [isinstance(answer, InvalidArguments) for answer in answers]
    assert refused == [metadata > 65_536] * 4, answers
    assert await pool.call("size", {"value": "abc"}, timeout=30) == 3


@pytest.mark.parametrize("field", ["call_id", "tool", "session_id", "traceparent", "pool", "idempotency_key"])
async def test_a_name_of_300_kb_is_refused_and_outlives_nobody(server: Running, pool: snakepit.Pool, field: str) -> None:
    call = link_pb2.Call(id=1, call_id="c1", pool=POOL, tool="size", timeout_seconds=30)
    call.MergeFrom(link_pb2.Call(**{field: "x" * 300_000}))
    given = encode({"value": "abc"})
    call.arguments.content_type, call.arguments.data = given.content_type, given.data
    async with grpc.aio.insecure_channel(server.address, options=ANY_SIZE) as channel:
        link = await ByHand(channel).open()
        result = (await link.answer(link_pb2.Frame(call=call))).result
        assert result.error.reason in ("INVALID_ARGUMENTS", "POOL_NOT_FOUND", "TOOL_NOT_FOUND"), result.error.reason
        assert len(result.error.message) < 1000
    assert await asyncio.gather(*[pool.call("size", {"value": "abc"}, timeout=30) for _ in range(8)]) == [3] * 8
