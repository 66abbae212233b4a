"""How many threads the numeric libraries of a worker may start: variables that BLAS and OpenMP read when they are imported. Pure."""

from __future__ import annotations

from snakepit.spec import SnakePoolSpec

VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


def environment(spec: SnakePoolSpec, cpus: float) -> dict[str, str]:
    """One thread in the `process` profile, the container's CPUs ÷ threads in the `thread` profile. The author's own setting wins."""
    count = max(1, int(cpus // spec.worker.threads)) if spec.worker.profile == "thread" else 1
    return dict.fromkeys(VARIABLES, str(count))
