"""What an operator tells. What it says of pools, the one that leads says; of the API server, each what it asks for itself. Pure.

`pool` is namespace/name.
"""

from __future__ import annotations

from snakepit._telemetry.metrics.row import Metric

_US = ("operator",)

LEADER = Metric("snakepit_operator_leader", "gauge", "1 if it leads: exactly one of a release does.", _US)
RECONCILE_DURATION = Metric(
    "snakepit_operator_reconcile_duration_seconds", "histogram", "One look at a pool, with what it made necessary.", _US, (), "seconds"
)
RECONCILES = Metric(
    "snakepit_operator_reconciles_total",
    "counter",
    "Looks at pools. `outcome`: ok; conflict, where somebody else wrote meanwhile; error. What wasn't ok is looked at again.",
    _US,
    ("outcome",),
    values={"outcome": ("ok", "conflict", "error")},
)
OPERATOR_QUEUE = Metric("snakepit_operator_queue_depth", "gauge", "Pools that are due to be looked at, and wait for it.", _US)
API_REQUESTS = Metric(
    "snakepit_operator_api_requests_total",
    "counter",
    "Requests to the API server, kopf's too. `verb` and `resource` as RBAC has them, or discovery; `code`: the answer's, or none.",
    _US,
    ("verb", "resource", "code"),
)
API_DURATION = Metric(
    "snakepit_operator_api_request_duration_seconds",
    "histogram",
    "From a request to the API server to the end of its answer; of one of kopf's, to the beginning, as watches go on.",
    _US,
    ("verb", "resource"),
    "seconds",
)
PLANNED = Metric(
    "snakepit_operator_planned_actions_total",
    "counter",
    "Capsules to create or to delete, each time that this was decided. `action`: create, delete.",
    _US,
    ("action",),
    values={"action": ("create", "delete")},
)
CONDITION = Metric(
    "snakepit_pool_condition",
    "gauge",
    "1 for the status that a condition of a pool has, and 0 for the others. `type`: Ready, Available, Degraded and so on. "
    "`status`: True, False, Unknown.",
    _US,
    ("pool", "type", "status"),
    values={"status": ("True", "False", "Unknown")},
)
POOL_CAPSULES = Metric(
    "snakepit_pool_capsules",
    "gauge",
    "Capsules, as the pool's status counts them; one counts in several. `state`: all, ready, updated, available, outdated.",
    _US,
    ("pool", "state"),
    values={"state": ("all", "ready", "updated", "available", "outdated")},
)
POOL_DESIRED = Metric("snakepit_pool_desired_capsules", "gauge", "Capsules that there should be.", _US, ("pool",))
