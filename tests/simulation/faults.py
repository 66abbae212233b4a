"""What goes wrong: which faults a seed has, and how each of them comes about."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulation.times import IDLE_SECONDS, QUEUE_SECONDS
from simulation.tools import CLIENTS_TOOLS, KILLING, PLAIN

if TYPE_CHECKING:
    from simulation.world import World


LONG = 1e9


@dataclass(frozen=True)
class Plan:
    """Not every seed has everything: what some faults would cover up, others show."""

    replicas: int
    capsules: int
    workers: int
    slots: int
    clients: int
    ordered: bool
    sessions: bool
    keys: bool
    queue: int
    tools: list[str]
    faults: list[str]
    faultiness: float
    steps: int
    longest: float
    ttl: float
    large: bool
    """Some arguments are."""
    room: int
    """Bytes of large payloads that an agent takes at a time."""
    asks: list[str]
    """What tools call, where they do."""
    pools: tuple[str, ...]
    """In which pools; empty: their own."""
    others: int
    """Capsules of another pool."""
    nested_calls: int
    offerers: int
    """Clients that offer tools."""
    offers: list[str]
    """Names of theirs."""
    calls: list[str]
    """Tools of workers that theirs call."""
    exclusive: bool
    per_caller: int
    """Calls of one caller at each replica; 0: any number."""

    @staticmethod
    def draw(chance: random.Random) -> Plan:
        tools = [*PLAIN] if chance.random() < 0.5 else [*PLAIN, "bulky", "bulky", "stream", "stream", "stream"]
        tools = chance.sample(tools, chance.randint(1, 4))
        asks = [chance.choice([*PLAIN, "asking", "stream", "bulky"]) for _ in range(chance.randint(1, 3))] if chance.random() < 0.35 else []
        others = chance.choice([0, 1, 2]) if asks else 0
        offerers = chance.choice([0, 1, 2, 3]) if asks else 0
        offers = chance.sample(CLIENTS_TOOLS, chance.randint(1, 3)) if offerers else []
        faults = chance.sample(sorted(FAULTS), chance.randint(1, 5))
        large = chance.random() < 0.4
        if large and chance.random() < 0.5:
            faults.append("break stream")
        return Plan(
            replicas=chance.choice([2, 2, 3]),
            capsules=chance.choice([1, 2, 2, 3]),
            workers=chance.choice([1, 1, 2]),
            slots=chance.choice([1, 1, 2, 3]),
            clients=chance.choice([1, 2, 3]),
            ordered=chance.random() < 0.8,
            sessions=chance.random() < 0.7,
            keys=chance.random() < 0.5,
            queue=chance.choice([2, 5, 20]),
            tools=[*tools, "asking", "asking"] if asks else tools,
            faults=faults,
            faultiness=chance.choice([0.0, 0.02, 0.05, 0.1]),
            steps=chance.choice([30, 60, 90]),
            longest=chance.choice([1.0, 3.0, 15.0, 40.0]),
            ttl=chance.choice([LONG, LONG, 0.3, 2.0, 10.0]),
            large=large,
            room=chance.choice([1000, 1500, 10_000]),
            asks=[*asks, *offers, *offers],
            pools=("", "default/other", "default/test") if others else ("",),
            others=others,
            nested_calls=chance.choice([2, 100]),
            offerers=offerers,
            offers=offers,
            calls=["long", *(each for each in asks if each != "stream")] if chance.random() < 0.5 else [],
            exclusive=chance.random() < 0.15,
            per_caller=chance.choice([0, 0, 0, 0, 1, 3]),
        )

    @property
    def steady(self) -> bool:
        """No worker ends, and callers may use them all."""
        return not (self.faultiness or self.exclusive or self.per_caller) and not KILLING.intersection(
            (*self.tools, *self.asks, *self.calls)
        )

    def sections(self, other: bool) -> dict[str, object]:
        """The pool's spec, or the other pool's."""
        thread = self.slots > 1
        worker = {"adapter": "tests.tools:Tools", "profile": "thread" if thread else "process"}
        worker |= {"threads": self.slots} if thread else {"processes": self.workers}
        worker |= {"exclusive": True} if self.exclusive else {}
        return {
            "replicas": self.others if other else self.capsules,
            "worker": worker,
            "queue": {"maxSize": self.queue, "timeoutSeconds": QUEUE_SECONDS},
            "heartbeat": {"intervalSeconds": 1, "timeoutSeconds": 3, "missThreshold": 2},
            "drain": {"timeoutSeconds": 3, "killAfterSeconds": 1},
            "session": {"ordered": self.ordered},
            "call": {"streamIdleSeconds": IDLE_SECONDS} | ({"maxConcurrentPerCaller": self.per_caller} if self.per_caller else {}),
        }


def befall(world: World, name: str) -> None:
    """It begins now; what it takes away comes back by itself."""
    world.account.note(f"fault: {name}")
    FAULTS[name](world)


def _cut(world: World) -> None:
    """A connection breaks; one end may notice late."""
    chance = world.chance
    if world.network.connections:
        connection = chance.choice(world.network.connections)
        late = chance.choice([0.01, 0.01, 1.0, 24.0])
        up, down = chance.random() * late, chance.random() * late
        connection.cut(arrives=chance.random() < 0.3, up_notices=up, down_notices=down)


def _break_stream(world: World) -> None:
    """That of a single call does, and not its link."""
    world.network.doomed = min(world.network.doomed + 2, 4)


def _part(world: World) -> None:
    """Somebody and a replica don't reach each other for a while."""
    chance = world.chance
    peer = chance.choice([each.name for each in [*world.capsules, *world.clients, *world.offerers]])
    replica = chance.choice([host.name for host in world.hosts])
    _block(world, peer, replica, chance.choice([1.0, 5.0, 12.0, 40.0]))
    for connection in [each for each in world.network.connections if (each.dialler, each.replica) == (peer, replica)]:
        connection.cut(arrives=chance.random() < 0.3, up_notices=chance.random() * 5, down_notices=chance.random() * 5)


