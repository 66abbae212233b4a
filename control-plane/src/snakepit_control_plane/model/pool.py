"""One pool as this replica knows it: settings, capsules, workers, tools, queue. Pure: state and the rules that keep it consistent."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, deque
from collections.abc import Iterable, Mapping

from snakepit._ewma import next_mean
from snakepit._retry import RetryBudget
from snakepit._wire.messages import settings_digest
from snakepit.spec import SnakePoolSpec
from snakepit.v1 import common_pb2, link_pb2, pool_pb2
from snakepit_control_plane.model.capsule import FAILING, Capsule, Worker, WorkerIndex
from snakepit_control_plane.model.demand import Demand
from snakepit_control_plane.model.objectives import Objectives
from snakepit_control_plane.model.queue import PoolQueue
from snakepit_control_plane.model.quotas import Callers, Mark
from snakepit_control_plane.model.records import PoolRecords

GONE_REMEMBERED = 10_000
MOST_REST_SECONDS = 10.0
MOST_AGE_SECONDS = 2.0


class Pool:
    """Everything is changed through methods, because the index, the counts and the tools follow the workers."""

    def __init__(self, settings: link_pb2.PoolSettings, spec: SnakePoolSpec, now: float, wall: float = 0.0) -> None:
        """`wall`: what to add to the loop's clock to have seconds since the epoch."""
        self.name = settings.pool
        self.settings = settings
        self.digest = settings_digest(settings)
        self.spec = spec
        self.capsules: dict[str, Capsule] = {}
        self.workers: dict[str, Worker] = {}
        # By incarnation: those whose place others have, until they have ended.
        self.leaving: dict[str, Worker] = {}
        self.toolset = Toolset()
        self.tools = self.toolset.tools
        self.description = ""
        self.uniform = True
        self.index = WorkerIndex()
        self.queue = PoolQueue(spec.queue.max_size, _age_seconds(spec))
        self.callers = Callers(spec.call.max_concurrent_per_caller or 0)
        self.demand = Demand(now)
        # Calls wait, and there is no worker: the operator has been told.
        self.is_short = False
        self.slots = 0
        self.ready_workers = 0
        self.last_ready_at = -math.inf
        # This replica has just started, and the pool's agents may be about to link.
        self.patient_until = -math.inf
        self.failures = 0.0
        self.held_since = math.inf
        self.held_last = -math.inf
        self.silence_held = False
        # The capsules lost last: name, incarnation, pod uid; for the operator, which replaces them.
        self.lost: deque[tuple[str, str, str]] = deque(maxlen=256)
        # When this replica last found the store away. What was before it knew the pool, it can't know.
        self.store_away_at = now
        self.sessions = 0
        # Busy slots, waiting calls and sessions, as counted last.
        self.counted = (0, 0, 0)
        self.mark = Mark()
        # Nothing more comes of a call that has no worker: none is found any more.
        self.is_deleted = False
        # For running again what may have run; a pool without idempotent tools has none.
        self.budget: RetryBudget | None = None
        self.means: dict[str, float] = {}
        # How many lives have ended, and how.
        self.ends: Counter[str] = Counter()
        # Why lives have ended, for strict sessions that ask after them; and whether that is counted in `ends`.
        self._gone: OrderedDict[str, tuple[str, bool]] = OrderedDict()
        self.records: PoolRecords | None = None
        self._wall = wall
        self.objectives = None if spec.slo is None else Objectives(spec.slo, now, wall)

    def configure(self, settings: link_pb2.PoolSettings, spec: SnakePoolSpec, now: float) -> None:
        if spec.slo is None or self.objectives is None or settings.uid != self.settings.uid:
            self.objectives = None if spec.slo is None else Objectives(spec.slo, now, self._wall)
        else:
            self.objectives.configure(spec.slo, now)
        self.settings, self.digest, self.spec = settings, settings_digest(settings), spec
        self.queue.configure(spec.queue.max_size, _age_seconds(spec))
        self.callers.limit = spec.call.max_concurrent_per_caller or 0

    # ---- workers

    def find(self, worker: str, incarnation: str) -> Worker | None:
        """That life of that worker, if it goes on."""
        found = self.workers.get(worker)
        return found if found is not None and found.incarnation == incarnation else self.leaving.get(incarnation)

    def has_gone(self, incarnation: str) -> bool:
        return incarnation in self._gone

    def note_end(self, incarnation: str, why: str, *, counts: bool = False) -> None:
        """That life of a worker has ended. `counts`: in `ends`, but once. A capsule that was given up comes back to say that its workers
        have ended: then why they had been given up stands."""
        if not incarnation or self._gone.get(incarnation, ("", False))[1]:
            return
        if counts:
            self.ends[why] += 1
        self._gone[incarnation] = why, counts
        if len(self._gone) > GONE_REMEMBERED:
            self._gone.popitem(last=False)

    def why_gone(self, worker: str, incarnation: str) -> str:
        """In the words of SESSION_WORKER_UNAVAILABLE: recycled, oom, crashed, evicted, scaled down, lost."""
        leaving = self.find(worker, incarnation)
        return self._gone.get(incarnation, ("lost", False))[0] if leaving is None else why_leaving(leaving)

    def update(
        self, capsule: Capsule, infos: Iterable[pool_pb2.Worker], now: float, leaving: Iterable[pool_pb2.Worker] = ()
    ) -> list[Worker]:
        """Take over a capsule's report; returns the workers whose lives have ended. `leaving`: those whose place others have taken.

        A worker that has not been started yet has no incarnation: of those a capsule may have several, and none of them ends.
        """
        known = {(worker.id, worker.incarnation): worker for worker in capsule.everyone}
        seen = {info.id: self._take(capsule, known, info) for info in infos}
        left = {info.incarnation: self._take(capsule, known, info, retiring=True) for info in leaving}
        gone = list(known.values())
        for worker in gone:
            self._forget(worker, "recycled" if worker.retiring else _why(seen.get(worker.id)))
        for worker in left.values():
            self.index.remove(worker)
        capsule.workers, capsule.leaving = seen, left
        self.workers.update(seen)
        self.leaving.update(left)
        self.refresh(capsule, now)
        return [worker for worker in gone if worker.incarnation]

    def _take(self, capsule: Capsule, known: dict[tuple[str, str], Worker], info: pool_pb2.Worker, *, retiring: bool = False) -> Worker:
        """The worker that the agent speaks of: one out of `known`, or a new one."""
        worker = known.pop((info.id, info.incarnation), None)
        if worker is None:
            worker = Worker(capsule, info)
            self.slots += worker.slots
        self.slots += worker.take(info, retiring=retiring)
        return worker

    def refresh(self, capsule: Capsule, now: float) -> None:
        """Recompute what depends on which of the capsule's workers may be used: index, counts, tools. On changes, not on calls."""
        before, alive = self.ready_workers, 0
        for worker in capsule.workers.values():
            self.index.place(worker, now)
            alive += worker.alive
        self.ready_workers += alive - capsule.ready_workers
        capsule.ready_workers = alive
        if before or self.ready_workers:
            self.last_ready_at = now
        # Workers that can't be used for the moment will be back, and what they offer is worth waiting for.
        stays = capsule.incarnation in self.capsules and not (capsule.draining or capsule.cordoned)
        self.toolset.offer(capsule, capsule.tools if alive or stays else {})
        self.uniform = self.toolset.uniform
        if self.budget is None and any(tool.idempotent for tool in capsule.tools.values()):
            self.budget = RetryBudget()

    def remove(self, capsule: Capsule, why: str, now: float) -> list[Worker]:
        """The capsule is gone; returns its workers."""
        self.capsules.pop(capsule.incarnation, None)
        gone = capsule.everyone
        for worker in gone:
            self._forget(worker, why)
        capsule.workers, capsule.leaving = {}, {}
        self.refresh(capsule, now)
        return gone

    def _forget(self, worker: Worker, why: str) -> None:
        worker.ready = False
        self.index.remove(worker)
        self.slots -= worker.slots
        self.failures -= worker.failure_share
        if self.workers.get(worker.id) is worker:
            del self.workers[worker.id]
        self.leaving.pop(worker.incarnation, None)
        self.note_end(worker.incarnation, why, counts=True)

    def trusts_leases(self, now: float) -> bool:
        """Has an agent without a lease been silent? One that ran out while the store was away is renewed by whoever hears the agent."""
        return now - self.store_away_at >= self.spec.heartbeat.timeout_seconds

    # ---- what calls have taught

    def count_outcome(self, worker: Worker, tool: str, sent_at: float, failed: bool) -> float:
        """Take note of how a call ended; returns until when the worker should rest (0: it need not).

        A worker that fails fast would be free more often than its peers and draw their calls to it. One that fails while its peers
        don't is therefore held, after a failure, as long as a successful call would have held it.
        """
        change = worker.count_outcome(failed)
        if self.find(worker.id, worker.incarnation) is worker:
            self.failures += change
        others = len(self.workers) - 1
        if not failed or worker.failure_share <= FAILING or others < 1:
            return 0.0
        if (self.failures - worker.failure_share) / others > worker.failure_share / 2:
            return 0.0
        return sent_at + min(self.means.get(tool, 0.0), MOST_REST_SECONDS)

    def mean_seconds(self, tool: str) -> float:
        """The running mean of a tool's duration; infinity while it is unknown."""
        return self.means.get(tool, math.inf)

    def learn(self, tool: str, seconds: float) -> None:
        self.means[tool] = next_mean(self.means.get(tool), seconds)

    # ---- for people

    def infos(self) -> list[pool_pb2.Worker]:
        """Every worker as its agent reported it last, by id; one that leaves comes after the one that has its place."""
        everyone = [*self.workers.values(), *self.leaving.values()]
        for worker in everyone:
            worker.info.liveness, worker.info.node = worker.capsule.liveness, worker.capsule.node
        return [worker.info for worker in sorted(everyone, key=lambda each: (each.id, each.retiring))]

    @property
    def was_ready(self) -> bool:
        """Has this replica ever seen a worker of it that was?"""
        return self.last_ready_at > -math.inf

    @property
    def is_hopeless(self) -> bool:
        """Has every worker that is known a fault that keeps it from getting ready?"""
        return bool(self.workers) and all(each.info.reason not in ("", "Starting") for each in self.workers.values())

    def why_not_ready(self) -> str:
        reason, message = reason_of(worker.info for worker in self.workers.values())
        return f"{reason}: {message}"

    def count(self) -> bool:
        """Whether other numbers of calls run and wait than at the last count, or there are more or fewer sessions."""
        before, self.counted = self.counted, (self.busy_slots, self.queue.depth, self.sessions)
        return self.counted != before

    @property
    def busy_slots(self) -> int:
        """Slots of ready workers that run a call, whichever replica it came through."""
        return sum(worker.slots if worker.taken else min(worker.load, worker.slots) for worker in self.workers.values() if worker.alive)

    @property
    def _desired_capsules(self) -> int:
        """How many an autoscaled pool should have, the operator alone knows: here it is those that are there."""
        if self.spec.suspended:
            return 0
        return self.spec.replicas if self.spec.autoscaling is None else max(self.spec.least_replicas, len(self.capsules))

    def why_none(self) -> tuple[str, str]:
        """Why no worker is ready; as it was wished, in the words that conditions have for it."""
        if self.spec.suspended:
            return "Suspended", "spec.suspended is set"
        if not self.workers and not self._desired_capsules and not self.queue.depth:
            return "ScaledToZero", "it is to have no capsules"
        return reason_of(worker.info for worker in self.workers.values())

    def describe(self, now: float) -> pool_pb2.Pool:
        """The pool as PoolService and the operator see it. `now`: of the loop's clock."""
        ready = [worker for worker in self.workers.values() if worker.alive]
        reason, message = ("Ready", f"{len(ready)} workers are ready") if ready else self.why_none()
        return pool_pb2.Pool(
            name=self.name,
            generation=self.settings.generation,
            desired_capsules=self._desired_capsules,
            live_capsules=sum(capsule.liveness == pool_pb2.LIVENESS_LIVE for capsule in self.capsules.values()),
            ready_workers=len(ready),
            busy_slots=self.busy_slots,
            total_slots=sum(worker.slots for worker in ready),
            queue_depth=self.queue.depth,
            queue_limit=self.spec.queue.max_size,
            sessions=self.sessions,
            sessions_mark=self.mark.standing,
            available=bool(ready),
            reason=reason,
            message=message,
            objectives=() if self.objectives is None else self.objectives.messages(now),
        )


