"""Limits are settings: a changed one is what is refused by, and the refusal names it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

import snakepit
from snakepit import Client
from snakepit_control_plane.model.quotas import Limits
from support.capsules import capsule, ready, spec
from support.control_plane import replica
from support.nesting import ASKING, THREADS


@contextlib.asynccontextmanager
async def asking_under(limits: Limits, **agent: int) -> AsyncIterator[tuple[Client, snakepit.Pool]]:
    """A pool with room for twenty calls, behind a control plane and in a capsule with these limits."""
    pool_spec = spec(ASKING, worker=THREADS, replicas=1)
    async with (
        replica(**vars(limits)) as server,
        Client(server.address) as client,
        capsule(pool_spec, server, pool="default/asking", **agent),
    ):
        await ready(pool := client.pool("asking"), 1)
        yield client, pool


def tools(*names: str) -> list[Callable[[], None]]:
    def named(name: str) -> Callable[[], None]:
        def function() -> None: ...

        function.__name__ = name
        return function

    return [named(name) for name in names]


async def test_max_nesting_depth() -> None:
    async with asking_under(Limits(max_nesting_depth=2)) as (_, pool):
        assert await pool.call("deeper", {"left": 2}, timeout=20) == 2
        with pytest.raises(snakepit.CallTooDeep, match="maxNestingDepth allows 2") as refused:
            await pool.call("deeper", {"left": 3}, timeout=20)
    assert refused.value.details["limit"] == "maxNestingDepth"


async def test_max_tools_per_client_and_max_client_tools_per_pool() -> None:
    limits = Limits(max_tools_per_client=2, max_client_tools_per_pool=3)
    async with asking_under(limits) as (client, pool), Client(client.server) as other, client.offer(tools("a", "b"), pool=pool):
        with pytest.raises(snakepit.ToolQuota, match="may offer 2 tools") as refused:
            async with client.offer(tools("c"), pool=pool):
                pass
        assert refused.value.details["limit"] == "maxToolsPerClient"
        with pytest.raises(snakepit.ToolQuota, match="may have 3 tools of clients") as refused:
            async with other.offer(tools("c", "d"), pool=pool):
                pass
        assert refused.value.details["limit"] == "maxClientToolsPerPool"


async def test_a_result_is_kept_under_a_key_up_to_max_kept_result_bytes() -> None:
    async with asking_under(Limits(max_kept_result_bytes=1000)) as (_, pool):
        for size in (100, 1000):
            await pool.call("large", {"size": size}, idempotency_key=f"of {size}")
        assert len(await pool.call("large", {"size": 100}, idempotency_key="of 100")) == 100
        with pytest.raises(snakepit.PayloadTooLarge, match="maxKeptResultBytes") as refused:
            await pool.call("large", {"size": 1000}, idempotency_key="of 1000")
    assert (refused.value.details["limit"], refused.value.details["bytes"]) == ("maxKeptResultBytes", "1000")


async def test_a_result_that_no_single_message_may_hold_is_given_to_its_caller_and_not_kept() -> None:
    """It is under maxKeptResultBytes, but a repeat would have to be one message."""
    async with asking_under(Limits(max_payload_bytes=100_000)) as (_, pool):
        assert len(await pool.call("large", {"size": 600_000}, idempotency_key="k")) == 600_000
        with pytest.raises(snakepit.PayloadTooLarge, match="maxPayloadBytes") as refused:
            await pool.call("large", {"size": 600_000}, idempotency_key="k")
    assert (refused.value.details["limit"], refused.value.started) == ("maxPayloadBytes", snakepit.Started.YES)


@pytest.mark.parametrize(
    ("limits", "agent", "setting"),
    [
        (Limits(max_calls_per_offering_client=2), {}, "maxCallsPerOfferingClient"),
        (Limits(), {"max_nested_calls": 2}, "SNAKEPIT_MAX_NESTED_CALLS"),
    ],
    ids=["max calls per offering client", "max nested calls of a capsule"],
)
async def test_more_calls_of_tools_than_a_limit_allows_are_refused(limits: Limits, agent: dict[str, int], setting: str) -> None:
    there, released = asyncio.Semaphore(0), asyncio.Event()

    async def hold() -> str:
        there.release()
        await asyncio.wait_for(released.wait(), 20)
        return "held"

    async def ask(pool: snakepit.Pool) -> Any:
        return await pool.call("ask", {"name": "hold"}, timeout=20)

    async with asking_under(limits, **agent) as (client, pool), client.offer(hold, pool=pool), asyncio.TaskGroup() as tasks:
        open_calls = [tasks.create_task(ask(pool)) for _ in range(2)]
        async with asyncio.timeout(20):
            for _ in open_calls:
                await there.acquire()
        with pytest.raises(snakepit.PoolSaturated, match=setting) as refused:
            await ask(pool)
        released.set()
        assert [await call for call in open_calls] == ["held", "held"]
    assert (refused.value.details["limit"], refused.value.details["calls"]) == (setting, "2")
