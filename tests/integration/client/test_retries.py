"""What the client sends again by itself, where to, and how often. Real replicas; workers are simulated."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

import snakepit
from snakepit import Client, Started
from snakepit._retry import FLOOR, SHARE
from snakepit._wire.status import to_frame
from snakepit.v1 import link_pb2, pool_pb2
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import clients, eventually, may_use, replica
from support.dev_server import Program
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent, take_turns
from support.simulated_tools import Tool, hang, payload, success

CALLERS = 12


async def work(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    await asyncio.sleep(0.01)
    return success("done")


TOOLS: dict[str, Tool] = {"work": work, "twice": work}


@asynccontextmanager
async def agent_of(server: str, name: str, **options: object) -> AsyncIterator[SimulatedAgent]:
    """Each replica has an agent of its own, so that where a call ran says which replica it went through."""
    options = {"workers": 2, "slots": 8, "idempotent": frozenset({"twice", "hang", "count"})} | options
    async with simulated_agent(server, name=name, **options) as agent:
        agent.tools.update(TOOLS)
        agent.offer()
        yield agent


@asynccontextmanager
async def client_of(*servers: Running | Process) -> AsyncIterator[Client]:
    """With a link to each."""
    async with Client(",".join(each.address for each in servers), connect_timeout=10) as client:
        await may_use(client, len(servers))
        yield client


@dataclass
class World:
    """Two replicas of one store in the test's own process, an agent of each, and a client of both."""

    first: Running
    second: Running
    a: SimulatedAgent
    b: SimulatedAgent
    client: Client

    @property
    def pool(self) -> snakepit.Pool:
        return self.client.pool(POOL)

    def cut(self) -> None:
        """The client's link to the first replica breaks."""
        (link,) = clients(self.first)
        link.close("the test cuts it")

    async def offer(self, name: str, tool: Tool) -> None:
        for agent, server in ((self.a, self.first), (self.b, self.second)):
            agent.tools[name] = tool
            agent.offer()
            await eventually(lambda server=server: name in server.flow.pools[POOL].tools, f"{name} is known")


@asynccontextmanager
async def two(
    a: Mapping[str, object] | None = None,
    b: Mapping[str, object] | None = None,
    store: MemoryStore | None = None,
    others: MemoryStore | None = None,
) -> AsyncIterator[World]:
    """`a` and `b`: options of the agents. `store`: the first replica's own, `others`: the second's. The client's first call goes to the
    first replica."""
    shared = others or MemoryStore()
    async with (
        replica(store or shared) as first,
        replica(shared) as second,
        agent_of(first.address, "a", **(a or {})) as agent_a,
        agent_of(second.address, "b", **(b or {})) as agent_b,
        client_of(first, second) as client,
    ):
        world = World(first, second, agent_a, agent_b, client)
        if not (a or b):
            await take_turns(world.pool, agent_a, agent_b)
        yield world


STARTING = {"state": pool_pb2.WORKER_STATE_STARTING}


# ---- one call


async def test_a_call_that_a_stopping_replica_never_took_goes_to_another() -> None:
    async with two() as world:
        call = asyncio.create_task(world.pool.call("work", timeout=10))
        # Before the client hears anything of it.
        world.first.links.go_away()
        world.first.links.close("this replica stops")
        assert await call == "done"
        assert (len(world.a.calls), len(world.b.calls)) == (0, 1)


async def test_the_only_replica_stops_before_it_took_a_call_and_its_successor_gets_it() -> None:
    async with replica() as server, client_of(server) as client:
        with pytest.raises(snakepit.PoolNotFound):
            await client.pool(POOL).call("work", timeout=20)
        call = asyncio.create_task(client.pool(POOL).call("work", timeout=20))
        server.links.go_away()
        server.links.close("this replica stops")
        await server.stop(linger=0, drain=0)
        async with replica(listen=server.address) as successor:
            with pytest.raises(snakepit.PoolNotFound):  # Its own word: no agent has linked there.
                await call
            assert successor.telemetry.calls.value("", "", "POOL_NOT_FOUND") == 1


async def test_an_idempotent_call_whose_replica_is_lost_runs_through_another() -> None:
    async with two() as world:
        call = asyncio.create_task(world.pool.call("hang", timeout=20))
        await eventually(lambda: world.a.running, "it runs")
        world.b.let_go()
        await world.first.abort()
        assert await call == "late"
        assert [each.call_id for each in world.a.calls] == [each.call_id for each in world.b.calls]


async def test_an_idempotent_stream_whose_replica_is_lost_before_its_first_chunk_runs_through_another() -> None:
    async with two() as world:
        await world.offer("count", _held_count)
        stream = world.pool.stream("count", {"to": 3}, timeout=20)
        call = asyncio.create_task(_all(stream))
        await eventually(lambda: world.a.running, "it runs")
        world.b.let_go()
        await world.first.abort()
        assert await call == [0, 1, 2]
        assert len(world.b.calls) == 1


