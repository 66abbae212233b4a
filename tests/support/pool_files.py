"""Pool files that are right and wrong, one fault each: the same table for local validation and for a real API server."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

from snakepit.spec.rules import RULES


class Case(NamedTuple):
    """`sentence` is part of what must be said; empty for a good file."""

    id: str
    document: dict[str, Any]
    sentence: str = ""


def document(spec: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    """The smallest right pool file, with these fields merged into its spec, one level deep."""
    merged: dict[str, Any] = {"worker": {"adapter": "digits.tools:Digits"}}
    for name, value in copy.deepcopy(spec or {}).items():
        merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) and isinstance(merged.get(name, {}), dict) else value
    return {"apiVersion": "snakepit.dev/v1alpha1", "kind": "SnakePool", "metadata": {"name": "digits", **metadata}, "spec": merged}


def _without_spec() -> dict[str, Any]:
    return {name: value for name, value in document().items() if name != "spec"}


def _bad(id: str, sentence: str, **spec: Any) -> Case:
    return Case(id, document(spec), sentence)


RULE_EXAMPLES: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    ({"worker": {"profile": "thread", "threads": 4}}, {"worker": {"profile": "thread", "processes": 2}}),
    ({"worker": {"profile": "thread", "threads": 16}}, {"worker": {"profile": "process", "threads": 16}}),
    (
        {"call": {"timeoutSeconds": 60, "streamTimeoutSeconds": 60, "maxTimeoutSeconds": 60}},
        {"call": {"timeoutSeconds": 61, "streamTimeoutSeconds": 60, "maxTimeoutSeconds": 60}},
    ),
    (
        {"heartbeat": {"intervalSeconds": 5, "timeoutSeconds": 10, "missThreshold": 2}},
        {"heartbeat": {"intervalSeconds": 6, "timeoutSeconds": 10, "missThreshold": 1}},
    ),
    (
        {"heartbeat": {"intervalSeconds": 2, "timeoutSeconds": 10, "missThreshold": 5}},
        {"heartbeat": {"intervalSeconds": 2, "timeoutSeconds": 10, "missThreshold": 6}},
    ),
    ({"autoscaling": {"minReplicas": 2, "maxReplicas": 2}}, {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}}),
    ({"rollout": {"maxSurge": 0, "maxUnavailable": 1}}, {"rollout": {"maxSurge": 0, "maxUnavailable": "0%"}}),
    ({"template": {"spec": {"restartPolicy": "Always"}}}, {"template": {"spec": {"restartPolicy": "Never"}}}),
    ({"template": {"spec": {}}, "drain": {"timeoutSeconds": 90}}, {"template": {"spec": {"terminationGracePeriodSeconds": 90}}}),
    (
        {"template": {"spec": {"containers": [{"name": "worker"}, {"name": "proxy"}], "volumes": [{"name": "snakes"}]}}},
        {"template": {"spec": {"containers": [{"name": "snakepit-agent", "image": "mine"}]}}},
    ),
    ({"session": {"maxValueBytes": 4096, "maxBytes": 4096}}, {"session": {"maxValueBytes": 4097, "maxBytes": 4096}}),
    ({"slo": {"availabilityPercent": 99.9}}, {"slo": {"toolErrors": "bad"}}),
    (
        {"slo": {"latencyMilliseconds": 500, "latencyPercent": 95}},
        {"slo": {"availabilityPercent": 99.9, "latencyPercent": 95}},
    ),
    (
        {"slo": {"latencyMilliseconds": 2000}, "call": {"timeoutSeconds": 2}},
        {"slo": {"latencyMilliseconds": 2001}, "call": {"timeoutSeconds": 2}},
    ),
)
"""Of each rule, in their order: a spec that it accepts, and one that it refuses."""

GOOD = (
    Case("the smallest", document()),
    Case("nulls count as absent", document({"image": None, "queue": None, "recycle": {"maxCalls": None}})),
    Case("a whole number as 2.0", document({"replicas": 2.0})),
    Case("seconds with a fraction", document({"queue": {"timeoutSeconds": 0.5}})),
    Case("a count as surge", document({"rollout": {"maxSurge": 3}})),
    Case("no capsules", document({"replicas": 0})),
    Case("an adapter that is a module", document({"worker": {"adapter": "tools"}})),
    Case("anything in the template", document({"template": {"spec": {"whatever": [1, {"a": None}]}}})),
    Case("the longest name", document(name="x" * 52)),
    Case("labels and annotations", document(labels={"a": "b"}, annotations={"c": "d"})),
    *(Case(f"rule: {rule.message}", document(valid)) for rule, (valid, _) in zip(RULES, RULE_EXAMPLES, strict=True)),
)

BAD = (
    _bad("unknown field", 'unknown field "spec.replica"', replica=2),
    _bad("unknown field below", 'unknown field "spec.queue.size"', queue={"size": 3}),
    Case("unknown field of metadata", document(nmae="x"), 'unknown field "metadata.nmae"'),
    _bad("text for a number", "must be of type integer", replicas="two"),
    _bad("a fraction for a count", "must be of type integer", queue={"maxSize": 1.5}),
    _bad("a number for text", "must be of type string", worker={"adapter": 7}),
    _bad("text for yes or no", "must be of type boolean", suspended="yes"),
    _bad("a list for an object", "must be of type object", queue=[]),
    _bad("a list for the template", "must be of type object", template=[]),
    _bad("yes or no for a count or percent", "must be of type integer,string", rollout={"maxSurge": True}),
    _bad("below the minimum", "should be greater than or equal to 0", replicas=-1),
    _bad("at an open minimum", "should be greater than 0", heartbeat={"intervalSeconds": 0}),
    _bad("above the maximum", "should be less than or equal to 10000", replicas=20_000),
    _bad("no such choice", "Unsupported value", affinity="sticky"),
    _bad(
        "an adapter that is none", 'spec.worker.adapter: Invalid value: "a b": it must be a module and its class', worker={"adapter": "a b"}
    ),
    _bad("a percentage that is none", 'Invalid value: "a few": it must be a count', rollout={"maxSurge": "a few"}),
    _bad("a quantity that is none", 'Invalid value: "lots": it must be a number of bytes', recycle={"maxMemory": "lots"}),
    _bad("the path of a file", "not the path of a file", worker={"adapter": "tools/Mine.py"}),
    _bad("a unit after a space", "like 512Mi", recycle={"maxMemory": "512 MB"}),
    _bad("more than everything", "a percentage from 0% to 100%", rollout={"maxSurge": "150%"}),
    _bad("a template without its spec", 'unknown field "spec.template.containers"', template={"containers": []}),
    _bad(
        "containers that are no list", "spec.template.spec.containers in body must be of type array", template={"spec": {"containers": {}}}
    ),
    _bad(
        "a volume of the operator's",
        "whose names begin with snakepit- are the operator's",
        template={"spec": {"volumes": [{"name": "snakepit-run"}]}},
    ),
    _bad("empty text", "at least 1 chars long", image=""),
    _bad("text that is too long", "Too long", worker={"adapter": "a" * 600}),
    _bad("an empty list", "at least 1 items", call={"payloads": []}),
    _bad("the same twice", "Duplicate value", call={"payloads": ["json", "json"]}),
    _bad("too many", "Too many", call={"payloads": ["json", "msgpack", "pickle", "json"]}),
    _bad("no adapter", "spec.worker.adapter: Required value", worker={"adapter": None}),
    _bad("no worker", "spec.worker: Required value", worker=None),
    Case("no spec", _without_spec(), "spec: Required value"),
    _bad("several faults at once", "spec.affinity", replicas=-1, affinity="sticky", worker={"adapter": "a b"}),
    _bad("a fault of a field beside one of a rule", "fit into timeoutSeconds", replicas=-1, heartbeat={"missThreshold": 50}),
    Case("a name with a dot", document(name="a.b"), "metadata.name"),
    Case("a name that is too long", document(name="x" * 53), "metadata.name: Too long"),
    Case("another version", {**document(), "apiVersion": "snakepit.dev/v2"}, 'no matches for kind "SnakePool"'),
    *(Case(f"rule: {rule.message}", document(invalid), rule.message) for rule, (_, invalid) in zip(RULES, RULE_EXAMPLES, strict=True)),
)
