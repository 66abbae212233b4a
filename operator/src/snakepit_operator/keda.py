"""What KEDA asks of a pool, and what it is answered: by the pool's status, or no, in a sentence that names the field. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from msgspec import Struct

from snakepit.spec.fields import NAME_PATTERN, SnakePool
from snakepit_operator.pool_metrics import METRICS, value

RECOMMENDED = "recommended_replicas"
OF_KEDA = frozenset({"scalerAddress", "enableTLS", "unsafeSsl", "caCert", "tlsCertFile", "tlsClientCert", "tlsClientKey"})
"""What else a trigger's metadata may have: KEDA hands on all of it."""
OURS = ("pool", "metric", "target")

_LONGEST = 253
_NAME = re.compile(NAME_PATTERN)


class Refusal(Exception):
    """No, and why. `code` is the name of a gRPC status."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.sentence = sentence


class Question(Struct, frozen=True):
    """What a trigger of a ScaledObject is about: a metric of the pool `namespace/name`, and how much of it one capsule should have."""

    pool: str
    metric: str
    target: float


def question(namespace: str, metadata: Mapping[str, str]) -> Question:
    """What the trigger of a ScaledObject in that namespace asks. Raises Refusal."""
    if unknown := sorted(metadata.keys() - OF_KEDA - set(OURS)):
        raise _wrong(f"metadata.{unknown[0]} is unknown: use {', '.join(OURS[:-1])} and {OURS[-1]}, beside what KEDA itself knows")
    metric = metadata.get("metric", RECOMMENDED)
    return Question(_pool(namespace, metadata.get("pool", "")), known(metric), _target(metric, metadata.get("target")))


def known(metric: str) -> str:
    """The metric, if there is such a one. Raises Refusal."""
    if metric not in METRICS:
        raise _wrong(f"metadata.metric: there is no {metric[:_LONGEST]!r} of pools, use one of {', '.join(METRICS)}")
    return metric


def number(asked: Question, metric: str, pool: SnakePool | None) -> int:
    """The metric as the status of that pool has it; None: there is no such pool. Raises Refusal."""
    pool = _scalable(asked, pool)
    found = value(pool, metric)
    if found is None and pool.status is not None and pool.status.total_slots == 0 and metric != RECOMMENDED:
        return 0  # of no slot, no share is busy
    if found is None:
        raise _unknown(f"{metric} of {asked.pool}")
    return found


def is_active(asked: Question, pool: SnakePool | None) -> bool:
    """Should the pool have a capsule, or keep its last one? Raises Refusal."""
    status = _scalable(asked, pool).status
    if status is None or status.in_use is None:
        raise _unknown(f"whether {asked.pool} is in use")
    return status.in_use


def _scalable(asked: Question, pool: SnakePool | None) -> SnakePool:
    """The pool, if it has the size that KEDA gives it."""
    if pool is None:
        sentence = f"there is no SnakePool {asked.pool}: metadata.pool must name one in the ScaledObject's namespace"
        raise Refusal("NOT_FOUND", sentence)
    if pool.spec.autoscaling is not None:
        why = f"SnakePool {asked.pool} has spec.autoscaling, and ignores the spec.replicas that KEDA writes"
        raise Refusal("FAILED_PRECONDITION", f"{why}: remove one of the two, spec.autoscaling or the ScaledObject")
    return pool


def _pool(namespace: str, said: str) -> str:
    if not said:
        raise _wrong("metadata.pool is missing: write the SnakePool's name there, as in `pool: digits`")
    within, _, name = said.rpartition("/")
    if within and within != namespace:
        why = f"metadata.pool is {said[:_LONGEST]!r}, and a ScaledObject scales what is in its own namespace, {namespace!r}"
        raise Refusal("PERMISSION_DENIED", f"{why}: make it in the pool's namespace")
    for what, each in (("metadata.pool", name), ("scaledObjectRef.namespace", namespace)):
        if len(each) > _LONGEST or not _NAME.fullmatch(each):
            raise _wrong(f"{what}: {each[:_LONGEST]!r} can be the name of none, which has small letters, digits and dashes")
    return f"{namespace}/{name}"


def _target(metric: str, said: str | None) -> float:
    if said is None and metric == RECOMMENDED:
        return 1.0
    if said is None:
        raise _wrong(f'metadata.target is missing: say how much {metric} one capsule should have, as in `target: "8"`')
    try:
        target = float(said)
    except ValueError:
        target = math.nan
    if not 0 < target < math.inf:
        raise _wrong(f'metadata.target must be a number above 0, as in `target: "8"`, and is {said[:_LONGEST]!r}')
    return target


def _wrong(sentence: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", sentence)


def _unknown(what: str) -> Refusal:
    return Refusal("UNAVAILABLE", f"nobody knows {what} now: the operator hears no control-plane replica, or there is no worker")
