"""What a replica counts, in instruments made of the table of metrics (`snakepit._telemetry.metrics.control_plane`).

Labels are bounded: pools that exist, tools that they offer (MOST_TOOLS of each), and the lists of the table.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from snakepit._names import parse_pool
from snakepit._telemetry.metrics import control_plane as rows
from snakepit._telemetry.metrics.instruments import MOST_SERIES, Reading, Registry
from snakepit._telemetry.metrics.row import OTHER
from snakepit._telemetry.metrics.series import Distribution, Tally
from snakepit._telemetry.traceparent import is_sampled, span_id, trace_id
from snakepit.v1 import pool_pb2
from snakepit_control_plane.model.capsule import Capsule, Worker
from snakepit_control_plane.model.pool import Pool
from snakepit_control_plane.model.store_pace import StorePace
from snakepit_control_plane.processor import waited_seconds

MOST_TOOLS = 200
"""Of a pool, that are told apart; calls of further ones are counted as those of `other`."""

GONE_SECONDS = 300.0
"""A tool that its pool doesn't offer any more is told of for so long, and then forgotten."""

COUNTED_AT_ONCE = 128
"""So many calls of a tool have their times counted together; before each scrape all have, of 200 busy tools in a few milliseconds."""

_KEPT = ("", OTHER)

LAG_SECONDS = 15.0
"""Whoever scrapes this often misses nothing."""

_STATES = {value: name.removeprefix("WORKER_STATE_").lower() for name, value in pool_pb2.WorkerState.items()}


@dataclass(slots=True)
class Times:
    """Of calls, in seconds: a histogram, and what is to be counted there next."""

    counted: Distribution
    next: list[float] = field(default_factory=list)

    def count(self) -> None:
        """All that there is."""
        self.counted.observe_all(self.next)
        self.next.clear()


@dataclass(slots=True)
class OfTool:
    """Where a tool's calls are counted, by outcome, and their times. `tool` as its label has it."""

    tool: str
    whole: Times
    queue: Times
    run: Times
    overhead: Times
    outcomes: dict[str, Tally] = field(default_factory=dict)

    def count(self) -> None:
        """The times that are not counted yet."""
        for times in (self.whole, self.queue, self.run, self.overhead):
            times.count()


class Lag:
    """How late the event loop is at worst: in the LAG_SECONDS that go on, and in those before."""

    def __init__(self) -> None:
        self._until = -math.inf
        self._now = self._before = 0.0

    def look(self, now: float, late: float) -> None:
        """It was so late, in seconds, at that time."""
        if now >= self._until:
            self._before = self._now if now < self._until + LAG_SECONDS else 0.0
            self._until, self._now = now + LAG_SECONDS, 0.0
        self._now = max(self._now, late)

    @property
    def worst(self) -> float:
        """In seconds."""
        return max(self._now, self._before)


