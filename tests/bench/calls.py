"""Calls/s through SDK, control plane, agent and four one-slot workers, against a direct unary call; what a call costs each program."""

from __future__ import annotations

import os
from functools import partial
from typing import NamedTuple

from tests.bench.cpu import Meter
from tests.bench.direct import direct
from tests.bench.plane import plane
from tests.bench.rounds import TEXT, Call, Load, chosen, closed_loop, interleave, median, say
from tests.bench.rows import Row, Target

TARGETS = {1: (0.75, "0.7x"), 16: (3.0, "2.5x"), 64: (7.0, "6x"), 256: (13.0, "15x")}
CPU_CALLERS = 64

Costs = dict[str, float]


class Metered(NamedTuple):
    """A round's load, and each program's CPU time for it."""

    load: Load
    cpu: Costs

    @property
    def micros(self) -> Costs:
        return {name: seconds / len(self.load.latencies) * 1e6 for name, seconds in self.cpu.items()}


Rounds = list[dict[str, Metered]]


async def metered(meter: Meter, call: Call, callers: int) -> Metered:
    meter.start()
    load = await closed_loop(call, callers)
    return Metered(load, meter.stop())


async def rows() -> list[Row]:
    found: list[Row] = []
    async with direct() as baseline, plane() as (running, pool):
        routed = partial(pool.call, "echo", {"text": TEXT}, timeout=30)
        own, whole = Meter({"client": [os.getpid()]}), running.meter()
        for callers in chosen(TARGETS):
            sides = {"direct": partial(metered, own, baseline, callers), "routed": partial(metered, whole, routed, callers)}
            rounds = await interleave(f"calls, {callers} callers", sides)
            found.append(_rate(callers, rounds))
            say(f"  {found[-1].figure:,.0f} calls/s, {found[-1].value:.2f}x; {found[-1].note}")
            found += [_added(rounds)] if callers == 1 else []
            found += [_plane_cost(rounds)] if callers == CPU_CALLERS else []
    return found


def _rate(callers: int, rounds: Rounds) -> Row:
    target, prototype = TARGETS[callers]
    return Row(
        what=f"calls/s, {callers} caller{'s' * (callers > 1)}",
        figure=median(each["routed"].load.per_second for each in rounds),
        unit="/s",
        baseline=median(each["direct"].load.per_second for each in rounds),
        against="direct grpc.aio",
        value=median(each["routed"].load.per_second / each["direct"].load.per_second for each in rounds),
        target=Target("≥", target),
        prototype=prototype,
        note=_breakdown(rounds),
    )


def _breakdown(rounds: Rounds) -> str:
    costs = {name: median(each["routed"].micros[name] for each in rounds) for name in rounds[0]["routed"].cpu}
    parts = ", ".join(f"{name} {micros:.0f}" for name, micros in costs.items())
    return f"CPU µs a call: {parts}; sum {sum(costs.values()):.0f}; the direct call's client {_direct(rounds):.0f}"


def _direct(rounds: Rounds) -> float:
    return median(each["direct"].micros["client"] for each in rounds)


def _added(rounds: Rounds) -> Row:
    pairs = [(each["routed"].load.quantile(0.5) * 1e3, each["direct"].load.quantile(0.5) * 1e3) for each in rounds]
    return Row(
        what="p50, 1 caller",
        figure=median(ours for ours, _ in pairs),
        unit="ms",
        baseline=median(theirs for _, theirs in pairs),
        against="direct grpc.aio",
        value=median(ours - theirs for ours, theirs in pairs),
        target=Target("≤", 0.3, "ms more"),
        prototype="0.15-0.45 ms",
    )


def _plane_cost(rounds: Rounds) -> Row:
    micros = median(each["routed"].micros["control plane"] for each in rounds)
    return Row(
        what=f"control plane: CPU time of a call, {CPU_CALLERS} callers",
        figure=micros,
        unit="µs",
        value=micros,
        target=Target("<", 60, "µs"),
    )