async def _held_count(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
    await agent.gate.wait()
    await agent.pipe(call, [*(link_pb2.Chunk(index=i, payload=payload(i)) for i in range(3)), link_pb2.Chunk(index=3, last=True)])
    return link_pb2.Result()


async def _all(stream: snakepit.Stream) -> list[object]:
    return [chunk async for chunk in stream]


async def test_a_call_with_a_key_whose_link_breaks_joins_its_run_through_another_replica() -> None:
    async with two() as world:
        await world.offer("once", hang)
        call = asyncio.create_task(world.pool.call("once", timeout=20, idempotency_key="k"))
        await eventually(lambda: world.a.running, "it runs")
        world.first.links.go_away()  # Or its address might be linked again before the call is sent again.
        world.cut()
        await eventually(lambda: world.second.flow.calls.count, "it was sent again")
        world.a.let_go()
        assert await call == "late"
        assert (len(world.a.calls), len(world.b.calls)) == (1, 0)


async def test_a_call_that_may_have_run_and_is_not_idempotent_is_not_sent_again() -> None:
    async with two() as world:
        await world.offer("once", hang)
        call = asyncio.create_task(world.pool.call("once", timeout=20))
        await eventually(lambda: world.a.running, "it runs")
        await world.first.abort()
        with pytest.raises(snakepit.ReplicaLost) as caught:
            await call
        assert caught.value.started is Started.MAYBE
        assert not world.b.calls


async def test_a_stream_whose_link_breaks_is_lost_and_its_reader_is_not_cancelled() -> None:
    async with two() as world:
        await world.offer("once", _held_count)
        call = asyncio.create_task(_all(world.pool.stream("once", {"to": 3}, timeout=20)))
        await eventually(lambda: world.a.running, "it runs")
        world.cut()
        with pytest.raises(snakepit.ReplicaLost) as caught:
            await call
        assert caught.value.started is Started.MAYBE


async def test_what_may_have_run_and_is_refused_the_second_time_still_says_maybe() -> None:
    async def refuse(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        return link_pb2.Result(error=to_frame(snakepit.InvalidArguments("no")))

    async with two() as world:
        world.b.tools["hang"] = refuse
        call = asyncio.create_task(world.pool.call("hang", timeout=20))
        await eventually(lambda: world.a.running, "it runs")
        await world.first.abort()
        with pytest.raises(snakepit.ReplicaLost) as caught:
            await call
        assert caught.value.started is Started.MAYBE
        assert isinstance(caught.value.__cause__, snakepit.InvalidArguments)


async def test_a_call_that_is_sent_again_is_told_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "snakepit.client")
    async with two() as world:
        call = asyncio.create_task(world.pool.call("hang", timeout=20))
        await eventually(lambda: world.a.running, "it runs")
        world.b.let_go()
        await world.first.abort()
        assert await call == "late"
    assert "of hang goes out again, try 2: the control-plane replica at" in caplog.text


async def test_closing_the_client_ends_its_calls_at_once_and_sends_none_again() -> None:
    async with two() as world:
        calls = [asyncio.create_task(world.pool.call("hang", timeout=20)) for _ in range(4)]
        await eventually(lambda: len(world.a.running) + len(world.b.running) == 4, "they run")
        begin = time.monotonic()
        await world.client.close()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(each, snakepit.ReplicaLost) for each in outcomes)
        assert time.monotonic() - begin < 15
        assert len(world.a.calls) + len(world.b.calls) == 4


async def test_a_replica_that_is_not_ready_costs_no_call_while_another_is() -> None:
    async with two(a=STARTING) as world:
        assert [await world.pool.call("work", timeout=10) for _ in range(2)] == ["done"] * 2
        refused = [world.first.telemetry.calls.value(POOL, tool, "POOL_NOT_READY") for tool in ("", "work")]
        assert any(refused)


async def test_a_replica_that_is_cut_off_from_the_store_says_so_and_costs_no_call_while_another_has_it() -> None:
    cut_off = MemoryStore()
    async with two(store=cut_off) as world:
        cut_off.problem = "it is cut off"
        await eventually(lambda: world.first.fleet.standing.lacks_store, "it has noticed")
        assert [await world.pool.call("work", timeout=10) for _ in range(4)] == ["done"] * 4, "an answer comes behind what it has told"
        outcomes = world.first.telemetry.calls
        before = outcomes.value(POOL, "work", "OK")
        for number in range(20):
            assert await world.pool.call("work", timeout=10, idempotency_key=str(number)) == "done"
            assert await world.pool.call("work", timeout=10) == "done", "what it knows of workers may be old, too"
        assert outcomes.value(POOL, "work", "STORE_UNAVAILABLE") == 0
        assert outcomes.value(POOL, "work", "OK") == before
        cut_off.problem = ""
        while outcomes.value(POOL, "work", "OK") == before:
            assert await world.pool.call("work", timeout=10) == "done", "it has it back"