class Telemetry:
    """One for each server, so that two in one process (local mode, tests) don't share numbers."""

    def __init__(self) -> None:
        self.registry = registry = Registry("control-plane")
        self.calls = registry.counter(rows.CALLS)
        self.seconds = registry.histogram(rows.CALL_DURATION)
        self.returned = registry.counter(rows.RETURNED_CALLS)
        self.waits = registry.histogram(rows.QUEUE_WAIT)
        self.refusals = registry.counter(rows.REFUSALS)
        self.keyed = registry.counter(rows.IDEMPOTENT_CALLS)
        self.reruns = registry.counter(rows.RERUNS)
        self.asked = registry.counter(rows.CLIENT_TOOL_CALLS)
        self.recycles = registry.counter(rows.WORKER_RECYCLES)
        self.lost = registry.counter(rows.CAPSULES_LOST)
        self.suspected = registry.counter(rows.CAPSULES_SUSPECTED)
        self.missed = registry.counter(rows.HEARTBEATS_MISSED)
        self.store_seconds = registry.histogram(rows.STORE_DURATION)
        self.store_errors = registry.counter(rows.STORE_ERRORS)
        self.store_pace = StorePace(time.monotonic)
        self.links = registry.gauge(rows.LINKS)
        self.sessions_created = registry.counter(rows.SESSIONS_CREATED)
        self.sessions_refused = registry.counter(rows.SESSIONS_REFUSED)
        self.sessions_moved = registry.counter(rows.SESSIONS_MOVED)
        self.sessions_lost = registry.counter(rows.SESSIONS_LOST)
        self.state_operations = registry.counter(rows.STATE_OPERATIONS)
        self.lag = Lag()
        self._phases = registry.histogram(rows.CALL_PHASE_DURATION)
        self._tools: dict[str, dict[str, OfTool]] = {}
        # When it was seen first that a tool is not offered any more.
        self._gone: dict[tuple[str, str], float] = {}

    def answered(self, pool: str, tool: str, outcome: str, seconds: float, waited: float, ran: float, traceparent: str = "") -> None:
        """A call has its answer. `tool`: one that the pool offers, or empty. `seconds`: since it came; of them it `waited` in the queue,
        and its tool `ran`: 0 where it has not. `traceparent`: of its span, where it is traced."""
        tools = self._tools.get(pool)
        of = tools.get(tool) if tools is not None else None
        if of is None:
            of = self._of(pool, tool)
        tally = of.outcomes.get(outcome)
        if tally is None:
            tally = self.calls.of(pool, of.tool, outcome)
            if outcome in rows.OUTCOMES:  # And no word of a worker's own, which is counted as OTHER.
                of.outcomes[outcome] = tally
        tally.count += 1
        of.whole.next.append(seconds)
        if traceparent and is_sampled(traceparent):
            of.whole.counted.shown(seconds, trace_id(traceparent), span_id(traceparent))
        if ran > 0.0:
            if waited:
                of.queue.next.append(waited)
            else:
                of.queue.counted.nothing += 1
            of.run.next.append(ran)
            rest = seconds - waited - ran
            of.overhead.next.append(rest if rest > 0.0 else 0.0)
        if len(of.whole.next) >= COUNTED_AT_ONCE:
            of.count()

    def _of(self, pool: str, tool: str) -> OfTool:
        """Of a tool that is not known yet, or is one too many."""
        if len(self._tools) >= MOST_SERIES:  # Nobody scrapes, and so nobody has forgotten pools that are gone.
            self.count()
            self._tools.clear()
        tools = self._tools.setdefault(pool, {})
        name = tool if not tool or len(tools) < MOST_TOOLS else OTHER
        found = tools.get(name)
        if found is None:
            queue, run, overhead = (Times(self._phases.of(pool, name, phase)) for phase in ("queue", "run", "overhead"))
            found = tools[name] = OfTool(name, Times(self.seconds.of(pool, name)), queue, run, overhead)
        return found

    def count(self) -> None:
        """All times that calls have told of."""
        for tools in self._tools.values():
            for of in tools.values():
                of.count()

    def store_answered(self, operation: str, seconds: float | None) -> None:
        """The store has answered; None: it has not, or said no."""
        if seconds is None:
            self.store_errors.add(operation)
        else:
            self.store_seconds.observe(seconds, operation)
            self.store_pace.answered(seconds)

    def watch(self, loop: asyncio.AbstractEventLoop, pools: Mapping[str, Pool], store_up: Callable[[], bool]) -> None:
        """Tell of these pools, as they are at each scrape; of those that are gone, nothing any more."""
        read = (
            rows.QUEUE_DEPTH,
            rows.SLOTS,
            rows.WORKERS,
            rows.CAPSULES,
            rows.WORKER_RESTARTS,
            rows.SESSIONS,
            rows.SESSIONS_LIMIT,
            rows.NAMESPACE_SESSIONS,
            rows.SLO_CALLS,
            rows.SLO_BAD_CALLS,
            rows.SLO_TARGET,
            rows.TASKS,
            rows.EVENT_LOOP_LAG,
            rows.EVENT_LOOP_WAIT,
            rows.STORE_UP,
        )
        self.registry.read(loop, read, lambda: self._read(pools, store_up(), loop.time()))

    def _read(self, pools: Mapping[str, Pool], store_up: bool, now: float) -> Iterator[Reading]:
        self.count()
        self.forget(pools, now)
        yield rows.TASKS, (), len(asyncio.all_tasks())
        yield rows.EVENT_LOOP_LAG, (), self.lag.worst
        yield rows.EVENT_LOOP_WAIT, (), waited_seconds()
        yield rows.STORE_UP, (), store_up
        together: dict[str, int] = defaultdict(int)
        for name, pool in pools.items():
            together[parse_pool(name)[0]] += pool.sessions
            yield from pool_readings(pool)
        for namespace, count in together.items():
            yield rows.NAMESPACE_SESSIONS, (namespace,), count

    def forget(self, pools: Mapping[str, Pool], now: float) -> None:
        """Whatever is of other pools than these, and what their tools were a while ago."""
        self.registry.keep("pool", pools.__contains__)
        for pool in [each for each in self._tools if each and each not in pools]:
            del self._tools[pool]
        self._gone = {each: self._gone.get(each, now) for each in self._not_offered(pools)}
        for name, tool in [each for each, since in self._gone.items() if now - since >= GONE_SECONDS]:
            del self._tools[name][tool]
            for of_tools in (self.calls, self.seconds, self._phases):
                of_tools.forget(name, tool)

    def _not_offered(self, pools: Mapping[str, Pool]) -> Iterator[tuple[str, str]]:
        """Pools and tools of which something is told."""
        for name, pool in pools.items():
            yield from ((name, tool) for tool in self._tools.get(name, ()) if tool not in _KEPT and tool not in pool.tools)


