"""An idempotency key runs once; a repeat joins or gets the stored outcome, through whichever replica."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

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
    ToolError,
    WorkerLost,
)
from snakepit.v1 import link_pb2
from snakepit_control_plane.flow.idempotency import calls as keyed_calls
from snakepit_control_plane.server import Running
from support.control_plane import Caller, calling, counted, eventually, outcome, replica
from support.pairs import Pair, pair, value
from support.redis_server import RedisServer
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import payload


@pytest.fixture(params=["memory", "redis"])
async def two(request: pytest.FixtureRequest, shared_redis: RedisServer) -> AsyncIterator[Pair]:
    async with pair(shared_redis.url if request.param == "redis" else "") as made:
        yield made


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
    """One replica, one slot, a queue of two calls that wait eight seconds."""
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(replica())
        caller = await stack.enter_async_context(calling(server.address))
        tight = settings(queue={"maxSize": 2, "timeoutSeconds": 8})
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
    hasty = caller.start("echo", idempotency_key=key, timeout=4.0)
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
    monkeypatch.setattr(keyed_calls, "ALONE_SECONDS", 3.0)
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
        await two.callers[0].call("work", idempotency_key=key, timeout=4.0)
    await eventually(lambda: not two.servers[0].flow.idempotency.upkeep.entries)
    with pytest.raises(DeadlineExceeded) as repeated:
        await two.callers[1].call("work", idempotency_key=key)
    assert repeated.value.started is not Started.NO
    assert len(two.ran) == 1
