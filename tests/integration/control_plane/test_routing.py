"""Who gets which call, by when, and what comes back of it."""

import asyncio
from collections import Counter

import grpc
import pytest

import snakepit
from snakepit.errors import (
    DeadlineExceeded,
    InvalidArguments,
    PayloadTooLarge,
    PoolNotFound,
    SessionNotFound,
    SnakepitError,
    ToolNotFound,
)
from snakepit.v1 import common_pb2, link_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, collect, eventually, outcome, rpc, waiting
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent
from support.simulated_tools import success


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
            await caller.call("hang", timeout=4.0)
        assert 0 < agent.calls[0].timeout_seconds < 4.1
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
        assert seconds - 4 < agent.calls[0].timeout_seconds < seconds + 1e-6


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
