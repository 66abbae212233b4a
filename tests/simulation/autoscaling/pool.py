"""A pool on a virtual clock: capsules that take their time to get warm, slots, one queue, drains that let running calls end.

The setting is the same for every scaler: a capsule has four slots; a queue of 1,000 calls gives each ten seconds, or 120 while no capsule
is warm (the defaults of `queue`); a capsule that is too many finishes its calls before it goes, those that aren't warm and the emptiest
first. A capsule costs from the moment it is wanted until it is gone.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from snakepit.spec.fields import QueueSpec

QUEUE = QueueSpec()
SLOTS = 4
LATE_SECONDS = 0.05
RUN_IN_SECONDS = 600.0
"""What happens before isn't counted, so that none is judged by where it began."""


@dataclass(frozen=True)
class Trace:
    """Calls as pairs of arrival and duration, in order of arrival. `warm_up`: what a capsule takes; median and spread of a log-normal."""

    name: str
    seconds: float
    calls: list[tuple[float, float]]
    least: int = 1
    warm_up: tuple[float, float] = (8.0, 0.2)


@dataclass(eq=False)
class Capsule:
    """`warm_at` is infinite until it is warm. `seen_busy`: a sum that a scaler may keep."""

    created: float
    warm_at: float = math.inf
    busy: int = 0
    going: bool = False
    seen_busy: int = 0


@dataclass
class Outcome:
    """What counts. A late call waited for more than 50 ms or failed; a failed one found the queue full, or its time in it was over."""

    calls: int = 0
    late: int = 0
    failed: int = 0
    capsule_seconds: float = 0.0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.calls + other.calls,
            self.late + other.late,
            self.failed + other.failed,
            self.capsule_seconds + other.capsule_seconds,
        )


