"""What a pool's status says in numbers, in the documents of custom.metrics.k8s.io, for a HorizontalPodAutoscaler. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from operator import attrgetter
from typing import Any

from snakepit.spec.fields import API_VERSION, GROUP, KIND, PLURAL, Metadata, SnakePool
from snakepit.spec.status import SnakePoolStatus

Object = dict[str, Any]

API_GROUP, API_GROUP_VERSION = "custom.metrics.k8s.io", "v1beta2"
RESOURCE = f"{PLURAL}.{GROUP}"
"""How that API calls pools."""


def _load_percent(status: SnakePoolStatus) -> int | None:
    slots, busy, waiting = status.total_slots, status.busy_slots, status.queue_depth
    return -(-100 * (busy + waiting) // slots) if slots and busy is not None and waiting is not None else None


METRICS: Mapping[str, Callable[[SnakePoolStatus], int | None]] = {
    "recommended_replicas": attrgetter("recommended_replicas"),
    "load_percent": _load_percent,
    "busy_slots": attrgetter("busy_slots"),
    "queue_depth": attrgetter("queue_depth"),
    "sessions": attrgetter("sessions"),
}
"""None: nobody knows."""


def value(pool: SnakePool, metric: str) -> int | None:
    """The metric as the pool's status has it; None: nobody knows."""
    return None if pool.status is None else METRICS[metric](pool.status)


def resources() -> Object:
    """What there is: the APIResourceList."""
    each = {"singularName": "", "namespaced": True, "kind": "MetricValueList", "verbs": ["get"]}
    names = [f"{RESOURCE}/{metric}" for metric in METRICS]
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": f"{API_GROUP}/{API_GROUP_VERSION}",
        "resources": [{"name": name, **each} for name in names],
    }


def values(pools: Iterable[SnakePool], metric: str, stamp: str) -> Object:
    """The metric of those pools, without the ones of which it isn't known: the MetricValueList. `stamp`: when it was asked for."""
    said = [(pool.metadata, value(pool, metric)) for pool in pools]
    items = [_value(metadata, metric, number, stamp) for metadata, number in said if number is not None]
    return {"kind": "MetricValueList", "apiVersion": f"{API_GROUP}/{API_GROUP_VERSION}", "metadata": {}, "items": items}


def _value(metadata: Metadata, metric: str, number: int, stamp: str) -> Object:
    described = {"kind": KIND, "apiVersion": API_VERSION, "namespace": metadata.namespace, "name": metadata.name}
    return {"describedObject": described, "metric": {"name": metric, "selector": None}, "timestamp": stamp, "value": str(number)}


def failure(code: int, message: str) -> Object:
    """The Status that says no, as an API server says it."""
    reason = HTTPStatus(code).phrase.title().replace(" ", "")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}
