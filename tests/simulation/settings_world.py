"""Operator and replicas, and the settings between them: the product's own `Fleet` of both sides over streams that are slow and break.

Pools are made, edited, suspended and deleted at any moment, while replicas and operators restart, the store is away or loses everything,
and capsules of pools of any age say hello. See `check` and `settle` for what must hold.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

from simulation.network import Connection, Network
from simulation.replica import Replica
from simulation.store import SharedStore

from snakepit._wire.messages import settings_digest
from snakepit.errors import SnakepitError
from snakepit.v1 import fleet_pb2, link_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.fleet import roster
from snakepit_control_plane.servers.fleet import FleetServicer
from snakepit_operator import replica as operator_replica
from snakepit_operator.fleet import Fleet
from support.simulated_agent import settings

ADDRESSES = ("r0", "r1", "r2")
NAMES = [f"default/pool-{number}" for number in range(8)]
GAPS = [0.0, 0.0, 0.0005, 0.002, 0.01, 0.1, 1.0, 7.0]
STEPS = 60
SETTLE_SECONDS = 60.0
"""Of virtual time: a silent stream is given up after 15, and all is sent again after 10, which passes for a minute here."""


def _brief(what: link_pb2.PoolSettings | None) -> str:
    return f"{what.pool} of {what.uid}, {what.generation}" if what is not None else "none of that name"


class _NoAccount:
    async def stored(self, *what: object) -> None:
        """Of calls, and there are none."""


class Process(Replica):
    """One process of a replica."""

    def __init__(self, shared: SharedStore) -> None:
        super().__init__(shared)
        self.servicer = FleetServicer(self.fleet, self.id, Gate())

    async def start(self) -> None:
        """Without what sessions and keys need beside it."""
        await self.fleet.roster.load()
        if not self._stopped:
            self._run(self.fleet.run())

    async def kill(self) -> None:
        self.store.dead = True
        await self.stop()

    def held(self) -> dict[str, bytes]:
        return {name: settings_digest(pool.settings) for name, pool in self.fleet.flow.pools.items()}


class Call:
    """The operator's end of a stream: a write takes a while, before the message is on its way and after."""

    def __init__(self, world: World, connection: Connection, heard: Callable[[], None]) -> None:
        self._world, self._connection, self._heard = world, connection, heard

    async def write(self, request: fleet_pb2.SyncRequest) -> None:
        await self._world.pause()
        self._connection.up.send(request)
        await self._world.pause()
        ended = self._connection.down.ended
        if isinstance(ended, BaseException):
            raise ended

    async def read(self) -> Any:
        message = await self._connection.down.read()
        self._heard()
        return message


class Operator:
    """One leader. `process`: by address, whose answers it has heard last. `follows`: the addresses that it has looked up last."""

    def __init__(self, world: World, wanted: dict[str, link_pb2.PoolSettings]) -> None:
        self._world = world
        self.fleet = Fleet("", lambda pool, essential: None, connect=self._connect, look_up=self._look_up)
        self.fleet.set_pools(wanted.values())
        self.process: dict[str, Process] = {}
        self.follows: set[str] = set()
        self.running = asyncio.create_task(self.fleet.run())

    async def _look_up(self, _target: str) -> dict[str, str]:
        self.follows = set(self._world.named)
        return dict.fromkeys(self.follows, "plane")

    @asynccontextmanager
    async def _connect(self, address: str, _host: str) -> AsyncIterator[Call]:
        connection = self._world.network.connect("operator", address, "Sync")
        process = self._world.processes.get(address)

        def heard() -> None:
            if process is not None:
                self.process[address] = process

        try:
            yield Call(self._world, connection, heard)
        finally:
            connection.hang_up()

    async def stop(self) -> None:
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)


