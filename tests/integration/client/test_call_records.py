"""What a replica tells of calls: those that are open, those that have ended, and whose they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import grpc
import pytest

from snakepit import Client
from snakepit.client import views
from snakepit.errors import CallNotFound, Cancelled, InvalidArguments, ReplicaLost, SnakepitError, ToolError
from snakepit.v1 import link_pb2, router_pb2
from snakepit_control_plane.server import Running
from support.control_plane import Caller, clients, eventually, replica
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import hang

WORKER = "capsule-0/0"


@pytest.fixture
async def agent(server: Running) -> AsyncIterator[SimulatedAgent]:
    async with simulated_agent(server.address) as agent:
        yield agent


def ways(call: views.CallInfo) -> list[tuple[str, str]]:
    times = [event.seconds for event in call.events]
    assert times == sorted(times)
    return [(event.what, event.detail) for event in call.events]


async def test_a_call_is_seen_in_the_queue_then_running_then_ended(server: Running, agent: SimulatedAgent, client: Client) -> None:
    pool = client.pool(POOL)
    before = datetime.now(UTC) - timedelta(seconds=1)
    first = asyncio.create_task(pool.call("hang", {}))
    await eventually(lambda: len(agent.running) == 1)
    second = asyncio.create_task(pool.call("echo", {"a": 1}, priority="high"))
    await eventually(lambda: server.flow.pools[POOL].queue.depth == 1)
    waiting, running = await pool.calls()
    assert (waiting.tool, waiting.state, waiting.worker, waiting.tries, waiting.started) == ("echo", "queued", "", 0, "no")
    assert (running.tool, running.state, running.worker, running.tries, running.started) == ("hang", "running", WORKER, 1, "maybe")
    assert running.replica == waiting.replica == server.replica
    assert waiting.reason == running.reason == ""
    agent.let_go()
    await asyncio.gather(first, second)
    ended = await pool.call_info(waiting.id)
    assert (ended.state, ended.reason, ended.started, ended.priority) == ("ended", "OK", "yes", "high")
    assert (ended.worker, ended.incarnation) == (WORKER, agent.lives[WORKER])
    assert before < ended.created < datetime.now(UTC) + timedelta(seconds=1)
    assert ended.run_seconds == pytest.approx(0.001)
    assert 0 < ended.queue_seconds <= ended.total_seconds
    assert ended.bytes_in > 0 < ended.bytes_out
    assert ways(ended) == [("queued", ""), ("sent", WORKER), ("answered", "OK")]
    assert [call.state for call in await pool.calls()] == ["ended", "ended"]
    assert [event for call in await pool.calls() for event in call.events] == []


async def test_calls_are_found_by_what_is_known_of_them(server: Running, agent: SimulatedAgent, client: Client) -> None:
    pool = client.pool(POOL)
    async with pool.session("s"):
        pass
    await pool.call("echo", {})
    await pool.session("s").call("echo", {})
    with pytest.raises(ToolError):
        await pool.call("fail", {})
    with pytest.raises(SnakepitError):
        await pool.call("nothing", {})
    hanging = asyncio.create_task(pool.call("hang", {}))
    await eventually(lambda: len(agent.running) == 1)
    slowest = max(call.total_seconds for call in await pool.calls(state="ended"))

    async def found(**wanted: object) -> list[str]:
        return [call.tool for call in await pool.calls(**wanted)]

    assert await found() == ["hang", "nothing", "fail", "echo", "echo"]
    assert await found(limit=2) == ["hang", "nothing"]
    assert await found(state="running") == ["hang"]
    assert await found(state="queued") == []
    assert await found(state="ended", tool="echo") == ["echo", "echo"]
    assert await found(session="s") == ["echo"]
    assert await found(reason="TOOL_NOT_FOUND") == ["nothing"]
    assert await eventually(lambda: found(slower_than=slowest + 0.001), "it takes longer than they did") == ["hang"]
    assert await found(caller="nobody") == []
    (failed,) = await pool.calls(reason="TOOL_ERROR")
    assert (failed.error_type, failed.started) == ("ValueError", "yes")
    assert await found(reason="ValueError") == ["fail"], "what `snakepit calls` has in the column of reasons"
    with pytest.raises(InvalidArguments, match="state 'gone' is unknown"):
        await pool.calls(state="gone")  # type: ignore[arg-type]
    with pytest.raises(InvalidArguments, match="limit -1"):
        await pool.calls(limit=-1)
    with pytest.raises(TypeError, match="sesion"):
        await client.calls(sesion="s")  # type: ignore[call-arg]
    with pytest.raises(CallNotFound, match="maxCallRecords"):
        await pool.call_info("nobody")
    agent.let_go()
    await hanging


async def test_a_call_is_cancelled_wherever_it_is(server: Running, agent: SimulatedAgent, client: Client) -> None:
    pool = client.pool(POOL)
    calls = [asyncio.create_task(pool.call("hang", {}))]
    await eventually(lambda: len(agent.running) == 1)
    calls.append(asyncio.create_task(pool.call("echo", {})))
    await eventually(lambda: server.flow.pools[POOL].queue.depth == 1)
    for info in await pool.calls():
        assert await pool.cancel(info.id)
        assert not await pool.cancel(info.id)
    for call in calls:
        with pytest.raises(Cancelled, match="the call was cancelled, as asked for"):
            await call
    await eventually(lambda: len(agent.cancelled) == 1)
    assert {call.reason for call in await pool.calls()} == {"CANCELLED"}


async def test_an_id_that_is_empty_is_no_calls(agent: SimulatedAgent, client: Client) -> None:
    pool = client.pool(POOL)
    hanging = asyncio.create_task(pool.call("hang", {}))
    await eventually(lambda: len(agent.running) == 1)
    assert not await pool.cancel("")
    with pytest.raises(CallNotFound):
        await pool.call_info("")
    agent.let_go()
    await hanging


async def test_a_call_that_its_agent_gives_back_has_each_of_its_ways(server: Running, agent: SimulatedAgent, client: Client) -> None:
    pool, told = client.pool(POOL), iter(("NO_SLOT", "RECALLED"))

    def give_back(call: link_pb2.Call) -> None:
        if (reason := next(told, "")) == "":
            agent.take(call)
        else:
            agent.send(reject=link_pb2.Reject(id=call.id, reason=reason))
            agent.send(load=link_pb2.Load(workers=[link_pb2.Load.WorkerLoad(worker=call.worker, incarnation=call.incarnation)]))

    agent.on_call = give_back
    await pool.call("echo", {})
    (call,) = await pool.calls()
    call = await pool.call_info(call.id)
    assert call.tries == 3
    back = [way for way in ways(call) if way[0] != "queued"]
    assert back == [("sent", WORKER), ("rejected", "NO_SLOT"), ("sent", WORKER), ("recalled", WORKER), ("sent", WORKER), ("answered", "OK")]


async def test_a_session_is_bound_and_bound_anew(server: Running, agent: SimulatedAgent, client: Client) -> None:
    pool = client.pool(POOL)
    async with pool.session("s") as session:
        for _ in range(2):
            await session.call("echo", {})
        await session.rebind()
        await session.call("echo", {})
    found = [await pool.call_info(call.id) for call in reversed(await pool.calls(session="s"))]
    assert [[what for what, _ in ways(call) if what in ("bound", "rebound")] for call in found] == [["bound"], [], ["rebound"]]


async def test_a_trace_and_a_stream_are_told(server: Running, agent: SimulatedAgent, client: Client, caller: Caller) -> None:
    pool = client.pool(POOL)
    assert [each async for each in pool.stream("count", {"to": 3})] == [0, 1, 2]
    (streamed,) = await pool.calls(tool="count")
    assert (streamed.reason, streamed.trace_id) == ("OK", "")
    trace = "0af7651916cd43dd8448eb211c80319c"
    await caller.router.Execute(
        router_pb2.ExecuteRequest(pool=POOL, tool="echo"), metadata=(("traceparent", f"00-{trace}-b7ad6b7169203331-01"),)
    )
    (traced,) = await pool.calls(tool="echo")
    assert traced.trace_id == trace


async def test_without_room_for_records_open_calls_are_told_and_nothing_is_remembered() -> None:
    async with replica(max_call_records=0) as server, simulated_agent(server.address) as agent, Client(server.address) as client:
        pool = client.pool(POOL)
        await pool.call("echo", {})
        hanging = asyncio.create_task(pool.call("hang", {}))
        await eventually(lambda: len(agent.running) == 1)
        assert [call.tool for call in await pool.calls()] == ["hang"]
        assert (await pool.history()).minutes == []
        agent.let_go()
        await hanging


async def test_a_stream_is_cancelled_too(server: Running, agent: SimulatedAgent, client: Client, caller: Caller) -> None:
    began = asyncio.Event()

    async def endless(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        began.set()
        return await hang(agent, call)

    agent.tools["count"] = endless
    pool = client.pool(POOL)
    ways_of_calling = (lambda: anext(aiter(pool.stream("count", {"to": 1}))), lambda: caller.stream("count", {"to": 1}).read())
    for way in ways_of_calling:
        began.clear()
        stream = asyncio.ensure_future(way())
        await began.wait()
        (running,) = await pool.calls(state="running")
        assert await pool.cancel(running.id)
        with pytest.raises((Cancelled, grpc.aio.AioRpcError), match="cancelled, as asked for"):
            await stream
        await eventually(lambda: not agent.running)


async def test_a_replica_that_goes_while_all_are_asked_is_lost_and_whoever_asked_is_not_cancelled(
    server: Running, agent: SimulatedAgent, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = asyncio.Event()

    async def silent(*_: object) -> None:
        asked.set()
        await asyncio.Event().wait()

    await eventually(lambda: client.links == 1)
    monkeypatch.setattr(server.door, "caller", silent)
    asking = asyncio.create_task(client.pool(POOL).calls())
    await asked.wait()
    clients(server)[0].close("the test cuts it")
    with pytest.raises(ReplicaLost):
        await asking
