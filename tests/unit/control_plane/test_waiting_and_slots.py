"""What a call keeps and what it gives back on its way: its place and its time in the queue, and its share of a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.flow.recalls import TICK_SECONDS
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import AHEAD_SECONDS, FAILING, SOON_SECONDS, Capsule
from snakepit_control_plane.model.pool import MOST_REST_SECONDS, Pool
from snakepit_control_plane.model.states import SENT
from snakepit_control_plane.policy.placement import pick
from support import virtual_time
from support.router_world import QUICK, SLOW, Agent, Life, World
from support.simulated_agent import settings

ADAPTER = "tests.tools:Tools"


def run(program: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(program)


async def small_world(**options: Any) -> tuple[World, Agent, Life]:
    """One worker of one slot, unless the options say otherwise."""
    world = await World(**{"capsules": 1, "workers": 1, **options}).start()
    return world, world.agents[0], world.agents[0].lives[0]


async def over(world: World) -> None:
    await world.settle()
    await world.stop()


def sent(agent: Agent, kind: str) -> list[link_pb2.Frame]:
    return [frame for frame in agent.to_agent if frame.WhichOneof("kind") == kind]


# ---- the queue


def test_a_call_that_comes_back_unstarted_keeps_its_place_even_in_a_full_queue() -> None:
    async def program() -> None:
        world, agent, life = await small_world(queue={"maxSize": 1})
        back = world.submit()
        waits = world.submit()
        agent.other_replica(life, 1)
        world.carry_all()
        assert back.is_waiting
        assert waits.is_waiting
        assert world.pool.queue.depth == 2
        refused = world.submit()
        assert world.outcomes == {refused.call_id: "POOL_SATURATED"}
        await over(world)
        assert world.outcomes == {back.call_id: "payload", waits.call_id: "payload", refused.call_id: "POOL_SATURATED"}

    run(program())


def test_a_session_whose_worker_can_not_be_heard_waits_for_the_verdict_and_not_for_the_queues_time_out() -> None:
    async def program() -> None:
        world, _, _ = await small_world(capsules=2, sessions=1, queue={"timeoutSeconds": 1}, heartbeat={"timeoutSeconds": 10})
        (name,) = world.sessions
        strict = {"session_id": name, "affinity": common_pb2.AFFINITY_STRICT_QUEUE}
        world.submit(**strict)
        await world.settle()
        (entry,) = world.flow.sessions.entries.values()
        assert entry.record is not None
        agent = next(each for each in world.agents if each.life(entry.record.incarnation) is not None)
        world.flow.sessions.entries.clear()  # As at a replica that has not had to do with it.
        send = world.flow.agents.senders[agent.capsule]
        world.fleet.leave(agent.capsule, send)
        call = world.submit(**strict)
        await world.turn(5)
        assert call.is_waiting, world.outcomes
        await rejoin(world, agent)
        await over(world)
        assert world.outcomes[call.call_id] == "payload"

    run(program())


async def rejoin(world: World, agent: Agent) -> None:
    """The agent's link is there again."""
    about = link_pb2.Capsule(name=agent.capsule.name, incarnation=agent.capsule.incarnation, pool=agent.capsule.pool)
    await world.fleet.join(link_pb2.Hello(role=link_pb2.ROLE_AGENT, capsule=about), agent.send)
    world.fleet.reported(agent.capsule, agent.report().report)


def test_calls_that_wait_when_the_last_worker_goes_wait_for_as_long_as_a_worker_takes_to_come() -> None:
    async def program() -> None:
        world, agent, life = await small_world(queue={"timeoutSeconds": 1, "activationTimeoutSeconds": 30})
        agent.other_replica(life, 1)
        world.carry_all()
        call = world.submit()
        world.carry_all()
        starting = agent.report()
        starting.report.workers[0].state = pool_pb2.WORKER_STATE_STARTING
        world.fleet.reported(agent.capsule, starting.report)
        await world.turn(20)
        assert call.is_waiting, world.outcomes
        world.fleet.reported(agent.capsule, agent.report().report)
        await over(world)
        assert world.outcomes[call.call_id] == "payload"

    run(program())


def test_a_call_that_runs_again_may_wait_as_long_as_any_other() -> None:
    """What it waited before its first run has nothing to do with the worker that then died."""

    async def program() -> None:
        world, agent, life = await small_world(queue={"timeoutSeconds": 1})
        agent.capsule.tools = {**agent.capsule.tools, SLOW: common_pb2.Tool(name=SLOW, idempotent=True)}
        world.pool.refresh(agent.capsule, world.flow.clock())
        agent.other_replica(life, 1)
        world.carry_all()
        call = world.submit()
        await world.turn(0.8)
        world.carry_all()
        agent.other_replica(agent.lives[0], 0)
        world.carry_all()
        assert [life.running for life in agent.lives] != [{}], "it runs"
        world.begins.clear()  # It may run a second time.
        agent.die(agent.lives[0])
        agent.other_replica(agent.lives[0], 1)
        world.carry_all()
        await world.turn(0.8)
        world.carry_all()
        assert call.is_waiting, world.outcomes
        await over(world)
        assert world.outcomes[call.call_id] == "payload"

    run(program())


# ---- the worker


def test_a_worker_that_is_never_idle_is_sent_quick_calls_ahead_for_ever() -> None:
    async def program() -> None:
        world, agent, life = await small_world()
        world.learn_quick()
        world.submit(QUICK)
        for _ in range(100):
            call = world.submit(QUICK)
            assert call.state is SENT, "what it has done counts no more in what it has to do"
            world.carry_all()
            agent.finish(life, next(iter(life.running)))
            world.carry_all()
        worker = next(iter(world.pool.workers.values()))
        assert worker.backlog == pytest.approx(worker.own * world.pool.mean_seconds(QUICK), rel=0.01)
        await over(world)

    run(program())