class World:
    """Everything that one seed determines."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.trace: list[str] = []
        self.problems: list[str] = []
        self.network = Network(self.chance, ADDRESSES, self._failed)
        self.network.slowest = self.chance.choice([0.002, 0.05, 1.0])
        self.shared = SharedStore(_NoAccount(), self.chance)  # type: ignore[arg-type]
        self.slow_writes = self.chance.choice([0.0, 0.01, 0.2, 3.0])
        self.request_bytes = self.chance.choice([2**20, 2**20, 3000])
        self.wanted: dict[str, link_pb2.PoolSettings] = {}
        self.drains: dict[str, list[str]] = {}
        self.seen: list[link_pb2.PoolSettings] = []
        self.named = set(ADDRESSES[:2])
        self.processes: dict[str, Process] = {}
        self.uids = 0
        self.lives = 0
        self.tasks: set[asyncio.Task[Any]] = set()
        self.overlaps = False

    def _failed(self, why: str) -> None:
        self.problems.append(why)

    def note(self, what: str) -> None:
        self.trace.append(f"{asyncio.get_running_loop().time():.4f} {what}")

    async def pause(self) -> None:
        """Of a write."""
        await asyncio.sleep(self.chance.random() * self.slow_writes if self.chance.random() < 0.5 else 0.0)

    def spawn(self, work: Any, name: str = "") -> None:
        task = asyncio.create_task(work, name=name)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def run(self) -> None:
        with (
            patch.object(operator_replica, "REQUEST_BYTES", self.request_bytes),
            patch.object(roster, "SWEEP_SECONDS", 10.0),
        ):
            for address in ADDRESSES[:2]:
                await self.start(address)
            self.operator = Operator(self, dict(self.wanted))
            for _ in range(STEPS):
                self.step()
                await asyncio.sleep(self.chance.choice(GAPS) * self.chance.random())
                await self.check()
            await self.settle()
            await self.end()

    # ---- what happens

    def step(self) -> None:
        chance = self.chance
        if chance.random() < 0.6:
            for _ in range(chance.choice([1, 1, 2, 5])):
                self.edit()
            return
        moves: list[Callable[[], None]] = [
            self.restart,
            self.cut,
            self.hello,
            self.hello,
            self.hello,
            self.block,
            self.store_away,
            self.store_emptied,
            self.new_leader,
            self.scale,
            self.resync,
        ]
        chance.choice(moves)()

    def edit(self) -> None:
        """By a person, and told as the operator's loop tells it."""
        chance = self.chance
        name = chance.choice(NAMES)
        there = self.wanted.get(name)
        kind = chance.random()
        if there is None or kind < 0.1:
            self.uids += 1
            self.put(settings(name, uid=f"uid-{self.uids}"))  # Where there was one: deleted and made again between two looks.
        elif kind < 0.35:
            self.note(f"delete {name}")
            del self.wanted[name]
            self.drains.pop(name, None)
            self.operator.fleet.forget(name)
        elif kind < 0.5:
            self.drains[name] = chance.sample(["a", "b", "c"], chance.randint(0, 3))
            self.put(there)
        else:
            sections: dict[str, Any] = {"suspended": chance.random() < 0.5, "queue": {"maxSize": chance.randint(1, 100)}}
            self.put(settings(name, uid=there.uid, generation=there.generation + 1, **sections))

    def put(self, what: link_pb2.PoolSettings) -> None:
        self.note(f"put {what.pool} {what.uid} {what.generation}")
        self.wanted[what.pool] = what
        self.seen.append(what)
        self.operator.fleet.put(what, [f"{what.pool}-{each}" for each in self.drains.get(what.pool, [])])

    def resync(self) -> None:
        self.operator.fleet.set_pools(list(self.wanted.values()))

    async def start(self, address: str) -> None:
        process = self.processes[address] = Process(self.shared)
        self.network.hosts[address] = {"Sync": process.servicer.Sync}  # type: ignore[dict-item]
        await process.start()

    def restart(self) -> None:
        self.spawn(self._restart(self.chance.choice(ADDRESSES)))

    async def _restart(self, address: str) -> None:
        process = self.processes.pop(address, None)
        if process is None:
            return
        self.note(f"kill {address}")
        self.network.hosts.pop(address, None)
        self._cut(address, arrives=False)
        await process.kill()
        await asyncio.sleep(self.chance.random() * self.chance.choice([0.01, 3.0]))
        if address in self.named and address not in self.processes:  # It may have left, and be named again, meanwhile.
            self.note(f"start {address}")
            await self.start(address)

    def cut(self) -> None:
        self._cut(self.chance.choice(ADDRESSES), arrives=self.chance.random() < 0.5)

    def _cut(self, address: str, *, arrives: bool) -> None:
        chance = self.chance
        for connection in [each for each in self.network.connections if each.replica == address]:
            self.note(f"cut {address}, arrives: {arrives}")
            notices = [chance.random() * chance.choice([0.01, 4.0]) for _ in range(2)]
            connection.cut(arrives=arrives, up_notices=notices[0], down_notices=notices[1])

    def block(self) -> None:
        way = ("operator", self.chance.choice(ADDRESSES))
        self.network.blocked.add(way)
        self._cut(way[1], arrives=False)
        asyncio.get_running_loop().call_later(self.chance.random() * 20, self.network.blocked.discard, way)

    def store_away(self) -> None:
        self.note("the store is away")
        self.shared.away, self.shared.acts = True, self.chance.random() < 0.5
        asyncio.get_running_loop().call_later(self.chance.random() * 20, setattr, self.shared, "away", False)

    def store_emptied(self) -> None:
        self.note("the store has lost everything")
        self.shared.empty()

    def new_leader(self) -> None:
        """The one before may go on for a while with what it knows."""
        self.note("another leader")
        before, self.operator = self.operator, Operator(self, dict(self.wanted))
        for name, what in self.wanted.items():
            self.operator.fleet.put(what, [f"{name}-{each}" for each in self.drains.get(name, [])])
        self.spawn(self._resign(before, self.chance.random() * self.chance.choice([0.0, 3.0])), "resign")
        self.overlaps = True

    async def _resign(self, before: Operator, after: float) -> None:
        await asyncio.sleep(after)
        await before.stop()
        await asyncio.sleep(6.0)  # What it has sent last arrives, and the other one hears what came of it.

    def scale(self) -> None:
        if len(self.named) < 3:
            self.named.add("r2")
            if "r2" not in self.processes:
                self.spawn(self.start("r2"))
        else:
            self.named.discard("r2")
            self.spawn(self._scaled_down())

    async def _scaled_down(self) -> None:
        await asyncio.sleep(self.chance.random() * 5)
        if "r2" not in self.named and (process := self.processes.pop("r2", None)) is not None:
            self.network.hosts.pop("r2", None)
            self._cut("r2", arrives=False)
            await process.kill()

    def hello(self) -> None:
        """Of a capsule of any pool that there ever was, in settings of any age."""
        if self.seen and self.processes:
            process = self.processes[self.chance.choice(sorted(self.processes))]
            self.lives += 1
            self.spawn(self._hello(process, self.chance.choice(self.seen), f"life-{self.lives}"))

    async def _hello(self, process: Process, its: link_pb2.PoolSettings, life: str) -> None:
        about = link_pb2.Capsule(name=f"capsule-{life}", incarnation=life, pool=its.pool, settings=its)
        frames: list[link_pb2.Frame] = []
        try:
            capsule = await process.fleet.join(link_pb2.Hello(role=link_pb2.ROLE_AGENT, capsule=about), frames.append)
        except SnakepitError as error:
            self.note(f"hello of {its.pool} {its.uid}: {error.reason}")
            return
        self.note(f"hello of {its.pool} {its.uid}: welcome")
        await asyncio.sleep(self.chance.random() * 10)
        process.fleet.leave(capsule, frames.append)

    # ---- what must hold

    async def check(self) -> None:
        """What the operator takes for confirmed is so, at each replica that is still the process that it talks with."""
        if self.overlaps:
            self.overlaps = any(task.get_name() == "resign" for task in self.tasks)
            return
        fleet = self.operator.fleet
        assert not self.problems, self.problems
        confirmed = await fleet.flushed(0.0)
        for address in sorted(self.operator.follows):
            process = self.processes.get(address)
            if process is None or self.operator.process.get(address) is not process:
                continue
            if confirmed:
                assert process.held() == self._want(), f"all is confirmed, and {address} has other pools"
                assert process.fleet.cordoned == self._cordoned(), f"all is confirmed, and at {address} others are cordoned"
            for name in sorted(process.held().keys() | self.wanted.keys()):
                self._check_pool(address, process, name)

    def _check_pool(self, address: str, process: Process, name: str) -> None:
        view = self.operator.fleet.view(name)
        if view is None or view.behind or view.unheard:
            return
        want, pool = self.wanted.get(name), process.fleet.flow.pools.get(name)
        has = pool.settings if pool is not None else None
        assert has == want, f"{address} has {_brief(has)}, and {_brief(want)} is confirmed"

    def _want(self) -> dict[str, bytes]:
        return {name: settings_digest(each) for name, each in self.wanted.items()}

    def _cordoned(self) -> set[str]:
        return {f"{name}-{each}" for name, those in self.drains.items() for each in those}

    async def settle(self) -> None:
        """When faults are over, every replica holds exactly what it should, the store too, and the operator knows it."""
        self.note("settle")
        self.network.blocked.clear()
        await asyncio.sleep(25)
        self.network.blocked.clear()
        self.shared.come_back()
        while self.tasks:
            await asyncio.gather(*self.tasks)
        await asyncio.sleep(SETTLE_SECONDS)
        want = self._want()
        for address in sorted(self.named):
            process = self.processes[address]
            assert process.held() == want, f"{address} has {sorted(process.held())} and not {sorted(want)}, or other settings of them"
            assert process.fleet.cordoned == self._cordoned(), f"{address}: {process.fleet.cordoned} are cordoned"
        stored = {each.pool: settings_digest(each) for each in await self.shared.memory.load_pools()}
        assert stored == want, f"the store has {sorted(stored)} and not {sorted(want)}, or other settings of them"
        fleet = self.operator.fleet
        assert await fleet.flushed(30.0), f"not all of {sorted(self.operator.follows)} have confirmed what was told"
        for name, each in self.wanted.items():
            view = fleet.view(name)
            assert view is not None, "no replica answers"
            assert (view.behind, view.unheard, view.held_generation) == (0, 0, each.generation), f"{name}: {view}"

    async def end(self) -> None:
        await self.operator.stop()
        for process in self.processes.values():
            await process.kill()
