"""10,000 workers as two replicas of the control plane, and the operator, have them: what each costs in memory and CPU.

Fleet, router and FleetService are the product's own, both replicas' in this process; reports come without links. What an agent tells one
replica of the other's calls, it does so here: at each decision. Decisions of one replica are a row of `make bench` too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, fleet_pb2, link_pb2, pool_pb2
from snakepit_control_plane.authentication import Gate
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.placement import route
from snakepit_control_plane.servers.fleet import FleetServicer
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from snakepit_operator.model import FleetView
from snakepit_operator.views import capsules_of, fleet_view
from tests.bench.rows import Row, Target
from tests.support.calls import make_call
from tests.support.simulated_agent import settings

WORKERS, EACH = 10_000, 2
SHAPES = {"100 pools": (100, 50), "one pool": (1, 5000)}
BEAT_SECONDS = 2
DECISIONS = 20_000
ROUNDS = 5


class Plane:
    """A replica with so many pools of so many capsules, whose calls keep so many workers busy."""

    def __init__(self, pools: int, capsules: int, busy: int) -> None:
        self.flow = Flow(Telemetry(), Limits(max_payload_bytes=1000), MemoryStore(), "replica")
        self.fleet = Fleet(self.flow, MemoryStore())
        self.reports = [each for number in range(pools) for each in self._pool(f"default/pool-{number}", capsules)]
        self.calls = [make_call(id=number, pool=f"default/pool-{number % pools}", tool="tool") for number in range(busy)]

    def _pool(self, name: str, capsules: int) -> list[tuple[Capsule, link_pb2.Report]]:
        given = settings(name, replicas=capsules)
        pool = self.flow.pools[name] = Pool(given, decode_spec(given.spec), 0.0)
        pool.learn("tool", 0.05)
        return [self._capsule(pool, f"{name.partition('/')[2]}-{number}-abcde") for number in range(capsules)]

    def _capsule(self, pool: Pool, name: str) -> tuple[Capsule, link_pb2.Report]:
        capsule = pool.capsules[name] = Capsule(name, name, pool.name, f"uid-{name}", self.flow.clock())
        capsule.tools = {"tool": common_pb2.Tool(name="tool")}
        ids = [f"{name}/{number}" for number in range(EACH)]
        ready = pool_pb2.WORKER_STATE_READY
        report = link_pb2.Report(workers=[pool_pb2.Worker(id=each, incarnation=f"{each}-1", state=ready, slots=1) for each in ids])
        self.fleet.reported(capsule, report)
        return capsule, report

    def decide(self, call: Call) -> list[Worker]:
        """The call ends where it runs, and begins somewhere; those two workers."""
        now, pool, before = self.flow.clock(), self.flow.pools[call.request.pool], call.worker
        if before is not None:
            self.flow.dispatcher.give_back(pool, call, now)
        worker = route(pool, call, now)
        assert isinstance(worker, Worker)
        self.flow.dispatcher.reserve(pool, call, worker, now)
        return [worker] if before is None else [before, worker]

    def hear(self, pool: str, worker: Worker) -> None:
        """An agent tells of the calls that the other replica has at its worker."""
        load = link_pb2.Load.WorkerLoad(worker=worker.id, incarnation=worker.incarnation, elsewhere=worker.own)
        self.fleet.loaded_elsewhere(self.flow.pools[pool].capsules[worker.capsule.incarnation], link_pb2.Load(workers=[load]))


class Two:
    """Replicas with the same capsules, half of whose workers are busy, with one's calls or the other's."""

    def __init__(self, pools: int, capsules: int) -> None:
        before = _mebibytes()
        self.replicas = [Plane(pools, capsules, WORKERS // 4) for _ in range(2)]
        self.mebibytes = _mebibytes() - before

    def beat(self) -> None:
        """Every capsule, once, at both."""
        for plane in self.replicas:
            for capsule, report in plane.reports:
                plane.fleet.reported(capsule, report)

    def decide(self) -> None:
        """As many calls end as begin, at one as at the other."""
        for number in range(DECISIONS // 2):
            for plane, other in (self.replicas, self.replicas[::-1]):
                call = plane.calls[number % len(plane.calls)]
                for worker in plane.decide(call):
                    other.hear(call.request.pool, worker)


def _mebibytes() -> float:
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")) / 1024


async def _cpu(act: Callable[[], object]) -> float:
    """Seconds of CPU, the best of some rounds: what else the machine does makes it only more."""
    taken = []
    for _ in range(ROUNDS):
        began = time.process_time()
        done = act()
        if isinstance(done, Awaitable):
            await done
        taken.append(time.process_time() - began)
    return min(taken)


async def _longest_step(act: Callable[[], Awaitable[object]]) -> float:
    """How long the loop does nothing else meanwhile, in CPU seconds."""
    longest, ended = 0.0, asyncio.ensure_future(act())
    while not ended.done():
        began = time.process_time()
        await asyncio.sleep(0)
        longest = max(longest, time.process_time() - began)
    return longest


def _looked_at(states: list[fleet_pb2.SyncResponse]) -> list[FleetView]:
    pairs = zip(*(each.pools for each in states), strict=True)
    return [fleet_view(pair, states, [capsules_of(each) for each in pair]) for pair in pairs]


async def rows() -> list[Row]:
    found: list[Row] = []
    for shape, (pools, capsules) in SHAPES.items():
        two = Two(pools, capsules)
        servicers = [FleetServicer(plane.fleet, f"replica-{number}", Gate()) for number, plane in enumerate(two.replicas)]
        decisions = DECISIONS / await _cpu(two.decide)
        states = [await each.state() for each in servicers]
        beats, told = await _cpu(two.beat), await _cpu(servicers[0].state)
        steps = [await _longest_step(servicers[0].state) for _ in range(ROUNDS)]
        seen = await _cpu(lambda states=states: _looked_at(states))
        read = await _cpu(lambda states=states: [fleet_pb2.SyncResponse.FromString(each.SerializeToString()) for each in states])
        what = f"{WORKERS:,} workers, {shape}"
        figures = (
            ("memory of both replicas", two.mebibytes, "MiB", "≤", 200.0, "beside that of two without agents; links not counted"),
            (
                "heartbeats at both",
                100 * beats / BEAT_SECONDS,
                "% of a core",
                "≤",
                20.0,
                f"of {pools * capsules:,} in {BEAT_SECONDS} s",
            ),
            ("decisions, and telling the other", decisions, "/s", "≥", 50_000.0, "of both together, by core"),
            ("a fleet sync at a replica", 1000 * told, "ms", "≤", 150.0, f"{states[0].ByteSize():,} bytes, every 5 s"),
            ("its longest pause", 1000 * min(steps), "ms", "≤", 10.0, "for which calls wait"),
            ("fleet syncs at the operator", 1000 * (seen + read), "ms", "≤", 500.0, "of both"),
        )
        found += [
            Row(what=f"{what}: {name}", figure=value, unit=unit, value=value, target=Target(relation, target, unit), note=note)
            for name, value, unit, relation, target, note in figures
        ]
        for plane in two.replicas:
            await plane.flow.stop()
    return found
