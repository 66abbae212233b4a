"""What a replica of the control plane tells. Each counts what it does itself: sum over replicas. Pure.

`pool` is namespace/name. What every replica sees whole, such as slots and sessions, has the same value at each: take the largest.
"""

from __future__ import annotations

from snakepit._telemetry.metrics.row import OTHER, Metric
from snakepit.errors import BY_REASON, ToolError

_US = ("control-plane",)

REASONS = (*BY_REASON, OTHER)
OUTCOMES = ("OK", ToolError.reason, *REASONS)
"""How something can have ended."""
PRIORITIES = ("high", "normal", "low")
"""By rank."""
ENDS = ("crashed", "oom", "recycled", "evicted", "scaled down", "lost")
"""How a worker's life can have ended."""
WORKER_STATES = ("unspecified", "starting", "ready", "draining", "backoff", "stopped", "suspect")
_OBJECTIVES = ("availability", "latency")

# ---- calls

CALLS = Metric(
    "snakepit_calls_total",
    "counter",
    "Calls answered. `outcome`: OK, TOOL_ERROR, an error's reason, or other for an unknown one. `pool`, `tool`: empty if there is none.",
    _US,
    ("pool", "tool", "outcome"),
    values={"outcome": OUTCOMES},
)
CALL_DURATION = Metric(
    "snakepit_call_duration_seconds", "histogram", "From arrival at a replica to its answer.", _US, ("pool", "tool"), "seconds"
)
CALL_PHASE_DURATION = Metric(
    "snakepit_call_phase_duration_seconds",
    "histogram",
    "Of calls that a worker had begun: `phase` queue is what they waited for it, run what their tool took, to its end or to their answer, "
    "overhead the rest.",
    _US,
    ("pool", "tool", "phase"),
    "seconds",
    values={"phase": ("queue", "run", "overhead")},
)
REFUSALS = Metric(
    "snakepit_refusals_total",
    "counter",
    "Calls that never reached a worker.",
    _US,
    ("pool", "reason"),
    values={"reason": REASONS},
)
RETURNED_CALLS = Metric(
    "snakepit_returned_calls_total",
    "counter",
    "Calls that came back from a worker unbegun, and went to another one. `how`: recalled, refused.",
    _US,
    ("pool", "how"),
    values={"how": ("recalled", "refused")},
)
RERUNS = Metric("snakepit_reruns_total", "counter", "Calls sent again that may have run.", _US, ("pool",))
IDEMPOTENT_CALLS = Metric(
    "snakepit_idempotent_calls_total",
    "counter",
    "Calls with an idempotency key. `how`: ran, which were the first of theirs and went on as any call; joined, replayed, refused.",
    _US,
    ("pool", "how"),
    values={"how": ("ran", "joined", "replayed", "refused")},
)
CLIENT_TOOL_CALLS = Metric(
    "snakepit_client_tool_calls_total",
    "counter",
    "Calls of workers to tools that clients offer. `outcome`: OK, TOOL_ERROR, an error's reason, or other for an unknown one.",
    _US,
    ("pool", "outcome"),
    values={"outcome": OUTCOMES},
)

# ---- queues

QUEUE_DEPTH = Metric(
    "snakepit_queue_depth",
    "gauge",
    "Calls that wait at this replica.",
    _US,
    ("pool", "priority"),
    values={"priority": PRIORITIES},
)
QUEUE_WAIT = Metric(
    "snakepit_queue_wait_seconds",
    "histogram",
    "Time in the queue of calls that left it. `priority`: high, normal, low.",
    _US,
    ("pool", "priority"),
    "seconds",
    values={"priority": PRIORITIES},
)

# ---- workers and capsules

SLOTS = Metric(
    "snakepit_slots",
    "gauge",
    "Slots of ready workers. `state`: busy, free. Each replica sees all.",
    _US,
    ("pool", "state"),
    values={"state": ("busy", "free")},
)
WORKERS = Metric(
    "snakepit_workers",
    "gauge",
    "Workers, by state as `snakepit workers` says it. Each replica sees all.",
    _US,
    ("pool", "state"),
    values={"state": WORKER_STATES},
)
CAPSULES = Metric(
    "snakepit_capsules",
    "gauge",
    "Capsules that have linked to this replica. `state`: ready, starting (no worker is ready), suspect, draining.",
    _US,
    ("pool", "state"),
    values={"state": ("ready", "starting", "suspect", "draining")},
)
CAPSULES_LOST = Metric(
    "snakepit_capsules_lost_total", "counter", "Agents that were given up. Each replica counts all that were linked to it.", _US, ("pool",)
)
CAPSULES_SUSPECTED = Metric(
    "snakepit_capsules_suspected_total",
    "counter",
    "Times that an agent turned suspect: too many heartbeats missed, its link broken, or a question unanswered. It gets no new calls. "
    "Each replica counts its own links.",
    _US,
    ("pool",),
)
HEARTBEATS_MISSED = Metric(
    "snakepit_heartbeats_missed_total",
    "counter",
    "Heartbeats of agents that had not come, nor anything else of them, half an interval after they were due. Each replica counts all "
    "that were linked to it.",
    _US,
    ("pool",),
)
WORKER_RESTARTS = Metric(
    "snakepit_worker_restarts_total",
    "counter",
    "Lives of workers that ended. `reason`: crashed, oom, recycled, evicted, scaled down, lost. Each replica counts all.",
    _US,
    ("pool", "reason"),
    values={"reason": ENDS},
)
WORKER_RECYCLES = Metric(
    "snakepit_worker_recycles_total",
    "counter",
    "Workers whose place a successor took. `reason`: age, calls, memory, asked, session. Each replica counts all.",
    _US,
    ("pool", "reason"),
    values={"reason": ("age", "calls", "memory", "asked", "session")},
)

