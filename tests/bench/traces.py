"""What tracing costs a call in all programs together: where nothing is sampled against none of it, and where one in a hundred is against
that.

Callers are independent of each other, as those of many programs are: calls come at random moments, half as many as sixteen callers get
done who each call again at once. Those march in step, so that each program has a crowd of calls at a time, which is cheaper; and whatever
holds up one of them breaks the step. So of such callers what is sampled is compared with as many calls that their callers hold up.

Programs that are alike differ by some hundredths, for as long as they run. So each round starts its own, and two that are alike say what
is noise. What is sampled is compared within the same programs. Of one in a hundred, noise hides what a sampled call costs. So one in ten
is measured, too, and what one of those costs more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from functools import partial
from statistics import mean

import snakepit
from snakepit._telemetry import tracing
from tests.bench.cpu import family, ran_seconds
from tests.bench.plane import Plane, plane
from tests.bench.rounds import ROUND_SECONDS, ROUNDS, TEXT, Call, Load, closed_loop, median, open_loop, say
from tests.bench.rows import Row, Target

NOTHING, FEW, MANY = "nothing sampled", "1 % sampled", "10 % sampled"
SHARES = {NOTHING: 0.0, FEW: 0.01, MANY: 0.1}
IN_STEP, HELD_UP = "1 % sampled, 16 callers in step", "1 % held up by their callers, 16 in step"
CALLERS = 16
HELD_UP_SECONDS = 20e-6
"""Less than a sampled call costs, whose cost is spread over four programs."""
LEAST_NOISE, MOST_NOISE = 0.02, 0.05
"""Where programs that are alike differ by more, the machine has something else to do, and nothing was measured."""
FEW_TARGET = Target("≤", 1.03)
SAMPLED = Target("≤", 3)
"""Times the CPU time of a call without traces: 3 %, where one in a hundred is sampled."""

SECONDS = 5 * ROUND_SECONDS
"""Spans go each five seconds, which costs the same whether they are many or few."""
EXPORTED_SECONDS = 5.5
"""A round waits until its spans are away, which is part of what they cost."""

FOLLOW = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
"""The caller alone begins traces. Without `parentbased` nobody would make a span of one that it has begun."""
WITHOUT = ("without", "without, again")
WARM_UP_SECONDS = 1.0


async def rows() -> list[Row]:
    async with _swallowing() as spans_go:
        rounds = []
        for number in range(ROUNDS):
            rounds.append(await _round(spans_go))
            say(f"traces: round {number + 1} of {ROUNDS}")
        return [_unsampled(rounds), _sampled(rounds), _in_step(rounds), _of_one(rounds)]


async def _round(spans_go: Mapping[str, str]) -> dict[str, float]:
    async with plane() as one, plane() as other, plane(environment={**spans_go, **FOLLOW}) as traced:
        warm = [await closed_loop(_echo(pool), CALLERS, WARM_UP_SECONDS) for _, pool in (one, other, traced)]
        apart = partial(open_loop, per_second=median(each.per_second for each in warm) / 2, seconds=SECONDS)
        in_step = partial(closed_loop, callers=CALLERS, seconds=SECONDS)
        sides = {name: partial(_micros, *without, apart, {}) for name, without in zip(WITHOUT, (one, other), strict=True)}
        for name, share in SHARES.items():
            sides[name] = partial(_micros, *traced, apart, {**spans_go, **_sampler(share)})
        sides[IN_STEP] = partial(_micros, *traced, in_step, {**spans_go, **_sampler(SHARES[FEW])})
        sides[HELD_UP] = partial(_micros, *traced, in_step, {**spans_go, **_sampler(0.0)}, held_up=SHARES[FEW])
        return {name: await sides[name]() for name in random.sample(list(sides), len(sides))}


def _sampler(share: float) -> dict[str, str]:
    return {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(share)}


def _echo(pool: snakepit.Pool, held_up: float = 0.0) -> Call:
    """`held_up`: the share of calls whose caller has something else to do first."""

    def call() -> Awaitable[object]:
        if random.random() < held_up:
            until = time.perf_counter() + HELD_UP_SECONDS
            while time.perf_counter() < until:
                pass
        return pool.call("echo", {"text": TEXT}, timeout=30)

    return call


@contextlib.asynccontextmanager
async def _swallowing() -> AsyncIterator[dict[str, str]]:
    """The variables of whoever is to send its spans to a program that takes them."""
    argv = [sys.executable, "-m", "snakepit_local.leash", str(os.getpid()), "tests.bench.traces_side"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None
        port = (await asyncio.to_thread(process.stdout.readline)).strip()
        try:
            endpoint = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}", "OTEL_EXPORTER_OTLP_INSECURE": "true"}
            yield {**endpoint, "OTEL_METRICS_EXPORTER": "none"}
        finally:
            process.kill()


@contextlib.contextmanager
def _tracing(variables: Mapping[str, str]) -> Iterator[None]:
    """The caller traces, if there are any."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        tracing.configure("bench")
        yield
    finally:
        tracing.shutdown()
        os.environ.clear()
        os.environ.update(before)


