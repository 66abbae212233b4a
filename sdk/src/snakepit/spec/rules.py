"""Rules over more than one field, in CEL: one table for the API server and local mode. Limits of a single field are in `fields`."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """One rule. `path` is where `expression` finds its `self`; `message` is what a person reads when it is false."""

    path: tuple[str, ...]
    expression: str
    message: str


RULES: tuple[Rule, ...] = (
    Rule(
        ("spec", "worker"),
        "self.profile == 'process' || self.processes == 1",
        "profile thread has one process: remove processes, or use profile: process",
    ),
    Rule(
        ("spec", "worker"),
        "self.profile == 'thread' || self.threads == 8",
        "threads has a meaning with profile thread only: remove it, or use profile: thread",
    ),
    Rule(
        ("spec", "call"),
        "self.timeoutSeconds <= self.maxTimeoutSeconds && self.streamTimeoutSeconds <= self.maxTimeoutSeconds",
        "timeoutSeconds and streamTimeoutSeconds must not be above maxTimeoutSeconds",
    ),
    Rule(
        ("spec", "heartbeat"),
        "self.timeoutSeconds >= self.intervalSeconds * 2.0",
        "timeoutSeconds must be at least twice intervalSeconds",
    ),
    Rule(
        ("spec", "heartbeat"),
        "double(self.missThreshold) * self.intervalSeconds <= self.timeoutSeconds",
        "missThreshold heartbeats of intervalSeconds must fit into timeoutSeconds",
    ),
    Rule(
        ("spec", "autoscaling"),
        "self.minReplicas <= self.maxReplicas",
        "minReplicas must not be above maxReplicas",
    ),
    Rule(
        ("spec", "rollout"),
        "!((self.maxSurge == 0 || self.maxSurge == '0%') && (self.maxUnavailable == 0 || self.maxUnavailable == '0%'))",
        "maxSurge and maxUnavailable must not both be 0: a rollout could never move",
    ),
    Rule(
        ("spec", "template", "spec"),
        "!has(self.restartPolicy) || self.restartPolicy == 'Always'",
        "a capsule's containers are always started again: remove restartPolicy, or set it to Always",
    ),
    Rule(
        ("spec", "template", "spec"),
        "!has(self.terminationGracePeriodSeconds)",
        "terminationGracePeriodSeconds follows from spec.drain: remove it, and set drain.timeoutSeconds",
    ),
    Rule(
        ("spec", "template", "spec"),
        " && ".join(
            f"(!has(self.{each}) || self.{each}.all(e, !has(e.name) || !e.name.startsWith('snakepit-')))"
            for each in ("containers", "initContainers", "volumes")
        ),
        "containers and volumes whose names begin with snakepit- are the operator's: use other names",
    ),
    Rule(
        ("spec", "session"),
        "self.maxValueBytes <= self.maxBytes",
        "maxValueBytes must not be above maxBytes",
    ),
    Rule(
        ("spec", "slo"),
        "has(self.availabilityPercent) || has(self.latencyMilliseconds)",
        "an objective needs availabilityPercent, or latencyMilliseconds, or both",
    ),
    Rule(
        ("spec", "slo"),
        "has(self.latencyMilliseconds) || self.latencyPercent == 99.0",
        "latencyPercent has a meaning with latencyMilliseconds only: remove it, or say latencyMilliseconds",
    ),
    Rule(
        ("spec",),
        "!has(self.slo) || !has(self.slo.latencyMilliseconds) || double(self.slo.latencyMilliseconds) <= self.call.timeoutSeconds * 1000.0",
        "slo.latencyMilliseconds must not be above call.timeoutSeconds: a call would fail before it is late",
    ),
)
