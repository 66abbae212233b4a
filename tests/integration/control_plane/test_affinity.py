"""Where calls of a session go: affinity, binding, order and fencing."""

import asyncio

import grpc
import pytest

from snakepit.errors import (
    SessionWorkerUnavailable,
    WorkerBusy,
)
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.server import Running
from snakepit_control_plane.store.memory import MemoryStore
from support.control_plane import HINT, STRICT_FAIL_FAST, STRICT_QUEUE, Caller, eventually, outcome, replica, waiting
from support.simulated_agent import POOL, SimulatedAgent, settings, simulated_agent

UNORDERED = settings(session={"ordered": False})


async def occupy(caller: Caller, agent: SimulatedAgent, worker: str) -> None:
    """Keep that worker busy, and no other."""
    before = len(agent.calls)
    caller.background = [caller.start("hang") for _ in range(len(agent.lives))]  # type: ignore[attr-defined]
    await eventually(lambda: len(agent.calls) == before + len(agent.lives))
    for call, _ in list(agent.running.values()):
        if call.worker != worker:
            agent.cancel(call.id)
    await eventually(lambda: len(agent.running) == 1)


async def test_a_session_sticks_to_its_worker_while_it_has_room(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=4) as agent:
        await caller.create("s")
        for _ in range(8):
            await caller.call("echo", session_id="s")
        assert len({call.worker for call in agent.calls}) == 1
        assert {call.session_epoch for call in agent.calls} == {1}


