"""One run: clients, replicas, capsules and a store on a virtual clock, faults among them, and what must be left in the end: nothing."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from typing import Any

from simulation.account import Account
from simulation.capsule import SimulatedCapsule
from simulation.client import Client, Wanted
from simulation.contents import LARGEST
from simulation.faults import LONG, Plan, befall
from simulation.left_over import left_over
from simulation.limits import Limits
from simulation.lookout import Lookout
from simulation.network import Network
from simulation.offerings import Offerings
from simulation.offers import Offerer
from simulation.process import Process
from simulation.replica import Host
from simulation.store import SharedStore

from snakepit.errors import SnakepitError
from snakepit.v1 import common_pb2
from snakepit_control_plane.flow.sessions.releases import rebind
from snakepit_control_plane.model.session import SessionRecord
from support.simulated_agent import POOL, settings

OTHER = "default/other"
REPLICAS = ("one", "two", "three")
SESSIONS = ("a", "b")
QUIET_SECONDS = 150.0
"""After the last fault: by then everything has been answered, given up or forgotten."""

HEARD_SECONDS = 1.5
"""A beat and a half."""

AFFINITIES = [0, 0, 0, common_pb2.AFFINITY_STRICT_QUEUE, common_pb2.AFFINITY_STRICT_FAIL_FAST]
PRIORITIES = [0, 0, 0, common_pb2.PRIORITY_HIGH, common_pb2.PRIORITY_LOW]
GAPS = [0.0, 0.0, 0.0, 0.0001, 0.001, 0.01, 0.05, 0.2]


class World:
    """`plan`: what this seed is about."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.plan = plan = Plan.draw(self.chance)
        limits = Limits(exclusive=plan.exclusive, per_caller=plan.per_caller)
        self.account = Account(ordered=plan.ordered, limits=limits, steady=plan.steady)
        self.network = Network(self.chance, REPLICAS[: plan.replicas], self.account.problems.append)
        self.store = SharedStore(self.account, self.chance)
        self.account.is_heard = self._is_heard
        self.account.is_awaited = self._is_awaited
        self.descriptors: dict[int, Process] = {}
        self.hosts = [Host(name, self.network, self.store) for name in self.network.replicas]
        self.capsules = [self._capsule(f"c{n}", POOL) for n in range(plan.capsules)] + [
            self._capsule(f"o{n}", OTHER) for n in range(plan.others)
        ]
        self.clients = [Client(f"client{n}", self.account, self.network) for n in range(plan.clients)]
        self.offerings = Offerings(self.account)
        self.offerers = [Offerer(f"offerer{n}", self.offerings, self.network, plan) for n in range(plan.offerers)]
        self.busy: set[asyncio.Task[Any]] = set()
        self.keys, self.uids = itertools.count(), itertools.count()
        self.recent_keys: list[tuple[str, str, str, int]] = []
        self.lookout = Lookout(self)

    def _capsule(self, name: str, pool: str) -> SimulatedCapsule:
        spec = settings(pool, uid=f"uid-{pool}", **self.plan.sections(pool == OTHER))
        return SimulatedCapsule(name, spec, self.account, self.network, self.descriptors, self.plan)

    async def run(self) -> None:
        await self._begin()
        for _ in range(self.plan.steps):
            await self._step()
            self._check()
        await self._settle()
        await self._end()

    async def _begin(self) -> None:
        for name in SESSIONS:
            await self._create(name)
        for host in self.hosts:
            await host.start()
        for capsule in self.capsules:
            capsule.start()
        for client in [*self.clients, *self.offerers]:
            client.start()
        self.lookout.start()
        await asyncio.sleep(0.3)

    async def _create(self, session: str) -> None:
        """Nothing where there is one; after an expiry it is another, of the same name."""
        record = SessionRecord(POOL, session, f"uid-{session}-{next(self.uids)}", 0.0, 0.0, self.plan.ttl, 1)
        await self.store.memory.create_session(record, 100)

    # ---- steps

    async def _step(self) -> None:
        kind = self.chance.random()
        if self.offerers and self.chance.random() < 0.1:
            self.chance.choice(self.offerers).move()
        if kind < self.plan.faultiness:
            befall(self, self.chance.choice(self.plan.faults))
        elif kind < 0.85:
            self.call()
        elif kind < 0.9:
            self.burst()
        else:
            self.disturb()
        await asyncio.sleep(self.chance.choice(GAPS) if self.chance.random() < 0.95 else self.chance.uniform(0.5, self.plan.longest))

    def call(self) -> None:
        chance = self.chance
        client, tool = chance.choice(self.clients), chance.choice(self.plan.tools)
        session = chance.choice([*SESSIONS, "", ""]) if self.plan.sessions else ""
        if session and self.plan.ttl < LONG and chance.random() < 0.5:
            self.spawn(self._create(session))
        large = chance.randint(100, LARGEST) if self.plan.large and chance.random() < 0.4 else 0
        key = ""
        if self.plan.keys and chance.random() < 0.3 and tool != "stream":
            if self.recent_keys and chance.random() < 0.5:
                key, tool, session, large = chance.choice(self.recent_keys)
            else:
                key = f"key-{next(self.keys)}"
                self.recent_keys.append((key, tool, session, large))
        timeout = chance.choice([0.05, 0.5, 3.0, 8.0, 60.0, 60.0])
        client.call(Wanted(tool, timeout, session, chance.choice(AFFINITIES), key, chance.choice(PRIORITIES), large))

    def burst(self) -> None:
        """So many quick calls that they are sent ahead of free slots, and perhaps something happens to them there."""
        for _ in range(self.chance.randint(4, 12) if "quick" in self.plan.tools else 0):
            self.chance.choice(self.clients).call(Wanted("quick", self.chance.choice([0.5, 60.0])))
        if self.chance.random() < 2 * self.plan.faultiness:
            asyncio.get_running_loop().call_later(self.chance.random() * 0.005, befall, self, self.chance.choice(self.plan.faults))

    def disturb(self) -> None:
        """Callers who change their minds, and who move sessions."""
        client = self.chance.choice(self.clients)
        if client.pending and self.chance.random() < 0.7:
            asking = [each for each in client.pending if each.tool == "asking"]
            client.cancel(self.chance.choice(asking or client.pending))
        elif self.plan.sessions:
            self.spawn(self._rebind(self.chance.choice(self.hosts), self.chance.choice(SESSIONS)))

    async def _rebind(self, host: Host, session: str) -> None:
        replica = host.replica
        if replica is not None and POOL in replica.flow.pools:
            with contextlib.suppress(SnakepitError):
                await rebind(replica.sessions, replica.flow.pools[POOL], session)

    def spawn(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self.busy.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self.busy.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.account.problems.append(f"{error!r}")

    # ---- what must hold at any time

    def _is_heard(self, agent: str) -> bool:
        now = asyncio.get_running_loop().time()
        pools = [pool for host in self.hosts if host.replica is not None for pool in host.replica.flow.pools.values()]
        capsules = [pool.capsules.get(agent) for pool in pools]
        return any(capsule is not None and capsule.linked and now - capsule.heard < HEARD_SECONDS for capsule in capsules)

    def _is_awaited(self, call_id: str) -> bool:
        return any(host.replica is not None and call_id in host.replica.flow.nested.client_calls for host in self.hosts)

    def _check(self) -> None:
        assert not self.account.problems, self.account.problems[0]
        for host in self.hosts:
            flow = host.replica.flow if host.replica is not None else None
            if flow is None:
                continue
            awaited = flow.calls.deadlines.wheel
            assert len(awaited) <= flow.calls.count, "a call that has ended has a deadline"
            for pool in flow.pools.values():
                again = sum(call.place.requeued for call in awaited if call.pool is pool and call.place is not None and call.place.counted)
                assert pool.queue.depth + pool.queue.joined <= pool.queue.max_size + again, "the queue holds more than its bound"
                assert all(worker.own >= 0 for worker in pool.workers.values()), "a worker's calls are counted wrongly"
                free = pool.uniform and pool.index.pick_free() is not None
                assert not (free and pool.queue.anybody), "a call waits though a slot is free"
                for worker, line in pool.queue.pinned.items():
                    # A worker that is being recycled serves strict sessions only; others can't leave it while the store is away.
                    waits = [call for call in line if not worker.retiring or call.request.affinity not in (0, common_pb2.AFFINITY_HINT)]
                    assert not (worker.has_room and waits), "a call waits for its worker, which has a free slot"
        for capsule in self.capsules:
            for process in capsule.processes:
                assert len(process.running) <= process.slots, "more calls than slots"

    # ---- the end

    async def _settle(self) -> None:
        """No more faults; everybody comes back, and gets time."""
        self.store.come_back()
        self.network.doomed = 0
        self.network.slowest = 0.002
        for host in self.hosts:
            await host.start()
        for capsule in self.capsules:
            if capsule.agent is None:
                capsule.start()
        loop = asyncio.get_running_loop()
        until, left = loop.time() + QUIET_SECONDS, ["not looked at"]
        while left and loop.time() < until:
            await asyncio.sleep(0.5)
            self._check()
            left = [each.call_id for each in self.account.unanswered()] or left_over(self)
        self.account.close()
        self._check()
        assert not left, f"left over: {left}"
        self.lookout.stop()

    async def _end(self) -> None:
        for task in list(self.busy):
            await asyncio.gather(task, return_exceptions=True)
        for client in [*self.clients, *self.offerers]:
            await client.stop()
        for capsule in self.capsules:
            if capsule.agent is not None:
                await capsule.agent.stop()
        for host in self.hosts:
            await host.stop(0.0)
        await asyncio.sleep(45.0)  # Until the last fault is over.
        self._check()
        tasks = [task.get_name() for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        assert not tasks, f"tasks are left: {tasks}"
        assert not self.network.connections, f"connections are left: {self.network.connections}"
        timers = [each for each in asyncio.get_running_loop()._scheduled if not each.cancelled()]  # type: ignore[attr-defined]  # noqa: SLF001
        assert not timers, f"timers are left: {timers}"
