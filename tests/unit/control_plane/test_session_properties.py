"""Two replicas, agents and one store, in any order of events: one call of an ordered session at a time, in order, and none is lost."""

from __future__ import annotations

import random
import time

from snakepit.v1 import common_pb2
from support import virtual_time
from support.sessions_world import REPLICAS, World
from support.simulated_agent import POOL

SCHEDULES = 250

AFFINITIES = [
    common_pb2.AFFINITY_HINT,
    common_pb2.AFFINITY_HINT,
    common_pb2.AFFINITY_STRICT_QUEUE,
    common_pb2.AFFINITY_STRICT_FAIL_FAST,
]
STEPS = (
    ("submit",) * 5 + ("carry",) * 6 + ("all", "all", "read", "read", "finish", "finish", "cancel", "rebind", "die", "cut", "join", "time")
)

Step = tuple[str, int, int]


async def take(world: World, step: Step) -> None:
    """One thing happens; `which` and `what` choose among those that it may happen to."""
    name, which, what = step
    replica, agent = REPLICAS[which % 2], world.agents[what % len(world.agents)]
    session = world.names[which // 2 % len(world.names)]
    if name == "submit":
        world.submit(replica, session, AFFINITIES[what % 4])
    elif name == "plain":
        world.submit(replica, "", AFFINITIES[0])
    elif name == "carry":
        world.carry(replica, agent)
    elif name == "all":
        carry_all(world)
    elif name == "finish" and agent.running:
        agent.finish(list(agent.running)[which % len(agent.running)])
    elif name == "cancel" and world.calls:
        world.cancel(world.calls[-1 - which % len(world.calls)])
    elif name == "rebind":
        world.rebind(replica, session)
    else:
        await befall(world, name, which, what)
    await world.turn()


def carry_all(world: World) -> None:
    for agent in world.agents:
        for replica in sorted(agent.linked):
            while agent.to_agent[replica] or agent.to_router[replica]:
                world.carry(replica, agent)
        agent.read()


async def befall(world: World, name: str, which: int, what: int) -> None:
    replica, agent = REPLICAS[which % 2], world.agents[what % len(world.agents)]
    if name == "read":
        agent.read()
    elif name == "die":
        agent.die(list(agent.lives)[which % len(agent.lives)])
    elif name == "cut":
        world.cut(replica, agent)
    elif name == "join":
        await world.join(replica, agent)
    elif name == "time":
        await world.turn([0.01, 0.5, 3.0][what % 3])


async def play(seed: int) -> int:
    """A random plan; how many epochs the sessions have gone through."""
    chance = random.Random(seed)
    world = await World(workers=chance.choice([1, 2]), slots=chance.choice([1, 1, 2])).start()
    for _ in range(120):
        await take(world, (chance.choice(STEPS), chance.randrange(8), chance.randrange(8)))
        world.check()
    await world.settle()
    await world.stop()
    return sum([(await world.store.get_session(POOL, name)).epoch for name in world.names])


def test_an_ordered_session_runs_one_call_at_a_time_through_two_replicas_and_no_call_is_lost() -> None:
    first = time.time_ns() % 1_000_000_000
    epochs = 0
    for seed in range(first, first + SCHEDULES):
        try:
            epochs += virtual_time.run(play(seed))
        except Exception as error:
            error.add_note(f"seed {seed}")
            raise
    assert epochs > 3 * SCHEDULES, "hardly any session has moved: these schedules show nothing"
