"""An idempotency key runs once; a repeat joins or gets the stored outcome, through whichever replica, after restarts too."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import snakepit
from snakepit._names import new_id
from snakepit.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArguments,
    PayloadTooLarge,
    PoolSaturated,
    QueueTimeout,
    SessionNotFound,
    Started,
    StoreUnavailable,
    ToolError,
    WorkerLost,
)
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.idempotency import calls as keyed_calls
from snakepit_control_plane.server import Running, make_store
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import Caller, calling, counted, eventually, outcome, replica
from support.ports import free_port
from support.redis_server import RedisServer, redis_server
from support.simulated_agent import POOL, SimulatedAgent, payload, settings, simulated_agent, success

PROGRAM = [sys.executable, "-m", "snakepit_control_plane.main"]


@pytest.fixture
def key() -> str:
    return new_id()


@pytest.fixture(scope="module")
def shared_redis() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """For tests that hurt it, or whose pool has settings of its own."""
    with redis_server() as running:
        yield running


class Pair:
    """Two replicas on one store, with an agent and a caller each. `ran` has what the tool `work` was called with."""

    def __init__(self, servers: list[Running], agents: list[SimulatedAgent], callers: list[Caller], ran: list[Any]) -> None:
        self.servers, self.agents, self.callers, self.ran = servers, agents, callers, ran

    def waiting(self) -> int:
        """Callers with a key that wait for an outcome."""
        return sum(len(entry.callers) for server in self.servers for entry in server.flow.idempotency.upkeep.entries.values())

    def let_go(self) -> None:
        for agent in self.agents:
            agent.let_go()


@contextlib.asynccontextmanager
async def pair(url: str, **options: Any) -> AsyncIterator[Pair]:
    ran: list[Any] = []

    async def work(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        ran.append(json.loads(call.arguments.data))
        await agent.gate.wait()
        return success({"run": len(ran)})

    async with contextlib.AsyncExitStack() as stack:
        memory = MemoryStore()
        servers, agents, callers = [], [], []
        for number in range(2):
            server = await stack.enter_async_context(replica(make_store(url) if url else memory))
            agent = simulated_agent(server.address, name=f"capsule-{number}", slots=4, **options)
            servers.append(server)
            agents.append(await stack.enter_async_context(agent))
            agents[-1].tools["work"] = work
            agents[-1].offer()
            callers.append(await stack.enter_async_context(calling(server.address)))
        await eventually(lambda: all("work" in server.flow.pools[POOL].tools for server in servers))
        yield Pair(servers, agents, callers, ran)
        await eventually(lambda: not any(server.flow.idempotency.upkeep.entries for server in servers), "every key is let go")
        assert not any(server.flow.calls.count or server.flow.pools[POOL].queue.joined for server in servers)


@pytest.fixture(params=["memory", "redis"])
async def two(request: pytest.FixtureRequest, shared_redis: RedisServer) -> AsyncIterator[Pair]:
    async with pair(shared_redis.url if request.param == "redis" else "") as made:
        yield made


def value(response: Any) -> Any:
    return response.json.struct_value.fields["run"].number_value


# ---- joined and replayed


async def test_a_repeat_gets_the_stored_result_through_either_replica(two: Pair, key: str) -> None:
    two.let_go()
    first = await two.callers[0].call("work", {"n": 1}, idempotency_key=key)
    for caller in two.callers:
        again = await caller.call("work", {"n": 1}, idempotency_key=key)
        assert (value(again), again.worker, again.incarnation) == (1, first.worker, first.incarnation)
        assert again.call_id != first.call_id
    assert two.ran == [{"n": 1}]
    hows = [counted(server, "snakepit_idempotent_calls_total", pool=POOL, how=how) for server in two.servers for how in ("ran", "replayed")]
    assert hows == [1, 1, 0, 1]


async def test_a_key_is_remembered_for_as_long_as_its_pool_says_and_is_free_then(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url, settings=settings(call={"idempotencyTtlSeconds": 1})) as two:
        two.let_go()
        began = asyncio.get_running_loop().time()
        assert value(await two.callers[0].call("work", {"n": 1}, idempotency_key=key)) == 1
        answers = [1]
        async with asyncio.timeout(10):
            while answers[-1] == 1:
                answers.append(value(await two.callers[len(answers) % 2].call("work", {"n": 1}, idempotency_key=key)))
                await asyncio.sleep(0.02)
        assert asyncio.get_running_loop().time() - began > 0.9
        assert (answers[-1], two.ran) == (2, [{"n": 1}] * 2)


async def test_fifty_repeats_at_once_through_two_replicas_run_the_tool_once(two: Pair, key: str) -> None:
    calls = [two.callers[n % 2].start("work", {"n": 1}, idempotency_key=key) for n in range(50)]
    await eventually(lambda: two.waiting() == 50 and two.ran)
    two.let_go()
    assert {value(response) for response in await asyncio.gather(*calls)} == {1}
    assert two.ran == [{"n": 1}]
    assert sum(server.telemetry.calls.value(POOL, "work", "OK") for server in two.servers) == 50


async def test_who_waits_at_another_replica_gets_the_outcome(two: Pair, key: str) -> None:
    calls = [caller.start("work", idempotency_key=key) for caller in two.callers]
    await eventually(lambda: two.waiting() == 2 and two.ran)
    two.let_go()
    assert [value(response) for response in await asyncio.gather(*calls)] == [1, 1]


async def test_keys_of_different_calls_do_not_meet(two: Pair) -> None:
    two.let_go()
    for n in range(3):
        await two.callers[0].call("work", {"n": n}, idempotency_key=f"{new_id()}-{n}")
        await two.callers[1].call("work", {"n": n})
    assert len(two.ran) == 6


async def test_a_tools_exception_is_an_outcome_like_any_other(two: Pair, key: str) -> None:
    for caller in two.callers:
        response = await caller.call("fail", idempotency_key=key)
        assert response.tool_error.type == "ValueError"
    assert sum(len(agent.calls) for agent in two.agents) == 1


async def test_that_the_worker_was_lost_is_an_outcome_too(two: Pair, key: str) -> None:
    calls = [caller.start("work", idempotency_key=key) for caller in two.callers]
    await eventually(lambda: two.waiting() == 2 and two.ran)
    for agent in two.agents:
        agent.replace_worker(f"{agent.name}/0")
    for result in [await outcome(call) for call in calls] + [await outcome(c.start("work", idempotency_key=key)) for c in two.callers]:
        assert isinstance(result, WorkerLost), result
        assert result.started is Started.MAYBE
        assert result.details["how"] == "signal 9"
    assert len(two.ran) == 1


@pytest.mark.parametrize("stored", [False, True], ids=["running", "stored"])
async def test_a_key_used_for_another_call_is_refused(two: Pair, key: str, stored: bool) -> None:
    first = two.callers[0].start("work", {"n": 1}, idempotency_key=key)
    await eventually(lambda: two.ran)
    if stored:
        two.let_go()
        await first
    for caller in two.callers:
        for tool, arguments, fields in (("work", {"n": 2}, {}), ("echo", {"n": 1}, {}), ("work", {"n": 1}, {"session_id": "s"})):
            with pytest.raises(InvalidArguments, match="was used for another call") as refused:
                await caller.call(tool, arguments, idempotency_key=key, **fields)
            assert refused.value.started is Started.NO
    two.let_go()
    await first


async def test_a_result_over_the_limit_is_given_once_and_its_repeat_is_told_so(two: Pair, key: str) -> None:
    async def large(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        two.ran.append(1)
        return link_pb2.Result(payload=payload("x" * 1_100_000), run_seconds=0.001)

    for agent, server in zip(two.agents, two.servers, strict=True):
        agent.tools["large"] = large
        agent.offer()
        await eventually(lambda server=server: "large" in server.flow.pools[POOL].tools)
    assert len((await two.callers[0].call("large", idempotency_key=key)).json.string_value) == 1_100_000
    for caller in two.callers:
        with pytest.raises(PayloadTooLarge, match="the call has run") as refused:
            await caller.call("large", idempotency_key=key)
        assert refused.value.started is Started.YES
        assert refused.value.details["limit"] == "maxKeptResultBytes"
    assert two.ran == [1]


async def test_the_sdk_calls_pools_and_sessions_with_keys(two: Pair, key: str) -> None:
    two.let_go()
    async with snakepit.Client(two.servers[0].address) as one, snakepit.Client(two.servers[1].address) as other:
        assert await one.pool(POOL).call("work", {"n": 1}, idempotency_key=key) == {"run": 1}
        assert await other.pool(POOL).call("work", {"n": 1}, idempotency_key=key) == {"run": 1}
        async with one.pool(POOL).session(f"s-{key}") as session:
            assert await session.call("work", idempotency_key=f"s-{key}") == {"run": 2}
            assert await other.pool(POOL).session(session.id).call("work", idempotency_key=f"s-{key}") == {"run": 2}
        with pytest.raises(ToolError):
            await one.pool(POOL).call("fail", idempotency_key=f"f-{key}")
        with pytest.raises(InvalidArguments, match="another call"):
            await other.pool(POOL).call("work", {"n": 2}, idempotency_key=key)


# ---- refused


async def test_a_stream_with_a_key_is_refused_in_one_sentence(two: Pair, key: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError, match="a stream is not kept"):
        await two.callers[0].stream("count", {"to": 1}, idempotency_key=key).read()


async def test_a_key_that_is_too_long_is_refused(two: Pair) -> None:
    with pytest.raises(InvalidArguments, match="257 bytes, 256 are allowed"):
        await two.callers[0].call("work", idempotency_key="k" * 257)


async def test_who_joins_counts_in_the_bound_of_the_queue(key: str) -> None:
    async with pair("", settings=settings(queue={"maxSize": 3})) as two:
        calls = [two.callers[0].start("work", idempotency_key=key)]
        await eventually(lambda: two.ran)
        calls += [two.callers[n % 2].start("work", idempotency_key=key) for n in range(6)]
        await eventually(lambda: two.waiting() == 7)
        for caller in two.callers:
            with pytest.raises(PoolSaturated):
                await caller.call("work", idempotency_key=key)
        two.let_go()
        await asyncio.gather(*calls)


# ---- what never started leaves the key free


@pytest.fixture
async def one(key: str) -> AsyncIterator[tuple[Running, Caller, SimulatedAgent]]:
    """One replica, one slot, a queue of two calls that wait a second."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(replica())
        caller = await stack.enter_async_context(calling(server.address))
        tight = settings(queue={"maxSize": 2, "timeoutSeconds": 0.5})
        agent = await stack.enter_async_context(simulated_agent(server.address, settings=tight))
        yield server, caller, agent
        agent.let_go()
        await eventually(lambda: not server.flow.idempotency.upkeep.entries and not server.flow.calls.count)


