"""Tools that call tools of workers: of their own pool, and of others."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from typing import Any

import pytest

import snakepit
from snakepit import Client, Pool, Session
from snakepit_control_plane.model.catalogue import Scope
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.capsules import ready
from support.control_plane import eventually, replica
from support.nesting import THREADS, Hanging, asking


async def ask(pool: Pool | Session, name: str, arguments: dict[str, Any] | None = None, timeout: float = 10, **more: Any) -> Any:
    return await pool.call("ask", {"name": name, "arguments": arguments, **more}, timeout=timeout)


# ---- whom a name means, and what the call takes over


async def test_a_tool_calls_another_of_its_own_pool(pool: Pool) -> None:
    assert await ask(pool, "count", {"to": 3}) == [0, 1, 2]
    assert [n async for n in pool.stream("stream", {"name": "count", "arguments": {"to": 40}}, timeout=15)] == list(range(40))
    with pytest.raises(snakepit.ToolError, match="LookupError: not here"):
        await ask(pool, "fail")
    with pytest.raises(snakepit.ToolNotFound, match="did you mean count"):
        await ask(pool, "coumt")


async def test_a_tool_calls_one_of_another_pool_with_metadata_and_its_own_deadline(server: Running, client: Client, pool: Pool) -> None:
    async with asking(server, client, "other", processes=1), pool.session(delete=True) as session:
        arguments = {"name": "whoami", "pool": "other"}
        answer = await session.call("ask", arguments, timeout=7, metadata={"who": "me"})
        assert answer[:2] == ["", {"who": "me"}], "a session belongs to one pool"
        assert 0 < answer[2] < 7
        chunks = pool.stream("stream", {"name": "count", "arguments": {"to": 3}, "pool": "default/other"}, timeout=15)
        assert [n async for n in chunks] == [0, 1, 2]
    with pytest.raises(snakepit.PoolNotFound, match="default/nowhere"):
        await pool.call("ask", {"name": "whoami", "pool": "nowhere"}, timeout=10)


async def test_a_clients_tool_for_the_session_is_found_from_another_pool_too(server: Running, client: Client, pool: Pool) -> None:
    def confirm() -> str:
        return "yes"

    async with asking(server, client, "other", processes=1), pool.session(delete=True) as session, client.offer(confirm, session=session):
        arguments = {"name": "ask", "arguments": {"name": "confirm"}, "pool": "other"}
        assert await session.call("ask", arguments, timeout=10) == "yes"


async def test_a_limit_of_one_call_a_caller_leaves_the_calls_of_its_tool_alone(server: Running, client: Client) -> None:
    async with asking(server, client, call={"maxConcurrentPerCaller": 1}) as pool:
        assert await ask(pool, "count", {"to": 1}) == [0]


# ---- sessions


@pytest.mark.parametrize("ordered", [True, False], ids=["ordered", "unordered"])
async def test_a_call_into_the_same_session_runs_within_its_parents_turn(server: Running, client: Client, ordered: bool) -> None:
    async with asking(server, client, session={"ordered": ordered}) as pool, pool.session(delete=True) as session:
        assert await ask(session, "remember", {"key": "k", "value": "v"}) == 1
        assert await ask(session, "recall", {"key": "k"}) == "v"
        assert await session.state.get("k") == "v"
        assert (await ask(session, "whoami"))[0] == session.id


async def test_a_session_comes_back_by_way_of_another_pool(server: Running, client: Client, pool: Pool) -> None:
    async with asking(server, client, "other", processes=1), pool.session(delete=True) as session:
        back = {"name": "remember", "arguments": {"key": "k", "value": 1}, "pool": "asking"}
        assert await session.call("ask", {"name": "ask", "arguments": back, "pool": "other"}, timeout=10) == 1
        assert await session.state.get("k") == 1


async def test_a_clients_function_may_call_into_the_session_whose_call_it_serves(client: Client, pool: Pool) -> None:
    async with pool.session(delete=True) as session:

        async def help_out() -> Any:
            return await session.call("remember", {"key": "k", "value": 2}, timeout=10)

        async with client.offer(help_out, session=session):
            assert await ask(session, "help_out") == 1
            assert await session.state.get("k") == 2


# ---- what would never end


async def test_a_call_that_waits_for_its_own_chains_last_slot_gets_an_error_at_once(pool: Pool) -> None:
    assert await pool.call("deeper", {"left": 1}, timeout=10) == 1
    began = time.monotonic()
    with pytest.raises(snakepit.WouldDeadlock, match="hold all 2 slots of pool default/asking"):
        await pool.call("deeper", {"left": 2}, timeout=10)
    assert time.monotonic() - began < 8
    assert await pool.call("deeper", {"left": 1}, timeout=10) == 1, "and the slots are free again"


async def test_a_quick_tool_that_was_sent_ahead_to_its_own_callers_worker_gets_the_error_too(server: Running, client: Client) -> None:
    async with asking(server, client, processes=1) as pool:
        await asyncio.gather(*[pool.call("process", timeout=10) for _ in range(200)])
        with pytest.raises(snakepit.WouldDeadlock, match="hold the only slot"):
            await ask(pool, "process")


async def test_a_strict_session_whose_worker_waits_for_itself_gets_an_error_and_with_slots_to_spare_none(
    server: Running, client: Client, pool: Pool
) -> None:
    async with pool.session(affinity="strict_queue", delete=True) as session:
        await session.call("process", timeout=10)
        with pytest.raises(snakepit.WouldDeadlock, match="hold the only slot of worker sample-0/"):
            await ask(session, "process")
    async with asking(server, client, "threads", worker=THREADS) as roomy, roomy.session(affinity="strict_queue", delete=True) as session:
        assert await ask(session, "process") == await session.call("process", timeout=10)


async def test_a_circle_is_cut_at_sixteen(server: Running, client: Client) -> None:
    async with asking(server, client, worker=THREADS) as pool:
        assert await pool.call("deeper", {"left": 16}, timeout=20) == 16
        with pytest.raises(snakepit.CallTooDeep, match="maxNestingDepth allows 16") as caught:
            await pool.call("deeper", {"left": 17}, timeout=20)
        assert caught.value.details["depth"] == "16"


@pytest.mark.parametrize("stream", [False, True], ids=["call", "stream"])
async def test_a_circle_through_a_client_is_cut_too(server: Running, client: Client, stream: bool) -> None:
    rounds = 0

    async with asking(server, client, worker=THREADS) as pool:

        async def again() -> Any:
            nonlocal rounds
            rounds += 1
            if stream:
                return [each async for each in pool.stream("stream", {"name": "again"}, timeout=20)]
            return await ask(pool, "again", timeout=20)

        async with client.offer(again, pool=pool):
            with pytest.raises(snakepit.CallTooDeep):
                await ask(pool, "again", timeout=20)
    assert rounds == 8


async def test_two_chains_that_wait_for_each_other_are_no_deadlock_of_either_and_end_by_the_queues_limit(
    server: Running, client: Client
) -> None:
    together = asyncio.Barrier(2)

    async def meet() -> None:
        async with asyncio.timeout(10):
            await together.wait()

    async with asking(server, client, queue={"timeoutSeconds": 3}) as pool, client.offer(meet, pool=pool):
        call = {"name": "count", "arguments": {"to": 1}}
        began = time.monotonic()
        answers = await asyncio.gather(*[pool.call("meet_then", call, timeout=20) for _ in range(2)])
        assert "QUEUE_TIMEOUT" in answers
        assert all(answer in ("QUEUE_TIMEOUT", [0]) for answer in answers)
        assert time.monotonic() - began < 15


# ---- deaths


async def test_when_the_worker_of_a_call_dies_what_it_called_is_cancelled(client: Client, pool: Pool) -> None:
    noted: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def note(process: int) -> None:
        noted.set_result(process)

    async with client.offer(note, pool=pool):
        call = asyncio.create_task(pool.call("note_then_ask", {"name": "spin", "arguments": {}}, timeout=40))
        async with asyncio.timeout(10):
            process = await noted
            while (await pool.info()).busy_slots < 2:
                await asyncio.sleep(0.01)
        os.kill(process, signal.SIGKILL)
        with pytest.raises(snakepit.WorkerLost):
            await call
        async with asyncio.timeout(10):
            while (await pool.info()).busy_slots:
                await asyncio.sleep(0.01)


async def test_when_the_link_breaks_the_nested_call_is_lost_and_the_call_around_it_goes_on(
    server: Running, client: Client, pool: Pool
) -> None:
    hanging = Hanging()
    async with client.offer(hanging.hang, pool=pool):
        call = asyncio.create_task(pool.call("refused", {"name": "hang"}, timeout=20))
        async with asyncio.timeout(20):
            await hanging.began.wait()
        next(link for link, peer in server.links.links.items() if peer.role == "agent").close("broken by the test")
        kind, reason, started, *_ = await call
        assert (kind, reason, started) == ("ReplicaLost", "REPLICA_LOST", "MAYBE")
        async with asyncio.timeout(20):
            await hanging.stopped.wait()


# ---- two replicas


async def test_a_clients_tools_are_there_at_every_replica_and_refused_at_all_where_one_refuses() -> None:
    async with contextlib.AsyncExitStack() as stack:
        store = MemoryStore()
        one, other = [await stack.enter_async_context(replica(store)) for _ in range(2)]
        alone = await stack.enter_async_context(Client(one.address))
        client = await stack.enter_async_context(Client(f"{one.address},{other.address}"))
        pool = await stack.enter_async_context(asking(one, client, also=[other]))
        for server in (one, other):
            direct = await stack.enter_async_context(Client(server.address))
            await ready(direct.pool("asking"), 2)

        def here() -> str:
            return "here"

        catalogues = [server.flow.nested.catalogue for server in (one, other)]
        scope = Scope("default/asking")
        async with client.offer(here, pool=pool):
            assert [[tool.name for tool in each.tools(scope)] for each in catalogues] == [["here"]] * 2
            assert await asyncio.gather(*[ask(pool, "here") for _ in range(6)]) == ["here"] * 6
        await eventually(lambda: not any(each.tools(scope) for each in catalogues))
        async with alone.offer(here, pool="asking"):
            with pytest.raises(snakepit.InvalidArguments, match="offered already"):
                async with client.offer(here, pool=pool):
                    pass
            await eventually(lambda: not catalogues[1].tools(scope), "nothing of the refused offer is left")


# ---- size


async def test_large_values_of_other_workers_arrive(pool: Pool) -> None:
    for size in (100_000, 1_000_000, 3_000_000):
        assert await pool.call("length_of", {"name": "large", "arguments": {"size": size}}, timeout=20) == size
    assert await pool.call("length_of", {"name": "echo", "arguments": {"value": "x" * 1_000_000}}, timeout=20) == 1_000_000
    chunks = [n async for n in pool.stream("lengths", {"name": "large_stream", "arguments": {"chunks": 5, "size": 700_000}}, timeout=20)]
    assert chunks == [700_000] * 5
