"""Our own: the product's meter, sampled once a second, and the product's recommendation from what it says.

The operator looks every one to five seconds. What a capsule takes to get warm is what those before it took.
"""

from __future__ import annotations

from random import Random

from snakepit.spec.fields import AutoscalingSpec
from snakepit_control_plane.model.demand import Demand as Meter
from snakepit_operator.autoscale import Demand, recommend, stabilized, warm_up

from .pool import SLOTS, Pool, Trace


class Ours:
    def __init__(self, trace: Trace, most: int, seed: int) -> None:
        self.policy = AutoscalingSpec(min_replicas=trace.least, max_replicas=most)
        self.meter = Meter(0.0)
        self.random = Random(f"ours {seed}")
        self.needed: tuple[tuple[float, int], ...] = ()
        self.next_look = 0.0

    def __call__(self, pool: Pool) -> None:
        meter = self.meter
        meter.arrived, meter.served, meter.served_seconds = pool.arrived, pool.served, pool.served_seconds
        meter.sample(pool.now, pool.busy, len(pool.queue))
        if pool.now < self.next_look:
            return
        self.next_look = pool.now + self.random.uniform(1, 5)
        pool.scale(self._wanted(pool))

    def _wanted(self, pool: Pool) -> int:
        told = self.meter.message(pool.now)
        demand = Demand(
            arrivals_per_second=told.arrivals_per_second,
            dispersion=told.dispersion,
            service_seconds=told.service_seconds,
            busy_slots=told.busy_slots,
            waiting=len(pool.queue),
            idle_seconds=told.idle_seconds,
            drift=told.drift,
        )
        advice = recommend(demand, self.policy, SLOTS, warm_up(pool.warm_ups))
        if not advice.capsules:
            return 0
        self.needed = stabilized(self.needed, pool.now, advice.hold_seconds, advice.capsules)
        return self.needed[0][1]