async def test_a_call_that_timed_out_in_the_queue_may_be_repeated(one: tuple[Running, Caller, SimulatedAgent], key: str) -> None:
    _, caller, agent = one
    blocker = caller.start("hang")
    await eventually(lambda: agent.running)
    with pytest.raises(QueueTimeout):
        await caller.call("echo", idempotency_key=key)
    agent.let_go()
    await blocker
    assert (await caller.call("echo", idempotency_key=key)).worker
    assert [call.tool for call in agent.calls] == ["hang", "echo"]


async def test_a_refused_call_may_be_repeated_with_other_arguments(one: tuple[Running, Caller, SimulatedAgent], key: str) -> None:
    _, caller, _ = one
    with pytest.raises(SessionNotFound):
        await caller.call("echo", {"n": 1}, session_id="absent", idempotency_key=key)
    assert (await caller.call("echo", {"n": 2}, idempotency_key=key)).worker


async def test_a_call_cancelled_in_the_queue_never_runs_and_frees_its_key(one: tuple[Running, Caller, SimulatedAgent], key: str) -> None:
    server, caller, agent = one
    blocker = caller.start("hang")
    await eventually(lambda: agent.running)
    doomed = caller.start("echo", {"n": 1}, idempotency_key=key)
    await eventually(lambda: server.flow.pools[POOL].queue.depth == 1)
    doomed.cancel()
    await eventually(lambda: server.flow.pools[POOL].queue.depth == 0)
    agent.let_go()
    await blocker
    assert (await caller.call("echo", {"n": 2}, idempotency_key=key)).worker
    assert len(agent.calls) == 2


