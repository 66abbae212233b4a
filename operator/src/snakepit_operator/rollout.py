"""Which template a pod belongs to, and how many pods of which template there may be. Pure; it names no pod."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any, NamedTuple

import msgspec

from snakepit.spec.effects import rolling
from snakepit.spec.fields import RolloutSpec, SnakePool, SnakePoolSpec, WorkerSpec

RESTARTED_AT = "snakepit.dev/restartedAt"
"""An annotation of a pool: with another value than before, all of its pods are rolled, as if their template had changed."""


class Budget(NamedTuple):
    """Limits of one moment: pods at most, serving pods at least."""

    most: int
    least_serving: int


def desired(spec: SnakePoolSpec) -> int:
    """How many capsules there should be; of a pool with `autoscaling`, `replicas` is what `sizing` has made of it."""
    return 0 if spec.suspended else spec.replicas


def template_hash(spec: SnakePoolSpec) -> str:
    """Ten hex digits that change when, and only when, a field does whose change replaces every capsule (`snakepit.spec.effects`).

    Fields at their default are left out, so that a newer operator that knows more fields rolls nothing.
    """
    fields = {name: value for name in rolling() if (value := getattr(spec, name)) is not None}
    fields["worker"] = {k: v for k, v in _builtins(spec.worker).items() if v != _WORKER_DEFAULTS.get(k)}
    return digest(fields, 10)


def pool_hash(pool: SnakePool) -> str:
    """The template's hash; another one after somebody has asked for a restart."""
    asked = pool.metadata.annotations.get(RESTARTED_AT, "")
    return digest([template_hash(pool.spec), asked], 10) if asked else template_hash(pool.spec)


def digest(value: Any, length: int) -> str:
    """The first hex digits of the value's hash; the order of its fields doesn't matter."""
    return hashlib.sha256(msgspec.json.encode(value, order="deterministic")).hexdigest()[:length]


def capsule_name(pool: str, uid: str, ordinal: int, template: str, replaced: Iterable[str]) -> str:
    """`pool-ordinal-hash`: the same for everyone who sees the same predecessors, so a repeated create is AlreadyExists."""
    return f"{pool}-{ordinal}-{digest([uid, template, sorted(replaced)], 5)}"


def budget(rollout: RolloutSpec, wanted: int, rolling: bool) -> Budget:
    """Surge is only for replacing; percents round up for surge and down for missing capsules, and never both to nothing."""
    surge, missing = share(rollout.max_surge, wanted, math.ceil), share(rollout.max_unavailable, wanted, math.floor)
    if surge == 0 and missing == 0:
        missing = 1
    return Budget(wanted + surge if rolling and not rollout.paused else wanted, max(0, wanted - missing))


def share(part: int | str, whole: int, rounding: Any) -> int:
    """A count as it is, or percent of the whole."""
    return part if isinstance(part, int) else int(rounding(whole * int(part.removesuffix("%")) / 100))


def _builtins(worker: WorkerSpec) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(worker)
    return built


_WORKER_DEFAULTS = {k: v for k, v in _builtins(WorkerSpec(adapter="-")).items() if k != "adapter"}
