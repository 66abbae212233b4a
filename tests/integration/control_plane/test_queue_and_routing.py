"""The queue, its refusals, and who gets which call."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

import grpc
import pytest

import snakepit
from snakepit._wire.bulk import LaneBroken
from snakepit.errors import (
    DeadlineExceeded,
    InvalidArguments,
    PayloadTooLarge,
    PoolNotFound,
    PoolNotReady,
    PoolSaturated,
    QueueTimeout,
    SessionNotFound,
    SnakepitError,
    Started,
    ToolNotFound,
)
from snakepit.v1 import common_pb2, link_pb2, pool_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, counted, eventually, outcome, replica, rpc
from support.simulated_agent import POOL, SimulatedAgent, payload, settings, simulated_agent, success

TIGHT = settings(queue={"maxSize": 2, "timeoutSeconds": 1})


def waiting(server: Running) -> int:
    return server.flow.pools[POOL].queue.depth


async def test_a_full_queue_refuses_at_once_with_retry_info_and_a_counter(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, settings=TIGHT) as agent:
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
    async with simulated_agent(server.address, settings=TIGHT) as agent:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        doomed = [caller.start("echo", timeout=0.2 if end == "deadline" else 10) for _ in range(2)]
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
    queue = settings(queue={"maxSize": 2, "timeoutSeconds": 1 if end == "queue time-out" else 60})
    async with simulated_agent(server.address, settings=queue) as agent, snakepit.Client(server.address) as client:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        began = asyncio.get_running_loop().time()
        doomed = asyncio.create_task(way(caller, client.pool(POOL), 1.5 if end == "deadline" else 30))
        await eventually(lambda: waiting(server) == 1)
        if end == "cancel":
            doomed.cancel()
        (result,) = await asyncio.gather(doomed, return_exceptions=True)
        assert isinstance(result, {"deadline": DeadlineExceeded, "cancel": asyncio.CancelledError, "queue time-out": QueueTimeout}[end])
        await eventually(lambda: waiting(server) == 0)
        assert asyncio.get_running_loop().time() - began < 5
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


async def test_an_unknown_pool_or_tool_is_not_found_and_the_nearest_names_are_told(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        with pytest.raises(PoolNotFound, match=r"'default/tset'.*default/test"):
            await caller.call("echo", pool="default/tset")
        with pytest.raises(ToolNotFound, match=r"'ecko'.*echo") as refused:
            await caller.call("ecko")
        assert refused.value.details["nearest"] == "echo"


@pytest.mark.parametrize("letter", ["x", "ä", "\n", "🐍"])
async def test_an_error_that_has_much_to_say_is_clipped_and_keeps_its_status_and_reason(
    server: Running, caller: Caller, letter: str
) -> None:
    async def refuse(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        details = {"nearest": letter * 100_000, "field": letter * 100_000}
        return link_pb2.Result(error=common_pb2.Error(reason="INVALID_ARGUMENTS", message=letter * 100_000, details=details))

    async with simulated_agent(server.address, tools={"refuse": refuse}):
        for refused, error in (
            (caller.call("refuse"), InvalidArguments),
            (caller.call(letter * 10_000), ToolNotFound),
            (caller.call("refuse", session_id=letter * 10_000), SessionNotFound),
        ):
            with pytest.raises(error) as caught:
                await refused
            assert caught.value.message.endswith("…") or len(caught.value.message) < 1200
            assert caught.value.message


@pytest.mark.parametrize("field", ["affinity", "priority"])
async def test_an_affinity_or_a_priority_that_there_is_not_is_refused(server: Running, caller: Caller, field: str) -> None:
    async with simulated_agent(server.address) as agent:
        for refused in (caller.call("echo", **{field: 99}), rpc(caller.stream("count", {"to": 1}, **{field: 99}).read())):
            with pytest.raises(InvalidArguments, match=f"{field} 99"):
                await refused
        assert not agent.calls


async def test_a_bare_pool_name_means_the_default_namespace(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        assert (await caller.call("echo", pool="test")).worker == "capsule-0/0"


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


BRIEF = {"timeoutSeconds": 0.3, "activationTimeoutSeconds": 30}


async def test_calls_of_a_session_wait_for_a_pool_to_scale_up_for_as_long_as_others(server: Running, caller: Caller) -> None:
    zero = settings(replicas=0, queue=BRIEF)
    server.fleet.sync([zero], complete=False, drain=[])
    await caller.create("s")
    began = server.flow.clock()
    calls = [caller.start("echo"), *(caller.start("echo", session_id="s") for _ in range(2))]
    await eventually(lambda: waiting(server) == 3 and server.flow.clock() - began > 1)
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
        await eventually(lambda: waiting(server) == 2 and server.flow.clock() - began > 1)
        async with simulated_agent(server.address, settings=settings(queue=BRIEF), name="capsule-1"):
            assert {(await call).worker for call in (unstarted, waits)} == {"capsule-1/0"}


async def test_the_server_waits_for_calls_in_one_place_and_not_in_one_for_each_method(server: Running) -> None:
    """grpcio's own server looks at all of them at each call."""
    waiting = [task.get_coro().__qualname__ for task in asyncio.all_tasks() if "request" in task.get_coro().__qualname__]  # type: ignore[union-attr]
    assert waiting == ["AioServer._request_call"]


