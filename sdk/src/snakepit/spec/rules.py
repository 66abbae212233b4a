"""Rules over more than one field, in CEL: one table for the API server, local mode and the tests.

Each rule has an example that it accepts and one that it refuses; both are merged into the smallest valid spec. Limits of a single
field are in `fields`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Rule(NamedTuple):
    """`path` is where `expression` finds its `self`; `message` is what a person reads when it is false."""

    id: str
    path: tuple[str, ...]
    expression: str
    message: str
    valid: Mapping[str, Any]
    invalid: Mapping[str, Any]


RULES: tuple[Rule, ...] = (
    Rule(
        "processes-need-profile-process",
        ("spec", "worker"),
        "self.profile == 'process' || self.processes == 1",
        "profile thread has one process: remove processes, or use profile: process",
        {"worker": {"profile": "thread", "threads": 4}},
        {"worker": {"profile": "thread", "processes": 2}},
    ),
    Rule(
        "threads-need-profile-thread",
        ("spec", "worker"),
        "self.profile == 'thread' || self.threads == 8",
        "threads has a meaning with profile thread only: remove it, or use profile: thread",
        {"worker": {"profile": "thread", "threads": 16}},
        {"worker": {"profile": "process", "threads": 16}},
    ),
    Rule(
        "call-timeouts-within-the-longest",
        ("spec", "call"),
        "self.timeoutSeconds <= self.maxTimeoutSeconds && self.streamTimeoutSeconds <= self.maxTimeoutSeconds",
        "timeoutSeconds and streamTimeoutSeconds must not be above maxTimeoutSeconds",
        {"call": {"timeoutSeconds": 60, "streamTimeoutSeconds": 60, "maxTimeoutSeconds": 60}},
        {"call": {"timeoutSeconds": 61, "streamTimeoutSeconds": 60, "maxTimeoutSeconds": 60}},
    ),
    Rule(
        "heartbeat-timeout-two-intervals",
        ("spec", "heartbeat"),
        "self.timeoutSeconds >= self.intervalSeconds * 2.0",
        "timeoutSeconds must be at least twice intervalSeconds",
        {"heartbeat": {"intervalSeconds": 5, "timeoutSeconds": 10, "missThreshold": 2}},
        {"heartbeat": {"intervalSeconds": 6, "timeoutSeconds": 10, "missThreshold": 1}},
    ),
    Rule(
        "heartbeat-misses-within-timeout",
        ("spec", "heartbeat"),
        "double(self.missThreshold) * self.intervalSeconds <= self.timeoutSeconds",
        "missThreshold heartbeats of intervalSeconds must fit into timeoutSeconds",
        {"heartbeat": {"intervalSeconds": 2, "timeoutSeconds": 10, "missThreshold": 5}},
        {"heartbeat": {"intervalSeconds": 2, "timeoutSeconds": 10, "missThreshold": 6}},
    ),
    Rule(
        "autoscaling-min-within-max",
        ("spec", "autoscaling"),
        "self.minReplicas <= self.maxReplicas",
        "minReplicas must not be above maxReplicas",
        {"autoscaling": {"minReplicas": 2, "maxReplicas": 2}},
        {"autoscaling": {"minReplicas": 3, "maxReplicas": 2}},
    ),
    Rule(
        "rollout-can-move",
        ("spec", "rollout"),
        "!((self.maxSurge == 0 || self.maxSurge == '0%') && (self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
        "maxSurge and maxUnavailable must not both be 0: a rollout could never move",
        {"rollout": {"maxSurge": 0, "maxUnavailable": 1}},
        {"rollout": {"maxSurge": 0, "maxUnavailable": "0%"}},
    ),
    Rule(
        "capsules-start-again",
        ("spec", "template", "spec"),
        "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
        "a capsule's containers are always started again: remove restartPolicy, or set it to Always",
        {"template": {"spec": {"restartPolicy": "Always"}}},
        {"template": {"spec": {"restartPolicy": "Never"}}},
    ),
    Rule(
        "grace-follows-drain",
        ("spec", "template", "spec"),
        "!has(self.terminationGracePeriodSeconds)",
        "terminationGracePeriodSeconds follows from spec.drain: remove it, and set drain.timeoutSeconds",
        {"template": {"spec": {}}, "drain": {"timeoutSeconds": 90}},
        {"template": {"spec": {"terminationGracePeriodSeconds": 90}}},
    ),
    Rule(
        "names-of-the-operator",
        ("spec", "template", "spec"),
        " && ".join(
            f"(!has(self.{each}) || self.{each}.all(e, !has(e.name) || !e.name.startsWith('snakepit-')))"
            for each in ("containers", "initContainers", "volumes")
        ),
        "containers and volumes whose names begin with snakepit- are the operator's: use other names",
        {"template": {"spec": {"containers": [{"name": "worker"}, {"name": "proxy"}], "volumes": [{"name": "snakes"}]}}},
        {"template": {"spec": {"containers": [{"name": "snakepit-agent", "image": "mine"}]}}},
    ),
    Rule(
        "value-fits-session",
        ("spec", "session"),
        "self.maxValueBytes <= self.maxBytes",
        "maxValueBytes must not be above maxBytes",
        {"session": {"maxValueBytes": 4096, "maxBytes": 4096}},
        {"session": {"maxValueBytes": 4097, "maxBytes": 4096}},
    ),
)
