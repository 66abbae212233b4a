"""How many threads the numeric libraries of a worker may start: the variable that they read when they are imported. Pure."""

from __future__ import annotations

from snakepit.spec import SnakePoolSpec

VARIABLE = "OMP_NUM_THREADS"
"""OpenBLAS, MKL, BLIS and NumExpr have variables of their own, and go by this one where the author sets none of them."""


def environment(spec: SnakePoolSpec, cpus: float) -> dict[str, str]:
    """One thread in the `process` profile, the container's CPUs ÷ threads in the `thread` profile. The author's own setting wins."""
    count = max(1, int(cpus // spec.worker.threads)) if spec.worker.profile == "thread" else 1
    return {VARIABLE: str(count)}
