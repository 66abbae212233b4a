"""A change of every field that a pool has."""

from __future__ import annotations

import copy
from typing import Any

CHANGES: dict[str, Any] = {
    "replicas": 5,
    "autoscaling.minReplicas": 2,
    "autoscaling.maxReplicas": 7,
    "autoscaling.target.queueWaitMilliseconds": 70,
    "autoscaling.target.warmPercent": 90,
    "autoscaling.targetUtilizationPercent": 50,
    "autoscaling.scaleDownStabilizationSeconds": 9,
    "autoscaling.idleSeconds": 8,
    "autoscaling.schedule": [{"cron": "0 8 * * 1-5", "minReplicas": 4}],
    "worker.adapter": "m:D",
    "worker.profile": "thread",
    "worker.processes": 3,
    "worker.threads": 5,
    "worker.startup": "spawn",
    "worker.exclusive": True,
    "image": "digits:2",
    "template": {"metadata": {"labels": {"a": "b"}}},
    "agent.resources": {"limits": {"memory": "1Gi"}},
    "queue.maxSize": 5,
    "queue.timeoutSeconds": 7,
    "queue.activationTimeoutSeconds": 77,
    "affinity": "strict_queue",
    "call.timeoutSeconds": 11,
    "call.streamTimeoutSeconds": 12,
    "call.maxTimeoutSeconds": 1000,
    "call.streamIdleSeconds": 13,
    "call.idempotencyTtlSeconds": 14,
    "call.payloads": ["json"],
    "call.maxConcurrentPerCaller": 3,
    "heartbeat.intervalSeconds": 1,
    "heartbeat.timeoutSeconds": 15,
    "heartbeat.missThreshold": 2,
    "heartbeat.initialDelaySeconds": 3,
    "recycle.maxAgeSeconds": 60,
    "recycle.maxCalls": 100,
    "recycle.maxMemory": "512Mi",
    "recycle.jitterPercent": 20,
    "restart.maxRestarts": 4,
    "restart.windowSeconds": 6,
    "drain.timeoutSeconds": 30,
    "drain.killAfterSeconds": 3,
    "session.ttlSeconds": 60,
    "session.maxSessions": 8,
    "session.maxPerCaller": 7,
    "session.maxKeys": 9,
    "session.maxValueBytes": 10,
    "session.maxBytes": 20_000_000,
    "session.ordered": False,
    "slo.availabilityPercent": 99.9,
    "slo.latencyMilliseconds": 500,
    "slo.latencyPercent": 95,
    "slo.toolErrors": "bad",
    "rollout.maxSurge": 2,
    "rollout.maxUnavailable": 1,
    "rollout.progressDeadlineSeconds": 60,
    "rollout.paused": True,
    "suspended": True,
}
"""By the field's path, another value than its default."""


_REQUIRED: dict[str, dict[str, Any]] = {"autoscaling": {"maxReplicas": 9}, "slo": {"latencyMilliseconds": 700}}
"""What a section can't do without."""


def changed(spec: dict[str, Any], path: str, value: Any = None) -> dict[str, Any]:
    """The spec with that field changed, to `value` or to what CHANGES says."""
    after = copy.deepcopy(spec)
    *sections, last = path.split(".")
    within = after
    for section in sections:
        within = within.setdefault(section, dict(_REQUIRED.get(section, {})))
    within[last] = CHANGES[path] if value is None else value
    return after
