"""How many capsules a pool should have: from what its calls need, and how long a capsule takes to get warm. Pure.

A capsule that is wanted now is warm after one warm-up. Of the calls that run now, some will run still; to them come those that arrive
until then (Little's law). Their number has a variance: of arrivals and durations, and of the rate, which drifts. The pool gets as many
slots as let all but a few calls start within the target's wait (Erlang's formula), and some for the calls that wait already.

Up at once; down only to the most that was needed lately, as the HorizontalPodAutoscaler does it: within one warm-up at the least, for what
goes can't be back sooner.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable
from statistics import NormalDist

from msgspec import Struct

from snakepit.spec.fields import AutoscalingSpec, AutoscalingTarget

DEFAULT = AutoscalingSpec(max_replicas=10_000)
"""What a pool without `autoscaling` is advised by."""

WARM_UP_SECONDS = 10.0
"""What a capsule takes to get warm, until one has been seen to."""

UNKNOWN_SECONDS = 1.0
"""What a call takes, until one has ended."""

LEAST_SECONDS = 1e-6
"""No call is shorter, for what is calculated with it."""

LOOK_SECONDS = 3.0
"""From a change of the load until somebody looks at it, on average."""

HELD = 1.5
"""So many standard deviations above what the arrivals explain, slots are held by something else: leases, calls longer than most."""

BUSY_SECONDS = 5.0
"""The replicas' mean of busy slots is over so long."""

LEAST_PEAKEDNESS = 0.5
"""A load whose variance is less than so much of its mean is taken for one of that: it is measured, and not that well known."""

MOST_DISPERSION = 4.0
"""Arrivals come in bursts that are taken into account up to here; a Poisson process has 1."""

DRIFT_WEIGHT = 1.25
"""Of the drift's variance: a rate that goes from step to step moves farther than one that wanders as far on average."""

MOST_HOLD_SECONDS = 300.0
"""A warm-up keeps a pool from shrinking for so long at most: a pod that was stuck is no reason to keep others."""

EXACT_SLOTS = 1000
"""Beyond so many, Erlang's formula is approximated."""


class Demand(Struct, frozen=True, kw_only=True):
    """What a pool's calls have asked for lately, at all replicas together.

    `dispersion`: variance of the arrivals in a few seconds, by their mean. `service_seconds`: how long a call has its slot, on average;
    0: nobody knows yet. `busy_slots`: on average. `waiting`: calls in the queues. `idle_seconds`: since there was a call last. `drift`: by
    how many calls/s the rate changes within a second, as a standard deviation; it grows with the time that is looked ahead.
    """

    arrivals_per_second: float = 0.0
    dispersion: float = 1.0
    service_seconds: float = 0.0
    busy_slots: float = 0.0
    waiting: int = 0
    idle_seconds: float = 0.0
    drift: float = 0.0


class Recommendation(Struct, frozen=True):
    """How many capsules a pool should have, and why in a sentence.

    `is_limited`: it would be more without `maxReplicas`. `hold_seconds`: before that it becomes no smaller than what was needed lately.
    """

    capsules: int
    reasoning: str
    is_limited: bool = False
    hold_seconds: float = 0.0


def recommend(demand: Demand, policy: AutoscalingSpec, slots: int, warm_up_seconds: float, *, least: int | None = None) -> Recommendation:
    """What the demand needs now, without regard to what was needed before.

    `slots` of a capsule. `least`: another bound than `minReplicas`.
    """
    least = policy.min_replicas if least is None else least
    hold = max(policy.scale_down_stabilization_seconds, min(warm_up_seconds, MOST_HOLD_SECONDS))
    if is_idle(demand, policy) and least == 0:
        return Recommendation(0, f"0 capsules: no call for {policy.idle_seconds:g} s", hold_seconds=hold)
    service = max(demand.service_seconds, LEAST_SECONDS) if demand.service_seconds else UNKNOWN_SECONDS
    load, variance, drift = _forecast(demand, service, warm_up_seconds + LOOK_SECONDS)
    margin = _needed(load, variance + drift, service, policy.target) - load
    idle = load * (100 / policy.target_utilization_percent - 1)
    backlog = demand.waiting * min(1.0, service / max(warm_up_seconds, UNKNOWN_SECONDS))
    wanted = max(1, math.ceil(round((load + max(margin, idle) + backlog) / slots, 6)))
    bounded = min(max(wanted, least), policy.max_replicas)
    why = [_load(demand, service, load, warm_up_seconds)]
    if load:
        why.append(f"+{_number(max(margin, idle))} {_margin(margin < idle, drift > variance, policy, warm_up_seconds)}")
    if backlog:
        why.append(f"+{_number(backlog)} for {demand.waiting} that wait")
    if bounded != wanted:
        limit = "maxReplicas" if bounded < wanted else "minReplicas"
        why.append(f"which is {_count(wanted)}, and {limit} says {bounded}")
    size = f"{_count(bounded)} of {slots} slot{'s' if slots != 1 else ''}"
    return Recommendation(bounded, f"{size}: {', '.join(why)}", is_limited=bounded < wanted, hold_seconds=hold)


def is_idle(demand: Demand, policy: AutoscalingSpec) -> bool:
    """Has there been no call for so long that the pool may go to zero?"""
    return not demand.waiting and not demand.busy_slots and demand.idle_seconds >= policy.idle_seconds