async def test_who_joined_a_call_that_met_its_deadline_in_the_queue_is_run_in_its_place(
    one: tuple[Running, Caller, SimulatedAgent], key: str
) -> None:
    server, caller, agent = one
    blocker = caller.start("hang")
    await eventually(lambda: agent.running)
    hasty = caller.start("echo", idempotency_key=key, timeout=0.2)
    await eventually(lambda: server.flow.pools[POOL].queue.depth == 1)
    patient = caller.start("echo", idempotency_key=key)
    await eventually(lambda: server.flow.pools[POOL].queue.joined == 1)
    assert isinstance(await outcome(hasty), DeadlineExceeded)
    agent.let_go()
    assert (await patient).worker
    await blocker
    assert [call.tool for call in agent.calls] == ["hang", "echo"]


# ---- callers that go


async def test_a_cancelled_caller_leaves_alone(two: Pair, key: str) -> None:
    first = two.callers[0].start("work", idempotency_key=key)
    await eventually(lambda: two.ran)
    others = [caller.start("work", idempotency_key=key) for caller in (two.callers[0], two.callers[1], two.callers[1])]
    await eventually(lambda: two.waiting() == 4)
    for gone in (first, others[2]):
        gone.cancel()
    await eventually(lambda: two.waiting() == 2)
    two.let_go()
    assert [value(await call) for call in others[:2]] == [1, 1]
    assert not any(agent.cancelled for agent in two.agents)
    assert len(two.ran) == 1