def pool_readings(pool: Pool) -> Iterator[Reading]:
    """What there is of a pool now."""
    name = pool.name
    for priority, depth in zip(rows.PRIORITIES, pool.queue.depths, strict=True):
        yield rows.QUEUE_DEPTH, (name, priority), depth
    busy = pool.busy_slots
    yield rows.SLOTS, (name, "busy"), busy
    yield rows.SLOTS, (name, "free"), sum(each.slots for each in pool.workers.values() if each.alive) - busy
    for state, count in _counts(map(worker_state, [*pool.workers.values(), *pool.leaving.values()]), "ready"):
        yield rows.WORKERS, (name, state), count
    for state, count in _counts(map(capsule_state, pool.capsules.values()), "ready"):
        yield rows.CAPSULES, (name, state), count
    for how, count in pool.ends.items():
        yield rows.WORKER_RESTARTS, (name, how), count
    yield rows.SESSIONS, (name,), pool.sessions
    yield rows.SESSIONS_LIMIT, (name,), pool.spec.session.max_sessions
    for objective, target, calls, bad in () if pool.objectives is None else pool.objectives.totals():
        yield rows.SLO_CALLS, (name, objective), calls
        yield rows.SLO_BAD_CALLS, (name, objective), bad
        yield rows.SLO_TARGET, (name, objective), target / 100


def _counts(states: Iterable[str], always: str) -> Iterable[tuple[str, int]]:
    """How many there are of each; `always`, even when there is none."""
    return {always: 0, **Counter(states)}.items()


def worker_state(worker: Worker) -> str:
    """As `snakepit workers` says it; but a ready one that gets no calls is what its capsule is."""
    state = _STATES.get(worker.info.state, "unspecified")
    if state != "ready" or worker.alive:
        return state
    return "draining" if capsule_state(worker.capsule) == "draining" else "suspect"


def capsule_state(capsule: Capsule) -> str:
    """In one word."""
    if capsule.draining or capsule.cordoned:
        return "draining"
    if capsule.liveness != pool_pb2.LIVENESS_LIVE or not capsule.linked:
        return "suspect"
    return "ready" if capsule.ready_workers else "starting"
