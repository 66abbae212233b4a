"""How many capsules a pool should have: from what its calls need, and how long a capsule takes to get warm. Pure.

What runs is the rate of calls times their duration (Little's law). To that comes what the rate may rise by while a capsule gets warm,
and what waits already. It is never less than what lets all but a few calls start within the target's wait (Erlang's C formula).
Up at once; down only to the most that was needed within `scaleDownStabilizationSeconds`, as the HorizontalPodAutoscaler does it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from statistics import NormalDist

from msgspec import Struct

from snakepit.spec.fields import AutoscalingSpec

DEFAULT = AutoscalingSpec(max_replicas=10_000)
"""What a pool without `autoscaling` is advised by."""

WARM_UP_SECONDS = 10.0
"""What a capsule takes to get warm, until one has been seen to."""

UNKNOWN_SECONDS = 1.0
"""What a call takes, until one has ended."""

MOST_DISPERSION = 25.0
"""Arrivals come in bursts that are taken into account up to here; a Poisson process has 1."""

EXACT_SLOTS = 1000
"""Beyond so many, Erlang's formula is approximated."""


class Demand(Struct, frozen=True, kw_only=True):
    """What a pool's calls have asked for lately, at all replicas together.

    `dispersion`: variance of the arrivals in a second, by their mean. `service_seconds`: how long a call has its slot, on average; 0: none
    has ended yet. `busy_slots`: on average. `waiting`: calls in the queues. `idle_seconds`: since there was a call last.
    """

    arrivals_per_second: float = 0.0
    dispersion: float = 1.0
    service_seconds: float = 0.0
    busy_slots: float = 0.0
    waiting: int = 0
    idle_seconds: float = 0.0


class Recommendation(Struct, frozen=True):
    """How many capsules a pool should have, and why in a sentence. `is_limited`: it would be more without `maxReplicas`."""

    capsules: int
    reasoning: str
    is_limited: bool = False


def recommend(demand: Demand, policy: AutoscalingSpec, slots: int, warm_up_seconds: float, *, least: int | None = None) -> Recommendation:
    """What the demand needs now, without regard to what was needed before.

    `slots` of a capsule. `least`: another bound than `minReplicas`.
    """
    least = policy.min_replicas if least is None else least
    if is_idle(demand, policy) and least == 0:
        return Recommendation(0, f"0 capsules: no call for {policy.idle_seconds:g} s")
    service = demand.service_seconds or UNKNOWN_SECONDS
    warm = policy.target.warm_percent / 100
    load = max(demand.arrivals_per_second * service, demand.busy_slots)
    spread = _spread(demand, warm, warm_up_seconds) * service
    queue = slots_for(load, service, policy.target.queue_wait_milliseconds / 1000, warm) - load
    idle = load * (100 / policy.target_utilization_percent - 1)
    margin = max(spread, queue, idle) if load else 0.0
    backlog = min(demand.waiting, demand.waiting * service / max(warm_up_seconds, service))
    wanted = max(1, math.ceil(round((load + margin + backlog) / slots, 6)))
    bounded = min(max(wanted, least), policy.max_replicas)
    why = [f"{_number(demand.arrivals_per_second)} calls/s × {_number(service)} s = {_number(load)} busy slots"]  # noqa: RUF001
    if load > demand.arrivals_per_second * service:
        why = [f"{_number(load)} busy slots"]
    if margin:
        why.append(f"+{_number(margin)} {_margin(margin, spread, queue, policy, warm_up_seconds)}")
    if backlog:
        why.append(f"+{_number(backlog)} for {demand.waiting} that wait")
    if bounded != wanted:
        limit = "maxReplicas" if bounded < wanted else "minReplicas"
        why.append(f"which is {_count(wanted)}, and {limit} says {bounded}")
    return Recommendation(
        bounded, is_limited=bounded < wanted, reasoning=f"{_count(bounded)} of {slots} slot{'s' if slots != 1 else ''}: {', '.join(why)}"
    )


def is_idle(demand: Demand, policy: AutoscalingSpec) -> bool:
    """Has there been no call for so long that the pool may go to zero?"""
    return not demand.waiting and not demand.busy_slots and demand.idle_seconds >= policy.idle_seconds


def stabilized(history: Iterable[tuple[float, int]], now: float, seconds: float, wanted: int) -> int:
    """`wanted`, or the most of what was wanted within the last `seconds`. `history`: pairs of time and capsules."""
    return max([wanted, *(capsules for when, capsules in history if when > now - seconds)])


def warm_up(seen: Iterable[float]) -> float:
    """The 95th percentile of how long capsules have taken to get warm, in seconds."""
    durations = sorted(seen)
    return durations[min(len(durations) - 1, math.floor(0.95 * len(durations)))] if durations else WARM_UP_SECONDS


def slots_for(load: float, service_seconds: float, wait_seconds: float, share: float) -> float:
    """The fewest slots with which that share of the calls waits no longer than `wait_seconds`. `load` in Erlangs: the mean of busy slots.

    M/M/c: A. K. Erlang, 1917; for many slots the approximation of S. Halfin and W. Whitt, "Heavy-Traffic Limits for Queues with Many
    Exponential Servers", Operations Research 29 (1981).
    """
    if load <= 0:
        return 0.0
    late = 1 - share
    if load > EXACT_SLOTS:
        return _many_slots_for(load, wait_seconds / service_seconds, late)
    blocked, count = 1.0, 0
    while True:
        count += 1
        blocked = load * blocked / (count + load * blocked)
        if count > load:
            waits = count * blocked / (count - load * (1 - blocked))
            if waits * math.exp(-(count - load) * wait_seconds / service_seconds) <= late:
                return float(count)


def _many_slots_for(load: float, patience: float, late: float) -> float:
    normal, root, quality = NormalDist(), math.sqrt(load), 0.0
    while True:
        quality += 0.05
        waits = 1 / (1 + quality * normal.cdf(quality) / normal.pdf(quality))
        if waits * math.exp(-quality * root * patience) <= late:
            return load + quality * root


def _spread(demand: Demand, share: float, seconds: float) -> float:
    """By how much the rate of the next `seconds` may be above the mean, in all but so few cases."""
    dispersion = min(max(demand.dispersion, 1.0), MOST_DISPERSION)
    return NormalDist().inv_cdf(share) * math.sqrt(dispersion * demand.arrivals_per_second / max(seconds, 1.0))


def _margin(margin: float, spread: float, queue: float, policy: AutoscalingSpec, warm_up_seconds: float) -> str:
    if margin == spread:
        return f"for the {_number(warm_up_seconds)} s that a capsule takes to get warm"
    if margin == queue:
        target = policy.target
        return f"so that {target.warm_percent:g} % wait less than {target.queue_wait_milliseconds:g} ms"
    return f"so that at most {policy.target_utilization_percent} % are busy"


def _number(value: float) -> str:
    """Two digits that tell: what changes with every second is no news for a status."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1g}" if value < 1 else f"{value:.1f}"


def _count(capsules: int) -> str:
    return f"{capsules} capsule" if capsules == 1 else f"{capsules} capsules"