def stabilized(needed: Iterable[tuple[float, int]], now: float, seconds: float, wanted: int) -> tuple[tuple[float, int], ...]:
    """When so many capsules were needed within the last `seconds`, and how many; those that are `wanted` now come last.

    What is older and less has no say, so they are ever fewer: the first are those to have.
    """
    return (*(each for each in needed if each[1] > wanted and each[0] > now - seconds), (now, wanted))


def warm_up(seen: Iterable[float]) -> float:
    """The 95th percentile of how long capsules have taken to get warm, in seconds."""
    durations = sorted(seen)
    return durations[min(len(durations) - 1, math.floor(0.95 * len(durations)))] if durations else WARM_UP_SECONDS


def slots_for(load: float, service_seconds: float, wait_seconds: float, share: float) -> float:
    """The fewest slots with which that share of the calls waits no longer than `wait_seconds`. `load` in Erlangs: the mean of busy slots.

    M/M/c: A. K. Erlang, 1917; for many slots the approximation of S. Halfin and W. Whitt, "Heavy-Traffic Limits for Queues with Many
    Exponential Servers", Operations Research 29 (1981). Between whole numbers of slots it is interpolated, so that it is continuous.
    """
    if load <= 0:
        return 0.0
    late = math.log(1 - share)
    if load > EXACT_SLOTS:
        return _many_slots_for(load, wait_seconds / service_seconds, late)
    blocked, count, before = 1.0, 0, 0.0
    while True:
        count += 1
        blocked = load * blocked / (count + load * blocked)
        if count > load:
            waits = count * blocked / (count - load * (1 - blocked))
            probability = _log(waits) - (count - load) * wait_seconds / service_seconds
            if probability <= late:
                return count - (late - probability) / (before - probability)
            before = probability


def _many_slots_for(load: float, patience: float, late: float) -> float:
    normal, root, quality = NormalDist(), math.sqrt(load), 0.0
    while True:
        quality += 0.05
        waits = 1 / (1 + quality * normal.cdf(quality) / normal.pdf(quality))
        if _log(waits) - quality * root * patience <= late:
            return load + quality * root


def _forecast(demand: Demand, service: float, ahead: float) -> tuple[float, float, float]:
    """Busy slots to be expected then, with their variance by chance and that by the rate's drift.

    In a system with as many servers as it wants, a call that runs now runs still with the probability `still`, and those that come until
    then are as many as a Poisson process makes them (S. G. Eick, W. A. Massey, W. Whitt, "The Physics of the M_t/G/infinity Queue",
    Operations Research 41 (1993)). Where the arrivals are no Poisson process, their dispersion says how far from it.
    """
    expected = demand.arrivals_per_second * service
    still = math.exp(-ahead / service)
    held = demand.busy_slots - expected - HELD * math.sqrt(expected * min(1.0, 2 * service / BUSY_SECONDS))
    stay = max(demand.busy_slots * still, held)
    come = expected * (1 - still)
    dispersion = min(max(demand.dispersion, 1.0), MOST_DISPERSION)
    return stay + come, stay * (1 - still) + come * dispersion, DRIFT_WEIGHT * (demand.drift * ahead * min(service, ahead)) ** 2


def _needed(load: float, variance: float, service: float, target: AutoscalingTarget) -> float:
    """Slots for a load whose variance isn't its mean, as that of Erlang's formula is.

    W. S. Hayward's approximation: A. A. Fredericks, "Congestion in Blocking Systems: A Simple Approximation Technique", Bell System
    Technical Journal 59 (1980).
    """
    if not load:
        return 0.0
    peakedness = min(max(variance / load, LEAST_PEAKEDNESS), max(load, 1.0))
    return peakedness * slots_for(load / peakedness, service, target.queue_wait_milliseconds / 1000, target.warm_percent / 100)


def _log(probability: float) -> float:
    return math.log(max(probability, sys.float_info.min))


def _load(demand: Demand, service: float, load: float, warm_up_seconds: float) -> str:
    arrivals = f"{_number(demand.arrivals_per_second)} calls/s × {_number(service)} s"  # noqa: RUF001
    if round(load, 1) == round(demand.arrivals_per_second * service, 1):
        return f"{arrivals} = {_number(load)} busy slots"
    return f"{_number(demand.busy_slots)} busy slots and {arrivals}: {_number(load)} after {_number(warm_up_seconds)} s"


def _margin(utilization: bool, drifts: bool, policy: AutoscalingSpec, warm_up_seconds: float) -> str:
    if utilization:
        return f"so that at most {policy.target_utilization_percent} % are busy"
    if drifts:
        return f"for the {_number(warm_up_seconds)} s that a capsule takes to get warm"
    return f"so that {policy.target.warm_percent:g} % wait less than {policy.target.queue_wait_milliseconds:g} ms"


def _number(value: float) -> str:
    """Two digits that tell: what changes with every second is no news for a status."""
    if value >= 10:
        return f"{value:.0f}"
    return f"{value:.1g}" if value < 1 else f"{value:.1f}"


def _count(capsules: int) -> str:
    return f"{capsules} capsule" if capsules == 1 else f"{capsules} capsules"
