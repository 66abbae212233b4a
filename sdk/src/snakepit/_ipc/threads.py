"""How many threads the numeric libraries of a worker may start: the variable that they read when they are imported. Pure."""

from __future__ import annotations

VARIABLE = "OMP_NUM_THREADS"
"""OpenBLAS, MKL, BLIS and NumExpr have variables of their own, and go by this one where the author sets none of them."""


def environment(profile: str, threads: int, cpus: float) -> dict[str, str]:
    """One thread in the `process` profile, the container's CPUs ÷ threads in the `thread` profile. The author's own setting wins."""
    count = max(1, int(cpus // threads)) if profile == "thread" else 1
    return {VARIABLE: str(count)}
