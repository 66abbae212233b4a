"""How many calls a second the router can decide about in a large fleet: filter, score, pick, count in, count out; half of them of sessions.

Nothing travels: this is the decision alone, without frames, metrics and links, which the other groups measure. Seconds are of CPU time.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
import time
from collections import deque

from snakepit.spec import decode_spec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.fleet.fleet import Fleet
from snakepit_control_plane.flow.flow import Flow
from snakepit_control_plane.model.call import Call
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.quotas import Limits
from snakepit_control_plane.policy.placement import route
from snakepit_control_plane.store.memory import MemoryStore
from snakepit_control_plane.telemetry import Telemetry
from tests.bench.rounds import ROUNDS
from tests.bench.rows import Row, Target
from tests.support.calls import make_call
from tests.support.simulated_agent import POOL, settings

CAPSULES, WORKERS_EACH, SESSIONS = 5_000, 2, 1_000
IN_FLIGHT = CAPSULES * WORKERS_EACH // 2
ROUND_SECONDS = 1.0
BATCH = 1_000


class LargeFleet:
    """A router with all of its workers ready, half of them busy, and sessions bound to a thousand of them."""

    def __init__(self) -> None:
        self.flow = Flow(Telemetry(), Limits(max_payload_bytes=1000), MemoryStore(), "replica")
        self.fleet = Fleet(self.flow, MemoryStore())
        given = settings(replicas=CAPSULES)
        self.pool = self.flow.pools[POOL] = Pool(given, decode_spec(given.spec), 0.0)
        self.capsules = [self._capsule(f"c{number}") for number in range(CAPSULES)]
        self.pool.learn("tool", 0.05)
        self.bound = [(worker.id, worker.incarnation) for worker in itertools.islice(self.pool.workers.values(), SESSIONS)]
        self.calls = deque(self._call(number) for number in range(IN_FLIGHT + 1))
        self.sent: deque[Call] = deque()
        self.sessions = itertools.cycle(self.bound)

    def _capsule(self, name: str) -> Capsule:
        capsule = Capsule(name, name, POOL, "", 0.0)
        capsule.tools = {"tool": common_pb2.Tool(name="tool")}
        self.pool.capsules[name] = capsule
        self.fleet.reported(capsule, self.report(capsule))
        return capsule

    @staticmethod
    def report(capsule: Capsule) -> link_pb2.Report:
        ready = pool_pb2.WORKER_STATE_READY
        names = [f"{capsule.name}/{number}" for number in range(WORKERS_EACH)]
        return link_pb2.Report(workers=[pool_pb2.Worker(id=name, incarnation=name, state=ready, slots=1) for name in names])

    @staticmethod
    def _call(number: int) -> Call:
        return make_call(id=number, pool=POOL, tool="tool")

    def decide(self, count: int) -> None:
        """So many decisions; as many calls end as begin."""
        flow, pool = self.flow, self.pool
        for number in range(count):
            now = flow.clock()
            call = self.calls.popleft()
            worker = self._bound() if number & 1 else None
            if worker is None:
                outcome = route(pool, call, now)
                assert isinstance(outcome, Worker)
                worker = outcome
            flow.dispatcher.reserve(pool, call, worker, now)
            self.sent.append(call)
            if len(self.sent) > IN_FLIGHT:
                ended = self.sent.popleft()
                flow.dispatcher.give_back(pool, ended, now)
                self.calls.append(ended)

    def _bound(self) -> Worker | None:
        worker = self.pool.find(*next(self.sessions))
        return worker if worker is not None and worker.has_room else None

    def decisions_per_second(self) -> float:
        done, began = 0, time.process_time()
        while (took := time.process_time() - began) < ROUND_SECONDS:
            self.decide(BATCH)
            done += BATCH
        return done / took

    def reports_per_second(self) -> float:
        """Heartbeats of one capsule after the other, which change nothing."""
        reports = [(capsule, self.report(capsule)) for capsule in self.capsules[:BATCH]]
        done, began = 0, time.process_time()
        while (took := time.process_time() - began) < ROUND_SECONDS:
            self.fleet.reported(*reports[done % BATCH])
            done += 1
        return done / took


async def rows() -> list[Row]:
    fleet = LargeFleet()
    fleet.decide(4 * IN_FLIGHT)
    await asyncio.sleep(0)
    rounds = [(fleet.decisions_per_second(), fleet.reports_per_second()) for _ in range(ROUNDS)]
    await fleet.flow.stop()
    decisions, reports = (statistics.median(each) for each in zip(*rounds, strict=True))
    what = f"router decisions/s, {CAPSULES * WORKERS_EACH:,} workers in {CAPSULES:,} capsules, {SESSIONS:,} sessions"
    beats = f"heartbeats/s taken in, {CAPSULES:,} capsules"
    return [
        Row(what=what, figure=decisions, unit="/s", value=decisions, target=Target("≥", 200_000, "/s"), prototype="1.9 M picks/s"),
        Row(what=beats, figure=reports, unit="/s", value=reports, target=Target("≥", CAPSULES, "/s"), note="one in 2 s for each capsule"),
    ]