async def _micros(
    running: Plane, pool: snakepit.Pool, calls: Callable[[Call], Awaitable[Load]], variables: Mapping[str, str], held_up: float = 0.0
) -> float:
    """CPU time of a call in the caller, the replica, the agent and the workers."""
    parts = [each.pid for each in (*running.replicas.values(), *running.agents)]
    pids = [os.getpid(), *parts, *(pid for each in running.keepers for pid in family(each.pid))]
    with _tracing(variables):
        before = sum(map(ran_seconds, pids))
        load = await calls(_echo(pool, held_up))
        await asyncio.sleep(EXPORTED_SECONDS)
        return (sum(map(ran_seconds, pids)) - before) / len(load.latencies) * 1e6


def _without(rounds: list[dict[str, float]]) -> list[float]:
    return [mean(each[name] for name in WITHOUT) for each in rounds]


def _unsampled(rounds: list[dict[str, float]]) -> Row:
    noise = median(max(pair) / min(pair) - 1 for pair in ([each[name] for name in WITHOUT] for each in rounds))
    without = _without(rounds)
    return Row(
        what=f"CPU of a call in all programs, {NOTHING}",
        figure=median(each[NOTHING] for each in rounds),
        unit="µs",
        baseline=median(without),
        against="without traces",
        value=median(each[NOTHING] / base for each, base in zip(rounds, without, strict=True)),
        target=Target("≤", round(1 + min(max(noise, LEAST_NOISE), MOST_NOISE), 3)),
        note=f"two without traces, alike, differ by {noise:.1%}",
    )


def _sampled(rounds: list[dict[str, float]]) -> Row:
    return _compared(rounds, FEW, NOTHING, f"{NOTHING}, the same programs", f"rounds of {SECONDS:g} s, as spans go each five")


def _in_step(rounds: list[dict[str, float]]) -> Row:
    note = f"their callers hold up one call in a hundred for {HELD_UP_SECONDS * 1e6:.0f} µs, and nothing is sampled"
    return _compared(rounds, IN_STEP, HELD_UP, f"{HELD_UP}, the same programs", note)


def _compared(rounds: list[dict[str, float]], what: str, with_what: str, against: str, note: str) -> Row:
    return Row(
        what=f"CPU of a call in all programs, {what}",
        figure=median(each[what] for each in rounds),
        unit="µs",
        baseline=median(each[with_what] for each in rounds),
        against=against,
        value=median(each[what] / each[with_what] for each in rounds),
        target=FEW_TARGET,
        note=note,
    )


def _of_one(rounds: list[dict[str, float]]) -> Row:
    more = [(each[MANY] - each[NOTHING]) / SHARES[MANY] for each in rounds]
    without = _without(rounds)
    return Row(
        what="CPU of a sampled call beyond one that isn't",
        figure=median(more),
        unit="µs",
        baseline=median(without),
        against="a whole call without traces",
        value=median(each / base for each, base in zip(more, without, strict=True)),
        target=SAMPLED,
        note="one call in ten is sampled; all programs, with what sends spans",
    )
