"""How a benchmark measures: rounds of all sides in turn, the first of them thrown away, medians of what is left.

BENCH_ROUNDS, BENCH_ROUND_SECONDS shorten a run; BENCH_CALLERS=1,64 measures only those numbers of callers; BENCH_UVLOOP puts callers
and the direct baseline on uvloop. Without it neither is: a program's loop is its own choice.
"""

from __future__ import annotations

import asyncio
import os
import random
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import uvloop

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "5"))
ROUND_SECONDS = float(os.environ.get("BENCH_ROUND_SECONDS", "2"))
RUN = uvloop.run if os.environ.get("BENCH_UVLOOP") else asyncio.run

TEXT = "x" * 89
"""What is echoed: with quotes, key and braces 100 bytes of JSON."""

Call = Callable[[], Awaitable[object]]
T = TypeVar("T")


@dataclass
class Load:
    """What a round of calls came to; latencies in seconds."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def quantile(self, share: float) -> float:
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def chosen(callers: Iterable[int]) -> list[int]:
    """Of these numbers of callers, those that BENCH_CALLERS asks for; all of them without it."""
    wanted = os.environ.get("BENCH_CALLERS")
    return [each for each in callers if not wanted or str(each) in wanted.split(",")]


def say(text: str) -> None:
    """Progress, for whoever waits."""
    print(text, file=sys.stderr, flush=True)


async def closed_loop(call: Call, callers: int, seconds: float = ROUND_SECONDS) -> Load:
    """So many callers, each with one call at a time."""
    load = Load()
    clock = time.perf_counter
    began = clock()
    end = began + seconds

    async def caller() -> None:
        while (at := clock()) < end:
            await call()
            load.latencies.append(clock() - at)

    await asyncio.gather(*(caller() for _ in range(callers)))
    load.seconds = clock() - began
    return load


async def answer(call: Call) -> None:
    """What a program that we compare with does, see `sides`: a line is a number of callers, and its answer the calls/s of a round."""
    for line in sys.stdin:
        print((await closed_loop(call, int(line))).per_second, flush=True)


async def open_loop(call: Call, per_second: float, seconds: float = ROUND_SECONDS) -> Load:
    """Independent callers: calls at random moments, so many a second on average, whatever became of those before.

    A latency counts from the moment of its call. The loop's timers know milliseconds, so what is due in one is called together.
    """
    load = Load()
    clock = time.perf_counter
    chance = random.Random(4)
    running: set[asyncio.Task[None]] = set()

    async def one() -> None:
        at = clock()
        await call()
        load.latencies.append(clock() - at)

    began = due = clock()
    while due < began + seconds:
        while due <= clock():
            task = asyncio.create_task(one())
            running.add(task)
            task.add_done_callback(running.discard)
            due += chance.expovariate(per_second)
        await asyncio.sleep(due - clock())
    load.seconds = clock() - began
    await asyncio.gather(*running)
    return load


async def interleave(what: str, sides: Mapping[str, Callable[[], Awaitable[T]]], rounds: int = ROUNDS) -> list[dict[str, T]]:
    """Each side's measurement, in turn, so many times; the first round, which warms up, is thrown away."""
    taken = []
    for number in range(rounds + 1):
        one = {name: await measure() for name, measure in sides.items()}
        if number:
            taken.append(one)
        say(f"{what}: {f'round {number} of {rounds}' if number else 'warm-up'}")
    return taken


def median(values: Iterable[float]) -> float:
    return statistics.median(values)
