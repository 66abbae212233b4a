"""What the agent of a capsule tells: what only it knows of its calls, links and workers. Pure.

`pool` is namespace/name. Which capsule it is, the scraper says: the chart's PodMonitor as the label `capsule`.
"""

from __future__ import annotations

from snakepit._telemetry.metrics.row import OTHER, Metric

_US = ("agent",)

READY = "Ready"
START_OUTCOMES = (
    READY,
    *("ImportFailed", "AdapterInvalid", "SetupFailed", "ForkFailed", "StartFailed", "SetupTimeout", "Crashed", "OutOfMemory", "KeeperLost"),
    *("ChannelBroken", "NotAnswering", "ToolDidNotStop", "Drained", "Recycled", OTHER),
)

AGENT_CALLS = Metric("snakepit_agent_calls", "gauge", "Calls that have a slot of a worker.", _US, ("pool",))
INBOX_DEPTH = Metric(
    "snakepit_agent_inbox_depth",
    "gauge",
    "Calls that were sent ahead and wait in workers' inboxes, behind those that have a slot.",
    _US,
    ("pool",),
)
AGENT_LINKS = Metric("snakepit_agent_links", "gauge", "Replicas of the control plane that the capsule is linked to.", _US, ("pool",))
WORKER_MEMORY = Metric(
    "snakepit_worker_memory_bytes",
    "gauge",
    "Resident memory of a worker, which forked ones share in part. `worker`: its number in the capsule; "
    "two processes count together while one takes the other's place.",
    _US,
    ("pool", "worker"),
    "bytes",
)
WORKER_SETUP = Metric(
    "snakepit_worker_setup_duration_seconds",
    "histogram",
    "How long `setup()` took, of workers that became ready by it.",
    _US,
    ("pool",),
    "seconds",
)
WORKER_STARTS = Metric(
    "snakepit_worker_starts_total",
    "counter",
    "Starts of workers that came to an end. `outcome`: Ready, or the reason that `snakepit workers` says, such as SetupFailed.",
    _US,
    ("pool", "outcome"),
    values={"outcome": START_OUTCOMES},
)
