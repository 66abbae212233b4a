"""KEDA on the queue's length, as https://keda.sh/docs/latest/concepts/scaling-deployments/ and ScaledObject's specification describe it.

From zero to one when a poll (every 30 s) finds something in the queue, to zero after 300 s of nothing (cooldownPeriod). Between these a
HorizontalPodAutoscaler of an external metric's AverageValue: every 15 s the queue's length by what one capsule is to have, with the
tolerance and the behaviour of every HPA. Scalers differ in whether calls that run belong to the queue; they do here, as with SQS
(scaleOnInFlight) and RabbitMQ, for without them the pool would be taken down from under its load. One capsule is to have 70 % of its slots.
"""

from __future__ import annotations

import math
from random import Random

from .hpa import SYNC_SECONDS, TARGET, TOLERANCE, Behavior
from .pool import SLOTS, Pool, Trace

POLLING_SECONDS = 30
COOLDOWN_SECONDS = 300


class Keda:
    def __init__(self, trace: Trace, most: int, seed: int) -> None:
        random = Random(f"keda {seed}")
        self.sync, self.poll = random.randrange(SYNC_SECONDS), random.randrange(POLLING_SECONDS)
        self.least = trace.least
        self.behavior = Behavior(max(1, trace.least), most)
        self._active_at = 0.0

    def __call__(self, pool: Pool) -> None:
        length = pool.busy + len(pool.queue)
        if pool.now % POLLING_SECONDS == self.poll:
            self._activate(pool, length)
        if pool.now % SYNC_SECONDS == self.sync and pool.wanted:
            target = TARGET * SLOTS
            ratio = length / (target * pool.wanted)
            self.behavior.scale(pool, pool.wanted if abs(1 - ratio) <= TOLERANCE else math.ceil(length / target))

    def _activate(self, pool: Pool, length: int) -> None:
        if length:
            self._active_at = pool.now
            if not pool.wanted:
                pool.scale(1)
        elif not self.least and pool.wanted and pool.now - self._active_at >= COOLDOWN_SECONDS:
            pool.scale(0)
