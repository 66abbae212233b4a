"""What a pool's status says in numbers, in the documents of custom.metrics.k8s.io, for a HorizontalPodAutoscaler. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

from snakepit.spec.fields import API_VERSION, GROUP, KIND, PLURAL

Object = dict[str, Any]

API_GROUP, API_GROUP_VERSION = "custom.metrics.k8s.io", "v1beta2"
RESOURCE = f"{PLURAL}.{GROUP}"
"""How that API calls pools."""

Number = Callable[[Mapping[str, Any]], int | None]
"""Of a status; None: nobody knows."""


def _field(name: str) -> Number:
    return lambda status: status.get(name)


def _load_percent(status: Mapping[str, Any]) -> int | None:
    slots, busy, waiting = (status.get(name) for name in ("totalSlots", "busySlots", "queueDepth"))
    return -(-100 * (busy + waiting) // slots) if slots and busy is not None and waiting is not None else None


METRICS: Mapping[str, Number] = {
    "recommended_replicas": _field("recommendedReplicas"),
    "load_percent": _load_percent,
    "busy_slots": _field("busySlots"),
    "queue_depth": _field("queueDepth"),
    "sessions": _field("sessions"),
}


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


def values(pools: Iterable[Object], metric: str, stamp: str) -> Object:
    """The metric of those pools, without the ones of which it isn't known: the MetricValueList. `stamp`: when they were read."""
    said = [(pool["metadata"], METRICS[metric](pool.get("status") or {})) for pool in pools]
    items = [_value(metadata, metric, number, stamp) for metadata, number in said if number is not None]
    return {"kind": "MetricValueList", "apiVersion": f"{API_GROUP}/{API_GROUP_VERSION}", "metadata": {}, "items": items}


def _value(metadata: Mapping[str, Any], metric: str, number: int, stamp: str) -> Object:
    described = {"kind": KIND, "apiVersion": API_VERSION, "namespace": metadata["namespace"], "name": metadata["name"]}
    return {"describedObject": described, "metric": {"name": metric, "selector": None}, "timestamp": stamp, "value": str(number)}


def failure(code: int, message: str) -> Object:
    """The Status that says no, as an API server says it."""
    reason = HTTPStatus(code).phrase.title().replace(" ", "")
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code}
