"""Ray Serve on ongoing requests, as https://docs.ray.io/en/latest/serve/advanced-guides/advanced-autoscaling.html describes it.

Wanted are all calls that run or wait, by `target_ongoing_requests` (2); calls are averaged over `look_back_period_s` (30) and told every
`metrics_interval_s` (10). It scales when that has said more for `upscale_delay_s` (30), or less for `downscale_delay_s` (600), without a
break; to zero only from one. While no capsule is there, a call brings one at once.
"""

from __future__ import annotations

import math
from collections import deque
from random import Random

from .pool import Pool, Trace

TARGET_ONGOING = 2
LOOK_BACK_SECONDS = 30
METRICS_SECONDS = 10
UPSCALE_SECONDS = 30
DOWNSCALE_SECONDS = 600


class RayServe:
    def __init__(self, trace: Trace, most: int, seed: int) -> None:
        self.least, self.most = trace.least, most
        self.phase = Random(f"ray {seed}").randrange(METRICS_SECONDS)
        self._ongoing: deque[int] = deque(maxlen=LOOK_BACK_SECONDS)
        self._told = 0.0
        self._count = 0

    def __call__(self, pool: Pool) -> None:
        ongoing = pool.busy + len(pool.queue)
        self._ongoing.append(ongoing)
        if pool.now % METRICS_SECONDS == self.phase:
            self._told = sum(self._ongoing) / len(self._ongoing)
        if not pool.ready:
            if ongoing and not pool.wanted:
                pool.scale(1)
            return
        self._decide(pool, min(max(math.ceil(self._told / TARGET_ONGOING), self.least), self.most))

    def _decide(self, pool: Pool, wanted: int) -> None:
        if wanted > pool.wanted:
            self._count = max(self._count, 0) + 1
            decided = self._count > UPSCALE_SECONDS
        elif wanted < pool.wanted:
            self._count = min(self._count, 0) - 1
            decided = self._count < -DOWNSCALE_SECONDS
            wanted = wanted if pool.wanted == 1 else max(1, wanted)
        else:
            self._count, decided = 0, False
        if decided:
            self._count = 0
            pool.scale(wanted)