async def test_calls_spread_evenly_over_idle_workers(server: Running, caller: Caller) -> None:
    """Between two heartbeats: with each one the workers' turns begin anew."""
    rare = settings(heartbeat={"intervalSeconds": 60, "timeoutSeconds": 300})
    async with simulated_agent(server.address, settings=rare, workers=4, beat_seconds=60) as agent:
        for _ in range(20):
            await caller.call("echo")
        assert set(Counter(call.worker for call in agent.calls).values()) == {5}
        agent.calls.clear()
        calls = [caller.start("hang") for _ in range(4)]
        await eventually(lambda: len(agent.calls) == 4)
        agent.let_go()
        await asyncio.gather(*calls)
        assert set(Counter(call.worker for call in agent.calls).values()) == {1}


async def test_a_fast_failing_worker_attracts_no_extra_traffic(server: Running, caller: Caller) -> None:
    async def sometimes(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        if call.worker.endswith("/0"):
            return link_pb2.Result(error={"reason": "INTERNAL", "message": "broken"}, run_seconds=0.0)
        await asyncio.sleep(0.02)
        return success("fine", 0.02)

    async with simulated_agent(server.address, workers=4, tools={"work": sometimes}) as agent:
        # Until a first call has succeeded, nobody knows that others fare better.
        while isinstance(await outcome(caller.start("work")), SnakepitError):
            continue
        before = len([call for call in agent.calls if call.worker == "capsule-0/0"])
        gate = asyncio.Semaphore(4)

        async def one() -> None:
            async with gate:
                await outcome(caller.start("work"))

        await asyncio.gather(*(one() for _ in range(200)))
        shares = Counter(call.worker for call in agent.calls)
        assert shares["capsule-0/0"] - before <= 200 / 4 * 1.5, shares
        assert server.telemetry.calls.value(POOL, "work", "INTERNAL") == shares["capsule-0/0"]


async def test_every_failure_is_counted_with_its_reason_and_its_tool(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        for _ in range(3):
            await caller.call("fail")
        await caller.call("echo")
        await outcome(caller.start("nonsense"))
        calls = server.telemetry.calls
        assert calls.value(POOL, "fail", "TOOL_ERROR") == 3
        assert calls.value(POOL, "echo", "OK") == 1
        assert calls.value(POOL, "", "TOOL_NOT_FOUND") == 1


async def test_a_worker_gets_no_more_calls_than_it_has_slots_unless_they_are_known_to_be_quick(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=3, slots=2) as agent:
        calls = [caller.start("hang") for _ in range(200)]
        await eventually(lambda: waiting(server) == 194)
        assert agent.most_running == dict.fromkeys(agent.lives, 2)
        agent.let_go()
        await asyncio.gather(*calls)
        assert len(agent.calls) == 200


async def test_streams_arrive_in_order_and_queue_like_unary_calls(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        first = caller.start("hang")
        await eventually(lambda: agent.running)
        stream = caller.stream("count", {"to": 5})
        reader = asyncio.create_task(collect(stream))
        await eventually(lambda: waiting(server) == 1)
        agent.let_go()
        await first
        chunks = await reader
        assert [chunk.json.number_value for chunk in chunks[:-1]] == [0, 1, 2, 3, 4]
        assert [chunk.index for chunk in chunks] == [0, 1, 2, 3, 4, 5]
        assert [chunk.last for chunk in chunks] == [False] * 5 + [True]
        await caller.call("echo")


async def test_a_slow_consumer_holds_back_its_own_stream_only(server: Running, caller: Caller) -> None:
    taken: list[int] = []

    async def many(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        chunks = [link_pb2.Chunk(payload=payload("x" * 100_000), last=i == 199) for i in range(200)]
        taken.append(await agent.pipe(call, chunks))
        return link_pb2.Result()

    async with simulated_agent(server.address, workers=2) as agent:
        agent.tools["many"] = many
        agent.offer()
        await eventually(lambda: "many" in server.flow.pools[POOL].tools)
        stream = caller.stream("many", {})
        assert (await stream.read()).index == 0
        await caller.call("echo")
        assert not taken
        chunks = await collect(stream)
        assert len(chunks) == 199
        await eventually(lambda: taken == [200])


async def test_a_caller_that_leaves_its_stream_stops_the_producer(server: Running, caller: Caller) -> None:
    ends: list[str] = []

    async def endless(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        try:
            await agent.pipe(call, [link_pb2.Chunk(payload=payload(i)) for i in range(100_000)])
            ends.append("all was taken")
        except LaneBroken:
            ends.append("broken off")
        return link_pb2.Result()

    async with simulated_agent(server.address) as agent:
        agent.heeds_cancels = False  # The stream's own end must do.
        agent.tools["endless"] = endless
        agent.offer()
        await eventually(lambda: "endless" in server.flow.pools[POOL].tools)
        stream = caller.stream("endless", {})
        await stream.read()
        stream.cancel()
        await eventually(lambda: agent.cancelled)
        await caller.call("echo")
        assert ends == ["broken off"]


async def test_a_tools_exception_mid_stream_arrives_as_itself(server: Running, caller: Caller) -> None:
    async def broken(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        end = link_pb2.Chunk(tool_error={"type": "ValueError", "message": "no", "traceback": "tb"}, last=True)
        await agent.pipe(call, [link_pb2.Chunk(payload=payload(1)), end])
        return link_pb2.Result()

    async with simulated_agent(server.address, tools={"broken": broken}):
        chunks = await collect(caller.stream("broken", {}))
        assert chunks[0].json.number_value == 1
        assert (chunks[1].tool_error.type, chunks[1].last) == ("ValueError", True)


async def test_a_tools_exception_is_a_result_with_type_message_and_traceback(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        response = await caller.call("fail")
        assert (response.tool_error.type, response.tool_error.message) == ("ValueError", "no")
        assert response.tool_error.traceback


async def test_a_cancelled_call_frees_its_slot_only_when_the_tool_has_stopped(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        agent.heeds_cancels = False
        call = caller.start("hang")
        await eventually(lambda: agent.running)
        call.cancel()
        await eventually(lambda: agent.cancelled)
        waits = caller.start("echo")
        await eventually(lambda: waiting(server) == 1)
        agent.let_go()
        assert (await waits).worker


async def test_a_deadline_passes_on_and_ends_the_call(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address) as agent:
        with pytest.raises(DeadlineExceeded):
            await caller.call("hang", timeout=0.3)
        assert 0 < agent.calls[0].timeout_seconds < 0.31
        await eventually(lambda: agent.cancelled)


UNSAID = [("echo", False, 20.0), ("brief", False, 5.0), ("count", True, 30.0), ("brief stream", True, 5.0)]
"""A tool, whether it streams, and how long its call may take whose caller says nothing of it."""


@pytest.mark.parametrize("way", ["plain gRPC", "SDK"])
@pytest.mark.parametrize(("tool", "stream", "seconds"), UNSAID, ids=[each[0] for each in UNSAID])
async def test_a_call_without_a_deadline_has_its_tools_else_its_pools(
    server: Running, caller: Caller, way: str, tool: str, stream: bool, seconds: float
) -> None:
    limits = settings(call={"timeoutSeconds": 20, "streamTimeoutSeconds": 30})
    async with simulated_agent(server.address, settings=limits) as agent, snakepit.Client(server.address) as client:
        agent.tools |= {"brief": agent.tools["echo"], "brief stream": agent.tools["count"]}
        own = {"brief": 5.0, "brief stream": 5.0}
        agent.send(offer=link_pb2.Offer(tools=[common_pb2.Tool(name=name, timeout_seconds=own.get(name, 0)) for name in agent.tools]))
        await eventually(lambda: "brief" in server.flow.pools[POOL].tools)
        if way == "SDK":
            pool = client.pool(POOL)
            await (anext(pool.stream(tool, {"to": 1})) if stream else pool.call(tool, {"to": 1}))
        elif stream:
            await collect(caller.stream(tool, {"to": 1}, timeout=None))
        else:
            await caller.call(tool, timeout=None)
        # What is left when it is sent; a sum and a difference of floats may be an ulp more.
        assert seconds - 1 < agent.calls[0].timeout_seconds < seconds + 1e-6


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

    async with simulated_agent(server.address, settings=settings(queue={"timeoutSeconds": 0.5})) as agent:
        agent.on_call = reject
        with pytest.raises(QueueTimeout, match=r"waited 0\.5") as refused:
            await caller.call("echo", timeout=5)
        assert refused.value.started is Started.NO
        assert len(rejected) > 1
        assert waiting(server) == 0


async def test_a_rejected_call_runs_elsewhere(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, name="full") as full, simulated_agent(server.address, name="other"):
        full.on_call = lambda call: full.send(reject=link_pb2.Reject(id=call.id, reason="NO_SLOT"))
        workers = {(await caller.call("echo")).worker for _ in range(6)}
        assert workers == {"other/0"}


async def test_arguments_over_the_limit_are_refused_with_its_name(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address):
        request = router_pb2.ExecuteRequest(pool=POOL, tool="echo")
        request.payload.data = b"x" * (4 * 1024 * 1024 + 1)
        big = Caller(grpc.aio.insecure_channel(server.address, options=[("grpc.max_send_message_length", -1)]))
        with pytest.raises(PayloadTooLarge, match="maxPayloadBytes") as refused:
            await rpc(big.router.Execute(request, timeout=5))
        assert refused.value.details["limit"] == "maxPayloadBytes"


async def collect(stream: object) -> list[router_pb2.ExecuteStreamResponse]:
    async with asyncio.timeout(10):
        chunks = []
        while (chunk := await stream.read()) is not grpc.aio.EOF:  # type: ignore[attr-defined]
            chunks.append(chunk)
        return chunks


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
