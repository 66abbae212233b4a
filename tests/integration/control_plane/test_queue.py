"""The queue: who waits in it and for how long, and what is refused."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
import pytest

import snakepit
from snakepit.errors import (
    DeadlineExceeded,
    PoolNotReady,
    PoolSaturated,
    QueueTimeout,
    Started,
)
from snakepit.v1 import link_pb2, pool_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, counted, eventually, may_use, outcome, replica, rpc, waiting
from support.simulated_agent import POOL, settings, simulated_agent

TIGHT = settings(queue={"maxSize": 2, "timeoutSeconds": 1})
PATIENT = settings(queue={"maxSize": 2, "timeoutSeconds": 30})


async def test_a_full_queue_refuses_at_once_with_retry_info_and_a_counter(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=PATIENT) as agent:
        calls = [caller.start("hang") for _ in range(3)]
        await eventually(lambda: waiting(server) == 2)
        with pytest.raises(PoolSaturated) as refused:
            await caller.call("hang")
        agent.let_go()
        await asyncio.gather(*calls)
        assert refused.value.retry_after is not None
        assert refused.value.retry_after > 0
        assert refused.value.started is Started.NO
        assert (refused.value.details["limit"], refused.value.details["calls"]) == ("queue.maxSize", "2")
        assert counted(server, "snakepit_refusals_total", pool=POOL, reason="POOL_SATURATED") == 1
        assert len(agent.calls) == 3


async def test_a_queued_call_past_its_timeout_fails_once_and_never_runs(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=TIGHT) as agent:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        with pytest.raises(QueueTimeout):
            await caller.call("echo")
        agent.let_go()
        await first
        await caller.call("hang")
        assert [call.tool for call in agent.calls] == ["hang", "hang"]


@pytest.mark.parametrize("end", ["deadline", "cancel"])
async def test_a_call_that_ends_in_the_queue_leaves_it_at_once_and_never_runs(server: Running, caller: Caller, end: str) -> None:
    async with simulated_agent(server.address, settings=PATIENT) as agent:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        doomed = [caller.start("echo", timeout=4.0 if end == "deadline" else 20) for _ in range(2)]
        await eventually(lambda: waiting(server) == 2)
        if end == "cancel":
            for task in doomed:
                task.cancel()
        results = await asyncio.gather(*doomed, return_exceptions=True)
        assert all(isinstance(result, DeadlineExceeded | asyncio.CancelledError) for result in results)
        await eventually(lambda: waiting(server) == 0)
        patient = [caller.start("hang") for _ in range(2)]
        await eventually(lambda: waiting(server) == 2)
        agent.let_go()
        await asyncio.gather(first, *patient)
        assert Counter(call.tool for call in agent.calls) == {"hang": 3}


Way = Callable[[Caller, snakepit.Pool, float], Awaitable[object]]


async def plain_stream(caller: Caller, pool: snakepit.Pool, timeout: float) -> object:
    return await rpc(caller.stream("count", {"to": 1}, timeout=timeout).read())


async def sdk_call(caller: Caller, pool: snakepit.Pool, timeout: float) -> object:
    return await pool.call("echo", timeout=timeout)


async def sdk_stream(caller: Caller, pool: snakepit.Pool, timeout: float) -> object:
    return await anext(pool.stream("count", {"to": 1}, timeout=timeout))


async def sdk_large_call(caller: Caller, pool: snakepit.Pool, timeout: float) -> object:
    return await pool.call("echo", {"value": bytes(1024 * 1024)}, timeout=timeout)


@pytest.mark.parametrize("way", [plain_stream, sdk_call, sdk_stream, sdk_large_call])
@pytest.mark.parametrize("end", ["deadline", "cancel", "queue time-out"])
async def test_whatever_way_it_came_a_call_leaves_the_queue_at_once_and_never_runs(
    server: Running, caller: Caller, end: str, way: Way
) -> None:
    queue = settings(queue={"maxSize": 2, "timeoutSeconds": 4 if end == "queue time-out" else 60})
    async with simulated_agent(server.address, settings=queue) as agent, snakepit.Client(server.address) as client:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        await may_use(client, 1)
        began = asyncio.get_running_loop().time()
        doomed = asyncio.create_task(way(caller, client.pool(POOL), 4.0 if end == "deadline" else 30))
        await eventually(lambda: waiting(server) == 1)
        if end == "cancel":
            doomed.cancel()
        (result,) = await asyncio.gather(doomed, return_exceptions=True)
        assert isinstance(result, {"deadline": DeadlineExceeded, "cancel": asyncio.CancelledError, "queue time-out": QueueTimeout}[end])
        await eventually(lambda: waiting(server) == 0)
        assert asyncio.get_running_loop().time() - began < 15
        agent.let_go()
        await first
        await caller.call("hang")
        assert [call.tool for call in agent.calls] == ["hang", "hang"]
        assert not server.flow.calls.count


@pytest.mark.parametrize("way", [plain_stream, sdk_call, sdk_stream, sdk_large_call])
async def test_whatever_way_it_came_a_call_is_refused_at_once_by_a_full_queue(server: Running, caller: Caller, way: Way) -> None:
    full = settings(queue={"maxSize": 1, "timeoutSeconds": 60})
    async with simulated_agent(server.address, settings=full) as agent, snakepit.Client(server.address) as client:
        calls = [caller.start("hang") for _ in range(2)]
        await eventually(lambda: agent.running and waiting(server) == 1)
        with pytest.raises(PoolSaturated) as refused:
            await way(caller, client.pool(POOL), 30)
        assert refused.value.started is Started.NO
        assert refused.value.retry_after
        assert waiting(server) == 1
        agent.let_go()
        await asyncio.gather(*calls)
        assert len(agent.calls) == 2


async def test_a_pool_that_never_was_ready_says_so_at_once_in_its_workers_own_words(server: Running, caller: Caller) -> None:
    starting = pool_pb2.WORKER_STATE_BACKOFF
    async with simulated_agent(server.address, state=starting, reason="SetupFailed", message="KeyError: 'MODEL'"):
        with pytest.raises(PoolNotReady, match="SetupFailed: KeyError: 'MODEL'"):
            await caller.call("echo")


async def test_a_pool_scaled_to_zero_queues_its_calls_until_a_worker_is_there(server: Running, caller: Caller) -> None:
    server.fleet.sync([settings(replicas=0)], complete=False, drain=[])
    call = caller.start("echo")
    await eventually(lambda: waiting(server) == 1)
    async with simulated_agent(server.address, settings=settings(replicas=0)):
        assert (await call).worker


async def test_a_pool_that_was_ready_a_moment_ago_queues_its_calls(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        await caller.call("echo")
    await eventually(lambda: server.flow.pools[POOL].ready_workers == 0)
    call = caller.start("echo")
    await eventually(lambda: waiting(server) == 1)
    async with simulated_agent(server.address, name="capsule-1"):
        assert (await call).worker == "capsule-1/0"


BRIEF = {"timeoutSeconds": 1, "activationTimeoutSeconds": 30}


async def test_calls_of_a_session_wait_for_a_pool_to_scale_up_for_as_long_as_others(server: Running, caller: Caller) -> None:
    zero = settings(replicas=0, queue=BRIEF)
    server.fleet.sync([zero], complete=False, drain=[])
    await caller.create("s")
    began = server.flow.clock()
    calls = [caller.start("echo"), *(caller.start("echo", session_id="s") for _ in range(2))]
    await eventually(lambda: waiting(server) == 3 and server.flow.clock() - began > 1.5)
    async with simulated_agent(server.address, settings=zero):
        assert {(await call).worker for call in calls} == {"capsule-0/0"}


async def test_calls_that_wait_when_the_last_worker_goes_have_as_long_as_those_that_come_then(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=settings(queue=BRIEF)) as agent:
        arrived: list[link_pb2.Call] = []
        agent.on_call = arrived.append
        unstarted = caller.start("echo")
        await eventually(lambda: arrived)
        waits = caller.start("echo")
        await eventually(lambda: waiting(server) == 1)
        agent.state = pool_pb2.WORKER_STATE_STARTING
        agent.report()
        agent.send(reject=link_pb2.Reject(id=arrived[0].id, reason="WORKER_GONE"))
        began = server.flow.clock()
        await eventually(lambda: waiting(server) == 2 and server.flow.clock() - began > 1.5)
        async with simulated_agent(server.address, settings=settings(queue=BRIEF), name="capsule-1"):
            assert {(await call).worker for call in (unstarted, waits)} == {"capsule-1/0"}


async def test_a_rejected_call_goes_before_those_that_came_after_it(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        arrived: list[link_pb2.Call] = []
        agent.on_call = arrived.append
        calls = [caller.start("echo", metadata={"n": "0"})]
        await eventually(lambda: arrived)
        for n in range(1, 4):
            calls.append(caller.start("echo", metadata={"n": str(n)}))
            await eventually(lambda n=n: waiting(server) == n)
        agent.on_call = agent.take
        agent.send(reject=link_pb2.Reject(id=arrived[0].id, reason="NO_SLOT"))
        await eventually(lambda: waiting(server) == 4)
        agent.send(load=link_pb2.Load(workers=[link_pb2.Load.WorkerLoad(worker=w, incarnation=i) for w, i in agent.lives.items()]))
        await asyncio.gather(*calls)
        assert [call.metadata["n"] for call in agent.calls] == ["0", "1", "2", "3"]


async def test_what_a_call_has_waited_in_the_queue_is_not_forgotten_when_it_is_rejected(server: Running, caller: Caller) -> None:
    rejected: list[int] = []

    def reject(call: link_pb2.Call) -> None:
        rejected.append(call.id)
        agent.send(reject=link_pb2.Reject(id=call.id, reason="NO_SLOT"))
        asyncio.get_running_loop().call_later(0.1, agent.report)  # Now there seems to be room.

    async with simulated_agent(server.address, settings=settings(queue={"timeoutSeconds": 4})) as agent:
        agent.on_call = reject
        with pytest.raises(QueueTimeout, match=r"waited [4-9]") as refused:
            await caller.call("echo")
        assert refused.value.started is Started.NO
        assert len(rejected) > 1
        assert waiting(server) == 0


async def test_who_waits_for_a_new_pools_first_worker_is_told_why_no_worker_can_start_as_soon_as_that_is_known() -> None:
    async with replica(told=False) as server, grpc.aio.insecure_channel(server.address) as channel:
        server.fleet.roster.tell([settings()], [], complete=True)
        call = Caller(channel).start("echo")
        await eventually(lambda: waiting(server) == 1)
        fault = {"reason": "SetupFailed", "message": "LookupError: no model"}
        async with simulated_agent(server.address, state=pool_pb2.WORKER_STATE_STARTING, reason="Starting") as agent:
            assert not call.done()
            agent.state, agent.reason, agent.message = pool_pb2.WORKER_STATE_BACKOFF, fault["reason"], fault["message"]
            agent.report()
            told = await outcome(call)
    assert isinstance(told, PoolNotReady)
    assert "SetupFailed: LookupError: no model" in told.message
    assert told.started is Started.NO
