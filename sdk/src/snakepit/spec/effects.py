"""What becomes of a running pool when a field of its spec changes. The one table: code, documents and tests go by it."""

from __future__ import annotations

import enum


class Effect(enum.Enum):
    """Whom a change reaches; the value says it to people."""

    ROLLS = "Every capsule is replaced, as `rollout` says"
    OPERATOR = "The operator goes by it at once. Pods that stay are left as they are"
    CONTROL_PLANE = "The control plane goes by it at once. No pod is touched"
    CAPSULES = "Control plane and running capsules go by it at once. No pod is touched"


EFFECTS = {
    "replicas": Effect.OPERATOR,
    "autoscaling": Effect.OPERATOR,
    "worker": Effect.ROLLS,
    "image": Effect.ROLLS,
    "template": Effect.ROLLS,
    "agent": Effect.ROLLS,
    "queue": Effect.CONTROL_PLANE,
    "affinity": Effect.CAPSULES,
    "call": Effect.CONTROL_PLANE,
    "call.streamIdleSeconds": Effect.CAPSULES,
    "call.payloads": Effect.CAPSULES,
    "heartbeat": Effect.CAPSULES,
    "recycle": Effect.CAPSULES,
    "restart": Effect.CAPSULES,
    "drain": Effect.CAPSULES,
    "session": Effect.CONTROL_PLANE,
    "slo": Effect.CONTROL_PLANE,
    "rollout": Effect.OPERATOR,
    "suspended": Effect.OPERATOR,
}
"""By the field's path in `spec`. The longest one that a path begins with counts."""


def effect(path: str) -> Effect:
    """Of a field, like `queue.maxSize`. Raises KeyError for one that a pool doesn't have."""
    while path not in EFFECTS and "." in path:
        path = path.rpartition(".")[0]
    return EFFECTS[path]


def rolling() -> tuple[str, ...]:
    """The fields of which a change replaces every capsule."""
    return tuple(path for path, each in EFFECTS.items() if each is Effect.ROLLS)
