"""The HorizontalPodAutoscaler, as https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ describes it.

Every 15 s: ceil(capsules x usage / target), nothing within 10 % of it. A pod's usage is what metrics-server has: busy slots of all its
slots, averaged over a window of 15 s that ended 0 to 15 s ago. Pods without a whole window since they were ready count as idle on the way
up, and not at all on the way down. Up by the larger of 100 % and four pods every 15 s; down to the most of the last 300 s. It can't go to
zero (short of a feature gate), so its least is one. The target is 70 %, as every example of the others' documents has about that.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

from .pool import SLOTS, Capsule, Pool, Trace

SYNC_SECONDS = 15
TOLERANCE = 0.1
STABILIZATION_SECONDS = 300
TARGET = 0.7


class Behavior:
    """The default `behavior`: what a recommendation becomes."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most
        self._recommended: deque[tuple[float, int]] = deque()

    def scale(self, pool: Pool, recommended: int) -> None:
        self._recommended.append((pool.now, recommended))
        while self._recommended[0][0] <= pool.now - STABILIZATION_SECONDS:
            self._recommended.popleft()
        if recommended > pool.wanted:
            wanted = min(recommended, max(2 * pool.wanted, pool.wanted + 4))
        else:
            wanted = min(pool.wanted, max(count for _, count in self._recommended))
        wanted = min(max(wanted, self.least), self.most)
        if wanted != pool.wanted:
            pool.scale(wanted)


class Hpa:
    def __init__(self, trace: Trace, most: int, seed: int) -> None:
        self.behavior = Behavior(max(1, trace.least), most)
        self.sync, self.scrape = Random(f"hpa {seed}").sample(range(SYNC_SECONDS), 2)
        self._usage: dict[Capsule, float] = {}

    def __call__(self, pool: Pool) -> None:
        for capsule in pool.capsules:
            capsule.seen_busy += capsule.busy
        if pool.now % SYNC_SECONDS == self.scrape:
            self._scrape(pool)
        if pool.now % SYNC_SECONDS == self.sync:
            self.behavior.scale(pool, self._recommended(pool))

    def _scrape(self, pool: Pool) -> None:
        self._usage = {}
        for capsule in pool.capsules:
            if capsule.warm_at <= pool.now - SYNC_SECONDS:
                self._usage[capsule] = capsule.seen_busy / SYNC_SECONDS / SLOTS
            capsule.seen_busy = 0

    def _recommended(self, pool: Pool) -> int:
        staying = [capsule for capsule in pool.capsules if not capsule.going]
        usage = [self._usage[capsule] for capsule in staying if capsule in self._usage]
        ignored = len(staying) - len(usage)
        if not usage:
            return max(pool.wanted, 1)
        ratio = sum(usage) / len(usage) / TARGET
        if not ignored or ratio <= 1:
            return pool.wanted if abs(1 - ratio) <= TOLERANCE else math.ceil(ratio * len(usage))
        damped = sum(usage) / len(staying) / TARGET
        return pool.wanted if damped <= 1 + TOLERANCE else max(pool.wanted, math.ceil(damped * len(staying)))