# ---- sessions and the store

SESSIONS = Metric("snakepit_sessions", "gauge", "Sessions in the store. Each replica sees all.", _US, ("pool",))
SESSIONS_LIMIT = Metric("snakepit_sessions_limit", "gauge", "`session.maxSessions` of the pool.", _US, ("pool",))
SESSIONS_CREATED = Metric("snakepit_sessions_created_total", "counter", "Sessions created through this replica.", _US, ("pool",))
SESSIONS_REFUSED = Metric(
    "snakepit_sessions_refused_total",
    "counter",
    "Sessions that this replica did not create. `limit`: session.maxSessions, session.maxPerCaller, "
    "maxSessionsPerNamespace, maxStateBytesPerCaller.",
    _US,
    ("pool", "limit"),
    values={"limit": ("session.maxSessions", "session.maxPerCaller", "maxSessionsPerNamespace", "maxStateBytesPerCaller")},
)
SESSIONS_MOVED = Metric(
    "snakepit_sessions_moved_total",
    "counter",
    "Sessions that this replica has bound to another worker than before. `reason`: busy, or how their worker ended: crashed, oom, "
    "recycled, evicted, scaled down, lost; or rebind, of those that were let go, wherever their next call binds them.",
    _US,
    ("pool", "reason"),
    values={"reason": ("busy", "rebind", *ENDS)},
)
SESSIONS_LOST = Metric(
    "snakepit_sessions_lost_total",
    "counter",
    "Sessions that ended before their time. `reason`: store, which has them no more though this replica used them; or how the worker "
    "ended to which a strict session is bound, counted at the replica which refuses a call for that first.",
    _US,
    ("pool", "reason"),
    values={"reason": ("store", *ENDS)},
)
STATE_OPERATIONS = Metric(
    "snakepit_state_operations_total",
    "counter",
    "Operations on sessions' state that came to this replica. `operation`: get, set, delete, list; what a worker has read within a second, "
    "it doesn't ask for. `outcome`: OK, or the reason of an error.",
    _US,
    ("pool", "operation", "outcome"),
    values={"operation": ("get", "set", "delete", "list"), "outcome": ("OK", *REASONS)},
)
NAMESPACE_SESSIONS = Metric(
    "snakepit_namespace_sessions", "gauge", "Sessions of all pools of a namespace. Each replica sees all.", _US, ("namespace",)
)
STORE_DURATION = Metric(
    "snakepit_store_operation_duration_seconds",
    "histogram",
    "From asking the store to its answer. `operation`: a script of ours, such as bind_session, or a command of Redis.",
    _US,
    ("operation",),
    "seconds",
)
STORE_ERRORS = Metric("snakepit_store_errors_total", "counter", "Operations that the store didn't answer, or refused.", _US, ("operation",))
STORE_UP = Metric("snakepit_store_up", "gauge", "1 while the store can be used, as far as this replica knows.", _US)

# ---- objectives

SLO_CALLS = Metric(
    "snakepit_slo_calls_total",
    "counter",
    "Calls that count against an objective of their pool (`spec.slo`). `objective`: availability, latency.",
    _US,
    ("pool", "objective"),
    values={"objective": _OBJECTIVES},
)
SLO_BAD_CALLS = Metric(
    "snakepit_slo_bad_calls_total",
    "counter",
    "Those of them that were bad.",
    _US,
    ("pool", "objective"),
    values={"objective": _OBJECTIVES},
)
SLO_TARGET = Metric(
    "snakepit_slo_target_ratio",
    "gauge",
    "The share of calls that are to be good. Each replica says the same.",
    _US,
    ("pool", "objective"),
    "ratio",
    values={"objective": _OBJECTIVES},
)

# ---- the process

LINKS = Metric(
    "snakepit_links",
    "gauge",
    "Open links. `role`: client, agent. `way`: lane, or stream where a lane can't be had.",
    _US,
    ("role", "way"),
    values={"role": ("client", "agent"), "way": ("lane", "stream", "")},
)
EVENT_LOOP_LAG = Metric(
    "snakepit_event_loop_lag_seconds",
    "gauge",
    "How late the event loop has been at worst, in the last 15 to 30 seconds.",
    _US,
    unit="seconds",
)
EVENT_LOOP_WAIT = Metric(
    "snakepit_event_loop_wait_seconds_total",
    "counter",
    "Time for which the event loop's thread wanted a processor and had none: others had it, or a limit kept it from it.",
    _US,
    unit="seconds",
)
TASKS = Metric("snakepit_tasks", "gauge", "Tasks of the event loop: those of links, streams and requests.", _US)