def _age_seconds(spec: SnakePoolSpec) -> float:
    """Every so long that a call has waited counts as one priority more: the least of them is as good as any well before it times out."""
    return min(MOST_AGE_SECONDS, spec.queue.timeout_seconds / 5)


def why_leaving(worker: Worker) -> str:
    """Why a worker that its agent still names takes no more calls."""
    if worker.capsule.cordoned or worker.capsule.draining:
        return worker.capsule.why_leaving
    return "recycled" if worker.info.state == pool_pb2.WORKER_STATE_DRAINING else _why(worker)


def _why(worker: Worker | None) -> str:
    """How a life ended, as the agent explains the one that came after it, or that none came (None: it names the worker no more)."""
    if worker is None:
        return "scaled down"
    if worker.info.reason == "Drained":
        return "scaled down" if worker.info.state == pool_pb2.WORKER_STATE_STOPPED else "recycled"
    reason = worker.info.reason.lower()
    if "oom" in reason or "memory" in reason:
        return "oom"
    return "recycled" if "recycle" in reason else "crashed"


def reason_of(workers: Iterable[pool_pb2.Worker]) -> tuple[str, str]:
    """Why a pool's workers are not ready, in their own words: CamelCase reason and a sentence."""
    known = list(workers)
    if not known:
        return "NoCapsule", "no capsule is connected"
    telling = [worker for worker in known if worker.reason and worker.state != pool_pb2.WORKER_STATE_READY]
    # A fault says more than that another worker is still on its way.
    for worker in sorted(telling, key=lambda each: each.reason == "Starting"):
        return worker.reason, worker.message
    starting = sum(worker.state == pool_pb2.WORKER_STATE_STARTING for worker in known)
    return ("Starting", f"{starting} of {len(known)} workers are starting") if starting else ("NoWorker", "no worker is running")


class Toolset:
    """`tools` by name, as offered last; they are remembered while nobody offers any. `uniform`: everybody offers all of them."""

    def __init__(self) -> None:
        self.tools: dict[str, common_pb2.Tool] = {}
        self.uniform = True
        self._offers: dict[Capsule, Mapping[str, common_pb2.Tool]] = {}
        self._counts: Counter[str] = Counter()

    def offer(self, capsule: Capsule, tools: Mapping[str, common_pb2.Tool]) -> None:
        """Replace what the capsule offers; with no tools it offers nothing. The mapping must not be changed afterwards."""
        before = self._offers.get(capsule)
        if before is tools or (before is None and not tools):
            return
        if before is not None:
            del self._offers[capsule]
            self._counts.subtract(before.keys())
        if tools:
            self._offers[capsule] = tools
            self._counts.update(tools.keys())
        if self._offers:
            self._keep(tools)

    def _keep(self, latest: Mapping[str, common_pb2.Tool]) -> None:
        self.tools.update(latest)
        self._counts = +self._counts
        for name in self.tools.keys() - self._counts.keys():
            del self.tools[name]
        self.uniform = all(count == len(self._offers) for count in self._counts.values())
