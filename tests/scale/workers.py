"""10,000 workers as a replica of the control plane and the operator have them: what each costs in memory and CPU.

Fleet, router and FleetService are the product's own, in this process; reports come without links. The decisions of one pool of that size
are a row of `make bench` too.
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
    """A replica with so many pools of so many capsules, and half of its workers busy."""

    def __init__(self, pools: int, capsules: int) -> None:
        before = _mebibytes()
        self.flow = Flow(Telemetry(), Limits(max_payload_bytes=1000), MemoryStore(), "replica")
        self.fleet = Fleet(self.flow, MemoryStore())
        self.reports = [each for number in range(pools) for each in self._pool(f"default/pool-{number}", capsules)]
        self.mebibytes = _mebibytes() - before
        self.calls = [self._call(number, f"default/pool-{number % pools}") for number in range(WORKERS // 2)]

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

    @staticmethod
    def _call(number: int, pool: str) -> Call:
        return make_call(id=number, pool=pool, tool="tool")

    def beat(self) -> None:
        """Every capsule, once."""
        for capsule, report in self.reports:
            self.fleet.reported(capsule, report)

    def decide(self) -> None:
        """As many calls end as begin."""
        flow, calls = self.flow, self.calls
        for number in range(DECISIONS):
            now, call = flow.clock(), calls[number % len(calls)]
            pool = flow.pools[call.request.pool]
            if call.worker is not None:
                flow.dispatcher.give_back(pool, call, now)
            worker = route(pool, call, now)
            assert isinstance(worker, Worker)
            flow.dispatcher.reserve(pool, call, worker, now)


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


async def rows() -> list[Row]:
    found: list[Row] = []
    for shape, (pools, capsules) in SHAPES.items():
        plane = Plane(pools, capsules)
        servicer = FleetServicer(plane.fleet, "replica", Gate())
        state = await servicer.state()
        beats, told = await _cpu(plane.beat), await _cpu(servicer.state)
        steps = [await _longest_step(servicer.state) for _ in range(ROUNDS)]
        seen = await _cpu(lambda state=state: [fleet_view([each, each], [state], [capsules_of(each)] * 2) for each in state.pools])
        read = await _cpu(lambda state=state: fleet_pb2.SyncResponse.FromString(state.SerializeToString()))
        decisions = DECISIONS / await _cpu(plane.decide)
        what = f"{WORKERS:,} workers, {shape}"
        figures = (
            ("memory of a replica", plane.mebibytes, "MiB", "≤", 200.0, "beside that of one without agents; links not counted"),
            ("heartbeats", 100 * beats / BEAT_SECONDS, "% of a core", "≤", 10.0, f"{len(plane.reports):,} in {BEAT_SECONDS} s"),
            ("decisions", decisions, "/s", "≥", 100_000.0, ""),
            ("a fleet sync at the replica", 1000 * told, "ms", "≤", 150.0, f"{state.ByteSize():,} bytes, every 5 s"),
            ("its longest pause", 1000 * min(steps), "ms", "≤", 10.0, "for which calls wait"),
            ("a fleet sync at the operator", 1000 * (seen + read), "ms", "≤", 250.0, "of one replica, with both looked at"),
        )
        found += [
            Row(what=f"{what}: {name}", figure=value, unit=unit, value=value, target=Target(relation, target, unit), note=note)
            for name, value, unit, relation, target, note in figures
        ]
        await plane.flow.stop()
    return found
