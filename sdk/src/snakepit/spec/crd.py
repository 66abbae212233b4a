"""The names of `SnakePool` in Kubernetes, and the schema of its CustomResourceDefinition, made from `fields` and `rules`."""

from __future__ import annotations

from functools import cache

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
