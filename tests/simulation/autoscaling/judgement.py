"""Every scaler through every trace, and who was better: by calls that were late (or failed), and by what the capsules cost.

Both are sums over the seeds. The bounds, traces, warm-ups and seeds are the same for all; each scaler has its own documented defaults, and
0 or 1 capsules at least, as the trace says (the HorizontalPodAutoscaler always 1), and 50 at most.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import reduce
from operator import add
from types import MappingProxyType

from .hpa import Hpa
from .keda import Keda
from .ours import Ours
from .pool import Outcome, Scaler, Trace, play
from .ray_serve import RayServe
from .traces import ALL

SEEDS = (41, 42, 43)
"""None that anything was tuned with: those were 1 to 33, and 101 to 306."""

MOST = 50

OURS = "Snakepit"
SCALERS: Mapping[str, Callable[[Trace, int, int], Scaler]] = MappingProxyType({OURS: Ours, "HPA": Hpa, "KEDA": Keda, "Ray Serve": RayServe})

Results = dict[str, dict[str, Outcome]]
"""By trace and scaler."""


def judge(seeds: Iterable[int] = SEEDS) -> Results:
    results: Results = {}
    for make in ALL:
        traces = [(seed, make(seed)) for seed in seeds]
        results[traces[0][1].name] = {
            name: reduce(add, (play(trace, scaler(trace, MOST, seed), seed) for seed, trace in traces)) for name, scaler in SCALERS.items()
        }
    return results


def dominates(one: Outcome, other: Outcome) -> bool:
    """Is it nowhere worse, and better somewhere?"""
    ours, theirs = (one.late, one.capsule_seconds), (other.late, other.capsule_seconds)
    return ours != theirs and ours[0] <= theirs[0] and ours[1] <= theirs[1]


def beats(one: Outcome, other: Outcome) -> bool:
    """Is it better in both columns? Where neither has a late call, nobody could be better in that one."""
    return one.capsule_seconds < other.capsule_seconds and (one.late < other.late or one.late == other.late == 0)


def wins(results: Results) -> dict[str, list[str]]:
    """By scaler, the traces in which ours beats it."""
    others = [name for name in SCALERS if name != OURS]
    return {name: [trace for trace, each in results.items() if beats(each[OURS], each[name])] for name in others}
