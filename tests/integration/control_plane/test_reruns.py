"""What may have run is run again only where its tool says so, elsewhere, in time, and not too often."""

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from snakepit._retry import FLOOR
from snakepit.errors import Cancelled, DeadlineExceeded, PoolNotReady, Started, WorkerLost
from snakepit.v1 import link_pb2
from snakepit_control_plane.model.nesting import Nest, nest_of
from snakepit_control_plane.policy.reruns import MOST_GONE
from snakepit_control_plane.server import Running
from support.control_plane import Caller, counted, eventually, outcome
from support.simulated_agent import POOL, SimulatedAgent, simulated_agent
from support.simulated_tools import payload, success


class Fatal:
    """A tool that kills its worker the first `times` times."""

    def __init__(self, times: int) -> None:
        self.left = times
        self.workers: list[str] = []

    async def __call__(self, agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        self.workers.append(call.incarnation)
        self.left -= 1
        if self.left >= 0:
            asyncio.get_running_loop().call_soon(agent.replace_worker, call.worker)
            await asyncio.Event().wait()
        return success("survived")


@pytest.fixture
async def agent(server: Running) -> AsyncIterator[SimulatedAgent]:
    async with simulated_agent(server.address, workers=2, idempotent=frozenset({"fatal"})) as running:
        yield running
        await eventually(lambda: not server.flow.calls.count)


async def offer(server: Running, agent: SimulatedAgent, **tools: object) -> None:
    agent.tools.update(tools)  # type: ignore[arg-type]
    agent.offer()
    await eventually(lambda: tools.keys() <= server.flow.pools[POOL].tools.keys())


async def test_an_idempotent_call_whose_worker_died_runs_on_another(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    fatal = Fatal(2)
    await offer(server, agent, fatal=fatal)
    assert (await caller.call("fatal")).json.string_value == "survived"
    assert len(set(fatal.workers)) == 3
    assert counted(server, "snakepit_reruns_total", pool=POOL) == 2
    assert server.telemetry.calls.value(POOL, "fatal", "OK") == 1


async def test_a_call_that_loses_three_workers_fails_maybe(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    fatal = Fatal(3)
    await offer(server, agent, fatal=fatal)
    with pytest.raises(WorkerLost) as lost:
        await caller.call("fatal")
    assert lost.value.started is Started.MAYBE
    assert len(fatal.workers) == 3


async def test_a_tool_that_is_not_marked_never_runs_again(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    once = Fatal(1)
    await offer(server, agent, once=once)
    with pytest.raises(WorkerLost):
        await caller.call("once")
    assert len(once.workers) == 1


async def test_an_idempotent_call_outlives_its_whole_capsule(server: Running, caller: Caller) -> None:
    options = {"idempotent": frozenset({"hang"})}
    async with simulated_agent(server.address, name="doomed", **options) as doomed:
        call = caller.start("hang")
        await eventually(lambda: doomed.running)
        async with simulated_agent(server.address, name="other", **options) as other:
            capsule = next(c for c in server.flow.pools[POOL].capsules.values() if c.name == "doomed")
            server.fleet.lose(server.flow.pools[POOL], capsule, "silent")
            await eventually(lambda: other.running)
            other.let_go()
            assert (await call).worker == "other/0"


async def test_reruns_stay_within_the_pools_budget(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    fatal = Fatal(10_000)
    await offer(server, agent, fatal=fatal)
    results = [await outcome(caller.start("fatal")) for _ in range(15)]
    assert all(isinstance(result, WorkerLost) for result in results)
    assert len(fatal.workers) == 15 + FLOOR


async def test_what_was_run_again_and_then_fails_says_that_it_may_have_run(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    async def fatal(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        agent.on_call = lambda call: agent.send(reject=link_pb2.Reject(id=call.id, reason="NO_SLOT"))
        asyncio.get_running_loop().call_soon(agent.replace_worker, call.worker)
        return await asyncio.Event().wait()  # type: ignore[return-value]

    await offer(server, agent, fatal=fatal)
    result = await outcome(caller.start("fatal", timeout=4.0))
    assert isinstance(result, DeadlineExceeded)
    assert result.started is Started.MAYBE


async def test_a_caller_that_goes_between_two_runs_leaves_nothing_behind(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    gone = asyncio.Event()

    async def fatal(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        agent.replace_worker(call.worker)
        gone.set()
        return link_pb2.Result()

    await offer(server, agent, fatal=fatal)
    await caller.create("s")
    call = caller.start("fatal", session_id="s")
    await gone.wait()
    call.cancel()
    assert isinstance(await outcome_or_cancelled(call), Cancelled | asyncio.CancelledError)
    await eventually(lambda: not server.flow.calls.count)
    assert (await caller.call("echo", session_id="s")).worker


async def outcome_or_cancelled(call: asyncio.Task[object]) -> object:
    try:
        return await outcome(call)
    except asyncio.CancelledError as error:
        return error


async def test_an_idempotent_call_of_a_session_runs_again_in_its_turn(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    async def fatal(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        if len(agent.calls) > 1:
            return success("survived")
        await eventually(lambda: server.flow.calls.count == 2)
        agent.replace_worker(call.worker)
        return link_pb2.Result()

    await offer(server, agent, fatal=fatal)
    await caller.create("s")
    first = caller.start("fatal", session_id="s")
    await eventually(lambda: agent.calls)
    second = caller.start("echo", session_id="s")
    assert (await first).json.string_value == "survived"
    assert (await second).worker
    assert [call.tool for call in agent.calls] == ["fatal", "fatal", "echo"]


@pytest.mark.parametrize("delivered", [False, True])
async def test_a_stream_is_run_again_only_before_its_first_chunk(
    server: Running, caller: Caller, agent: SimulatedAgent, delivered: bool
) -> None:
    runs: list[int] = []

    async def fatal(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        runs.append(1)
        if len(runs) > 1 or delivered:
            await agent.pipe(call, [link_pb2.Chunk(payload=payload(1), last=not delivered)])
        if len(runs) == 1:
            asyncio.get_running_loop().call_soon(agent.replace_worker, call.worker)
            await asyncio.Event().wait()
        return link_pb2.Result()

    await offer(server, agent, fatal=fatal)
    stream = caller.stream("fatal", {})
    assert (await stream.read()).json.number_value == 1
    if delivered:
        with pytest.raises(grpc.aio.AioRpcError, match=r"stream broke off|signal 9"):
            await stream.read()
    else:
        assert await stream.read() is grpc.aio.EOF  # type: ignore[attr-defined]
    assert len(runs) == 1 + (not delivered)


async def test_what_a_lost_tool_had_called_is_given_up_before_it_runs_again(server: Running, caller: Caller, agent: SimulatedAgent) -> None:
    given_up: list[str] = []

    async def fatal(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
        if not given_up:
            nest = nest_of(server.flow.pools[POOL].workers[call.worker].capsule.inflight[call.id])
            nest.children[Nest(nest)] = lambda: given_up.append(call.worker)
            asyncio.get_running_loop().call_soon(agent.replace_worker, call.worker)
            await asyncio.Event().wait()
        return success("survived")

    await offer(server, agent, fatal=fatal)
    assert (await caller.call("fatal")).json.string_value == "survived"
    assert len(given_up) == 1


@pytest.mark.parametrize("session", ["", "s"], ids=["without a session", "in a session"])
async def test_a_call_that_no_worker_lived_to_begin_comes_to_an_end_and_the_pool_serves(
    server: Running, caller: Caller, agent: SimulatedAgent, session: str
) -> None:
    sent: list[str] = []

    def die(call: link_pb2.Call) -> None:
        if call.tool != "fatal":
            agent.take(call)
            return
        sent.append(call.incarnation)
        agent.send(reject=link_pb2.Reject(id=call.id, reason="WORKER_GONE"))
        agent.replace_worker(call.worker)

    agent.on_call = die
    await offer(server, agent, fatal=Fatal(0))
    if session:
        await caller.create(session)
    with pytest.raises(PoolNotReady, match=f"{MOST_GONE + 1} workers of pool {POOL}, one after the other, ended before they had") as ended:
        await caller.call("fatal", session_id=session)
    assert ended.value.started is Started.NO
    assert len(set(sent)) == len(sent) == MOST_GONE + 1
    assert (await caller.call("echo", {"value": 1}, session_id=session)).worker