async def test_a_client_that_links_a_replica_without_the_store_hears_of_it_and_where_none_has_it_all_are_called() -> None:
    cut_off, other = MemoryStore(), MemoryStore()
    async with two(store=cut_off, others=other) as world:
        cut_off.problem = "it is cut off"
        await eventually(lambda: world.first.fleet.standing.lacks_store, "it has noticed")
        async with client_of(world.first, world.second) as client:
            pool, outcomes = client.pool(POOL), world.first.telemetry.calls
            before = outcomes.value(POOL, "work", "OK")
            assert [await pool.call("work", timeout=10) for _ in range(4)] == ["done"] * 4
            assert outcomes.value(POOL, "work", "OK") == before
            other.problem = "it is away"
            await eventually(lambda: world.second.fleet.standing.lacks_store, "it has noticed")
            while outcomes.value(POOL, "work", "OK") == before:
                assert await pool.call("work", timeout=10) == "done"


# ---- a storm


async def test_when_every_replica_refuses_the_calls_that_are_sent_again_stay_under_a_twentieth() -> None:
    calls = 600
    async with two(STARTING, STARTING) as world:
        asked = [asyncio.create_task(world.pool.call("work", timeout=10)) for _ in range(calls)]
        outcomes = await asyncio.gather(*asked, return_exceptions=True)
        assert {type(each) for each in outcomes} == {snakepit.PoolNotReady}
        counts = [each.telemetry.calls for each in (world.first, world.second)]
        seen = sum(each.value(POOL, tool, "POOL_NOT_READY") for each in counts for tool in ("", "work"))
    assert calls + FLOOR < seen <= calls * (1 + SHARE)


# ---- under load, with processes


class Process(Program):
    """`python -m snakepit_control_plane.main`, on a port that it takes."""

    address = ""

    def __init__(self) -> None:
        super().__init__(
            sys.executable,
            "-m",
            "snakepit_control_plane.main",
            SNAKEPIT_LISTEN="127.0.0.1:0",
            SNAKEPIT_METRICS_LISTEN="off",
            SNAKEPIT_LINGER_SECONDS="0",
        )

    def serves(self) -> None:
        self.says("serves on")
        found = re.search(r"serves on ([\d.]+:\d+)", self.output)
        assert found is not None
        self.address = found[1]


class Load:
    """Callers that make one call after another. `failures` are their SnakepitErrors."""

    def __init__(self, client: Client, tool: str) -> None:
        self.answers = 0
        self.failures: list[snakepit.SnakepitError] = []
        self._pool = client.pool(POOL)
        self._tool = tool
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._call()) for _ in range(CALLERS)]

    async def _call(self) -> None:
        while not self._stop.is_set():
            try:
                await self._pool.call(self._tool, timeout=20)
                self.answers += 1
            except snakepit.SnakepitError as error:
                self.failures.append(error)

    async def more(self, answers: int) -> None:
        wanted = self.answers + answers
        await eventually(lambda: self.answers >= wanted or not any(not task.done() for task in self._tasks), f"{answers} more answers")

    async def end(self) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


@asynccontextmanager
async def processes() -> AsyncIterator[tuple[Sequence[Process], Sequence[SimulatedAgent], Client]]:
    running = [Process(), Process()]
    try:
        for each in running:
            await asyncio.to_thread(each.serves)
        async with contextlib.AsyncExitStack() as stack:
            agents = [await stack.enter_async_context(agent_of(each.address, name)) for each, name in zip(running, ("a", "b"), strict=True)]
            client = await stack.enter_async_context(client_of(*running))
            yield running, agents, client
    finally:
        for each in running:
            each.end()


async def test_a_replica_killed_under_load_fails_no_idempotent_call() -> None:
    async with processes() as (replicas, _, client):
        load = Load(client, "twice")
        await load.more(400)
        os.kill(replicas[0].process.pid, signal.SIGKILL)
        await load.more(200)
        await load.end()
    assert load.failures == []


async def test_a_replica_killed_under_load_fails_only_calls_that_may_have_run_and_none_runs_twice() -> None:
    async with processes() as (replicas, agents, client):
        load = Load(client, "work")
        await load.more(400)
        os.kill(replicas[0].process.pid, signal.SIGKILL)
        await load.more(200)
        await load.end()
    assert {(each.reason, each.started) for each in load.failures} <= {("REPLICA_LOST", Started.MAYBE)}
    assert len(load.failures) <= CALLERS
    runs = Counter(call.call_id for agent in agents for call in agent.calls)
    assert set(runs.values()) == {1}


@pytest.mark.parametrize("tool", ["work", "twice"], ids=["not idempotent", "idempotent"])
async def test_a_replica_that_drains_under_load_fails_no_call(tool: str) -> None:
    async with processes() as (replicas, agents, client):
        load = Load(client, tool)
        await load.more(400)
        replicas[0].process.terminate()
        await eventually(lambda: replicas[0].process.poll() is not None, "it has ended")
        before = len(agents[0].calls)
        await load.more(200)
        await load.end()
    assert load.failures == []
    assert replicas[0].process.returncode == 0
    assert len(agents[0].calls) == before
    runs = Counter(call.call_id for agent in agents for call in agent.calls)
    assert set(runs.values()) == {1}
