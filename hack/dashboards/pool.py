"""One pool: what its callers see, what its workers do, and why it is not what it should be."""

from __future__ import annotations

from dashboards.panels import Dashboard, Panel, Query, Row, Variable
from dashboards.promql import quantiles, rate, seen, seen_rate, total
from dashboards.shapes import ended_lives, rates, slowest

POOL = 'pool="$pool"'
TOOLS = f'{POOL}, tool=~"$tool"'

NOT_TRUE = f'snakepit_pool_condition{{{POOL}, type=~"Ready|Available|SessionStoreReady|Synced", status!="True"}} == 1'
TRUE = f'snakepit_pool_condition{{{POOL}, type=~"Stalled|Degraded", status="True"}} == 1'

CALLS = Row(
    "Calls",
    [
        rates("Calls by tool", "Answered.", "snakepit_calls_total", "tool", TOOLS, unit="reqps"),
        rates(
            "Calls by outcome",
            "OK, TOOL_ERROR (the author's exception), or the reason of docs/errors.md.",
            "snakepit_calls_total",
            "outcome",
            TOOLS,
            unit="reqps",
        ),
        Panel(
            "Latency",
            "From arrival at a replica to the answer.",
            quantiles("snakepit_call_duration_seconds", where=TOOLS),
            unit="s",
        ),
        slowest("p99 by tool", "Which tool is slow.", "snakepit_call_duration_seconds", "tool", TOOLS, exemplars=True),
        slowest(
            "Where the time goes",
            "p99 of waiting in the queue, of running in the worker, and of all else (the platform's overhead).",
            "snakepit_call_phase_duration_seconds",
            "phase",
            TOOLS,
        ),
        Panel(
            "Refused, sent again, come back",
            "Refused before a worker had it; sent again after a worker was lost; returned unbegun and placed anew.",
            [
                Query(rate("snakepit_refusals_total", "reason", POOL), "refused {{reason}}"),
                Query(rate("snakepit_reruns_total", "pool", POOL), "sent again"),
                Query(rate("snakepit_returned_calls_total", "how", POOL), "{{how}}"),
            ],
            unit="reqps",
        ),
    ],
)

QUEUE = Row(
    "Queue and slots",
    [
        Panel(
            "Slots",
            "Of ready workers. When none is free, calls wait.",
            [Query(seen("snakepit_slots", "state", POOL), "{{state}}")],
            stacked=True,
        ),
        Panel(
            "Waiting calls",
            "By priority.",
            [Query(total("snakepit_queue_depth", "priority", POOL), "priority {{priority}}")],
            stacked=True,
        ),
        slowest(
            "Time in the queue",
            "p99 of the calls that left it, by priority.",
            "snakepit_queue_wait_seconds",
            "priority",
            POOL,
            legend="priority {{priority}}",
        ),
    ],
)

WORKERS = Row(
    "Workers and capsules",
    [
        Panel("Workers", "By state.", [Query(seen("snakepit_workers", "state", POOL), "{{state}}")], stacked=True),
        Panel(
            "Capsules",
            "By state as the control plane sees them, and how many there should be.",
            [
                Query(seen("snakepit_capsules", "state", POOL), "{{state}}"),
                Query(seen("snakepit_pool_desired_capsules", "pool", POOL), "desired"),
            ],
        ),
        Panel(
            "Conditions",
            "Those of `kubectl describe sp` that are not as they should be. Nothing: all is well.",
            [Query(f"max by (type, status) ({NOT_TRUE} or {TRUE})", "{{type}} is {{status}}")],
        ),
        ended_lives(POOL),
        rates(
            "Recycled workers",
            "Whose place a successor took: age, calls, memory, asked, session.",
            "snakepit_worker_recycles_total",
            "reason",
            POOL,
            form=seen_rate,
        ),
        Panel(
            "Silent and lost capsules",
            "Heartbeats that didn't come, capsules that got no new calls for a while, and those that were given up.",
            [
                Query(seen_rate("snakepit_heartbeats_missed_total", where=POOL), "missed heartbeats"),
                Query(seen_rate("snakepit_capsules_suspected_total", where=POOL), "suspect"),
                Query(seen_rate("snakepit_capsules_lost_total", where=POOL), "lost"),
            ],
            unit="ops",
        ),
        Panel(
            "Memory of workers",
            "The largest, the middle and the smallest one: a leak shows as a slope.",
            [
                Query(f"max (snakepit_worker_memory_bytes{{{POOL}}})", "largest"),
                Query(f"quantile (0.5, snakepit_worker_memory_bytes{{{POOL}}})", "middle"),
                Query(f"min (snakepit_worker_memory_bytes{{{POOL}}})", "smallest"),
            ],
            unit="bytes",
        ),
        Panel(
            "Time of setup()",
            "How long a new worker takes until it may be called.",
            quantiles("snakepit_worker_setup_duration_seconds", where=POOL),
            unit="s",
        ),
        rates("Starts of workers", "By outcome.", "snakepit_worker_starts_total", "outcome", POOL),
        Panel(
            "Calls at agents",
            "Running, and arrived but not begun.",
            [
                Query(total("snakepit_agent_calls", where=POOL), "running"),
                Query(total("snakepit_agent_inbox_depth", where=POOL), "in the inbox"),
            ],
        ),
        rates(
            "Idempotency keys",
            "Calls with a key: ran, joined one that ran, replayed a result, refused.",
            "snakepit_idempotent_calls_total",
            "how",
            POOL,
            unit="reqps",
        ),
        rates(
            "Tools of clients",
            "Calls that workers made to tools that clients offer, by outcome.",
            "snakepit_client_tool_calls_total",
            "outcome",
            POOL,
            unit="reqps",
        ),
    ],
)

BAD, COUNTED = (f"snakepit_slo_{name}_total{{{POOL}}}" for name in ("bad_calls", "calls"))
ALLOWED = f"(1 - {seen('snakepit_slo_target_ratio', 'objective', POOL)})"


def _spent(window: str) -> str:
    """What share of the calls of that time was bad, as a multiple of what the objective allows."""
    bad, counted = (f"sum by (objective) (increase({each}[{window}]))" for each in (BAD, COUNTED))
    return f"(({bad} or 0 * {counted}) / ({counted} > 0)) / {ALLOWED}"


OBJECTIVES = Row(
    "Objectives",
    [
        Panel(
            "Error budget left",
            "Of 30 days, or of what Prometheus has of them. Only pools with spec.slo have one.",
            [Query(f"1 - {_spent('30d')}", "{{objective}}", instant=True)],
            unit="percentunit",
            kind="stat",
            least=None,
            steps=((None, "red"), (0, "orange"), (0.25, "green")),
        ),
        Panel(
            "Burn rate",
            "Of the last hour. 1 spends the budget of 30 days in 30 days; from 14.4 on somebody is woken.",
            [Query(_spent("1h"), "{{objective}}")],
            width=16,
        ),
    ],
)

DASHBOARD = Dashboard(
    uid="snakepit-pool",
    title="Snakepit / Pool",
    text="One pool: what its callers see, what its workers do, and why it is not what it should be.",
    rows=[CALLS, OBJECTIVES, QUEUE, WORKERS],
    variables=[
        Variable("pool", "label_values(snakepit_slots, pool)", several=False),
        Variable("tool", 'label_values(snakepit_calls_total{pool="$pool"}, tool)'),
    ],
)
