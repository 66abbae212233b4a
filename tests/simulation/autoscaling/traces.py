"""What the pools are put through: each trace is made anew from its seed, and none is known to any scaler.

The last is made after published distributions, with nothing copied from the data: M. Shahrad et al., "Serverless in the Wild:
Characterizing and Optimizing the Serverless Workload at a Large Cloud Provider", USENIX ATC 2020, which describes the Azure Functions
trace of July 2019. Used of it: the log-normal fit of the functions' mean durations (log mean -0.38, deviation 2.36, in seconds); that 96 %
of functions take less than 60 s (the rest is left out); that 45 % of applications are called at most once an hour, 81 % at most once a
minute; that a day's calls are a constant half and a wave up to the double of it; that most applications' gaps vary more than a Poisson
process's (here: bursts), and those with timers not at all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise
from random import Random

from .pool import RUN_IN_SECONDS, Trace

HOUR = 3600.0


def steady(seed: int) -> Trace:
    """20 calls a second of a second each."""
    random = Random(f"steady {seed}")
    seconds = RUN_IN_SECONDS + HOUR
    return Trace("steady", seconds, _calls(random, seconds, lambda _: 20.0, 20.0, _about(1.0)))


def diurnal(seed: int) -> Trace:
    """A day in two hours: from 4 calls a second to 44 and back, of a second and a half each."""
    random = Random(f"diurnal {seed}")
    seconds = RUN_IN_SECONDS + 2 * HOUR
    return Trace(
        "diurnal", seconds, _calls(random, seconds, lambda at: 24 - 20 * math.cos(2 * math.pi * at / (2 * HOUR)), 44.0, _about(1.5))
    )


def bursts(seed: int) -> Trace:
    """Nothing, and then for one to three minutes 40 calls a second of half a second each; about every quarter of an hour."""
    random = Random(f"bursts {seed}")
    seconds, at, times = RUN_IN_SECONDS + 3 * HOUR, RUN_IN_SECONDS, []
    while (at := at + random.uniform(300, 1500)) < seconds:
        times.append((at, at := at + random.uniform(60, 180)))
    inside = _inside(times)
    return Trace("bursts from zero", seconds, _calls(random, seconds, lambda now: 40.0 * inside(now), 40.0, _about(0.5)), least=0)


def flash(seed: int) -> Trace:
    """6 calls a second, and at some moment ten times as many within ten seconds, which lose interest over ten minutes; two times."""
    random = Random(f"flash {seed}")
    seconds = RUN_IN_SECONDS + 1.5 * HOUR
    begins = [RUN_IN_SECONDS + random.uniform(600, 1200), RUN_IN_SECONDS + random.uniform(3000, 3600)]

    def rate(at: float) -> float:
        return 6.0 + sum(54.0 * min(1.0, (at - begin) / 10) * math.exp(-(at - begin) / 300) for begin in begins if at >= begin)

    return Trace("flash crowd", seconds, _calls(random, seconds, rate, 68.0, _about(1.0)))


def slow_setup(seed: int) -> Trace:
    """A capsule takes 75 s to get warm, while the load moves between 10 and 40 calls a second every few minutes."""
    random = Random(f"slow {seed}")
    seconds = RUN_IN_SECONDS + 2 * HOUR
    return Trace("slow setup", seconds, _calls(random, seconds, _steps(random, seconds, 10, 40), 40.0, _about(1.0)), warm_up=(75.0, 0.15))


def long_calls(seed: int) -> Trace:
    """Calls of two minutes, at 0.1 to 0.5 a second."""
    random = Random(f"long {seed}")
    seconds = RUN_IN_SECONDS + 3 * HOUR
    return Trace("long calls", seconds, _calls(random, seconds, _steps(random, seconds, 0.1, 0.5), 0.5, _about(120.0)))


def azure(seed: int) -> Trace:
    """30 applications of the Azure trace's kind in one pool, with 24 busy slots on average; a day in two hours."""
    random = Random(f"azure {seed}")
    seconds = RUN_IN_SECONDS + 2 * HOUR
    applications = [(_popularity(random), _mean_duration(random)) for _ in range(30)]
    load = sum(rate * duration for rate, duration in applications)
    calls: list[tuple[float, float]] = []
    for rate, duration in applications:
        mean = rate * min(24 / load, 10 / rate)
        calls += _application(random, seconds, mean, duration)
    return Trace("as Azure Functions 2019", seconds, sorted(calls), least=0)


ALL: tuple[Callable[[int], Trace], ...] = (steady, diurnal, bursts, flash, slow_setup, long_calls, azure)


def _calls(
    random: Random, seconds: float, rate: Callable[[float], float], most: float, duration: Callable[[Random], float]
) -> list[tuple[float, float]]:
    """A Poisson process whose rate changes, by thinning one of the highest rate."""
    calls, at = [], 0.0
    while (at := at + random.expovariate(most)) < seconds:
        if random.random() * most < rate(at):
            calls.append((at, duration(random)))
    return calls


def _about(mean: float, deviation: float = 0.6) -> Callable[[Random], float]:
    """Log-normal around that mean: the slowest in a hundred takes three times as long."""
    center = math.log(mean) - deviation**2 / 2
    return lambda random: random.lognormvariate(center, deviation)


def _inside(times: list[tuple[float, float]]) -> Callable[[float], bool]:
    return lambda now: any(begin <= now < end for begin, end in times)


def _steps(random: Random, seconds: float, least: float, most: float) -> Callable[[float], float]:
    """A rate that is drawn anew after four to ten minutes and gets there within one."""
    points, at = [(0.0, random.uniform(least, most))], 0.0
    while at < seconds:
        at += random.uniform(240, 600)
        points += [(at, points[-1][1]), (at + 60, random.uniform(least, most))]
        at += 60
    place = 0

    def rate(now: float) -> float:
        nonlocal place
        while points[place + 1][0] <= now:
            place += 1
        (begin, low), (end, high) = points[place], points[place + 1]
        return low + (high - low) * (now - begin) / (end - begin)

    return rate


def _popularity(random: Random) -> float:
    """Calls a second, on average: log-linear between the published quantiles."""
    quantiles = [(0.0, 1 / (24 * HOUR)), (0.45, 1 / HOUR), (0.81, 1 / 60), (1.0, 10.0)]
    draw = random.random()
    for (low, slow), (high, fast) in pairwise(quantiles):
        if draw <= high:
            return slow * (fast / slow) ** ((draw - low) / (high - low))
    return quantiles[-1][1]


def _mean_duration(random: Random) -> float:
    while (duration := random.lognormvariate(-0.38, 2.36)) > 60:
        pass
    return max(duration, 0.001)


def _application(random: Random, seconds: float, mean: float, duration: float) -> Iterator[tuple[float, float]]:
    """One in five is called by a timer; the others' calls come in bursts, half of them at any time, half of them as the day goes."""
    draw = _about(duration)
    if random.random() < 0.2:
        at = random.uniform(0, 1 / mean)
        while at < seconds:
            yield at, draw(random)
            at += 1 / mean
        return
    size = random.choice((1.0, 2.0, 4.0, 8.0))
    at = 0.0
    while (at := at + random.expovariate(1.5 * mean / size)) < seconds:
        wave = 0.5 - 0.5 * math.cos(2 * math.pi * at / (2 * HOUR))
        if random.random() * 1.5 < 0.5 + wave:
            count = 1 if size == 1 else 1 + int(random.expovariate(1 / (size - 1)))
            begin = at
            for _ in range(count):
                if begin < seconds:
                    yield begin, draw(random)
                begin += random.expovariate(2.0)
