"""The CustomResourceDefinition of `SnakePool`, made from `fields` and `rules`. hack/crds.py writes it to crds/."""

from __future__ import annotations

from functools import cache
from typing import Any

from msgspec import inspect

from snakepit.spec.fields import NAME_LENGTH, NAME_PATTERN, SnakePool, SnakePoolSpec, SnakePoolStatus
from snakepit.spec.rules import RULES
from snakepit.spec.schema import RULES as RULES_KEY
from snakepit.spec.schema import Schema, schema_of

GROUP = "snakepit.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "SnakePool"
PLURAL = "snakepools"
NAME = f"{PLURAL}.{GROUP}"

_COLUMNS = (
    ("Ready", "integer", ".status.readyReplicas", "Capsules with a warm worker."),
    ("Desired", "integer", ".status.desiredReplicas", "Capsules that there should be."),
    ("Busy", "integer", ".status.busySlots", "Slots that run a call."),
    ("Queue", "integer", ".status.queueDepth", "Calls that wait."),
    ("Sessions", "integer", ".status.sessions", "Sessions of the pool."),
    ("Reason", "string", ".status.reason", "The one word that says most."),
    ("Age", "date", ".metadata.creationTimestamp", ""),
)


def crd() -> dict[str, Any]:
    """The whole CustomResourceDefinition, ready to be written as YAML."""
    names = {
        "kind": KIND,
        "listKind": f"{KIND}List",
        "plural": PLURAL,
        "singular": "snakepool",
        "shortNames": ["sp"],
        "categories": ["snakepit"],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": NAME, "annotations": {"helm.sh/resource-policy": "keep"}},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": names, "versions": [_version()]},
    }


@cache
def pool_schema() -> Schema:
    """The schema of a whole SnakePool, rules included. Shared: don't change it."""
    spec = schema_of(inspect.type_info(SnakePoolSpec))
    root: Schema = {
        "type": "object",
        "description": SnakePool.__doc__,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", "properties": {"name": {"type": "string", "maxLength": NAME_LENGTH, "pattern": NAME_PATTERN}}},
            "spec": spec,
            "status": schema_of(inspect.type_info(SnakePoolStatus)),
        },
    }
    for rule in RULES:
        node = root
        for step in rule.path:
            node = node["properties"][step]
        node.setdefault(RULES_KEY, []).append({"rule": rule.expression, "message": rule.message})
    return root


def _version() -> dict[str, Any]:
    return {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": pool_schema()},
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "additionalPrinterColumns": [_column(*column) for column in _COLUMNS],
    }


def _column(name: str, type_: str, path: str, description: str) -> dict[str, Any]:
    column = {"name": name, "type": type_, "jsonPath": path}
    return {**column, "description": description} if description else column
