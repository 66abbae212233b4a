"""Whatever happens in whatever order: slots hold, no call is lost or runs twice, sessions keep their order. Random, by hypothesis."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from snakepit.v1 import common_pb2
from support import virtual_time
from support.router_world import QUICK, RARE, SLOW, Agent, Life, World

QUEUE = 6
PRIORITIES = [common_pb2.PRIORITY_UNSPECIFIED, common_pb2.PRIORITY_HIGH, common_pb2.PRIORITY_LOW]
AFFINITIES = [common_pb2.AFFINITY_HINT, common_pb2.AFFINITY_STRICT_QUEUE, common_pb2.AFFINITY_STRICT_FAIL_FAST]

Step = tuple[str, int, int]
number = st.integers(0, 30)


def steps(*names: str, most: int = 100) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(names), number, number), max_size=most)


async def take(world: World, step: Step) -> None:
    """One thing happens; `which` and `what` choose among those that it may happen to."""
    name, which, what = step
    agent, life = world.lives()[which % len(world.lives())]
    if name == "submit":
        world.submit(
            [QUICK, SLOW, RARE][what % 3], "abc"[which % 3], priority=PRIORITIES[what % 5 % 3], timeout=[0.0, 0.0, 0.03][which % 3]
        )
    elif name == "session":
        affinity = AFFINITIES[what % 3]
        world.submit([QUICK, SLOW][what % 2], "abc"[which % 3], session_id=world.sessions[which % len(world.sessions)], affinity=affinity)
    elif name == "finish" and world.running():
        its, life, id_ = world.running()[which % len(world.running())]
        its.finish(life, id_, well=what % 4 > 0)
    elif name == "cancel" and world.calls:
        world.flow.calls.cancel(world.calls[-1 - which % len(world.calls)])
    elif name == "time":
        await world.turn([0.0, 0.002, 0.02, 0.3][what % 4])
    else:
        befall(world, agent, life, name, what)


def befall(world: World, agent: Agent, life: Life, name: str, what: int) -> None:
    """What happens at one agent, or to the frames on their way."""
    if name == "carry":
        world.carry(agent)
    elif name == "carry all":
        world.carry_all()
    elif name == "other replica":
        agent.other_replica(life, what % 3)
    elif name == "die":
        agent.die(life)
    elif name == "crowded":
        agent.crowded()


async def play(world: World, plan: list[Step]) -> None:
    await world.start()
    for step in plan:
        await take(world, step)
        world.check()
    await world.settle()
    await world.stop()


OFTEN = ("submit", "submit", "submit", "finish", "finish", "carry", "carry all", "carry all", "other replica", "other replica")
PLAIN = (*OFTEN, "cancel", "die", "crowded", "time")


@settings(max_examples=200, deadline=None)
@given(steps(*PLAIN), st.integers(1, 2), st.integers(1, 2), st.booleans(), st.booleans())
def test_slots_hold_every_call_is_answered_once_and_none_runs_twice(
    plan: list[Step], capsules: int, workers: int, mixed: bool, known: bool
) -> None:
    async def program() -> None:
        world = World(capsules=capsules, workers=workers, mixed=mixed, queue={"maxSize": QUEUE, "timeoutSeconds": 1})
        if known:
            world.learn_quick()
        await play(world, plan)

    virtual_time.run(program())


@settings(max_examples=200, deadline=None)
@given(steps(*PLAIN, "session", "session", "session"), st.integers(1, 2), st.booleans())
def test_sessions_keep_their_order_and_their_epochs_only_grow(plan: list[Step], slots: int, mixed: bool) -> None:
    async def program() -> None:
        world = World(workers=1, slots=slots, sessions=3, mixed=mixed, queue={"maxSize": QUEUE, "timeoutSeconds": 1})
        world.learn_quick()
        await play(world, plan)
        for session in world.sessions:
            mine = {call.call_id: call.arrival for call in world.calls if call.frame.call.session_id == session}
            begun = [mine[name] for name in world.begins if name in mine]
            assert begun == sorted(begun), "a later call of a session began before an earlier one"

    virtual_time.run(program())


@settings(max_examples=100, deadline=None)
@given(steps(*PLAIN), st.integers(1, 3))
def test_no_caller_has_more_calls_than_its_limit(plan: list[Step], limit: int) -> None:
    async def program() -> None:
        await play(World(workers=1, call={"maxConcurrentPerCaller": limit}, queue={"maxSize": QUEUE, "timeoutSeconds": 1}), plan)

    virtual_time.run(program())


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.booleans()), min_size=1, max_size=100))
def test_while_a_callers_calls_wait_another_one_begins_at_most_two_more(plan: list[tuple[str, bool]]) -> None:
    """Two, not one: the first may have been chosen before the caller came."""

    async def program() -> None:
        world = await World(capsules=1, workers=1).start()
        passed: dict[str, Counter[str]] = {}
        seen = 0
        for caller, finish in [*plan, *[("", True)] * len(plan)]:
            if caller:
                world.submit(SLOW, caller)
            if finish and world.running():
                its, life, id_ = world.running()[0]
                its.finish(life, id_)
            world.carry_all()
            for name in world.begins[seen:]:
                began = next(call for call in world.calls if call.call_id == name)
                waiting = {str(call.request.caller) for call in world.calls if call.is_waiting}
                passed = {caller: passed.get(caller, Counter()) for caller in waiting - {str(began.request.caller)}}
                for others in passed.values():
                    others[str(began.request.caller)] += 1
                    assert max(others.values()) <= 2
            seen = len(world.begins)
        await world.settle()
        await world.stop()

    virtual_time.run(program())


def test_quick_calls_behind_a_slow_one_are_called_back_within_5_ms_when_a_slot_is_free() -> None:
    async def program() -> None:
        world = await World(capsules=2, workers=1).start()
        world.learn_quick()
        slow = world.submit(QUICK)
        world.carry_all()
        behind = [world.submit(QUICK) for _ in range(6)]
        world.carry_all()
        assert slow.worker is not None
        assert {call.worker for call in behind} >= {slow.worker}, "some were sent ahead of a slot"
        stuck = next(iter(world.running()))
        began = world.loop.time()
        while any(not call.answered for call in behind):
            while others := [each for each in world.running() if each != stuck]:
                for agent, life, id_ in others:
                    agent.finish(life, id_)
                world.carry_all()
            await world.turn(0.0005)
            world.carry_all()
            assert world.loop.time() - began < 0.005, "a call waited for more than 5 ms behind a slow one"
        assert not slow.answered
        await world.settle()
        await world.stop()

    virtual_time.run(program())


def test_a_quick_call_that_could_be_sent_ahead_does_not_overtake_those_that_wait() -> None:
    async def program() -> None:
        world = await World(capsules=1, workers=2).start()
        world.learn_quick()
        running = [world.submit(tool) for tool in (SLOW, QUICK)]
        waits = world.submit(SLOW)
        assert waits.is_waiting
        assert world.submit(QUICK).is_waiting
        world.carry_all()
        assert world.begins == [call.call_id for call in running]
        await world.settle()
        await world.stop()

    virtual_time.run(program())


def test_a_worker_that_the_common_line_has_no_use_for_gets_the_next_call_that_waits_for_it() -> None:
    async def program() -> None:
        world = await World(capsules=2, workers=1, sessions=1, mixed=True, session={"ordered": False}).start()
        world.agents[0].other_replica(world.agents[0].lives[0], 1)
        world.carry_all()
        strict = {"session_id": "s0", "affinity": common_pb2.AFFINITY_STRICT_QUEUE}
        pinned = [world.submit(SLOW, **strict) for _ in range(3)]
        await world.turn()
        world.submit(RARE)
        for done in range(1, 4):
            world.carry_all()
            assert len(world.begins) == done
            ((its, life, id_),) = world.running()
            its.finish(life, id_)
        world.carry_all()
        assert all(call.answered for call in pinned)
        await world.settle()
        await world.stop()

    virtual_time.run(program())


def test_a_worker_that_rested_for_its_failures_gets_calls_again_though_nothing_else_happens() -> None:
    async def program() -> None:
        world = await World(capsules=2, workers=1).start()
        world.learn_quick()
        world.agents[1].other_replica(world.agents[1].lives[0], 1)
        world.carry_all()
        for _ in range(4):
            last = world.submit(SLOW)
            world.carry_all()
            for its, life, id_ in world.running():
                its.finish(life, id_, well=False)
            world.carry_all()
        assert last.answered
        waits = world.submit(SLOW)
        assert waits.is_waiting
        await world.turn(0.1)
        assert not waits.is_waiting
        await world.settle()
        await world.stop()

    virtual_time.run(program())


def test_calls_that_a_dead_worker_had_not_begun_run_in_the_order_of_their_arrival_and_before_later_ones() -> None:
    async def program() -> None:
        world = await World(capsules=1, workers=1, slots=2).start()
        world.learn_quick()
        first = [world.submit(QUICK) for _ in range(4)]
        world.carry_all()
        (agent, life), *_ = world.lives()
        assert (len(life.running), len(life.inbox)) == (2, 2), "two run, two were sent ahead of their turn"
        later = [world.submit(SLOW) for _ in range(2)]
        assert all(call.is_waiting for call in later)
        life.inbox.reverse()  # The word of what was not begun comes in any order.
        agent.die(life)
        world.carry_all()
        await world.settle()
        assert world.begins == [call.call_id for call in [*first, *later]]
        assert [world.outcomes[call.call_id] for call in first[:2]] == ["WORKER_LOST"] * 2
        await world.stop()

    virtual_time.run(program())


def test_nothing_is_called_back_where_no_slot_is_free() -> None:
    async def program() -> None:
        world = await World(capsules=1, workers=2).start()
        world.learn_quick()
        for _ in range(2):
            world.submit(SLOW)
        behind = [world.submit(QUICK) for _ in range(3)]
        world.carry_all()
        await world.turn(0.02)
        assert not any(agent.to_agent for agent in world.agents)
        assert not any(call.answered for call in behind)
        await world.settle()
        await world.stop()

    virtual_time.run(program())