async def test_a_caller_whose_connection_broke_finds_its_call_running(two: Pair, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_calls, "ALONE_SECONDS", 0.3)
    async with calling(two.servers[0].address) as broken:
        doomed = broken.start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
    await asyncio.gather(doomed, return_exceptions=True)
    repeat = two.callers[1].start("work", idempotency_key=key)
    entry = next(iter(two.servers[0].flow.idempotency.upkeep.entries.values()))
    await eventually(lambda: not entry.callers and entry.alone is None, "nobody waits at the first replica, for longer than it allows")
    two.let_go()
    assert value(await repeat) == 1
    assert not any(agent.cancelled for agent in two.agents)


async def test_a_tool_that_nobody_waits_for_is_cancelled_and_not_run_again(two: Pair, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_calls, "ALONE_SECONDS", 0.1)
    gone = two.callers[0].start("work", idempotency_key=key)
    await eventually(lambda: two.ran)
    gone.cancel()
    await eventually(lambda: two.agents[0].cancelled)
    await eventually(lambda: not two.servers[0].flow.idempotency.upkeep.entries)
    for caller in two.callers:
        with pytest.raises(Cancelled) as repeated:
            await caller.call("work", idempotency_key=key)
        assert repeated.value.started is Started.MAYBE
    assert len(two.ran) == 1


async def test_a_deadline_that_ended_a_running_tool_is_an_outcome(two: Pair, key: str) -> None:
    with pytest.raises(DeadlineExceeded):
        await two.callers[0].call("work", idempotency_key=key, timeout=0.3)
    await eventually(lambda: not two.servers[0].flow.idempotency.upkeep.entries)
    with pytest.raises(DeadlineExceeded) as repeated:
        await two.callers[1].call("work", idempotency_key=key)
    assert repeated.value.started is not Started.NO
    assert len(two.ran) == 1


# ---- the store and the replicas come and go


