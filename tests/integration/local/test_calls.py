"""Calls through the SDK, the control plane, real agents and real workers, all started by `snakepit dev`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator

import pytest

import snakepit
from snakepit import Client, Pool, Started
from snakepit.client import connection
from support.dev_server import Dev
from support.tasks import task


async def wait_for_slots(pool: Pool, busy: int) -> None:
    async with asyncio.timeout(10):
        while (await pool.info()).busy_slots != busy:
            await asyncio.sleep(0.005)


async def wait_for_workers(pool: Pool, ready: int) -> None:
    """`snakepit dev` is ready with the first one; one that does not answer for a moment gets no calls."""
    async with asyncio.timeout(20):
        while sum(each.state == "ready" and each.liveness == "live" for each in await pool.workers()) < ready:
            await asyncio.sleep(0.005)


async def wait_for_idle(pool: Pool) -> None:
    await wait_for_slots(pool, 0)


@pytest.mark.parametrize("value", [None, True, 3, -1.5, "ä", [1, [2]], {"a": {"b": None}}, b"\x00\xff"], ids=repr)
async def test_values_come_back_as_they_went(pool: Pool, value: object) -> None:
    assert await pool.call("echo", {"value": value}, timeout=10) == value


async def test_an_unknown_pool_is_named(client: Client) -> None:
    with pytest.raises(snakepit.PoolNotFound, match="default/smaple") as caught:
        await client.pool("smaple").call("echo", timeout=10)
    assert caught.value.started is Started.NO


async def test_an_unknown_tool_is_named_with_the_nearest_names(pool: Pool) -> None:
    with pytest.raises(snakepit.ToolNotFound, match="ecko") as caught:
        await pool.call("ecko", timeout=10)
    assert "echo" in caught.value.details["nearest"]


@pytest.mark.parametrize(("arguments", "named"), [({"a": "one"}, "a"), ({"a": 1, "c": 2}, "c"), ({}, "a")], ids=["type", "name", "missing"])
async def test_wrong_arguments_are_named(pool: Pool, arguments: dict[str, object], named: str) -> None:
    with pytest.raises(snakepit.InvalidArguments, match=f"`{named}`") as caught:
        await pool.call("add", arguments, timeout=10)
    assert caught.value.started is Started.NO


async def test_a_tools_exception_arrives_with_type_message_and_traceback(pool: Pool) -> None:
    with pytest.raises(snakepit.ToolError, match="gone fishing") as caught:
        await pool.call("fail", {"message": "gone fishing"}, timeout=10)
    assert caught.value.type == "LookupError"
    assert "raise LookupError(message)" in caught.value.traceback


async def test_arguments_over_the_limit_are_refused_with_its_name(pool: Pool) -> None:
    with pytest.raises(snakepit.PayloadTooLarge) as caught:
        await pool.call("echo", {"value": bytes(64 * 1024 * 1024 + 1)}, timeout=10)
    assert caught.value.details["limit"] == "maxLargePayloadBytes"
    assert caught.value.started is Started.NO


async def test_a_result_over_the_limit_is_refused_with_its_name(pool: Pool) -> None:
    with pytest.raises(snakepit.PayloadTooLarge) as caught:
        await pool.call("large", {"size": 64 * 1024 * 1024 + 1}, timeout=30)
    assert caught.value.details["limit"] == "maxLargePayloadBytes"


async def test_chunks_arrive_in_order(pool: Pool) -> None:
    assert [chunk async for chunk in pool.stream("count", {"to": 100}, timeout=10)] == list(range(100))


async def test_a_unary_tool_streams_one_chunk_and_a_stream_called_unary_is_a_list(pool: Pool) -> None:
    assert [chunk async for chunk in pool.stream("echo", {"value": 1}, timeout=10)] == [1]
    assert await pool.call("count", {"to": 3}, timeout=10) == [0, 1, 2]


async def test_an_exception_in_mid_stream_arrives_as_itself_after_the_chunks_before_it(pool: Pool) -> None:
    stream = pool.stream("break_off", timeout=10)
    assert await anext(stream) == 1
    with pytest.raises(snakepit.ToolError, match="broken off") as told:
        await anext(stream)
    assert (await pool.call_info(told.value.call_id)).tool == "break_off"


async def test_leaving_a_stream_stops_its_producer(pool: Pool) -> None:
    async for chunk in pool.stream("large_stream", timeout=30):
        assert len(chunk) == 1_000_000
        break
    await wait_for_idle(pool)


async def test_cancelling_a_call_stops_its_tool(pool: Pool) -> None:
    call = asyncio.create_task(pool.call("spin", timeout=60))
    await wait_for_slots(pool, 1)
    call.cancel()
    await wait_for_idle(pool)


async def test_a_deadline_ends_a_running_tool(pool: Pool) -> None:
    began = time.monotonic()
    with pytest.raises(snakepit.DeadlineExceeded):
        await pool.call("sleep", {"seconds": 30}, timeout=0.3)
    assert time.monotonic() - began < 15
    await wait_for_idle(pool)


async def test_calls_spread_evenly_over_idle_workers(pool: Pool) -> None:
    """As a rule: on a busy machine a worker may not answer its agent for a moment, and gets no calls meanwhile. By chance, it would be one
    time in thirty."""
    await wait_for_workers(pool, 4)
    even: list[bool] = []
    async with asyncio.timeout(60):
        while sum(even[-10:]) < 5:
            served = Counter([(await pool.call("process", timeout=10))[0] for _ in range(40)])
            print(served)
            even.append(len(served) == 4 and max(served.values()) - min(served.values()) <= 2)


@contextlib.asynccontextmanager
async def taken(pool: Pool) -> AsyncIterator[None]:
    """Its only slot, for as long as the test wants it."""
    async with task(pool.call("spin", timeout=60)):
        await wait_for_slots(pool, 1)
        yield
    await wait_for_idle(pool)


async def test_a_full_queue_refuses_at_once_and_a_waiting_call_times_out_once(client: Client) -> None:
    pool = client.pool("tiny")
    async with taken(pool):
        outcomes = await asyncio.gather(*[pool.call("echo", {"value": 1}, timeout=10) for _ in range(2)], return_exceptions=True)
    (refused,) = [each for each in outcomes if isinstance(each, snakepit.PoolSaturated)]
    assert refused.retry_after is not None
    assert [type(each) for each in outcomes if each is not refused] == [snakepit.QueueTimeout]


async def test_a_call_whose_deadline_passes_in_the_queue_never_runs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DEADLINE_GRACE_SECONDS", 20.0)  # It is the control plane that says that nothing ran.
    pool = client.pool("tiny")
    async with pool.session(delete=True) as session:
        async with taken(pool):
            with pytest.raises(snakepit.DeadlineExceeded) as caught:
                await session.call("remember", {"key": "ran", "value": True}, timeout=0.1)
            assert caught.value.started is Started.NO
        assert await pool.call("echo", {"value": 1}, timeout=10) == 1, "whoever waited would have run before it"
        assert await session.state.get("ran") is None


async def test_tools_are_listed_with_their_schemas(pool: Pool) -> None:
    tools = {tool.name: tool for tool in await pool.tools()}
    assert tools["count"].streaming
    assert set(tools["add"].input_schema["properties"]) == {"a", "b"}
    assert (await pool.tool("add")).input_schema["required"] == ["a"]


async def test_pools_are_listed(client: Client) -> None:
    await wait_for_workers(client.pool("sample"), 4)
    pools = {pool.name: pool for pool in await client.pools()}
    assert pools.keys() == {"default/sample", "default/tiny"}
    assert pools["default/sample"].available
    assert pools["default/sample"].total_slots == 4


def test_the_same_without_await(server: Dev) -> None:
    from snakepit import sync

    with sync.Client(server.server) as client:
        pool = client.pool("sample")
        assert pool.call("echo", {"value": 1}, timeout=10) == 1
        assert list(pool.stream("count", {"to": 3}, timeout=10)) == [0, 1, 2]
        with pool.session(delete=True) as session:
            assert session.call("remember", {"key": "a", "value": 1}, timeout=10) == 1
            assert session.state.get("a") == 1
        with pytest.raises(snakepit.SessionNotFound):
            session.info()
        assert len(pool.workers()) == 4


@pytest.mark.parametrize("timeout", [float("inf"), 1e300])
async def test_a_timeout_without_end_is_one(pool: Pool, timeout: float) -> None:
    assert await pool.call("add", {"a": 1, "b": 2}, timeout=timeout) == 3
    assert len(await pool.call("echo", {"value": bytes(2**20)}, timeout=timeout)) == 2**20
    assert [chunk async for chunk in pool.stream("count", {"to": 3}, timeout=timeout)] == [0, 1, 2]