@dataclass
class Pool:
    """What a scaler may look at and turn. `arrived`, `served` and `served_seconds` count since the beginning."""

    warm_up: tuple[float, float]
    random: Random
    now: float = 0.0
    wanted: int = 0
    capsules: list[Capsule] = field(default_factory=list)
    busy: int = 0
    queue: deque[tuple[float, float, float]] = field(default_factory=deque)
    arrived: int = 0
    served: int = 0
    served_seconds: float = 0.0
    warm_ups: deque[float] = field(default_factory=lambda: deque(maxlen=20))
    outcome: Outcome = field(default_factory=Outcome)

    def __post_init__(self) -> None:
        self._events: list[tuple[float, int, Capsule, float]] = []
        self._number = 0
        self._free: deque[Capsule] = deque()
        self._warm = 0

    @property
    def ready(self) -> int:
        """Capsules that are warm and stay."""
        return self._warm

    def scale(self, wanted: int) -> None:
        staying = [capsule for capsule in self.capsules if not capsule.going]
        self.wanted = wanted
        for _ in range(wanted - len(staying)):
            self._create()
        if wanted < len(staying):
            staying.sort(key=lambda capsule: (math.isfinite(capsule.warm_at), capsule.busy, -capsule.created))
            for capsule in staying[: len(staying) - wanted]:
                self._retire(capsule)

    def call(self, at: float, duration: float) -> None:
        """Calls are given in order of time, after `advance` to that time."""
        self.now = at
        self.arrived += 1
        if at >= RUN_IN_SECONDS:
            self.outcome.calls += 1
        if not self.queue and (capsule := self._place()):
            self._start(capsule, duration)
        elif len(self.queue) >= QUEUE.max_size:
            self._fail(at, waited=0.0)
        else:
            patience = QUEUE.timeout_seconds if self._warm else QUEUE.activation_timeout_seconds
            self.queue.append((at, at + patience, duration))

    def advance(self, to: float) -> None:
        """All that happens until then, but for arrivals."""
        events = self._events
        while events and events[0][0] <= to:
            self.now, _, capsule, duration = heapq.heappop(events)
            if duration:
                self._end(capsule, duration)
            elif not capsule.going:
                self._get_warm(capsule)
        self.now = to

    def expire(self) -> None:
        """Give up those that have waited for too long."""
        while self.queue and self.queue[0][1] <= self.now:
            self._give_up()
        if any(expires <= self.now for _, expires, _ in self.queue):
            kept = [call for call in self.queue if call[1] > self.now]
            for arrived, expires, _ in self.queue:
                if expires <= self.now:
                    self._fail(arrived, expires - arrived)
            self.queue = deque(kept)

    def close(self) -> Outcome:
        """At the end of the trace: what still waits is as late as it is, and what is there is paid."""
        for arrived, _, _ in self.queue:
            self._count_wait(arrived, self.now - arrived)
        for capsule in self.capsules:
            self._pay(capsule)
        return self.outcome

    def _create(self) -> None:
        capsule = Capsule(self.now)
        self.capsules.append(capsule)
        median, spread = self.warm_up
        self._push(self.now + self.random.lognormvariate(math.log(median), spread), capsule, 0.0)

    def _get_warm(self, capsule: Capsule) -> None:
        capsule.warm_at = self.now
        self.warm_ups.append(self.now - capsule.created)
        self._warm += 1
        self._free.extend([capsule] * SLOTS)
        self._serve()

    def _retire(self, capsule: Capsule) -> None:
        capsule.going = True
        self._warm -= math.isfinite(capsule.warm_at)
        if not capsule.busy:
            self._remove(capsule)

    def _remove(self, capsule: Capsule) -> None:
        self.capsules.remove(capsule)
        self._pay(capsule)

    def _pay(self, capsule: Capsule) -> None:
        self.outcome.capsule_seconds += max(0.0, self.now - max(capsule.created, RUN_IN_SECONDS))

    def _place(self) -> Capsule | None:
        free = self._free
        while free:
            capsule = free.popleft()
            if not capsule.going:
                return capsule
        return None

    def _start(self, capsule: Capsule, duration: float) -> None:
        capsule.busy += 1
        self.busy += 1
        self._push(self.now + duration, capsule, duration)

    def _end(self, capsule: Capsule, duration: float) -> None:
        capsule.busy -= 1
        self.busy -= 1
        self.served += 1
        self.served_seconds += duration
        if not capsule.going:
            self._free.append(capsule)
            self._serve()
        elif not capsule.busy:
            self._remove(capsule)

    def _serve(self) -> None:
        while self.queue:
            if self.queue[0][1] <= self.now:
                self._give_up()
            elif capsule := self._place():
                arrived, _, duration = self.queue.popleft()
                self._count_wait(arrived, self.now - arrived)
                self._start(capsule, duration)
            else:
                return

    def _give_up(self) -> None:
        arrived, expires, _ = self.queue.popleft()
        self._fail(arrived, expires - arrived)

    def _fail(self, arrived: float, waited: float) -> None:
        if arrived >= RUN_IN_SECONDS:
            self.outcome.failed += 1
        self._count_wait(arrived, waited or math.inf)

    def _count_wait(self, arrived: float, waited: float) -> None:
        if arrived >= RUN_IN_SECONDS and waited > LATE_SECONDS:
            self.outcome.late += 1

    def _push(self, at: float, capsule: Capsule, duration: float) -> None:
        self._number += 1
        heapq.heappush(self._events, (at, self._number, capsule, duration))


Scaler = Callable[[Pool], None]
"""Called once a second; scales the pool when it thinks so."""


def play(trace: Trace, scaler: Scaler, seed: int) -> Outcome:
    """The whole trace under a scaler. The seed is that of the warm-ups."""
    pool = Pool(trace.warm_up, Random(seed))
    pool.scale(trace.least)
    calls = iter(trace.calls)
    call = next(calls, None)
    for tick in range(1, math.ceil(trace.seconds) + 1):
        while call is not None and call[0] <= tick:
            pool.advance(call[0])
            pool.call(*call)
            call = next(calls, None)
        pool.advance(float(tick))
        if pool.queue:
            pool.expire()
        scaler(pool)
    return pool.close()