async def test_with_the_store_away_a_key_is_refused_at_once_and_other_calls_go_on(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        two.let_go()
        own_redis.kill()
        await eventually(lambda: two.servers[0].store.problem)
        async with asyncio.timeout(0.5):
            with pytest.raises(StoreUnavailable) as refused:
                await two.callers[0].call("work", idempotency_key=key)
            assert refused.value.started is Started.NO
            assert (await two.callers[0].call("work")).worker
        own_redis.start()
        await eventually(lambda: not two.servers[0].store.problem)
        assert (await two.callers[0].call("work", idempotency_key=key)).worker
        assert len(two.ran) == 2


async def test_a_result_that_the_store_could_not_take_is_answered_and_stored_when_it_is_back(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        first = two.callers[0].start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
        own_redis.freeze()
        two.let_go()
        assert value(await first) == 1
        assert value(await two.callers[0].call("work", idempotency_key=key)) == 1
        own_redis.thaw()
        await eventually(lambda: not two.servers[0].flow.idempotency.upkeep.entries)
        await eventually(lambda: not two.servers[1].store.problem)
        assert value(await two.callers[1].call("work", idempotency_key=key)) == 1
        assert len(two.ran) == 1


async def test_a_claim_that_may_have_reached_a_hanging_store_does_not_keep_the_key(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        two.let_go()
        own_redis.freeze()
        with pytest.raises(StoreUnavailable) as refused:
            await two.callers[0].call("work", idempotency_key=key)
        assert refused.value.started is Started.NO
        own_redis.thaw()
        await eventually(lambda: not two.servers[1].store.problem)
        assert value(await two.callers[1].call("work", idempotency_key=key)) == 1
        assert len(two.ran) == 1


async def test_after_a_flush_the_running_claim_is_written_down_again(own_redis: RedisServer, key: str) -> None:
    async with pair(own_redis.url) as two:
        first = two.callers[0].start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
        own_redis.command("FLUSHALL")
        await eventually(lambda: b"call:" in own_redis.command("KEYS", "*"))
        repeat = two.callers[1].start("work", idempotency_key=key)
        await eventually(lambda: two.waiting() == 2)
        two.let_go()
        assert [value(await first), value(await repeat)] == [1, 1]
        assert len(two.ran) == 1


async def test_a_repeat_after_a_restart_of_the_control_plane_gets_the_stored_result(shared_redis: RedisServer, key: str) -> None:
    async with pair(shared_redis.url) as two:
        two.let_go()
        await two.callers[0].call("work", idempotency_key=key)
    async with pair(shared_redis.url) as two:
        assert value(await two.callers[0].call("work", idempotency_key=key)) == 1
        assert not two.ran


async def test_a_replica_that_stops_stores_the_outcome_of_what_it_lets_finish(shared_redis: RedisServer, key: str) -> None:
    async with pair(shared_redis.url) as two:
        first = two.callers[0].start("work", idempotency_key=key)
        await eventually(lambda: two.ran)
        first.cancel()
        stopping = asyncio.create_task(two.servers[0].stop(linger=0, drain=5))
        await eventually(lambda: two.servers[0].stopping)
        repeat = two.callers[1].start("work", idempotency_key=key)
        await eventually(lambda: two.waiting() == 1)
        two.let_go()
        assert value(await repeat) == 1
        await stopping
        assert len(two.ran) == 1


@contextlib.contextmanager
def replica_process(store: str, log: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    address = f"127.0.0.1:{free_port()}"
    environment = {"SNAKEPIT_LISTEN": address, "SNAKEPIT_METRICS_LISTEN": "off", "SNAKEPIT_STORE": store}
    with log.open("wb") as output, subprocess.Popen(PROGRAM, env={**os.environ, **environment}, stderr=output) as process:
        try:
            yield process, address
        finally:
            process.kill()


def serves(process: subprocess.Popen[bytes], log: Path) -> bool:
    said = log.read_text()
    assert process.poll() is None, said
    return "serves on" in said


async def started(process: subprocess.Popen[bytes], log: Path) -> None:
    """A program takes its time on a loaded machine."""
    async with asyncio.timeout(30):
        while not serves(process, log):
            await asyncio.sleep(0.02)


async def test_the_call_of_a_replica_killed_with_9_becomes_worker_lost_maybe(shared_redis: RedisServer, key: str, tmp_path: Path) -> None:
    async with pair(shared_redis.url) as two:
        with replica_process(shared_redis.url, tmp_path / "log") as (process, address):
            await started(process, tmp_path / "log")
            async with simulated_agent(address, name="capsule-9") as agent, calling(address) as caller:
                doomed = caller.start("hang", idempotency_key=key)
                await eventually(lambda: agent.running)
                repeat = two.callers[0].start("hang", idempotency_key=key)
                await eventually(lambda: two.waiting() == 1)
                process.send_signal(signal.SIGKILL)
                for result in (await outcome(repeat), await outcome(two.callers[1].start("hang", idempotency_key=key))):
                    assert isinstance(result, WorkerLost)
                    assert (result.started, result.details["how"]) == (Started.MAYBE, "replica lost")
                await asyncio.gather(doomed, return_exceptions=True)
        assert not any(agent.calls for agent in two.agents)