def test_an_exclusive_worker_belongs_to_the_one_call_that_was_sent_there_before_its_agent_says_so() -> None:
    async def program() -> None:
        exclusive = {"adapter": ADAPTER, "exclusive": True}
        world, agent, _ = await small_world(slots=2, worker=exclusive)
        first, second = world.submit(), world.submit()
        assert first.state is SENT
        assert second.state is not SENT, "the second slot is not for others"
        assert [frame.call.call_id for frame in sent(agent, "call")] == [first.call_id]
        world.flow.calls.cancel(second)
        await over(world)

    run(program())


def answered(agent: Agent, world: World, call: Call, reason: str, started: common_pb2.Started) -> None:
    """The agent says that the call has failed."""
    error = common_pb2.Error(reason=reason, message="", started=started)
    world.flow.outcomes.answered(agent.capsule, link_pb2.Frame(result=link_pb2.Result(id=call.message.id, error=error)))
    world.flow.outcomes.give_slots_out()


def test_an_exclusive_worker_whose_call_never_began_is_the_next_ones_at_once() -> None:
    async def program() -> None:
        world, agent, _ = await small_world(worker={"adapter": ADAPTER, "exclusive": True})
        first, second = world.submit(), world.submit()
        answered(agent, world, first, "DEADLINE", common_pb2.STARTED_NO)
        assert world.outcomes == {first.call_id: "DEADLINE"}
        assert second.state is SENT
        await world.stop()

    run(program())


def test_a_call_whose_worker_dies_with_its_large_result_on_the_way_is_told_at_once() -> None:
    async def program() -> None:
        world, agent, _ = await small_world()
        call = world.submit()
        world.flow.transfers.sink(call)  # Its pipe was open.
        answered(agent, world, call, "WORKER_LOST", common_pb2.STARTED_MAYBE)
        assert world.outcomes == {call.call_id: "WORKER_LOST"}
        assert not agent.capsule.trailing
        await world.stop()

    run(program())


def two_workers() -> Pool:
    given = settings()
    pool = Pool(given, decode_spec(given.spec), 0.0)
    capsule = Capsule("c", "1", pool.name, "", 0.0)
    capsule.tools = {name: common_pb2.Tool(name=name) for name in ("hours", "quick", "short")}
    pool.capsules["1"] = capsule
    infos = [pool_pb2.Worker(id=f"c/{n}", incarnation=f"{n}", state=pool_pb2.WORKER_STATE_READY, slots=1) for n in range(2)]
    pool.update(capsule, infos, 0.0)
    for tool, seconds in {"hours": 7200.0, "quick": AHEAD_SECONDS / 10, "short": SOON_SECONDS / 3}.items():
        pool.learn(tool, seconds)
    return pool


def test_a_failing_worker_rests_for_ten_seconds_at_most_however_long_its_tool_takes() -> None:
    pool = two_workers()
    worker = pool.workers["c/0"]
    while worker.failure_share <= FAILING:
        rest = pool.count_outcome(worker, "hours", 100.0, failed=True)
    assert rest == 100.0 + MOST_REST_SECONDS


@pytest.mark.parametrize("tool", ["quick", "short"])
def test_large_arguments_never_travel_ahead_of_a_free_slot(tool: str) -> None:
    """The agent fetches them for a slot that is free; ahead of one they would only travel twice."""
    pool = two_workers()
    for worker in pool.workers.values():
        worker.own, worker.backlog = 1, pool.mean_seconds(tool)
        pool.index.place(worker, 0.0)
    assert pick(pool, tool) is not None, "of small ones one more goes ahead"
    assert pick(pool, tool, large=True) is None


# ---- what was sent ahead


async def two_at_one_worker(**fields: Any) -> tuple[World, Agent, virtual_time.VirtualLoop]:
    """Two quick calls, the second one of `fields`, are at one worker, and the other one is idle."""
    world, agent, _ = await small_world(workers=2, sessions=1)
    world.learn_quick()
    first, second = world.submit(QUICK), world.submit(QUICK, **fields)
    loop = asyncio.get_running_loop()
    assert isinstance(loop, virtual_time.VirtualLoop)
    for _ in range(8):
        await asyncio.sleep(0)
    assert first.worker is second.worker, "or there is nothing to be called back"
    assert len(sent(agent, "call")) == 2
    return world, agent, loop


def test_a_call_behind_a_worker_that_does_not_get_on_comes_back_while_another_one_is_idle() -> None:
    async def program() -> None:
        world, agent, _ = await two_at_one_worker()
        await world.turn(0.01)
        assert sent(agent, "recall")
        await over(world)

    run(program())


@pytest.mark.parametrize(("late", "told"), [(0.0005, True), (0.003, False)])
def test_a_loop_that_was_late_itself_calls_nothing_back_before_it_has_read_what_came(late: float, told: bool) -> None:
    async def program() -> None:
        world, agent, loop = await two_at_one_worker()
        loop.now += TICK_SECONDS + late
        for _ in range(4):
            await asyncio.sleep(0)
        assert bool(sent(agent, "recall")) is told, "the answer may be here already"
        await world.turn(0.01)
        assert sent(agent, "recall")
        await over(world)

    run(program())


def test_a_sessions_call_is_never_called_back_for_its_binding_decides_where_it_goes() -> None:
    async def program() -> None:
        world, agent, _ = await two_at_one_worker(session_id="s0")
        await world.turn(0.05)
        assert not sent(agent, "recall")
        await over(world)

    run(program())