async def test_hint_falls_back_when_its_worker_is_busy_and_rebinds(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        bound = (await caller.call("echo", session_id="s")).worker
        busy = [caller.start("hang") for _ in range(2)]
        await eventually(lambda: len(agent.running) == 2)
        other = next(call for call, _ in agent.running.values() if call.worker != bound)
        agent.cancel(other.id)
        moved = await caller.call("echo", session_id="s")
        assert moved.worker != bound
        session = await caller.session("s")
        assert (session.worker, session.epoch) == (moved.worker, 2)
        assert [(each.epoch, each.reason, each.worker) for each in session.moves] == [(2, "busy", bound)]
        agent.let_go()
        await asyncio.gather(*(outcome(task) for task in busy))


async def test_strict_queue_waits_for_its_worker_though_others_idle_and_others_skip_it(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        bound = (await caller.call("echo", session_id="s")).worker
        await occupy(caller, agent, bound)
        pinned = caller.start("echo", session_id="s", affinity=STRICT_QUEUE)
        await eventually(lambda: waiting(server) == 1)
        assert (await caller.call("echo")).worker != bound
        assert not pinned.done()
        agent.let_go()
        assert (await pinned).worker == bound


async def test_strict_fail_fast_answers_worker_busy_and_queues_nothing(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        bound = (await caller.call("echo", session_id="s")).worker
        await occupy(caller, agent, bound)
        with pytest.raises(WorkerBusy):
            await caller.call("echo", session_id="s", affinity=STRICT_FAIL_FAST)
        assert waiting(server) == 0
        agent.let_go()


async def test_a_second_call_of_an_ordered_strict_fail_fast_session_is_busy_at_once_and_waits_nowhere(
    server: Running, caller: Caller
) -> None:
    async with simulated_agent(server.address, workers=2, slots=2) as agent:
        await caller.create("s")
        first = caller.start("hang", session_id="s", affinity=STRICT_FAIL_FAST)
        await eventually(lambda: agent.running)
        with pytest.raises(WorkerBusy, match="'s' is ordered") as refused:
            await caller.call("echo", session_id="s", affinity=STRICT_FAIL_FAST)
        assert refused.value.retry_after
        assert waiting(server) == 0
        patient = caller.start("echo", session_id="s", affinity=STRICT_QUEUE)
        await eventually(lambda: waiting(server) == 1)
        with pytest.raises(WorkerBusy):
            await caller.call("echo", session_id="s", affinity=STRICT_FAIL_FAST)
        agent.let_go()
        assert (await patient).worker == (await first).worker
        assert (await caller.call("echo", session_id="s", affinity=STRICT_FAIL_FAST)).worker


@pytest.mark.parametrize("pools", ["hint", "strict_queue", "strict_fail_fast"])
@pytest.mark.parametrize(
    "calls", [None, HINT, STRICT_QUEUE, STRICT_FAIL_FAST], ids=["the pool's", "hint", "strict_queue", "strict_fail_fast"]
)
async def test_the_affinity_is_the_pools_unless_the_call_has_its_own(
    server: Running, caller: Caller, pools: str, calls: common_pb2.Affinity | None
) -> None:
    async with simulated_agent(server.address, workers=2, settings=settings(affinity=pools)) as agent:
        await caller.create("s")
        bound = (await caller.call("echo", session_id="s")).worker
        await occupy(caller, agent, bound)
        second = caller.start("echo", session_id="s", **({} if calls is None else {"affinity": calls}))
        wanted = calls or {"hint": HINT, "strict_queue": STRICT_QUEUE, "strict_fail_fast": STRICT_FAIL_FAST}[pools]
        if wanted == STRICT_QUEUE:
            await eventually(lambda: waiting(server) == 1)
            agent.let_go()
            assert (await second).worker == bound
        elif wanted == STRICT_FAIL_FAST:
            assert isinstance(await outcome(second), WorkerBusy)
        else:
            assert (await second).worker != bound
        agent.let_go()


@pytest.mark.parametrize("affinity", [STRICT_QUEUE, STRICT_FAIL_FAST])
async def test_a_strict_session_notices_another_incarnation_and_goes_on_after_rebind(
    server: Running, caller: Caller, affinity: common_pb2.Affinity
) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        before = await caller.call("echo", session_id="s", affinity=affinity)
        agent.replace_worker(before.worker, "OOMKilled")
        await eventually(lambda: server.flow.pools[POOL].find(before.worker, before.incarnation) is None)
        with pytest.raises(SessionWorkerUnavailable, match="oom") as refused:
            await caller.call("echo", session_id="s", affinity=affinity)
        assert refused.value.details["why"] == "oom"
        rebound = await caller.rebind("s")
        assert [(each.epoch, each.reason, each.worker) for each in rebound.moves] == [(2, "rebind", before.worker)]
        assert rebound.epoch == 2
        after = await caller.call("echo", session_id="s", affinity=affinity)
        assert after.incarnation != before.incarnation
        assert (await caller.session("s")).epoch == 2


async def test_a_hint_session_whose_worker_is_gone_goes_on_elsewhere_under_the_next_epoch(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=2) as agent:
        await caller.create("s")
        before = await caller.call("echo", session_id="s")
        agent.replace_worker(before.worker, "OOMKilled")
        await eventually(lambda: server.flow.pools[POOL].find(before.worker, before.incarnation) is None)
        after = await caller.call("echo", session_id="s")
        assert after.incarnation != before.incarnation
        assert agent.calls[-1].session_epoch == 2
        (move,) = (await caller.session("s")).moves
        assert (move.epoch, move.reason, move.worker) == (2, "oom", before.worker)


async def test_two_simultaneous_first_calls_meet_on_one_worker_also_through_different_replicas() -> None:
    store = MemoryStore()
    async with replica(store) as one, replica(store) as two:
        agents = [SimulatedAgent(one.address, workers=8), SimulatedAgent(two.address, workers=8)]
        agents[1].incarnation, agents[1].lives = agents[0].incarnation, agents[0].lives
        for agent in agents:
            await agent.start()
        async with grpc.aio.insecure_channel(one.address) as a, grpc.aio.insecure_channel(two.address) as b:
            callers = [Caller(a), Caller(b)]
            for index in range(20):
                await callers[0].create(f"s{index}")
                first = await asyncio.gather(*(caller.call("echo", session_id=f"s{index}") for caller in callers))
                assert len({response.incarnation for response in first}) == 1
        for agent in agents:
            await agent.stop()


@pytest.mark.parametrize("affinity", [HINT, STRICT_QUEUE, STRICT_FAIL_FAST])
async def test_a_replica_that_has_not_yet_heard_that_the_worker_is_ready_waits_for_it_and_does_not_move_the_session(
    affinity: common_pb2.Affinity,
) -> None:
    store = MemoryStore()
    async with replica(store) as one, replica(store) as two, simulated_agent(two.address, name="capsule-1"):
        early, late = SimulatedAgent(one.address), SimulatedAgent(two.address, state=pool_pb2.WORKER_STATE_STARTING)
        late.incarnation, late.lives = early.incarnation, early.lives
        async with grpc.aio.insecure_channel(one.address) as a, grpc.aio.insecure_channel(two.address) as b:
            for agent in (early, late):
                await agent.start()
            await Caller(a).create("s")
            bound = await Caller(a).call("echo", session_id="s")
            call = Caller(b).start("echo", session_id="s", affinity=affinity)
            await eventually(lambda: call.done() or any(frame.session_release.look for frame in late.frames))
            late.state = pool_pb2.WORKER_STATE_READY
            late.report()
            assert (await call).incarnation == bound.incarnation
            assert (await Caller(a).session("s")).epoch == 1
        for agent in (early, late):
            await agent.stop()


async def test_ordered_sessions_run_one_call_at_a_time_in_arrival_order(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=4, slots=2) as agent:
        await caller.create("s")
        order = asyncio.Queue[int]()

        async def record(agent: SimulatedAgent, call: link_pb2.Call) -> link_pb2.Result:
            await asyncio.sleep(0)
            order.put_nowait(int(call.metadata["n"]))
            return link_pb2.Result(payload=call.arguments)

        agent.tools["record"] = record
        agent.offer()
        await eventually(lambda: "record" in server.flow.pools[POOL].tools)
        first = caller.start("hang", session_id="s")
        await eventually(lambda: agent.running)
        calls = []
        for n in range(10):
            calls.append(caller.start("record", session_id="s", metadata={"n": str(n)}))
            await eventually(lambda n=n: waiting(server) == n + 1)
        agent.let_go()
        await asyncio.gather(first, *calls)
        assert [order.get_nowait() for _ in range(10)] == list(range(10))
        assert max(agent.most_running.values()) == 1


async def test_an_unordered_session_runs_its_calls_side_by_side_under_one_epoch(server: Running, caller: Caller) -> None:
    async with simulated_agent(server.address, workers=3, settings=UNORDERED) as agent:
        await caller.create("s")
        calls = [caller.start("hang", session_id="s") for _ in range(3)]
        await eventually(lambda: len(agent.running) == 3)
        assert len({call.worker for call, _ in agent.running.values()}) == 3, "workers of one slot each: three of them work for it"
        assert {call.session_epoch for call, _ in agent.running.values()} == {1}
        agent.let_go()
        await asyncio.gather(*calls)