def _block(world: World, peer: str, replica: str, seconds: float) -> None:
    """No new connection between the two for so long."""
    world.network.blocked.add((peer, replica))
    asyncio.get_running_loop().call_later(seconds, world.network.blocked.discard, (peer, replica))


def _slow(world: World) -> None:
    world.network.slowest = world.chance.choice([0.05, 0.4])
    asyncio.get_running_loop().call_later(world.chance.random() * 3, setattr, world.network, "slowest", 0.002)


def _kill_worker(world: World) -> None:
    processes = [process for capsule in world.capsules for process in capsule.processes]
    if processes:
        world.chance.choice(processes).die(signal.SIGKILL)


def _kill_agent(world: World) -> None:
    """It comes back, perhaps to one replica earlier than to the other."""
    capsule, chance = world.chance.choice(world.capsules), world.chance
    if chance.random() < 0.5:
        _block(world, capsule.name, chance.choice(world.hosts).name, chance.random() * 6)

    async def away() -> None:
        await capsule.die()
        await asyncio.sleep(chance.choice([0.02, 0.5, 5.0]))
        if capsule.agent is None:
            capsule.start()

    world.spawn(away())


def _kill_replica(world: World) -> None:
    host, chance = world.chance.choice(world.hosts), world.chance

    async def away() -> None:
        await host.kill()
        await asyncio.sleep(chance.choice([0.05, 1.0, 8.0]))
        await host.start()

    world.spawn(away())


def _stop_replica(world: World) -> None:
    host, chance = world.chance.choice(world.hosts), world.chance

    async def away() -> None:
        await host.stop(chance.choice([0.1, 3.0]))
        await asyncio.sleep(chance.choice([0.05, 1.0]))
        await host.start()

    world.spawn(away())


def _store_away(world: World) -> None:
    world.store.away, world.store.acts = True, world.chance.random() < 0.3
    asyncio.get_running_loop().call_later(world.chance.choice([0.05, 1.0, 5.0, 8.0]), world.store.come_back)


def _recycle(world: World) -> None:
    _end_worker(world, recycle=True)


def _drain(world: World) -> None:
    _end_worker(world, recycle=False)


def _end_worker(world: World, *, recycle: bool) -> None:
    """In good order; another takes its place."""
    replica = world.chance.choice(world.hosts).replica
    workers = [worker for pool in replica.flow.pools.values() for worker in pool.workers.values()] if replica is not None else []
    if replica is not None and workers:
        worker = world.chance.choice(workers)
        replica.fleet.drain(worker.capsule, worker, recycle=recycle)


FAULTS: dict[str, Callable[[World], None]] = {
    "cut": _cut,
    "break stream": _break_stream,
    "part": _part,
    "slow": _slow,
    "kill worker": _kill_worker,
    "kill agent": _kill_agent,
    "kill replica": _kill_replica,
    "stop replica": _stop_replica,
    "store away": _store_away,
    "recycle": _recycle,
    "drain": _drain,
}
