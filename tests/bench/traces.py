"""What tracing costs a call in all programs together: where nothing is sampled, and where one call in a hundred is, against none of it.

Of one in a hundred the noise hides what a sampled call costs. So one in ten is measured, too, and what one of those costs more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from statistics import mean

import snakepit
from snakepit._telemetry import tracing
from tests.bench.cpu import family, ran_seconds
from tests.bench.plane import Plane, plane
from tests.bench.rounds import TEXT, chosen, closed_loop, interleave, median
from tests.bench.rows import Row, Target

SHARES = {"nothing sampled": 0.0, "1 % sampled": 0.01, "10 % sampled": 0.1}
TARGETS = {"nothing sampled": Target("≤", 1.02), "1 % sampled": Target("≤", 1.03)}
SAMPLED = Target("≤", 3)
"""Times the CPU time of a call without traces: 3 %, where one in a hundred is sampled."""

EXPORT = {"OTEL_BSP_SCHEDULE_DELAY": "2000"}
EXPORTED_SECONDS = 2.5
"""A round waits until its spans are away, which is part of what they cost. By default they would go each five seconds."""

FOLLOW = {"OTEL_TRACES_SAMPLER": "parentbased_always_off"}
"""The caller alone begins traces. Without `parentbased` nobody would make a span of one that it has begun."""
WITHOUT = ("without", "without, again")
"""Programs that are alike differ by some hundredths, for as long as they run: what is smaller is no cost of anything."""


async def rows() -> list[Row]:
    async with _swallowing() as spans_go, plane() as one, plane() as other, plane(environment=spans_go | EXPORT | FOLLOW) as traced:
        found = []
        for callers in chosen((16, 64)):
            sides = {name: partial(_micros, *without, callers, {}) for name, without in zip(WITHOUT, (one, other), strict=True)}
            for name, share in SHARES.items():
                variables = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": str(share)}
                sides[name] = partial(_micros, *traced, callers, spans_go | EXPORT | variables)
            rounds = await interleave(f"traces, {callers} callers", sides)
            found += [*(_row(name, callers, rounds) for name in TARGETS), _of_one(callers, rounds)]
    return found


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


async def _micros(running: Plane, pool: snakepit.Pool, callers: int, variables: Mapping[str, str]) -> float:
    """CPU time of a call in the caller, the replica, the agent and the workers."""
    parts = [each.pid for each in (*running.replicas.values(), *running.agents)]
    pids = [os.getpid(), *parts, *(pid for each in running.keepers for pid in family(each.pid))]
    with _tracing(variables):
        before = sum(map(ran_seconds, pids))
        load = await closed_loop(partial(pool.call, "echo", {"text": TEXT}, timeout=30), callers)
        await asyncio.sleep(EXPORTED_SECONDS)
        return (sum(map(ran_seconds, pids)) - before) / len(load.latencies) * 1e6


def _row(name: str, callers: int, rounds: list[dict[str, float]]) -> Row:
    without = [mean(each[name] for name in WITHOUT) for each in rounds]
    return Row(
        what=f"CPU of a call in all programs, {name}, {callers} callers",
        figure=median(each[name] for each in rounds),
        unit="µs",
        baseline=median(without),
        against="without traces",
        value=median(each[name] / base for each, base in zip(rounds, without, strict=True)),
        target=TARGETS[name],
        note=f"the second without: {median(each[WITHOUT[1]] / each[WITHOUT[0]] for each in rounds):.3f}x of the first",
    )


def _of_one(callers: int, rounds: list[dict[str, float]]) -> Row:
    share = SHARES["10 % sampled"]
    more = [(each["10 % sampled"] - each["nothing sampled"]) / share for each in rounds]
    without = [mean(each[name] for name in WITHOUT) for each in rounds]
    return Row(
        what=f"CPU of a sampled call beyond one that isn't, {callers} callers",
        figure=median(more),
        unit="µs",
        baseline=median(without),
        against="a whole call without traces",
        value=median(each / base for each, base in zip(more, without, strict=True)),
        target=SAMPLED,
        note="one call in ten is sampled; all programs, with what sends spans",
    )
